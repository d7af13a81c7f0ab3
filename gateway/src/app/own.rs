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
        "dead_letters": status.northbound.dead_letters.letters,
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load;
    use crate::pipeline;
    use crate::status::NorthboundStatus;

    struct Rig {
        own: Own,
        modbus: watch::Sender<DriverStatus>,
        reboot: Arc<Notify>,
        pipeline: pipeline::Handle,
        _dir: tempfile::TempDir,
    }

    fn rig() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let toml = "gateway = { product_key = \"p\", device_key = \"gw-1\" }\n\
            sagoo = { broker = \"mqtt://localhost\" }\nbuffer = { dir = \"buffer\" }\n";
        std::fs::write(dir.path().join("gateway.toml"), toml).unwrap();
        let config = load(dir.path()).config.unwrap();
        let (pipeline, _) = pipeline::task::start(&config).unwrap();
        let of = |id: &str, state: &str| DriverStatus {
            id: id.to_owned(),
            state: state.to_owned(),
            pid: (state == "running").then_some(41),
            ..DriverStatus::default()
        };
        let (modbus, status) = watch::channel(of("modbus", "running"));
        let (_, serial) = watch::channel(of("serial", "missing"));
        let reboot = Arc::new(Notify::new());
        let board = Board {
            config: Arc::new(config),
            began: std::time::Instant::now(),
            pipeline: pipeline.clone(),
            drivers: vec![status.clone(), serial.clone()],
            northbound: watch::channel(NorthboundStatus::default()).1,
            last_reload: watch::channel(None).1,
            metrics: watch::channel(None).1,
            state_trouble: watch::channel(String::new()).1,
        };
        let drivers = BTreeMap::from([
            ("modbus".into(), Driver { status, reboot: reboot.clone() }),
            ("serial".into(), Driver { status: serial, reboot: Arc::default() }),
        ]);
        Rig { own: Own { board: Arc::new(board), drivers }, modbus, reboot, pipeline, _dir: dir }
    }

    fn invoke(function: &str, input: &str, within: Duration) -> Request {
        Request {
            id: "1".to_owned(),
            device: GATEWAY.to_owned(),
            deadline_boot_ns: clock::boot_ns() + within.as_nanos() as u64,
            action: Action::Invoke { function: function.to_owned(), input: input.to_owned() },
        }
    }

    const SOON: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_gateway_says_its_version_and_how_it_is_and_refuses_what_it_does_not_know() {
        let rig = rig();
        let version = rig.own.call(invoke("getGatewayVersion", "{}", SOON)).await;
        assert_eq!(version.output, json!({ "Version": super::super::VERSION }).to_string());
        let status = rig.own.call(invoke("getGatewayStatus", "{}", SOON)).await;
        let status: Json = serde_json::from_str(&status.output).unwrap();
        assert_eq!(status["drivers"], json!({ "modbus": "running", "serial": "missing" }));
        assert_eq!((&status["waiting_samples"], &status["dead_letters"]), (&json!(0), &json!(0)));
        let unknown = rig.own.call(invoke("reboot", "{}", SOON)).await;
        assert_eq!(unknown.verdict, Verdict::Refused);
        assert!(unknown.message.contains("has no function reboot; it has getGatewayVersion"), "{unknown:?}");
        let read = Request { action: Action::Read(Vec::new()), ..invoke("", "", SOON) };
        assert_eq!(rig.own.call(read).await.verdict, Verdict::Refused);
        rig.pipeline.stop().await;
    }

    #[tokio::test]
    async fn what_names_no_driver_that_can_run_is_refused_before_anything_is_touched() {
        let rig = rig();
        for (input, why) in [
            ("{}", "missing field `driver`"),
            (r#"{"driver":7}"#, "invalid type"),
            (r#"{"driver":"modbus","force":true}"#, "unknown field `force`"),
            (r#"{"driver":"modbsu"}"#, "did you mean \"modbus\""),
            (r#"{"driver":"zzz"}"#, "there are modbus, serial"),
            (r#"{"driver":"serial"}"#, "driver serial is missing"),
        ] {
            let outcome = rig.own.call(invoke("rebootDriver", input, SOON)).await;
            assert_eq!(outcome.verdict, Verdict::Refused, "{input}");
            assert!(outcome.message.contains(why), "{input}: {}", outcome.message);
        }
        let untouched = timeout(Duration::from_millis(1), rig.reboot.notified()).await;
        assert!(untouched.is_err());
        rig.pipeline.stop().await;
    }

    #[tokio::test]
    async fn a_driver_is_rebooted_when_a_fresh_process_runs_and_unknown_when_none_does_in_time() {
        let rig = rig();
        let late = rig.own.call(invoke("rebootDriver", r#"{"driver":"modbus"}"#, ANSWER)).await;
        assert_eq!(late.verdict, Verdict::Unknown);
        assert!(late.message.contains("does not run yet; it is running"), "{}", late.message);
        rig.reboot.notified().await;
        let supervisor = async {
            rig.reboot.notified().await;
            for (state, pid) in
                [("running", Some(41)), ("starting", None), ("starting", Some(42)), ("running", Some(42))]
            {
                rig.modbus.send_modify(|status| (status.state, status.pid) = (state.to_owned(), pid));
                tokio::task::yield_now().await;
            }
        };
        let call = rig.own.call(invoke("rebootDriver", r#"{"driver":"modbus"}"#, SOON));
        let (done, ()) = tokio::join!(call, supervisor);
        assert_eq!(done.output, json!({ "driver": "modbus", "pid": 42 }).to_string(), "{done:?}");
        rig.pipeline.stop().await;
    }
}
