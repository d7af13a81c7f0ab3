//! What a value may look like so that the platform can store it: its SQL is built by concatenation, it
//! strips backslashes, and its columns hold 150 characters unless the thing model says otherwise.
//!
//! Always true: what is written is valid JSON of its own and needs no escape.

use std::fmt::Write;

use serde_json::Value as Json;

use crate::row::Value;

/// Longest text, in characters; longer ones are cut (the platform's column without `maxLength`).
pub const MAX_TEXT_CHARS: usize = 150;
/// Longest array or object as JSON, in characters; longer ones are left out, for a cut one is no JSON.
pub const MAX_JSON_CHARS: usize = 150;
/// Longest value of an event as JSON, in characters; longer ones are announced empty.
pub const MAX_EVENT_CHARS: usize = 2_048;

/// What could not be said as it was.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Losses {
    /// Arrays and objects that were too long, or no JSON, and numbers that are none.
    pub left_out: u32,
    /// Texts that were cut.
    pub cut: u32,
    /// Whole numbers the platform cannot hold exactly; they are sent as they are.
    pub rounded: u32,
}

impl Losses {
    /// Whether anything was lost.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

/// Writes a value; `false`: there is nothing the platform could take, and nothing was written.
pub fn push_value(out: &mut String, value: &Value, losses: &mut Losses) -> bool {
    match value {
        Value::Bool(v) => push(out, v),
        Value::Int(v) => {
            losses.rounded += u32::from(is_rounded(v.unsigned_abs()));
            push(out, v);
        }
        Value::Uint(v) => {
            losses.rounded += u32::from(is_rounded(*v));
            push(out, v);
        }
        Value::Float(v) if v.is_finite() => push(out, Json::from(*v)),
        Value::Float(_) => {
            losses.left_out += 1;
            return false;
        }
        Value::Text(v) => losses.cut += u32::from(push_text(out, v, MAX_TEXT_CHARS)),
        Value::Bytes(_) => losses.cut += u32::from(push_text(out, &value.to_string(), MAX_TEXT_CHARS)),
        Value::Json(v) => {
            let Some(clean) = clean_json(v, MAX_JSON_CHARS) else {
                losses.left_out += 1;
                return false;
            };
            out.push_str(&clean);
        }
    }
    true
}

/// Whether a number with this magnitude becomes another one on its way through 64-bit floating point.
fn is_rounded(magnitude: u64) -> bool {
    const BITS: u32 = f64::MANTISSA_DIGITS;
    magnitude != 0 && (u64::BITS - magnitude.leading_zeros()) - magnitude.trailing_zeros() > BITS
}

/// Whether [`push_value`] would write it.
pub fn can_be_said(value: &Value) -> bool {
    match value {
        Value::Float(v) => v.is_finite(),
        Value::Json(v) => clean_json(v, MAX_JSON_CHARS).is_some(),
        Value::Bool(_) | Value::Int(_) | Value::Uint(_) | Value::Text(_) | Value::Bytes(_) => true,
    }
}

/// The value of an event: always an object, empty when it is too long.
pub fn push_event_value(out: &mut String, value: &str, losses: &mut Losses) {
    match clean_json(value, MAX_EVENT_CHARS) {
        Some(clean) if clean.starts_with('{') => out.push_str(&clean),
        Some(clean) => {
            out.push_str("{\"value\":");
            out.push_str(&clean);
            out.push('}');
        }
        None => {
            losses.left_out += 1;
            out.push_str("{}");
        }
    }
}

/// Writes a JSON string; `true`: it was longer than `max_chars` and is cut.
pub fn push_text(out: &mut String, text: &str, max_chars: usize) -> bool {
    out.push('"');
    let mut chars = text.chars();
    out.extend(chars.by_ref().take(max_chars).map(harmless));
    out.push('"');
    chars.next().is_some()
}

/// Look-alikes of what the platform cannot stand.
fn harmless(c: char) -> char {
    match c {
        '\'' => '’',
        '"' => '”',
        '\\' => '/',
        c if c.is_control() => ' ',
        c => c,
    }
}

/// `None`: no JSON, null, or too long.
fn clean_json(text: &str, max_chars: usize) -> Option<String> {
    let json: Json = serde_json::from_str(text).ok()?;
    if json.is_null() {
        return None;
    }
    let mut out = String::with_capacity(text.len());
    push_json(&mut out, &json);
    (out.chars().count() <= max_chars).then_some(out)
}

/// A null member is left out; a null element becomes the empty text, as the platform itself stores it.
pub fn push_json(out: &mut String, json: &Json) {
    match json {
        Json::Null => out.push_str("\"\""),
        Json::Bool(v) => push(out, v),
        Json::Number(v) => push(out, v),
        Json::String(v) => {
            push_text(out, v, usize::MAX);
        }
        Json::Array(elements) => {
            out.push('[');
            for (i, element) in elements.iter().enumerate() {
                separate(out, i);
                push_json(out, element);
            }
            out.push(']');
        }
        Json::Object(members) => {
            out.push('{');
            for (i, (key, value)) in members.iter().filter(|(_, v)| !v.is_null()).enumerate() {
                separate(out, i);
                push_text(out, key, usize::MAX);
                out.push(':');
                push_json(out, value);
            }
            out.push('}');
        }
    }
}

/// A comma before all but the first.
pub fn separate(out: &mut String, index: usize) {
    if index > 0 {
        out.push(',');
    }
}

/// Writes what needs no cleaning.
pub fn push(out: &mut String, value: impl std::fmt::Display) {
    write!(out, "{value}").expect("writing to a string cannot fail");
}
