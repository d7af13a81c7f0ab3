//! Functions of the gateway itself, called like those of a device, by the platform or by hand.
//!
//! ```text
//! getGatewayVersion  {}                     its version
//! getGatewayStatus   {}                     how it is, in numbers
//! rebootDriver       {"driver": "modbus"}   ends the driver's process; done when a fresh one runs
//! ```
//! Always true: they come through the door of all commands, so that each has one outcome, repeated ids
//! are answered from memory, and all are in the audit; an unknown name is refused with those there are.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use serde::Deserialize;
use serde_json::{Value as Json, json};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::commands::{Action, Dispatch, Outcome, Request, Verdict};
use crate::config::did_you_mean;
use crate::row::GATEWAY;
use crate::status::board::Board;
use crate::status::{DriverStatus, Status};

const GET_VERSION: &str = "getGatewayVersion";
const GET_STATUS: &str = "getGatewayStatus";
const REBOOT: &str = "rebootDriver";

/// An answer needs this much of the time before the deadline.
const ANSWER: Duration = Duration::from_millis(500);

/// Who answers.
pub struct Own {
    /// How everything is.
    pub board: Arc<Board>,
    /// By id.
    pub drivers: BTreeMap<Arc<str>, Driver>,
}

/// A driver, as far as it can be restarted.
pub struct Driver {
    /// How it is.
    pub status: watch::Receiver<DriverStatus>,
    /// Tells its supervisor to begin anew.
    pub reboot: Arc<Notify>,
}

/// What `rebootDriver` is given.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reboot {
    driver: String,
}

impl Own {
    /// Answers until `stop`.
    pub async fn run(
        self,
        mut dispatched: mpsc::Receiver<Dispatch>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        let own = Arc::new(self);
        let mut calls = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                Some(Dispatch { request, reply }) = dispatched.recv() => {
                    let own = own.clone();
                    calls.spawn(async move {
                        // who asked may have gone away
                        let _ = reply.send(own.call(request).await);
                    });
                }
                Some(_) = calls.join_next() => {}
            }
        }
    }

    async fn call(&self, request: Request) -> Outcome {
        let Action::Invoke { function, input } = request.action else {
            return refused("the gateway itself has functions, and no points to read or write");
        };
        match function.as_str() {
            GET_VERSION => done(&json!({ "Version": super::VERSION })),
            GET_STATUS => done(&summary(&self.board.status().await)),
            REBOOT => self.reboot(&input, request.deadline_boot_ns).await,
            other => refused(format!(
                "the gateway has no function {other}; it has {GET_VERSION}, {GET_STATUS} and {REBOOT}"
            )),
        }
    }

    async fn reboot(&self, input: &str, deadline_boot_ns: u64) -> Outcome {
        let Reboot { driver: id } = match serde_json::from_str(input) {
            Ok(given) => given,
            Err(error) => return refused(format!("{REBOOT} is given {{\"driver\": ID}}: {error}")),
        };
        let Some(driver) = self.drivers.get(&*id) else {
            let ids: Vec<&str> = self.drivers.keys().map(|id| &**id).collect();
            let hint = did_you_mean(&id, ids.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("there are {}", ids.join(", ")));
            return refused(format!("no driver {id:?}; {hint}"));
        };
        let before = driver.status.borrow().clone();
        if matches!(before.state.as_str(), "missing" | "refused") {
            return refused(format!("driver {id} is {}: {}", before.state, before.last_error));
        }
        driver.reboot.notify_one();
        let left = Duration::from_nanos(deadline_boot_ns.saturating_sub(clock::boot_ns()));
        let mut status = driver.status.clone();
        let fresh = |now: &DriverStatus| now.state == "running" && now.pid.is_some() && now.pid != before.pid;
        match timeout(left.saturating_sub(ANSWER), status.wait_for(fresh)).await {
            Ok(Ok(now)) => done(&json!({ "driver": id, "pid": now.pid })),
            Ok(Err(_)) => Outcome::failed(Verdict::Unknown, "the gateway is stopping"),
            Err(_) => {
                let state = driver.status.borrow().state.clone();
                let message =
                    format!("driver {id} was told to begin anew and does not run yet; it is {state}");
                Outcome::failed(Verdict::Unknown, message)
            }
        }
    }
}

/// What fits into one answer, however many devices there are.
fn summary(status: &Status) -> Json {
    let devices = || status.devices.iter().filter(|device| device.name != GATEWAY);
    let drivers: BTreeMap<&str, &str> =
        status.drivers.iter().map(|driver| (driver.id.as_str(), driver.state.as_str())).collect();
    json!({
        "version": status.version,
        "uptime_s": status.uptime_s,
        "devices": devices().count(),
        "devices_online": devices().filter(|device| device.online).count(),
        "drivers": drivers,
        "waiting_samples": status.totals.waiting,
        "evicted_samples": status.totals.evicted,
        "parked_samples": status.totals.parked,
        "buffer_bytes": status.buffer.bytes,
        "buffer_trouble": status.buffer.trouble,
    })
}

fn done(output: &Json) -> Outcome {
    Outcome { output: output.to_string(), ..Outcome::failed(Verdict::Applied, "") }
}

fn refused(why: impl Into<String>) -> Outcome {
    Outcome::failed(Verdict::Refused, why)
}
