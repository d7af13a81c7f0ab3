//! Every key is in the schema, and every mistake in a connection has its place.

use std::collections::BTreeSet;

use super::*;
use crate::device::DEVICE_KEYS;
use crate::{model, point};

#[test]
fn the_schema_names_just_the_keys_that_are_read() {
    let schema: Json = serde_json::from_str(crate::driver::SCHEMA).unwrap();
    for (pointer, keys) in [
        ("/$defs/connection", CONNECTION_KEYS),
        ("/$defs/connection/properties/serial", serial::SERIAL_KEYS),
        ("/$defs/connection/properties/serial/properties/rs485", serial::RS485_KEYS),
        ("/$defs/connection/properties/tcp", ends::TCP_KEYS),
        ("/$defs/connection/properties/tls", ends::TLS_KEYS),
        ("/$defs/connection/properties/udp", ends::UDP_KEYS),
        ("/$defs/connection/properties/listen", ends::LISTEN_KEYS),
        ("/$defs/file", ends::FILE_KEYS),
        ("/$defs/connection/properties/offline", OFFLINE_KEYS),
        ("/$defs/model", model::KEYS),
        ("/$defs/device", DEVICE_KEYS),
        ("/$defs/point", point::keys::KEYS),
        ("/$defs/write", point::write::rule::WRITE_KEYS),
    ] {
        let table = schema.pointer(pointer).unwrap_or_else(|| panic!("{pointer} is not in the schema"));
        let named: BTreeSet<&str> =
            table["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, keys.iter().copied().collect(), "{pointer}");
        assert_eq!(table["additionalProperties"], false, "{pointer}");
    }
    let types: Vec<&str> = schema["$defs"]["point"]["properties"]["type"]["anyOf"][0]["enum"]
        .as_array()
        .unwrap()
        .iter()
        .map(|word| word.as_str().unwrap())
        .collect();
    assert_eq!(types, crate::point::kind::Kind::WORDS.map(|(word, _)| word));
}
