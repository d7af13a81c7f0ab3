//! The buffer: append, evict, release.
//!
//! Always true: a record is either whole and visible or not there at all; numbers rise by one and are
//! never given twice while their record may have been seen; the sum of all file lengths never passes
//! the cap; the newest segment stays, because it remembers the senders and the numbering.

use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::aside::Aside;
use crate::cursor::{self, Cursor, CursorFile};
use crate::error::Error;
use crate::format::{Class, Origin, SegmentHeader, encode_frame, frame_len};
use crate::lock::Lock;
use crate::options::{Durability, Limits};
use crate::origins::Origins;
use crate::reader::{Damage, Reader};
use crate::segment::{self, Segment};
use crate::sync::Pending;

/// Scratch memory kept between appends.
const MAX_SCRATCH: usize = 64 << 10;

/// Store and forward of opaque bytes; one owner, on a thread that may block.
#[derive(Debug)]
pub struct Buffer {
    pub(crate) dir: PathBuf,
    pub(crate) payload: PathBuf,
    pub(crate) limits: Limits,
    pub(crate) durability: Durability,
    /// Held for as long as the buffer is open.
    pub(crate) _lock: Lock,
    /// Oldest first.
    pub(crate) segments: VecDeque<Segment>,
    /// The newest segment's file; `None`: the next append begins a new one.
    pub(crate) active: Option<Arc<File>>,
    pub(crate) next_seq: u64,
    pub(crate) origins: Origins,
    pub(crate) cursor_file: CursorFile,
    pub(crate) aside: Aside,
    pub(crate) pending: Pending,
    pub(crate) reader: Option<Reader>,
    pub(crate) damage: VecDeque<Damage>,
    pub(crate) counts: Counts,
    /// Lengths of all segment files.
    pub(crate) segment_bytes: u64,
    pub(crate) scratch: Vec<u8>,
}

/// Running totals since open.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) evicted_records: u64,
    pub(crate) evicted_bytes: u64,
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
}

/// A segment that was removed to make room, as far as it was not settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evicted {
    /// First record lost; the cursor's floor if records below it went, too.
    pub first_seq: u64,
    /// Last record that went.
    pub last_seq: u64,
    /// Records lost: those at or above the cursor's floor.
    pub records: u64,
    /// Bytes freed.
    pub bytes: u64,
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
    /// Records held, settled ones included until their segment goes.
    pub records: u64,
    /// Segment files.
    pub segments: u64,
    /// Oldest record held.
    pub first_seq: u64,
    /// The next record's number.
    pub next_seq: u64,
    /// Unsettled records removed to make room, since open.
    pub evicted_records: u64,
    /// Bytes removed to make room, since open.
    pub evicted_bytes: u64,
    /// Records found damaged, since open.
    pub damaged_records: u64,
    /// Doubles not stored, since open.
    pub doubles: u64,
}

impl Buffer {
    /// Stores a record, evicting the oldest segments if it would pass the cap. After an error nothing of
    /// the record is visible and it may be appended again.
    pub fn append(
        &mut self,
        class: Class,
        origin: Option<Origin>,
        payload: &[u8],
    ) -> Result<Appended, Error> {
        if payload.len() > self.limits.max_payload {
            return Err(Error::PayloadTooLarge { len: payload.len(), max: self.limits.max_payload });
        }
        if origin.is_some_and(|origin| self.origins.is_double(&origin)) {
            self.counts.doubles += 1;
            return Ok(Appended { outcome: Outcome::Double, evicted: Vec::new() });
        }
        let frame = frame_len(origin.is_some(), payload.len());
        let evicted = self.make_room(frame as u64, payload.len())?;
        let seq = self.next_seq;
        let mut bytes = std::mem::take(&mut self.scratch);
        let written = if self.begins_segment(payload.len()) {
            self.append_to_new(&mut bytes, seq, class, origin, payload)
        } else {
            encode_frame(seq, class, origin, payload, &mut bytes);
            self.append_to_active(&bytes)
        };
        bytes.clear();
        bytes.shrink_to(MAX_SCRATCH);
        self.scratch = bytes;
        written?;
        self.next_seq = seq + 1;
        if let Some(origin) = origin {
            self.origins.note(origin, seq);
        }
        Ok(Appended { outcome: Outcome::Stored { seq }, evicted })
    }

    /// Whether a record with a payload of this size would begin a new segment if appended next.
    #[must_use]
    pub fn starts_segment(&self, _class: Class, payload_len: usize) -> bool {
        self.begins_segment(payload_len)
    }

