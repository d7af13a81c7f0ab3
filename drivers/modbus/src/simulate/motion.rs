//! What a simulated point holds at a time. Pure: a test, or a person with a watch, can say it beforehand.
//!
//! ```text
//! step      = seconds since the simulator serves + 10 × address + unit
//! number    walks from low to high and back, a hundredth of the way per step, 200 steps in all
//!             low and high are 0 and 100 in the point's own unit, as far as its type can hold them
//! bool, bits, enum   take the next of their numbers every 10 seconds
//! text      the point's own name, as far as it fits
//! time      2026-01-01 00:00:00 UTC and the seconds since the simulator serves, day after day the same
//! list      each element as a point of its own at its own address
//! ```
//! Always true: a point that can be written does not move, it rests at its least value until it is
//! written; what is held can be read by the point's own codec.

use sagoo_driver_sdk::Value;
use serde_json::Value as Json;

use crate::point::Point;
use crate::point::kind::Kind;
use crate::point::meaning::Meaning;
use crate::point::value::Codec;

/// How far a number walks where nothing is said.
const WALK: f64 = 100.0;
/// Steps from low to high.
const STEPS: u64 = 100;
/// Steps between two points that are one register apart, so that neighbours differ.
const STEPS_PER_ADDRESS: u64 = 10;
/// Seconds a bool, some bits or a label stay.
const STAYS: u64 = 10;
/// Numbers that some bits take before they begin anew.
const MOST_TURNS: i128 = 0xFFFF;

/// When and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment {
    /// Since the simulator serves.
    pub(crate) seconds: u64,
    /// Whose point.
    pub(crate) unit: u8,
}

/// How a point moves.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Motion {
    /// It does not.
    Rests(Held),
    /// Through these numbers.
    Turns(Vec<i128>),
    /// Between these values, ends included.
    Walks { low: f64, high: f64 },
    /// Through the seconds of a day.
    Ticks,
    /// How often it was read.
    Counts(u64),
}

/// What is in the cells of a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Held(
    /// All of them: two bytes a register, one byte a bit; zeros where they are not the point's.
    pub(crate) Vec<u8>,
);

impl Motion {
    /// As the point itself has it.
    pub(crate) fn of(point: &Point) -> Self {
        let codec = &point.codec;
        let moving = match (codec.meaning.labels(), codec.kind) {
            (Some(labels), _) => Self::Turns(labels.numbers().collect()),
            (None, kind @ (Kind::Bool | Kind::Bits { .. })) => {
                let (least, most) = kind.range().unwrap_or_default();
                // More than anybody waits for: long bits would be a list of millions.
                Self::Turns((least..=most.min(least + MOST_TURNS)).collect())
            }
            (None, Kind::Text { .. } | Kind::Name) => return Self::Rests(own_name(point)),
            (None, Kind::Time(_)) => Self::Ticks,
            (None, _) => {
                let (low, high) = ends(point);
                Self::Walks { low, high }
            }
        };
        match point.write {
            Some(_) => Self::Rests(moving.whole(point, |_| 0)),
            None => moving,
        }
    }

