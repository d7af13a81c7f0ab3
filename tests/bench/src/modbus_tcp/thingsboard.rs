//! ThingsBoard's gateway as its users install it, beside the same plant and the same broker.
//!
//! Always true: the pinned version from PyPI, in an environment of its own in the build directory; it is
//! told its most favourable settings: one request for all registers of a device, no statistics of its own,
//! no attributes, no limits from the platform; what the platform has to answer before it begins, it is
//! answered.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value as Json, json};
use tempfile::TempDir;
use tokio::process::Child;
use tokio::time::timeout;

use super::account::Row;
use crate::places::Places;
use crate::plant::Plant;

/// The release that is measured.
pub(super) const VERSION: &str = "3.8.5";
/// It, and what it would otherwise fetch by itself at its first start.
const PINS: [&str; 4] =
    ["thingsboard-gateway==3.8.5", "pymodbus==3.9.2", "pyserial==3.5", "pyserial-asyncio==0.6"];
/// What is published towards its platform.
pub(super) const FILTER: &str = "v1/#";
/// Where telemetry goes.
const TELEMETRY: &str = "v1/gateway/telemetry";
/// Asks for a device's limits.
const CALL: &str = "v1/devices/me/rpc/request/";
/// Longest orderly stop.
const PATIENCE: Duration = Duration::from_secs(10);
/// Lines of its log that an error repeats.
const TAIL: usize = 20;

/// A running gateway; ends with its value.
#[derive(Debug)]
pub(super) struct ThingsBoard {
    dir: TempDir,
    process: Child,
}

impl ThingsBoard {
    /// Starts it; does not wait until it reads.
    pub(super) fn start(
        places: &Places,
        plant: &Plant,
        registers: u16,
        period: Duration,
        broker: u16,
    ) -> Result<Self> {
        let python = installed(&places.build.join("venv-tb"))?;
        let dir = TempDir::with_prefix("bench-tb-").context("making a temporary directory")?;
        for folder in ["config", "logs"] {
            fs::create_dir(dir.path().join(folder)).with_context(|| format!("making {folder}"))?;
        }
        let write = |name: &str, json: Json| {
            let path = dir.path().join("config").join(name);
            fs::write(&path, json.to_string()).with_context(|| format!("writing {}", path.display()))
        };
        write("tb_gateway.json", own_json(broker))?;
        write("modbus.json", field_json(plant, registers, period))?;
        write("logs.json", logs_json())?;
        let log = File::create(dir.path().join("out.log")).context("making its log")?;
        let mut command = tokio::process::Command::new(python);
        command.args(["-m", "thingsboard_gateway.tb_gateway"]).current_dir(dir.path());
        command.env("TB_GW_CONFIG_DIR", dir.path().join("config"));
        command.stdin(Stdio::null()).stderr(log.try_clone().context("sharing its log")?).stdout(log);
        let process = command.kill_on_drop(true).spawn().context("starting ThingsBoard's gateway")?;
        Ok(Self { dir, process })
    }

    /// Its process.
    pub(super) fn pid(&self) -> Result<u32> {
        self.process.id().with_context(|| format!("ThingsBoard's gateway has ended\n{}", self.tail()))
    }

