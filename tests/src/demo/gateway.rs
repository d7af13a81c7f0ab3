//! The real gateway as a process of the demo: started, asked for its status, stopped, and never left
//! behind.
//!
//! Always true: it runs in a process group of its own, so that Ctrl-C reaches the demo alone and the
//! demo decides what ends first.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child, Command};

/// Lines of the gateway's log the view may show.
const KEPT_LINES: usize = 16;
/// The gateway promises to stop within 5 s; this is that and a loaded machine.
const STOP_WAIT: Duration = Duration::from_secs(8);
/// One call of `sagoo-edge status`.
const STATUS_WAIT: Duration = Duration::from_secs(3);

/// The parts of `sagoo-edge status --json` that the demo shows and checks.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Status {
    pub(super) drivers: Vec<DriverStatus>,
    pub(super) devices: Vec<DeviceStatus>,
    pub(super) northbound: NorthboundStatus,
    pub(super) totals: Ledger,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DriverStatus {
    pub(super) pid: Option<u32>,
    pub(super) restarts: u32,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct DeviceStatus {
    pub(super) name: String,
    pub(super) online: bool,
    pub(super) reason: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct NorthboundStatus {
    pub(super) connected: bool,
    pub(super) in_flight: u64,
    pub(super) sent_samples: u64,
    pub(super) sent_messages: u64,
    pub(super) acknowledged_messages: u64,
    pub(super) resent_messages: u64,
}

/// The gateway's own account of its samples (README, "Nothing is lost, and it is counted").
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub(super) struct Ledger {
    pub(super) read: u64,
    pub(super) suppressed: u64,
    pub(super) dropped_by_driver: u64,
    pub(super) stored: u64,
    pub(super) acknowledged: u64,
    pub(super) waiting: u64,
    pub(super) evicted: u64,
    pub(super) parked: u64,
    pub(super) merged: u64,
}

/// The running process.
pub(super) struct Gateway {
    program: PathBuf,
    config: PathBuf,
    child: Child,
    lines: Arc<Mutex<VecDeque<String>>>,
    drivers: Vec<u32>,
}

impl Gateway {
    /// Starts `program run --config config`; its log goes to `log` and its last lines are kept.
    pub(super) fn start(program: &Path, config: &Path, log: &Path) -> anyhow::Result<Self> {
        let file = File::create(log).with_context(|| format!("creating {}", log.display()))?;
        let mut child = Command::new(program)
            .args(["run", "--config"])
            .arg(config)
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        // A Mutex, because two pipes write and the view reads a few lines ten times a second.
        let lines = Arc::new(Mutex::new(VecDeque::new()));
        let file = Arc::new(file);
        tokio::spawn(follow(
            child.stdout.take().expect("piped above"),
            Arc::clone(&lines),
            Arc::clone(&file),
        ));
        tokio::spawn(follow(child.stderr.take().expect("piped above"), Arc::clone(&lines), file));
        let (program, config) = (program.to_owned(), config.to_owned());
        Ok(Self { program, config, child, lines, drivers: Vec::new() })
    }

    /// The newest lines of its log.
    pub(super) fn last_lines(&self, count: usize) -> Vec<String> {
        let lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.iter().skip(lines.len().saturating_sub(count)).cloned().collect()
    }

    /// Its exit status, if it ended by itself.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Asks it by its command line, as an operator would.
    pub(super) async fn status(&mut self) -> anyhow::Result<Status> {
        let mut command = Command::new(&self.program);
        command
            .args(["status", "--json", "--config"])
            .arg(&self.config)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let asked = tokio::time::timeout(STATUS_WAIT, command.output()).await;
        let output = asked.context("sagoo-edge status does not answer")?.context("sagoo-edge status")?;
        if !output.status.success() {
            bail!("sagoo-edge status: {}", String::from_utf8_lossy(&output.stderr).trim());
        }
        let status: Status =
            serde_json::from_slice(&output.stdout).context("the JSON of sagoo-edge status")?;
        self.drivers = status.drivers.iter().filter_map(|driver| driver.pid).collect();
        Ok(status)
    }

    /// SIGTERM, and SIGKILL if that does not end it in time.
    pub(super) async fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            // It may have ended by itself meanwhile; waiting below tells.
            let _ = kill_process(pid, Signal::TERM);
        }
        match tokio::time::timeout(STOP_WAIT, self.child.wait()).await {
            Ok(ended) => ended.context("waiting for the gateway"),
            Err(_) => bail!("the gateway does not stop within {STOP_WAIT:?} of SIGTERM"),
        }
    }
}

impl Drop for Gateway {
    /// Whatever path led here: no gateway and no driver stays behind.
    fn drop(&mut self) {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id as i32)) {
            // Gone already is what we want.
            let _ = kill_process_group(pid, Signal::KILL);
        }
        let ours = self.program.parent().map(Path::to_owned).unwrap_or_default();
        for id in self.drivers.drain(..) {
            let runs_ours =
                std::fs::read_link(format!("/proc/{id}/exe")).is_ok_and(|exe| exe.starts_with(&ours));
            if let Some(pid) = Pid::from_raw(id as i32).filter(|_| runs_ours) {
                // As above.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}

async fn follow(pipe: impl AsyncRead + Unpin, lines: Arc<Mutex<VecDeque<String>>>, file: Arc<File>) {
    let mut reader = BufReader::new(pipe).lines();
    while let Ok(Some(line)) = reader.next_line().await {
        // A full disk must not end the demo; the view shows the line anyway.
        let _ = writeln!(&*file, "{line}");
        let mut kept = lines.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push_back(line);
        if kept.len() > KEPT_LINES {
            kept.pop_front();
        }
    }
}
