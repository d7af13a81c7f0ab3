//! The task that keeps one process: drains its output, sees its end, ends its group, clears up.
//!
//! Always true:
//! - when it is ordered to kill, or is dropped with the runtime, the whole group dies;
//! - when the process ends by itself, what it left behind in its group is killed too: of a child
//!   while it is not reaped and still holds the group's number, of others told by their `TMPDIR`;
//!   so no stranger is hit;
//! - when the end is published, the last output has been read, a child is reaped, and directories,
//!   control group and record are gone;
//! - when it is ordered to let go, nothing is killed and nothing removed, whatever ends first.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::signal::unix;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::Exit;
use crate::alive::{Living, kill_members};
use crate::announce::Stdout;
use crate::confine::Cgroup;
use crate::keep::KeptDir;
use crate::log::Stderr;
use crate::mirror::Copied;
use crate::pidfd::Ended;
use crate::pipe::drain;
use crate::socket_dir::SocketDir;

/// What the owner of a process wants of its keeper.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// Watch it.
    Live,
    /// End it.
    Kill,
    /// Forget it.
    LetGo,
}

impl Order {
    /// Never, if the owner has gone without it.
    async fn given(self, mut orders: watch::Receiver<Self>) {
        if orders.wait_for(|order| *order == self).await.is_err() {
            std::future::pending().await
        }
    }
}

/// What is there as long as the process, and is removed with this value.
#[derive(Debug, Default)]
pub(crate) struct Remains {
    pub(crate) dir: Option<SocketDir>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) kept: Option<Arc<KeptDir>>,
}

impl Remains {
    /// Everything stays where it is: the process goes on.
    pub(crate) fn leave(mut self) {
        if let Some(dir) = self.dir.take() {
            dir.leave();
        }
        self.cgroup = None;
        self.kept = None;
    }
}

impl Drop for Remains {
    fn drop(&mut self) {
        // whoever is left in the group may still write to the directory
        if let Some(cgroup) = self.cgroup.take() {
            cgroup.remove();
        }
        drop(self.dir.take());
        // last, because it names the others
        if let Some(kept) = self.kept.take() {
            kept.remove();
        }
    }
}

/// The process itself.
#[derive(Debug)]
pub(crate) enum Leader {
    /// Our child; every death of any child is told.
    Child { child: Child, deaths: unix::Signal },
    /// Somebody else's; readable when it has ended.
    Adopted(Ended),
}

impl Leader {
    pub(crate) fn adopted(living: &Living) -> io::Result<Self> {
        living.pidfd.watch().map(Self::Adopted)
    }

    /// Something may have happened to it.
    async fn news(&mut self) {
        match self {
            Self::Child { deaths, .. } => {
                deaths.recv().await;
            }
            // stays readable, so that nothing needs to be cleared
            Self::Adopted(ended) => drop(ended.readable().await),
        }
    }

    async fn reap(self) -> Exit {
        match self {
            Self::Child { mut child, .. } => child.wait().await.map_or(Exit::UNKNOWN, Exit::of),
            Self::Adopted(_) => Exit::UNKNOWN,
        }
    }
}

/// A process group.
#[derive(Debug)]
pub(crate) struct Group {
    pid: Pid,
    /// Of a process that is not our child, with the `TMPDIR` of its family.
    adopted: Option<(Living, PathBuf)>,
}

impl Group {
    pub(crate) fn of_child(pid: Pid) -> Self {
        Self { pid, adopted: None }
    }

    pub(crate) fn of_adopted(living: Living, tmp_dir: PathBuf) -> Self {
        Self { pid: living.pid, adopted: Some((living, tmp_dir)) }
    }

    pub(crate) fn number(&self) -> u32 {
        self.pid.as_raw_pid().unsigned_abs()
    }

    fn kill(&self) {
        match &self.adopted {
            // Gone already is what was wanted.
            None => drop(kill_process_group(self.pid, Signal::KILL)),
            Some((living, tmp_dir)) => living.kill_group(tmp_dir),
        }
    }

    /// What the leader left; a child is not reaped yet.
    fn kill_rest(&self) {
        match &self.adopted {
            None => self.kill(),
            Some((_, tmp_dir)) => kill_members(self.pid, tmp_dir),
        }
    }

    /// Whether the leader has ended; a child stays unreaped.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        match &self.adopted {
            None => !matches!(waitid(WaitId::Pid(self.pid), look), Ok(None)),
            Some((living, _)) => living.pidfd.has_ended(),
        }
    }
}

/// Everything the task owns.
pub(crate) struct Keeper {
    pub(crate) leader: Leader,
    pub(crate) guard: Guard,
    pub(crate) stdout: pipe::Receiver,
    pub(crate) announce: Stdout,
    pub(crate) stdout_copy: Copied,
    pub(crate) stderr: pipe::Receiver,
    pub(crate) log: Stderr,
    pub(crate) stderr_copy: Copied,
}

/// Kills and removes when it is dropped, unless it was ordered to let go, or has been disarmed. It is
/// there before the task runs, and the task may be dropped before that.
pub(crate) struct Guard {
    owned: Option<(Group, Remains)>,
    orders: watch::Receiver<Order>,
}

impl Guard {
    pub(crate) fn new(group: Group, remains: Remains, orders: watch::Receiver<Order>) -> Self {
        Self { owned: Some((group, remains)), orders }
    }

    fn group(&self) -> &Group {
        &self.owned.as_ref().expect("until disarmed").0
    }

    /// From here on the number may belong to somebody else.
    fn disarm(mut self) -> Remains {
        self.owned.take().expect("disarmed once").1
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let Some((group, remains)) = self.owned.take() else { return };
        if *self.orders.borrow() == Order::LetGo {
            remains.leave();
            return;
        }
        group.kill();
    }
}

impl Keeper {
    pub(crate) async fn keep(self, exit: watch::Sender<Option<Exit>>) {
        tokio::select! {
            biased;
            () = Order::LetGo.given(self.guard.orders.clone()) => {}
            ended = self.until_end() => {
                // Nobody may be listening any more.
                exit.send_replace(Some(ended));
            }
        }
    }

    async fn until_end(self) -> Exit {
        let Self { mut leader, guard, stdout, stderr, .. } = self;
        let Self { mut announce, mut log, stdout_copy, stderr_copy, .. } = self;
        let group = guard.group();
        let died = CancellationToken::new();
        let watched = async {
            while !group.has_ended() {
                tokio::select! {
                    () = leader.news() => {}
                    () = Order::Kill.given(guard.orders.clone()) => {
                        group.kill();
                        if !group.has_ended() {
                            leader.news().await;
                        }
                    }
                }
            }
            group.kill_rest();
            died.cancel();
        };
        let stdout = async {
            drain(stdout, &died, stdout_copy, |bytes| announce.push(bytes)).await;
            announce.finish();
        };
        let stderr = async {
            drain(stderr, &died, stderr_copy, |bytes| log.push(bytes)).await;
            log.finish();
        };
        tokio::join!(watched, stdout, stderr);
        let remains = guard.disarm();
        let ended = leader.reap().await;
        // Off the runtime's threads: what a plugin left in its directory can be large.
        let _ = tokio::task::spawn_blocking(move || drop(remains)).await;
        ended
    }
}