    /// The end of what it has said.
    pub(super) fn tail(&self) -> String {
        let log = fs::read_to_string(self.dir.path().join("out.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    /// Ends it, the hard way if it takes its time.
    pub(super) async fn stop(mut self) -> Result<()> {
        let pid = self.process.id().and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        if let Some(pid) = pid {
            kill_process(pid, Signal::TERM).context("ending ThingsBoard's gateway")?;
        }
        if timeout(PATIENCE, self.process.wait()).await.is_err() {
            self.process.kill().await.context("killing ThingsBoard's gateway")?;
        }
        Ok(())
    }
}

/// What its platform answers: no limits, as a ThingsBoard without a tenant profile's limits.
pub(super) fn answer(topic: &str, _payload: &[u8]) -> Option<(String, String)> {
    let number = topic.strip_prefix(CALL)?;
    let limits = json!({"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""});
    let body = json!({"maxPayloadSize": 65_536, "maxInflightMessages": 100, "rateLimits": limits.clone(),
        "gatewayRateLimits": limits});
    Some((format!("v1/devices/me/rpc/response/{number}"), body.to_string()))
}

/// The rows of a message.
pub(super) fn rows(topic: &str, payload: &[u8]) -> Vec<Row> {
    let message = if topic == TELEMETRY { serde_json::from_slice::<Json>(payload).ok() } else { None };
    let mut rows = Vec::new();
    for (device, packs) in message.as_ref().and_then(Json::as_object).into_iter().flatten() {
        let Some(device) = device.strip_prefix('d').and_then(|number| number.parse().ok()) else { continue };
        for pack in packs.as_array().into_iter().flatten() {
            let value = |(name, value): (&String, &Json)| {
                Some((name.strip_prefix('r')?.parse().ok()?, value.as_u64()?))
            };
            let values = pack["values"].as_object().into_iter().flatten().filter_map(value).collect();
            rows.push(Row { device, values });
        }
    }
    rows
}

/// The environment's Python; builds the environment when it is not there or of another version.
fn installed(venv: &Path) -> Result<PathBuf> {
    let (python, stamp) = (venv.join("bin/python"), venv.join("pins"));
    let pins = PINS.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|built| built == pins) {
        return Ok(python);
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    run(Command::new(&python)
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"])
        .args(PINS))?;
    fs::write(&stamp, pins).with_context(|| format!("writing {}", stamp.display()))?;
    Ok(python)
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| {
        format!("running {command:?}; ThingsBoard's gateway needs python3 with venv: deploy/check.sh install")
    })?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?} ended with {}:\n{}", output.status, said.trim());
    Ok(())
}

fn own_json(broker: u16) -> Json {
    json!({
        "thingsboard": {
            "host": "127.0.0.1", "port": broker, "remoteShell": false, "remoteConfiguration": false,
            "statistics": {"enable": false}, "deviceFiltering": {"enable": false},
            "maxPayloadSizeBytes": 65_536, "minPackSendDelayMS": 50, "minPackSizeToSend": 500,
            "checkConnectorsConfigurationInSeconds": 60, "handleDeviceRenaming": false,
            "security": {"type": "accessToken", "accessToken": "bench"}, "qos": 1,
            "reportStrategy": {"type": "ON_RECEIVED"},
            "checkingDeviceActivity": {"checkDeviceInactivity": false},
        },
        "storage": {"type": "memory", "read_records_count": 100, "max_records_count": 100_000},
        "grpc": {"enabled": false},
        "connectors": [{"name": "modbus", "type": "modbus", "configuration": "modbus.json"}],
    })
}

/// All registers of a device are one range, read by one request.
fn field_json(plant: &Plant, registers: u16, period: Duration) -> Json {
    let slave = |(number, (port, unit)): (usize, (&u16, &u8))| {
        json!({
            "host": "127.0.0.1", "port": port, "type": "tcp", "method": "socket", "unitId": unit,
            "deviceName": format!("d{number}"), "deviceType": "default", "timeout": 1, "retries": 0,
            "byteOrder": "BIG", "wordOrder": "BIG", "pollPeriod": period.as_millis() as u64,
            "connectAttemptTimeMs": 500, "connectAttemptCount": 5, "waitAfterFailedAttemptsMs": 30_000,
            "attributes": [], "attributeUpdates": [], "rpc": [],
            "timeseries": [{
                "tag": "r${address}", "type": "16uint", "functionCode": 3, "objectsCount": 1,
                "address": format!("0-{}", registers - 1), "maxRegistersPerRequest": registers,
            }],
        })
    };
    let slaves: Vec<Json> = plant.ports.iter().zip(&plant.units).enumerate().map(slave).collect();
    json!({"master": {"slaves": slaves}})
}

/// Warnings only: logs cost it time.
fn logs_json() -> Json {
    json!({
        "version": 1, "disable_existing_loggers": false,
        "formatters": {"plain": {"class": "logging.Formatter", "format": "%(levelname)s %(name)s %(message)s"}},
        "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain", "stream": "ext://sys.stdout"}},
        "root": {"level": "WARNING", "handlers": ["out"]},
        "loggers": {},
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_telemetry_only() {
        let payload = br#"{"d3":[{"ts":1,"values":{"r0":9,"r1":40}}],"other":[{"ts":1,"values":{"r0":1}}]}"#;
        assert_eq!(rows(TELEMETRY, payload), [Row { device: 3, values: vec![(0, 9), (1, 40)] }]);
        assert_eq!(rows("v1/gateway/connect", payload), []);
    }

    #[test]
    fn it_is_told_that_there_are_no_limits() {
        let (topic, body) = answer("v1/devices/me/rpc/request/7", b"").unwrap();
        assert_eq!(topic, "v1/devices/me/rpc/response/7");
        assert!(body.contains("rateLimits"), "{body}");
        assert_eq!(answer("v1/gateway/telemetry", b""), None);
    }
}
