//! A plugin as a process, seen from a host: the real binary, the real socket, the real signals.
//!
//! In reading order: `rig` (the host's side), `life` (start, services, ends), `output` (prints and
//! log), `loss` (gateways that go and come back), `security` (TLS and versions).

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

mod life;
mod loss;
mod output;
mod rig;
mod security;
