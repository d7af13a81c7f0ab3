//! A scan of the line, step by step between its polls.
//!
//! Always true: a step is made where it costs no poll its slot, or has been paid for: then it may go
//! before due polls, and its like takes at most one part in [`SCAN_SHARE`] of the line's time. Between
//! two steps it rests for [`SCAN_PAUSE`]. A caller that does not read gets no further steps, and
//! one that left ends the scan at the next.

use std::collections::VecDeque;
use std::time::Duration;

use sagoo_edge_proto::driver::{ScanFound, ScanProgress, ScanResponse, scan_response::Message};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::Status;
use tracing::{debug, info};

use super::{Report, Task, guard};
use crate::driver::{Driver, Found, Line, LineError, Scanned};

/// Least pause between two steps, so that a line of few polls is not filled with questions.
pub(crate) const SCAN_PAUSE: Duration = Duration::from_millis(10);
/// A step that may cost a poll its slot is followed by so many times its length without one: the
/// devices on the line keep more than 95 % of their rate.
pub(crate) const SCAN_SHARE: u32 = 25;
/// Pause after a step that broke the line.
pub(crate) const SCAN_BREAK_PAUSE: Duration = Duration::from_secs(1);
/// Steps in a row that break the line and end the scan.
pub(crate) const SCAN_BREAKS: u32 = 5;
/// Answers kept for a caller that is slow.
pub(crate) const SCAN_AHEAD: usize = 16;

/// What a scan tells, or why it ends early.
pub(crate) type Answer = Result<ScanResponse, Status>;

/// A scan somebody asked for.
#[derive(Debug)]
pub(crate) struct Scan {
    options: Json,
    total: usize,
    until: Option<Instant>,
    answers: mpsc::Sender<Answer>,
    /// Room for the reason of an early end, however slow the caller is.
    last: mpsc::OwnedPermit<Answer>,
    done: usize,
    waiting: VecDeque<ScanResponse>,
    /// When the caller may take more of them.
    retry: Instant,
    breaks: u32,
    pace: Pace,
}

impl Scan {
    /// A scan of so many steps, and where its answers come out.
    pub(crate) fn new(options: Json, total: usize, until: Option<Instant>) -> (Self, mpsc::Receiver<Answer>) {
        let (answers, told) = mpsc::channel(SCAN_AHEAD + 1);
        let last = answers.clone().try_reserve_owned().expect("a new channel has room");
        let now = Instant::now();
        let mut scan = Self {
            options,
            total,
            until,
            answers,
            last,
            done: 0,
            waiting: VecDeque::new(),
            retry: now,
            breaks: 0,
            pace: Pace::new(now),
        };
        scan.progress(String::new());
        scan.tell();
        (scan, told)
    }

    pub(crate) fn answers(&self) -> &mpsc::Sender<Answer> {
        &self.answers
    }

    /// Ends early, and says why.
    pub(super) fn fail(self, status: Status) {
        self.last.send(Err(status));
    }

    /// When to go on with it. `spare`: how long the line could be taken from now without a poll losing
    /// its slot; `None` while one is due.
    pub(super) fn next(&self, now: Instant, spare: Option<Duration>) -> Instant {
        if self.is_over(now) {
            return now;
        }
        let next = if self.waiting.is_empty() { self.pace.next(spare) } else { self.retry };
        self.until.map_or(next, |until| next.min(until))
    }

    fn is_over(&self, now: Instant) -> bool {
        let late = self.until.is_some_and(|until| until <= now);
        let told = self.waiting.is_empty() && self.done >= self.total;
        told || late || self.answers.is_closed()
    }

    fn progress(&mut self, now: String) {
        let count = |number| u32::try_from(number).unwrap_or(u32::MAX);
        let progress = ScanProgress { done: count(self.done), total: count(self.total), now };
        self.waiting.push_back(ScanResponse { message: Some(Message::Progress(progress)) });
    }

    fn found(&mut self, found: Found) {
        let Found { address, description, settings } = found;
        let found = ScanFound { address, description, settings: settings.to_string() };
        self.waiting.push_back(ScanResponse { message: Some(Message::Found(found)) });
    }

    /// Tells what the caller takes.
    fn tell(&mut self) {
        while let Some(answer) = self.waiting.pop_front() {
            if let Err(mpsc::error::TrySendError::Full(Ok(answer))) = self.answers.try_send(Ok(answer)) {
                self.waiting.push_front(answer);
                self.retry = Instant::now() + SCAN_PAUSE;
                return;
            }
        }
    }
}

/// When the next step may be made. Pure.
#[derive(Debug)]
struct Pace {
    /// Not before this, whatever the line does.
    rested: Instant,
    /// Not before this where it may cost a poll its slot.
    paid: Instant,
    /// How long a step may take; lately the longest.
    expected: Duration,
}

impl Pace {
    fn new(now: Instant) -> Self {
        Self { rested: now, paid: now, expected: Duration::ZERO }
    }

