//! One segment file: what is known of it, its name, and how it is made and removed.
//!
//! Always true: bytes at and after `end` are never read, whatever the file holds there; a segment that is
//! held in memory has no file yet, and those are the newest ones.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use crate::error::Error;
use crate::format::Previous;

/// Places of damage remembered one by one per segment, so that each is reported once.
const MAX_HOLES: usize = 64;
pub(crate) const FILE_MODE: u32 = 0o600;
/// Numbers stay below this; a larger one on disk is not ours.
pub(crate) const SEQ_LIMIT: u64 = 1 << 62;

/// What is known of a segment file.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Number of its first record; its name.
    pub(crate) first_seq: u64,
    /// One past the number of its last record.
    pub(crate) next_seq: u64,
    /// Where frames begin.
    pub(crate) data_start: u64,
    /// Where the last good frame ends.
    pub(crate) end: u64,
    /// Length of the file.
    pub(crate) len: u64,
    /// Records known to be damaged.
    pub(crate) damaged: u64,
    /// What of its file cannot be read is damage: [`crate::Buffer::give_up_unreadable`].
    pub(crate) given_up: bool,
    /// What its file is going to be, while the disk does not take it.
    pub(crate) held: Option<Vec<u8>>,
    holes: Vec<u64>,
    /// The farthest place of damage met; with as many holes as are remembered, all up to it are known.
    farthest: u64,
}

impl Segment {
    pub(crate) fn new(first_seq: u64, next_seq: u64, data_start: u64, len: u64) -> Self {
        Self {
            first_seq,
            next_seq,
            data_start,
            end: len,
            len,
            damaged: 0,
            given_up: false,
            held: None,
            holes: Vec::new(),
            farthest: 0,
        }
    }

    pub(crate) fn records(&self) -> u64 {
        (self.next_seq - self.first_seq).saturating_sub(self.damaged)
    }

    pub(crate) fn as_previous(&self) -> Previous {
        Previous { first_seq: self.first_seq, next_seq: self.next_seq, len: self.len }
    }

    /// All of it is damage; how many records more than was known.
    pub(crate) fn lose(&mut self) -> u64 {
        self.given_up = true;
        let all = self.next_seq - self.first_seq;
        all.saturating_sub(std::mem::replace(&mut self.damaged, all))
    }

    /// Remembers damage at `offset`; `false` if it was known.
    pub(crate) fn note_hole(&mut self, offset: u64, records: u64) -> bool {
        let full = self.holes.len() >= MAX_HOLES;
        if self.holes.contains(&offset) || (full && offset <= self.farthest) {
            return false;
        }
        if !full {
            self.holes.push(offset);
        }
        self.farthest = self.farthest.max(offset);
        self.damaged += records;
        true
    }
}

pub(crate) fn path(dir: &Path, first_seq: u64) -> PathBuf {
    dir.join(format!("{first_seq:020}.seg"))
}

/// The first record's number in a segment's file name.
pub(crate) fn first_seq_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let all_digits = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    if all_digits { digits.parse().ok().filter(|seq| (1..SEQ_LIMIT).contains(seq)) } else { None }
}

/// Makes an empty file; a leftover of the same name (no record of it was ever acknowledged) is emptied.
pub(crate) fn create(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(true).mode(FILE_MODE);
    options.open(path).map_err(Error::write(path))
}

pub(crate) fn open(path: &Path) -> Result<File, Error> {
    OpenOptions::new().read(true).write(true).open(path).map_err(Error::open(path))
}

/// Removes a file; one that is gone already is no error.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Error::remove(path)(error)),
        _ => Ok(()),
    }
}
