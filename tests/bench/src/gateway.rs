//! The real gateway beside simulated devices, in a directory of its own.
//!
//! Always true: it is asked through its control socket only; what it started ends with the value, killed
//! gateways' drivers included.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use sagoo_edge_plugin_host::records;
use serde_json::Value as Json;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::field::Device;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);
/// Longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(60);
/// The gateway's own keys on the platform.
pub const PRODUCT: &str = "edge";
/// See [`PRODUCT`].
pub const GATEWAY: &str = "bench";
/// A broker that is not there.
const NOBODY: &str = "mqtt://127.0.0.1:1";
/// Lines of its log that an error repeats.
const TAIL: usize = 20;

/// A gateway, its devices and its directory.
#[derive(Debug)]
pub struct Gateway {
    program: PathBuf,
    /// Id of its one driver.
    driver: String,
    dir: TempDir,
    process: Option<Child>,
    /// The devices, each on a connection of its own.
    pub devices: Vec<Device>,
}

/// What it is told besides its field.
#[derive(Debug, Clone)]
pub struct Own {
    /// `mqtt://host:port`
    pub broker: String,
    /// Lines for `[sagoo]`.
    pub sagoo: String,
    /// Lines for `[buffer]`.
    pub buffer: String,
}

impl Own {
    /// With this broker, and everything else as it is when it is left out.
    pub fn at(broker: &str) -> Self {
        Self { broker: broker.to_owned(), sagoo: String::new(), buffer: String::new() }
    }

    /// The broker on this port of the loopback.
    pub fn local(port: u16) -> Self {
        Self::at(&format!("mqtt://127.0.0.1:{port}"))
    }

    /// A broker that is not there.
    pub fn alone() -> Self {
        Self::at(NOBODY)
    }
}

/// What `status` says, as far as it matters here.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    /// Process of the driver, when it runs.
    pub driver: Option<u32>,
    /// Latest count of each device that has one.
    pub counts: Vec<Option<u64>>,
}

impl Gateway {
    /// With devices of its own, each read at this period, and a platform that does not answer; nothing is
    /// started but the devices.
    pub async fn new(program: &Path, driver: &Path, devices: usize, period: Duration) -> Result<Self> {
        Self::with_devices(program, driver, &Own::alone(), devices, period).await
    }

    /// Like [`Gateway::new`], told this besides.
    pub async fn with_devices(
        program: &Path,
        driver: &Path,
        own: &Own,
        devices: usize,
        period: Duration,
    ) -> Result<Self> {
        let mut all = Vec::new();
        for _ in 0..devices {
            all.push(Device::start().await?);
        }
        let mut gateway = Self::prepare(program, driver, own, &field_toml(&all, period))?;
        gateway.devices = all;
        Ok(gateway)
    }

