//! The Modbus driver: registers and coils of machines, as points.
//!
//! A library only so that its decoders can be fuzzed (`fuzz/`); the program is `main.rs`.
//!
//! In reading order:
//! - `driver`: who it is; settings → devices with their read plans;
//! - `connection`, `device`, `model`: the tables of the TOML, every mistake with its place; `settings`
//!   reads one table;
//! - `point`: where a point is, how its bytes read, whether it may be written;
//! - `plan`: points → reads that take the least time on their line;
//! - `learn`: what a device refuses, found out and planned around;
//! - `line`: polls, reads and writes;
//! - [`wire`]: requests and answers as bytes, in each framing;
//! - `transport`: the only files at a socket or a port;
//! - `cli`: what the program does when a person starts it, which is `simulate` (a model or a capture
//!   served as devices) and `import` (a list of points as a model);
//! - [`fuzzing`]: the decoders of frames, for `fuzz/`.

mod cli;
mod connection;
mod device;
mod driver;
#[doc(hidden)]
pub mod fuzzing;
mod import;
mod learn;
mod line;
mod model;
mod plan;
mod point;
mod settings;
mod simulate;
mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

/// Runs the program: a driver for the gateway, which starts it without arguments, and a few commands
/// for people.
pub fn run() -> ExitCode {
    let typed: Vec<String> =
        std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned()).collect();
    if typed.is_empty() && sagoo_driver_sdk::is_started_by_gateway() {
        return sagoo_driver_sdk::serve(driver::Modbus::default());
    }
    cli::run(&typed)
}
