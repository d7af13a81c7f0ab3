//! Messages from the platform, or from whoever may publish on its broker.
//!
//! Always true: any bytes give a message or a reason, never a panic; nothing longer than
//! [`MAX_PAYLOAD_BYTES`] is looked at.

use std::fmt;

use serde::Deserialize;
use serde_json::{Map, Value as Json};

use crate::row::Value;

/// Longest message that is read.
pub const MAX_PAYLOAD_BYTES: usize = 64 * 1024;
/// Longest id; the platform's own have 32 characters.
pub const MAX_ID_BYTES: usize = 128;

/// Why a message is not understood. Its text is for the log.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Odd {
    /// Longer than [`MAX_PAYLOAD_BYTES`].
    #[error("{0} bytes, at most {MAX_PAYLOAD_BYTES} are read")]
    TooLong(usize),
    /// Not JSON, or not an object.
    #[error("not the JSON object it should be: {0}")]
    NotJson(String),
    /// No `id`, or not a string, or an empty or very long one.
    #[error("`id` is missing, not a string, empty or longer than {MAX_ID_BYTES} bytes")]
    Id,
    /// `params` is null, an array, or missing.
    #[error("`params` of {id} is {found}, not an object")]
    Params {
        /// Of the request, so that it can be answered.
        id: Id,
        /// What it is.
        found: &'static str,
    },
    /// A property to be set or an input of a call is null.
    #[error("parameter {key} of {id} is null")]
    Null {
        /// Of the request.
        id: Id,
        /// Which.
        key: String,
    },
}

impl Odd {
    /// The request's id, if that much was understood.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Params { id, .. } | Self::Null { id, .. } => Some(&id.0),
            _ => None,
        }
    }
}

/// Opaque, not empty, bounded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Id(pub String);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// `property/set`
#[derive(Debug, PartialEq)]
pub struct Set {
    /// Of the request.
    pub id: Id,
    /// By property key.
    pub params: Vec<(String, Value)>,
}

/// A service call.
#[derive(Debug, PartialEq)]
pub struct Call {
    /// Of the request.
    pub id: Id,
    /// JSON object.
    pub params: String,
}

/// The platform's acknowledgement.
#[derive(Debug, Deserialize)]
pub struct Reply {
    /// Of our message.
    pub id: String,
    /// 200 means done; there is no negative reply, only silence.
    pub code: i64,
}

/// Reads a `property/set`.
pub fn set(payload: &[u8]) -> Result<Set, Odd> {
    let (id, params) = request(payload)?;
    let mut values = Vec::with_capacity(params.len());
    for (key, json) in params {
        match value(json) {
            Some(value) => values.push((key, value)),
            None => return Err(Odd::Null { id, key }),
        }
    }
    Ok(Set { id, params: values })
}

/// Reads a service call.
pub fn call(payload: &[u8]) -> Result<Call, Odd> {
    let (id, params) = request(payload)?;
    match params.iter().find(|(_, json)| json.is_null()) {
        Some((key, _)) => Err(Odd::Null { id, key: key.clone() }),
        None => Ok(Call { id, params: Json::Object(params).to_string() }),
    }
}

/// Reads an acknowledgement.
pub fn reply(payload: &[u8]) -> Result<Reply, Odd> {
    bounded(payload)?;
    serde_json::from_slice(payload).map_err(|e| Odd::NotJson(e.to_string()))
}

fn request(payload: &[u8]) -> Result<(Id, Map<String, Json>), Odd> {
    bounded(payload)?;
    let mut message: Map<String, Json> =
        serde_json::from_slice(payload).map_err(|e| Odd::NotJson(e.to_string()))?;
    let id = match message.remove("id") {
        Some(Json::String(id)) if !id.is_empty() && id.len() <= MAX_ID_BYTES => Id(id),
        _ => return Err(Odd::Id),
    };
    let found = match message.remove("params") {
        Some(Json::Object(params)) => return Ok((id, params)),
        None => "missing",
        Some(Json::Null) => "null",
        Some(Json::Array(_)) => "an array",
        Some(_) => "a single value",
    };
    Err(Odd::Params { id, found })
}

fn bounded(payload: &[u8]) -> Result<(), Odd> {
    if payload.len() > MAX_PAYLOAD_BYTES { Err(Odd::TooLong(payload.len())) } else { Ok(()) }
}

fn value(json: Json) -> Option<Value> {
    Some(match json {
        Json::Null => return None,
        Json::Bool(v) => Value::Bool(v),
        Json::Number(v) => match (v.as_i64(), v.as_u64(), v.as_f64()) {
            (Some(v), _, _) => Value::Int(v),
            (_, Some(v), _) => Value::Uint(v),
            (_, _, v) => Value::Float(v?),
        },
        Json::String(v) => Value::Text(v),
        other => Value::Json(other.to_string()),
    })
}
