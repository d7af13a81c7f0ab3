//! The host side of HashiCorp's go-plugin protocol, in gRPC mode.
//!
//! Mechanism, no policy: it knows processes and channels, never a device, a sample or the service
//! a plugin offers. When to start, restart or replace one is its caller's business.
//!
//! In reading order:
//! - `launch`: what to start, and the way from nothing to a plugin that answers;
//! - `environment`: the variables a plugin gets, and no others;
//! - `socket_dir`: the directory of one launch, which goes when the plugin goes;
//! - `process`: the child, its group, its end;
//! - `pipe`: its stdout and stderr, drained from the first byte to the last, and cut into lines;
//! - `announce`: the first line on stdout;
//! - `connect`: the channel, plain or AutoMTLS;
//! - `log`: stderr, line by line, into `tracing`;
//! - `stdio`: what the plugin printed, mirrored over gRPC;
//! - `plugin`: a running plugin: channel, health, stop;
//! - `error`: why a plugin did not start or is not well.
//!
//! Not spoken: net/rpc, multiplexing, reattaching, and the broker: `StartStream` is not opened, so
//! a plugin that offers connections through the broker waits until it is stopped.

mod announce;
mod connect;
mod environment;
mod error;
mod launch;
mod log;
mod pipe;
mod plugin;
mod process;
mod socket_dir;
mod stdio;

pub use error::{HealthError, StartError, StartFailure};
pub use launch::Launch;
pub use plugin::{Grace, Plugin, Stopped};
pub use process::Exit;

/// The most one message may hold, either way. A caller sets it on each of its generated clients
/// (`max_decoding_message_size`, `max_encoding_message_size`); gRPC's own default is 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Lines of a plugin's stderr that are kept for the report of a crash.
pub const LAST_LINES: usize = 20;
