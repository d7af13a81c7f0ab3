//! The account at a start: from what the cursor said, and what is found in the segments.
//!
//! Always true: the order in which records and segments are found does not matter.

use std::sync::Arc;

use super::{Account, Book, Open};
use crate::pipeline::taken::Instance;
use crate::pipeline::tally::{Share, Tally};
use crate::status::{Evicted, Restart};

/// What a start found.
#[derive(Debug, Default)]
pub struct Found<'a> {
    /// Of the oldest record there may be.
    pub first_seq: u64,
    /// The number the next record gets.
    pub next_seq: u64,
    /// Of this boot.
    pub boot_id: &'a str,
    /// Unix milliseconds; 0: not trusted.
    pub wall_ms: i64,
    /// The cursor was there once and is not now.
    pub cursor_lost: bool,
    /// Unsettled records went from the oldest end.
    pub evicted: bool,
}

impl Book {
    /// Takes back what was counted for batches whose rows never were in the buffer. Called after the scan.
    pub fn untake(&mut self, stored: impl Fn(&Instance) -> Option<u64>) {
        for (device, samples) in self.taken.untake(stored) {
            let ledger = &mut self.account(&device).ledger;
            ledger.read = ledger.read.saturating_sub(samples);
            ledger.suppressed = ledger.suppressed.saturating_sub(samples);
        }
    }

    /// A record found by the scan at a start. What the totals have already is only open again; a row that
    /// is settled is not counted twice.
    pub fn found(&mut self, segment: u64, seq: u64, device: &Arc<str>, samples: u32) {
        self.found_rows(segment, seq, device, Open { rows: 1, samples });
    }

    /// The same for all records of a segment that [`Self::divides`] nothing of.
    pub fn found_all(&mut self, tally: &Tally) {
        for (device, share) in &tally.devices {
            let open = Open { rows: share.rows, samples: share.samples };
            self.found_rows(tally.first_seq, share.last_seq, device, open);
        }
    }

    /// Whether something of the segment is settled or in the totals and something else of it is not, so that
    /// only its records say which.
    pub fn divides(&self, tally: &Tally) -> bool {
        let head = self.begun.head;
        let halfway = |(device, share): (&Arc<str>, &Share)| {
            let position = self.accounts.get(device).map_or(0, |account| account.position);
            tally.first_seq < position && position <= share.last_seq
        };
        (tally.first_seq < head && head < tally.next_seq) || tally.devices.iter().any(halfway)
    }

    fn found_rows(&mut self, segment: u64, seq: u64, device: &Arc<str>, open: Open) {
        let known = seq < self.begun.head;
        let account = self.account(device);
        if seq < account.position {
            return;
        }
        match known {
            true => account.missing -= i64::from(open.samples),
            false => {
                account.ledger.read += u64::from(open.samples);
                account.ledger.stored += u64::from(open.samples);
            }
        }
        self.open(segment, device, open);
    }

    /// After the scan: the totals go on from what was found, and positions above the next seq are not
    /// believed (a power cut took the records). `now` is this boot and its wall time; `evicted`: what is
    /// gone from the oldest end was dropped because the buffer was full. Devices that are no longer
    /// configured and have nothing waiting are forgotten once no settled row of theirs can be read again,
    /// which would be sent again if nobody knew their position. Returns what there is to say about the start.
    pub fn reconcile(&mut self, found: &Found<'_>, configured: impl Fn(&str) -> bool) -> Option<&Restart> {
        let begun = std::mem::take(&mut self.begun);
        let cut = begun.head > found.next_seq;
        let mut gone = 0;
        for account in self.accounts.values_mut() {
            account.position = account.position.min(found.next_seq);
            account.ahead.cut(found.next_seq);
            gone += account.catch_up(cut, found.evicted);
        }
        self.floor = self.floor.min(found.next_seq);
        self.accounts.retain(|device, account| {
            configured(device) || account.waiting > 0 || account.position > found.first_seq
        });
        let cause = if found.cursor_lost {
            Some("the account was lost with its file, the totals begin with what waits")
        } else if !begun.boot_id.is_empty() && !begun.stopped && begun.boot_id != found.boot_id {
            Some("the power was cut or the machine reset, the totals go on from what survived")
        } else {
            cut.then_some("the newest records are gone, the totals go on from what is left")
        };
        let (cause, wall_ms) = (cause?.to_owned(), found.wall_ms);
        Some(self.restart.insert(Restart { cause, wall_ms, missing_samples: gone }))
    }
}

impl Account {
    /// What was counted and is not there any more, or is there again. Returns the samples that are taken
    /// out of the totals, because the newest records were cut off.
    fn catch_up(&mut self, cut: bool, evicted: bool) -> u64 {
        let missing = std::mem::take(&mut self.missing);
        let samples = missing.unsigned_abs();
        match missing {
            0 => {}
            ..0 => self.ledger.found_again(Evicted::Damaged, samples),
            _ if cut => {
                self.ledger.read = self.ledger.read.saturating_sub(samples);
                self.ledger.stored = self.ledger.stored.saturating_sub(samples);
                return samples;
            }
            _ if evicted => self.ledger.evict(Evicted::Full, samples),
            _ => self.ledger.evict(Evicted::Damaged, samples),
        }
        0
    }
}
