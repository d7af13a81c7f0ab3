//! Records in order, damage stepped over.
//!
//! Always true: reading on where the last read ended costs nothing but the new bytes; each damaged
//! place is reported once; a damaged record costs only itself.

use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::format::Origin;
use crate::held;
use crate::scan::{FrameAt, Gap, Scanner, Step};
use crate::segment;
use crate::store::Buffer;

/// Damage reports kept until [`Buffer::take_damage`]; further ones are only counted.
const MAX_DAMAGE: usize = 64;

/// One stored record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Its number.
    pub seq: u64,
    /// As appended.
    pub origin: Option<Origin>,
    /// As appended.
    pub payload: Vec<u8>,
}

/// A place in the store that made no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// First number of the segment.
    pub segment: u64,
    /// Where in its file.
    pub offset: u64,
    /// How many bytes.
    pub bytes: u64,
    /// First record lost, if any was.
    pub first_seq: u64,
    /// Records lost.
    pub records: u64,
    /// Where the bytes were copied to; `None`: no room, or they cannot be read.
    pub set_aside: Option<PathBuf>,
}

/// Where the last read ended.
#[derive(Debug)]
pub(crate) struct Reader {
    segment: u64,
    file: Arc<File>,
    scanner: Scanner,
}

impl Reader {
    pub(crate) fn segment(&self) -> u64 {
        self.segment
    }
}

impl Buffer {
    /// Records from number `from` on, in order, payloads of `max_bytes` together, at least one record if
    /// there is any. What is damaged is stepped over, see [`Self::take_damage`].
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        self.read_to(from, self.next_seq, max_bytes)
    }

    /// The same in the segments before the one that begins with number `to`; those behind are not touched.
    pub fn read_to(&mut self, from: u64, to: u64, max_bytes: usize) -> Result<Vec<Record>, Error> {
        let mut records = Vec::new();
        let mut left = max_bytes;
        let mut from = from;
        while from < to.min(self.next_seq) {
            let index = self.segments.partition_point(|segment| segment.next_seq <= from);
            let Some(segment) = self.segments.get(index) else { break };
            let next_seq = segment.next_seq;
            if let Some(bytes) = &segment.held {
                if held::read(bytes, segment.data_start, from, &mut left, &mut records) {
                    break;
                }
                from = next_seq;
                continue;
            }
            let mut reader = match self.reader_at(index, from) {
                Ok(reader) => reader,
                Err(error) if error.is_loss() && (self.gives_up || self.segments[index].given_up) => {
                    if !self.segments[index].given_up {
                        tracing::error!(%error, "a segment cannot be opened and is given up");
                    }
                    self.lose(index);
                    from = next_seq;
                    continue;
                }
                Err(error) => return some_or(records, error),
            };
            let full = loop {
                match reader.scanner.step() {
                    Ok(Step::End) => break false,
                    Ok(Step::Gap(gap)) => self.note_gap(index, &reader.file, &gap, next_seq),
                    Ok(Step::Frame(frame)) if frame.seq < from => {}
                    Ok(Step::Frame(frame)) => {
                        if !records.is_empty() && frame.payload_len > left {
                            reader.scanner.back(&frame);
                            break true;
                        }
                        left = left.saturating_sub(frame.payload_len);
                        match reader.scanner.payload(&frame) {
                            Ok(payload) => records.push(record(&frame, payload)),
                            Err(error) => return some_or(records, error),
                        }
                    }
                    Err(error) if self.gives_up && !self.segments[index].given_up => {
                        tracing::error!(%error, "a segment cannot be read in places, which are given up");
                        self.segments[index].given_up = true;
                        reader.scanner.give_up();
                    }
                    Err(error) => return some_or(records, error),
                }
            };
            self.reader = Some(reader);
            if full {
                break;
            }
            from = next_seq;
        }
        Ok(records)
    }

    /// Whether what cannot be read is damage like any other, from the next read on, so that what lies before
    /// and behind it can be had; it stays so for the segments that are met meanwhile. For when reading has
    /// failed for long on a disk that otherwise works, or somebody cannot wait.
    pub fn give_up_unreadable(&mut self, gives_up: bool) {
        self.gives_up = gives_up;
    }

    /// A whole segment is damage: its file cannot be opened.
    fn lose(&mut self, index: usize) {
        if index + 1 == self.segments.len() {
            // what is appended to it nobody could read
            self.active = None;
        }
        let segment = &mut self.segments[index];
        let records = segment.lose();
        let (first_seq, offset) = (segment.first_seq, segment.data_start);
        let bytes = segment.end - offset;
        self.counts.damaged_records += records;
        if records > 0 && self.damage.len() < MAX_DAMAGE {
            self.damage.push_back(Damage {
                segment: first_seq,
                offset,
                bytes,
                first_seq,
                records,
                set_aside: None,
            });
        }
    }

    /// Damage found since the last call, oldest first; at most 64 reports, all are in
    /// [`crate::Stats::damaged_records`].
    pub fn take_damage(&mut self) -> Vec<Damage> {
        self.damage.drain(..).collect()
    }

    /// The last reader if it is in this segment and not past `from`, else one at the segment's start.
    fn reader_at(&mut self, index: usize, from: u64) -> Result<Reader, Error> {
        let segment = &self.segments[index];
        let mut last = self.reader.take();
        let usable =
            |reader: &mut Reader| reader.segment == segment.first_seq && reader.scanner.expected() <= from;
        if let Some(mut reader) = last.take_if(usable) {
            reader.scanner.extend(segment.end, segment.next_seq);
            return Ok(reader);
        }
        let path = segment::path(&self.dir, segment.first_seq);
        let file = Arc::new(File::open(&path).map_err(Error::open(&path))?);
        let (start, first) = (segment.data_start, segment.first_seq);
        let mut scanner = Scanner::new(file.clone(), path, start, segment.end, first, segment.next_seq);
        if let Some(last) = last {
            scanner = scanner.with_memory_of(last.scanner);
        }
        if self.segments[index].given_up {
            scanner.give_up();
        }
        Ok(Reader { segment: first, file, scanner })
    }

    /// Reports a gap, once; `next_seq` is one past the segment's last record.
    pub(crate) fn note_gap(&mut self, index: usize, file: &File, gap: &Gap, next_seq: u64) {
        let room = self.limits.max_bytes.saturating_sub(self.claimed());
        let segment = &mut self.segments[index];
        let records = gap.found.unwrap_or(next_seq).saturating_sub(gap.expected);
        if !segment.note_hole(gap.offset, records) {
            return;
        }
        let first_seq = segment.first_seq;
        // copying what cannot be read would only drive out what was copied before
        let set_aside = (!segment.given_up)
            .then(|| self.aside.save(first_seq, file, gap.offset, gap.len, room))
            .flatten();
        self.counts.damaged_records += records;
        if self.damage.len() < MAX_DAMAGE {
            self.damage.push_back(Damage {
                segment: first_seq,
                offset: gap.offset,
                bytes: gap.len,
                first_seq: gap.expected,
                records,
                set_aside,
            });
        }
    }
}

fn record(frame: &FrameAt, payload: &[u8]) -> Record {
    Record { seq: frame.seq, origin: frame.origin, payload: payload.to_vec() }
}

/// What was read before an error is still good; the error comes back with the next read.
fn some_or(records: Vec<Record>, error: Error) -> Result<Vec<Record>, Error> {
    if records.is_empty() { Err(error) } else { Ok(records) }
}
