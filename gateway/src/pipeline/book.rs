//! The account of every sample: what was read, stored, settled and evicted, per device (design, promise 2).
//!
//! Always true: `read = suppressed + dropped_by_driver + stored` and
//! `stored = acknowledged + waiting + evicted + parked + merged` after every call; a row is settled
//! once. Units are samples, except [`Open::rows`], which counts (device, record) pairs.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;
use sagoo_edge_buffer::Origin;

use super::handle::Fate;
use super::taken::{Instance, KeptProcess, Taken};
use crate::status::Ledger;

/// Totals per device and what is unsettled per segment.
#[derive(Debug, Default)]
pub struct Book {
    accounts: HashMap<Arc<str>, Account>,
    /// First seq of a segment → what in it still waits.
    segments: BTreeMap<u64, HashMap<Arc<str>, Open>>,
    /// Never goes back.
    floor: u64,
    /// What was taken of whom.
    pub taken: Taken,
}

#[derive(Debug, Default, Clone)]
struct Account {
    /// Rows below it are settled.
    position: u64,
    ledger: Ledger,
}

#[derive(Debug, Default, Clone, Copy)]
struct Open {
    rows: u32,
    samples: u32,
}

/// Kept in the buffer's cursor, so that settling survives a kill.
#[derive(Clone, PartialEq, Message)]
struct Detail {
    #[prost(message, repeated, tag = "1")]
    accounts: Vec<KeptAccount>,
    #[prost(message, repeated, tag = "2")]
    processes: Vec<KeptProcess>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptAccount {
    #[prost(string, tag = "1")]
    device: String,
    #[prost(uint64, tag = "2")]
    position: u64,
    #[prost(uint64, tag = "3")]
    suppressed: u64,
    #[prost(uint64, tag = "4")]
    dropped_by_driver: u64,
    #[prost(uint64, tag = "5")]
    acknowledged: u64,
    #[prost(uint64, tag = "6")]
    evicted: u64,
    #[prost(uint64, tag = "7")]
    parked: u64,
    #[prost(uint64, tag = "8")]
    merged: u64,
    /// Places in `processes` of those that `dropped_totals` are of.
    #[prost(uint32, repeated, tag = "9")]
    dropped_of: Vec<u32>,
    #[prost(uint64, repeated, tag = "10")]
    dropped_totals: Vec<u64>,
}

impl Book {
    /// From a cursor; an unreadable detail means that nothing is known to be settled.
    pub fn restore(floor: u64, detail: &[u8]) -> Self {
        let kept = Detail::decode(detail).unwrap_or_default();
        let dropped = kept.accounts.iter().map(|account| {
            let totals = account.dropped_of.iter().copied().zip(account.dropped_totals.iter().copied());
            (account.device.as_str().into(), totals.collect())
        });
        let taken = Taken::restore(kept.processes, &dropped.collect::<Vec<_>>());
        let accounts = kept.accounts.into_iter().map(|kept| {
            let stored = kept.acknowledged + kept.evicted + kept.parked + kept.merged;
            let ledger = Ledger {
                read: kept.suppressed + kept.dropped_by_driver + stored,
                suppressed: kept.suppressed,
                dropped_by_driver: kept.dropped_by_driver,
                stored,
                acknowledged: kept.acknowledged,
                waiting: 0,
                evicted: kept.evicted,
                parked: kept.parked,
                merged: kept.merged,
            };
            (kept.device.as_str().into(), Account { position: kept.position, ledger })
        });
        Self { accounts: accounts.collect(), segments: BTreeMap::new(), floor, taken }
    }

    /// A batch is taken: its rows, if it has any, are written next, and what says nothing new is counted.
    pub fn take(&mut self, origin: Origin, rows: bool, suppressed: Vec<(Arc<str>, u64)>) {
        for (device, samples) in &suppressed {
            self.suppressed(device, *samples);
        }
        self.taken.take(origin, rows, suppressed);
    }

    /// Takes back what was counted for batches whose rows never were in the buffer. Called after the scan.
    pub fn untake(&mut self, stored: impl Fn(&Instance) -> Option<u64>) {
        for (device, samples) in self.taken.untake(stored) {
            let ledger = &mut self.account(&device).ledger;
            ledger.read = ledger.read.saturating_sub(samples);
            ledger.suppressed = ledger.suppressed.saturating_sub(samples);
        }
    }

