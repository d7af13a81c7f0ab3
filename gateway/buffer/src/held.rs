//! Records that the disk does not take, in memory until it does.
//!
//! Always true: what is held is whole segments, byte by byte as their files are going to be, and they
//! are the newest; together they take at most the memory of [`crate::options`], the oldest of them is
//! dropped first, or the newest refused. They are lost if the process ends before the disk takes data again.

use std::os::unix::fs::FileExt;
use std::sync::Arc;

use crate::error::Error;
use crate::format::{FrameHead, Origin, SegmentHeader, encode_frame, frame_len};
use crate::options::{MAX_PAYLOAD, WhenFull};
use crate::reader::Record;
use crate::segment::{self, Segment};
use crate::store::{Appended, Buffer, Evicted, Outcome};

impl Buffer {
    /// Whether records are taken into memory, because the disk took none when it was last tried.
    #[must_use]
    pub fn in_memory(&self) -> bool {
        self.in_memory
    }

    /// Writes what is held in memory, after what opening could not do; from then on the disk takes records
    /// again. After an error what is not written stays in memory, and this may be tried again. Free when
    /// nothing is held.
    pub fn retry(&mut self) -> Result<(), Error> {
        self.finish_opening()?;
        while let Some(index) = self.first_held() {
            let len = self.segments[index].len;
            self.evict_until_fits(|_| len)?;
            self.write_first_held()?;
        }
        self.in_memory = false;
        Ok(())
    }

    /// The disk did not take a record: from now on memory does, in a segment of its own.
    pub(crate) fn go_to_memory(&mut self) {
        self.in_memory = true;
        self.active = None;
    }

    pub(crate) fn append_to_memory(&mut self, origin: Option<Origin>, payload: &[u8]) -> Appended {
        let seq = self.next_seq;
        let begins = self.starts_segment(payload.len());
        let frame = frame_len(origin.is_some(), payload.len());
        let header = if begins { SegmentHeader::len_with(self.origins.len()) } else { 0 };
        let need = (header + frame) as u64;
        if self.when_full == WhenFull::DropNewest && !self.memory_has_room(need) {
            return self.refuse();
        }
        let evicted = self.make_memory(need);
        if begins {
            let mut bytes =
                Vec::with_capacity((header + frame).max(self.limits.memory_segment_bytes as usize));
            let data_start = self.encode_header(seq, &mut bytes);
            self.held_bytes += data_start;
            let mut segment = Segment::new(seq, seq, data_start, data_start);
            segment.held = Some(bytes);
            self.segments.push_back(segment);
        }
        let newest = self.segments.back_mut().expect("one was begun");
        let bytes = newest.held.as_mut().expect("while in memory the newest segment is held");
        encode_frame(seq, origin, payload, bytes);
        newest.len = bytes.len() as u64;
        (newest.end, newest.next_seq) = (newest.len, seq + 1);
        self.held_bytes += frame as u64;
        self.next_seq = seq + 1;
        if let Some(origin) = origin {
            self.origins.note(origin, seq);
        }
        Appended { outcome: Outcome::Stored { seq }, evicted }
    }

    /// So much more has a place in memory, and on the disk once that takes it.
    fn memory_has_room(&self, need: u64) -> bool {
        let held = self.held_bytes + need;
        held <= self.limits.memory_bytes && self.claimed() + held <= self.limits.max_bytes
    }

    /// Drops the oldest that is held until so many bytes more have a place.
    fn make_memory(&mut self, need: u64) -> Vec<Evicted> {
        let mut evicted = Vec::new();
        while self.held_bytes + need > self.limits.memory_bytes {
            let Some(oldest) = self.first_held().and_then(|index| self.segments.remove(index)) else { break };
            self.held_bytes -= oldest.len;
            // rather the oldest on disk than the newest: the next try makes room for them anew
            self.space.forget();
            let gone = self.lost_with(&oldest);
            evicted.push(self.count(gone));
        }
        evicted
    }

    fn first_held(&self) -> Option<usize> {
        let index = self.segments.partition_point(|segment| segment.held.is_none());
        (index < self.segments.len()).then_some(index)
    }

    fn write_first_held(&mut self) -> Result<(), Error> {
        if self.pending.is_full() {
            self.sync()?;
        }
        let Some(index) = self.first_held() else { return Ok(()) };
        let (first_seq, len) = (self.segments[index].first_seq, self.segments[index].len);
        let path = segment::path(&self.dir, first_seq);
        let file = Arc::new(segment::create(&path)?);
        let bytes = self.segments[index].held.as_deref().unwrap_or_default();
        let written = file.write_all_at(bytes, 0).map_err(Error::write(&path));
        let written = written.and_then(|()| {
            self.pending.wrote(&self.dir, first_seq, &file);
            self.pending.created();
            self.sync_if_each()
        });
        if let Err(error) = written {
            self.forget_file(first_seq);
            let _ = file.set_len(0);
            let _ = segment::remove(&path);
            return Err(error);
        }
        self.segments[index].held = None;
        self.held_bytes -= len;
        self.segment_bytes += len;
        self.space.wrote(len);
        if index + 1 == self.segments.len() {
            self.active = Some(file);
        }
        // A segment that never got a record had this name, and its file is this one now.
        if index > 0 && self.segments[index - 1].first_seq == first_seq {
            self.segment_bytes -= self.segments[index - 1].len;
            self.segments.remove(index - 1);
        }
        Ok(())
    }
}

/// Adds records of a held segment from number `from` on, payloads of `left` bytes together; `true`: there
/// are more.
pub(crate) fn read(
    segment: &[u8],
    data_start: u64,
    from: u64,
    left: &mut usize,
    records: &mut Vec<Record>,
) -> bool {
    let mut at = data_start as usize;
    while let Some(head) = segment.get(at..).and_then(|bytes| FrameHead::decode(bytes, MAX_PAYLOAD)) {
        let frame = &segment[at..at + head.frame_len()];
        at += head.frame_len();
        if head.seq < from {
            continue;
        }
        if !records.is_empty() && head.payload_len() > *left {
            return true;
        }
        *left = left.saturating_sub(head.payload_len());
        if let Some((origin, payload)) = head.open(frame) {
            records.push(Record { seq: head.seq, origin, payload: payload.to_vec() });
        }
    }
    false
}
