//! Text → expression, from the loosest operator down to single values.
//!
//! Always true: it goes no deeper than [`MOST_DEPTH`], whatever is written, so that the stack holds both
//! reading and using an expression.

use super::{FUNCTIONS, Node, Operator, Wrong};

/// Longest text of an expression.
pub(super) const MOST_BYTES: usize = 500;
/// Deepest nesting.
const MOST_DEPTH: u32 = 40;

/// Reads a text.
pub(super) fn whole(text: &str) -> Result<Node, Wrong> {
    if text.len() > MOST_BYTES {
        let message = format!("an expression of {} bytes, at most {MOST_BYTES}", text.len());
        let hint = "what needs more than this belongs into the platform".to_owned();
        return Err(Wrong { column: 1, message, hint });
    }
    let mut parser = Parser { text, place: 0, depth: 0 };
    let node = parser.or()?;
    match parser.peek() {
        None => Ok(node),
        Some(c) => {
            Err(parser.wrong(format!("{c:?} where the expression should end"), "an operator, like x * 2 + 1"))
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    place: usize,
    depth: u32,
}

const COMPARISONS: [(&str, Operator); 6] = [
    ("<=", Operator::LessOrSame),
    (">=", Operator::MoreOrSame),
    ("==", Operator::Same),
    ("!=", Operator::Other),
    ("<", Operator::Less),
    (">", Operator::More),
];

impl Parser<'_> {
    fn rest(&self) -> &str {
        &self.text[self.place..]
    }

    fn peek(&mut self) -> Option<char> {
        self.place += self.rest().len() - self.rest().trim_start().len();
        self.rest().chars().next()
    }

    /// Takes one of these when it is next.
    fn take<T: Copy>(&mut self, words: &[(&str, T)]) -> Option<T> {
        self.peek();
        let found = words.iter().find(|(word, _)| self.rest().starts_with(word));
        found.map(|(word, meant)| {
            self.place += word.len();
            *meant
        })
    }

    fn wrong(&self, message: impl Into<String>, hint: impl Into<String>) -> Wrong {
        let column = self.text[..self.place].chars().count() + 1;
        Wrong { column, message: message.into(), hint: hint.into() }
    }

    /// Every way down to an atom begins here.
    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, Wrong>) -> Result<T, Wrong> {
        self.depth += 1;
        if self.depth > MOST_DEPTH {
            return Err(self.wrong(format!("nested more than {MOST_DEPTH} deep"), "a simpler expression"));
        }
        let node = read(self);
        self.depth -= 1;
        node
    }

    fn row(
        &mut self,
        words: &[(&str, Operator)],
        next: fn(&mut Self) -> Result<Node, Wrong>,
    ) -> Result<Node, Wrong> {
        let mut node = next(self)?;
        let before = self.depth;
        while let Some(operator) = self.take(words) {
            // A row leans to the left: each step is one deeper to go down later.
            self.depth += 1;
            if self.depth > MOST_DEPTH {
                return Err(
                    self.wrong(format!("more than {MOST_DEPTH} in a row"), "brackets around parts of it")
                );
            }
            node = Node::Two(operator, Box::new(node), Box::new(next(self)?));
        }
        self.depth = before;
        Ok(node)
    }

    fn or(&mut self) -> Result<Node, Wrong> {
        self.deeper(|parser| parser.row(&[("||", Operator::Or)], Self::and))
    }

    fn and(&mut self) -> Result<Node, Wrong> {
        self.row(&[("&&", Operator::And)], Self::compare)
    }

    fn compare(&mut self) -> Result<Node, Wrong> {
        let node = self.sum()?;
        let Some(operator) = self.take(&COMPARISONS) else {
            if self.peek() == Some('=') {
                return Err(self.wrong("= assigns nothing here", "== compares"));
            }
            return Ok(node);
        };
        let node = Node::Two(operator, Box::new(node), Box::new(self.sum()?));
        if self.take(&COMPARISONS).is_some() {
            return Err(self.wrong("two comparisons in a row", "like 1 < x && x < 5"));
        }
        Ok(node)
    }

    fn sum(&mut self) -> Result<Node, Wrong> {
        self.row(&[("+", Operator::Plus), ("-", Operator::Minus)], Self::product)
    }

    fn product(&mut self) -> Result<Node, Wrong> {
        self.row(&[("*", Operator::Times), ("/", Operator::By), ("%", Operator::Rest)], Self::sign)
    }

    fn sign(&mut self) -> Result<Node, Wrong> {
        if self.take(&[("-", ())]).is_some() {
            return Ok(Node::Minus(Box::new(self.deeper(Self::sign)?)));
        }
        if self.take(&[("!", ())]).is_some() {
            return Ok(Node::Not(Box::new(self.deeper(Self::sign)?)));
        }
        let node = self.atom()?;
        if self.take(&[("^", ())]).is_none() {
            return Ok(node);
        }
        Ok(Node::Two(Operator::Power, Box::new(node), Box::new(self.deeper(Self::sign)?)))
    }

    fn atom(&mut self) -> Result<Node, Wrong> {
        const HINT: &str = "a number, x, (…) or a function";
        match self.peek() {
            None => Err(self.wrong("the expression ends too early", HINT)),
            Some('(') => {
                self.place += 1;
                let node = self.or()?;
                self.close(")")?;
                Ok(node)
            }
            Some(c) if c.is_ascii_digit() || c == '.' => self.number(),
            Some(c) if c.is_ascii_alphabetic() => self.word(),
            Some(c) => Err(self.wrong(format!("{c:?} where a value should be"), HINT)),
        }
    }

    fn close(&mut self, mark: &str) -> Result<(), Wrong> {
        self.take(&[(mark, ())]).ok_or_else(|| match self.peek() {
            Some(c) => self.wrong(format!("{c:?} where {mark:?} should be"), ""),
            None => self.wrong(format!("{mark:?} is missing"), ""),
        })
    }

    fn number(&mut self) -> Result<Node, Wrong> {
        let rest = self.rest();
        let hex = rest.strip_prefix("0x").or_else(|| rest.strip_prefix("0X"));
        let is_part = |(place, c): (usize, char)| match c {
            _ if hex.is_some() => c.is_ascii_alphanumeric(),
            '+' | '-' => rest[..place].ends_with(['e', 'E']),
            _ => c.is_ascii_alphanumeric() || c == '.',
        };
        let end = rest.char_indices().find(|one| !is_part(*one)).map_or(rest.len(), |(place, _)| place);
        let number = match hex {
            Some(_) => u64::from_str_radix(&rest[2..end], 16).ok().map(|number| number as f64),
            None => rest[..end].parse::<f64>().ok().filter(|number| number.is_finite()),
        };
        let Some(number) = number else {
            return Err(
                self.wrong(format!("{:?} is not a number", &rest[..end]), "like 10, 0.5, 1e-3 or 0xFF")
            );
        };
        self.place += end;
        Ok(Node::Number(number))
    }

    fn word(&mut self) -> Result<Node, Wrong> {
        let rest = self.rest();
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let (start, word) = (self.place, rest[..end].to_owned());
        self.place += end;
        match word.as_str() {
            "x" | "X" => return Ok(Node::X),
            "pi" => return Ok(Node::Number(std::f64::consts::PI)),
            "e" => return Ok(Node::Number(std::f64::consts::E)),
            _ => {}
        }
        let function = FUNCTIONS.iter().find(|function| function.name == word);
        if word != "if" && function.is_none() {
            let mut words: Vec<&str> = FUNCTIONS.iter().map(|function| function.name).collect();
            words.extend(["if", "x", "pi", "e"]);
            self.place = start;
            let hint = match word.len() {
                1 => "x is the raw value".to_owned(),
                _ => crate::settings::suggest(&word, &words),
            };
            return Err(self.wrong(format!("{word:?} is not known"), hint));
        }
        self.close("(")?;
        let mut arguments = vec![self.or()?];
        while self.take(&[(",", ())]).is_some() {
            arguments.push(self.or()?);
        }
        self.close(")")?;
        let count = arguments.len();
        let (least, most) = function.map_or((3, 3), |function| (function.least, function.most));
        if (least..=most).contains(&count) {
            match function {
                Some(function) => return Ok(Node::Call(function, arguments)),
                None => {
                    if let Ok(parts) = <[Node; 3]>::try_from(arguments) {
                        return Ok(Node::If(Box::new(parts)));
                    }
                }
            }
        }
        self.place = start;
        let wants = if least == most { least.to_string() } else { format!("{least} to {most}") };
        Err(self.wrong(format!("{word} takes {wants}, not {count}"), "values in brackets, commas between"))
    }
}
