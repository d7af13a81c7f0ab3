//! The gateway.
#![allow(dead_code, unreachable_pub, reason = "scaffold")]
mod commands;
mod config;
mod pipeline;
mod row;
mod southbound;
mod state;
mod status;
fn main() {}
