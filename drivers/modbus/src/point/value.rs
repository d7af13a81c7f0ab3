//! Bytes of registers ↔ values: byte order, scale, labels.
//!
//! Always true: decoding any bytes is a value or a reason, never a panic; `decode(encode(v)) == v`
//! for every value that can be written; what does not fit is refused and never clipped. A scaled
//! integer takes the nearest step. A 32-bit float reads as the shortest decimal that names it:
//! 12.34 and not 12.34000015258789.

use sagoo_driver_sdk::Value;

use crate::point::kind::Kind;
use crate::point::labels::Labels;
use crate::point::scale::Scale;

/// Which byte stands where on the wire: `A` is the most significant one, so `CDAB` sends the low
/// word first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Order {
    /// `places[i]` is the significance of wire byte `i`, 0 is `A`.
    places: [u8; 8],
    len: u8,
}

impl Order {
    /// Most significant byte first, for a value of `bytes` bytes.
    pub(crate) fn plain(bytes: u8) -> Self {
        Self { places: [0, 1, 2, 3, 4, 5, 6, 7], len: bytes }
    }

    /// `AB`, `BA`, the four usual orders of 32 bits, or any order of eight letters.
    pub(crate) fn parse(letters: &str) -> Option<Self> {
        let known = match letters.len() {
            2 => matches!(letters, "AB" | "BA"),
            4 => matches!(letters, "ABCD" | "CDAB" | "BADC" | "DCBA"),
            8 => ('A'..='H').all(|letter| letters.contains(letter)),
            _ => false,
        };
        if !known {
            return None;
        }
        let mut order = Self { places: [0; 8], len: letters.len() as u8 };
        for (place, letter) in order.places.iter_mut().zip(letters.bytes()) {
            *place = letter - b'A';
        }
        Some(order)
    }

    /// Bytes of the value it orders.
    pub(crate) fn bytes(&self) -> usize {
        self.len.into()
    }

    fn gather(&self, wire: &[u8]) -> u64 {
        let mut plain = [0u8; 8];
        for (byte, place) in wire.iter().zip(&self.places) {
            plain[8 - self.bytes() + usize::from(*place)] = *byte;
        }
        u64::from_be_bytes(plain)
    }

    fn spread(&self, value: u64) -> Vec<u8> {
        let plain = value.to_be_bytes();
        let start = 8 - self.bytes();
        self.places[..self.bytes()].iter().map(|place| plain[start + usize::from(*place)]).collect()
    }
}

/// How a point's bytes become its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Codec {
    /// The type.
    pub(crate) kind: Kind,
    /// The byte order; its length fits the type.
    pub(crate) order: Order,
    /// Absent: whole numbers stay whole numbers.
    pub(crate) scale: Option<Scale>,
    /// What the numbers stand for; then there is no scale.
    pub(crate) labels: Option<Labels>,
}

impl Codec {
    /// Bytes from the wire → value, or why there is none. A bool is one byte, 0 or 1.
    pub(crate) fn decode(&self, wire: &[u8]) -> Result<Value, String> {
        let bytes = if self.kind == Kind::Bool { 1 } else { self.order.bytes() };
        if wire.len() != bytes {
            return Err(format!("{} bytes where {bytes} belong", wire.len()));
        }
        let raw = match self.kind {
            Kind::Bool => u64::from(wire[0] != 0),
            _ => self.order.gather(wire),
        };
        match self.kind {
            Kind::F32 => self.float(widen(f32::from_bits(raw as u32))),
            Kind::F64 => self.float(f64::from_bits(raw)),
            Kind::I16 => self.signed((raw as u16 as i16).into()),
            Kind::I32 => self.signed((raw as u32 as i32).into()),
            Kind::I64 => self.signed(raw as i64),
            Kind::Bool => self.integer(raw.into(), Value::Bool(raw != 0)),
            Kind::Bits { .. } | Kind::U16 | Kind::U32 | Kind::U64 => {
                let raw = self.kind.of_register(raw);
                self.integer(raw.into(), Value::Uint(raw))
            }
        }
    }

    fn signed(&self, raw: i64) -> Result<Value, String> {
        self.integer(raw.into(), Value::Int(raw))
    }

    /// `plain` is the value when neither a label nor a scale makes something else of the number.
    fn integer(&self, number: i128, plain: Value) -> Result<Value, String> {
        match (&self.labels, &self.scale) {
            (Some(labels), _) => labels.value(number),
            (None, Some(scale)) => finite(scale.of_integer(number)),
            (None, None) => Ok(plain),
        }
    }

