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

fn read(toml: &str) -> Connection {
    let settings: Json = toml::from_str(toml).unwrap();
    let mut report = Report::default();
    let table = ConnectionTable { name: "c".to_owned(), settings };
    let read = read_connection(&table, &mut report);
    assert_eq!(report.problems, []);
    read.unwrap().0
}

#[test]
fn every_way_to_a_device_is_read_with_its_defaults() {
    let connection = read("serial = { port = \"/dev/ttyS1\", mode = \"9600-8e1\" }");
    assert_eq!((connection.framing, connection.words().as_str()), (Framing::Rtu, "serial rtu 9600-8E1"));
    let connection = read("udp = { host = \"::1\" }");
    let endpoint = ends::Endpoint { host: "::1".to_owned(), port: 502 };
    assert_eq!((connection.framing, connection.transport), (Framing::Tcp, Transport::Udp(endpoint)));
    let connection = read(
        "tls = { host = \"plc\", ca = { file = \"ca\" }, certificate = { file = \"c\" }, key = { file = \"k\" } }",
    );
    let tls = ends::Tls {
        endpoint: ends::Endpoint { host: "plc".to_owned(), port: 802 },
        server_name: "plc".to_owned(),
        ca: "connection.c.tls.ca".to_owned(),
        identity: Some(("connection.c.tls.certificate".to_owned(), "connection.c.tls.key".to_owned())),
    };
    assert_eq!(connection.transport, Transport::Tls(tls));
    let connection = read("listen = { address = \"0.0.0.0:9000\", id = \"hex:01 fF\" }");
    let listen = ends::Listen { address: "0.0.0.0:9000".parse().unwrap(), id: vec![1, 0xFF] };
    assert_eq!((connection.framing, connection.transport), (Framing::Rtu, Transport::Listen(listen)));
    let connection = read("tcp = { host = \"h\", in_flight = 4 }\nframing = \"rtu\"");
    assert_eq!((connection.in_flight(), connection.broadcasts()), (1, true), "turns are taken one by one");
    assert_eq!(read("tcp = { host = \"h\", in_flight = 4 }").in_flight(), 4);
}

#[test]
fn a_silent_poll_does_not_look_like_a_line_that_stands_still() {
    let longest = read("tcp = { host = \"h\" }\ntimeout = \"55s\"").timeout;
    assert_eq!(longest, Duration::from_secs(55));
    let settings = toml::from_str("tcp = { host = \"h\" }\ntimeout = \"56s\"").unwrap();
    let mut report = Report::default();
    assert_eq!(read_connection(&ConnectionTable { name: "c".to_owned(), settings }, &mut report), None);
    let problem = &report.problems[0];
    let told = (problem.message.as_str(), problem.hint.as_str());
    assert_eq!(told, ("timeout = \"56s\" is out of range", "10ms to 55s"));
}

#[test]
fn a_mode_knows_its_characters_and_its_silence() {
    for (mode, bits, silence) in [
        ("9600-8E1", 11, 4_010),
        ("19200-8N1", 10, 1_822),
        ("19201-8N2", 11, 1_750),
        ("300-7E1", 10, 116_666),
    ] {
        let read = serial::Mode::parse(mode).unwrap();
        assert_eq!((read.character_bits(), read.to_string().as_str()), (bits, mode));
        assert_eq!(read.silence().as_micros(), silence, "{mode}");
    }
    assert_eq!(serial::Mode::parse("9600-8E1").unwrap().time_of(960), Duration::from_millis(1_100));
    for wrong in ["9600", "9600-8X1", "9600-9N1", "9600-8N3", "9600-8N", "1-8N1", "-8N1", "9600-8N11"] {
        assert_eq!(serial::Mode::parse(wrong), None, "{wrong}");
    }
}
