//! A plugin's process: started in a group of its own, ended as a group, reaped always.
//!
//! One task, the keeper, owns the child, drains its pipes and waits for it. Always true:
//! - when [`Process`] is dropped, the whole group is killed, and the keeper reaps the child;
//! - when the child ends by itself, what it left behind in its group is killed too, while the
//!   unreaped child still holds the group's number, so that no stranger is hit;
//! - when the end is published, the last output has been read, the child is reaped and the socket
//!   directory is gone;
//! - when the runtime itself ends first, the group is killed on the spot; the child is then
//!   reaped by whoever inherits the children of this process.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::process::{Child, Command};
use tokio::signal::unix::{self, SignalKind};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::announce::{FirstLine, Stdout};
use crate::log::Stderr;
use crate::pipe::drain;
use crate::socket_dir::SocketDir;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exit {
    /// Its exit status, if it ended by itself.
    pub code: Option<i32>,
    /// The signal that ended it, otherwise.
    pub signal: Option<i32>,
}

impl Exit {
    fn of(status: ExitStatus) -> Self {
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

/// A running child. Dropping it kills its group.
#[derive(Debug)]
pub(crate) struct Process {
    pid: u32,
    exited: watch::Receiver<Option<Exit>>,
    last_lines: watch::Receiver<VecDeque<String>>,
    kill: CancellationToken,
}

impl Process {
    /// Starts `command` with its output on pipes. The receiver gets the first line of stdout.
    pub(crate) fn spawn(
        mut command: Command,
        driver: &str,
        dir: SocketDir,
    ) -> io::Result<(Self, oneshot::Receiver<FirstLine>)> {
        // Before the child exists, so that no end of it is missed.
        let deaths = unix::signal(SignalKind::child())?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.process_group(0).kill_on_drop(true).spawn()?;
        let pid = child.id().expect("not yet waited for");
        let group =
            Group(i32::try_from(pid).ok().and_then(Pid::from_raw).expect("the kernel numbers from 1"));
        let stdout = pipe::Receiver::from_owned_fd(child.stdout.take().expect("piped").into_owned_fd()?)?;
        let stderr = pipe::Receiver::from_owned_fd(child.stderr.take().expect("piped").into_owned_fd()?)?;

        let (announce, first_line) = Stdout::new(driver.to_owned());
        let (log, last_lines) = Stderr::new(driver.to_owned());
        let (exit, exited) = watch::channel(None);
        let kill = CancellationToken::new();
        let keeper = Keeper { child, group, deaths, dir, stdout, announce, stderr, log };
        tokio::spawn(keeper.keep(kill.clone(), exit));
        Ok((Self { pid, exited, last_lines, kill }, first_line))
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
        self.kill.cancel();
        self.exit_within(limit).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill.cancel();
    }
}

/// A process group that dies with this value.
#[derive(Debug)]
struct Group(Pid);

impl Group {
    fn kill(&self) {
        // Gone already is what was wanted.
        let _ = kill_process_group(self.0, Signal::KILL);
    }

    /// Whether the leader has ended; it stays unreaped.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        !matches!(waitid(WaitId::Pid(self.0), look), Ok(None))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill();
    }
}

struct Keeper {
    child: Child,
    group: Group,
    deaths: unix::Signal,
    dir: SocketDir,
    stdout: pipe::Receiver,
    announce: Stdout,
    stderr: pipe::Receiver,
    log: Stderr,
}

impl Keeper {
    async fn keep(self, kill: CancellationToken, exit: watch::Sender<Option<Exit>>) {
        let Self { mut child, group, mut deaths, dir, stdout, mut announce, stderr, mut log } = self;
        let died = CancellationToken::new();
        let leader = async {
            while !group.has_ended() {
                tokio::select! {
                    _ = deaths.recv() => {}
                    () = kill.cancelled() => {
                        group.kill();
                        deaths.recv().await;
                    }
                }
            }
            group.kill();
            died.cancel();
        };
        let stdout = async {
            drain(stdout, &died, |bytes| announce.push(bytes)).await;
            announce.finish();
        };
        let stderr = async {
            drain(stderr, &died, |bytes| log.push(bytes)).await;
            log.finish();
        };
        tokio::join!(leader, stdout, stderr);
        // From here on the number may belong to somebody else.
        std::mem::forget(group);
        let ended = match child.wait().await {
            Ok(status) => Exit::of(status),
            Err(_) => Exit { code: None, signal: None },
        };
        // Off the runtime's threads: what a plugin left in its directory can be large.
        let _ = tokio::task::spawn_blocking(move || drop(dir)).await;
        // Nobody may be listening any more.
        exit.send_replace(Some(ended));
    }
}
