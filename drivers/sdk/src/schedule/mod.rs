//! Which poll of which device is due on one line. Pure: time is given, nothing is awaited.
//!
//! Always true:
//!  - among the polls that are ready the one whose deadline (due + period) is earliest goes first;
//!  - a poll runs on a fixed grid and does not drift; slots that passed entirely are skipped and
//!    counted, so no poll ever waits twice;
//!  - the first polls are spread over at most [`FIRST_WITHIN`], those of one line among each other, and
//!    [`LINES_TOGETHER`] by [`GROUPS_APART`], round and round the period, so that what a hundred answers take
//!    is not taken at once;
//!  - an offline device costs one probe per pause, whatever it is configured to be read at;
//!  - while the line is pausing, due polls fail without touching it.

mod breaker;

use std::time::Duration;

use tokio::time::Instant;

use self::breaker::{Breaker, Reconnect};
use crate::batcher::BATCH_WAIT;
use crate::driver::Offline;

/// Every first poll comes within this, or within its period when that is shorter.
pub(crate) const FIRST_WITHIN: Duration = Duration::from_secs(1);
/// So many lines are polled at the same time: few wake up seldom, many do not heap up.
pub(crate) const LINES_TOGETHER: u32 = 20;
/// How long after them the next ones are, where the period leaves room: until what they said has gone.
pub(crate) const GROUPS_APART: Duration = BATCH_WAIT;
/// Shortest period; a shorter one is read at this.
pub(crate) const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
/// A poll that goes on failing says so again after this.
pub(crate) const REMIND_BAD: Duration = Duration::from_secs(60);

/// A device, by its place in [`Schedule::rebuild`].
pub(crate) type Unit = usize;

/// The polls of every device on a line.
#[derive(Debug)]
pub(crate) struct Schedule {
    units: Vec<Clocks>,
    line: Reconnect,
    rng: fastrand::Rng,
    skipped: u64,
    /// How long after the first lines, before it is wrapped into a period.
    phase: Duration,
}

/// What a device brings into a schedule.
#[derive(Debug, Clone)]
pub(crate) enum NewUnit {
    /// It was there before, at this place, and goes on undisturbed.
    Kept(Unit),
    /// It starts anew.
    Fresh { periods: Vec<Duration>, offline: Offline },
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Make this poll.
    Poll(Unit, usize),
    /// This poll is due, but the line is pausing: it fails with the line's reason.
    LineDown(Unit, usize),
    /// Nothing before this.
    Wait(Instant),
    /// Nothing at all.
    Idle,
}

#[derive(Debug)]
struct Clocks {
    polls: Vec<Clock>,
    breaker: Breaker,
}

#[derive(Debug)]
struct Clock {
    period: Duration,
    /// The next slot of the fixed grid.
    grid: Instant,
    /// An extra run before the next slot.
    extra: Option<Instant>,
    fresh: bool,
    /// It failed because the line did, and runs as soon as the line works.
    line_failed: bool,
    /// When its points were last said to be bad; `None` while it succeeds.
    bad_since: Option<Instant>,
}

impl Schedule {
    /// The schedule of a line with so many before it.
    pub(crate) fn new(rng: fastrand::Rng, before: u32) -> Self {
        let phase = GROUPS_APART * (before / LINES_TOGETHER);
        Self { units: Vec::new(), line: Reconnect::default(), rng, skipped: 0, phase }
    }

    /// Takes a new set of devices; kept ones notice nothing.
    pub(crate) fn rebuild(&mut self, now: Instant, units: Vec<NewUnit>) {
        let count = units.len().max(1) as u32;
        let phase = self.phase;
        let mut old: Vec<Option<Clocks>> = self.units.drain(..).map(Some).collect();
        for (place, unit) in units.into_iter().enumerate() {
            let clocks = match unit {
                NewUnit::Kept(before) => old[before].take().expect("a device is kept once"),
                NewUnit::Fresh { periods, offline } => Clocks {
                    polls: periods
                        .into_iter()
                        .map(|period| Clock::new(now, period, (place as u32, count), phase))
                        .collect(),
                    breaker: Breaker::new(offline),
                },
            };
            self.units.push(clocks);
        }
    }

