//! Messages as the platform's own JSON parser takes them: typed fields, everything else ignored.
//!
//! Always true: a wrong JSON type in a typed field fails the whole message, a missing or null field
//! is its zero value, names match in any case (sagooiot.md §3).

use serde_json::{Map, Value as Json};

/// Fields that every message has.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Envelope {
    /// `id`
    pub id: String,
    /// `version`
    pub version: String,
    /// `method`
    pub method: String,
    /// `sys.ack`
    pub ack: i64,
    /// `params`
    pub params: Map<String, Json>,
}

/// `params` of a pack.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Pack {
    /// The gateway's own; shown, never stored.
    pub properties: Map<String, Json>,
    /// In the order of the message.
    pub sub_devices: Vec<SubDevice>,
}

/// One entry of `subDevices`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct SubDevice {
    /// `identity.productKey`
    pub product_key: String,
    /// `identity.deviceKey`
    pub device_key: String,
    /// `properties`
    pub properties: Map<String, Json>,
    /// `events`
    pub events: Vec<SubEvent>,
}

/// One event of a sub-device.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct SubEvent {
    /// Its key.
    pub name: String,
    /// Its outputs.
    pub value: Map<String, Json>,
    /// When it happened.
    pub time: i64,
}

/// `Err`: what the platform's parser says no to.
pub(super) fn envelope(text: &str) -> Result<Envelope, String> {
    let root = object_of("message", serde_json::from_str(text).map_err(|error| error.to_string())?)?;
    let sys = object(&root, "sys")?;
    Ok(Envelope {
        id: string(&root, "id")?,
        version: string(&root, "version")?,
        method: string(&root, "method")?,
        ack: integer(&sys, "ack")?,
        params: object(&root, "params")?,
    })
}

/// The `params` of a pack, typed.
pub(super) fn pack(params: &Map<String, Json>) -> Result<Pack, String> {
    events(params)?;
    let list = match field(params, "subDevices") {
        None | Some(Json::Null) => Vec::new(),
        Some(Json::Array(list)) => list.clone(),
        Some(other) => return Err(format!("subDevices is {other}, not an array")),
    };
    let sub_devices = list.into_iter().map(sub_device).collect::<Result<_, _>>()?;
    Ok(Pack { properties: object(params, "properties")?, sub_devices })
}

fn sub_device(entry: Json) -> Result<SubDevice, String> {
    let entry = object_of("subDevices entry", entry)?;
    let identity = object(&entry, "identity")?;
    Ok(SubDevice {
        product_key: string(&identity, "productKey")?,
        device_key: string(&identity, "deviceKey")?,
        properties: object(&entry, "properties")?,
        events: events(&entry)?,
    })
}

fn events(holder: &Map<String, Json>) -> Result<Vec<SubEvent>, String> {
    object(holder, "events")?
        .into_iter()
        .map(|(name, node)| {
            let node = object_of(&name, node)?;
            Ok(SubEvent { value: object(&node, "value")?, time: integer(&node, "time")?, name })
        })
        .collect()
}

/// Go matches names in any case; the exact one wins.
pub(super) fn field<'a>(object: &'a Map<String, Json>, name: &str) -> Option<&'a Json> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn string(object: &Map<String, Json>, name: &str) -> Result<String, String> {
    match field(object, name) {
        None | Some(Json::Null) => Ok(String::new()),
        Some(Json::String(text)) => Ok(text.clone()),
        Some(other) => Err(format!("{name} is {other}, not a string")),
    }
}

fn integer(object: &Map<String, Json>, name: &str) -> Result<i64, String> {
    match field(object, name) {
        None | Some(Json::Null) => Ok(0),
        Some(value) => value.as_i64().ok_or_else(|| format!("{name} is {value}, not an integer")),
    }
}

fn object(holder: &Map<String, Json>, name: &str) -> Result<Map<String, Json>, String> {
    field(holder, name).map_or(Ok(Map::new()), |value| object_of(name, value.clone()))
}

fn object_of(name: &str, value: Json) -> Result<Map<String, Json>, String> {
    match value {
        Json::Null => Ok(Map::new()),
        Json::Object(map) => Ok(map),
        other => Err(format!("{name} is {other}, not an object")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_wrong_type_fails_the_whole_message() {
        for (wrong, word) in [
            (r#"{"id":1}"#, "id"),
            (r#"{"version":1.0}"#, "version"),
            (r#"{"sys":{"ack":"1"}}"#, "ack"),
            (r#"{"sys":{"ack":1.0}}"#, "ack"),
            (r#"{"method":null,"params":[]}"#, "params"),
            ("[]", "message"),
            ("{", "EOF"),
        ] {
            let error = envelope(wrong).unwrap_err();
            assert!(error.contains(word), "{wrong}: {error}");
        }
        assert_eq!(envelope(r#"{"ID":"a","Sys":{"Ack":1}}"#).unwrap().ack, 1);
    }

    #[test]
    fn an_event_time_must_be_an_integer_literal() {
        let with = |time: Json| {
            let params = json!({"subDevices":[{"identity":{"deviceKey":"a"},
                "properties":{},"events":{"hot":{"value":{"t":1},"time":time}}}]});
            pack(params.as_object().unwrap())
        };
        assert_eq!(with(json!(1_718_000_000)).unwrap().sub_devices[0].events[0].name, "hot");
        assert!(with(json!(1.7e9)).is_err());
        assert!(with(json!("1718000000")).is_err());
    }
}
