//! Frames of one segment file, in order, and where they begin again after damage.
//!
//! Always true: memory is a window of [`CHUNK`] or of one frame, whichever is larger; a frame is
//! accepted only with a right checksum and a number that may come next, so that bytes inside a
//! payload or of another file are not taken for a record.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use crate::error::Error;
use crate::format::{FRAME_HEAD, FRAME_MAGIC, FrameHead, Origin, SEGMENT_HEADER_MAX, SegmentHeader};
use crate::options::MAX_PAYLOAD;

/// Bytes read at once.
const CHUNK: usize = 256 << 10;
/// The least that a disk loses: a page.
const PIECE: u64 = 4 << 10;

/// What comes next in a segment.
#[derive(Debug)]
pub(crate) enum Step {
    Frame(FrameAt),
    Gap(Gap),
    End,
}

/// A good frame; its payload can be had from [`Scanner::payload`] until the next step.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameAt {
    pub(crate) seq: u64,
    pub(crate) origin: Option<Origin>,
    pub(crate) payload_len: usize,
    offset: u64,
    frame_len: usize,
    expected: u64,
}

/// Bytes that are no frame.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// The number that should have come.
    pub(crate) expected: u64,
    /// The number that comes after the gap; `None`: the gap reaches the end.
    pub(crate) found: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Scanner {
    window: Window,
    at: u64,
    /// Smallest number the next frame may have.
    expected: u64,
    /// Numbers are below this.
    limit: u64,
}

impl Scanner {
    /// Frames between the offsets `at` and `end`, numbered from `expected` to below `limit`.
    pub(crate) fn new(file: Arc<File>, path: PathBuf, at: u64, end: u64, expected: u64, limit: u64) -> Self {
        let window = Window { file, path, end, start: at, bytes: Vec::new(), filled: 0, gives_up: false };
        Self { window, at, expected, limit }
    }

    /// Reads into what another scanner read into: getting that memory anew costs a part of reading a segment.
    pub(crate) fn with_memory_of(mut self, other: Self) -> Self {
        self.window.bytes = other.window.bytes;
        self
    }

    /// The file has grown.
    pub(crate) fn extend(&mut self, end: u64, limit: u64) {
        self.window.end = end;
        self.limit = limit;
    }

    /// From now on what cannot be read is bytes that are no frame, and not an error.
    pub(crate) fn give_up(&mut self) {
        self.window.gives_up = true;
    }

    /// Where the next step looks.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// Smallest number the next frame may have.
    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    pub(crate) fn step(&mut self) -> Result<Step, Error> {
        if self.at >= self.window.end {
            return Ok(Step::End);
        }
        match self.frame_at(self.at)? {
            Some(frame) => {
                self.at += frame.frame_len as u64;
                self.expected = frame.seq + 1;
                Ok(Step::Frame(frame))
            }
            None => self.resync().map(Step::Gap),
        }
    }

    /// Takes the step back that gave `frame`.
    pub(crate) fn back(&mut self, frame: &FrameAt) {
        self.at = frame.offset;
        self.expected = frame.expected;
    }

    /// Payload of the frame that the last step gave.
    pub(crate) fn payload(&mut self, frame: &FrameAt) -> Result<&[u8], Error> {
        let at = frame.offset + (frame.frame_len - frame.payload_len) as u64;
        self.window.get(at, frame.payload_len)
    }

    /// Whether what lies at `offset` is a write cut short: the beginning of a header or frame that runs past
    /// the end, or zeros where a file grew and its data never came.
    pub(crate) fn is_torn(&mut self, offset: u64) -> Result<bool, Error> {
        let left = self.window.end - offset;
        if left < FRAME_HEAD as u64 {
            return Ok(true);
        }
        if offset == 0 {
            let beginning = self.window.get(0, SEGMENT_HEADER_MAX.min(left as usize))?;
            return Ok(beginning.iter().all(|byte| *byte == 0) || SegmentHeader::is_cut(beginning));
        }
        let head = self.window.get(offset, FRAME_HEAD)?;
        let runs_past = |head: FrameHead| head.frame_len() as u64 > left;
        Ok(head == [0; FRAME_HEAD] || FrameHead::decode(head, MAX_PAYLOAD).is_some_and(runs_past))
    }

