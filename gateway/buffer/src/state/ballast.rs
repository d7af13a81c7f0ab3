//! Space kept for opening the state on a full disk: `sled` writes a snapshot when it opens.
//!
//! Always true: it is given up only when opening meets a full disk, and taken again when there is room;
//! nothing here can fail an operation.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use crate::segment::FILE_MODE;

/// More than `sled` needs to open a database of the size that is kept.
const BALLAST_BYTES: u64 = 4 << 20;

fn path(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

/// Takes the space, unless it is taken; of little at most half, because `sled` has to write as well.
pub(super) fn take(dir: &Path) {
    let path = path(dir);
    if fs::metadata(&path).is_ok_and(|meta| meta.len() == BALLAST_BYTES) {
        return;
    }
    let half = rustix::fs::statvfs(dir).map_or(u64::MAX, |stat| stat.f_bavail * stat.f_frsize / 2);
    if let Err(error) = fill(&path, BALLAST_BYTES.min(half)) {
        tracing::debug!(path = %path.display(), %error, "no space is kept for opening small state on a full disk");
        free(dir);
    }
}

fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?;
    match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
        Err(Errno::OPNOTSUPP | Errno::NOSYS) => file.write_all(&vec![0; bytes as usize]),
        result => Ok(result?),
    }
}

/// Gives it up; `false`: there was none.
pub(super) fn free(dir: &Path) -> bool {
    fs::remove_file(path(dir)).is_ok()
}
