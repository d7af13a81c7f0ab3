//! What the session and a connection's task say to each other.
//!
//! Always true: wishes (devices, mode) are a latest value, so a task that is busy with a request
//! never holds the session up; commands and reports are bounded queues; what becomes of a job is
//! decided by the one side that took its claim.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sagoo_edge_proto::driver::{CommandResult, command::Action};
use sagoo_edge_proto::sample::Sample;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::guard::Owed;
use super::scan::Scan;
use super::told::Told;
use crate::driver::{Deadline, Driver, Offline, Point, Poll};
use crate::tap::Tap;

/// What the session wants of a connection. The latest counts.
#[derive(Debug)]
pub(crate) struct Wanted<D: Driver> {
    pub(crate) devices: Arc<Vec<Assigned<D>>>,
    pub(crate) mode: Mode,
}

/// Whether the line may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Run,
    /// Closed until told otherwise; nobody has to be told that it is.
    Held,
    /// Given up at a frame boundary until told otherwise, and said to be.
    Released,
    /// Given up for good.
    Stopped,
}

/// A device with its numbers on the wire.
#[derive(Debug)]
pub(crate) struct Assigned<D: Driver> {
    pub(crate) number: u32,
    pub(crate) points: Arc<[u32]>,
    pub(crate) device: Arc<Device<D>>,
}

impl<D: Driver> Assigned<D> {
    /// Whether it is the very same device, which did not change.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.device, &other.device)
    }
}

impl<D: Driver> Clone for Assigned<D> {
    fn clone(&self) -> Self {
        Self { number: self.number, points: self.points.clone(), device: self.device.clone() }
    }
}

/// A device as it was checked. What is the same for many is there once.
#[derive(Debug)]
pub(crate) struct Device<D: Driver> {
    pub(crate) name: String,
    pub(crate) points: Arc<[Point]>,
    pub(crate) polls: Arc<[Poll]>,
    pub(crate) offline: Offline,
    pub(crate) settings: D::Device,
}

/// A command for a device on this connection.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) id: String,
    pub(crate) deadline: Deadline,
    pub(crate) claim: Claim,
    pub(crate) device: String,
    pub(crate) action: Option<Action>,
}

/// The right to say what becomes of a job. The line takes it to start the job, the session to
/// expire it: so an expired job is never started, and a started one never called expired.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claim(Arc<AtomicBool>);

impl Claim {
    /// True for exactly one caller.
    pub(crate) fn take(&self) -> bool {
        !self.0.swap(true, Ordering::AcqRel)
    }

    pub(crate) fn is_taken(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// What the task tells the session.
#[derive(Debug)]
pub(crate) enum Report {
    /// A poll was finished, or its points turned bad.
    Read { device: u32, samples: Vec<Sample>, polls: u64 },
    /// A device came or went.
    State { device: u32, online: bool, reason: String },
    /// A command has its result.
    Done(CommandResult),
    /// The line is given up.
    Released(String),
    /// A scan of this connection is over.
    Scanned(String),
}

/// Everything the task is given.
pub(crate) struct Setup<D: Driver> {
    pub(crate) name: String,
    /// Makes the line, and makes it anew when it stood still.
    pub(crate) driver: Arc<D>,
    pub(crate) settings: D::Connection,
    pub(crate) wanted: watch::Receiver<Wanted<D>>,
    /// Boxed, as scans are: a queue has room for 32 of what it takes from the start, and a driver may
    /// have hundreds of lines.
    pub(crate) jobs: mpsc::Receiver<Box<Job>>,
    /// The same queue from its other side, to see whether a job waits in it.
    pub(crate) queue: mpsc::WeakSender<Box<Job>>,
    /// Scans that are to begin.
    pub(crate) scans: mpsc::Receiver<Box<Scan>>,
    pub(crate) reports: mpsc::Sender<Report>,
    /// Watched by captures.
    pub(crate) tap: Tap,
    /// Where the session sees what the line owes.
    pub(crate) owed: watch::Sender<Owed>,
    /// What heartbeats tell of the line.
    pub(crate) told: Told,
    /// The task that used this line before; nothing is opened until it is gone.
    pub(crate) after: Option<CancellationToken>,
    /// Lines before it in the configuration, for when its polls are due.
    pub(crate) before: u32,
    /// Tells the next one that this task is gone, however it ended.
    pub(crate) gone: DropGuard,
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn a_claim_is_taken_once_however_many_want_it() {
        for _ in 0..500 {
            let claim = Claim::default();
            assert!(!claim.is_taken());
            let won: usize = thread::scope(|scope| {
                let racers: Vec<_> = (0..3).map(|_| scope.spawn(|| usize::from(claim.take()))).collect();
                racers.into_iter().map(|racer| racer.join().unwrap()).sum()
            });
            assert_eq!(won, 1);
            assert!(claim.is_taken());
        }
    }
}
