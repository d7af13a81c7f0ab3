//! What the filesystem has free, so that the buffer does not take it all.
//!
//! Always true: while less than the reserve is free, every byte written is paid for by one that was
//! removed; the filesystem is asked once per [`LOOK_BYTES`] and not for every record.

use std::path::Path;

/// The most that is written before the filesystem is asked again.
const LOOK_BYTES: u64 = 256 << 10;

#[derive(Debug)]
pub(crate) struct Space {
    reserve: u64,
    /// May be written without asking.
    left: u64,
    /// The most that removing may add to it: what is free may be gone by the time it is used.
    max_left: u64,
}

impl Space {
    pub(crate) fn new(reserve: u64, segment_bytes: u64) -> Self {
        Self { reserve, left: 0, max_left: segment_bytes.max(LOOK_BYTES) }
    }

    pub(crate) fn reserve(&self) -> u64 {
        self.reserve
    }

    /// Whether `need` bytes may be written below `dir`. A filesystem that does not say is believed to
    /// have room: writing will tell.
    pub(crate) fn has_room(&mut self, dir: &Path, need: u64) -> bool {
        if self.left < need
            && let Some(free) = free(dir)
        {
            // what was paid for stays paid for
            self.left = self.left.max(free.saturating_sub(self.reserve).min(need.max(LOOK_BYTES)));
        } else {
            self.left = self.left.max(need);
        }
        self.left >= need
    }

    pub(crate) fn wrote(&mut self, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
    }

    /// What was paid for is gone: somebody else has it.
    pub(crate) fn forget(&mut self) {
        self.left = 0;
    }

    pub(crate) fn removed(&mut self, bytes: u64) {
        self.left = (self.left + bytes).min(self.left.max(self.max_left));
    }
}

/// Bytes that anybody may still write; `None`: not known.
fn free(dir: &Path) -> Option<u64> {
    let stat = rustix::fs::statvfs(dir).ok()?;
    Some(stat.f_bavail.saturating_mul(stat.f_frsize))
}
