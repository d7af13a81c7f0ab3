//! `driver-modbus simulate`: a model, a site or a capture of the wire, served as devices.
//!
//! Always true: what it says is read and written by the driver's own tables, plans and codec, so that
//! a model that is served is a model that is read; it listens where it was told to and nowhere else.
//!
//! In reading order:
//! - `options`: what was typed;
//! - `site`: files → the driver's part of the configuration, with the place of each key;
//! - `load`: that → devices, or every mistake with its place;
//! - `motion`, `memory`, `field`: what a point holds, a device answers, a line says;
//! - `capture`, `replay`: what was recorded, and how it is said again;
//! - `request`, `framing`: the device's side of the codec;
//! - `timing`: when the bytes of an answer leave;
//! - `serve`: the only file at a socket.

mod capture;
mod field;
mod framing;
mod load;
mod memory;
mod motion;
mod options;
mod replay;
mod request;
mod serve;
pub(crate) mod site;
mod timing;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use self::options::{FLAGS, Options};
use self::serve::{Shared, Source};
use crate::cli::{self, Failure, Words};
use crate::connection::Framing;
use crate::transport::open_stream;

const HELP: &str = include_str!("help.txt");

/// Serves until it is told to end.
pub(crate) fn command(typed: &[String]) -> Result<(), Failure> {
    let words = Words::parse(typed, FLAGS).map_err(Failure::Words)?;
    if words.wants_help {
        cli::print(HELP);
        return Ok(());
    }
    let options = Options::read(&words).map_err(Failure::Words)?;
    let (source, framing) = load::source(&options).map_err(Failure::Told)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(format!("cannot start: {error}")))?;
    runtime.block_on(run(options, source, framing))
}

async fn run(options: Options, source: Source, framing: Framing) -> Result<(), Failure> {
    let cannot = |what: &str, error: std::io::Error| Failure::of(format!("cannot {what}: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| cannot("wait for SIGTERM", error))?;
    let shared = |source| Arc::new(Shared::new(source, framing, options.timing));
    let ended = async {
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminate.recv() => {}
        }
    };
    if let Some((port, mode)) = &options.serial {
        let stream = open_stream(port, *mode).map_err(Failure::of)?;
        announce(&source, framing, port, options.json);
        tokio::select! {
            () = serve::hold(stream, port, *mode, shared(source)) => {}
            () = ended => {}
        }
        return Ok(());
    }
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| cannot(&format!("listen on {}", options.listen), error))?;
    let address = listener.local_addr().map_err(|error| cannot("learn the port", error))?;
    announce(&source, framing, &address.to_string(), options.json);
    tokio::select! {
        () = serve::listen(listener, shared(source)) => {}
        () = ended => {}
    }
    Ok(())
}

/// One line, when everything is ready.
fn announce(source: &Source, framing: Framing, place: &str, is_json: bool) {
    let units = source.units();
    let count = units.len();
    let line = if is_json {
        let devices: Vec<_> = match source {
            Source::Field(field) => {
                let one = |device: &memory::Memory| json!({ "name": device.name(), "unit": device.unit() });
                field.devices.iter().map(one).collect()
            }
            Source::Replay(_) => units.iter().map(|unit| json!({ "unit": unit })).collect(),
        };
        json!({ "serving": count, "on": place, "framing": framing.to_string(), "devices": devices })
            .to_string()
    } else {
        format!("serving {count} device{} on {place}", if count == 1 { "" } else { "s" })
    };
    cli::print(&format!("{line}\n"));
}
