//! `expression`: a small formula over the raw value, `x`.
//!
//! ```text
//! or      = and ("||" and)*          and = compare ("&&" compare)*
//! compare = sum (("<" | "<=" | ">" | ">=" | "==" | "!=") sum)?
//! sum     = product (("+" | "-") product)*
//! product = sign (("*" | "/" | "%") sign)*
//! sign    = ("-" | "!") sign | power         power = atom ("^" sign)?
//! atom    = number | "x" | "pi" | "e" | "(" or ")" | function "(" or ("," or)* ")"
//! ```
//!
//! Always true: it is read once, when the settings are checked, and a mistake is told with its column; it
//! has no loop, no state and a bounded size, so that it always ends; true is 1 and false 0, as every
//! number but 0 is true; what comes out is a finite number or a reason.

mod parse;

use std::fmt;

/// A formula, ready to be used.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Expression(Node);

/// What is wrong with a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// Of the character, from 1.
    pub(crate) column: usize,
    pub(crate) message: String,
    pub(crate) hint: String,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Number(f64),
    X,
    Minus(Box<Node>),
    Not(Box<Node>),
    Two(Operator, Box<Node>, Box<Node>),
    Call(&'static Function, Vec<Node>),
    If(Box<[Node; 3]>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Or,
    And,
    Less,
    LessOrSame,
    More,
    MoreOrSame,
    Same,
    Other,
    Plus,
    Minus,
    Times,
    By,
    Rest,
    Power,
}

/// A function of some numbers.
struct Function {
    name: &'static str,
    least: usize,
    most: usize,
    of: fn(&[f64]) -> f64,
}

/// Most arguments of `min` and `max`.
const MANY: usize = 16;

/// Every function; `if` is a part of the grammar, since only one of its ways is gone.
static FUNCTIONS: [Function; 16] = [
    Function { name: "abs", least: 1, most: 1, of: |a| a[0].abs() },
    Function { name: "bit", least: 2, most: 2, of: |a| bit(a[0], a[1]) },
    Function { name: "ceil", least: 1, most: 1, of: |a| a[0].ceil() },
    Function { name: "clamp", least: 3, most: 3, of: |a| a[0].max(a[1]).min(a[2]) },
    Function { name: "cos", least: 1, most: 1, of: |a| a[0].cos() },
    Function { name: "exp", least: 1, most: 1, of: |a| a[0].exp() },
    Function { name: "floor", least: 1, most: 1, of: |a| a[0].floor() },
    Function { name: "ln", least: 1, most: 1, of: |a| a[0].ln() },
    Function { name: "log10", least: 1, most: 1, of: |a| a[0].log10() },
    Function {
        name: "max",
        least: 2,
        most: MANY,
        of: |a| a.iter().copied().fold(f64::NEG_INFINITY, f64::max),
    },
    Function { name: "min", least: 2, most: MANY, of: |a| a.iter().copied().fold(f64::INFINITY, f64::min) },
    Function { name: "round", least: 1, most: 2, of: |a| round(a[0], a.get(1).copied()) },
    Function { name: "sign", least: 1, most: 1, of: |a| if a[0] == 0.0 { 0.0 } else { a[0].signum() } },
    Function { name: "sin", least: 1, most: 1, of: |a| a[0].sin() },
    Function { name: "sqrt", least: 1, most: 1, of: |a| a[0].sqrt() },
    Function { name: "tan", least: 1, most: 1, of: |a| a[0].tan() },
];

impl Expression {
    /// Reads a text.
    pub(crate) fn parse(text: &str) -> Result<Self, Wrong> {
        parse::whole(text).map(Self)
    }

    /// The value for a raw value, or why there is none.
    pub(crate) fn of(&self, x: f64) -> Result<f64, String> {
        let value = self.0.of(x);
        if value.is_finite() {
            Ok(value)
        } else {
            Err(format!("the expression is not a number where x is {x}"))
        }
    }
}

impl Node {
    fn of(&self, x: f64) -> f64 {
        match self {
            Self::Number(number) => *number,
            Self::X => x,
            Self::Minus(node) => -node.of(x),
            Self::Not(node) => truth(node.of(x) == 0.0),
            Self::Two(Operator::Or, one, other) => truth(one.of(x) != 0.0 || other.of(x) != 0.0),
            Self::Two(Operator::And, one, other) => truth(one.of(x) != 0.0 && other.of(x) != 0.0),
            Self::Two(operator, one, other) => operator.of(one.of(x), other.of(x)),
            Self::Call(function, arguments) => {
                let mut numbers = [0.0; MANY];
                for (number, argument) in numbers.iter_mut().zip(arguments) {
                    *number = argument.of(x);
                }
                (function.of)(&numbers[..arguments.len().min(MANY)])
            }
            Self::If(parts) => {
                let [condition, one, other] = &**parts;
                if condition.of(x) != 0.0 { one.of(x) } else { other.of(x) }
            }
        }
    }
}

impl Operator {
    fn of(self, one: f64, other: f64) -> f64 {
        match self {
            Self::Or => truth(one != 0.0 || other != 0.0),
            Self::And => truth(one != 0.0 && other != 0.0),
            Self::Less => truth(one < other),
            Self::LessOrSame => truth(one <= other),
            Self::More => truth(one > other),
            Self::MoreOrSame => truth(one >= other),
            Self::Same => truth(one == other),
            Self::Other => truth(one != other),
            Self::Plus => one + other,
            Self::Minus => one - other,
            Self::Times => one * other,
            Self::By => one / other,
            Self::Rest => one % other,
            Self::Power => one.powf(other),
        }
    }
}

impl fmt::Debug for Function {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

impl PartialEq for Function {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

fn truth(is_true: bool) -> f64 {
    f64::from(u8::from(is_true))
}

fn bit(x: f64, place: f64) -> f64 {
    if !(0.0..64.0).contains(&place) {
        return f64::NAN;
    }
    // Of a negative number the bits of its two's complement.
    truth((x as i128) >> (place as u32) & 1 == 1)
}

/// Half away from zero, to so many decimal places.
fn round(x: f64, places: Option<f64>) -> f64 {
    match places {
        None => x.round(),
        Some(places) => {
            let power = 10f64.powf(places.round().clamp(-300.0, 300.0));
            let scaled = x * power;
            if scaled.is_finite() { scaled.round() / power } else { x }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::parse::MOST_BYTES;
    use super::*;

    fn of(text: &str, x: f64) -> Result<f64, String> {
        Expression::parse(text).unwrap_or_else(|wrong| panic!("{text}: {wrong:?}")).of(x)
    }

    #[test]
    fn an_expression_means_what_it_says() {
        for (text, x, value) in [
            ("x", 5.0, 5.0),
            ("x * 2 + 1", 5.0, 11.0),
            ("1 + x * 2", 5.0, 11.0),
            ("(1 + x) * 2", 5.0, 12.0),
            ("10 - 3 - 2", 0.0, 5.0),
            ("2 ^ 3 ^ 2", 0.0, 512.0),
            ("-2 ^ 2", 0.0, -4.0),
            ("2 ^ -1", 0.0, 0.5),
            ("--x", 5.0, 5.0),
            ("x % 4", 7.0, 3.0),
            ("0x10 + 1e1 + .5", 0.0, 26.5),
            ("1e-3*x", 1.0, 0.001),
            ("x<5", 5.0, 0.0),
            ("x <= 5 && x != 4 || x == 9", 5.0, 1.0),
            ("!(x > 3) + 2", 5.0, 2.0),
            ("!x < 3", 5.0, 1.0),
            ("if(x > 32767, x - 65536, x)", 65_535.0, -1.0),
            ("if(x == 0, 0, 1 / x)", 0.0, 0.0),
            ("min(x, 3, 2)", 5.0, 2.0),
            ("max(x, 3, 7)", 5.0, 7.0),
            ("clamp(x, 0, 3)", 5.0, 3.0),
            ("round(x / 3, 2)", 1.0, 0.33),
            ("round(-2.5)", 1.0, -3.0),
            ("floor(-1.5) + ceil(1.2) + abs(-1)", 0.0, 1.0),
            ("sqrt(x) + sign(-3) + sign(0)", 16.0, 3.0),
            ("log10(1000) + ln(e) + exp(0) + sin(0) + cos(0) + tan(0)", 0.0, 6.0),
            ("round(pi * 100)", 0.0, 314.0),
            ("bit(x, 0) * 10 + bit(x, 2)", 4.0, 1.0),
            ("bit(x, 63)", -1.0, 1.0),
        ] {
            let told = of(text, x).unwrap();
            assert!((told - value).abs() < 1e-9, "{text} is {told} and not {value}");
        }
    }

    #[test]
    fn what_is_not_a_number_is_no_value() {
        assert_eq!(of("1 / x", 0.0), Err("the expression is not a number where x is 0".to_owned()));
        for text in ["sqrt(x)", "ln(x)", "(x) ^ 0.5", "x % 0", "bit(x, 64)", "1e308 * 10 * x"] {
            assert!(of(text, -2.0).is_err(), "{text}");
        }
    }

    #[test]
    fn a_mistake_has_its_column_and_a_hint() {
        for (text, column, message) in [
            ("", 1, "the expression ends too early"),
            ("x +", 4, "the expression ends too early"),
            ("x x", 3, "'x' where the expression should end"),
            ("x = 3", 3, "= assigns nothing here"),
            ("1 < x < 3", 8, "two comparisons in a row"),
            ("(x", 3, "\")\" is missing"),
            ("min(x 3)", 7, "'3' where \")\" should be"),
            ("min(x)", 1, "min takes 2 to 16, not 1"),
            ("if(x, 1)", 1, "if takes 3, not 2"),
            ("x + sqr(x)", 5, "\"sqr\" is not known"),
            ("x + y", 5, "\"y\" is not known"),
            ("ä * x", 1, "'ä' where a value should be"),
            ("x * é", 5, "'é' where a value should be"),
            ("2x", 1, "\"2x\" is not a number"),
            ("0xG", 1, "\"0xG\" is not a number"),
            ("1e999", 1, "\"1e999\" is not a number"),
            ("sqrt x", 6, "'x' where \"(\" should be"),
        ] {
            let wrong = Expression::parse(text).unwrap_err();
            assert_eq!((wrong.column, wrong.message.as_str()), (column, message), "{text}");
        }
        assert_eq!(Expression::parse("sqr(x)").unwrap_err().hint, "did you mean \"sqrt\"?");
    }

    #[test]
    fn its_size_has_limits() {
        for long in [
            "(".repeat(100) + "x" + &")".repeat(100),
            "-".repeat(100) + "x",
            "!".repeat(100) + "x",
            "2^".repeat(100) + "x",
            "x+".repeat(100) + "x",
            format!("x{}", " ".repeat(MOST_BYTES)),
        ] {
            assert!(Expression::parse(&long).is_err(), "{long}");
        }
        assert!(Expression::parse(&("x+".repeat(20) + "x")).is_ok());
    }

    proptest! {
        #[test]
        fn any_text_is_an_expression_or_a_mistake_in_it(text in "[x0-9.+*/%^<>=!&|(),a-z -]{0,60}", other in "\\PC{0,20}", x in any::<f64>()) {
            for text in [text, other] {
                match Expression::parse(&text) {
                    Ok(expression) => prop_assert!(expression.of(x).is_ok_and(f64::is_finite) || expression.of(x).is_err()),
                    Err(wrong) => prop_assert!((1..=text.chars().count() + 1).contains(&wrong.column)),
                }
            }
        }
    }
}
