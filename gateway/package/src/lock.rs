//! One at a time changes what is installed in a directory: its `.lock` file, held by `flock`.
//!
//! Always true: the lock ends with its owner, however it ends.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;

use crate::files;

const NAME: &str = ".lock";
/// Longest wait for somebody else who installs or removes.
const WAIT: Duration = Duration::from_secs(60);
const AGAIN: Duration = Duration::from_millis(50);

#[derive(Debug)]
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock of `dir`, which is made if it is not there.
    pub(crate) fn take(dir: &Path) -> io::Result<Self> {
        Self::locked(dir).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => io::Error::new(
                error.kind(),
                "not allowed to write there; do it as root or as the gateway's user",
            ),
            _ => error,
        })
    }

    fn locked(dir: &Path) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        options.custom_flags(OFlags::NOFOLLOW.bits() as i32);
        let path = dir.join(NAME);
        let there = fs::symlink_metadata(&path).is_ok();
        let file = options.open(&path)?;
        if !there {
            files::own_like_parent(&path)?;
        }
        let began = Instant::now();
        loop {
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(Self(file)),
                Err(Errno::WOULDBLOCK) if began.elapsed() < WAIT => thread::sleep(AGAIN),
                Err(Errno::WOULDBLOCK) => {
                    return Err(io::Error::other(
                        "somebody else installs or removes a driver there; try again",
                    ));
                }
                Err(errno) => return Err(errno.into()),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // closing it lets it go just the same, only perhaps a moment later
        let _ = flock(&self.0, FlockOperation::Unlock);
    }
}