    /// A line that was given up and is used again: no pause, everything due now.
    pub(crate) fn resume(&mut self, now: Instant) {
        self.line.works();
        for clock in self.units.iter_mut().flat_map(|unit| &mut unit.polls) {
            clock.catch_up(now);
            clock.extra = Some(now);
        }
    }

    /// What to do at `now`.
    pub(crate) fn next(&self, now: Instant) -> Next {
        let mut first_ready: Option<(Instant, Unit, usize)> = None;
        let mut wake: Option<Instant> = None;
        for (unit, clocks) in self.units.iter().enumerate() {
            for (poll, due, deadline) in clocks.dues() {
                if due > now {
                    wake = Some(wake.map_or(due, |at| at.min(due)));
                } else if first_ready.is_none_or(|(best, ..)| deadline < best) {
                    first_ready = Some((deadline, unit, poll));
                }
            }
        }
        match (first_ready, wake) {
            (Some((_, unit, poll)), _) if self.line.pausing(now) => Next::LineDown(unit, poll),
            (Some((_, unit, poll)), _) => Next::Poll(unit, poll),
            (None, Some(at)) => Next::Wait(at),
            (None, None) => Next::Idle,
        }
    }

    /// How long the line could be taken from `now` without a poll losing its slot: any is late by at most
    /// half of what it may be. `None` while one is due.
    pub(crate) fn spare(&self, now: Instant) -> Option<Duration> {
        let dues = self.units.iter().flat_map(Clocks::dues);
        let spare = dues.map(|(_, due, deadline)| (due > now).then(|| (due - now) + (deadline - due) / 2));
        spare.min_by_key(|spare| spare.unwrap_or_default()).unwrap_or(Some(Duration::MAX))
    }

    /// The poll was answered. True when this brought the device back.
    pub(crate) fn succeeded(&mut self, unit: Unit, poll: usize, now: Instant) -> bool {
        let clocks = &mut self.units[unit];
        let back = clocks.breaker.succeeded();
        if back {
            for clock in &mut clocks.polls {
                clock.catch_up(now);
                clock.extra = Some(now);
            }
        }
        let clock = &mut clocks.polls[poll];
        self.skipped += clock.finish(now);
        clock.bad_since = None;
        clock.line_failed = false;
        self.line_works(now);
        back
    }

    /// The device was silent. True when this took it offline.
    pub(crate) fn silent(&mut self, unit: Unit, poll: usize, now: Instant) -> bool {
        let clocks = &mut self.units[unit];
        let skipped = clocks.polls[poll].finish(now);
        // The slots before a probe were left out for the device's sake, not for want of time.
        if clocks.breaker.probe().is_none() {
            self.skipped += skipped;
        }
        clocks.polls[poll].line_failed = false;
        let gone = clocks.breaker.silent(poll, now, &mut self.rng);
        self.line_works(now);
        gone
    }

    /// The device was not asked in this poll, which says nothing of it: its next poll asks again.
    pub(crate) fn postponed(&mut self, unit: Unit, poll: usize, now: Instant) {
        let clocks = &mut self.units[unit];
        // Left out on purpose, not for want of time.
        clocks.polls[poll].finish(now);
        clocks.polls[poll].line_failed = false;
        clocks.breaker.postponed(now);
        self.line_works(now);
    }

    /// The line broke in this poll. True when this took the device offline.
    pub(crate) fn broken(&mut self, unit: Unit, poll: usize, now: Instant) -> bool {
        let until = self.line.broken(now, &mut self.rng);
        let gone = self.line_failed(unit, poll, now);
        self.units[unit].polls[poll].extra = Some(until);
        gone
    }

