//! The table `connection` → settings that cannot be wrong.
//!
//! - `ends`: where a device is reached over a network, or dials in;
//! - `serial`: ports, their modes and RS-485.
//!
//! Always true: every mistake is reported, not only the first.

pub(crate) mod ends;
pub(crate) mod serial;

use std::fmt;
use std::time::Duration;

use sagoo_driver_sdk::{ConnectionTable, Offline};
use serde_json::Value as Json;

use self::ends::{Endpoint, Listen, Tls};
use self::serial::Serial;
use crate::settings::{Path, Report, Settings, path};

/// Keys of a connection.
pub(crate) const CONNECTION_KEYS: &[&str] =
    &["serial", "tcp", "tls", "udp", "listen", "framing", "timeout", "turnaround", "offline"];
/// Keys of `offline`.
pub(crate) const OFFLINE_KEYS: &[&str] = &["after", "probe", "max_probe"];
/// The ways to a device, of which a connection names one.
const TRANSPORTS: &[&str] = &["serial", "tcp", "tls", "udp", "listen"];

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(10);
/// The SDK takes a line for one that stands still when a request does nothing for a minute.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(55);
const LONGEST_TURNAROUND: Duration = Duration::from_secs(10);
const SHORTEST_PROBE: Duration = Duration::from_millis(100);
const LONGEST_PROBE: Duration = Duration::from_secs(86_400);
const MOST_FAILURES: i64 = 1_000;

/// A wire, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Connection {
    pub(crate) transport: Transport,
    pub(crate) framing: Framing,
    /// Longest wait for an answer.
    pub(crate) timeout: Duration,
    /// Pause between an answer and the next request.
    pub(crate) turnaround: Duration,
}

/// What carries the frames.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Transport {
    /// Modbus TCP, or a serial server.
    Tcp {
        /// Where it listens.
        endpoint: Endpoint,
        /// Most requests without an answer at a time.
        in_flight: usize,
    },
    /// Modbus/TCP Security.
    Tls(Tls),
    /// Datagrams.
    Udp(Endpoint),
    /// A port of this machine.
    Serial(Serial),
    /// The device dials in.
    Listen(Listen),
}

/// How a request is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// With a transaction: Modbus TCP's.
    Tcp,
    /// With a CRC, told apart by silence.
    Rtu,
    /// In hexadecimal lines.
    Ascii,
}

impl Framing {
    pub(crate) const WORDS: [(&'static str, Self); 3] =
        [("tcp", Self::Tcp), ("rtu", Self::Rtu), ("ascii", Self::Ascii)];
}

impl fmt::Display for Framing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (word, _) = Self::WORDS.iter().find(|(_, framing)| framing == self).expect("all are listed");
        f.write_str(word)
    }
}

impl Connection {
    /// Whether one request to unit 0 reaches every device, and none answers.
    pub(crate) fn broadcasts(&self) -> bool {
        self.framing != Framing::Tcp
    }

    /// Most requests that may wait for their answers at a time.
    pub(crate) fn in_flight(&self) -> usize {
        match (&self.transport, self.framing) {
            (Transport::Tcp { in_flight, .. }, Framing::Tcp) => *in_flight,
            _ => 1,
        }
    }

    /// In a few words, for the first line of a capture: `serial rtu 9600-8E1`.
    pub(crate) fn words(&self) -> String {
        let framing = self.framing;
        match &self.transport {
            Transport::Serial(serial) => format!("serial {framing} {}", serial.mode),
            Transport::Tcp { .. } => format!("tcp {framing}"),
            Transport::Tls(_) => format!("tls {framing}"),
            Transport::Udp(_) => format!("udp {framing}"),
            Transport::Listen(_) => format!("listen {framing}"),
        }
    }
}

