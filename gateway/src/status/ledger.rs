//! The account of samples (design, promise 2): what became of each that was read.
//!
//! Always true: every number counts samples; that the two identities hold is nobody's assumption here,
//! [`Ledger::read_off`] and [`Ledger::stored_off`] say by how much they do not.
//!
//! ```text
//! read   = suppressed + dropped_by_driver + stored
//! stored = acknowledged + waiting + evicted + parked + merged
//! ```

use std::iter::Sum;

use serde::{Deserialize, Serialize};

/// One device's, or the sum of several.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Ledger {
    /// Read by the driver.
    pub read: u64,
    /// Not reported: unchanged within the deadband, bad without news, or of a point that is not configured.
    pub suppressed: u64,
    /// Dropped by the driver while the gateway was away.
    pub dropped_by_driver: u64,
    /// Taken for the platform.
    pub stored: u64,
    /// Answered by the platform.
    pub acknowledged: u64,
    /// In the buffer.
    pub waiting: u64,
    /// Lost on this side of the platform, for one of the reasons that follow.
    pub evicted: u64,
    /// Because the buffer was full.
    pub evicted_full: u64,
    /// Because their record, or one they refer to, was damaged on the disk.
    pub evicted_damaged: u64,
    /// Because their row was larger than a record may be.
    pub evicted_too_large: u64,
    /// Because the disk took no data and memory was full.
    pub evicted_unwritten: u64,
    /// Given up because the platform answers others but never these.
    pub parked: u64,
    /// Merged into a newer row.
    pub merged: u64,
}

/// Why samples were lost on this side of the platform.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Evicted {
    /// The buffer was full.
    Full,
    /// Their record was damaged.
    Damaged,
    /// No record holds their row.
    TooLarge,
    /// The disk took no data and memory was full.
    Unwritten,
}

/// A start at which not all that had been counted was there: the totals go on from what survived.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Restart {
    /// In one sentence.
    pub cause: String,
    /// When, Unix milliseconds; 0: the clock was not trusted then.
    pub wall_ms: i64,
    /// Samples that had been counted as stored and were gone; they are in no total any more. What was read
    /// after the last sync and was not counted on the disk yet comes on top.
    pub missing_samples: u64,
}

impl Evicted {
    /// As metrics say it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Damaged => "damaged",
            Self::TooLarge => "too_large",
            Self::Unwritten => "unwritten",
        }
    }
}

impl Ledger {
    /// Samples are lost.
    pub fn evict(&mut self, why: Evicted, samples: u64) {
        self.evicted += samples;
        *self.evicted_for(why) += samples;
    }

    /// They were not lost after all.
    pub fn found_again(&mut self, why: Evicted, samples: u64) {
        self.evicted = self.evicted.saturating_sub(samples);
        let of = self.evicted_for(why);
        *of = of.saturating_sub(samples);
    }

    /// Read and accounted for nowhere; negative: accounted for and never read.
    pub fn read_off(&self) -> i64 {
        off(self.read, [self.suppressed, self.dropped_by_driver, self.stored])
    }

    /// Stored and accounted for nowhere; negative: accounted for and never stored.
    pub fn stored_off(&self) -> i64 {
        off(self.stored, [self.acknowledged, self.waiting, self.evicted, self.parked, self.merged])
    }

    /// Both identities hold.
    pub fn balances(&self) -> bool {
        self.read_off() == 0 && self.stored_off() == 0
    }

    /// What the platform never gets.
    pub fn lost(&self) -> u64 {
        self.dropped_by_driver + self.evicted + self.parked
    }

    /// What was lost here, by reason.
    pub fn reasons(&self) -> [(Evicted, u64); 4] {
        [
            (Evicted::Full, self.evicted_full),
            (Evicted::Damaged, self.evicted_damaged),
            (Evicted::TooLarge, self.evicted_too_large),
            (Evicted::Unwritten, self.evicted_unwritten),
        ]
    }

    fn evicted_for(&mut self, why: Evicted) -> &mut u64 {
        match why {
            Evicted::Full => &mut self.evicted_full,
            Evicted::Damaged => &mut self.evicted_damaged,
            Evicted::TooLarge => &mut self.evicted_too_large,
            Evicted::Unwritten => &mut self.evicted_unwritten,
        }
    }
}

fn off<const N: usize>(sum: u64, terms: [u64; N]) -> i64 {
    let terms: i128 = terms.into_iter().map(i128::from).sum();
    let off = i128::from(sum) - terms;
    off.clamp(i64::MIN.into(), i64::MAX.into()) as i64
}

impl Sum for Ledger {
    fn sum<I: Iterator<Item = Self>>(ledgers: I) -> Self {
        ledgers.fold(Self::default(), |a, b| Self {
            read: a.read + b.read,
            suppressed: a.suppressed + b.suppressed,
            dropped_by_driver: a.dropped_by_driver + b.dropped_by_driver,
            stored: a.stored + b.stored,
            acknowledged: a.acknowledged + b.acknowledged,
            waiting: a.waiting + b.waiting,
            evicted: a.evicted + b.evicted,
            evicted_full: a.evicted_full + b.evicted_full,
            evicted_damaged: a.evicted_damaged + b.evicted_damaged,
            evicted_too_large: a.evicted_too_large + b.evicted_too_large,
            evicted_unwritten: a.evicted_unwritten + b.evicted_unwritten,
            parked: a.parked + b.parked,
            merged: a.merged + b.merged,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_that_is_nowhere_and_one_that_nobody_read_are_both_seen() {
        let whole =
            Ledger { read: 9, suppressed: 2, stored: 7, acknowledged: 4, waiting: 3, ..Ledger::default() };
        assert!(whole.balances());
        assert_eq!(Ledger { read: 10, ..whole }.read_off(), 1);
        assert_eq!(Ledger { waiting: 5, ..whole }.stored_off(), -2);
        let other = Ledger { stored: 8, ..whole };
        assert_eq!((other.read_off(), other.stored_off()), (-1, 1));
    }

    #[test]
    fn every_loss_has_its_reason_and_may_turn_out_to_be_none() {
        let mut ledger = Ledger::default();
        for (why, samples) in [(Evicted::Full, 5), (Evicted::Damaged, 3), (Evicted::TooLarge, 1)] {
            ledger.evict(why, samples);
        }
        ledger.found_again(Evicted::Full, 2);
        let reasons = (ledger.evicted_full, ledger.evicted_damaged, ledger.evicted_too_large);
        assert_eq!((ledger.evicted, reasons), (7, (3, 3, 1)));
        assert_eq!(ledger.reasons().map(|(_, samples)| samples).iter().sum::<u64>(), ledger.evicted);
    }
}
