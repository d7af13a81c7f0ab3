//! The account of every sample: what was read, stored, settled and evicted, per device (design, promise 2).
//!
//! Always true: a row is settled once; units are samples, except [`Open::rows`], which counts
//! (device, record) pairs. That both identities of the ledger hold is checked, not assumed: `read` counts
//! what arrived and `stored` what was written, `waiting` is what is open in the segments, and the answers
//! are counted as the forwarder says them. Each comes from somebody else, so that a sample that gets lost
//! on the way is seen ([`Book::off_balance`]).
//!
//! There is one book per class. A device's rows of a class are settled in their order, whatever order they
//! were answered in, so one position per device is all it takes to know what is settled of a range that
//! others still hold, and ranges for what was answered before its turn ([`ahead`]); after a kill those are
//! at most one interval of the cursor old, and what was answered since is sent again with the same id.
//! Events account for no samples.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sagoo_edge_buffer::Origin;

use super::handle::Fate;
use super::taken::{Instance, Taken};
use crate::status::{Dropped, Evicted, Ledger, Restart};

pub mod ahead;
mod kept;
mod start;

pub use start::Found;

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
    /// What the cursor said at the start; over with [`Book::reconcile`].
    begun: Begun,
    /// The last start at which not all was there.
    pub restart: Option<Restart>,
}

/// How the gateway before us left the account.
#[derive(Debug, Default)]
struct Begun {
    /// Records below it are in the totals already.
    head: u64,
    boot_id: String,
    /// It was stopped, and everything is on the disk.
    stopped: bool,
}

#[derive(Debug, Default, Clone)]
struct Account {
    /// Rows below it are settled.
    position: u64,
    /// Answered before their turn, and not settled yet.
    ahead: ahead::Ranges,
    /// `waiting` is only brought up to date by [`Book::ledger`].
    ledger: Ledger,
    /// Samples that are open in the segments.
    waiting: u64,
    /// While the buffer is scanned at a start: counted before and not found yet.
    missing: i64,
    /// It changed since [`Book::off_balance`] looked.
    touched: bool,
    /// That it does not balance was said.
    told: bool,
    /// See [`Book::doubt`].
    doubted: bool,
}

#[derive(Debug, Default, Clone, Copy)]
struct Open {
    rows: u32,
    samples: u32,
}

