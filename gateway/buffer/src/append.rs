//! How a record gets into the newest segment, or begins a new one.
//!
//! Always true: a record is one `write`, so that a kill leaves a whole frame or a torn tail; after an
//! error nothing of it is visible, the file is cut back, and if that fails too the segment is closed;
//! the record's next try goes to memory.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::Error;
use crate::format::{Origin, SegmentHeader, encode_frame, frame_len};
use crate::options::Durability;
use crate::segment::{self, Segment};
use crate::store::{Appended, Buffer, Outcome};

/// Scratch memory kept between appends.
const MAX_SCRATCH: usize = 64 << 10;

impl Buffer {
    /// Stores a record. If it would pass the cap, the oldest segments are evicted or it is refused, as the
    /// options say. After an I/O error nothing of the record is visible, and it is to be appended again: then
    /// memory takes it, where it begins a segment, and all that follow until [`Self::retry`] has worked.
    pub fn append(&mut self, origin: Option<Origin>, payload: &[u8]) -> Result<Appended, Error> {
        if payload.len() > self.limits.max_payload {
            return Err(Error::PayloadTooLarge { len: payload.len(), max: self.limits.max_payload });
        }
        if origin.is_some_and(|origin| self.origins.is_double(&origin)) {
            self.counts.doubles += 1;
            return Ok(Appended { outcome: Outcome::Double, evicted: Vec::new() });
        }
        if self.in_memory {
            return Ok(self.append_to_memory(origin, payload));
        }
        self.append_to_disk(origin, payload).inspect_err(|_| self.go_to_memory())
    }

    pub(crate) fn refuse(&mut self) -> Appended {
        self.counts.refused_records += 1;
        Appended { outcome: Outcome::Refused, evicted: Vec::new() }
    }

    fn append_to_disk(&mut self, origin: Option<Origin>, payload: &[u8]) -> Result<Appended, Error> {
        let frame = frame_len(origin.is_some(), payload.len());
        let Some(evicted) = self.make_room(frame as u64, payload.len())? else {
            return Ok(self.refuse());
        };
        let seq = self.next_seq;
        let mut bytes = std::mem::take(&mut self.scratch);
        let written = if self.starts_segment(payload.len()) {
            self.append_to_new(&mut bytes, seq, origin, payload)
        } else {
            encode_frame(seq, origin, payload, &mut bytes);
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

    /// Largest payload [`Self::append`] takes: 1 MiB, less if the cap is small.
    #[must_use]
    pub fn max_payload(&self) -> usize {
        self.limits.max_payload
    }

    /// Whether a record with a payload of this size would begin a new segment if appended next; the same
    /// answer with and without an origin, so that it can be asked before one is known.
    #[must_use]
    pub fn starts_segment(&self, payload_len: usize) -> bool {
        let frame = frame_len(true, payload_len) as u64;
        let Some(newest) = self.segments.back() else { return true };
        let limit = match (&self.active, &newest.held) {
            (Some(_), _) => self.limits.segment_bytes,
            (None, Some(_)) if self.in_memory => self.limits.memory_segment_bytes,
            (None, _) => return true,
        };
        // one without a record is begun again, so that whoever asks knows where a segment begins
        newest.end == newest.data_start || newest.end + frame > limit
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
            return Err(Error::write(&segment::path(&self.dir, first_seq))(error));
        }
        self.grow_newest(frame.len() as u64);
        self.pending.wrote(&self.dir, first_seq, &file);
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
        origin: Option<Origin>,
        payload: &[u8],
    ) -> Result<(), Error> {
        if self.pending.is_full() {
            self.sync()?;
        }
        self.active = None;
        let data_start = self.encode_header(seq, bytes);
        encode_frame(seq, origin, payload, bytes);
        let path = segment::path(&self.dir, seq);
        let file = Arc::new(segment::create(&path)?);
        // A segment that never got a record had this name, and is emptied now.
        if let Some(empty) = self.segments.pop_back_if(|newest| newest.first_seq == seq) {
            self.segment_bytes -= empty.len;
            self.forget_file(seq);
        }
        if let Err(error) = file.write_all_at(bytes, 0) {
            let _ = file.set_len(0);
            let _ = segment::remove(&path);
            return Err(Error::write(&path)(error));
        }
        let len = bytes.len() as u64;
        self.segments.push_back(Segment::new(seq, seq + 1, data_start, len));
        self.segment_bytes += len;
        self.space.wrote(len);
        self.active = Some(file.clone());
        self.pending.wrote(&self.dir, seq, &file);
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

    /// When no segment is left: one without a record, which remembers the numbering and the senders until
    /// the next record begins it again.
    pub(crate) fn keep_numbers(&mut self) {
        let seq = self.next_seq;
        if !self.segments.is_empty() || seq == 1 {
            return;
        }
        let mut bytes = Vec::new();
        let data_start = self.encode_header(seq, &mut bytes);
        let path = segment::path(&self.dir, seq);
        let written = segment::create(&path).and_then(|file| {
            file.write_all_at(&bytes, 0).map_err(Error::write(&path)).map(|()| Arc::new(file))
        });
        match written {
            Ok(file) => {
                self.segments.push_back(Segment::new(seq, seq, data_start, data_start));
                self.segment_bytes += data_start;
                self.pending.wrote(&self.dir, seq, &file);
                self.pending.created();
            }
            Err(error) => {
                let _ = segment::remove(&path);
                tracing::warn!(%error, "numbering is not on disk before the next record is");
            }
        }
    }

    /// The header of a segment that begins with `seq`, and its length.
    pub(crate) fn encode_header(&self, seq: u64, out: &mut Vec<u8>) -> u64 {
        let previous = self.segments.iter().rev().find(|segment| segment.first_seq < seq);
        let previous = previous.map(Segment::as_previous);
        SegmentHeader { first_seq: seq, previous, origins: self.origins.snapshot() }.encode(out);
        out.len() as u64
    }

    pub(crate) fn sync_if_each(&mut self) -> Result<(), Error> {
        if self.durability == Durability::Each { self.sync() } else { Ok(()) }
    }

    fn grow_newest(&mut self, by: u64) {
        let newest = self.segments.back_mut().expect("an active segment is in the list");
        newest.end += by;
        newest.len += by;
        newest.next_seq = self.next_seq + 1;
        self.segment_bytes += by;
        self.space.wrote(by);
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
