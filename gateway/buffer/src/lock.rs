//! One owner per directory: its `lock` file, held by `flock`.
//!
//! Always true: the lock ends with its owner, however it ends; it is let go by name and not only by
//! closing, because a process being started at that moment holds a copy of every open file.

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
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(path)?;
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