impl Book {
    /// A batch is taken: its rows, if it has any, are written next, and what says nothing new is counted.
    pub fn take(&mut self, origin: Origin, rows: bool, suppressed: Vec<(Arc<str>, u64)>) {
        for (device, samples) in &suppressed {
            self.suppressed(device, *samples);
        }
        self.taken.take(origin, rows, suppressed);
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

    /// Samples of a device arrived that were not suppressed; said once what became of them is decided.
    pub fn read(&mut self, device: &Arc<str>, samples: u64) {
        self.account(device).ledger.read += samples;
    }

    /// Rows of one device in one record were written. `segment` is the first seq of its segment.
    pub fn stored(&mut self, segment: u64, seq: u64, device: &Arc<str>, samples: u32) {
        debug_assert!(seq >= segment, "a record lies in its segment");
        self.account(device).ledger.stored += u64::from(samples);
        self.open(segment, device, Open { rows: 1, samples });
    }

    /// Rows of one device were taken and not kept, because the buffer was full.
    pub fn refused(&mut self, device: &Arc<str>, samples: u32) {
        let ledger = &mut self.account(device).ledger;
        ledger.stored += u64::from(samples);
        ledger.evict(Evicted::Full, samples.into());
    }

    /// A row was taken and no record holds it.
    pub fn too_large(&mut self, device: &Arc<str>, samples: u32) {
        let ledger = &mut self.account(device).ledger;
        ledger.stored += u64::from(samples);
        ledger.evict(Evicted::TooLarge, samples.into());
    }

    fn open(&mut self, segment: u64, device: &Arc<str>, more: Open) {
        self.account(device).waiting += u64::from(more.samples);
        let open = self.segments.entry(segment).or_default().entry(device.clone()).or_default();
        open.rows += more.rows;
        open.samples += more.samples;
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
        account.ahead.passed(account.position);
        let lost = self.passed_over(device, before, seq);
        let samples = u64::from(samples);
        let segment = self.segments.range_mut(..=seq).next_back();
        let why = if segment.is_some() { Evicted::Unwritten } else { Evicted::Full };
        let open = segment.and_then(|(_, open)| open.get_mut(device));
        let account = self.accounts.entry(device.clone()).or_default();
        match open {
            Some(open) => {
                let known = open.samples.min(samples as u32);
                open.rows = open.rows.saturating_sub(1);
                open.samples -= known;
                account.waiting = account.waiting.saturating_sub(known.into());
                // damaged since it was read; more than that nobody explains
                let damaged = (samples - u64::from(known)).min(account.ledger.evicted_damaged);
                account.ledger.found_again(Evicted::Damaged, damaged);
            }
            // evicted while it was on its way: it did arrive after all
            None => account.ledger.found_again(why, samples),
        }
        match fate {
            Fate::Acknowledged => account.ledger.acknowledged += samples,
            Fate::Merged => account.ledger.merged += samples,
            Fate::Parked => account.ledger.parked += samples,
            Fate::Damaged => account.ledger.evict(Evicted::Damaged, samples),
        }
        lost
    }

    /// Parked samples were sent again and answered. More than are parked cannot be.
    pub fn redeemed(&mut self, device: &Arc<str>, samples: u32) {
        let ledger = &mut self.account(device).ledger;
        let samples = u64::from(samples).min(ledger.parked);
        ledger.parked -= samples;
        ledger.acknowledged += samples;
    }

    /// The platform was told last that points of the device are not good, or are all good again. Returns
    /// whether that is news.
    pub fn doubt(&mut self, device: &Arc<str>, doubted: bool) -> bool {
        std::mem::replace(&mut self.account(device).doubted, doubted) != doubted
    }

    /// Whether points of the device are not good, as far as the platform knows.
    pub fn is_doubted(&self, device: &str) -> bool {
        self.accounts.get(device).is_some_and(|account| account.doubted)
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
        let account = self.account(device);
        account.waiting = account.waiting.saturating_sub(lost);
        account.ledger.evict(Evicted::Damaged, lost);
        lost
    }

    /// Damage was found in a segment: these (number, device, samples) are all that is left of it. Returns
    /// what waited there and will never come.
    pub fn recount(&mut self, segment: u64, left: &[(u64, Arc<str>, u32)]) -> Vec<(Arc<str>, u64)> {
        let mut found: HashMap<&Arc<str>, Open> = HashMap::new();
        let unsettled = |(seq, device, _): &&(u64, Arc<str>, u32)| {
            self.accounts.get(device).is_none_or(|account| *seq >= account.position)
        };
        for (_, device, samples) in left.iter().filter(unsettled) {
            let open = found.entry(device).or_default();
            open.rows += 1;
            open.samples += samples;
        }
        let mut lost = Vec::new();
        for (device, open) in self.segments.get_mut(&segment).into_iter().flatten() {
            let left = found.get(device).copied().unwrap_or_default();
            let samples = u64::from(open.samples.saturating_sub(left.samples));
            open.rows = open.rows.min(left.rows);
            open.samples = open.samples.min(left.samples);
            if samples > 0 {
                lost.push((device.clone(), samples));
            }
        }
        for (device, samples) in &lost {
            let account = self.account(device);
            account.waiting = account.waiting.saturating_sub(*samples);
            account.ledger.evict(Evicted::Damaged, *samples);
        }
        lost
    }

    /// Whole segments up to `last_seq` were dropped, settled or not. Returns what was lost, per device.
    pub fn evicted(&mut self, last_seq: u64) -> Vec<(Arc<str>, Dropped)> {
        let kept = self.segments.split_off(&(last_seq + 1));
        let gone = std::mem::replace(&mut self.segments, kept);
        let mut lost: BTreeMap<Arc<str>, Dropped> = BTreeMap::new();
        for (device, open) in gone.into_values().flatten().filter(|(_, open)| open.rows > 0) {
            let lost = lost.entry(device).or_default();
            lost.rows += u64::from(open.rows);
            lost.samples += u64::from(open.samples);
        }
        for (device, Dropped { samples, .. }) in &lost {
            let account = self.account(device);
            account.waiting = account.waiting.saturating_sub(*samples);
            account.ledger.evict(Evicted::Full, *samples);
        }
        lost.into_iter().collect()
    }

    /// A segment that never was on disk was dropped, older ones are there still. Returns what was lost.
    pub fn evicted_segment(&mut self, segment: u64) -> Dropped {
        // it stays known, empty, so that a late answer is not taken for one of the segment before
        let gone = self.segments.get_mut(&segment).map(std::mem::take).unwrap_or_default();
        let mut lost = Dropped::default();
        for (device, open) in gone {
            let account = self.account(&device);
            account.waiting = account.waiting.saturating_sub(open.samples.into());
            account.ledger.evict(Evicted::Unwritten, open.samples.into());
            lost.rows += u64::from(open.rows);
            lost.samples += u64::from(open.samples);
        }
        lost
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

    /// Rows that are not settled: of each record one per device.
    pub fn waiting_rows(&self) -> u64 {
        self.segments.values().flat_map(HashMap::values).map(|open| u64::from(open.rows)).sum()
    }

    /// Rows of a device below its position are settled.
    pub fn positions(&self) -> HashMap<Arc<str>, u64> {
        self.accounts.iter().map(|(device, account)| (device.clone(), account.position)).collect()
    }

    /// One device's account; `waiting` is what is open in the segments.
    pub fn ledger(&self, device: &str) -> Ledger {
        let open = self.segments.values().filter_map(|open| open.get(device));
        let waiting = open.map(|open| u64::from(open.samples)).sum();
        let account = self.accounts.get(device);
        account.map(|account| Ledger { waiting, ..account.ledger }).unwrap_or_default()
    }

    /// One device's account, if it does not balance and that was not said yet.
    pub fn off_balance(&mut self, device: &Arc<str>) -> Option<Ledger> {
        let account = self.account(device);
        let off = Some(account.balance()).filter(|ledger| !ledger.balances() && !account.told);
        account.told |= off.is_some();
        off
    }

    /// The same for every device that had news since the last time, with `waiting` summed up anew.
    pub fn all_off_balance(&mut self) -> Vec<(Arc<str>, Ledger)> {
        let touched = self.accounts.iter_mut().filter(|(_, account)| account.touched);
        let touched = touched.map(|(device, account)| {
            account.touched = false;
            device.clone()
        });
        let touched: Vec<Arc<str>> = touched.collect();
        let mut off = Vec::new();
        for device in touched {
            let ledger = self.ledger(&device);
            if let Some(account) = self.accounts.get_mut(&device)
                && !ledger.balances()
                && !std::mem::replace(&mut account.told, true)
            {
                off.push((device, ledger));
            }
        }
        off
    }

    /// Names of all devices with an account, those no longer configured included.
    pub fn devices(&self) -> impl Iterator<Item = &Arc<str>> {
        self.accounts.keys()
    }

    fn account(&mut self, device: &Arc<str>) -> &mut Account {
        let account = self.accounts.entry(device.clone()).or_default();
        account.touched = true;
        account
    }
}

impl Account {
    fn balance(&self) -> Ledger {
        Ledger { waiting: self.waiting, ..self.ledger }
    }
}

#[cfg(test)]
mod tests;