    /// As a person wants it: a value of the point, or `"reads"` in a table of its own.
    pub(crate) fn chosen(point: &Point, wanted: &Json) -> Result<Self, String> {
        if let Some(word) = wanted.get("counts") {
            let is_whole =
                point.codec.kind.range().is_some() && !matches!(point.codec.kind, Kind::Bits { .. });
            return match word.as_str() {
                Some("reads") if is_whole && point.codec.meaning.is_plain() => Ok(Self::Counts(0)),
                Some("reads") => Err("only a whole number without scale and enum counts".to_owned()),
                _ => Err("counts what? { counts = \"reads\" }".to_owned()),
            };
        }
        let value = match wanted {
            Json::Bool(value) => Value::Bool(*value),
            Json::String(text) => Value::Text(text.clone()),
            Json::Array(list) => Value::Json(Json::Array(list.clone()).to_string()),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(whole), _) => Value::Int(whole),
                (None, Some(number)) => Value::Float(number),
                (None, None) => return Err(format!("{number} is too large")),
            },
            _ => return Err("neither a value nor { counts = \"reads\" }".to_owned()),
        };
        match (point.codec.kind, value) {
            (Kind::Name, Value::Text(text)) => Ok(Self::Rests(Held(text.into_bytes()))),
            (_, value) => Ok(Self::Rests(Held(point.codec.encode(&value)?))),
        }
    }

    /// What the point holds.
    pub(crate) fn at(&self, point: &Point, moment: Moment) -> Held {
        let unit = u64::from(moment.unit);
        self.whole(point, |place| match self {
            Self::Turns(_) => moment.seconds / STAYS + place + unit + first_bit(point),
            Self::Ticks => moment.seconds,
            _ => moment.seconds + place * STEPS_PER_ADDRESS + unit,
        })
    }

    /// All elements of a list one behind the other; `step` by the address of each.
    fn whole(&self, point: &Point, step: impl Fn(u64) -> u64) -> Held {
        if let Self::Rests(held) = self {
            return held.clone();
        }
        let count = u64::from(point.codec.count.unwrap_or(1));
        let one = Codec { count: None, ..point.codec.clone() };
        let apart = u64::from(one.cells());
        let first = u64::from(point.address);
        Held((0..count).flat_map(|place| self.element(&one, step(first + place * apart))).collect())
    }

    fn element(&self, codec: &Codec, step: u64) -> Vec<u8> {
        let or_zeros = |encoded: Result<Vec<u8>, String>| {
            let bytes = usize::from(codec.cells()) * if codec.kind == Kind::Bool { 1 } else { 2 };
            encoded.unwrap_or_else(|_| vec![0; bytes])
        };
        match self {
            Self::Rests(held) => held.0.clone(),
            Self::Turns(numbers) => {
                let place = usize::try_from(step % numbers.len().max(1) as u64).unwrap_or_default();
                or_zeros(raw(codec, numbers.get(place).copied().unwrap_or_default()))
            }
            Self::Walks { low, high } => {
                let there = step % (2 * STEPS);
                let way = there.min(2 * STEPS - there) as f64 / STEPS as f64;
                let value = low + (high - low) * way;
                let is_whole = codec.meaning.is_plain() && codec.kind.range().is_some();
                let value = if is_whole { value.round() } else { value };
                // A formula that cannot be turned around: then the raw number walks.
                let encoded = codec.encode(&Value::Float(value));
                or_zeros(encoded.or_else(|_| raw(codec, value as i128)))
            }
            Self::Ticks => {
                let second = step % (24 * 3_600);
                let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
                let text = format!("2026-01-01T{hour:02}:{minute:02}:{second:02}Z");
                or_zeros(codec.encode(&Value::Text(text)))
            }
            Self::Counts(reads) => {
                let most = codec.kind.range().map_or(0, |(_, most)| most);
                or_zeros(raw(codec, i128::from(*reads) % (most + 1)))
            }
        }
    }
}

/// A number without its label, scale or formula.
fn raw(codec: &Codec, number: i128) -> Result<Vec<u8>, String> {
    let plain = Codec { meaning: Meaning::Plain, ..codec.clone() };
    plain.encode(&match u64::try_from(number) {
        _ if codec.kind == Kind::Bool => Value::Bool(number != 0),
        Ok(number) => Value::Uint(number),
        Err(_) => Value::Int(number as i64),
    })
}

/// A text that says which point it is.
fn own_name(point: &Point) -> Held {
    if point.codec.kind == Kind::Name {
        return Held(point.name.clone().into_bytes());
    }
    let mut name: String = point.name.chars().filter(char::is_ascii).collect();
    loop {
        match point.codec.encode(&Value::Text(name.clone())) {
            Ok(bytes) => return Held(bytes),
            Err(_) if name.pop().is_some() => {}
            Err(_) => return Held(vec![0; usize::from(point.codec.cells()) * 2]),
        }
    }
}

fn first_bit(point: &Point) -> u64 {
    match point.codec.kind {
        Kind::Bits { first, .. } => first.into(),
        _ => 0,
    }
}