    /// With this field, told this besides; nothing is started. The driver's id is in its program's name.
    pub fn prepare(program: &Path, driver: &Path, own: &Own, field: &str) -> Result<Self> {
        let dir = TempDir::with_prefix("bench-").context("making a temporary directory")?;
        let name = driver.file_name().and_then(OsStr::to_str).and_then(|name| name.strip_prefix("driver-"));
        let id = name.with_context(|| format!("{} is not called driver-…", driver.display()))?.to_owned();
        let gateway =
            Self { program: program.to_owned(), driver: id, dir, process: None, devices: Vec::new() };
        for folder in ["config/conf.d", "drivers", "run"] {
            fs::create_dir_all(gateway.path(folder)).with_context(|| format!("making {folder}"))?;
        }
        fs::write(gateway.path("config/gateway.toml"), gateway.own_toml(own))
            .context("writing gateway.toml")?;
        fs::write(gateway.path("config/conf.d/field.toml"), field).context("writing field.toml")?;
        gateway.install(driver, 0)?;
        Ok(gateway)
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// The process of its driver, by the record the gateway keeps: unlike a look at its status this makes
    /// the gateway do nothing.
    pub fn driver_pid(&self) -> Option<u32> {
        let records = records(&self.path("run"));
        records.into_iter().find(|record| record.alive).map(|record| record.pid)
    }

    /// Puts a version of the driver where the gateway looks, whole or not at all. Versions differ by
    /// bytes that nothing reads, behind the program.
    pub fn install(&self, driver: &Path, version: u8) -> Result<()> {
        let next = self.path("next");
        let place = self.path("drivers").join(format!("driver-{}", self.driver));
        fs::copy(driver, &next).with_context(|| format!("copying {}", driver.display()))?;
        let mut file = File::options().append(true).open(&next).context("opening the copy")?;
        std::io::Write::write_all(&mut file, &[version; 16]).context("marking the copy")?;
        fs::rename(&next, &place).with_context(|| format!("writing {}", place.display()))
    }

    /// Starts it; does not wait.
    pub fn start(&mut self) -> Result<()> {
        let log = File::options().create(true).append(true).open(self.path("gateway.log"));
        let log = log.context("opening the gateway's log")?;
        let mut command = Command::new(&self.program);
        command.arg("run").arg("--config").arg(self.path("config")).env("TMPDIR", self.path("run"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).kill_on_drop(true);
        let started = command.spawn().with_context(|| format!("starting {}", self.program.display()))?;
        self.process = Some(started);
        Ok(())
    }

    /// SIGKILL, and waits until it is gone. Its drivers go on.
    pub async fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the gateway runs")?;
        process.kill().await.context("killing the gateway")
    }

    /// SIGKILL for it and its drivers.
    pub async fn kill_all(&mut self) -> Result<()> {
        self.kill().await?;
        self.end_drivers();
        Ok(())
    }

    /// Drivers outlive a gateway that is killed: they are ended by the records it kept.
    fn end_drivers(&self) {
        for record in records(&self.path("run")) {
            if let Some(group) = pid(record.pid).filter(|_| record.alive) {
                let _ = kill_process_group(group, Signal::KILL);
            }
        }
    }

    /// SIGTERM, and waits until it is gone, its drivers with it.
    pub async fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the gateway runs")?;
        if let Some(pid) = process.id().and_then(pid) {
            kill_process(pid, Signal::TERM).context("ending the gateway")?;
        }
        let ended = timeout(PATIENCE, process.wait()).await.context("the gateway does not end")??;
        ensure!(ended.success(), "the gateway ended with {ended}\n{}", self.tail());
        Ok(())
    }

