//! What the writer cannot keep: counted in the book, by reason, and said.
//!
//! Always true: whatever is lost here is in the ledger and under one reason in [`super::super::drops`].

use tokio::time::Instant;

use super::super::drops::Reason;
use super::super::unwritten::Unwritten;
use super::Writer;
use crate::row::Row;
use crate::status::Dropped;

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
}