    /// Forgets what cannot be: positions above the next seq (a power cut took the records), and
    /// devices that are no longer configured and have nothing waiting. Called after the scan.
    pub fn reconcile(&mut self, next_seq: u64, configured: impl Fn(&str) -> bool) {
        self.accounts.retain(|device, account| configured(device) || account.ledger.waiting > 0);
        for account in self.accounts.values_mut() {
            account.position = account.position.min(next_seq);
        }
        self.floor = self.floor.min(next_seq);
    }

    /// For the cursor.
    pub fn detail(&self) -> Vec<u8> {
        let mut accounts: Vec<KeptAccount> = self
            .accounts
            .iter()
            .map(|(device, account)| {
                let ledger = &account.ledger;
                let (dropped_of, dropped_totals) = self.taken.kept_dropped(device).into_iter().unzip();
                KeptAccount {
                    dropped_of,
                    dropped_totals,
                    device: device.to_string(),
                    position: account.position,
                    suppressed: ledger.suppressed,
                    dropped_by_driver: ledger.dropped_by_driver,
                    acknowledged: ledger.acknowledged,
                    evicted: ledger.evicted,
                    parked: ledger.parked,
                    merged: ledger.merged,
                }
            })
            .collect();
        accounts.sort_by(|a, b| a.device.cmp(&b.device));
        let number = |name: &str| {
            let found = accounts.binary_search_by(|account| account.device.as_str().cmp(name));
            found.ok().map(|number| number as u32)
        };
        let processes = self.taken.kept(number);
        Detail { accounts, processes }.encode_to_vec()
    }

    /// Samples that were read and not stored, because they say nothing new.
    pub fn suppressed(&mut self, device: &Arc<str>, samples: u64) {
        let ledger = &mut self.account(device).ledger;
        ledger.read += samples;
        ledger.suppressed += samples;
    }

    /// A driver process says how many samples of a device it had to drop in all; returns those that are
    /// new.
    pub fn dropped_by_driver(&mut self, device: &Arc<str>, instance: Instance, total: u64) -> u64 {
        let samples = self.taken.dropped(device, instance, total);
        let ledger = &mut self.account(device).ledger;
        ledger.read += samples;
        ledger.dropped_by_driver += samples;
        samples
    }

    /// Rows of one device in one record were written. `segment` is the first seq of its segment.
    /// A row that is settled already (found again at a start) is not counted twice.
    pub fn stored(&mut self, segment: u64, seq: u64, device: &Arc<str>, samples: u32) {
        let account = self.account(device);
        if seq < account.position {
            return;
        }
        account.ledger.read += u64::from(samples);
        account.ledger.stored += u64::from(samples);
        account.ledger.waiting += u64::from(samples);
        let open = self.segments.entry(segment).or_default().entry(device.clone()).or_default();
        open.rows += 1;
        open.samples += samples;
    }

    /// Rows of one device in one record ended. Repeated reports change nothing. Returns the samples that
    /// turn out to be lost: rows are settled in order, so what the device has open in segments before
    /// this one will never come; its records are damaged.
    pub fn settled(&mut self, device: &Arc<str>, seq: u64, samples: u32, fate: Fate) -> u64 {
        let account = self.account(device);
        let before = account.position;
        if seq < before {
            return 0;
        }
        account.position = seq + 1;
        let lost = self.passed_over(device, before, seq);
        let samples = u64::from(samples);
        let open = self.segments.range_mut(..=seq).next_back().and_then(|(_, open)| open.get_mut(device));
        let account = self.accounts.entry(device.clone()).or_default();
        match open {
            Some(open) => {
                open.rows = open.rows.saturating_sub(1);
                open.samples = open.samples.saturating_sub(samples as u32);
                account.ledger.waiting = account.ledger.waiting.saturating_sub(samples);
            }
            // evicted while it was on its way: it did arrive after all
            None => account.ledger.evicted = account.ledger.evicted.saturating_sub(samples),
        }
        match fate {
            Fate::Acknowledged => account.ledger.acknowledged += samples,
            Fate::Parked => account.ledger.parked += samples,
            Fate::Damaged => account.ledger.evicted += samples,
        }
        lost
    }

    /// Closes what is open in the segments before that of `seq`, once per segment.
    fn passed_over(&mut self, device: &Arc<str>, before: u64, seq: u64) -> u64 {
        let Some((&segment, _)) = self.segments.range(..=seq).next_back() else { return 0 };
        if before > segment {
            return 0;
        }
        let mut lost = 0;
        for open in self.segments.range_mut(..segment).filter_map(|(_, open)| open.get_mut(device)) {
            lost += u64::from(open.samples);
            *open = Open::default();
        }
        let ledger = &mut self.account(device).ledger;
        ledger.waiting = ledger.waiting.saturating_sub(lost);
        ledger.evicted += lost;
        lost
    }