    fn frame_at(&mut self, at: u64) -> Result<Option<FrameAt>, Error> {
        let left = self.window.end - at;
        if left < FRAME_HEAD as u64 {
            return Ok(None);
        }
        let Some(head) = FrameHead::decode(self.window.get(at, FRAME_HEAD)?, MAX_PAYLOAD) else {
            return Ok(None);
        };
        let frame_len = head.frame_len();
        if head.seq < self.expected || head.seq >= self.limit || frame_len as u64 > left {
            return Ok(None);
        }
        let Some((origin, _)) = head.open(self.window.get(at, frame_len)?) else { return Ok(None) };
        Ok(Some(FrameAt {
            seq: head.seq,
            origin,
            payload_len: head.payload_len(),
            offset: at,
            frame_len,
            expected: self.expected,
        }))
    }

    /// Steps over bytes that are no frame.
    fn resync(&mut self) -> Result<Gap, Error> {
        let offset = self.at;
        let mut candidate = offset + 1;
        let found = loop {
            let Some(next) = self.window.find(candidate, &FRAME_MAGIC)? else { break None };
            if let Some(frame) = self.frame_at(next)? {
                self.at = next;
                break Some(frame.seq);
            }
            candidate = next + 1;
        };
        if found.is_none() {
            self.at = self.window.end;
        }
        Ok(Gap { offset, len: self.at - offset, expected: self.expected, found })
    }
}

#[derive(Debug)]
struct Window {
    file: Arc<File>,
    path: PathBuf,
    /// Nothing is read at or after this offset.
    end: u64,
    /// Offset of `bytes`.
    start: u64,
    /// Grows to the largest need and stays: clearing it for every load would cost as much as reading.
    bytes: Vec<u8>,
    /// How many of them are of the file.
    filled: usize,
    /// See [`Scanner::give_up`].
    gives_up: bool,
}

impl Window {
    /// `len` bytes at `at`, which end at or before `end`.
    fn get(&mut self, at: u64, len: usize) -> Result<&[u8], Error> {
        if at < self.start || at + len as u64 > self.start + self.filled as u64 {
            self.load(at, len)?;
        }
        let from = (at - self.start) as usize;
        Ok(&self.bytes[from..from + len])
    }

    fn load(&mut self, at: u64, len: usize) -> Result<(), Error> {
        let have = self.start + self.filled as u64;
        let kept = if at >= self.start && at < have { (at - self.start) as usize..self.filled } else { 0..0 };
        self.filled = kept.len();
        self.bytes.copy_within(kept, 0);
        self.start = at;
        let want = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(len.max(CHUNK));
        if self.bytes.len() < want {
            self.bytes.resize(want, 0);
        }
        let new = &mut self.bytes[self.filled..want];
        let offset = at + self.filled as u64;
        let read = match self.file.read_exact_at(new, offset) {
            Err(_) if self.gives_up => {
                read_in_pieces(&self.file, new, offset);
                Ok(())
            }
            read => read,
        };
        read.map_err(|error| {
            let short = error.kind() == io::ErrorKind::UnexpectedEof;
            Error::read(&self.path)(if short {
                io::Error::other("file is shorter than it was")
            } else {
                error
            })
        })?;
        self.filled = want;
        Ok(())
    }

    /// Where `needle` begins at or after `at`.
    fn find(&mut self, mut at: u64, needle: &[u8; 4]) -> Result<Option<u64>, Error> {
        while at + needle.len() as u64 <= self.end {
            let len = usize::try_from(self.end - at).unwrap_or(usize::MAX).min(CHUNK);
            let bytes = self.get(at, len)?;
            if let Some(found) = bytes.windows(needle.len()).position(|bytes| bytes == needle) {
                return Ok(Some(at + found as u64));
            }
            at += (len - needle.len() + 1) as u64;
        }
        Ok(None)
    }
}

/// What cannot be read is zeros, which are no frame.
fn read_in_pieces(file: &File, bytes: &mut [u8], offset: u64) {
    let mut at = 0;
    while at < bytes.len() {
        let place = offset + at as u64;
        let end = bytes.len().min(at + (PIECE - place % PIECE) as usize);
        if file.read_exact_at(&mut bytes[at..end], place).is_err() {
            bytes[at..end].fill(0);
        }
        at = end;
    }
}
