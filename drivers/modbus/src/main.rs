//! The Modbus driver: registers and coils of machines, as points.
//!
//! In reading order:
//! - `driver`: who it is; settings → devices with their read plans;
//! - `config`, `model` and `point`: the tables of the TOML, every mistake with its place; `settings`
//!   reads one table, `address` one reference, `kind` one type, `labels` one `enum`;
//! - `plan`: points → as few reads as the rules allow;
//! - `line`: polls, reads and writes;
//! - `value` and `scale`: bytes ↔ values, with `kind` and `labels`;
//! - `frame`: requests and answers as bytes;
//! - `tcp`: the one file at the socket.
//!
//! A new transport is a file beside `tcp` and a variant of `config::Transport`.

mod address;
mod config;
mod driver;
mod frame;
mod kind;
mod labels;
mod line;
mod model;
mod plan;
mod point;
mod scale;
mod settings;
mod tcp;
mod value;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

fn main() -> ExitCode {
    sagoo_driver_sdk::serve(driver::Modbus)
}