    /// A step took so long; `spare` when it began.
    fn stepped(&mut self, now: Instant, took: Duration, spare: Option<Duration>, broke: bool) {
        self.rested = now + if broke { SCAN_BREAK_PAUSE } else { SCAN_PAUSE };
        if spare.is_none_or(|spare| took > spare) {
            self.paid = self.paid.max(now) + took * SCAN_SHARE;
        }
        self.expected = took.max(self.expected * 7 / 8);
    }

    fn next(&self, spare: Option<Duration>) -> Instant {
        let fits = spare.is_some_and(|spare| self.expected <= spare);
        if fits { self.rested } else { self.rested.max(self.paid) }
    }
}

impl<D: Driver> Task<D> {
    /// When to go on with a scan, if there is one.
    pub(super) fn scan_due(&self, now: Instant) -> Option<Instant> {
        let scan = self.scan.as_ref()?;
        Some(scan.next(now, self.spare(now)))
    }

    fn spare(&self, now: Instant) -> Option<Duration> {
        self.schedule.spare(now).filter(|_| self.paused.is_none())
    }

    /// Only a scan whose caller left can be there before it.
    pub(super) fn begin_scan(&mut self, scan: Box<Scan>) {
        info!(connection = self.name, steps = scan.total, "a scan begins");
        self.scan = Some(scan);
    }

    /// The next step, or the end.
    pub(super) async fn scan_on(&mut self) {
        let now = Instant::now();
        let spare = self.spare(now);
        let Some(scan) = &mut self.scan else { return };
        scan.tell();
        if scan.is_over(now) {
            info!(connection = self.name, done = scan.done, of = scan.total, "a scan ends");
            self.scan = None;
            return self.report(Report::Scanned(self.name.clone())).await;
        }
        if !scan.waiting.is_empty() {
            return;
        }
        let step = self.line.scan(scan.done, &scan.options);
        let outcome = self.guard.watch(now, None, step).await;
        let stood_still = outcome.is_none();
        let outcome = outcome.unwrap_or_else(|| Err(LineError::Broken(guard::stood_still())));
        if stood_still {
            self.start_anew("looking for devices");
        } else if matches!(outcome, Err(LineError::Broken(_))) {
            self.close().await;
        }
        if let Some(scan) = &mut self.scan {
            let broke = matches!(outcome, Err(LineError::Broken(_)));
            scan.pace.stepped(Instant::now(), now.elapsed(), spare, broke);
        }
        self.scanned(outcome).await;
    }

    /// What a step came to.
    async fn scanned(&mut self, outcome: Result<Scanned, LineError>) {
        let Some(scan) = &mut self.scan else { return };
        scan.done += 1;
        match outcome {
            Ok(Scanned { tried, found }) => {
                self.told.open();
                scan.breaks = 0;
                found.into_iter().for_each(|found| scan.found(found));
                scan.progress(tried);
            }
            Err(LineError::Silent(reason) | LineError::Postponed(reason)) => {
                self.told.open();
                scan.breaks = 0;
                scan.progress(reason);
            }
            Err(LineError::Broken(reason)) => {
                debug!(connection = self.name, error = reason, "a step of a scan broke the line");
                self.told.closed(&reason);
                scan.breaks += 1;
                scan.progress(reason.clone());
                if scan.breaks >= SCAN_BREAKS {
                    let broke = format!("connection {:?}: {reason}", self.name);
                    return self.end_scan(Status::unavailable(broke)).await;
                }
            }
        }
        scan.tell();
    }

    /// The line is not there for a scan any more.
    pub(super) async fn end_scan(&mut self, status: Status) {
        if let Some(scan) = self.scan.take() {
            scan.fail(status);
            self.report(Report::Scanned(self.name.clone())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Whatever the line is asked for: a step without spare time comes only when those before it
        /// are paid for, so they take less than their share; and every step leaves a rest.
        #[test]
        fn steps_that_may_cost_a_slot_keep_to_their_share(
            steps in proptest::collection::vec((1..2_000u64, proptest::option::of(0..3_000u64)), 1..200),
        ) {
            let start = Instant::now();
            let mut pace = Pace::new(start);
            let (mut now, mut costly) = (start, Duration::ZERO);
            for (took, spare) in steps {
                let (took, spare) = (Duration::from_millis(took), spare.map(Duration::from_millis));
                let at = pace.next(spare).max(now);
                prop_assert!(at == start || at >= now + SCAN_PAUSE, "no rest");
                if spare.is_none_or(|spare| pace.expected > spare) {
                    prop_assert!(costly * SCAN_SHARE <= at - start, "{:?} in {:?}", costly, at - start);
                }
                now = at + took;
                pace.stepped(now, took, spare, false);
                if spare.is_none_or(|spare| took > spare) {
                    costly += took;
                }
            }
        }

        /// Where there is time to spare, a scan takes it.
        #[test]
        fn steps_that_fit_only_rest(took_ms in proptest::collection::vec(1..500u64, 1..100)) {
            let mut now = Instant::now();
            let mut pace = Pace::new(now);
            let spare = Some(Duration::from_millis(500));
            for took in took_ms {
                let took = Duration::from_millis(took);
                let at = pace.next(spare);
                prop_assert!(at <= now + SCAN_PAUSE);
                now = at.max(now) + took;
                pace.stepped(now, took, spare, false);
            }
        }
    }
}
