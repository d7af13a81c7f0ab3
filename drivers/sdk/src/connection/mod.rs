//! The task that owns one line: it follows the schedule, and commands go first.
//!
//! Always true: one request is on the line at a time, and none is cut off half-way unless its line
//! stands still ([`guard`]); what is wanted (devices, run, held, released, stopped) is taken over
//! between two requests, and so are commands: a poll of several requests pauses for them where its
//! driver asks ([`Readings::pauses`](crate::driver::Readings::pauses)). Due polls, and the rest of a
//! paused one, get their turn after [`COMMANDS_IN_A_ROW`] commands. A scan uses what is left ([`scan`]).

mod guard;
mod jobs;
mod orders;
mod polls;
mod scan;
mod told;

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tonic::Status;
use tracing::{error, info};

use self::guard::Guard;
#[cfg(test)]
pub(crate) use self::guard::STANDSTILL;
pub(crate) use self::guard::{Owed, overdue};
pub(crate) use self::orders::{Assigned, Claim, Device, Job, Mode, Report, Setup, Wanted};
use self::polls::Paused;
#[cfg(test)]
pub(crate) use self::scan::SCAN_BREAKS;
pub(crate) use self::scan::{Answer, Scan};
use self::told::NOT_USED_YET;
pub(crate) use self::told::Told;
use crate::driver::{Driver, Line, Waiting};
use crate::schedule::{NewUnit, Next, Schedule};
use crate::tap::Tap;

/// Most commands waiting for one line; one more is refused.
pub(crate) const COMMANDS_WAITING: usize = 64;
/// Commands executed before a due poll, or the next request of a paused one, gets its turn.
pub(crate) const COMMANDS_IN_A_ROW: u32 = 8;

/// What is said of a device on a connection that is on hold.
pub(crate) const ON_HOLD: &str = "on hold";
/// What is said of a line that is given up for another process.
const RELEASED: &str = "released";
/// What is said of a device before its first poll.
pub(crate) const NOT_READ_YET: &str = "not read yet";

/// Runs until the session wants it stopped.
pub(crate) async fn run<D: Driver>(setup: Setup<D>) {
    let Setup {
        name,
        driver,
        settings,
        mut wanted,
        jobs,
        queue,
        scans,
        reports,
        tap,
        owed,
        told,
        after,
        before,
        gone,
    } = setup;
    if let Some(after) = after {
        after.cancelled().await;
    }
    let first = wanted.borrow_and_update().devices.clone();
    let mut task = Task::<D> {
        name,
        line: driver.line(&settings, tap.clone()),
        tap,
        driver,
        settings,
        guard: Guard::new(owed, told.clone()),
        told,
        jobs,
        queue,
        scans,
        scan: None,
        reports,
        devices: Arc::default(),
        states: Vec::new(),
        schedule: Schedule::new(fastrand::Rng::new(), before),
        paused: None,
        line_reason: String::new(),
        skipped_logged: 0,
    };
    task.take_devices(first).await;
    task.follow(&mut wanted).await;
    task.drop_paused().await;
    let stopped = format!("connection {:?} was stopped, or has new settings", task.name);
    task.end_scan(Status::unavailable(stopped)).await;
    task.close().await;
    task.refuse_waiting().await;
    let _ = task.reports.send(Report::Released(task.name.clone())).await;
    drop(gone);
}

struct Task<D: Driver> {
    name: String,
    driver: Arc<D>,
    settings: D::Connection,
    line: D::Line,
    /// Watched by captures.
    tap: Tap,
    guard: Guard,
    told: Told,
    jobs: mpsc::Receiver<Box<Job>>,
    queue: mpsc::WeakSender<Box<Job>>,
    scans: mpsc::Receiver<Box<Scan>>,
    /// The scan that goes on.
    scan: Option<Box<Scan>>,
    reports: mpsc::Sender<Report>,
    devices: Arc<Vec<Assigned<D>>>,
    /// What the session was told of each device; `None` before the first poll.
    states: Vec<Option<(bool, String)>>,
    schedule: Schedule,
    /// The poll that goes on when it is the polls' turn again.
    paused: Option<Paused<D>>,
    /// Why the line broke last.
    line_reason: String,
    /// How many skipped polls the log last said.
    skipped_logged: u64,
}

/// What woke the task.
enum Woke {
    Wanted,
    Gone,
    Job(Box<Job>),
    Scan(Box<Scan>),
    Work(Work),
}

/// What the line does when nobody asks for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Poll,
    Step,
}

impl<D: Driver> Task<D> {
    /// What is done on the line is boxed: it takes ten times as much as waiting does, and most lines wait.
    async fn follow(&mut self, wanted: &mut watch::Receiver<Wanted<D>>) {
        let mut mode = Mode::Run;
        let mut in_a_row = 0;
        let mut news = true;
        loop {
            // What came while a request was made was not waited for, and is news all the same.
            news |= wanted.has_changed().unwrap_or(false);
            let (devices, wants) = {
                let wanted = wanted.borrow_and_update();
                (wanted.devices.clone(), wanted.mode)
            };
            self.take_devices(devices).await;
            if wants == Mode::Stopped {
                return;
            }
            self.change(mode, wants, news).await;
            mode = wants;
            news = false;
            let turn = in_a_row >= COMMANDS_IN_A_ROW;
            match self.wake(mode, turn, wanted).await {
                Woke::Gone => return,
                Woke::Wanted => news = true,
                Woke::Job(job) if job.claim.take() => {
                    in_a_row += 1;
                    Box::pin(self.execute(job, mode)).await;
                }
                // It was answered at its deadline.
                Woke::Job(_) => {}
                Woke::Scan(scan) => self.begin_scan(scan),
                Woke::Work(work) => {
                    in_a_row = 0;
                    let waiting = self.waiting(wanted);
                    match work {
                        Work::Poll => Box::pin(self.serve_next(waiting)).await,
                        Work::Step => Box::pin(self.scan_on()).await,
                    }
                }
            }
        }
    }

