//! Bytes of registers ↔ values: byte order, digits, scale, labels, expression, lists.
//!
//! Always true: decoding any bytes is a value or a reason, never a panic; `decode(encode(v)) == v`
//! for every value that can be written; what does not fit is refused and never clipped. A scaled
//! integer takes the nearest step. A short float reads as the shortest decimal that names it:
//! 12.34 and not 12.34000015258789.

use sagoo_driver_sdk::Value;
use serde_json::Value as Json;

use crate::point::half::Half;
use crate::point::kind::{Kind, Type};
use crate::point::meaning::Meaning;
use crate::point::order::Order;
use crate::point::text::Writing;
use crate::point::time::Zone;

/// How a point's bytes become its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Codec {
    /// The type, of each element of a list.
    pub(crate) kind: Kind,
    /// Elements of a list.
    pub(crate) count: Option<u16>,
    /// The byte order; its length fits the type.
    pub(crate) order: Order,
    /// What the number stands for.
    pub(crate) meaning: Meaning,
    /// How a text is written.
    pub(crate) writing: Writing,
    /// What the clock of the device is ahead of UTC.
    pub(crate) zone: Zone,
}

/// A number as it is in the registers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Raw {
    Whole(i128),
    Real(f64),
}

impl Codec {
    /// A type in an order, and nothing else; `None`: one of the words is none.
    pub(crate) fn of_words(word: &str, letters: &str) -> Option<Self> {
        let Type { kind, count } = Type::parse(word).ok()?;
        let order = Order::parse_for_text(letters)?;
        let fits = if kind.is_text() {
            true
        } else {
            order.is_whole() && order.bytes() == usize::from(kind.ordered())
        };
        let (meaning, writing, zone) = (Meaning::Plain, Writing::default(), Zone::default());
        fits.then_some(Self { kind, count, order, meaning, writing, zone })
    }

    /// The type.
    pub(crate) fn this(&self) -> Type {
        Type { kind: self.kind, count: self.count }
    }

    /// Cells of its table that it takes.
    pub(crate) fn cells(&self) -> u16 {
        cells(self.this(), &self.order)
    }

    /// Which bits of its registers are its own, as they come; `None`: all of them.
    pub(crate) fn mask(&self) -> Option<Vec<u8>> {
        let (first, last) = self.kind.ends()?;
        Some(self.order.spread((u64::MAX >> (63 - (last - first))) << first))
    }

    /// Bytes from the wire → value, or why there is none. A bool is one byte, 0 or 1.
    pub(crate) fn decode(&self, wire: &[u8]) -> Result<Value, String> {
        if self.kind == Kind::Name {
            return self.writing.decode(wire).map(Value::Text);
        }
        let bytes = usize::from(self.cells()) * if self.kind == Kind::Bool { 1 } else { 2 };
        if wire.len() != bytes {
            return Err(format!("{} bytes where {bytes} belong", wire.len()));
        }
        let Some(count) = self.count else { return self.decode_one(wire) };
        let mut list = Vec::with_capacity(count.into());
        for (place, element) in wire.chunks(bytes / usize::from(count)).enumerate() {
            let value = self.decode_one(element).map_err(|reason| format!("element {place}: {reason}"))?;
            list.push(as_json(value));
        }
        Ok(Value::Json(Json::Array(list).to_string()))
    }

    fn decode_one(&self, wire: &[u8]) -> Result<Value, String> {
        match self.kind {
            Kind::Text { bytes } => {
                let mut text = self.order.sorted(wire);
                text.truncate(bytes.into());
                self.writing.decode(&text).map(Value::Text)
            }
            Kind::Time(layout) => layout.decode(&self.order.sorted(wire), self.zone).map(Value::Text),
            Kind::Bool => self.meaning.value(Raw::Whole((wire[0] != 0).into()), self.kind),
            kind => self.meaning.value(raw(kind, self.order.gather(wire))?, kind),
        }
    }

    /// Value → bytes for the wire, or why it does not fit. A bool is one byte, 0 or 1; where it is a part
    /// of its registers, the other bits are 0.
    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u8>, String> {
        let Some(count) = self.count else { return self.encode_one(value) };
        let list: Option<Vec<Json>> = match value {
            // A person at a command line writes a list as its text.
            Value::Json(text) | Value::Text(text) => serde_json::from_str(text).ok(),
            _ => None,
        };
        let list = list.ok_or_else(|| format!("{value} is not a list, write it like [1, 2]"))?;
        if list.len() != usize::from(count) {
            return Err(format!("a list of {} where {count} belong", list.len()));
        }
        let mut wire = Vec::new();
        for (place, element) in list.into_iter().enumerate() {
            let bytes =
                self.encode_one(&of_json(element)).map_err(|reason| format!("element {place}: {reason}"))?;
            wire.extend(bytes);
        }
        Ok(wire)
    }

