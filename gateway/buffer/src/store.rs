//! The buffer: what it is made of, how far it is settled, and what goes to make room.
//!
//! Always true: a record is either whole and visible or not there at all; numbers rise by one and are
//! never given twice while their record may have been seen; the sum of all file lengths never passes
//! the cap; the newest segment stays, because it remembers the senders and the numbering.

use std::collections::VecDeque;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::aside::Aside;
use crate::cursor::{self, Cursor, CursorFile};
use crate::error::Error;
use crate::format::SegmentHeader;
use crate::late::Late;
use crate::lock::Lock;
use crate::options::{Durability, Limits, WhenFull};
use crate::origins::Origins;
use crate::reader::{Damage, Reader};
use crate::segment::{self, Segment};
use crate::space::Space;
use crate::sync::Pending;

/// Store and forward of opaque bytes; one owner, on a thread that may block.
#[derive(Debug)]
pub struct Buffer {
    pub(crate) dir: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    pub(crate) when_full: WhenFull,
    /// Held for as long as the buffer is open; `None`: there is no directory yet.
    pub(crate) lock: Option<Lock>,
    /// What opening has left undone, because the disk took no data.
    pub(crate) late: Option<Late>,
    /// Oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// The newest segment's file; `None`: the next append begins a new one, on disk or in memory.
    pub(crate) active: Option<Arc<File>>,
    pub(crate) next_seq: u64,
    pub(crate) origins: Origins,
    pub(crate) cursor_file: CursorFile,
    pub(crate) aside: Aside,
    pub(crate) pending: Pending,
    pub(crate) reader: Option<Reader>,
    /// See [`Buffer::give_up_unreadable`].
    pub(crate) gives_up: bool,
    pub(crate) damage: VecDeque<Damage>,
    pub(crate) counts: Counts,
    /// Lengths of all segment files.
    pub(crate) segment_bytes: u64,
    /// The disk takes no records: memory does.
    pub(crate) in_memory: bool,
    /// Lengths of all segments held in memory.
    pub(crate) held_bytes: u64,
    pub(crate) space: Space,
    pub(crate) scratch: Vec<u8>,
}

/// Running totals since open.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) evicted_records: u64,
    pub(crate) evicted_bytes: u64,
    pub(crate) refused_records: u64,
    pub(crate) damaged_records: u64,
    pub(crate) doubles: u64,
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// Whether the record was new.
    pub outcome: Outcome,
    /// What had to go to make room, oldest first.
    pub evicted: Vec<Evicted>,
}

/// What became of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the buffer.
    Stored {
        /// Its number.
        seq: u64,
    },
    /// Its origin was stored before, nothing was written.
    Double,
    /// The buffer is full and keeps what it has ([`WhenFull::DropNewest`]); nothing was written.
    Refused,
}

/// A segment that was dropped to make room, as far as it was not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// The segment's first number.
    pub segment: u64,
    /// First record lost; the cursor's floor if records below it went, too.
    pub first_seq: u64,
    /// Last record that went.
    pub last_seq: u64,
    /// Records lost: those at or above the cursor's floor.
    pub records: u64,
    /// Bytes freed.
    pub bytes: u64,
    /// It fell out of memory, while the disk took no data; older ones may still be on disk.
    pub unwritten: bool,
}

/// What moving the cursor freed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Released {
    /// Segments removed.
    pub segments: u64,
    /// Bytes freed.
    pub bytes: u64,
}

/// The buffer in numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Sum of all file lengths.
    pub bytes: u64,
    /// Bytes in memory, because the disk takes no data.
    pub memory_bytes: u64,
    /// Records on disk and in memory, settled ones included until their segment goes.
    pub records: u64,
    /// Segments they lie in.
    pub segments: u64,
    /// Oldest record held.
    pub first_seq: u64,
    /// The next record's number.
    pub next_seq: u64,
    /// Unsettled records removed to make room, since open.
    pub evicted_records: u64,
    /// Bytes removed to make room, since open.
    pub evicted_bytes: u64,
    /// Records refused because there was no room, since open.
    pub refused_records: u64,
    /// Records found damaged, since open.
    pub damaged_records: u64,
    /// Doubles not stored, since open.
    pub doubles: u64,
}

