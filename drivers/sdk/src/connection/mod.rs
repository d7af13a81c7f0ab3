//! The task that owns one line: it follows the schedule, and commands go first.
//!
//! Always true: one request is on the line at a time and none is cut off half-way; what is wanted
//! (devices, run, released, stopped) is taken over between two requests, and so are commands; a
//! command that the session expired while it waited is not started, and the line is told the
//! deadline of one that is. Due polls get their turn after [`COMMANDS_IN_A_ROW`] commands. Bad samples of a poll that goes on failing are sent at its first
//! failure and every [`schedule::REMIND_BAD`](crate::schedule::REMIND_BAD).

mod orders;

use std::sync::Arc;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{CommandResult, Status};
use sagoo_edge_proto::sample::{Quality, Sample};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, info, warn};

pub(crate) use self::orders::{Assigned, Claim, Job, Mode, Report, Setup, Wanted};
use crate::commands::{self, Work, result};
use crate::driver::{Driver, Line, LineError, Readings};
use crate::schedule::{NewUnit, Next, Schedule};

/// Most commands waiting for one line; one more is refused.
pub(crate) const COMMANDS_WAITING: usize = 64;
/// Commands executed before a due poll gets its turn.
pub(crate) const COMMANDS_IN_A_ROW: u32 = 8;

/// Runs until the session wants it stopped.
pub(crate) async fn run<D: Driver>(setup: Setup<D>) {
    let Setup { name, line, mut wanted, jobs, reports, after, gone } = setup;
    if let Some(after) = after {
        after.cancelled().await;
    }
    let first = wanted.borrow_and_update().devices.clone();
    let mut task = Task::<D> {
        name,
        line,
        jobs,
        reports,
        devices: Arc::default(),
        states: Vec::new(),
        schedule: Schedule::new(fastrand::Rng::new()),
        line_reason: String::new(),
        skipped: 0,
    };
    task.take_devices(first);
    task.follow(&mut wanted).await;
    task.line.close().await;
    task.refuse_waiting().await;
    let _ = task.reports.send(Report::Released(task.name.clone())).await;
    drop(gone);
}

struct Task<D: Driver> {
    name: String,
    line: D::Line,
    jobs: mpsc::Receiver<Job>,
    reports: mpsc::Sender<Report>,
    devices: Arc<Vec<Assigned<D>>>,
    /// What the session was told of each device; `None` before the first poll.
    states: Vec<Option<(bool, String)>>,
    schedule: Schedule,
    /// Why the line broke last.
    line_reason: String,
    skipped: u64,
}

/// What woke the task.
enum Woke {
    Wanted,
    Gone,
    Job(Job),
    Due,
}

impl<D: Driver> Task<D> {
    async fn follow(&mut self, wanted: &mut watch::Receiver<Wanted<D>>) {
        let mut mode = Mode::Run;
        let mut in_a_row = 0;
        let mut news = true;
        loop {
            let (devices, wants) = {
                let wanted = wanted.borrow_and_update();
                (wanted.devices.clone(), wanted.mode)
            };
            self.take_devices(devices);
            match (mode, wants) {
                (_, Mode::Stopped) => return,
                (Mode::Run, Mode::Released) => {
                    self.line.close().await;
                    let _ = self.reports.send(Report::Released(self.name.clone())).await;
                    info!(connection = self.name, "line released");
                }
                (Mode::Released, Mode::Run) => self.schedule.resume(Instant::now()),
                (Mode::Released, Mode::Released) if news => {
                    let _ = self.reports.send(Report::Released(self.name.clone())).await;
                }
                (Mode::Released, Mode::Released) | (Mode::Run, Mode::Run) | (Mode::Stopped, _) => {}
            }
            mode = wants;
            news = false;
            let turn = in_a_row >= COMMANDS_IN_A_ROW;
            match self.wake(mode, turn, wanted).await {
                Woke::Gone => return,
                Woke::Wanted => news = true,
                Woke::Job(job) if job.claim.take() => {
                    in_a_row += 1;
                    self.execute(job, mode).await;
                }
                // It was answered at its deadline.
                Woke::Job(_) => {}
                Woke::Due => {
                    in_a_row = 0;
                    self.serve_next().await;
                }
            }
        }
    }