/// Reads a connection and the pauses of its silent devices; `None` when a mistake was reported.
pub(crate) fn read_connection(table: &ConnectionTable, report: &mut Report) -> Option<(Connection, Offline)> {
    let before = report.errors();
    let place = path(["connection", &table.name]);
    let settings = Settings::open(&table.settings, place, CONNECTION_KEYS, &[], report)?;
    let timeout =
        settings.duration("timeout", SHORTEST_TIMEOUT..=LONGEST_TIMEOUT, report).unwrap_or(DEFAULT_TIMEOUT);
    let turnaround =
        settings.duration("turnaround", Duration::ZERO..=LONGEST_TURNAROUND, report).unwrap_or_default();
    let offline = match settings.get("offline") {
        Some(value) => read_offline(value, settings.path_of("offline"), report),
        None => Offline::default(),
    };
    let transport = read_transport(&settings, report);
    let framing = read_framing(&settings, report);
    let transport = transport?;
    let framing = framing.unwrap_or(match &transport {
        Transport::Serial(_) | Transport::Listen(_) => Framing::Rtu,
        Transport::Tcp { .. } | Transport::Tls(_) | Transport::Udp(_) => Framing::Tcp,
    });
    check_framing(&settings, &transport, framing, report);
    (report.errors() == before).then_some((Connection { transport, framing, timeout, turnaround }, offline))
}

/// Connections that want the same device, which dials in, for themselves.
pub(crate) fn tell_doubles<'a>(
    connections: impl Iterator<Item = (&'a str, &'a Connection)> + Clone,
    report: &mut Report,
) {
    for (place, (name, connection)) in connections.clone().enumerate() {
        for (other, before) in connections.clone().take(place) {
            if let (Transport::Listen(one), Transport::Listen(two)) =
                (&connection.transport, &before.transport)
                && one == two
            {
                report.error(
                    path(["connection", name, "listen"]),
                    format!("connection {other:?} waits at {} for the same id", one.address),
                    "one connection per id; several devices share it by their units",
                );
            }
        }
    }
}

/// The one way that is named.
fn read_transport(settings: &Settings<'_>, report: &mut Report) -> Option<Transport> {
    let named: Vec<&str> = TRANSPORTS.iter().copied().filter(|key| settings.get(key).is_some()).collect();
    let key = match named[..] {
        [key] => key,
        [] => {
            if !TRANSPORTS.iter().any(|key| settings.misspelt(key)) {
                report.error(
                    settings.path().to_vec(),
                    "tcp is missing: where is the device?",
                    "tcp = { host = \"192.168.1.40\", port = 502 }, or serial, tls, udp or listen",
                );
            }
            return None;
        }
        [first, second, ..] => {
            let message = format!("{first} and {second} in one connection");
            settings.error(second, report, message, "a connection is one wire; make two of it");
            return None;
        }
    };
    let value = settings.get(key)?;
    let place = settings.path_of(key);
    match key {
        "serial" => serial::read_serial(value, place, report).map(Transport::Serial),
        "tls" => ends::read_tls(value, place, report).map(Transport::Tls),
        "udp" => ends::read_udp(value, place, report).map(Transport::Udp),
        "listen" => ends::read_listen(value, place, report).map(Transport::Listen),
        _ => ends::read_tcp(value, place, report),
    }
}

fn read_framing(settings: &Settings<'_>, report: &mut Report) -> Option<Framing> {
    let word = settings.text("framing", report)?;
    let known = Framing::WORDS.iter().find(|(known, _)| *known == word);
    if known.is_none() {
        let words = Framing::WORDS.map(|(word, _)| word);
        settings.error(
            "framing",
            report,
            format!("{word:?} is no framing"),
            crate::settings::suggest(word, &words),
        );
    }
    known.map(|(_, framing)| *framing)
}

/// Combinations that no device speaks.
fn check_framing(settings: &Settings<'_>, transport: &Transport, framing: Framing, report: &mut Report) {
    match (transport, framing) {
        (Transport::Serial(_), Framing::Tcp) => settings.error(
            "framing",
            report,
            "framing \"tcp\" on a serial line",
            "\"rtu\" or \"ascii\"; tcp = { host = \"…\" } for Modbus TCP",
        ),
        (Transport::Serial(Serial { mode, .. }), Framing::Rtu) if mode.data_bits != 8 => settings.error(
            "serial",
            report,
            format!("mode {mode} has {} data bits, and RTU needs 8", mode.data_bits),
            "\"9600-8E1\", or framing = \"ascii\"",
        ),
        (Transport::Tls(_), Framing::Rtu | Framing::Ascii) => settings.error(
            "framing",
            report,
            format!("framing \"{framing}\" over TLS"),
            "Modbus/TCP Security is \"tcp\"; leave framing out",
        ),
        _ => {}
    }
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
mod tests;