    fn float(&self, raw: f64) -> Result<Value, String> {
        finite(self.scale.as_ref().map_or(raw, |scale| scale.of_float(raw)))
    }

    /// Value → bytes for the wire, or why it does not fit. A bool is one byte, 0 or 1.
    pub(crate) fn encode(&self, value: &Value) -> Result<Vec<u8>, String> {
        let raw = match (self.kind, self.kind.range()) {
            (Kind::Bits { .. }, _) => return Err(format!("{} is a part of a register", self.kind)),
            (Kind::Bool, _) => {
                let on = match &self.labels {
                    Some(labels) => labels.raw(value)? != 0,
                    None => as_bool(value)?,
                };
                return Ok(vec![u8::from(on)]);
            }
            (_, Some(range)) => match &self.labels {
                Some(labels) => labels.raw(value)? as u64,
                None => self.whole(value, range)? as u64,
            },
            (_, None) => {
                let value = as_number(value)?;
                let raw = self.scale.as_ref().map_or(value, |scale| scale.inverse(value));
                match self.kind {
                    Kind::F32 if (raw as f32).is_finite() => (raw as f32).to_bits().into(),
                    Kind::F64 if raw.is_finite() => raw.to_bits(),
                    kind => return Err(format!("{value} does not fit {kind}")),
                }
            }
        };
        Ok(self.order.spread(raw))
    }

