//! The only crate a driver author sees: one `Driver`, one `Line`, and a `main` of one line.
//!
//! ```
//! # use sagoo_driver_sdk::{Driver, serve};
//! # fn main_of<MyDriver: Driver + Default>() -> std::process::ExitCode {
//! serve(MyDriver::default())
//! # }
//! ```
//! Always true: the author answers "what is in these bytes"; when to ask, what to do about a silent
//! device, and how nothing gets lost on the way to the gateway, is answered here. A whole driver is
//! in `examples/sine.rs`.
//!
//! In reading order:
//! - [`driver`]: the two traits an author writes, and the types they speak;
//! - [`host`]: what a driver may ask of the gateway;
//! - `near`: "did you mean", in the gateway's words;
//! - [`testing`]: the gateway's side in the same process, for an author's tests;
//! - `schedule`: which poll is due, which device is left alone (pure);
//! - `connection`: the task that owns a line and follows the schedule;
//! - `session`: the rules between gateway and driver, with `commands`, `numbers`, `batcher` and
//!   `outbox` as its pure parts, and `wire` between messages and types;
//! - `tap` and `capture`: what passes on a line, for those who watch;
//! - `serve` and `contract`: a driver as a plugin, with the services of the contract;
//! - [`plugin`]: go-plugin's plugin side, for anything: handshake, socket, TLS, output, log, signals.

mod batcher;
mod capture;
mod commands;
mod connection;
mod contract;
pub mod driver;
pub mod host;
mod near;
mod numbers;
mod outbox;
pub mod plugin;
mod schedule;
mod serve;
mod session;
mod tap;
pub mod testing;
mod wire;

pub use driver::*;
pub use host::{Host, HostError};
pub use near::did_you_mean;
pub use serde_json;
pub use serve::{is_started_by_gateway, serve};
pub use tap::{Direction, Tap, Transfer};
pub use tonic;
pub use tracing;
