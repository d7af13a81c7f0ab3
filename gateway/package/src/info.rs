//! `info.json`: who a driver is, in the words of the SagooIOT platform (sagooiot.md §10).
//!
//! Always true: an info that was read can be shown by the platform as it is, and says how the driver
//! is started; keys nobody here knows are kept.

use serde_json::{Map, Value as Json};

use crate::limits::{MAX_ARGS, MAX_INFO};
use crate::name::{self, Version};

/// Its file name.
pub(crate) const INFO: &str = "info.json";
/// Of all that the platform calls a plugin, what a driver is.
const TYPES: &str = "driver";
/// Keys that hold text, besides those that must be there.
const TEXTS: [&str; 4] = ["description", "author", "icon", "link"];
/// Longest text of a key, in bytes.
const MAX_TEXT: usize = 64 << 10;

/// Who a driver is.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// Id of the driver: `name`.
    pub id: String,
    /// The field protocol, in the platform's words: `handleType`.
    pub handle_type: String,
    /// For people.
    pub title: String,
    /// Of the driver.
    pub version: Version,
    /// For people; may be empty.
    pub description: String,
    /// For people; may be empty.
    pub author: String,
    /// A program in the package, or an interpreter of the gateway's list.
    pub command: String,
    /// What it is started with; for an interpreter first its script, a file of the package.
    pub args: Vec<String>,
    /// Everything, unknown keys too.
    pub all: Map<String, Json>,
}

impl Info {
    /// Reads one; the mistake carries its place.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_INFO {
            return Err(format!("it has more than {MAX_INFO} bytes"));
        }
        let all = match serde_json::from_slice(bytes).map_err(|error| error.to_string())? {
            Json::Object(all) => all,
            other => return Err(format!("expected an object, found {}", kind(&other))),
        };
        let types = needed(&all, "types")?;
        if types != TYPES {
            return Err(format!("types: expected {TYPES:?}, found {types:?}"));
        }
        let id = needed(&all, "name")?;
        if !name::is_id(&id) {
            return Err(format!("name: {id:?} cannot be a driver's id: small letters, digits, _ and -"));
        }
        for key in TEXTS {
            text(&all, key)?;
        }
        frontend(&all)?;
        Ok(Self {
            handle_type: needed(&all, "handleType")?,
            title: needed(&all, "title")?,
            version: Version::parse(&needed(&all, "version")?).map_err(|why| format!("version: {why}"))?,
            description: text(&all, "description")?.unwrap_or_default(),
            author: text(&all, "author")?.unwrap_or_default(),
            command: needed(&all, "command")?,
            args: args(&all)?,
            id,
            all,
        })
    }
}

fn text(all: &Map<String, Json>, key: &str) -> Result<Option<String>, String> {
    match all.get(key) {
        None => Ok(None),
        Some(value) => string(value, key).map(Some),
    }
}

fn needed(all: &Map<String, Json>, key: &str) -> Result<String, String> {
    match text(all, key)? {
        Some(text) if !text.trim().is_empty() => Ok(text),
        Some(_) => Err(format!("{key}: is empty")),
        None => Err(format!("{key}: is missing")),
    }
}

fn args(all: &Map<String, Json>) -> Result<Vec<String>, String> {
    let list = match all.get("args") {
        None => return Ok(Vec::new()),
        Some(Json::Array(list)) => list,
        Some(other) => return Err(format!("args: expected a list, found {}", kind(other))),
    };
    if list.len() > MAX_ARGS {
        return Err(format!("args: more than {MAX_ARGS}"));
    }
    list.iter().enumerate().map(|(at, value)| string(value, &format!("args[{at}]"))).collect()
}

/// The platform's web console takes what it finds here without looking.
fn frontend(all: &Map<String, Json>) -> Result<(), String> {
    let table = match all.get("frontend") {
        None => return Ok(()),
        Some(Json::Object(table)) => table,
        Some(other) => return Err(format!("frontend: expected an object, found {}", kind(other))),
    };
    for key in ["ui", "configuration"] {
        if let Some(other) = table.get(key).filter(|value| !value.is_boolean()) {
            return Err(format!("frontend.{key}: expected true or false, found {}", kind(other)));
        }
    }
    table.get("url").map_or(Ok(()), |url| string(url, "frontend.url").map(drop))
}

