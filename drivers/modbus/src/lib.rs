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
//! - `line`: polls, reads and writes;
//! - [`wire`]: requests and answers as bytes, in each framing;
//! - `transport`: the only files at a socket or a port.

mod connection;
mod device;
mod driver;
#[doc(hidden)]
pub mod fuzzing;
mod line;
mod model;
mod plan;
mod point;
mod settings;
mod transport;
pub mod wire;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

/// Runs the program.
pub fn run() -> ExitCode {
    sagoo_driver_sdk::serve(driver::Modbus)
}
