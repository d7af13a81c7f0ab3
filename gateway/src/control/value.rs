//! A point's value as JSON and back.
//!
//! Always true: integers are exact in both directions; bytes become hexadecimal text.

use std::fmt::Write as _;

use sagoo_edge_proto::sample::Value;
use serde_json::{Number, Value as Json};

/// For the command line and the status.
pub fn to_json(value: &Value) -> Json {
    match value {
        Value::Bool(flag) => Json::Bool(*flag),
        Value::Int(number) => Json::from(*number),
        Value::Uint(number) => Json::from(*number),
        Value::Float(number) => Number::from_f64(*number).map_or(Json::Null, Json::Number),
        Value::Text(text) => Json::String(text.clone()),
        Value::Bytes(bytes) => Json::String(bytes.iter().fold(String::new(), |mut hex, byte| {
            let _ = write!(hex, "{byte:02x}");
            hex
        })),
        Value::Json(text) => serde_json::from_str(text).unwrap_or_else(|_| Json::String(text.clone())),
    }
}

/// What is to be written; `None` for null, which is no value.
pub fn from_json(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(flag) => Value::Bool(flag),
        Json::String(text) => Value::Text(text),
        Json::Array(_) | Json::Object(_) => Value::Json(json.to_string()),
        Json::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Value::Int(number),
            (None, Some(number)) => Value::Uint(number),
            (None, None) => Value::Float(number.as_f64()?),
        },
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn values_are_shown_as_people_expect_them() {
        assert_eq!(to_json(&Value::Bytes(vec![0, 255, 16])), json!("00ff10"));
        assert_eq!(to_json(&Value::Json("{\"a\":[1]}".into())), json!({"a": [1]}));
        assert_eq!(to_json(&Value::Json("{broken".into())), json!("{broken"));
        assert_eq!(to_json(&Value::Float(f64::NAN)), Json::Null);
        assert_eq!(from_json(json!(5)), Some(Value::Int(5)));
        assert_eq!(from_json(json!(5.0)), Some(Value::Float(5.0)));
        assert_eq!(from_json(json!([1])), Some(Value::Json("[1]".into())));
        assert_eq!(from_json(Json::Null), None);
    }

    proptest! {
        #[test]
        fn integers_are_exact_through_text(signed in any::<i64>(), unsigned in i64::MAX as u64 + 1..) {
            for value in [Value::Int(signed), Value::Uint(unsigned)] {
                let text = to_json(&value).to_string();
                prop_assert_eq!(from_json(serde_json::from_str(&text).unwrap()), Some(value));
            }
        }
    }
}