    /// Waits for a change, a command or a due poll, in this order; `turn`: a due poll goes first.
    async fn wake(&mut self, mode: Mode, turn: bool, wanted: &mut watch::Receiver<Wanted<D>>) -> Woke {
        let due = match self.schedule.next(Instant::now()) {
            Next::Idle => None,
            Next::Wait(at) => Some(at),
            Next::Poll(..) | Next::LineDown(..) if turn && mode == Mode::Run => return Woke::Due,
            Next::Poll(..) | Next::LineDown(..) => Some(Instant::now()),
        };
        let due = due.filter(|_| mode == Mode::Run);
        tokio::select! {
            biased;
            changed = wanted.changed() => if changed.is_ok() { Woke::Wanted } else { Woke::Gone },
            Some(job) = self.jobs.recv() => Woke::Job(job),
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => Woke::Due,
        }
    }

    /// Takes over a set of devices; one that did not change keeps its schedule and its state.
    fn take_devices(&mut self, devices: Arc<Vec<Assigned<D>>>) {
        if Arc::ptr_eq(&devices, &self.devices) {
            return;
        }
        let mut states = Vec::with_capacity(devices.len());
        let units = devices
            .iter()
            .map(|new| {
                let before = self.devices.iter().position(|old| Arc::ptr_eq(&old.device, &new.device));
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
        self.skipped = self.schedule.skipped();
        self.devices = devices;
        self.states = states;
    }

    async fn serve_next(&mut self) {
        match self.schedule.next(Instant::now()) {
            Next::Poll(unit, poll) => self.poll(unit, poll).await,
            Next::LineDown(unit, poll) => {
                let now = Instant::now();
                let gone = self.schedule.line_failed(unit, poll, now);
                let reason = self.line_reason.clone();
                self.failed(unit, poll, now, Readings::default(), &reason, gone, 0).await;
            }
            Next::Wait(_) | Next::Idle => {}
        }
    }

    async fn poll(&mut self, unit: usize, poll: usize) {
        let mut out = Readings::default();
        let assigned = self.devices[unit].clone();
        let outcome = self.line.poll(&assigned.device.settings, poll, &mut out).await;
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                if self.schedule.succeeded(unit, poll, now) {
                    info!(connection = self.name, device = assigned.device.name, "device is back");
                }
                let samples = samples(&assigned, out);
                self.report(Report::Read { device: assigned.number, samples, polls: 1 }).await;
                self.tell_state(unit, true, "").await;
            }
            Err(LineError::Silent(reason)) => {
                let gone = self.schedule.silent(unit, poll, now);
                self.failed(unit, poll, now, out, &reason, gone, 1).await;
            }
            Err(LineError::Broken(reason)) => {
                debug!(connection = self.name, error = reason, "line broke");
                self.line.close().await;
                self.line_reason = reason.clone();
                let gone = self.schedule.broken(unit, poll, now);
                self.failed(unit, poll, now, out, &reason, gone, 1).await;
            }
        }
        self.tell_skipped();
    }

    /// A failed poll: what was read counts, the rest of its points turn bad; when the device went
    /// offline by it, the points of its other polls as well.
    #[allow(clippy::too_many_arguments, reason = "one failed poll has this many facts")]
    async fn failed(
        &mut self,
        unit: usize,
        poll: usize,
        now: Instant,
        out: Readings,
        reason: &str,
        gone: bool,
        polls: u64,
    ) {
        let assigned = self.devices[unit].clone();
        let device = &assigned.device;
        let mut samples = samples(&assigned, out);
        let stamp = clock::boot_ns();
        for (place, other) in device.polls.iter().enumerate() {
            if (place != poll && !gone) || !self.schedule.bad_is_news(unit, place, now) {
                continue;
            }
            for number in other.points.iter().filter_map(|point| assigned.points.get(*point)) {
                if samples.iter().all(|sample| sample.point != *number) {
                    let quality = Quality::Bad(reason.to_owned());
                    samples.push(Sample { point: *number, value: None, quality, boot_ns: stamp });
                }
            }
        }
        if gone {
            warn!(connection = self.name, device = device.name, error = reason, "device is offline");
        }
        let number = assigned.number;
        if polls > 0 || !samples.is_empty() {
            self.report(Report::Read { device: number, samples, polls }).await;
        }
        if !self.schedule.online(unit) {
            self.tell_state(unit, false, reason).await;
        }
    }

