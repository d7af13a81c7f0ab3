//! One end of the line: a pty whose path is a link, so that it can be cut off and plugged in again.
//!
//! Always true: reads and writes never wait; what does not fit is lost, as in a full UART; the link is
//! there exactly while the end is plugged in.

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::io::{Errno, read, write};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, ioctl_tiocnxcl, tcgetattr, tcsetattr};

/// One end.
#[derive(Debug)]
pub(super) struct Port {
    pub(super) wire: OwnedFd,
    /// Kept open so that the line does not end with the program that used it.
    peer: OwnedFd,
    link: PathBuf,
}

impl Port {
    /// A fresh pty behind `link`.
    pub(super) fn plug(link: &Path, baud: u32) -> Self {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let wire = openpt(flags).expect("the system has pseudo-terminals");
        grantpt(&wire).expect("a fresh pty can be granted");
        unlockpt(&wire).expect("a fresh pty can be unlocked");
        let peer = ioctl_tiocgptpeer(&wire, flags).expect("a fresh pty has another end");
        let mut attributes = tcgetattr(&peer).expect("a pty is a terminal");
        attributes.make_raw();
        attributes.set_speed(baud).expect("a speed serial lines have");
        tcsetattr(&peer, OptionalActions::Now, &attributes).expect("a pty can be raw");
        fcntl_setfl(&wire, OFlags::NONBLOCK).expect("a pty need not block");
        let name = ptsname(&wire, Vec::new()).expect("a pty has a name");
        let name = name.into_string().expect("and it is plain text");
        symlink(&name, link).unwrap_or_else(|error| panic!("link {} to {name}: {error}", link.display()));
        Self { wire, peer, link: link.to_owned() }
    }

    /// What the program at this end has written since.
    pub(super) fn take(&self) -> Vec<u8> {
        let mut bytes = [0; 1024];
        let mut taken = Vec::new();
        while let Ok(count @ 1..) = read(&self.wire, &mut bytes) {
            taken.extend_from_slice(&bytes[..count]);
        }
        // A tty forgets at its last close that a program wanted it for itself; this one never closes.
        let _ = ioctl_tiocnxcl(&self.peer);
        taken
    }

    /// The program at this end hears bytes.
    pub(super) fn give(&self, bytes: &[u8]) {
        let mut rest = bytes;
        while !rest.is_empty() {
            match write(&self.wire, rest) {
                Ok(count) => rest = &rest[count..],
                Err(Errno::INTR) => {}
                // Nobody reads, and the buffer is full.
                Err(_) => return,
            }
        }
    }

    /// The speed that the program at this end has set.
    pub(super) fn baud(&self) -> u32 {
        tcgetattr(&self.wire).map_or(0, |attributes| attributes.output_speed())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.link);
    }
}
