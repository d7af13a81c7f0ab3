//! One due poll: from the line to samples and states.
//!
//! Always true: what was read before an error counts, and every other point of a failed poll turns
//! bad; bad samples of a poll that goes on failing are sent at its first failure and every
//! [`REMIND_BAD`](crate::schedule::REMIND_BAD); a device's state is told when it changes. A poll that
//! paused for a command counts once, when it is over.

use sagoo_edge_proto::clock;
use sagoo_edge_proto::sample::{Quality, Sample};
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::{Assigned, Report, Task, guard};
use crate::driver::{Driver, Line, LineError, Readings, Steps, Waiting};
use crate::schedule::Next;

/// A poll that stopped between two requests to let somebody else use the line.
pub(super) struct Paused<D: Driver> {
    unit: usize,
    poll: usize,
    assigned: Assigned<D>,
    out: Readings,
}

impl<D: Driver> Task<D> {
    pub(super) async fn serve_next(&mut self, waiting: Waiting) {
        if let Some(Paused { unit, poll, out, .. }) = self.paused.take() {
            return self.poll(unit, poll, out, waiting).await;
        }
        match self.schedule.next(Instant::now()) {
            Next::Poll(unit, poll) => {
                let out = Readings::counted(&Steps::default());
                self.poll(unit, poll, out, waiting).await;
            }
            Next::LineDown(unit, poll) => {
                let now = Instant::now();
                let gone = self.schedule.line_failed(unit, poll, now);
                let reason = self.line_reason.clone();
                self.failed(unit, poll, now, Readings::default(), &reason, gone, 0).await;
            }
            Next::Wait(_) | Next::Idle => {}
        }
    }

    /// Makes a poll, or the part of it that is left. Only one that is over counts.
    async fn poll(&mut self, unit: usize, poll: usize, mut out: Readings, waiting: Waiting) {
        let assigned = self.devices[unit].clone();
        let steps = out.steps();
        out.begin(waiting);
        let polled = self.line.poll(&assigned.device.settings, poll, &mut out);
        let outcome = match self.guard.watch(Instant::now(), Some(&steps), polled).await {
            Some(Ok(())) if out.is_paused() => {
                self.paused = Some(Paused { unit, poll, assigned, out });
                return;
            }
            Some(Err(LineError::Broken(reason))) => {
                self.close().await;
                Err(LineError::Broken(reason))
            }
            Some(outcome) => outcome,
            None => {
                self.start_anew(&format!("reading device {:?}", assigned.device.name));
                Err(LineError::Broken(guard::stood_still()))
            }
        };
        self.finished(unit, poll, out, outcome).await;
    }

    /// What a poll that is over means for its device and its line.
    async fn finished(&mut self, unit: usize, poll: usize, out: Readings, outcome: Result<(), LineError>) {
        let assigned = self.devices[unit].clone();
        let now = Instant::now();
        match outcome {
            Ok(()) => {
                self.told.open();
                if self.schedule.succeeded(unit, poll, now) {
                    info!(connection = self.name, device = assigned.device.name, "device is back");
                }
                let samples = samples(&assigned, out);
                self.report(Report::Read { device: assigned.number, samples, polls: 1 }).await;
                self.tell_state(unit, true, "").await;
            }
            Err(LineError::Silent(reason)) => {
                self.told.open();
                let gone = self.schedule.silent(unit, poll, now);
                self.failed(unit, poll, now, out, &reason, gone, 1).await;
            }
            Err(LineError::Postponed(reason)) => {
                self.told.open();
                self.schedule.postponed(unit, poll, now);
                self.failed(unit, poll, now, out, &reason, false, 1).await;
            }
            Err(LineError::Broken(reason)) => {
                debug!(connection = self.name, error = reason, "line broke");
                self.told.closed(&reason);
                self.line_reason = reason.clone();
                let gone = self.schedule.broken(unit, poll, now);
                self.failed(unit, poll, now, out, &reason, gone, 1).await;
            }
        }
        self.tell_skipped();
    }

    /// The line of a paused poll is not the one it began on.
    pub(super) async fn fail_paused(&mut self, reason: &str) {
        if let Some(Paused { unit, poll, out, .. }) = self.paused.take() {
            self.finished(unit, poll, out, Err(LineError::Broken(reason.to_owned()))).await;
        }
    }

    /// Nobody wants the rest of a paused poll: what was read is told, and that it is no finished poll.
    pub(super) async fn drop_paused(&mut self) {
        if let Some(Paused { assigned, out, .. }) = self.paused.take() {
            let samples = samples(&assigned, out);
            if !samples.is_empty() {
                self.report(Report::Read { device: assigned.number, samples, polls: 0 }).await;
            }
        }
    }

    /// A paused poll under a new set of devices: it goes on if its device did not change.
    pub(super) async fn settle_paused(&mut self) {
        let Some(paused) = &mut self.paused else { return };
        match self.devices.iter().position(|new| new.is_same(&paused.assigned)) {
            Some(unit) => paused.unit = unit,
            None => self.drop_paused().await,
        }
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

    /// Says of every device that its connection is closed, and why.
    pub(super) async fn tell_closed(&mut self, reason: &str) {
        for unit in 0..self.devices.len() {
            self.tell_state(unit, false, reason).await;
        }
    }

    /// Skipped slots are logged when their number has doubled: an overloaded line says so, not more.
    fn tell_skipped(&mut self) {
        let skipped = self.told.skipped(self.schedule.take_skipped());
        if skipped > self.skipped_logged.saturating_mul(2) {
            warn!(connection = self.name, skipped, "line is busier than its polls allow, slots are skipped");
            self.skipped_logged = skipped;
        }
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
