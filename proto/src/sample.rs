//! A sample (a point's value with time and quality) and its packed form on the wire.
//!
//! Always true: `unpack(pack(s)) == s` for samples of one device in time order whose floats are
//! finite; a packed message that contradicts itself or holds a float that is no number is an error,
//! never a panic and never a wrong value.

use std::fmt;

use crate::driver::{DeviceSamples, Kind, QualityCode, Value as WireValue, value::Value as WireKind};

/// One value of a point.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A coil, a contact, a flag.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Unsigned integer.
    Uint(u64),
    /// Floating point; always finite in a sample.
    Float(f64),
    /// UTF-8 text.
    Text(String),
    /// Raw bytes.
    Bytes(Vec<u8>),
    /// JSON text (an array or an object).
    Json(String),
}

/// How far a sample can be believed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quality {
    /// Read and decoded.
    Good,
    /// A value, with a doubt.
    Uncertain(String),
    /// No value, with the reason.
    Bad(String),
}

/// A point's value at one time. Points are numbers agreed in `Configured`.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// Number of the point in its device.
    pub point: u32,
    /// `None` exactly when the quality is bad.
    pub value: Option<Value>,
    /// How far to believe it.
    pub quality: Quality,
    /// When it was read, nanoseconds since boot.
    pub boot_ns: u64,
}

