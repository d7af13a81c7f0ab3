//! What the writer cannot keep: counted in the book, by reason, and said.
//!
//! Always true: whatever is lost here is in the ledger and under one reason in [`super::super::drops`].

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::super::drops::Reason;
use super::super::scan::{read_segment, say_damage};
use super::super::unwritten::Unwritten;
use super::Writer;
use crate::row::Row;
use crate::status::Dropped;

/// Before a damaged segment that could not be read is tried again: each try may take a bad disk seconds.
const RECOUNT_PAUSE: Duration = Duration::from_secs(10);

/// Damaged segments whose losses are in the book.
#[derive(Debug, Default)]
pub(super) struct Recounts {
    /// First seq → records lost when they were counted.
    done: HashMap<u64, u64>,
    /// One could not be counted; no other try before.
    not_before: Option<Instant>,
}

impl Writer {
    /// What fell out of memory, which lies between what is on disk and the newest.
    pub(super) fn count_unwritten(&mut self, evicted: &[sagoo_edge_buffer::Evicted]) {
        for gone in evicted.iter().filter(|gone| gone.unwritten) {
            let Dropped { rows, samples } = self.book.evicted_segment(gone.segment);
            if rows > 0 {
                self.drops.add(Reason::Disk, rows, samples, Instant::now());
                let class = self.class.word();
                tracing::error!(
                    class,
                    rows,
                    samples,
                    "the disk takes no data and memory is full: oldest samples in it dropped"
                );
            }
        }
    }

    /// The buffer is full and keeps what it has: what comes now is dropped, and counted at once, so that a
    /// kill does not forget it.
    pub(super) fn refuse(&mut self, unwritten: &Unwritten) {
        for row in &unwritten.rows {
            self.book.refused(&row.device, row.samples);
        }
        unwritten.origin.iter().for_each(|origin| self.book.taken.refused(*origin));
        self.count_read(&unwritten.read);
        self.dropped(Reason::Newest, &unwritten.rows);
        self.write_cursor();
    }

    /// Said when a flood of drops begins; how many they were is told when it is over.
    pub(super) fn dropped(&mut self, reason: Reason, rows: &[Row]) {
        let samples = rows.iter().map(|row| u64::from(row.samples)).sum();
        if self.drops.add(reason, rows.len() as u64, samples, Instant::now()) {
            let class = self.class.word();
            tracing::error!(
                class,
                ?reason,
                "what comes cannot be kept and is dropped; raise buffer.max_size, restore the link or check the disk"
            );
        }
    }

    /// What fell off the oldest end since the last look, settled or not.
    pub(super) fn count_evicted(&mut self) {
        let first = self.buffer.first_seq();
        if first <= self.first {
            return;
        }
        self.first = first;
        let lost = self.book.evicted(first - 1);
        if let Some((device, _)) = lost.iter().max_by_key(|(_, lost)| (lost.samples, lost.rows)) {
            let (class, devices) = (self.class.word(), lost.len());
            let (rows, samples) = lost
                .iter()
                .fold((0, 0), |(rows, samples), (_, lost)| (rows + lost.rows, samples + lost.samples));
            self.drops.add(Reason::Oldest, rows, samples, Instant::now());
            tracing::error!(class, %device, devices, rows, samples, "buffer is full: oldest samples dropped; raise buffer.max_size or restore the link");
            // at once, so that a kill does not forget the loss
            self.write_cursor();
        }
    }

    /// What is damaged will never come: its segments are counted anew, so that nothing waits for it, whoever
    /// met the damage first. One that cannot be read now is tried again later.
    pub(super) fn count_damage(&mut self) {
        say_damage(&self.dir, &self.buffer.take_damage());
        if self.recounts.not_before.is_some_and(|moment| Instant::now() < moment) {
            return;
        }
        self.recounts.not_before = None;
        let damaged = self.buffer.damaged();
        self.recounts.done.retain(|first_seq, _| damaged.iter().any(|one| one.0 == *first_seq));
        let mut tried = BTreeSet::new();
        // counting one may find more damage, also in one that was counted before
        while let Some((first_seq, next_seq)) = self.to_recount(&tried) {
            tried.insert(first_seq);
            self.recount(first_seq, next_seq);
        }
    }

    fn to_recount(&self, tried: &BTreeSet<u64>) -> Option<(u64, u64)> {
        let damaged = self.buffer.damaged().into_iter();
        let mut anew = damaged.filter(|(first_seq, _, records)| {
            self.recounts.done.get(first_seq) != Some(records) && !tried.contains(first_seq)
        });
        anew.next().map(|(first_seq, next_seq, _)| (first_seq, next_seq))
    }

    fn recount(&mut self, first_seq: u64, next_seq: u64) {
        let mut left: Vec<(u64, Arc<str>, u32)> = Vec::new();
        let read = read_segment(&mut self.buffer, first_seq, next_seq, |seq, device, samples| {
            left.push((seq, device.clone(), samples));
        });
        say_damage(&self.dir, &self.buffer.take_damage());
        if let Err(error) = read {
            tracing::error!(segment = first_seq, %error, "a damaged segment cannot be counted anew; it is tried again");
            self.recounts.not_before = Some(Instant::now() + RECOUNT_PAUSE);
            return;
        }
        let now = self.buffer.damaged().into_iter().find(|one| one.0 == first_seq);
        self.recounts.done.insert(first_seq, now.map_or(0, |(_, _, records)| records));
        for (device, samples) in self.book.recount(first_seq, &left) {
            tracing::error!(%device, segment = first_seq, samples, "samples are lost: their records are damaged");
            self.check(&device);
        }
    }
}