impl Buffer {
    /// Number of the last record taken from this sender, if it is among the 64 heard last.
    #[must_use]
    pub fn last_seq_of(&self, instance: &[u8; 16]) -> Option<u64> {
        self.origins.last_seq_of(instance)
    }

    /// The number the next record gets.
    #[must_use]
    pub fn next_seq(&self) -> u64 {
        self.next_seq
    }

    /// The oldest record held, settled or not; [`Self::next_seq`] if there is none.
    #[must_use]
    pub fn first_seq(&self) -> u64 {
        self.segments.iter().find(|segment| segment.records() > 0).map_or(self.next_seq, |one| one.first_seq)
    }

    /// Of each segment that got a record, oldest first, its first number and the one past its last.
    #[must_use]
    pub fn segments(&self) -> Vec<(u64, u64)> {
        let got = self.segments.iter().filter(|segment| segment.first_seq < segment.next_seq);
        got.map(|segment| (segment.first_seq, segment.next_seq)).collect()
    }

    /// Of each segment with damage, as far as it was met, oldest first: its first number, the one past its
    /// last, and how many records are lost there. What is reported ([`Self::take_damage`]) is reported once;
    /// this stays.
    #[must_use]
    pub fn damaged(&self) -> Vec<(u64, u64, u64)> {
        let damaged = self.segments.iter().filter(|segment| segment.damaged > 0);
        damaged.map(|segment| (segment.first_seq, segment.next_seq, segment.damaged)).collect()
    }

    /// First number of the segment that holds `seq`, or for the next record: would hold it if it went to
    /// the newest one. Reading has to begin there to understand it. `None`: evicted, or not yet given.
    #[must_use]
    pub fn segment_start(&self, seq: u64) -> Option<u64> {
        if seq > self.next_seq {
            return None;
        }
        let after = self.segments.partition_point(|segment| segment.first_seq <= seq);
        Some(self.segments.get(after.checked_sub(1)?)?.first_seq)
    }

    /// How far the records are settled.
    #[must_use]
    pub fn cursor(&self) -> &Cursor {
        self.cursor_file.get()
    }

    /// Moves the cursor and removes every segment wholly below its floor but the newest. Written at once,
    /// synced with the next sync. After an I/O error the cursor holds in memory and is written by the
    /// next sync.
    pub fn advance(&mut self, cursor: Cursor) -> Result<Released, Error> {
        let (floor, current) = (cursor.floor, self.cursor().floor);
        if floor < current || floor > self.next_seq {
            return Err(Error::CursorOutOfRange { floor, current, next_seq: self.next_seq });
        }
        if cursor.detail.len() > cursor::MAX_DETAIL {
            return Err(Error::DetailTooLarge { len: cursor.detail.len(), max: cursor::MAX_DETAIL });
        }
        let written = self.cursor_file.set(cursor);
        self.pending.dirty();
        let released = self.release()?;
        written.map(|()| released)
    }

