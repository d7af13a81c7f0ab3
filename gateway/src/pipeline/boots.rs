//! Times that are not known yet: how they are stored, and how they become wall times.
//!
//! Always true: a stored time never changes; what it means is decided once per boot and the same ever
//! after. Whoever decides is [`super::wall`]; whoever reads rows asks here.
//!
//! ```text
//! a time >= 0   Unix milliseconds
//! a time <  0   milliseconds since the start of boot n = 1, 2, …:  ms - n · 2^42
//! ```

use std::collections::BTreeMap;

use crate::row::Row;

/// Longer than any boot: 139 years.
const SPAN_MS: i64 = 1 << 42;
/// More than a box ever boots.
const LAST_BOOT: u32 = 1 << 20;
/// Boots without a clock whose rows may wait at a time; of more, the oldest ones' rows carry the times of
/// a later one.
pub const MAX_BOOTS: usize = 128;

/// The time of something `since_ms` after the start of a boot.
pub fn since_boot(boot: u32, since_ms: i64) -> i64 {
    since_ms.clamp(0, SPAN_MS - 1) - i64::from(boot.min(LAST_BOOT)) * SPAN_MS
}

/// The boot, and the time since its start; `None`: it is a wall time.
pub fn parts(time_ms: i64) -> Option<(u32, i64)> {
    let boot = || u32::try_from(-time_ms.div_euclid(SPAN_MS)).unwrap_or(u32::MAX);
    (time_ms < 0).then(|| (boot(), time_ms.rem_euclid(SPAN_MS)))
}

/// Of two stored times; one that is not known yet is of now, and so later than one that is.
pub fn is_before(a_ms: i64, b_ms: i64) -> bool {
    (a_ms < 0, a_ms) < (b_ms < 0, b_ms)
}

/// Unix milliseconds of the starts of boots.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Boots(BTreeMap<u32, i64>);

impl Boots {
    /// As they were kept.
    pub fn new(starts: impl IntoIterator<Item = (u32, i64)>) -> Self {
        Self(starts.into_iter().collect())
    }

    /// When a boot started.
    pub fn start_of(&self, boot: u32) -> Option<i64> {
        self.0.get(&boot).copied()
    }

    /// Decides, once and for all.
    pub fn fix(&mut self, boot: u32, start_ms: i64) {
        self.0.entry(boot).or_insert(start_ms);
        while self.0.len() > MAX_BOOTS {
            self.0.pop_first();
        }
    }

    /// Forgets those of which nothing is left.
    pub fn retain(&mut self, keep: impl Fn(u32) -> bool) {
        self.0.retain(|boot, _| keep(*boot));
    }

    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, i64)> {
        self.0.iter().map(|(boot, start_ms)| (*boot, *start_ms))
    }

    /// The wall time that a stored time stands for; itself while that is not decided.
    pub fn wall_ms(&self, time_ms: i64) -> i64 {
        let Some((boot, since_ms)) = parts(time_ms) else { return time_ms };
        let decided = self.0.range(boot..).next();
        decided.map_or(time_ms, |(_, start_ms)| start_ms.saturating_add(since_ms))
    }

    /// Gives a row its wall times, where they are decided.
    pub fn tell(&self, row: &mut Row) {
        row.time_ms = self.wall_ms(row.time_ms);
        row.cells.iter_mut().for_each(|cell| cell.time_ms = self.wall_ms(cell.time_ms));
    }
}

/// What a scan of stored rows finds out about times.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// Newest wall time.
    pub newest_ms: Option<i64>,
    /// Of each boot without a clock: its first record, and the first and last time since its start.
    pub boots: BTreeMap<u32, Unclocked>,
}

/// What waits of a boot without a clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclocked {
    /// Record.
    pub first_seq: u64,
    /// Milliseconds since its start.
    pub first_ms: i64,
    /// Milliseconds since its start.
    pub last_ms: i64,
}

impl Seen {
    /// One row.
    pub fn row(&mut self, seq: u64, row: &Row) {
        let times = row.cells.iter().map(|cell| cell.time_ms).chain([row.time_ms]);
        times.for_each(|time_ms| self.time(seq, time_ms));
    }

    /// One time in a record.
    pub fn time(&mut self, seq: u64, time_ms: i64) {
        match parts(time_ms) {
            None => self.newest_ms = self.newest_ms.max(Some(time_ms)),
            Some((boot, since_ms)) => {
                let fresh = Unclocked { first_seq: seq, first_ms: since_ms, last_ms: since_ms };
                let known = self.boots.entry(boot).or_insert(fresh);
                known.first_seq = known.first_seq.min(seq);
                known.first_ms = known.first_ms.min(since_ms);
                known.last_ms = known.last_ms.max(since_ms);
            }
        }
    }

    /// With what was seen elsewhere. Of another buffer the numbers of records are its own.
    pub fn with(&self, other: &Self) -> Self {
        let mut both = self.clone();
        both.newest_ms = both.newest_ms.max(other.newest_ms);
        for (boot, found) in &other.boots {
            let known = both.boots.entry(*boot).or_insert(*found);
            known.first_seq = known.first_seq.min(found.first_seq);
            known.first_ms = known.first_ms.min(found.first_ms);
            known.last_ms = known.last_ms.max(found.last_ms);
        }
        both
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_time_since_boot_comes_apart_as_it_was_put_together(boot in 1..=LAST_BOOT, since in 0..SPAN_MS) {
            let time_ms = since_boot(boot, since);
            prop_assert!(time_ms < 0);
            prop_assert_eq!(parts(time_ms), Some((boot, since)));
            prop_assert_eq!(parts(since), None);
        }

        #[test]
        fn any_time_that_is_read_from_a_disk_means_something_once_the_last_boot_is_decided(time_ms: i64) {
            let boots = Boots::new([(u32::MAX, 1_800_000_000_000)]);
            prop_assert!(boots.wall_ms(time_ms) >= 0);
        }
    }

    #[test]
    fn a_boot_is_decided_once_and_only_so_many_are_remembered() {
        let mut boots = Boots::default();
        for boot in 1..=MAX_BOOTS as u32 + 1 {
            boots.fix(boot, i64::from(boot) * 1_000);
            boots.fix(boot, 7);
        }
        assert_eq!(boots.wall_ms(since_boot(9, 5)), 9_005);
        assert_eq!(boots.iter().count(), MAX_BOOTS);
        assert_eq!(boots.wall_ms(since_boot(1, 5)), 2_005, "as one that came after it");
    }
}