fn string(value: &Json, place: &str) -> Result<String, String> {
    match value {
        Json::String(text) if text.len() > MAX_TEXT => Err(format!("{place}: more than {MAX_TEXT} bytes")),
        Json::String(text) if text.contains('\0') => Err(format!("{place}: holds a zero byte")),
        Json::String(text) => Ok(text.clone()),
        other => Err(format!("{place}: expected a text, found {}", kind(other))),
    }
}

fn kind(value: &Json) -> &'static str {
    match value {
        Json::Null => "null",
        Json::Bool(_) => "true or false",
        Json::Number(_) => "a number",
        Json::String(_) => "a text",
        Json::Array(_) => "a list",
        Json::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn good() -> Json {
        json!({
            "types": "driver", "handleType": "modbus", "name": "modbus", "title": "Modbus 采集",
            "description": "", "version": "1.2.0", "author": "Sagoo", "icon": "modbus.png", "link": "",
            "command": "driver-modbus", "args": ["--quiet"],
            "frontend": { "ui": true, "url": "/plugin/modbus", "configuration": false },
            "pluginConfig": [{ "Key": "port", "Type": "port" }],
        })
    }

    fn read(info: &Json) -> Result<Info, String> {
        Info::parse(info.to_string().as_bytes())
    }

    #[test]
    fn the_platforms_own_keys_are_read_and_unknown_ones_kept() {
        let info = read(&good()).unwrap();
        assert_eq!((info.id.as_str(), info.command.as_str()), ("modbus", "driver-modbus"));
        assert_eq!(info.args, ["--quiet"]);
        assert_eq!(info.all["pluginConfig"][0]["Key"], "port");
    }

    #[test]
    fn each_mistake_is_told_with_its_place() {
        for (key, value, message) in [
            ("types", json!("protocol"), "types: expected \"driver\", found \"protocol\""),
            ("types", json!(null), "types: expected a text, found null"),
            ("handleType", json!(7), "handleType: expected a text, found a number"),
            ("name", json!("../etc"), "name: \"../etc\" cannot be"),
            ("title", json!("  "), "title: is empty"),
            ("version", json!("1"), "version: \"1\" is no version"),
            ("command", json!(["x"]), "command: expected a text, found a list"),
            ("args", json!("-v"), "args: expected a list, found a text"),
            ("args", json!(["a", 1]), "args[1]: expected a text, found a number"),
            ("args", json!(["a\0b"]), "args[0]: holds a zero byte"),
            ("args", json!(vec!["a"; 65]), "args: more than 64"),
            ("icon", json!({}), "icon: expected a text, found an object"),
            ("frontend", json!([]), "frontend: expected an object, found a list"),
            ("frontend", json!({ "url": false }), "frontend.url: expected a text, found true or false"),
            ("frontend", json!({ "ui": "yes" }), "frontend.ui: expected true or false, found a text"),
        ] {
            let mut info = good();
            info[key] = value;
            let error = read(&info).unwrap_err();
            assert!(error.starts_with(message), "{error}");
        }
        for key in ["types", "handleType", "name", "title", "version", "command"] {
            let mut info = good();
            info.as_object_mut().unwrap().remove(key);
            assert_eq!(read(&info).unwrap_err(), format!("{key}: is missing"));
        }
        assert_eq!(read(&json!([])).unwrap_err(), "expected an object, found a list");
    }

    #[test]
    fn nesting_without_end_is_refused_and_not_followed() {
        let deep = "[".repeat(100_000);
        assert!(Info::parse(deep.as_bytes()).unwrap_err().contains("recursion"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in any::<prop::sample::Index>(), with in any::<u8>()) {
            let mut bytes = good().to_string().into_bytes();
            let at = at.index(bytes.len());
            bytes[at] = with;
            if let Ok(info) = Info::parse(&bytes) {
                prop_assert!(name::is_id(&info.id) && !info.title.trim().is_empty());
            }
        }
    }
}