    /// The buffer in numbers.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            bytes: self.bytes(),
            memory_bytes: self.held_bytes,
            records: self.segments.iter().map(Segment::records).sum(),
            segments: self.segments.len() as u64,
            first_seq: self.first_seq(),
            next_seq: self.next_seq,
            evicted_records: self.counts.evicted_records,
            evicted_bytes: self.counts.evicted_bytes,
            refused_records: self.counts.refused_records,
            damaged_records: self.counts.damaged_records,
            doubles: self.counts.doubles,
        }
    }

    /// Sum of all file lengths.
    pub(crate) fn bytes(&self) -> u64 {
        self.segment_bytes + self.cursor_file.len() + self.aside.bytes()
    }

    /// Removes segments below the floor, which takes no space and works on a full disk.
    pub(crate) fn release(&mut self) -> Result<Released, Error> {
        let mut released = Released::default();
        while self.segments.len() > 1 && self.segments[0].next_seq <= self.cursor().floor {
            released.bytes += self.remove_oldest()?;
            released.segments += 1;
        }
        Ok(released)
    }

    /// What counts against the cap: the sum of all file lengths, and what is promised to the cursor.
    pub(crate) fn claimed(&self) -> u64 {
        self.segment_bytes + self.cursor_file.reserved() + self.aside.bytes()
    }

    /// Makes a frame of this length, with such a payload, fit below the cap; `None`: it does not, and
    /// nothing is evicted for it.
    pub(crate) fn make_room(
        &mut self,
        frame: u64,
        payload_len: usize,
    ) -> Result<Option<Vec<Evicted>>, Error> {
        let need = |buffer: &Self| {
            let header = SegmentHeader::len_with(buffer.origins.len()) as u64;
            if buffer.starts_segment(payload_len) { header + frame } else { frame }
        };
        if self.when_full == WhenFull::DropNewest && self.claimed() + need(self) > self.limits.max_bytes {
            return Ok(None);
        }
        self.evict_until_fits(need).map(Some)
    }

    /// Evicts until what is needed fits below the cap; what is needed may change with every segment that goes.
    pub(crate) fn evict_until_fits(&mut self, need: impl Fn(&Self) -> u64) -> Result<Vec<Evicted>, Error> {
        let mut evicted = Vec::new();
        loop {
            let need = need(self);
            let fits = self.claimed() + need <= self.limits.max_bytes;
            if fits && self.space.has_room(&self.dir, need) {
                return Ok(evicted);
            }
            let on_disk = self.segments.iter().take(2).filter(|segment| segment.held.is_none()).count();
            // the newest on disk remembers the senders and the numbering
            if fits && (on_disk < 2 || self.when_full == WhenFull::DropNewest) {
                return Err(Error::NoSpace { dir: self.dir.clone(), reserve: self.space.reserve() });
            }
            let Some(oldest) = self.segments.front().filter(|_| on_disk > 0) else {
                return Err(Error::NoRoom { dir: self.dir.clone(), need });
            };
            let gone = self.lost_with(oldest);
            self.remove_oldest()?;
            evicted.push(self.count(gone));
        }
    }

    /// What is lost if a segment goes.
    pub(crate) fn lost_with(&self, segment: &Segment) -> Evicted {
        let first_seq = segment.first_seq.max(self.cursor().floor).min(segment.next_seq);
        let records = segment.records().min(segment.next_seq - first_seq);
        let last_seq = segment.next_seq.saturating_sub(1).max(segment.first_seq);
        let (bytes, unwritten) = (segment.len, segment.held.is_some());
        Evicted { segment: segment.first_seq, first_seq, last_seq, records, bytes, unwritten }
    }

    pub(crate) fn count(&mut self, gone: Evicted) -> Evicted {
        self.counts.evicted_records += gone.records;
        self.counts.evicted_bytes += gone.bytes;
        gone
    }

    /// Removes the oldest segment; everything that keeps its blocks is let go.
    fn remove_oldest(&mut self) -> Result<u64, Error> {
        let Some(oldest) = self.segments.front() else { return Ok(0) };
        let (first_seq, len) = (oldest.first_seq, oldest.len);
        if oldest.held.is_some() {
            self.held_bytes -= len;
        } else {
            segment::remove(&segment::path(&self.dir, first_seq))?;
            self.forget_file(first_seq);
            self.segment_bytes -= len;
            self.space.removed(len);
        }
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.active = None;
        }
        Ok(len)
    }

    pub(crate) fn forget_file(&mut self, first_seq: u64) {
        self.pending.forget(first_seq);
        if self.reader.as_ref().is_some_and(|reader| reader.segment() == first_seq) {
            self.reader = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{MIN_MAX_BYTES, Options};

    #[test]
    fn a_cursor_file_that_gets_its_length_late_does_not_pass_the_cap() {
        let dir = tempfile::tempdir().unwrap();
        let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), MIN_MAX_BYTES)).unwrap();
        buffer.cursor_file.shorten();
        while buffer.counts.evicted_records == 0 {
            buffer.append(None, &[7; 5_000]).unwrap();
        }
        assert!(buffer.stats().bytes + cursor::FILE_BYTES <= MIN_MAX_BYTES);
        buffer.advance(Cursor { floor: buffer.first_seq(), detail: Vec::new() }).unwrap();
        assert_eq!(buffer.cursor_file.len(), cursor::FILE_BYTES, "there is room on the disk again");
        assert!(buffer.stats().bytes <= MIN_MAX_BYTES);
    }
}
