//! How a value is written: as a whole number wherever that gives back every bit of it.
//!
//! Always true: `value(of(v)) == v` to the bit, for every value; floats become decimals only where the
//! division gives the very same bits, so -0.0 and what is not a number keep theirs.

use super::Malformed;
use super::wire::{signed_len, text};
use crate::row::Value;

/// Whole numbers below this are exact in a float, and so is the rounding in [`Decimal::digits`].
const EXACT: f64 = (1u64 << 51) as f64;
/// Adding it leaves no place for a fraction.
const ROUNDING: f64 = 3.0 * EXACT;
/// A single float with more digits than this is as short in its own four bytes.
const SHORT: i64 = 1 << 27;

/// Four bits. Its number is what is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Kind(u8);

impl Kind {
    pub(super) const BOOL: Self = Self(0);
    const INT: Self = Self(1);
    const UINT: Self = Self(2);
    /// A float of n decimal places, n = 0 to 4: digits / 10^n.
    const DECIMAL: Self = Self(3);
    /// The same in single precision, n = 1 to 3.
    const SINGLE_DECIMAL: Self = Self(8);
    pub(super) const SINGLE: Self = Self(11);
    pub(super) const DOUBLE: Self = Self(12);
    const TEXT: Self = Self(13);
    const BYTES: Self = Self(14);
    const JSON: Self = Self(15);

    pub(super) fn new(code: u8) -> Self {
        Self(code & 15)
    }

    pub(super) fn code(self) -> u8 {
        self.0
    }

    /// Whether the value is a run of bytes and not a number.
    pub(super) fn is_bytes(self) -> bool {
        self.0 >= Self::TEXT.0
    }

    fn decimal(self) -> Option<Decimal> {
        match self.0 {
            3..=7 => Some(Decimal { places: self.0 - Self::DECIMAL.0, single: false }),
            8..=10 => Some(Decimal { places: self.0 - Self::SINGLE_DECIMAL.0 + 1, single: true }),
            _ => None,
        }
    }

    /// The value of a number.
    pub(super) fn value_of_number(self, number: u64) -> Value {
        match (self.decimal(), self) {
            (Some(decimal), _) => Value::Float(decimal.value(number as i64)),
            (None, Self::BOOL) => Value::Bool(number != 0),
            (None, Self::INT) => Value::Int(number as i64),
            (None, Self::UINT) => Value::Uint(number),
            (None, Self::SINGLE) => Value::Float(f32::from_bits(number as u32).into()),
            (None, _) => Value::Float(f64::from_bits(number)),
        }
    }

    /// Whether these bytes can be a value of this kind.
    pub(super) fn check(self, bytes: &[u8]) -> Result<(), Malformed> {
        if self == Self::BYTES { Ok(()) } else { text(bytes).map(drop) }
    }

    /// The value of a run of bytes that was checked.
    pub(super) fn value_of_bytes(self, bytes: &[u8]) -> Value {
        let text = || String::from_utf8_lossy(bytes).into_owned();
        match self {
            Self::TEXT => Value::Text(text()),
            Self::JSON => Value::Json(text()),
            _ => Value::Bytes(bytes.to_vec()),
        }
    }
}

/// What stands for a value.
pub(super) enum Written<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// How to write a value. `like`: kinds that are cheap to write, because a neighbour has them.
pub(super) fn of(value: &Value, like: [Option<Kind>; 2]) -> (Kind, Written<'_>) {
    match value {
        Value::Bool(on) => (Kind::BOOL, Written::Number((*on).into())),
        Value::Int(number) => (Kind::INT, Written::Number(*number as u64)),
        Value::Uint(number) => (Kind::UINT, Written::Number(*number)),
        Value::Float(number) => {
            let (kind, number) = float(*number, like);
            (kind, Written::Number(number))
        }
        Value::Text(text) => (Kind::TEXT, Written::Bytes(text.as_bytes())),
        Value::Bytes(bytes) => (Kind::BYTES, Written::Bytes(bytes)),
        Value::Json(text) => (Kind::JSON, Written::Bytes(text.as_bytes())),
    }
}

fn float(value: f64, like: [Option<Kind>; 2]) -> (Kind, u64) {
    for decimal in like.into_iter().flatten().filter_map(Kind::decimal) {
        if let Some(digits) = decimal.digits(value) {
            let (kind, digits) = decimal.trimmed(digits);
            return (kind, digits as u64);
        }
    }
    // a NaN need not keep its bits on the way through a single float
    let single = (!value.is_nan() && same(f64::from(value as f32), value)).then_some(value as f32);
    let doubles = (0..=4).map(|places| Decimal { places, single: false });
    let singles = (1..=3).map(|places| Decimal { places, single: true }).filter(|_| single.is_some());
    for decimal in doubles.chain(singles) {
        match decimal.digits(value) {
            Some(digits) if single.is_none() || digits.abs() < SHORT => {
                return (decimal.kind(), digits as u64);
            }
            _ => {}
        }
    }
    match single {
        Some(single) => (Kind::SINGLE, single.to_bits().into()),
        None => (Kind::DOUBLE, value.to_bits()),
    }
}

fn same(one: f64, other: f64) -> bool {
    one.to_bits() == other.to_bits()
}

/// A float with few decimal places.
#[derive(Debug, Clone, Copy)]
struct Decimal {
    places: u8,
    single: bool,
}

impl Decimal {
    fn kind(self) -> Kind {
        match (self.single, self.places) {
            (true, 1..) => Kind(Kind::SINGLE_DECIMAL.0 + self.places - 1),
            // a whole number is the same in both
            _ => Kind(Kind::DECIMAL.0 + self.places),
        }
    }

    fn power(self) -> f64 {
        [1.0, 10.0, 100.0, 1e3, 1e4].get(usize::from(self.places)).copied().unwrap_or(1e4)
    }

    fn value(self, digits: i64) -> f64 {
        let value = digits as f64 / self.power();
        if self.single { f64::from(value as f32) } else { value }
    }

    /// The digits, if they give back every bit.
    fn digits(self, value: f64) -> Option<i64> {
        let scaled = value * self.power();
        if scaled.is_nan() || scaled.abs() >= EXACT {
            return None;
        }
        let digits = ((scaled + ROUNDING) - ROUNDING) as i64;
        same(self.value(digits), value).then_some(digits)
    }

    /// Without trailing zeros, where they cost more than a change of kind does.
    fn trimmed(self, digits: i64) -> (Kind, i64) {
        let (mut short, mut places) = (digits, self.places);
        while places > 0 && short % 10 == 0 {
            (short, places) = (short / 10, places - 1);
        }
        if signed_len(digits) <= signed_len(short) + 1 {
            return (self.kind(), digits);
        }
        (Self { places, ..self }.kind(), short)
    }
}
