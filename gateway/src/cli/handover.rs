//! `sagoo-edge handover`: the gateway is gone, and these drivers go on.

use std::process::ExitCode;

use rustix::process::{Pid, test_kill_process};
use serde_json::json;

use crate::control::message::{LeftRunning, Reply, Request};

use super::HandoverArgs;
use super::print;

/// Asks, waits and shows.
pub(super) async fn handover(args: &HandoverArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let drivers = match args.gateway.ask_and_outlive(&Request::Handover).await {
        Ok(Reply::Handover { drivers }) => drivers,
        Ok(_) => return print::failure(print::ANOTHER_VERSION, as_json),
        Err(error) => return print::failure(&error, as_json),
    };
    // those that cannot be taken over have ended with their gateway
    let left: Vec<LeftRunning> = drivers.into_iter().filter(is_alive).collect();
    match as_json {
        true => print::json(&json!({ "drivers": left }), true),
        false => print::out(&text(&left), true),
    }
}

fn is_alive(driver: &LeftRunning) -> bool {
    let pid = i32::try_from(driver.pid).ok().and_then(Pid::from_raw);
    pid.is_some_and(|pid| test_kill_process(pid).is_ok())
}

pub(super) fn text(left: &[LeftRunning]) -> String {
    if left.is_empty() {
        return "the gateway has ended; no driver is left running\n".to_owned();
    }
    let drivers: Vec<String> =
        left.iter().map(|driver| format!("{} (pid {})", print::harmless(&driver.id), driver.pid)).collect();
    format!("the gateway has ended; left running: {}\n", drivers.join(", "))
}