    /// Whole segments up to `last_seq` were dropped, settled or not. Returns the samples lost, per device.
    pub fn evicted(&mut self, last_seq: u64) -> Vec<(Arc<str>, u64)> {
        let kept = self.segments.split_off(&(last_seq + 1));
        let gone = std::mem::replace(&mut self.segments, kept);
        let mut lost: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (device, open) in gone.into_values().flatten() {
            *lost.entry(device).or_default() += u64::from(open.samples);
        }
        lost.retain(|_, samples| *samples > 0);
        for (device, samples) in &lost {
            let ledger = &mut self.account(device).ledger;
            ledger.waiting = ledger.waiting.saturating_sub(*samples);
            ledger.evicted += samples;
        }
        lost.into_iter().collect()
    }

    /// Everything below it is settled and may be unlinked. Forgets settled segments but the last.
    pub fn floor(&mut self, next_seq: u64) -> u64 {
        while let Some(first) = self.segments.first_entry() {
            if first.get().values().any(|open| open.rows > 0) {
                self.floor = self.floor.max(*first.key());
                return self.floor;
            }
            first.remove();
        }
        self.floor = self.floor.max(next_seq);
        self.floor
    }

    /// Rows of a device below its position are settled.
    pub fn positions(&self) -> HashMap<Arc<str>, u64> {
        self.accounts.iter().map(|(device, account)| (device.clone(), account.position)).collect()
    }

    /// One device's account.
    pub fn ledger(&self, device: &str) -> Ledger {
        self.accounts.get(device).map(|account| account.ledger).unwrap_or_default()
    }

    /// Names of all devices with an account, those no longer configured included.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<str>> {
        self.accounts.keys()
    }

