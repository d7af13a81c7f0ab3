//! `driver-modbus simulate`: a model or a site, served as devices.
//!
//! Always true: what it says is read and written by the driver's own tables, plans and codec, so that
//! a model that is served is a model that is read; it listens where it was told to and nowhere else.
//!
//! In reading order:
//! - `options`: what was typed;
//! - `site`: files → the driver's part of the configuration, with the place of each key;
//! - `load`: that → devices, or every mistake with its place;
//! - `motion`, `memory`, `field`: what a point holds, a device answers, a line says;
//! - `request`, `framing`: the device's side of the codec;
//! - `serve`: the only file at a socket.

mod field;
mod framing;
mod load;
mod memory;
mod motion;
mod options;
mod request;
mod serve;
pub(crate) mod site;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex};

use serde_json::json;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use self::field::Field;
use self::options::{FLAGS, Options};
use self::serve::Shared;
use crate::cli::{self, Failure, Words};

const HELP: &str = include_str!("help.txt");

/// Serves until it is told to end.
pub(crate) fn command(typed: &[String]) -> Result<(), Failure> {
    let words = Words::parse(typed, FLAGS).map_err(Failure::Words)?;
    if words.wants_help {
        cli::print(HELP);
        return Ok(());
    }
    let options = Options::read(&words).map_err(Failure::Words)?;
    let field = load::field(&options).map_err(Failure::Told)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::of(format!("cannot start: {error}")))?;
    runtime.block_on(run(options, field))
}

async fn run(options: Options, field: Field) -> Result<(), Failure> {
    let cannot = |what: &str, error: std::io::Error| Failure::of(format!("cannot {what}: {error}"));
    let mut terminate = signal(SignalKind::terminate()).map_err(|error| cannot("wait for SIGTERM", error))?;
    let listener = TcpListener::bind(options.listen)
        .await
        .map_err(|error| cannot(&format!("listen on {}", options.listen), error))?;
    let address = listener.local_addr().map_err(|error| cannot("learn the port", error))?;
    announce(&field, &address.to_string(), options.json);
    let shared = Shared { field: Mutex::new(field), framing: options.framing, started: Instant::now() };
    tokio::select! {
        () = serve::listen(listener, Arc::new(shared)) => {}
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}

/// One line, when everything is ready.
fn announce(field: &Field, place: &str, is_json: bool) {
    let count = field.devices.len();
    let line = if is_json {
        let one = |device: &memory::Memory| json!({ "name": device.name(), "unit": device.unit() });
        let devices: Vec<_> = field.devices.iter().map(one).collect();
        json!({ "serving": count, "on": place, "devices": devices }).to_string()
    } else {
        format!("serving {count} device{} on {place}", if count == 1 { "" } else { "s" })
    };
    cli::print(&format!("{line}\n"));
}
