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
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::point::scale::Scale;

    fn of(word: &str, order: &str) -> Codec {
        Codec::of_words(word, order).unwrap()
    }

    fn codec(kind: Kind, order: &str) -> Codec {
        of(&kind.to_string(), order)
    }

    #[test]
    fn parts_of_registers_are_moved_down() {
        for (word, order, wire, value) in [
            ("bits[12..19] of u32", "ABCD", &[0x12, 0x34, 0x56, 0x78][..], Value::Uint(0x45)),
            ("bits[12..19] of u32", "CDAB", &[0x56, 0x78, 0x12, 0x34], Value::Uint(0x45)),
            ("bits[60..63] of u64", "ABCDEFGH", &[0xF1, 0, 0, 0, 0, 0, 0, 0], Value::Uint(15)),
            ("u8.high", "AB", &[0xFE, 1], Value::Uint(254)),
            ("u8.low", "BA", &[0xFE, 1], Value::Uint(254)),
            ("i8.high", "AB", &[0xFE, 1], Value::Int(-2)),
            ("i8.low", "AB", &[0xFE, 1], Value::Int(1)),
        ] {
            assert_eq!(of(word, order).decode(wire), Ok(value), "{word} {order}");
        }
        assert_eq!(of("bits[12..19] of u32", "CDAB").mask(), Some(vec![0xF0, 0, 0, 0x0F]));
        assert_eq!(of("i8.high", "AB").encode(&Value::Int(-2)), Ok(vec![0xFE, 0]));
        assert_eq!(
            of("i8.high", "AB").encode(&Value::Int(-129)).unwrap_err(),
            "-129 does not fit i8.high, -128 to 127"
        );
        assert_eq!(of("u16", "AB").mask(), None);
    }

    #[test]
    fn decimal_digits_are_a_number_and_others_are_none() {
        assert_eq!(of("bcd4", "AB").decode(&[0x12, 0x34]), Ok(Value::Uint(1_234)));
        assert_eq!(of("bcd8", "CDAB").decode(&[0x56, 0x78, 0x12, 0x34]), Ok(Value::Uint(12_345_678)));
        assert_eq!(of("bcd16", "ABCDEFGH").decode(&[0x99; 8]), Ok(Value::Uint(9_999_999_999_999_999)));
        assert_eq!(of("bcd4", "BA").encode(&Value::Int(507)), Ok(vec![7, 5]));
        let bad = of("bcd4", "AB").decode(&[0x1A, 0x2F]);
        assert_eq!(bad, Err("0x1A2F is not decimal digits, A is none".to_owned()));
        assert_eq!(
            of("bcd4", "AB").encode(&Value::Int(10_000)).unwrap_err(),
            "10000 does not fit bcd4, 0 to 9999"
        );
    }

    #[test]
    fn a_list_is_its_elements_each_in_its_order() {
        let list = of("i32[2]", "CDAB");
        let wire = [0, 5, 0, 1, 0xFF, 0xFE, 0xFF, 0xFF];
        assert_eq!(list.decode(&wire), Ok(Value::Json("[65541,-2]".to_owned())));
        assert_eq!(list.encode(&Value::Json("[65541, -2.0]".to_owned())), Ok(wire.to_vec()));
        assert_eq!(of("bool[3]", "AB").decode(&[1, 0, 1]), Ok(Value::Json("[true,false,true]".to_owned())));
        assert_eq!(of("bool[2]", "AB").encode(&Value::Json("[1,false]".to_owned())), Ok(vec![1, 0]));
        let told = |value| list.encode(&value).unwrap_err();
        assert_eq!(told(Value::Json("[1]".to_owned())), "a list of 1 where 2 belong");
        assert_eq!(told(Value::Int(1)), "1 is not a list, write it like [1, 2]");
        assert_eq!(told(Value::Json("[1,[2]]".to_owned())), "element 1: a list or a table is not a number");
        let bad = of("bcd4[2]", "AB").decode(&[0, 1, 0, 0x0A]);
        assert_eq!(bad, Err("element 1: 0x000A is not decimal digits, A is none".to_owned()));
        assert!(of("f32[2]", "ABCD").decode(&[0; 4]).is_err(), "half of it");
    }

    #[test]
    fn a_text_takes_whole_registers_in_any_order() {
        assert_eq!(of("string[3]", "AB").decode(b"abcd"), Ok(Value::Text("abc".to_owned())));
        assert_eq!(of("string[4]", "BA").decode(b"badc"), Ok(Value::Text("abcd".to_owned())));
        assert_eq!(of("string[4]", "CDAB").decode(b"cdab"), Ok(Value::Text("abcd".to_owned())));
        assert_eq!(of("string[2]", ".A").decode(&[9, b'o', 9, b'k']), Ok(Value::Text("ok".to_owned())));
        assert_eq!(of("string[2]", ".A").cells(), 2);
        assert_eq!(of("string[5]", "CDAB").cells(), 4);
        assert_eq!(of("string[3]", "BA").encode(&Value::Text("abc".to_owned())), Ok(b"ba\0c".to_vec()));
        assert!(of("string[3]", "BA").encode(&Value::Int(1)).unwrap_err().contains("write it in quotes"));
    }

    #[test]
    fn floats_read_as_people_write_them() {
        let f32s = codec(Kind::F32, "CDAB");
        assert_eq!(f32s.decode(&[0x70, 0xA4, 0x41, 0x45]), Ok(Value::Float(12.34)));
        assert_eq!(f32s.encode(&Value::Float(12.34)), Ok(vec![0x70, 0xA4, 0x41, 0x45]));
        for special in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let bytes = special.to_be_bytes();
            assert_eq!(codec(Kind::F32, "ABCD").decode(&bytes), Err("not a number".to_owned()));
        }
    }

    #[test]
    fn what_does_not_fit_is_refused_with_its_limits() {
        let refused = |codec: &Codec, value| codec.encode(&value).unwrap_err();
        let plain = codec(Kind::U16, "AB");
        assert_eq!(refused(&plain, Value::Int(-1)), "-1 does not fit u16, 0 to 65535");
        assert_eq!(refused(&plain, Value::Float(65_536.0)), "65536 does not fit u16, 0 to 65535");
        assert_eq!(refused(&plain, Value::Float(1.5)), "1.5 is not a whole number");
        assert_eq!(
            refused(&plain, Value::Text("12".into())),
            "the text \"12\" is not a number, write it without quotes"
        );
        assert!(refused(&plain, Value::Bool(true)).contains("not a number"));
        assert!(refused(&plain, Value::Float(f64::NAN)).contains("not a number"));
        let scaled = Codec { meaning: Meaning::Scaled(Scale::new(0.1, 0.0)), ..plain.clone() };
        assert_eq!(refused(&scaled, Value::Int(7_000)), "7000 does not fit u16, 0 to 6553.5 with its scale");
        assert_eq!(scaled.encode(&Value::Float(230.1)), Ok(2301u16.to_be_bytes().to_vec()));
        assert_eq!(
            refused(&codec(Kind::F32, "ABCD"), Value::Float(1e39)),
            format!("{} does not fit f32", 1e39)
        );
        let coil = codec(Kind::Bool, "AB");
        for (value, bit) in
            [(Value::Int(1), 1), (Value::Uint(0), 0), (Value::Float(1.0), 1), (Value::Bool(false), 0)]
        {
            assert_eq!(coil.encode(&value), Ok(vec![bit]));
        }
        for value in [Value::Int(2), Value::Float(0.5), Value::Text("true".into())] {
            assert!(coil.encode(&value).is_err());
        }
    }

    /// Every type of whole registers that is a number, alone and as a list, in any of its orders.
    fn numeric() -> impl Strategy<Value = Codec> {
        let count = proptest::option::of(1..4u16);
        (1..Kind::WORDS.len() - 4, Just(b"ABCDEFGH".to_vec()).prop_shuffle(), 0..4usize, count).prop_map(
            |(kind, eight, pick, count)| {
                let kind = Kind::WORDS[kind].1;
                let letters = match kind.cells() {
                    1 => ["AB", "BA"][pick % 2].to_owned(),
                    2 => ["ABCD", "CDAB", "BADC", "DCBA"][pick].to_owned(),
                    _ => String::from_utf8(eight).unwrap(),
                };
                of(&Type { kind, count }.to_string(), &letters)
            },
        )
    }

    fn one(codec: Codec) -> Codec {
        Codec { count: None, ..codec }
    }

    proptest! {
        #[test]
        fn bits_are_the_register_moved_down_and_masked(
            register in any::<u16>(), first in 0..16u8, more in 0..16u8, swapped in any::<bool>(),
        ) {
            let last = (first + more).min(15);
            let (order, wire) = match swapped {
                false => ("AB", register.to_be_bytes()),
                true => ("BA", register.to_le_bytes()),
            };
            let mask = (1u64 << (last - first + 1)) - 1;
            let expected = (u64::from(register) >> first) & mask;
            let codec = codec(Kind::Bits { first, last, registers: 1 }, order);
            prop_assert_eq!(codec.decode(&wire), Ok(Value::Uint(expected)));
            let own = codec.encode(&Value::Uint(expected)).unwrap();
            let mask = codec.mask().unwrap();
            let cut: Vec<u8> = wire.iter().zip(&mask).map(|(byte, mask)| byte & mask).collect();
            prop_assert_eq!(own, cut, "its own bits where they were, zeros elsewhere");
        }

        #[test]
        fn what_is_read_can_be_written_back(codec in numeric(), wire in proptest::collection::vec(any::<u8>(), 64)) {
            let wire = &wire[..usize::from(codec.cells()) * 2];
            if let Ok(value) = codec.decode(wire) {
                let back = codec.encode(&value).unwrap();
                // Reading the text of a list may miss the last of a float's 53 bits.
                if codec.kind != Kind::F64 || codec.count.is_none() {
                    prop_assert_eq!(codec.decode(&back), Ok(value));
                }
                prop_assert!(back == wire || matches!(codec.kind, Kind::F16 | Kind::F32 | Kind::F64));
            }
        }

        #[test]
        fn scaled_registers_can_be_written_back(codec in numeric(), raw in any::<u32>(), places in 0..5u32) {
            prop_assume!(codec.kind.range().is_some());
            let scale = Scale::new(1.0 / f64::from(10u32.pow(places)), -273.15);
            let codec = Codec { meaning: Meaning::Scaled(scale), ..one(codec) };
            let wire = codec.order.spread(raw.into());
            if let Ok(value) = codec.decode(&wire) {
                prop_assert_eq!(codec.encode(&value), Ok(wire));
            }
        }

        #[test]
        fn any_bytes_are_a_value_or_a_reason(codec in numeric(), wire in proptest::collection::vec(any::<u8>(), 0..24)) {
            let fits = wire.len() == usize::from(codec.cells()) * 2;
            let value = Codec { meaning: Meaning::Scaled(Scale::new(1e300, 0.0)), ..codec.clone() }.decode(&wire);
            prop_assert!(fits || value.is_err());
            match value {
                Ok(Value::Float(value)) => prop_assert!(value.is_finite() && codec.count.is_none()),
                Ok(other) => prop_assert!(matches!(other, Value::Json(_)) && codec.count.is_some()),
                Err(_) => {}
            }
        }

        #[test]
        fn a_value_that_fits_reads_back_as_itself(codec in numeric(), number in any::<i64>(), few in any::<i16>()) {
            let codec = one(codec);
            for number in [number, few.into()] {
                if let Ok(wire) = codec.encode(&Value::Int(number)) {
                    let back = as_number(&codec.decode(&wire).unwrap()).unwrap();
                    match codec.kind {
                        Kind::F16 => prop_assert!((back - number as f64).abs() <= 16.0),
                        Kind::F32 => prop_assert_eq!(back, f64::from(number as f32)),
                        _ => prop_assert_eq!(back, number as f64),
                    }
                }
            }
        }
    }
}
