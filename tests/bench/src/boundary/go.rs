//! The Go host with the Go plugin: one process per turn, told what to do and asked for what it measured.
//!
//! Always true: it does what [`crate::talk`] does, in its own words.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;
use serde_json::{Value as Json, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::load::Load;
use crate::places::GoPair;
use crate::talk::{Calls, Carried};

/// Longest turn of the Go host, besides what it was told to take.
const PATIENCE: Duration = Duration::from_secs(60);

/// So many commands, then so many calls.
pub(super) async fn calls(pair: &GoPair, count: usize) -> Result<Calls> {
    run(pair, "calls", json!({ "count": count, "devices": devices(Load::IDLE) }), PATIENCE).await
}

/// Counts for so long what arrives and is acknowledged, once it has warmed up.
pub(super) async fn carry(pair: &GoPair, load: Load, warm_up: Duration, length: Duration) -> Result<Carried> {
    let turn = json!({
        "warm_up": warm_up.as_secs_f64(),
        "seconds": length.as_secs_f64(),
        "devices": devices(load),
    });
    run(pair, "carry", turn, PATIENCE + warm_up + length).await
}

fn devices(load: Load) -> Json {
    load.devices().map(|(name, settings)| json!({ "name": name, "settings": settings })).collect()
}

async fn run<T: DeserializeOwned>(pair: &GoPair, what: &str, turn: Json, patience: Duration) -> Result<T> {
    let mut host = Command::new(&pair.host);
    host.arg(&pair.plugin).arg(what).arg(turn.to_string()).stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(patience, host.output()).await;
    let output = output.context("the Go host does not come to an end")?.context("starting the Go host")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the Go host ended with {}: {}", output.status, said.trim());
    serde_json::from_slice(&output.stdout).context("the Go host's answer is not what was agreed")
}
