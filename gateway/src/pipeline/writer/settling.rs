//! What became of rows, and how far that is written down.
//!
//! Always true: what the book knows is in the cursor or on its way there; a disk that does not take it is said.

use sagoo_edge_buffer::Cursor;
use sagoo_edge_proto::clock;

use super::super::handle::{SaidAhead, Settled};
use super::Writer;

impl Writer {
    /// What became of rows of this class.
    pub fn settle(&mut self, one: &Settled) {
        let lost = self.book.settled(&one.device, one.seq, one.samples, one.fate);
        if lost > 0 {
            tracing::error!(device = %one.device, before_seq = one.seq, samples = lost, "samples are lost: their records are damaged");
        }
        self.check(&one.device);
        self.unwritten_cursor = true;
    }

    /// What was answered before its turn.
    pub fn said_ahead(&mut self, one: &SaidAhead) {
        self.book.said_ahead(&one.device, one.range);
        self.unwritten_cursor = true;
    }

    /// If it is behind.
    pub fn write_unwritten_cursor(&mut self) {
        if self.unwritten_cursor {
            self.write_cursor();
        }
    }

    /// Brings the cursor on disk up to the book.
    pub fn write_cursor(&mut self) {
        self.write_last_cursor(false);
    }

    pub(super) fn write_last_cursor(&mut self, stopped: bool) {
        self.unwritten_cursor = false;
        let next_seq = self.buffer.next_seq();
        let floor = self.book.floor(next_seq);
        let cursor = Cursor { floor, detail: self.book.detail(next_seq, clock::boot_id(), stopped) };
        if let Err(error) = self.buffer.advance(cursor) {
            self.unwritten_cursor = true;
            self.trouble.say(&error);
        }
    }
}
