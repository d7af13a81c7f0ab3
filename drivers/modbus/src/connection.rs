//! The table `connection` → settings that cannot be wrong.
//!
//! Always true: every mistake is reported, not only the first.

use std::time::Duration;

use sagoo_driver_sdk::{ConnectionTable, Offline};
use serde_json::Value as Json;

use crate::settings::{NotYet, Path, Report, Settings, path};
use crate::transport::Endpoint;

/// Keys of a connection.
pub(crate) const CONNECTION_KEYS: &[&str] = &["tcp", "timeout", "turnaround", "offline"];
/// Keys of `tcp`.
pub(crate) const TCP_KEYS: &[&str] = &["host", "port"];
/// Keys of `offline`.
pub(crate) const OFFLINE_KEYS: &[&str] = &["after", "probe", "max_probe"];
/// Transports that later versions will have.
const TRANSPORTS_NOT_YET: &[NotYet] = &[
    NotYet { key: "serial", what: "serial lines", hint: TCP_HINT },
    NotYet { key: "udp", what: "UDP connections", hint: TCP_HINT },
    NotYet { key: "tls", what: "TLS connections", hint: TCP_HINT },
];
const TCP_HINT: &str =
    "tcp = { host = \"…\", port = 502 }, perhaps through a serial server that speaks Modbus TCP";

const DEFAULT_PORT: u16 = 502;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);
const LONGEST_TURNAROUND: Duration = Duration::from_secs(10);
const SHORTEST_PROBE: Duration = Duration::from_millis(100);
const LONGEST_PROBE: Duration = Duration::from_secs(86_400);
const MOST_FAILURES: i64 = 1_000;

/// A wire, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    /// Longest wait for an answer.
    pub(crate) timeout: Duration,
    /// Pause between an answer and the next request.
    pub(crate) turnaround: Duration,
}

/// What carries the frames.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Transport {
    Tcp(Endpoint),
}

/// Reads a connection and the pauses of its silent devices; `None` when a mistake was reported.
pub(crate) fn read_connection(table: &ConnectionTable, report: &mut Report) -> Option<(Connection, Offline)> {
    let before = report.errors();
    let place = path(["connection", &table.name]);
    let settings =
        Settings::open(&table.settings, place.clone(), CONNECTION_KEYS, TRANSPORTS_NOT_YET, report)?;
    let timeout =
        settings.duration("timeout", SHORTEST_TIMEOUT..=LONGEST_TIMEOUT, report).unwrap_or(DEFAULT_TIMEOUT);
    let turnaround =
        settings.duration("turnaround", Duration::ZERO..=LONGEST_TURNAROUND, report).unwrap_or_default();
    let offline = match settings.get("offline") {
        Some(value) => read_offline(value, settings.path_of("offline"), report),
        None => Offline::default(),
    };
    let endpoint = match settings.get("tcp") {
        Some(value) => read_tcp(value, settings.path_of("tcp"), report),
        None => {
            let named = |word: &NotYet| table.settings.get(word.key).is_some();
            if !settings.misspelt("tcp") && !TRANSPORTS_NOT_YET.iter().any(named) {
                report.error(
                    place,
                    "tcp is missing: where is the device?",
                    "tcp = { host = \"192.168.1.40\", port = 502 }",
                );
            }
            None
        }
    };
    let transport = Transport::Tcp(endpoint?);
    (report.errors() == before).then_some((Connection { transport, timeout, turnaround }, offline))
}

fn read_tcp(value: &Json, place: Path, report: &mut Report) -> Option<Endpoint> {
    let settings = Settings::open(value, place, TCP_KEYS, &[], report)?;
    let port = match settings.get("port") {
        Some(_) => settings.integer("port", 1..=i64::from(u16::MAX), report)? as u16,
        None => DEFAULT_PORT,
    };
    let host = match settings.get("host") {
        Some(_) => settings.text("host", report)?.trim(),
        None if settings.misspelt("host") => return None,
        None => {
            report.error(settings.path().to_vec(), "host is missing", "host = \"192.168.1.40\" or a name");
            return None;
        }
    };
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if bare.is_empty() || bare.contains(|c: char| c.is_whitespace() || c == '/') {
        settings.error(
            "host",
            report,
            format!("{host:?} is not a host"),
            "an address or a name, without port and scheme",
        );
        return None;
    }
    if bare.matches(':').count() == 1 {
        settings.error("host", report, format!("{host:?} has a port in it"), "host = \"…\", port = 502");
        return None;
    }
    Some(Endpoint { host: bare.to_owned(), port })
}

fn read_offline(value: &Json, place: Path, report: &mut Report) -> Offline {
    let default = Offline::default();
    let Some(settings) = Settings::open(value, place, OFFLINE_KEYS, &[], report) else { return default };
    let pauses = SHORTEST_PROBE..=LONGEST_PROBE;
    let after = settings.integer("after", 1..=MOST_FAILURES, report);
    let probe = settings.duration("probe", pauses.clone(), report).unwrap_or(default.probe);
    let max_probe = settings.duration("max_probe", pauses, report);
    if let Some(max_probe) = max_probe.filter(|max_probe| *max_probe < probe) {
        let message = format!("max_probe {max_probe:?} is shorter than probe {probe:?}");
        report.error(settings.blame(&["max_probe"]), message, "the pause grows from probe to max_probe");
    }
    Offline {
        after: after.map_or(default.after, |after| after as u32),
        probe,
        max_probe: max_probe.unwrap_or(default.max_probe.max(probe)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::device::DEVICE_KEYS;
    use crate::{model, point};

    #[test]
    fn the_schema_names_just_the_keys_that_are_read() {
        let schema: Json = serde_json::from_str(crate::driver::SCHEMA).unwrap();
        for (pointer, keys) in [
            ("/$defs/connection", CONNECTION_KEYS),
            ("/$defs/connection/properties/tcp", TCP_KEYS),
            ("/$defs/connection/properties/offline", OFFLINE_KEYS),
            ("/$defs/model", model::KEYS),
            ("/$defs/device", DEVICE_KEYS),
            ("/$defs/point", point::KEYS),
            ("/$defs/write", point::WRITE_KEYS),
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
}