    /// Largest payload [`Self::append`] takes: 1 MiB, less if the cap is small.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.limits.max_payload
    }

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
            records: self.segments.iter().map(Segment::records).sum(),
            segments: self.segments.len() as u64,
            first_seq: self.first_seq(),
            next_seq: self.next_seq,
            evicted_records: self.counts.evicted_records,
            evicted_bytes: self.counts.evicted_bytes,
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

    /// Evicts until a frame of this length, with such a payload, fits below the cap.
    pub(crate) fn make_room(&mut self, frame: u64, payload_len: usize) -> Result<Vec<Evicted>, Error> {
        let mut evicted = Vec::new();
        loop {
            let header = SegmentHeader::len_with(self.origins.len()) as u64;
            let need = if self.begins_segment(payload_len) { header + frame } else { frame };
            if self.bytes() + need <= self.limits.max_bytes {
                return Ok(evicted);
            }
            let Some(oldest) = self.segments.front() else {
                return Err(Error::NoRoom { dir: self.dir.clone(), need });
            };
            let first_seq = oldest.first_seq.max(self.cursor().floor).min(oldest.next_seq);
            let records = oldest.records().min(oldest.next_seq - first_seq);
            let last_seq = oldest.next_seq.saturating_sub(1).max(oldest.first_seq);
            let bytes = self.remove_oldest()?;
            self.counts.evicted_records += records;
            self.counts.evicted_bytes += bytes;
            evicted.push(Evicted { first_seq, last_seq, records, bytes });
        }
    }

    /// Unlinks the oldest segment; everything that keeps its blocks is let go.
    fn remove_oldest(&mut self) -> Result<u64, Error> {
        let Some(oldest) = self.segments.front() else { return Ok(0) };
        let (first_seq, len) = (oldest.first_seq, oldest.len);
        segment::remove(&segment::path(&self.payload, first_seq))?;
        self.forget_file(first_seq);
        self.segments.pop_front();
        if self.segments.is_empty() {
            self.active = None;
        }
        self.segment_bytes -= len;
        Ok(len)
    }

    fn forget_file(&mut self, first_seq: u64) {
        self.pending.forget(first_seq);
        if self.reader.as_ref().is_some_and(|reader| reader.segment() == first_seq) {
            self.reader = None;
        }
    }

    /// The same answer with and without an origin, so that it can be asked before one is known.
    fn begins_segment(&self, payload_len: usize) -> bool {
        let frame = frame_len(true, payload_len) as u64;
        match (&self.active, self.segments.back()) {
            (Some(_), Some(newest)) => {
                // the first record fits whatever its size
                newest.end + frame > self.limits.segment_bytes && newest.end > newest.data_start
            }
            _ => true,
        }
    }

    fn append_to_active(&mut self, frame: &[u8]) -> Result<(), Error> {
        let (Some(file), Some(newest)) = (self.active.clone(), self.segments.back()) else {
            unreachable!("an append begins a segment when none is active")
        };
        let (first_seq, end) = (newest.first_seq, newest.end);
        // One write, so that a kill leaves a whole frame or a torn tail.
        if let Err(error) = file.write_all_at(frame, end) {
            if file.set_len(end).is_err() {
                self.active = None;
                self.measure_newest(&file, frame.len() as u64);
            }
            return Err(Error::write(&segment::path(&self.payload, first_seq))(error));
        }
        self.grow_newest(frame.len() as u64);
        self.pending.wrote(&self.payload, first_seq, &file);
        self.sync_if_each().inspect_err(|_| {
            // The segment is closed by the failed sync; what it holds of this record must not count.
            self.active = None;
            let cut = file.set_len(end).is_ok();
            self.shrink_newest(frame.len() as u64);
            if !cut {
                self.measure_newest(&file, frame.len() as u64);
            }
        })
    }

    fn append_to_new(
        &mut self,
        bytes: &mut Vec<u8>,
        seq: u64,
        class: Class,
        origin: Option<Origin>,
        payload: &[u8],
    ) -> Result<(), Error> {
        if self.pending.is_full() {
            self.sync()?;
        }
        self.active = None;
        // A segment that never got a record has the name we need.
        if let Some(empty) = self.segments.pop_back_if(|newest| newest.first_seq == seq) {
            self.segment_bytes -= empty.len;
            self.forget_file(seq);
        }
        let previous = self.segments.back().map(Segment::as_previous);
        SegmentHeader { first_seq: seq, previous, origins: self.origins.snapshot() }.encode(bytes);
        let data_start = bytes.len() as u64;
        encode_frame(seq, class, origin, payload, bytes);
        let path = segment::path(&self.payload, seq);
        let file = Arc::new(segment::create(&path)?);
        if let Err(error) = file.write_all_at(bytes, 0) {
            let _ = file.set_len(0);
            let _ = segment::remove(&path);
            return Err(Error::write(&path)(error));
        }
        let len = bytes.len() as u64;
        self.segments.push_back(Segment::new(seq, seq + 1, data_start, len));
        self.segment_bytes += len;
        self.active = Some(file.clone());
        self.pending.wrote(&self.payload, seq, &file);
        self.pending.created();
        self.sync_if_each().inspect_err(|_| {
            self.active = None;
            self.forget_file(seq);
            let _ = file.set_len(0);
            let _ = segment::remove(&path);
            self.segments.pop_back();
            self.segment_bytes -= len;
        })
    }

    fn sync_if_each(&mut self) -> Result<(), Error> {
        if self.durability == Durability::Each { self.sync() } else { Ok(()) }
    }

    fn grow_newest(&mut self, by: u64) {
        let newest = self.segments.back_mut().expect("an active segment is in the list");
        newest.end += by;
        newest.len += by;
        newest.next_seq = self.next_seq + 1;
        self.segment_bytes += by;
    }

    fn shrink_newest(&mut self, by: u64) {
        let newest = self.segments.back_mut().expect("an active segment is in the list");
        newest.end -= by;
        newest.len -= by;
        newest.next_seq = self.next_seq;
        self.segment_bytes -= by;
    }

    /// The newest file could not be cut back: what it really takes, `at_most` more than was good.
    fn measure_newest(&mut self, file: &File, at_most: u64) {
        let newest = self.segments.back_mut().expect("an active segment is in the list");
        let len = file.metadata().map_or(newest.end + at_most, |meta| meta.len());
        self.segment_bytes = self.segment_bytes - newest.len + len;
        newest.len = len;
    }
}
