//! Rows of a device that were answered before their turn, as ranges of records.
//!
//! Always true: a range covers no record with a row of the device that was not answered; ranges rise, lie at
//! or above the device's position and below the next seq, and are at most [`MAX_RANGES`] of a device. To
//! forget one only means that its rows are sent again.
//!
//! They know of no samples: a row that is evicted or damaged after it was answered and before its turn is in the
//! ledger as lost, although it arrived. The account balances all the same.

use std::collections::VecDeque;
use std::sync::Arc;

use prost::encoding::encoded_len_varint;

use super::{Account, Book};

/// Ranges remembered per device; whoever makes them makes no more.
pub const MAX_RANGES: usize = 64;
/// What they take of the cursor's detail at most; of more, those that cover the fewest records are left out.
pub(super) const MAX_KEPT_BYTES: usize = 16 << 10;
/// What a device's ranges take beside their numbers: the tag, and lengths that grow.
const PER_DEVICE: usize = 8;

/// First and last record, inclusive.
pub type Range = (u64, u64);

/// One device's.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Ranges(VecDeque<Range>);

impl Ranges {
    /// It is a new range, or what the last one is now.
    fn answered(&mut self, first: u64, last: u64) {
        match self.0.back_mut() {
            Some((begun, end)) if *begun == first => *end = (*end).max(last),
            // it does not rise, so that it is none of the flight's
            Some((_, end)) if first <= *end => {}
            _ if first > last => {}
            _ => {
                if self.0.len() >= MAX_RANGES {
                    self.0.pop_front();
                }
                self.0.push_back((first, last));
            }
        }
    }

    /// Rows below it are settled.
    pub(super) fn passed(&mut self, position: u64) {
        while self.0.pop_front_if(|(_, last)| *last < position).is_some() {}
        if let Some((first, _)) = self.0.front_mut() {
            *first = (*first).max(position);
        }
    }

    /// Records from here on are gone, and their numbers will be given to others.
    pub(super) fn cut(&mut self, next_seq: u64) {
        while self.0.pop_back_if(|(first, _)| *first >= next_seq).is_some() {}
        if let Some((_, last)) = self.0.back_mut() {
            *last = (*last).min(next_seq.saturating_sub(1));
        }
    }

    /// Those of so many records at least, as distances: from the end of the one before, or from the
    /// position, and from first to last.
    pub(super) fn kept(&self, position: u64, least: u64) -> Vec<u64> {
        let mut after = position;
        let mut kept = Vec::new();
        for (first, last) in self.of(least) {
            kept.extend([first.saturating_sub(after), last - first]);
            after = last;
        }
        kept
    }

    /// From what was kept; what makes no sense there ends it.
    pub(super) fn restore(position: u64, kept: &[u64]) -> Self {
        let mut ranges = Self::default();
        let mut after = position;
        for distance in kept.chunks_exact(2) {
            let Some(first) = after.checked_add(distance[0]) else { break };
            let Some(last) = first.checked_add(distance[1]) else { break };
            ranges.answered(first, last);
            after = last;
        }
        ranges
    }

    fn of(&self, least: u64) -> impl Iterator<Item = Range> {
        self.0.iter().copied().filter(move |(first, last)| last - first + 1 >= least)
    }

    /// At most what they take when they are kept.
    fn cost(&self, position: u64, least: u64) -> usize {
        let number = |(first, last): Range| {
            encoded_len_varint(first.saturating_sub(position)) + encoded_len_varint(last - first)
        };
        let numbers: usize = self.of(least).map(number).sum();
        if numbers == 0 { 0 } else { numbers + PER_DEVICE }
    }
}

/// How many records a range has to cover so that all of those fit into the budget.
pub(super) fn least_kept<'a>(accounts: impl Iterator<Item = &'a Account> + Clone, budget: usize) -> u64 {
    let cost = |least| -> usize {
        accounts.clone().map(|account| account.ahead.cost(account.position, least)).sum()
    };
    let mut least = 1;
    while cost(least) > budget && least < 1 << 62 {
        least *= 2;
    }
    least
}

impl Book {
    /// Rows of a device were answered before their turn: all it has in these records.
    pub fn said_ahead(&mut self, device: &Arc<str>, (first, last): Range) {
        let account = self.account(device);
        account.ahead.answered(first.max(account.position), last);
    }

    /// What was answered before its turn, of the devices that have some.
    pub fn ahead(&self) -> impl Iterator<Item = (&Arc<str>, Vec<Range>)> {
        let some = self.accounts.iter().filter(|(_, account)| !account.ahead.0.is_empty());
        some.map(|(device, account)| (device, account.ahead.0.iter().copied().collect()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn covered(ranges: &Ranges) -> Vec<u64> {
        ranges.0.iter().flat_map(|(first, last)| *first..=*last).collect()
    }

    proptest! {
        /// Against a set of records. A range goes on only if nothing between was left out, as the flight has it.
        #[test]
        fn what_comes_back_was_answered_waits_and_is_all_of_it_while_there_is_room(
            steps in proptest::collection::vec((1..50u64, 1..9u64, any::<bool>(), 0..3u64), 1..90),
            cut in 0..40u64, least in 1..5u64,
        ) {
            let (mut ranges, mut said) = (Ranges::default(), Vec::new());
            let (mut next, mut position, mut begun, mut full) = (1, 1, None, false);
            for (gap, records, goes_on, passed) in steps {
                let first = match begun.filter(|_| goes_on) {
                    Some(first) => first,
                    None => next + gap,
                };
                let last = next + gap + records;
                ranges.answered(first.max(position), last);
                full |= ranges.0.len() >= MAX_RANGES;
                said.extend(first.max(next)..=last);
                (begun, next) = (Some(first), last + 1);
                position = (position + passed * gap).min(next);
                ranges.passed(position);
                said.retain(|seq| *seq >= position);
            }
            prop_assert!(full || covered(&ranges) == said);
            prop_assert!(ranges.0.len() <= MAX_RANGES);
            prop_assert!(covered(&ranges).iter().all(|seq| said.contains(seq)));
            let again = Ranges::restore(position, &ranges.kept(position, 1));
            prop_assert_eq!(&again, &ranges);
            let fewer = Ranges::restore(position, &ranges.kept(position, least));
            let large = |(first, last): &Range| last - first + 1 >= least;
            prop_assert_eq!(fewer.0, ranges.0.iter().copied().filter(large).collect::<VecDeque<_>>());
            ranges.cut(next - cut.min(next));
            said.retain(|seq| *seq < next - cut.min(next));
            prop_assert!(covered(&ranges).iter().all(|seq| said.contains(seq)));
            prop_assert!(full || covered(&ranges) == said);
        }

        #[test]
        fn anything_that_is_read_makes_ranges_that_rise(
            position: u64, kept in proptest::collection::vec(any::<u64>(), 0..200),
        ) {
            let ranges = Ranges::restore(position, &kept);
            let mut after = None;
            for (first, last) in ranges.0 {
                prop_assert!(first <= last && Some(first) > after && first >= position);
                after = Some(last);
            }
        }
    }
}
