//! The host side of HashiCorp's go-plugin protocol, in gRPC mode.
//!
//! Mechanism, no policy: it knows processes and channels, never a device, a sample or the service
//! a plugin offers. When to start, restart or replace one is its caller's business.
//!
//! In reading order:
//! - `launch`: what to start, and how;
//! - `start`: the way from nothing to a plugin that answers;
//! - `spawn`: the first half of it, to a running process;
//! - `environment`: the variables a plugin gets, and no others;
//! - `program`: the file that is run, verified if it must be (`checksum`);
//! - `socket_dir`: the directory of one launch, which goes when the plugin goes;
//! - `confine`: what a plugin may reach;
//! - `process`: a running process, its end and the way to end it;
//! - `keeper`: the task behind it: output, group, end, clearing up;
//! - `alive`: which process a number means, and whether that one still lives (`pidfd`);
//! - `pipe`: its stdout and stderr, drained from the first byte to the last, and cut into lines;
//! - `announce`: the first line on stdout;
//! - `promises`: what that line says, against what was asked for;
//! - `connect`: the channel, plain or inside TLS, alone or multiplexed;
//! - `broker`: the broker's stream, kept open;
//! - `log`: stderr, line by line, into `tracing`;
//! - `stdio`: what the plugin printed, mirrored over gRPC;
//! - `mirror`: its output byte for byte, for a caller that asks for it;
//! - `keep`: the record of a plugin that survives its host, and what earlier hosts left;
//! - `reattach`: the way from a record to a plugin that answers;
//! - `plugin`: a running plugin: channel, health, stop;
//! - [`discover`]: what lies in the plugin directories, and when that changes;
//! - `diagnosis`: what a file is that was to be a program;
//! - `error`: why a plugin did not start or is not well.
//!
//! Not spoken: net/rpc.

mod alive;
mod announce;
mod broker;
mod checksum;
mod confine;
mod connect;
mod diagnosis;
pub mod discover;
mod environment;
mod error;
mod keep;
mod keeper;
mod launch;
mod log;
mod mirror;
mod pidfd;
mod pipe;
mod plugin;
mod process;
mod program;
mod promises;
mod reattach;
mod socket_dir;
mod spawn;
mod start;
mod stdio;

pub use alive::Fate;
pub use checksum::{Checksum, ChecksumError, NoChecksum};
pub use confine::{Confinement, Lack};
pub use error::{HealthError, StartError, StartFailure};
pub use keep::{Damage, KeepError, Record, StrayError, end_stray, records};
pub use launch::{Keep, Launch, Security, Stdin};
pub use mirror::{Mirror, Sink};
pub use plugin::{Grace, Plugin, Stopped};
pub use process::Exit;
pub use reattach::{Reattach, ReattachError, ReattachFailure};

/// The most one message may hold, either way. A caller sets it on each of its generated clients
/// (`max_decoding_message_size`, `max_encoding_message_size`); gRPC's own default is 4 MiB.
pub const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// Lines of a plugin's stderr that are kept for the report of a crash.
pub const LAST_LINES: usize = 20;
