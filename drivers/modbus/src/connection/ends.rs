//! Where a device is reached over a network, or dials in.
//!
//! Always true: nothing listens beyond loopback unless the address says so; a secret is named here,
//! never read.

use std::fmt;
use std::net::SocketAddr;

use serde_json::Value as Json;

use super::Transport;
use crate::settings::{Path, Report, Settings};

/// Keys of `tcp`.
pub(crate) const TCP_KEYS: &[&str] = &["host", "port", "in_flight"];
/// Keys of `udp`.
pub(crate) const UDP_KEYS: &[&str] = &["host", "port"];
/// Keys of `tls`.
pub(crate) const TLS_KEYS: &[&str] = &["host", "port", "ca", "certificate", "key", "server_name"];
/// Keys of `listen`.
pub(crate) const LISTEN_KEYS: &[&str] = &["address", "id"];
/// Keys of a file that the gateway reads for us.
pub(crate) const FILE_KEYS: &[&str] = &["file"];

const DEFAULT_PORT: u16 = 502;
const DEFAULT_TLS_PORT: u16 = 802;
const MOST_IN_FLIGHT: i64 = 16;
/// Longest id packet of a device that dials in.
const MOST_ID_BYTES: usize = 128;

/// Where a device listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Modbus/TCP Security: the server is always verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tls {
    pub(crate) endpoint: Endpoint,
    /// The name its certificate must carry.
    pub(crate) server_name: String,
    /// The name under which the gateway gives out who may sign the server.
    pub(crate) ca: String,
    /// The names under which the gateway gives out our certificate and its key.
    pub(crate) identity: Option<(String, String)>,
}

/// A device that dials in and says who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listen {
    pub(crate) address: SocketAddr,
    pub(crate) id: Vec<u8>,
}

/// `tcp = { host = "…", port = 502, in_flight = 1 }`.
pub(super) fn read_tcp(value: &Json, place: Path, report: &mut Report) -> Option<Transport> {
    let settings = Settings::open(value, place, TCP_KEYS, &[], report)?;
    let in_flight = settings.integer("in_flight", 1..=MOST_IN_FLIGHT, report).map_or(1, |many| many as usize);
    let endpoint = read_endpoint(&settings, DEFAULT_PORT, report)?;
    Some(Transport::Tcp { endpoint, in_flight })
}

/// `udp = { host = "…", port = 502 }`.
pub(super) fn read_udp(value: &Json, place: Path, report: &mut Report) -> Option<Endpoint> {
    let settings = Settings::open(value, place, UDP_KEYS, &[], report)?;
    read_endpoint(&settings, DEFAULT_PORT, report)
}

/// `tls = { host = "…", ca = { file = "…" }, certificate = { file = "…" }, key = { file = "…" } }`.
pub(super) fn read_tls(value: &Json, place: Path, report: &mut Report) -> Option<Tls> {
    let settings = Settings::open(value, place, TLS_KEYS, &[], report)?;
    let endpoint = read_endpoint(&settings, DEFAULT_TLS_PORT, report);
    let ca = read_file(&settings, "ca", report);
    if settings.get("ca").is_none() && !settings.misspelt("ca") {
        report.error(
            settings.path().to_vec(),
            "ca is missing: who signed the device's certificate?",
            "ca = { file = \"/etc/sagoo-edge/plant-ca.pem\" }",
        );
    }
    let certificate = read_file(&settings, "certificate", report);
    let key = read_file(&settings, "key", report);
    for (one, other) in [("certificate", "key"), ("key", "certificate")] {
        if settings.get(one).is_some() && settings.get(other).is_none() && !settings.misspelt(other) {
            let message = format!("{one} without {other}");
            settings.error(one, report, message, format!("{other} = {{ file = \"…\" }}"));
        }
    }
    let server_name = settings.text("server_name", report).map(str::to_owned);
    let endpoint = endpoint?;
    let server_name = server_name.unwrap_or_else(|| endpoint.host.clone());
    Some(Tls { endpoint, server_name, ca: ca?, identity: certificate.zip(key) })
}

/// A file that the gateway reads: the name under which it gives it out, which is its place.
fn read_file(settings: &Settings<'_>, key: &str, report: &mut Report) -> Option<String> {
    let place = settings.path_of(key);
    let name = place.join(".");
    let file = Settings::open(settings.get(key)?, place, FILE_KEYS, &[], report)?;
    if file.get("file").is_none() && !file.misspelt("file") {
        report.error(file.path().to_vec(), "file is missing", "{ file = \"/path/to/it\" }");
    }
    file.text("file", report).map(|_| name)
}

/// `listen = { address = "0.0.0.0:9000", id = "text or hex:…" }`.
pub(super) fn read_listen(value: &Json, place: Path, report: &mut Report) -> Option<Listen> {
    let settings = Settings::open(value, place, LISTEN_KEYS, &[], report)?;
    for (key, hint) in [
        ("address", "address = \"0.0.0.0:9000\" for every network of this machine"),
        ("id", "id = \"dtu-0001\", or id = \"hex:01 02\": the packet with which the device registers"),
    ] {
        if settings.get(key).is_none() && !settings.misspelt(key) {
            report.error(settings.path().to_vec(), format!("{key} is missing"), hint);
        }
    }
    let address = settings.text("address", report).and_then(|text| {
        let address = text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
        if address.is_none() {
            settings.error(
                "address",
                report,
                format!("{text:?} is no address to listen at"),
                "an IP address and a port: \"0.0.0.0:9000\", \"127.0.0.1:9000\", \"[::]:9000\"",
            );
        }
        address
    });
    let id = settings.text("id", report).and_then(|text| {
        let id = parse_id(text);
        if id.is_none() {
            settings.error(
                "id",
                report,
                format!("{text:?} is no id packet"),
                format!("1 to {MOST_ID_BYTES} bytes, as text or as \"hex:01 02\""),
            );
        }
        id
    });
    Some(Listen { address: address?, id: id? })
}

/// The bytes of an id packet.
fn parse_id(text: &str) -> Option<Vec<u8>> {
    let id = match text.strip_prefix("hex:") {
        None => text.as_bytes().to_vec(),
        Some(hex) => {
            let digits: Vec<u32> =
                hex.chars().filter(|c| *c != ' ').map(|c| c.to_digit(16)).collect::<Option<_>>()?;
            let (pairs, rest) = digits.as_chunks::<2>();
            if !rest.is_empty() {
                return None;
            }
            pairs.iter().map(|[high, low]| (high << 4 | low) as u8).collect()
        }
    };
    (1..=MOST_ID_BYTES).contains(&id.len()).then_some(id)
}

fn read_endpoint(settings: &Settings<'_>, default_port: u16, report: &mut Report) -> Option<Endpoint> {
    let port = match settings.get("port") {
        Some(_) => settings.integer("port", 1..=i64::from(u16::MAX), report)? as u16,
        None => default_port,
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
        let hint = format!("host = \"…\", port = {default_port}");
        settings.error("host", report, format!("{host:?} has a port in it"), hint);
        return None;
    }
    Some(Endpoint { host: bare.to_owned(), port })
}
