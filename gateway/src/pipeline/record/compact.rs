//! A value in 16 bytes, for what is remembered of every point.
//!
//! Always true: what comes out is what went in; numbers and flags take no memory beside it.

use crate::row::Value;

/// See the module.
#[derive(Debug, Clone, PartialEq)]
pub enum Compact {
    /// A flag.
    Bool(bool),
    /// Signed integer.
    Int(i64),
    /// Unsigned integer.
    Uint(u64),
    /// Floating point.
    Float(f64),
    /// Text, bytes or JSON.
    Long(Box<Value>),
}

impl Compact {
    /// The value.
    pub fn value(&self) -> Value {
        match self {
            Self::Bool(on) => Value::Bool(*on),
            Self::Int(number) => Value::Int(*number),
            Self::Uint(number) => Value::Uint(*number),
            Self::Float(number) => Value::Float(*number),
            Self::Long(value) => (**value).clone(),
        }
    }

    /// Takes a value over; what has room for it is used again.
    pub fn set(&mut self, value: &Value) {
        match (self, value) {
            (Self::Long(room), Value::Text(_) | Value::Bytes(_) | Value::Json(_)) => **room = value.clone(),
            (this, value) => *this = value.clone().into(),
        }
    }
}

impl From<Value> for Compact {
    fn from(value: Value) -> Self {
        match value {
            Value::Bool(on) => Self::Bool(on),
            Value::Int(number) => Self::Int(number),
            Value::Uint(number) => Self::Uint(number),
            Value::Float(number) => Self::Float(number),
            long @ (Value::Text(_) | Value::Bytes(_) | Value::Json(_)) => Self::Long(Box::new(long)),
        }
    }
}

impl PartialEq<Value> for Compact {
    fn eq(&self, other: &Value) -> bool {
        match (self, other) {
            (Self::Bool(a), Value::Bool(b)) => a == b,
            (Self::Int(a), Value::Int(b)) => a == b,
            (Self::Uint(a), Value::Uint(b)) => a == b,
            (Self::Float(a), Value::Float(b)) => a == b,
            (Self::Long(a), b) => **a == *b,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_comes_back_and_equals_itself_alone() {
        let values = [
            Value::Bool(true),
            Value::Int(1),
            Value::Uint(1),
            Value::Float(1.0),
            Value::Text("1".into()),
            Value::Bytes(b"1".to_vec()),
            Value::Json("1".into()),
        ];
        for (place, value) in values.iter().enumerate() {
            let mut kept = Compact::from(value.clone());
            assert_eq!(kept.value(), *value);
            let equal: Vec<bool> = values.iter().map(|other| kept == *other).collect();
            assert_eq!(equal.iter().position(|equal| *equal), Some(place));
            assert_eq!(equal.iter().filter(|equal| **equal).count(), 1);
            for other in &values {
                kept.set(other);
                assert_eq!(kept.value(), *other);
                kept.set(value);
            }
        }
        assert_eq!(size_of::<Compact>(), 16);
    }
}