    async fn tell_state(&mut self, unit: usize, online: bool, reason: &str) {
        let known = &mut self.states[unit];
        if known.as_ref().is_some_and(|(was, why)| *was == online && why == reason) {
            return;
        }
        *known = Some((online, reason.to_owned()));
        let device = self.devices[unit].number;
        self.report(Report::State { device, online, reason: reason.to_owned() }).await;
    }

    /// Skipped slots are told when their number has doubled: an overloaded line says so, not more.
    fn tell_skipped(&mut self) {
        let skipped = self.schedule.skipped();
        if skipped > self.skipped.saturating_mul(2) {
            warn!(connection = self.name, skipped, "line is busier than its polls allow, slots are skipped");
            self.skipped = skipped;
        }
    }

    async fn execute(&mut self, job: Job, mode: Mode) {
        let done = self.work(&job, mode).await;
        debug!(connection = self.name, command_id = job.id, status = ?done.status(), "command finished");
        self.report(Report::Done(done)).await;
    }

    async fn work(&mut self, job: &Job, mode: Mode) -> CommandResult {
        let refused = |message: String| result(&job.id, Status::Refused, message);
        if mode != Mode::Run {
            return refused(format!("connection {:?} is released", self.name));
        }
        let Some(assigned) = self.devices.iter().find(|one| one.device.name == job.device).cloned() else {
            let known = self.devices.iter().map(|one| one.device.name.as_str());
            return refused(commands::unknown("device", &job.device, known));
        };
        let device = &assigned.device;
        let work = match commands::resolve(&job.id, job.action.clone(), &device.points) {
            Ok(work) => work,
            Err(refused) => return refused,
        };
        if job.deadline.passed() {
            return result(&job.id, Status::Expired, "its deadline passed while it waited".to_owned());
        }
        match work {
            Work::Write(values) => {
                let outcomes = self.line.write(&device.settings, &values, job.deadline).await;
                commands::written(&job.id, &device.points, &values, outcomes)
            }
            Work::Read(points) => {
                let mut out = Readings::default();
                let error = self.line.read(&device.settings, &points, &mut out).await.err();
                if matches!(error, Some(LineError::Broken(_))) {
                    self.line.close().await;
                }
                commands::read(&job.id, &device.points, &points, out, error)
            }
            Work::Invoke(function, input) => {
                let outcome = self.line.invoke(&device.settings, &function, &input, job.deadline).await;
                commands::invoked(&job.id, outcome)
            }
        }
    }

    async fn refuse_waiting(&mut self) {
        self.jobs.close();
        while let Some(job) = self.jobs.recv().await {
            if !job.claim.take() {
                continue;
            }
            let message = format!("connection {:?} was stopped before the command's turn", self.name);
            self.report(Report::Done(result(&job.id, Status::Refused, message))).await;
        }
    }

    async fn report(&mut self, report: Report) {
        // The session outlives its connections; when it is gone the process is ending.
        let _ = self.reports.send(report).await;
    }
}

/// Readings under the driver's numbers → samples under the wire's.
fn samples<D: Driver>(assigned: &Assigned<D>, out: Readings) -> Vec<Sample> {
    let mut samples = Vec::with_capacity(out.readings.len());
    for reading in out.readings {
        let Some(number) = assigned.points.get(reading.point) else {
            let device = &assigned.device.name;
            warn!(device, point = reading.point, "the driver read a point that the device does not have");
            continue;
        };
        let (value, quality) = match reading.value {
            Ok(value) => (Some(value), Quality::Good),
            Err(reason) => (None, Quality::Bad(reason)),
        };
        samples.push(Sample { point: *number, value, quality, boot_ns: reading.boot_ns });
    }
    samples
}
