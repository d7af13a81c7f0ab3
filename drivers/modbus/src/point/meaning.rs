//! What the number in the registers means: a scale, labels or an expression, or just the number.
//!
//! Always true: at most one of them; whole numbers without any stay whole; what is written goes the same
//! way back, through `inverse` where there is an expression.

use std::sync::Arc;

use sagoo_driver_sdk::Value;

use crate::point::expression::Expression;
use crate::point::kind::Kind;
use crate::point::labels::Labels;
use crate::point::scale::Scale;
use crate::point::value::{Raw, as_number};

/// What a number stands for.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum Meaning {
    /// Itself.
    #[default]
    Plain,
    /// `raw × scale + offset`.
    Scaled(Scale),
    /// A word.
    Labelled(Labels),
    /// What a formula makes of it; shared by the devices of a model.
    Computed {
        reads: Arc<Expression>,
        /// Value → raw; without it nothing can be written.
        writes: Option<Arc<Expression>>,
    },
}

impl Meaning {
    /// The labels, where it has some.
    pub(crate) fn labels(&self) -> Option<&Labels> {
        match self {
            Self::Labelled(labels) => Some(labels),
            _ => None,
        }
    }

    /// Whether the number stands for itself.
    pub(crate) fn is_plain(&self) -> bool {
        matches!(self, Self::Plain)
    }

    /// Whether it can only be read.
    pub(crate) fn lacks_inverse(&self) -> bool {
        matches!(self, Self::Computed { writes: None, .. })
    }

    /// Raw → value, or why there is none.
    pub(crate) fn value(&self, raw: Raw, kind: Kind) -> Result<Value, String> {
        match (self, raw) {
            (Self::Labelled(labels), Raw::Whole(number)) => labels.value(number),
            (Self::Scaled(scale), Raw::Whole(number)) => finite(scale.of_integer(number)),
            (Self::Scaled(scale), Raw::Real(number)) => finite(scale.of_float(number)),
            (Self::Computed { reads, .. }, raw) => reads.of(raw.as_float()).map(Value::Float),
            (Self::Plain | Self::Labelled(_), Raw::Real(number)) => finite(number),
            (Self::Plain, Raw::Whole(number)) if kind == Kind::Bool => Ok(Value::Bool(number != 0)),
            (Self::Plain, Raw::Whole(number)) => match (kind.range(), u64::try_from(number)) {
                (Some((0, _)), Ok(number)) => Ok(Value::Uint(number)),
                _ => Ok(Value::Int(number as i64)),
            },
        }
    }

    /// Value → raw, or why it is none of this type.
    pub(crate) fn raw(&self, value: &Value, kind: Kind) -> Result<Raw, String> {
        let Some(range) = kind.range() else {
            let number = as_number(value)?;
            return Ok(Raw::Real(match self {
                Self::Scaled(scale) => scale.inverse(number),
                Self::Computed { .. } => self.inverse(number)?,
                Self::Plain | Self::Labelled(_) => number,
            }));
        };
        let raw = match (self, value) {
            (Self::Labelled(labels), value) => return labels.raw(value).map(Raw::Whole),
            (_, value) if kind == Kind::Bool => return as_bool(value).map(|on| Raw::Whole(on.into())),
            (Self::Plain, Value::Int(value)) => i128::from(*value),
            (Self::Plain, Value::Uint(value)) => i128::from(*value),
            (Self::Plain, value) => {
                let number = as_number(value)?;
                if number.fract() != 0.0 {
                    return Err(format!("{number} is not a whole number"));
                }
                number as i128
            }
            (Self::Scaled(scale), value) => scale.inverse(as_number(value)?).round() as i128,
            (Self::Computed { .. }, value) => self.inverse(as_number(value)?)?.round() as i128,
        };
        self.fits(raw, value, kind, range)
    }

    fn fits(&self, raw: i128, value: &Value, kind: Kind, (least, most): (i128, i128)) -> Result<Raw, String> {
        if (least..=most).contains(&raw) {
            return Ok(Raw::Whole(raw));
        }
        Err(match self {
            Self::Scaled(scale) => {
                let (one, other) = (scale.of_integer(least), scale.of_integer(most));
                let (least, most) = (one.min(other), one.max(other));
                format!("{value} does not fit {kind}, {least} to {most} with its scale")
            }
            Self::Computed { .. } => {
                format!("{value} is {raw} by its inverse, which does not fit {kind}, {least} to {most}")
            }
            Self::Plain | Self::Labelled(_) => format!("{value} does not fit {kind}, {least} to {most}"),
        })
    }

    fn inverse(&self, value: f64) -> Result<f64, String> {
        match self {
            Self::Computed { writes: Some(writes), .. } => {
                writes.of(value).map_err(|why| format!("inverse: {why}"))
            }
            _ => Err("a point with an expression has no inverse to be written by".to_owned()),
        }
    }
}

impl Raw {
    fn as_float(self) -> f64 {
        match self {
            Self::Whole(number) => number as f64,
            Self::Real(number) => number,
        }
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
