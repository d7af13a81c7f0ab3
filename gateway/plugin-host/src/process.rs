//! A plugin's process as its owner sees it: its end, its last words, and the way to end it.
//!
//! Always true: when [`Process`] is dropped, the whole group is killed; only
//! [`let_go`](Process::let_go) leaves it. The work is done by a task, the [`keeper`](crate::keeper).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::Pid;
use tokio::net::unix::pipe;
use tokio::process::Command;
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{oneshot, watch};

use crate::Mirror;
use crate::alive::{Birth, Living};
use crate::announce::{FirstLine, Stdout};
use crate::keep::{KeepError, KeptDir, STDERR, STDOUT};
use crate::keeper::{Group, Guard, Keeper, Leader, Order, Remains};
use crate::log::Stderr;
use crate::mirror::Copied;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, otherwise. Neither is known of a plugin that was taken over.
    pub signal: Option<i32>,
}

impl Exit {
    /// The end of a process that is not our child: only its parent learns more.
    pub(crate) const UNKNOWN: Self = Self { code: None, signal: None };

    pub(crate) fn of(status: ExitStatus) -> Self {
        Self { code: status.code(), signal: status.signal() }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.code, self.signal) {
            (Some(code), _) => write!(f, "exit status {code}"),
            (None, Some(signal)) => write!(f, "killed by signal {signal}"),
            (None, None) => write!(f, "end unknown"),
        }
    }
}

/// A running process. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    exited: watch::Receiver<Option<Exit>>,
    last_lines: watch::Receiver<VecDeque<String>>,
    order: watch::Sender<Order>,
    kept: Option<Arc<KeptDir>>,
}

/// Why a process was not started.
#[derive(Debug)]
pub(crate) enum SpawnError {
    System(io::Error),
    Keep(KeepError),
}

impl From<io::Error> for SpawnError {
    fn from(error: io::Error) -> Self {
        Self::System(error)
    }
}

impl From<KeepError> for SpawnError {
    fn from(error: KeepError) -> Self {
        Self::Keep(error)
    }
}

impl Process {
    /// Starts `command`. The receiver gets the first line of stdout. What names the process is taken
    /// before anybody can reap it.
    pub(crate) fn spawn(
        mut command: Command,
        driver: &str,
        output: Output,
        remains: Remains,
        mirror: &Mirror,
    ) -> io::Result<(Self, oneshot::Receiver<FirstLine>, io::Result<Birth>)> {
        // Before the child exists, so that no end of it is missed.
        let deaths = unix::signal(SignalKind::child())?;
        let Output { stdout, its_stdout, stderr, its_stderr } = output;
        let child = command.stdout(its_stdout).stderr(its_stderr).spawn()?;
        // the plugin's ends with it: otherwise the pipes would never end
        drop(command);
        let pid = child.id().expect("not yet waited for");
        let birth = Birth::of(pid);
        let group = Group::of_child(number(pid));
        let (announce, first_line) = Stdout::new(driver.to_owned());
        let leader = Leader::Child { child, deaths };
        let process = Self::keep(driver, leader, group, stdout, announce, stderr, remains, mirror);
        Ok((process, first_line, birth))
    }

    /// Takes over a process that an earlier host started, with the FIFOs it writes to. If it cannot,
    /// everything stays as it is.
    pub(crate) fn adopt(
        living: Living,
        driver: &str,
        sockets: &Path,
        remains: Remains,
        mirror: &Mirror,
    ) -> Result<Self, SpawnError> {
        let kept = remains.kept.as_deref().expect("only a kept plugin is taken over");
        let take = || {
            let (stdout, stderr) = (kept.open_fifo(STDOUT)?, kept.open_fifo(STDERR)?);
            Ok((receiver(stdout)?, receiver(stderr)?, Leader::adopted(&living)?))
        };
        let (stdout, stderr, leader) = match take() {
            Ok(taken) => taken,
            Err(error) => {
                remains.leave();
                return Err(error);
            }
        };
        let group = Group::of_adopted(living, sockets.to_owned());
        let announce = Stdout::after_the_first_line(driver.to_owned());
        Ok(Self::keep(driver, leader, group, stdout, announce, stderr, remains, mirror))
    }

    #[allow(clippy::too_many_arguments, reason = "what one task takes over, each thing once")]
    fn keep(
        driver: &str,
        leader: Leader,
        group: Group,
        stdout: pipe::Receiver,
        announce: Stdout,
        stderr: pipe::Receiver,
        remains: Remains,
        mirror: &Mirror,
    ) -> Self {
        let pid = group.number();
        let (log, last_lines) = Stderr::new(driver.to_owned());
        let (exit, exited) = watch::channel(None);
        let (order, orders) = watch::channel(Order::Live);
        let kept = remains.kept.clone();
        let keeper = Keeper {
            leader,
            guard: Guard::new(group, remains, orders),
            stdout,
            announce,
            stdout_copy: Copied::new(driver, "stdout", mirror.stdout.clone()),
            stderr,
            log,
            stderr_copy: Copied::new(driver, "stderr", mirror.stderr.clone()),
        };
        tokio::spawn(keeper.keep(exit));
        Self { pid, exited, last_lines, order, kept }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.exited.clone()
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines.borrow().iter().cloned().collect()
    }

    /// Waits for the end, at most `limit`.
    pub(crate) async fn exit_within(&self, limit: Duration) -> Option<Exit> {
        let mut exited = self.exited.clone();
        let ended = tokio::time::timeout(limit, exited.wait_for(Option::is_some)).await;
        ended.ok()?.ok().and_then(|exit| *exit)
    }

    /// Kills the group and waits for its end, at most `limit` (a process the kernel cannot end yet
    /// stays with the keeper).
    pub(crate) async fn kill(&self, limit: Duration) -> Option<Exit> {
        self.order.send_replace(Order::Kill);
        self.exit_within(limit).await
    }

    /// Leaves a kept process alive, with its record, for another host; kills any other.
    pub(crate) fn let_go(self) {
        if let Some(kept) = &self.kept {
            self.order.send_replace(Order::LetGo);
            kept.unlock();
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.order.send_if_modified(|order| {
            let lives = *order == Order::Live;
            if lives {
                *order = Order::Kill;
            }
            lives
        });
    }
}

fn number(pid: u32) -> Pid {
    i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel numbers from 1")
}

/// Where a process writes to, and where that is read.
#[derive(Debug)]
pub(crate) struct Output {
    stdout: pipe::Receiver,
    its_stdout: OwnedFd,
    stderr: pipe::Receiver,
    its_stderr: OwnedFd,
}

impl Output {
    /// Pipes, which end with this process.
    pub(crate) fn pipes() -> io::Result<Self> {
        let ((stdout, its_stdout), (stderr, its_stderr)) = (io::pipe()?, io::pipe()?);
        Self::of((stdout.into(), its_stdout.into()), (stderr.into(), its_stderr.into()))
    }

    /// FIFOs, which a later host can go on reading.
    pub(crate) fn fifos(kept: &KeptDir) -> Result<Self, SpawnError> {
        Ok(Self::of(kept.make_fifo(STDOUT)?, kept.make_fifo(STDERR)?)?)
    }

    fn of(
        (stdout, its_stdout): (OwnedFd, OwnedFd),
        (stderr, its_stderr): (OwnedFd, OwnedFd),
    ) -> io::Result<Self> {
        Ok(Self { stdout: receiver(stdout)?, its_stdout, stderr: receiver(stderr)?, its_stderr })
    }
}

fn receiver(ours: OwnedFd) -> io::Result<pipe::Receiver> {
    pipe::Receiver::from_owned_fd(ours)
}
