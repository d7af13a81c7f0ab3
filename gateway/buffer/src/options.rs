//! What a buffer is opened with, and every limit it keeps.
//!
//! Always true: limits that depend on the cap are derived here and nowhere else.

use std::path::PathBuf;
use std::time::Duration;

use crate::cursor;
use crate::error::Error;
use crate::format::{FRAME_OVERHEAD_MAX, SEGMENT_HEADER_MAX};

/// Largest payload of a record; small caps lower it, see [`crate::Buffer::max_payload`].
pub const MAX_PAYLOAD: usize = 1 << 20;
/// Smallest cap a buffer works with.
pub const MIN_MAX_BYTES: u64 = 1 << 20;
/// Size a segment file grows to when nothing else is said.
pub const DEFAULT_SEGMENT_BYTES: u64 = 4 << 20;
/// A segment takes at most this share of the cap, so that evicting one never empties the buffer.
pub const SEGMENTS_PER_CAP: u64 = 8;
/// What a power cut may cost when nothing else is said.
pub const DEFAULT_SYNC_INTERVAL: Duration = Duration::from_secs(1);
/// Free space that the buffer leaves to others on its filesystem when nothing else is said.
pub const DEFAULT_RESERVE_BYTES: u64 = 16 << 20;
/// Memory for records while the disk takes none: at most this share of the cap, and never more than
/// [`MAX_MEMORY_BYTES`].
pub const MEMORY_PER_CAP: u64 = 8;
/// The most memory that records take while the disk takes none.
pub const MAX_MEMORY_BYTES: u64 = 8 << 20;
/// A segment in memory takes at most this share of it, because whole ones are dropped.
const SEGMENTS_PER_MEMORY: u64 = 8;
/// Damaged bytes set aside take at most this share of the cap, and never more than 1 MiB.
const ASIDE_PER_CAP: u64 = 16;
const MAX_ASIDE_BYTES: u64 = 1 << 20;

/// When appended records are made safe from a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The owner syncs whenever [`crate::Buffer::sync_due`] has passed: this long after the first unsynced write.
    Interval(Duration),
    /// Every append syncs before it returns.
    Each,
}

/// What goes when a record does not fit below the cap.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// The oldest segments make room.
    #[default]
    DropOldest,
    /// Records that do not fit are refused until there is room.
    DropNewest,
}

/// What a buffer is opened with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where it lives; created if missing.
    pub dir: PathBuf,
    /// The sum of all file lengths never exceeds this. When a buffer that is opened has more, its oldest
    /// records go whatever is said below.
    pub max_bytes: u64,
    /// What goes when it is full.
    pub when_full: WhenFull,
    /// Size a segment file grows to; at most an eighth of the cap is used.
    pub segment_bytes: u64,
    /// When records are safe from a power cut.
    pub durability: Durability,
    /// While the filesystem has less free than this, the buffer does not grow: the oldest records make
    /// room for new ones.
    pub reserve_bytes: u64,
}

/// Limits in bytes, derived from the options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) segment_bytes: u64,
    pub(crate) memory_bytes: u64,
    pub(crate) memory_segment_bytes: u64,
    pub(crate) max_payload: usize,
    pub(crate) aside_bytes: u64,
}

impl Options {
    /// A buffer in `dir` of at most `max_bytes`, everything else as usual.
    #[must_use]
    pub fn new(dir: PathBuf, max_bytes: u64) -> Self {
        let durability = Durability::Interval(DEFAULT_SYNC_INTERVAL);
        Self {
            dir,
            max_bytes,
            when_full: WhenFull::DropOldest,
            segment_bytes: DEFAULT_SEGMENT_BYTES,
            durability,
            reserve_bytes: DEFAULT_RESERVE_BYTES,
        }
    }

    pub(crate) fn limits(&self) -> Result<Limits, Error> {
        let max_bytes = self.max_bytes;
        if max_bytes < MIN_MAX_BYTES {
            return Err(Error::CapTooSmall { max_bytes, min: MIN_MAX_BYTES });
        }
        let largest = max_bytes / SEGMENTS_PER_CAP;
        let overhead = (SEGMENT_HEADER_MAX + FRAME_OVERHEAD_MAX) as u64;
        let max_payload = usize::try_from(largest - overhead).unwrap_or(MAX_PAYLOAD).min(MAX_PAYLOAD);
        let aside_bytes = (max_bytes / ASIDE_PER_CAP).min(MAX_ASIDE_BYTES);
        let memory_bytes = (max_bytes / MEMORY_PER_CAP).min(MAX_MEMORY_BYTES);
        Ok(Limits {
            max_bytes,
            segment_bytes: self.segment_bytes.min(largest),
            memory_bytes,
            memory_segment_bytes: memory_bytes / SEGMENTS_PER_MEMORY,
            max_payload,
            aside_bytes,
        })
    }
}

// The largest record fits into the memory of any cap.
const _: () = assert!(MEMORY_PER_CAP <= SEGMENTS_PER_CAP);
const _: () = assert!((MAX_PAYLOAD + FRAME_OVERHEAD_MAX + SEGMENT_HEADER_MAX) as u64 <= MAX_MEMORY_BYTES);

// The cursor, what is set aside, the newest segment and the one being begun always fit together.
const _: () = assert!(
    cursor::FILE_BYTES + MIN_MAX_BYTES / ASIDE_PER_CAP + 2 * MIN_MAX_BYTES / SEGMENTS_PER_CAP < MIN_MAX_BYTES
);
