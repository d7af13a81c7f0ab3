//! Wall time of what is read, for a box whose clock may not be right yet.
//!
//! Always true: a time is never in 1970; it is decided once, kept, and the same after any restart, so that
//! nothing is sent with two times. Until the clock is trusted, or was waited for long enough, times are
//! stored as those since boot ([`super::boots`]) and the rows wait. The kernel's clock is asked, never that
//! of a driver.
//!
//! ```text
//!              trusted                            the clock is stepped: later reads follow it
//!   Waiting ───────────────▶ Known, certain ◀─┐
//!      │                                      │ trusted: later reads follow it
//!      └───────────────────▶ Known, uncertain ┘
//!        [gateway] clock_wait has passed: the last wall time known before the boot, plus the time since
//! ```

use std::time::Duration;

use sagoo_edge_proto::clock::EARLIEST_TRUSTED_WALL_MS;

use super::boots::{Boots, Seen, since_boot};

pub mod kept;
pub mod trust;

use kept::Kept;

/// A smaller change of the clock is its ordinary regulation.
pub const STEP_MS: i64 = 1_000;

/// Turns boot time into Unix milliseconds.
#[derive(Debug)]
pub struct WallClock {
    wait_ms: i64,
    boot_id: String,
    /// Number of this boot.
    boot: u32,
    state: State,
    /// Of boots whose rows were stored without wall times.
    boots: Boots,
    /// Newest wall time known before it was [`State::Known`].
    last_ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The first row that waits was read then.
    Waiting { since_ms: Option<i64> },
    Known {
        /// Unix milliseconds at the start of the boot, as later reads see it.
        start_ms: i64,
        certain: bool,
    },
}

/// What has become known of the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum News {
    /// What waited has its time; to be kept, synced, before it goes out.
    Decided {
        /// The clock is trusted.
        certain: bool,
    },
    /// The clock is trusted now, after what was read so far went out with uncertain times.
    Trusted {
        /// How much those are behind.
        late_ms: i64,
    },
    /// The clock was set to another time.
    Stepped {
        /// Forward.
        by_ms: i64,
    },
}

impl WallClock {
    /// As it was kept by the gateway before us, or afresh. Boots that ended before their clock was trusted
    /// are decided here.
    pub fn new(kept: Kept, seen: &Seen, boot_id: &str, wait: Duration) -> Self {
        let newest_ms = seen.newest_ms.unwrap_or_default().max(kept.last_ms);
        let mut last_ms = newest_ms.max(EARLIEST_TRUSTED_WALL_MS);
        let mut boots = Boots::new(kept.starts());
        let highest = seen.boots.keys().next_back().copied().unwrap_or_default().max(kept.boot);
        let same = kept.boot_id == boot_id && kept.boot > 0 && kept.boot == highest;
        let boot = if same { kept.boot } else { highest.saturating_add(1) };
        for (past, found) in seen.boots.range(..boot) {
            if boots.start_of(*past).is_none() {
                boots.fix(*past, last_ms);
            }
            last_ms = last_ms.max(boots.wall_ms(since_boot(*past, found.last_ms)));
        }
        let state = match boots.start_of(boot) {
            Some(start_ms) => State::Known { start_ms, certain: kept.certain },
            None => State::Waiting { since_ms: seen.boots.get(&boot).map(|found| found.first_ms) },
        };
        boots.retain(|past| past == boot || seen.boots.contains_key(&past));
        let wait_ms = wait.as_millis() as i64;
        Self { wait_ms, boot_id: boot_id.to_owned(), boot, state, boots, last_ms }
    }

    /// Looks at the clocks: milliseconds since boot, and since 1970 where that may be right. Whether it is
    /// trusted is only asked where it matters.
    pub fn look(
        &mut self,
        boot_ms: i64,
        wall_ms: Option<i64>,
        trusted: impl FnOnce() -> bool,
    ) -> Option<News> {
        let by_clock_ms = wall_ms.map(|wall_ms| wall_ms - boot_ms);
        match (self.state, by_clock_ms) {
            // a clock that has fallen back to 1970 says nothing; time goes on from what it said before
            (State::Known { .. }, None) => None,
            (State::Known { start_ms, certain: true }, Some(by_clock_ms)) => {
                self.state = State::Known { start_ms: by_clock_ms, certain: true };
                let by_ms = by_clock_ms - start_ms;
                (by_ms.abs() >= STEP_MS).then_some(News::Stepped { by_ms })
            }
            (State::Known { start_ms, certain: false }, Some(by_clock_ms)) => {
                if self.wait_ms > 0 && !trusted() {
                    return None;
                }
                self.state = State::Known { start_ms: by_clock_ms, certain: true };
                Some(News::Trusted { late_ms: by_clock_ms - start_ms })
            }
            // without a wait, a clock that may be right is taken for right
            (State::Waiting { .. }, Some(by_clock_ms)) if self.wait_ms == 0 || trusted() => {
                Some(self.decide(by_clock_ms, true))
            }
            (State::Waiting { since_ms }, by_clock_ms) => {
                let due = since_ms.is_some_and(|since_ms| boot_ms - since_ms >= self.wait_ms);
                // one that is ahead of all that is known is the better guess
                let start_ms = by_clock_ms.unwrap_or_default().max(self.last_ms);
                (due || self.wait_ms == 0).then(|| self.decide(start_ms, false))
            }
        }
    }

    fn decide(&mut self, start_ms: i64, certain: bool) -> News {
        self.boots.fix(self.boot, start_ms);
        self.state = State::Known { start_ms, certain };
        News::Decided { certain }
    }

    /// The time to store for a read at this boot time.
    pub fn at(&mut self, boot_ms: i64) -> i64 {
        match &mut self.state {
            State::Known { start_ms, .. } => start_ms.saturating_add(boot_ms),
            State::Waiting { since_ms } => {
                let since_ms = since_ms.get_or_insert(boot_ms);
                *since_ms = boot_ms.min(*since_ms);
                since_boot(self.boot, boot_ms)
            }
        }
    }

    /// Rows wait for the clock.
    pub fn is_waiting(&self) -> bool {
        matches!(self.state, State::Waiting { .. })
    }

    /// Rows go out with times that may be wrong.
    pub fn is_uncertain(&self) -> bool {
        matches!(self.state, State::Known { certain: false, .. })
    }

    /// Longest they wait.
    pub fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms.unsigned_abs())
    }

    /// How long they wait at most from `boot_ms` on, if any does.
    pub fn waits_ms(&self, boot_ms: i64) -> Option<i64> {
        match self.state {
            State::Waiting { since_ms: Some(since_ms) } => Some((since_ms + self.wait_ms - boot_ms).max(0)),
            _ => None,
        }
    }

    /// Number of this boot.
    pub fn boot(&self) -> u32 {
        self.boot
    }

    /// What stored times mean.
    pub fn boots(&self) -> &Boots {
        &self.boots
    }

    /// To be kept, at this boot time.
    pub fn kept(&self, boot_ms: i64) -> Kept {
        let (last_ms, certain) = match self.state {
            State::Known { start_ms, certain } => (start_ms.saturating_add(boot_ms), certain),
            State::Waiting { .. } => (self.last_ms, false),
        };
        Kept::new(&self.boot_id, self.boot, certain, last_ms, &self.boots)
    }
}

#[cfg(test)]
mod tests;