    fn encode_one(&self, value: &Value) -> Result<Vec<u8>, String> {
        match self.kind {
            Kind::Name => Err("what a device says it is cannot be written".to_owned()),
            Kind::Text { bytes } => {
                let mut text = self.writing.encode(as_text(value)?, bytes.into())?;
                // The last group is whole.
                text.resize(text.len().next_multiple_of(self.order.held()), 0);
                Ok(self.order.wire(&text))
            }
            Kind::Time(layout) => Ok(self.order.wire(&layout.encode(as_text(value)?, self.zone)?)),
            Kind::Bool => match self.meaning.raw(value, self.kind)? {
                Raw::Whole(raw) => Ok(vec![u8::from(raw != 0)]),
                Raw::Real(raw) => Ok(vec![u8::from(raw != 0.0)]),
            },
            kind => {
                let raw = self.meaning.raw(value, kind)?;
                let bits = bits(kind, raw).ok_or_else(|| format!("{value} does not fit {kind}"))?;
                Ok(self.order.spread(bits))
            }
        }
    }
}

/// Cells of a type in an order.
pub(crate) fn cells(this: Type, order: &Order) -> u16 {
    match this.kind {
        Kind::Text { bytes } => {
            let groups = usize::from(bytes).div_ceil(order.held());
            (groups * order.bytes() / 2) as u16
        }
        kind => kind.cells().saturating_mul(this.count.unwrap_or(1)),
    }
}

/// The number in these bits, which are in order.
fn raw(kind: Kind, bits: u64) -> Result<Raw, String> {
    Ok(match kind {
        Kind::F16 => Raw::Real(Half(bits as u16).shortest()),
        Kind::F32 => Raw::Real(widen(f32::from_bits(bits as u32))),
        Kind::F64 => Raw::Real(f64::from_bits(bits)),
        Kind::I16 => Raw::Whole((bits as u16 as i16).into()),
        Kind::I32 => Raw::Whole((bits as u32 as i32).into()),
        Kind::I64 => Raw::Whole((bits as i64).into()),
        Kind::Half { signed: true, .. } => Raw::Whole((kind.part(bits) as u8 as i8).into()),
        Kind::Bcd { registers } => Raw::Whole(from_bcd(bits, registers)?),
        _ => Raw::Whole(kind.part(bits).into()),
    })
}

/// The bits of a number; `None`: it does not fit.
fn bits(kind: Kind, raw: Raw) -> Option<u64> {
    let number = match raw {
        Raw::Whole(number) => number,
        Raw::Real(number) => {
            return match kind {
                Kind::F16 => Half::of(number).map(|half| half.0.into()),
                Kind::F32 => {
                    Some(number as f32).filter(|float| float.is_finite()).map(|float| float.to_bits().into())
                }
                Kind::F64 => Some(number.to_bits()).filter(|_| number.is_finite()),
                _ => None,
            };
        }
    };
    let (least, most) = kind.range()?;
    (least..=most).contains(&number).then(|| match (kind, kind.ends()) {
        (_, Some((first, _))) => kind.part((number as u64) << first) << first,
        (Kind::Bcd { .. }, _) => to_bcd(number as u64),
        _ => number as u64,
    })
}

fn from_bcd(bits: u64, registers: u8) -> Result<i128, String> {
    let digits = u32::from(registers) * 4;
    (0..digits).rev().try_fold(0, |number, place| match bits >> (place * 4) & 0xF {
        digit @ 0..=9 => Ok(number * 10 + i128::from(digit)),
        digit => {
            let width = digits as usize;
            Err(format!("0x{bits:0width$X} is not decimal digits, {digit:X} is none"))
        }
    })
}

fn to_bcd(number: u64) -> u64 {
    let digits = number.to_string();
    digits.bytes().fold(0, |bits, digit| bits << 4 | u64::from(digit - b'0'))
}

/// A value as an element of a list; a float is finite here.
fn as_json(value: Value) -> Json {
    match value {
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::Uint(value) => value.into(),
        Value::Float(value) => value.into(),
        Value::Text(text) => text.into(),
        Value::Bytes(_) | Value::Json(_) => Json::Null,
    }
}

fn of_json(element: Json) -> Value {
    match element {
        Json::Bool(value) => Value::Bool(value),
        Json::String(text) => Value::Text(text),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(whole), _) => Value::Int(whole),
            (None, Some(whole)) => Value::Uint(whole),
            (None, None) => Value::Float(number.as_f64().unwrap_or(f64::NAN)),
        },
        other => Value::Json(other.to_string()),
    }
}

fn as_text(value: &Value) -> Result<&str, String> {
    match value {
        Value::Text(text) => Ok(text),
        other => Err(format!("{other} is not a text, write it in quotes")),
    }
}

/// A number of the platform; texts are refused, since nobody can know what they mean.
pub(crate) fn as_number(value: &Value) -> Result<f64, String> {
    match value {
        Value::Int(value) => Ok(*value as f64),
        Value::Uint(value) => Ok(*value as f64),
        Value::Float(value) if value.is_finite() => Ok(*value),
        Value::Float(value) => Err(format!("{value} is not a number")),
        Value::Bool(value) => Err(format!("{value} is not a number")),
        Value::Text(text) => Err(format!("the text {text:?} is not a number, write it without quotes")),
        Value::Bytes(_) => Err("bytes are not a number".to_owned()),
        Value::Json(_) => Err("a list or a table is not a number".to_owned()),
    }
}

/// The shortest decimal of a 32-bit float, as a 64-bit one.
fn widen(value: f32) -> f64 {
    if value.fract() == 0.0 || !value.is_finite() {
        return value.into();
    }
    value.to_string().parse().unwrap_or_else(|_| value.into())
}

#[cfg(test)]
mod tests;