    fn whole(&self, value: &Value, (least, most): (i128, i128)) -> Result<i128, String> {
        let raw = match (&self.scale, value) {
            (None, Value::Int(value)) => i128::from(*value),
            (None, Value::Uint(value)) => i128::from(*value),
            (None, value) => {
                let number = as_number(value)?;
                if number.fract() != 0.0 {
                    return Err(format!("{number} is not a whole number"));
                }
                number as i128
            }
            (Some(scale), value) => scale.inverse(as_number(value)?).round() as i128,
        };
        if (least..=most).contains(&raw) {
            return Ok(raw);
        }
        let word = self.kind;
        Err(match &self.scale {
            None => format!("{value} does not fit {word}, {least} to {most}"),
            Some(scale) => {
                let (one, other) = (scale.of_integer(least), scale.of_integer(most));
                format!(
                    "{value} does not fit {word}, {} to {} with its scale",
                    one.min(other),
                    one.max(other)
                )
            }
        })
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

fn as_bool(value: &Value) -> Result<bool, String> {
    match value {
        Value::Bool(value) => Ok(*value),
        Value::Int(0) | Value::Uint(0) => Ok(false),
        Value::Int(1) | Value::Uint(1) => Ok(true),
        Value::Float(value) if *value == 0.0 => Ok(false),
        Value::Float(value) if *value == 1.0 => Ok(true),
        Value::Text(text) => {
            Err(format!("the text {text:?} is not a bool, write true, false, 1 or 0 without quotes"))
        }
        Value::Bytes(_) | Value::Json(_) => Err("only true, false, 1 and 0 are a bool".to_owned()),
        number => Err(format!("{number} is not a bool, only true, false, 1 and 0 are")),
    }
}

fn finite(value: f64) -> Result<Value, String> {
    if value.is_finite() { Ok(Value::Float(value)) } else { Err("not a number".to_owned()) }
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

    fn codec(kind: Kind, order: &str) -> Codec {
        Codec { kind, order: Order::parse(order).unwrap(), scale: None, labels: None }
    }

    /// Made by hand: the number 0x0102…08 with its bytes laid out by each order.
    #[test]
    fn every_byte_order_is_what_its_letters_say() {
        for (order, wire) in [
            ("AB", &[1, 2][..]),
            ("BA", &[2, 1]),
            ("ABCD", &[1, 2, 3, 4]),
            ("CDAB", &[3, 4, 1, 2]),
            ("BADC", &[2, 1, 4, 3]),
            ("DCBA", &[4, 3, 2, 1]),
            ("ABCDEFGH", &[1, 2, 3, 4, 5, 6, 7, 8]),
            ("GHEFCDAB", &[7, 8, 5, 6, 3, 4, 1, 2]),
            ("BADCFEHG", &[2, 1, 4, 3, 6, 5, 8, 7]),
            ("HGFEDCBA", &[8, 7, 6, 5, 4, 3, 2, 1]),
            ("EFGHABCD", &[5, 6, 7, 8, 1, 2, 3, 4]),
            ("BCDAFGHE", &[2, 3, 4, 1, 6, 7, 8, 5]),
        ] {
            let (kind, number) = match wire.len() {
                2 => (Kind::U16, 0x0102),
                4 => (Kind::U32, 0x0102_0304),
                _ => (Kind::U64, 0x0102_0304_0506_0708),
            };
            assert_eq!(codec(kind, order).decode(wire), Ok(Value::Uint(number)), "{order}");
            assert_eq!(codec(kind, order).encode(&Value::Uint(number)).as_deref(), Ok(wire), "{order}");
        }
    }

    #[test]
    fn an_order_that_is_none_is_refused() {
        for wrong in ["", "A", "ABC", "ACBD", "AABB", "abcd", "ABCDEFGG", "ABCDEFGI", "ABCDEFGHA", "ÄB"] {
            assert_eq!(Order::parse(wrong), None, "{wrong}");
        }
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
        let scaled = Codec { scale: Some(Scale::new(0.1, 0.0)), ..plain.clone() };
        assert_eq!(refused(&scaled, Value::Int(7_000)), "7000 does not fit u16, 0 to 6553.5 with its scale");
        assert_eq!(scaled.encode(&Value::Float(230.1)), Ok(2301u16.to_be_bytes().to_vec()));
        assert_eq!(
            refused(&codec(Kind::F32, "ABCD"), Value::Float(1e39)),
            format!("{} does not fit f32", 1e39)
        );
        let coil = Codec { kind: Kind::Bool, order: Order::plain(2), scale: None, labels: None };
        for (value, bit) in
            [(Value::Int(1), 1), (Value::Uint(0), 0), (Value::Float(1.0), 1), (Value::Bool(false), 0)]
        {
            assert_eq!(coil.encode(&value), Ok(vec![bit]));
        }
        for value in [Value::Int(2), Value::Float(0.5), Value::Text("true".into())] {
            assert!(coil.encode(&value).is_err());
        }
    }

    fn numeric() -> impl Strategy<Value = (Kind, Order)> {
        (1..Kind::WORDS.len(), Just(b"ABCDEFGH".to_vec()).prop_shuffle(), 0..4usize).prop_map(
            |(kind, eight, pick)| {
                let kind = Kind::WORDS[kind].1;
                let letters = match kind.cells() {
                    1 => ["AB", "BA"][pick % 2].to_owned(),
                    2 => ["ABCD", "CDAB", "BADC", "DCBA"][pick].to_owned(),
                    _ => String::from_utf8(eight).unwrap(),
                };
                (kind, Order::parse(&letters).unwrap())
            },
        )
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
            let kind = Kind::Bits { first, last };
            prop_assert_eq!(codec(kind, order).decode(&wire), Ok(Value::Uint(expected)));
            prop_assert!(codec(kind, order).encode(&Value::Uint(expected)).is_err(), "never a whole register");
        }

        #[test]
        fn what_is_read_can_be_written_back((kind, order) in numeric(), raw in any::<u64>()) {
            let codec = Codec { kind, order, scale: None, labels: None };
            let wire = order.spread(raw);
            prop_assert_eq!(wire.len(), usize::from(kind.cells()) * 2);
            if let Ok(value) = codec.decode(&wire) {
                prop_assert_eq!(codec.encode(&value), Ok(wire));
            }
        }

        #[test]
        fn scaled_registers_can_be_written_back((kind, order) in numeric(), raw in any::<u32>(), places in 0..5u32) {
            prop_assume!(!matches!(kind, Kind::F32 | Kind::F64));
            let scale = Scale::new(1.0 / f64::from(10u32.pow(places)), -273.15);
            let codec = Codec { kind, order, scale: Some(scale), labels: None };
            let wire = order.spread(raw.into());
            let value = codec.decode(&wire).unwrap();
            prop_assert_eq!(codec.encode(&value), Ok(wire));
        }

        #[test]
        fn any_bytes_are_a_value_or_a_reason((kind, order) in numeric(), wire in proptest::collection::vec(any::<u8>(), 0..12)) {
            let fits = wire.len() == usize::from(kind.cells()) * 2;
            let value = Codec { kind, order, scale: Some(Scale::new(1e300, 0.0)), labels: None }.decode(&wire);
            prop_assert!(fits || value.is_err());
            if let Ok(value) = value {
                prop_assert!(matches!(value, Value::Float(v) if v.is_finite()), "{:?}", value);
            }
        }

        #[test]
        fn a_value_that_fits_reads_back_as_itself((kind, order) in numeric(), number in any::<i64>()) {
            let codec = Codec { kind, order, scale: None, labels: None };
            if let Ok(wire) = codec.encode(&Value::Int(number)) {
                let back = as_number(&codec.decode(&wire).unwrap()).unwrap();
                let exact = if kind == Kind::F32 { f64::from(number as f32) } else { number as f64 };
                prop_assert_eq!(back, exact);
            }
        }
    }
}