/// A packed message that contradicts itself; the sender is broken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PackError {
    /// A column is shorter than `count` asks for.
    #[error("column {0} is too short")]
    Short(&'static str),
    /// A kind or quality byte outside the enum.
    #[error("unknown {0} code {1}")]
    Code(&'static str, u8),
    /// A sample says good but carries no value, or the other way round.
    #[error("quality and value contradict each other")]
    Contradiction,
    /// A float is infinite or no number; such a read has to be sent as bad, with the reason.
    #[error("a value is infinite or not a number; send it as a bad sample")]
    NotFinite,
    /// More samples than a batch may hold.
    #[error("{0} samples in one message, at most {MAX_SAMPLES}")]
    TooMany(u32),
}

/// Most samples one [`DeviceSamples`] may hold; a larger count is a broken sender, not a reason to allocate.
pub const MAX_SAMPLES: u32 = 65_536;

/// Packs samples of one device. `wall_ms` is the wall time of the first sample, when trusted.
/// Samples must be in time order, their floats finite; offsets past 71 minutes are clamped, so flush
/// long before.
pub fn pack(device: u32, samples: &[Sample], wall_ms: Option<i64>) -> DeviceSamples {
    let base = samples.first().map_or(0, |s| s.boot_ns);
    let mut out = DeviceSamples {
        device,
        boot_ns: base,
        wall_ms,
        count: samples.len() as u32,
        ..DeviceSamples::default()
    };
    for sample in samples {
        out.points.push(sample.point);
        let offset_us = sample.boot_ns.saturating_sub(base) / 1_000;
        out.offsets_us.push(u32::try_from(offset_us).unwrap_or(u32::MAX));
        let kind = push_value(&mut out, sample.value.as_ref());
        out.kinds.push(kind as u8);
        let (code, reason) = match &sample.quality {
            Quality::Good => (QualityCode::QualityGood, None),
            Quality::Uncertain(reason) => (QualityCode::QualityUncertain, Some(reason)),
            Quality::Bad(reason) => (QualityCode::QualityBad, Some(reason)),
        };
        out.qualities.push(code as u8);
        out.reasons.extend(reason.cloned());
    }
    shorten(&mut out);
    out
}

/// Leaves out the columns that say nothing.
fn shorten(out: &mut DeviceSamples) {
    if out.points.iter().enumerate().all(|(i, p)| *p as usize == i) {
        out.points.clear();
    }
    if out.offsets_us.iter().all(|o| *o == 0) {
        out.offsets_us.clear();
    }
    if out.kinds.windows(2).all(|w| w[0] == w[1]) {
        out.kinds.truncate(1);
    }
    if out.qualities.iter().all(|q| *q == QualityCode::QualityGood as u8) {
        out.qualities.clear();
    }
}

fn push_value(out: &mut DeviceSamples, value: Option<&Value>) -> Kind {
    match value {
        None => Kind::None,
        Some(Value::Bool(v)) => {
            out.bools.push(*v);
            Kind::Bool
        }
        Some(Value::Int(v)) => {
            out.ints.push(*v);
            Kind::Int
        }
        Some(Value::Uint(v)) => {
            out.uints.push(*v);
            Kind::Uint
        }
        Some(Value::Float(v)) if f64::from(*v as f32).to_bits() == v.to_bits() => {
            out.floats.push(*v as f32);
            Kind::Float
        }
        Some(Value::Float(v)) => {
            out.doubles.push(*v);
            Kind::Double
        }
        Some(Value::Text(v)) => {
            out.texts.push(v.clone());
            Kind::Text
        }
        Some(Value::Bytes(v)) => {
            out.blobs.push(v.clone());
            Kind::Bytes
        }
        Some(Value::Json(v)) => {
            out.jsons.push(v.clone());
            Kind::Json
        }
    }
}

/// Unpacks a message, in the order it was packed. Times are exact to the microsecond.
pub fn unpack(packed: DeviceSamples) -> Result<Vec<Sample>, PackError> {
    if packed.count > MAX_SAMPLES {
        return Err(PackError::TooMany(packed.count));
    }
    let count = packed.count as usize;
    let mut bools = packed.bools.into_iter();
    let mut ints = packed.ints.into_iter();
    let mut uints = packed.uints.into_iter();
    let mut floats = packed.floats.into_iter();
    let mut doubles = packed.doubles.into_iter();
    let mut texts = packed.texts.into_iter();
    let mut blobs = packed.blobs.into_iter();
    let mut jsons = packed.jsons.into_iter();
    let mut reasons = packed.reasons.into_iter();
    let mut samples = Vec::with_capacity(count);
    for i in 0..count {
        let code = match packed.kinds.as_slice() {
            [one] => *one,
            all => *all.get(i).ok_or(PackError::Short("kinds"))?,
        };
        let kind = Kind::try_from(i32::from(code)).map_err(|_| PackError::Code("kind", code))?;
        let value = match kind {
            Kind::None => None,
            Kind::Bool => Some(Value::Bool(bools.next().ok_or(PackError::Short("bools"))?)),
            Kind::Int => Some(Value::Int(ints.next().ok_or(PackError::Short("ints"))?)),
            Kind::Uint => Some(Value::Uint(uints.next().ok_or(PackError::Short("uints"))?)),
            Kind::Float => Some(Value::Float(floats.next().ok_or(PackError::Short("floats"))?.into())),
            Kind::Double => Some(Value::Float(doubles.next().ok_or(PackError::Short("doubles"))?)),
            Kind::Text => Some(Value::Text(texts.next().ok_or(PackError::Short("texts"))?)),
            Kind::Bytes => Some(Value::Bytes(blobs.next().ok_or(PackError::Short("blobs"))?)),
            Kind::Json => Some(Value::Json(jsons.next().ok_or(PackError::Short("jsons"))?)),
        };
        let quality = match packed.qualities.as_slice() {
            [] => QualityCode::QualityGood,
            all => {
                let code = *all.get(i).ok_or(PackError::Short("qualities"))?;
                QualityCode::try_from(i32::from(code)).map_err(|_| PackError::Code("quality", code))?
            }
        };
        let mut reason = || reasons.next().ok_or(PackError::Short("reasons"));
        let quality = match quality {
            QualityCode::QualityGood => Quality::Good,
            QualityCode::QualityUncertain => Quality::Uncertain(reason()?),
            QualityCode::QualityBad => Quality::Bad(reason()?),
        };
        if value.is_none() != matches!(quality, Quality::Bad(_)) {
            return Err(PackError::Contradiction);
        }
        if matches!(value, Some(Value::Float(v)) if !v.is_finite()) {
            return Err(PackError::NotFinite);
        }
        let point = match packed.points.as_slice() {
            [] => i as u32,
            all => *all.get(i).ok_or(PackError::Short("points"))?,
        };
        let offset_us = match packed.offsets_us.as_slice() {
            [] => 0,
            all => *all.get(i).ok_or(PackError::Short("offsets_us"))?,
        };
        let boot_ns = packed.boot_ns.saturating_add(u64::from(offset_us) * 1_000);
        samples.push(Sample { point, value, quality, boot_ns });
    }
    Ok(samples)
}

impl From<Value> for WireValue {
    fn from(value: Value) -> Self {
        let value = match value {
            Value::Bool(v) => WireKind::Boolean(v),
            Value::Int(v) => WireKind::Int(v),
            Value::Uint(v) => WireKind::Uint(v),
            Value::Float(v) => WireKind::Double(v),
            Value::Text(v) => WireKind::Text(v),
            Value::Bytes(v) => WireKind::Blob(v),
            Value::Json(v) => WireKind::Json(v),
        };
        Self { value: Some(value) }
    }
}

impl From<WireKind> for Value {
    fn from(value: WireKind) -> Self {
        match value {
            WireKind::Boolean(v) => Self::Bool(v),
            WireKind::Int(v) => Self::Int(v),
            WireKind::Uint(v) => Self::Uint(v),
            WireKind::Double(v) => Self::Float(v),
            WireKind::Text(v) => Self::Text(v),
            WireKind::Blob(v) => Self::Bytes(v),
            WireKind::Json(v) => Self::Json(v),
        }
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(v) => v.fmt(f),
            Self::Int(v) => v.fmt(f),
            Self::Uint(v) => v.fmt(f),
            Self::Float(v) => v.fmt(f),
            Self::Text(v) | Self::Json(v) => v.fmt(f),
            Self::Bytes(v) => v.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn value() -> impl Strategy<Value = Value> {
        prop_oneof![
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::Uint),
            (-1e300..1e300f64).prop_map(Value::Float),
            any::<f32>().prop_filter("finite", |v| v.is_finite()).prop_map(|v| Value::Float(v.into())),
            "[a-z]{0,9}".prop_map(Value::Text),
            proptest::collection::vec(any::<u8>(), 0..9).prop_map(Value::Bytes),
        ]
    }

    fn sample() -> impl Strategy<Value = (u32, Option<Value>, String, bool, u64)> {
        (0..50u32, proptest::option::weighted(0.9, value()), "[a-z]{1,5}", any::<bool>(), 0..1_000_000u64)
    }

    proptest! {
        #[test]
        fn packing_loses_nothing(raw in proptest::collection::vec(sample(), 0..60), base in 0..u64::MAX / 2) {
            let mut at = base / 1_000 * 1_000;
            let samples: Vec<Sample> = raw.into_iter().map(|(point, value, reason, doubt, gap_us)| {
                at += gap_us * 1_000;
                let quality = match (&value, doubt) {
                    (None, _) => Quality::Bad(reason),
                    (Some(_), true) => Quality::Uncertain(reason),
                    (Some(_), false) => Quality::Good,
                };
                Sample { point, value, quality, boot_ns: at }
            }).collect();
            prop_assert_eq!(unpack(pack(3, &samples, None)).unwrap(), samples);
        }

        #[test]
        fn any_bytes_are_an_error_or_samples(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(packed) = DeviceSamples::decode(bytes.as_slice()) {
                let _ = unpack(packed);
            }
        }
    }

    #[test]
    fn a_hundred_points_cost_well_under_a_kibibyte() {
        let samples: Vec<Sample> = (0..100)
            .map(|point| Sample {
                point,
                value: Some(Value::Float(f64::from(point) / 10.0)),
                quality: Quality::Good,
                boot_ns: 1_000_000_000_000,
            })
            .collect();
        let bytes = pack(7, &samples, Some(1_700_000_000_000)).encoded_len();
        assert!(bytes < 900, "{bytes} bytes");
    }

    #[test]
    fn a_float_that_is_no_number_is_refused_whatever_its_width_and_quality() {
        for odd in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::from_bits(0x7ff0_0000_0000_0001)] {
            for quality in [Quality::Good, Quality::Uncertain("drifts".into())] {
                let sample = Sample { point: 0, value: Some(Value::Float(odd)), quality, boot_ns: 1 };
                assert_eq!(unpack(pack(0, &[sample], None)), Err(PackError::NotFinite), "{odd}");
            }
        }
    }

    #[test]
    fn a_contradiction_is_refused() {
        let packed = DeviceSamples { count: 1, kinds: vec![0], ..DeviceSamples::default() };
        assert_eq!(unpack(packed), Err(PackError::Contradiction));
        let packed = DeviceSamples { count: u32::MAX, ..DeviceSamples::default() };
        assert_eq!(unpack(packed), Err(PackError::TooMany(u32::MAX)));
    }
}
