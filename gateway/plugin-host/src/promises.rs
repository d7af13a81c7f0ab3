//! What a plugin's handshake promises, against what we asked for and will connect to.
//!
//! Always true: nothing is connected to that is not a socket in the plugin's own directory or a port
//! of this machine's loopback.

use std::path::Path;

use sagoo_edge_proto::broker::is_elsewhere;
use sagoo_edge_proto::handshake::{Address, Handshake, PROTOCOL_GRPC};

use crate::{Launch, Security, StartFailure};

/// How much of a wrong answer an error repeats.
const SHOWN_CHARS: usize = 200;

/// Checks a handshake. `own_dir` is the directory the plugin was given for its sockets.
pub(crate) fn check(handshake: &Handshake, launch: &Launch, own_dir: &Path) -> Result<(), StartFailure> {
    if !launch.app_versions.contains(&handshake.app) {
        let mut host = launch.app_versions.clone();
        host.sort_unstable();
        host.dedup();
        return Err(StartFailure::Version { plugin: handshake.app, host });
    }
    if handshake.protocol != PROTOCOL_GRPC {
        return Err(StartFailure::Protocol(handshake.protocol.chars().take(SHOWN_CHARS).collect()));
    }
    if launch.multiplex {
        multiplexes(handshake.multiplex.as_deref())?;
    }
    // first, as a driver that listens in the wrong place often has no certificate either
    reachable(&handshake.address, own_dir)?;
    match (&launch.security, &handshake.server_cert) {
        (Security::AutoMtls, None) => Err(StartFailure::NoCertificate),
        (Security::Plain | Security::Own(_), Some(_)) => Err(StartFailure::UnaskedCertificate),
        _ => Ok(()),
    }
}

/// Whether the address is one we may connect to.
fn reachable(address: &Address, own_dir: &Path) -> Result<(), StartFailure> {
    match address {
        Address::Tcp(address) if address.ip().is_loopback() => Ok(()),
        Address::Tcp(address) => Err(StartFailure::NotLoopback(*address)),
        Address::Unix(path) if is_elsewhere(path, own_dir) => {
            Err(StartFailure::Elsewhere { path: path.clone(), dir: own_dir.to_owned() })
        }
        Address::Unix(_) => Ok(()),
    }
}

/// The plugin's answer to our wish for one connection. There is no way back to several: the plugin
/// has read the wish and waits for the one.
fn multiplexes(answer: Option<&str>) -> Result<(), StartFailure> {
    match answer {
        Some("1" | "t" | "T" | "true" | "TRUE" | "True") => Ok(()),
        None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => Err(StartFailure::NoMultiplex),
        Some(other) => Err(StartFailure::MultiplexAnswer(other.chars().take(SHOWN_CHARS).collect())),
    }
}
