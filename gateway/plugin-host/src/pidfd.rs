//! A descriptor of a process: it means that one process for ever, whoever gets its number later.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use tokio::io::unix::AsyncFd;

/// See the file's head.
#[derive(Debug)]
pub(crate) struct Pidfd(Arc<OwnedFd>);

/// Readable as soon as the process has ended, and from then on.
pub(crate) type Ended = AsyncFd<Arc<OwnedFd>>;

impl Pidfd {
    pub(crate) fn open(pid: Pid) -> rustix::io::Result<Self> {
        pidfd_open(pid, PidfdFlags::empty()).map(|fd| Self(Arc::new(fd)))
    }

    pub(crate) fn has_ended(&self) -> bool {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1))
    }

    /// To that process, or to nobody.
    pub(crate) fn signal(&self, signal: Signal) {
        // Gone already is what a signal would lead to anyway.
        let _ = pidfd_send_signal(&self.0, signal);
    }

    #[allow(unsafe_code, reason = "the runtime's only way to wait for a descriptor that is not deprecated")]
    pub(crate) fn watch(&self) -> io::Result<Ended> {
        // SAFETY: the descriptor is owned, open as long as any clone of the `Arc` lives, and there is
        // no way to put another one into it: it is the same number until the registration is dropped.
        let ended = unsafe { AsyncFd::register(Arc::clone(&self.0)) };
        Ok(ended?)
    }
}