/// Between which values a number walks or rests: its limits for writing, and what its type can hold.
fn ends(point: &Point) -> (f64, f64) {
    let codec = &point.codec;
    let of_type = codec.kind.range().map(|(least, most)| match &codec.meaning {
        Meaning::Scaled(scale) => (scale.of_integer(least), scale.of_integer(most)),
        _ => (least as f64, most as f64),
    });
    let (one, other) = of_type.unwrap_or((f64::MIN, f64::MAX));
    let (mut least, mut most) = (one.min(other), one.max(other));
    if let Some(rule) = point.write {
        least = rule.min.map_or(least, |min| min.max(least));
        most = rule.max.map_or(most, |max| max.min(most)).max(least);
    }
    let low = 0f64.clamp(least, most);
    let high = (low + WALK).min(most);
    // Near the upper end of what the type holds, the way is on the other side.
    if high - low < WALK { ((high - WALK).max(least), high) } else { (low, high) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::device;

    fn point(text: &str) -> Point {
        device("addresses = \"zero-based\"", &format!("p = {{ {text} }}")).points[0].clone()
    }

    /// What a point reads after some seconds, as unit 0.
    fn reads(text: &str, seconds: u64) -> Value {
        let point = point(text);
        let Held(bytes) = Motion::of(&point).at(&point, Moment { seconds, unit: 0 });
        point.codec.decode(&bytes).unwrap()
    }

    #[test]
    fn a_number_walks_to_its_end_and_back() {
        let at = |seconds| reads("at = \"input:0\", type = \"i32\", scale = 0.1", seconds);
        assert_eq!([at(0), at(1), at(100), at(101)], [0.0, 1.0, 100.0, 99.0].map(Value::Float));
        assert_eq!(reads("at = \"input:7\", type = \"u16\"", 3), Value::Uint(73));
        assert_eq!(reads("at = \"input:20\", type = \"f32\"", 5), Value::Float(5.0));
        assert_eq!(reads("at = \"input:0\", type = \"u16\", scale = 0.0001", 50), Value::Float(3.2768));
        assert_eq!(
            reads("at = \"input:0\", type = \"i16\", scale = -0.001, offset = -40", 0),
            Value::Float(-72.767)
        );
    }

    #[test]
    fn a_bool_and_a_label_take_turns() {
        let at = |seconds| reads("at = \"coil:1\"", seconds);
        assert_eq!([at(0), at(9), at(10)], [true, true, false].map(Value::Bool));
        let label = "at = \"input:0\", type = \"u16\", enum = { 3 = \"off\", 7 = \"on\", 9 = \"fault\" }";
        let at = |seconds| reads(label, seconds);
        assert_eq!([at(0), at(10), at(29)], ["off", "on", "fault"].map(|word| Value::Text(word.to_owned())));
        let bits = point("at = \"input:0\", type = \"bits[4..6]\"");
        let held = Motion::of(&bits).at(&bits, Moment { seconds: 10, unit: 0 });
        assert_eq!(held, Held(vec![0, 5 << 4]));
    }

    #[test]
    fn a_point_that_can_be_written_rests() {
        let at = |text: &str| reads(&format!("at = \"holding:3\", type = \"i16\", {text}"), 77);
        assert_eq!(at("write = true"), Value::Int(0));
        assert_eq!(at("write = { min = 20, max = 30 }"), Value::Int(20));
        assert_eq!(at("write = { max = -5 }"), Value::Int(-105));
    }

    #[test]
    fn a_person_chooses_what_is_held() {
        let whole = point("at = \"input:0\", type = \"u16\"");
        let chosen = |wanted: Json| Motion::chosen(&whole, &wanted);
        assert_eq!(chosen(Json::from(258)), Ok(Motion::Rests(Held(vec![1, 2]))));
        assert_eq!(chosen(serde_json::json!({ "counts": "reads" })), Ok(Motion::Counts(0)));
        for wrong in [Json::from(70_000), Json::from("x"), Json::Null, serde_json::json!({ "counts": 1 })] {
            assert!(chosen(wrong.clone()).is_err(), "{wrong}");
        }
        let bits = point("at = \"input:0\", type = \"bits[4..6]\", enum = { 5 = \"five\" }");
        let held = Held(vec![0, 5 << 4]);
        assert_eq!(Motion::chosen(&bits, &Json::from("five")), Ok(Motion::Rests(held)));
        assert!(Motion::chosen(&bits, &Json::from("six")).is_err());
    }
}
