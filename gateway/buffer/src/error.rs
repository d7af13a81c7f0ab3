//! What can go wrong with the buffer.
//!
//! Always true: an I/O error names its path; damage found on disk is never an error, it is reported
//! in [`crate::Recovery`] or [`crate::Buffer::take_damage`].

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// Why the buffer could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Another process owns the directory.
    #[error(
        "buffer {dir} is in use by another process; stop that gateway or give this one its own buffer.dir"
    )]
    Locked {
        /// The buffer's directory.
        dir: PathBuf,
    },
    /// The cap leaves no room to work.
    #[error("a buffer of {max_bytes} bytes is too small; allow at least {min}")]
    CapTooSmall {
        /// The cap asked for.
        max_bytes: u64,
        /// The smallest that works.
        min: u64,
    },
    /// One record would not fit.
    #[error("record of {len} bytes is too large, the limit is {max}; split it or raise buffer.max_size")]
    PayloadTooLarge {
        /// Its size.
        len: usize,
        /// The largest that fits.
        max: usize,
    },
    /// The cursor's detail would not fit its slot.
    #[error("cursor detail of {len} bytes is too large, the limit is {max}")]
    DetailTooLarge {
        /// Its size.
        len: usize,
        /// The largest that fits.
        max: usize,
    },
    /// A cursor may neither fall nor pass what was written.
    #[error("cursor floor {floor} is outside of {current} to {next_seq}")]
    CursorOutOfRange {
        /// The floor asked for.
        floor: u64,
        /// The floor now.
        current: u64,
        /// The next record's number.
        next_seq: u64,
    },
    /// Nothing is left to evict and it still does not fit.
    #[error("buffer {dir} has no room for {need} bytes and nothing left to evict; raise buffer.max_size")]
    NoRoom {
        /// The buffer's directory.
        dir: PathBuf,
        /// What was to be written.
        need: u64,
    },
    /// What was not there when the buffer was opened on a disk that took no data, and is now: another disk is
    /// mounted there, or another process has written.
    #[error(
        "buffer {dir} is not as it was found at the start, and is left alone: restart the gateway to go on with it"
    )]
    Changed {
        /// The buffer's directory.
        dir: PathBuf,
    },
    /// The filesystem has no more than its reserve free, and no older segment is left to make room.
    #[error(
        "the disk of buffer {dir} has less than {reserve} bytes free; free space or lower buffer.reserve"
    )]
    NoSpace {
        /// The buffer's directory.
        dir: PathBuf,
        /// What is left to others.
        reserve: u64,
    },
    /// A file or directory cannot be opened, created or listed: permissions, a full or read-only disk.
    #[error("open {path}: {source}; check that the disk is mounted writable and owned by this user")]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("read {path}: {source}; the disk may be failing")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written; nothing of the attempt is visible, it may be tried again.
    #[error("write {path}: {source}; free space or check the disk")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What was written may be lost at a power cut; later records go to a new file.
    #[error(
        "sync {path}: {source}; records since the last sync are not safe from a power cut, check the disk"
    )]
    Sync {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file that is not needed any more cannot be removed.
    #[error("remove {path}: {source}; check that the disk is mounted writable")]
    Remove {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Why the disk takes no data, if it is a disk that may take some later: one that is full, read-only or
/// broken, and not one where we have no rights.
pub(crate) fn refusal(error: &io::Error) -> Option<Errno> {
    let errno = Errno::from_io_error(error)?;
    [Errno::ROFS, Errno::NOSPC, Errno::DQUOT, Errno::IO].contains(&errno).then_some(errno)
}

impl Error {
    /// Whether a file is not there or the disk cannot find it, which more rights, memory or open files would not
    /// change.
    pub(crate) fn is_loss(&self) -> bool {
        let Self::Open { source, .. } = self else { return false };
        let ours = [Errno::ACCESS, Errno::PERM, Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::INTR];
        Errno::from_io_error(source).is_some_and(|errno| !ours.contains(&errno))
    }

    /// Why the disk takes no data, see [`refusal`].
    pub(crate) fn refusal(&self) -> Option<Errno> {
        match self {
            Self::Open { source, .. } | Self::Write { source, .. } | Self::Remove { source, .. } => {
                refusal(source)
            }
            _ => None,
        }
    }

    pub(crate) fn open(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Open { path: path.to_owned(), source }
    }

    pub(crate) fn read(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Read { path: path.to_owned(), source }
    }

    pub(crate) fn write(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Write { path: path.to_owned(), source }
    }

    pub(crate) fn sync(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Sync { path: path.to_owned(), source }
    }

    pub(crate) fn remove(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Remove { path: path.to_owned(), source }
    }
}