    /// From one mode to the next; `news`: somebody asked, even if nothing changes.
    async fn change(&mut self, from: Mode, to: Mode, news: bool) {
        if from == Mode::Run && to != Mode::Run {
            self.drop_paused().await;
            let reason = if to == Mode::Held { ON_HOLD } else { RELEASED };
            self.end_scan(Status::unavailable(format!("connection {:?} is {reason}", self.name))).await;
            self.close().await;
            self.told.closed(reason);
            info!(connection = self.name, "line given up");
        }
        match to {
            Mode::Run if from != Mode::Run => {
                info!(connection = self.name, "line is used again");
                self.schedule.resume(Instant::now());
                self.told.closed(NOT_USED_YET);
                if from == Mode::Held {
                    self.tell_closed(NOT_READ_YET).await;
                }
            }
            Mode::Held => {
                self.told.closed(ON_HOLD);
                self.tell_closed(ON_HOLD).await;
            }
            Mode::Released if from != Mode::Released || news => {
                self.report(Report::Released(self.name.clone())).await;
            }
            Mode::Run | Mode::Released | Mode::Stopped => {}
        }
    }

    /// Sees whether a command waits, or something else is wanted than is being done.
    fn waiting(&self, wanted: &watch::Receiver<Wanted<D>>) -> Waiting {
        let (queue, wanted) = (self.queue.clone(), wanted.clone());
        Waiting::when(move || {
            queue.upgrade().is_some_and(|queue| queue.capacity() < queue.max_capacity())
                || wanted.has_changed().unwrap_or(true)
        })
    }

    /// Waits for a change, a command, a scan or a due poll, in this order; `turn`: what is due goes first.
    async fn wake(&mut self, mode: Mode, turn: bool, wanted: &mut watch::Receiver<Wanted<D>>) -> Woke {
        let now = Instant::now();
        let work = self.next_work(now).filter(|_| mode == Mode::Run);
        match work {
            Some((at, work)) if turn && at <= now => return Woke::Work(work),
            _ => {}
        }
        let (at, work) = work.unzip();
        tokio::select! {
            biased;
            changed = wanted.changed() => if changed.is_ok() { Woke::Wanted } else { Woke::Gone },
            Some(job) = self.jobs.recv() => Woke::Job(job),
            Some(scan) = self.scans.recv() => Woke::Scan(scan),
            () = reached(at) => Woke::Work(work.unwrap_or(Work::Poll)),
        }
    }

    /// What is to be done next, and when. A step of a scan that is due may go before due polls.
    fn next_work(&self, now: Instant) -> Option<(Instant, Work)> {
        let poll = match self.schedule.next(now) {
            _ if self.paused.is_some() => Some(now),
            Next::Idle => None,
            Next::Wait(at) => Some(at),
            Next::Poll(..) | Next::LineDown(..) => Some(now),
        };
        let poll = poll.map(|at| (at, Work::Poll));
        let step = self.scan_due(now).map(|at| (at, Work::Step));
        let first = |(at, _): &(Instant, Work)| poll.is_none_or(|(poll, _)| *at <= now || *at < poll);
        step.filter(first).or(poll)
    }

    /// Takes over a set of devices; one that did not change keeps its schedule and its state.
    async fn take_devices(&mut self, devices: Arc<Vec<Assigned<D>>>) {
        if Arc::ptr_eq(&devices, &self.devices) {
            return;
        }
        let mut states = Vec::with_capacity(devices.len());
        let units = devices
            .iter()
            .map(|new| {
                let before = self.devices.iter().position(|old| old.is_same(new));
                states.push(before.and_then(|place| self.states[place].take()));
                match before {
                    Some(place) => NewUnit::Kept(place),
                    None => NewUnit::Fresh {
                        periods: new.device.polls.iter().map(|poll| poll.period).collect(),
                        offline: new.device.offline,
                    },
                }
            })
            .collect();
        self.schedule.rebuild(Instant::now(), units);
        self.devices = devices;
        self.states = states;
        self.settle_paused().await;
    }

    /// Gives the line up. One that does not come back from it is left to itself.
    async fn close(&mut self) {
        if self.guard.watch(Instant::now(), None, self.line.close()).await.is_none() {
            self.start_anew("closing it");
        }
    }

    /// The line stood still: what it was is forgotten, and the next request opens a new one.
    fn start_anew(&mut self, doing: &str) {
        error!(
            connection = self.name,
            doing,
            standstill = ?guard::STANDSTILL,
            "the driver did not come back from its line, which is cut off and started anew"
        );
        self.line = self.driver.line(&self.settings, self.tap.clone());
    }

    async fn report(&mut self, report: Report) {
        // The session outlives its connections; when it is gone the process is ending.
        let _ = self.reports.send(report).await;
    }
}

/// Comes back at this moment, without one never; at once when it has passed, where a timer would wait
/// for its next millisecond and a line could not do a thousand polls in a second.
async fn reached(moment: Option<Instant>) {
    match moment {
        None => std::future::pending().await,
        Some(moment) if moment > Instant::now() => sleep_until(moment).await,
        Some(_) => {}
    }
}
