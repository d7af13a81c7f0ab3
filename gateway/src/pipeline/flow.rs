//! How many samples were stored and settled in the last minute, so that status can say when what waits
//! will be done.
//!
//! Always true: no timer runs for it; what is older than a minute is forgotten when somebody looks or
//! something happens.

use crate::status::Backlog;

/// Seconds counted together.
const SLOT_S: u64 = 5;
/// Of the last minute.
const SLOTS: usize = 12;
/// What is settled within this time waits only for its answer.
const ON_ITS_WAY_S: u64 = 5;

/// See the module. Times are seconds since boot.
#[derive(Debug)]
pub struct Flow {
    began_s: u64,
    /// Of the newest slot.
    slot: u64,
    stored: [u64; SLOTS],
    settled: [u64; SLOTS],
}

impl Flow {
    /// Nothing yet.
    pub fn new(now_s: u64) -> Self {
        Self { began_s: now_s, slot: now_s / SLOT_S, stored: [0; SLOTS], settled: [0; SLOTS] }
    }

    /// Samples were stored.
    pub fn stored(&mut self, samples: u64, now_s: u64) {
        let at = self.at(now_s);
        self.stored[at] += samples;
    }

    /// Samples were settled.
    pub fn settled(&mut self, samples: u64, now_s: u64) {
        let at = self.at(now_s);
        self.settled[at] += samples;
    }

    /// With so many samples waiting.
    pub fn backlog(&mut self, waiting: u64, now_s: u64) -> Backlog {
        self.at(now_s);
        let span_s =
            (now_s % SLOT_S + SLOT_S * (SLOTS as u64 - 1)).min(now_s - self.began_s.min(now_s)).max(1);
        let per_minute = |slots: &[u64]| slots.iter().sum::<u64>() * 60 / span_s;
        let (stored, settled) = (per_minute(&self.stored), per_minute(&self.settled));
        let done_in_s = match settled.saturating_sub(stored) {
            _ if waiting * 60 <= settled * ON_ITS_WAY_S => Some(0),
            0 => None,
            gain => Some((waiting * 60).div_ceil(gain)),
        };
        Backlog { waiting, stored_per_minute: stored, settled_per_minute: settled, done_in_s }
    }

    /// Place of the slot of now; what was in it before is a minute old.
    fn at(&mut self, now_s: u64) -> usize {
        let slot = (now_s / SLOT_S).max(self.slot);
        for passed in 0..(slot - self.slot).min(SLOTS as u64) {
            let place = ((slot - passed) % SLOTS as u64) as usize;
            (self.stored[place], self.settled[place]) = (0, 0);
        }
        self.slot = slot;
        (slot % SLOTS as u64) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A minute in which each second so many samples are stored and settled.
    fn minute(flow: &mut Flow, from_s: u64, stored: u64, settled: u64) {
        for second in from_s..from_s + 60 {
            flow.stored(stored, second);
            flow.settled(settled, second);
        }
    }

    #[test]
    fn a_backlog_is_done_when_what_goes_beyond_what_comes_has_taken_it() {
        let mut flow = Flow::new(1_000);
        minute(&mut flow, 1_000, 10, 40);
        let backlog = flow.backlog(9_000, 1_060);
        assert!((590..=610).contains(&backlog.stored_per_minute), "{backlog:?}");
        let done_in_s = backlog.done_in_s.unwrap();
        assert!((290..=310).contains(&done_in_s), "9000 at 30 a second takes 300 s, not {done_in_s}");
    }

    #[test]
    fn a_backlog_that_grows_or_stands_is_never_done() {
        let mut flow = Flow::new(0);
        minute(&mut flow, 0, 10, 9);
        assert_eq!(flow.backlog(1_000, 60).done_in_s, None);
        // A minute later nothing of it counts any more.
        let idle = flow.backlog(1_000, 125);
        assert_eq!((idle.stored_per_minute, idle.settled_per_minute, idle.done_in_s), (0, 0, None));
        assert_eq!(flow.backlog(0, 125).done_in_s, Some(0));
    }

    #[test]
    fn what_only_waits_for_its_answer_is_no_backlog() {
        let mut flow = Flow::new(0);
        minute(&mut flow, 0, 100, 100);
        assert_eq!(flow.backlog(300, 60).done_in_s, Some(0));
        assert_eq!(flow.backlog(3_000, 60).done_in_s, None);
    }

    #[test]
    fn after_a_start_the_time_since_then_counts() {
        let mut flow = Flow::new(7);
        flow.settled(100, 8);
        assert_eq!(flow.backlog(1_000, 17).settled_per_minute, 600);
        assert_eq!(flow.backlog(1_000, 17).done_in_s, Some(100));
        flow.settled(1, 3);
        assert_eq!(Flow::new(9).backlog(1, 3).done_in_s, None, "a clock that goes back does no harm");
    }
}
