//! What is read back of a class, and from where.
//!
//! Always true: nothing at or past the head is read; what cannot be read is said once.

use sagoo_edge_buffer::{Error, Record};

use super::Writer;
use crate::pipeline::handle::{Resume, Stored};

impl Writer {
    /// Records from `from` to the head, in order; `None`: they cannot be read now, which is said once.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Option<Vec<Stored>> {
        let mut records = self.buffer.read(from, max_bytes);
        if let Err(error) = &records {
            if self.unreadable.failed(from, error.to_string()) {
                tracing::error!(from, %error, "stored rows cannot be read; they are kept and tried again");
            }
            // a disk that takes no data either may have been pulled, and come back
            if !self.in_memory() && self.unreadable.is_hopeless(from) {
                records = self.read_what_can_be(from, max_bytes);
            }
        }
        self.count_damage();
        let records = records.ok()?;
        if self.unreadable.worked(from) {
            tracing::info!(from, "stored rows can be read again");
        }
        let end = self.head.end();
        let readable = records.into_iter().take_while(|one| one.seq < end);
        Some(readable.map(|one| Stored { seq: one.seq, payload: one.payload }).collect())
    }

    fn read_what_can_be(&mut self, from: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        self.buffer.give_up_unreadable(true);
        let records = self.buffer.read(from, max_bytes);
        self.buffer.give_up_unreadable(false);
        if records.is_ok() {
            tracing::error!(
                from,
                "stored rows could not be read for a minute, those are given up; replace the disk"
            );
        }
        records
    }

    /// Where the forwarder begins.
    pub fn resume(&mut self) -> Resume {
        let floor = self.book.floor(self.buffer.next_seq());
        let from = self.begins(floor);
        let ahead = self.book.ahead().map(|(device, ranges)| (device.clone(), ranges)).collect();
        Resume { from, positions: self.book.positions(), ahead }
    }

    /// The first record of the segment with this one.
    pub fn begins(&self, seq: u64) -> u64 {
        self.buffer.segment_start(seq).unwrap_or(seq)
    }
}
