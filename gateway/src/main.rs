//! The gateway.
#![allow(dead_code, unreachable_pub, reason = "scaffold")]
mod commands;
mod config;
mod northbound;
mod pipeline;
mod row;
mod status;
fn main() {}