    /// Looks until `wanted` is so; gives back what it saw then.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Self, &Seen) -> bool) -> Result<Seen> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Ok(seen) = self.look().await
                && wanted(self, &seen)
            {
                return Ok(seen);
            }
            let ended = self.process.as_mut().and_then(|process| process.try_wait().ok().flatten());
            if let Some(ended) = ended {
                bail!("the gateway ended with {ended} before {what}\n{}", self.tail());
            }
            ensure!(Instant::now() < deadline, "within {PATIENCE:?} not so: {what}\n{}", self.tail());
            sleep(LOOK).await;
        }
    }

    /// Its status now.
    pub async fn look(&self) -> Result<Seen> {
        let line = self.status().await?;
        seen(&line, &self.driver, self.devices.len()).with_context(|| format!("not a status: {line}"))
    }

    /// Entries of the ledger at one moment, each over all devices.
    pub async fn ledgers<const N: usize>(&self, entries: &[&str; N]) -> Result<[u64; N]> {
        let line = self.status().await?;
        let answer: Json = serde_json::from_str(&line).context("a status is JSON")?;
        let totals = &answer["status"]["totals"];
        ensure!(totals.is_object(), "a status has totals");
        Ok(entries.map(|entry| totals[entry].as_u64().unwrap_or_default()))
    }

    /// Gives it another field while it runs.
    pub async fn configure(&self, field: &str) -> Result<()> {
        fs::write(self.path("config/conf.d/field.toml"), field).context("writing field.toml")?;
        let answer = self.ask("reload").await?;
        ensure!(
            answer.contains(r#""result":"applied""#),
            "the gateway does not take another field: {answer}"
        );
        Ok(())
    }

    async fn status(&self) -> Result<String> {
        self.ask("status").await
    }

    async fn ask(&self, request: &str) -> Result<String> {
        let mut stream = UnixStream::connect(self.path("control.sock")).await?;
        stream.write_all(format!("{{\"request\":\"{request}\"}}\n").as_bytes()).await?;
        let mut line = String::new();
        timeout(PATIENCE, BufReader::new(stream).read_line(&mut line)).await??;
        Ok(line)
    }

    /// Where its buffer is.
    pub fn buffer(&self) -> PathBuf {
        self.path("buffer")
    }

    /// The end of what it has said.
    pub fn tail(&self) -> String {
        let log = fs::read_to_string(self.path("gateway.log")).unwrap_or_default();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(TAIL)..].join("\n")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn own_toml(&self, own: &Own) -> String {
        format!(
            r#"[gateway]
product_key = "{PRODUCT}"
device_key = "{GATEWAY}"
clock_wait = "0s"
[sagoo]
broker = "{broker}"
{sagoo}
[buffer]
dir = "{dir}"
{buffer}
[drivers]
dirs = ["{drivers}"]
trusted_keys = "{keys}"
allow_unsigned = ["{driver}"]
run_dir = "{run}"
[control]
socket = "{socket}"
"#,
            broker = own.broker,
            sagoo = own.sagoo,
            dir = self.buffer().display(),
            buffer = own.buffer,
            driver = self.driver,
            drivers = self.path("drivers").display(),
            keys = self.path("keys").display(),
            run = self.path("run").display(),
            socket = self.path("control.sock").display(),
        )
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        drop(self.process.take());
        self.end_drivers();
    }
}

fn field_toml(devices: &[Device], period: Duration) -> String {
    let mut toml = format!(
        r#"[model.counter]
addresses = "zero-based"
poll = {{ fast = "{}ms" }}
[model.counter.points]
count = {{ at = "holding:0", type = "u16", poll = "fast" }}
"#,
        period.as_millis()
    );
    for (number, device) in devices.iter().enumerate() {
        let _ = write!(
            toml,
            r#"[connection.line{number}]
driver = "modbus"
tcp = {{ host = "127.0.0.1", port = {port} }}
[device.d{number}]
connection = "line{number}"
unit = 1
model = "counter@1"
sagoo = {{ product_key = "counter", device_key = "d{number}" }}
"#,
            port = device.port,
        );
    }
    toml
}

fn pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The line of an answer to `status`.
fn seen(line: &str, driver: &str, devices: usize) -> Option<Seen> {
    let answer: Json = serde_json::from_str(line).ok()?;
    let status = answer.get("status")?;
    let driver = status["drivers"].as_array()?.iter().find(|one| one["id"] == driver);
    let running = driver.filter(|driver| driver["state"] == "running");
    let pid = running.and_then(|driver| driver["pid"].as_u64()).and_then(|pid| u32::try_from(pid).ok());
    let count = |number: usize| {
        let name = format!("d{number}");
        let device = status["devices"].as_array()?.iter().find(|one| one["name"] == name.as_str())?;
        device["points"][0]["value"].as_u64()
    };
    Some(Seen { driver: pid, counts: (0..devices).map(count).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_tells_the_drivers_process_and_the_latest_counts() {
        let line = r#"{"reply":"status","status":{"drivers":[{"id":"modbus","state":"running","pid":7}],
            "devices":[{"name":"gateway","points":[]},{"name":"d1","points":[{"name":"count","value":null}]},
            {"name":"d0","points":[{"name":"count","value":41}]}]}}"#;
        assert_eq!(seen(line, "modbus", 2), Some(Seen { driver: Some(7), counts: vec![Some(41), None] }));
        let starting = line.replace("running", "starting");
        assert_eq!(seen(&starting, "modbus", 1), Some(Seen { driver: None, counts: vec![Some(41)] }));
        assert_eq!(seen(r#"{"reply":"error","error":"busy"}"#, "modbus", 1), None);
    }
}
