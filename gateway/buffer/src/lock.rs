//! One owner per directory: its `lock` file, held by `flock`.
//!
//! Always true: the lock ends with its owner, however it ends; it is let go by name and not only by
//! closing, because a process being started at that moment holds a copy of every open file. On a disk that
//! takes no data the file is held as it is, or the directory where it is missing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};

use crate::segment::FILE_MODE;

#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock; `None`: somebody else has it.
    pub(crate) fn take(path: &Path) -> io::Result<Option<Self>> {
        Self::of(Self::file(path)?)
    }

    /// The file, made if it is missing, which only a disk that takes data lets us have.
    pub(crate) fn file(path: &Path) -> io::Result<File> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        options.open(path)
    }

    /// The file as it is, or the directory it belongs in; `None`: that is missing, too.
    pub(crate) fn file_as_it_is(path: &Path) -> io::Result<Option<File>> {
        let missing = |found: &io::Result<File>| {
            found.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
        };
        let mut there = [Some(path), path.parent()].into_iter().flatten().map(File::open);
        there.find(|found| !missing(found)).transpose()
    }

    /// Takes it; `None`: somebody else has it.
    pub(crate) fn of(file: File) -> io::Result<Option<Self>> {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Self(file))),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // closing it lets it go just the same, only perhaps a moment later
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