    fn account(&mut self, device: &Arc<str>) -> &mut Account {
        self.accounts.entry(device.clone()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn balanced(ledger: &Ledger) -> bool {
        ledger.read == ledger.suppressed + ledger.dropped_by_driver + ledger.stored
            && ledger.stored
                == ledger.acknowledged + ledger.waiting + ledger.evicted + ledger.parked + ledger.merged
    }

    proptest! {
        #[test]
        fn both_identities_hold_after_every_step_and_across_a_restart(
            steps in proptest::collection::vec((0..5u8, 0..3usize, 1..9u32), 1..200),
        ) {
            let names: Vec<Arc<str>> = ["a", "b", "c"].into_iter().map(Into::into).collect();
            let mut book = Book::default();
            let mut waiting: Vec<Vec<(u64, u32)>> = vec![Vec::new(); 3];
            let mut all: Vec<(u64, u64, usize, u32)> = Vec::new();
            let (mut segment, mut seq, mut total) = (1, 1, 0);
            for (op, device, n) in steps {
                match op {
                    0 => book.suppressed(&names[device], u64::from(n)),
                    1 => {
                        total += u64::from(n);
                        book.dropped_by_driver(&names[device], [1; 16], total);
                    }
                    2 => {
                        if n > 6 { segment = seq; }
                        book.stored(segment, seq, &names[device], n);
                        waiting[device].push((seq, n));
                        all.push((segment, seq, device, n));
                        seq += 1;
                    }
                    3 if !waiting[device].is_empty() => {
                        let (seq, samples) = waiting[device].remove(0);
                        book.settled(&names[device], seq, samples, Fate::Acknowledged);
                        book.settled(&names[device], seq, samples, Fate::Acknowledged);
                    }
                    _ => {
                        let first_unsettled = waiting.iter().flatten().map(|w| w.0).min().unwrap_or(seq);
                        let floor = book.floor(seq);
                        prop_assert!(floor <= first_unsettled);
                    }
                }
                for name in &names {
                    prop_assert!(balanced(&book.ledger(name)), "{:?}", book.ledger(name));
                }
            }
            let mut again = Book::restore(0, &book.detail());
            for (segment, seq, device, n) in all {
                again.stored(segment, seq, &names[device], n);
            }
            for name in &names {
                prop_assert_eq!(again.ledger(name), book.ledger(name));
            }
        }
    }

    #[test]
    fn eviction_counts_only_what_was_waiting_and_a_late_answer_moves_it_back() {
        let device: Arc<str> = "a".into();
        let mut book = Book::default();
        book.stored(1, 1, &device, 10);
        book.stored(1, 2, &device, 10);
        book.stored(3, 3, &device, 10);
        book.settled(&device, 1, 10, Fate::Acknowledged);
        assert_eq!(book.evicted(2), [(device.clone(), 10)]);
        assert_eq!(book.ledger("a").evicted, 10);
        book.settled(&device, 2, 10, Fate::Acknowledged);
        let ledger = book.ledger("a");
        assert_eq!((ledger.acknowledged, ledger.waiting, ledger.evicted), (20, 10, 0));
        assert_eq!(book.floor(4), 3);
    }

    #[test]
    fn damaged_rows_are_settled_as_evicted() {
        let device: Arc<str> = "a".into();
        let mut book = Book::default();
        book.stored(1, 1, &device, 10);
        book.settled(&device, 1, 10, Fate::Damaged);
        let ledger = book.ledger("a");
        assert_eq!((ledger.evicted, ledger.waiting), (10, 0));
        assert!(balanced(&ledger));
        assert_eq!(book.floor(2), 2);
    }

    #[test]
    fn a_record_that_never_comes_is_counted_once_its_device_is_past_the_segment() {
        let (device, other): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
        let mut book = Book::default();
        for seq in 1..=3 {
            book.stored(1, seq, &device, 10);
        }
        book.stored(1, 3, &other, 5);
        book.stored(4, 4, &device, 10);
        book.stored(4, 5, &device, 10);
        assert_eq!(book.settled(&device, 1, 10, Fate::Acknowledged), 0);
        assert_eq!(book.settled(&device, 3, 10, Fate::Acknowledged), 0, "the second one may be anywhere");
        assert_eq!(book.settled(&device, 4, 10, Fate::Acknowledged), 10);
        assert_eq!(book.settled(&device, 5, 10, Fate::Acknowledged), 0);
        let ledger = book.ledger("a");
        assert_eq!((ledger.acknowledged, ledger.evicted, ledger.waiting), (40, 10, 0));
        assert!(balanced(&ledger));
        assert_eq!(book.floor(6), 1, "the other device still waits there");
        book.settled(&other, 3, 5, Fate::Acknowledged);
        assert_eq!(book.floor(6), 6);
    }

    #[test]
    fn the_floor_never_goes_back_when_a_settled_segment_is_written_on() {
        let device: Arc<str> = "a".into();
        let mut book = Book::default();
        book.stored(1, 1, &device, 1);
        book.settled(&device, 1, 1, Fate::Acknowledged);
        assert_eq!(book.floor(2), 2);
        book.stored(1, 2, &device, 1);
        assert_eq!(book.floor(3), 2);
    }

    /// As many devices as a configuration may have, with the longest names and years of samples.
    #[test]
    fn the_account_of_the_largest_site_fits_the_cursor() {
        let mut book = Book::default();
        for number in 0..=550 {
            let device: Arc<str> = format!("{number:064}").into();
            book.suppressed(&device, 1 << 34);
            let account = book.account(&device);
            account.position = 1 << 34;
            account.ledger.acknowledged = 1 << 34;
            account.ledger.evicted = 1 << 34;
            for process in 1..=2 {
                book.dropped_by_driver(&device, [process; 16], 1 << 20);
            }
        }
        let suppressed = book.accounts.keys().map(|device| (device.clone(), 1 << 10)).collect();
        book.take(Origin { instance: [1; 16], seq: 1 << 34 }, true, suppressed);
        for other in 2..=16 {
            book.take(Origin { instance: [other; 16], seq: 1 << 34 }, true, Vec::new());
        }
        let bytes = book.detail().len();
        assert!(bytes <= sagoo_edge_buffer::MAX_DETAIL, "{bytes} bytes");
    }

    #[test]
    fn a_position_above_the_records_is_not_believed() {
        let device: Arc<str> = "a".into();
        let mut book = Book::default();
        book.stored(1, 9, &device, 1);
        book.settled(&device, 9, 1, Fate::Acknowledged);
        let mut again = Book::restore(10, &book.detail());
        again.reconcile(5, |_| true);
        again.stored(1, 5, &device, 1);
        assert_eq!((again.ledger("a").waiting, again.floor(6)), (1, 5));
    }

    #[test]
    fn a_device_that_is_gone_is_forgotten_when_nothing_waits() {
        let (kept, gone): (Arc<str>, Arc<str>) = ("kept".into(), "gone".into());
        let mut book = Book::default();
        book.suppressed(&kept, 1);
        book.suppressed(&gone, 1);
        book.reconcile(1, |name| name == "kept");
        assert_eq!(book.devices().count(), 1);
    }

    #[test]
    fn a_damaged_detail_settles_nothing() {
        assert_eq!(Book::restore(0, &[0xff, 0x01, 0x02]).positions().len(), 0);
    }
}