    /// The poll was due while the line paused. True when this took the device offline.
    pub(crate) fn line_failed(&mut self, unit: Unit, poll: usize, now: Instant) -> bool {
        let clocks = &mut self.units[unit];
        let clock = &mut clocks.polls[poll];
        // An extra try between two slots is not another failed poll.
        let counts = clock.grid <= now || !clock.line_failed;
        clock.line_failed = true;
        // Likewise: a line that pauses, or a device that is probed, is not busy.
        clock.finish(now);
        counts && clocks.breaker.line_down(now)
    }

    /// Whether the points of this failed poll are to be said bad now: at the first failure of a
    /// streak and every [`REMIND_BAD`] after it.
    pub(crate) fn bad_is_news(&mut self, unit: Unit, poll: usize, now: Instant) -> bool {
        let clock = &mut self.units[unit].polls[poll];
        let news = clock.bad_since.is_none_or(|since| now.saturating_duration_since(since) >= REMIND_BAD);
        if news {
            clock.bad_since = Some(now);
        }
        news
    }

    /// Whether the device is counted as online.
    pub(crate) fn online(&self, unit: Unit) -> bool {
        self.units[unit].breaker.online()
    }

    /// Slots that were skipped because the line was busy, since this was asked last.
    pub(crate) fn take_skipped(&mut self) -> u64 {
        std::mem::take(&mut self.skipped)
    }

    fn line_works(&mut self, now: Instant) {
        if !self.line.works() {
            return;
        }
        for clock in self.units.iter_mut().flat_map(|unit| &mut unit.polls) {
            if std::mem::take(&mut clock.line_failed) {
                clock.extra = Some(now);
            }
        }
    }
}

impl Clocks {
    /// (poll, due, deadline) of everything this device may be asked.
    fn dues(&self) -> impl Iterator<Item = (usize, Instant, Instant)> + '_ {
        let probe = self.breaker.probe();
        let probing = probe.map(|probe| (probe.poll, probe.at, probe.at + self.polls[probe.poll].slack()));
        let regular = self
            .polls
            .iter()
            .enumerate()
            .filter(move |_| probe.is_none())
            .map(|(poll, clock)| (poll, clock.due(), clock.due() + clock.slack()));
        probing.into_iter().chain(regular)
    }
}

impl Clock {
    fn new(now: Instant, period: Duration, (place, count): (u32, u32), phase: Duration) -> Self {
        let period = period.max(SHORTEST_PERIOD);
        let within = period.min(FIRST_WITHIN);
        let after = (within * place / count + phase).as_nanos() % within.as_nanos();
        let grid = now + Duration::from_nanos(after as u64);
        Self { period, grid, extra: None, fresh: true, line_failed: false, bad_since: None }
    }

    fn due(&self) -> Instant {
        self.extra.map_or(self.grid, |extra| extra.min(self.grid))
    }

    /// How late it may run: a slow poll gives way to fast ones, but not with its first value.
    fn slack(&self) -> Duration {
        if self.fresh || self.extra.is_some() { self.period.min(FIRST_WITHIN) } else { self.period }
    }

    /// It ran: the grid moves to the slot that is running now or the next to come.
    /// Gives back how many slots passed without it.
    fn finish(&mut self, now: Instant) -> u64 {
        self.extra = None;
        self.fresh = false;
        self.advance(now).saturating_sub(1)
    }

    /// Moves the grid on without counting: nobody expected these slots to run.
    fn catch_up(&mut self, now: Instant) {
        self.advance(now);
    }

    /// Slots the grid moved by.
    fn advance(&mut self, now: Instant) -> u64 {
        let Some(late) = now.checked_duration_since(self.grid) else { return 0 };
        let slots = (late.as_nanos() / self.period.as_nanos()).max(1);
        let slots = u64::try_from(slots).unwrap_or(u64::MAX);
        let nanos = self.period.as_nanos().saturating_mul(u128::from(slots));
        self.grid += Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX));
        slots
    }
}

#[cfg(test)]
mod tests;
