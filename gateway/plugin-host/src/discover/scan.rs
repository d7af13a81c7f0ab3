//! One look at the directories.

use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Statx, StatxFlags, openat, statx};
use rustix::io::Errno;

use super::{Found, Kind, MAX_ENTRIES, MAX_WITHIN, Stamp};

/// Most directories whose trouble is told.
const MAX_UNREADABLE: usize = 8;

/// What one look found.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) found: Found,
    /// Directories that could not be read although they are there: their paths and why.
    pub(super) unreadable: Vec<(PathBuf, io::Error)>,
    /// Whether there was more than [`MAX_ENTRIES`].
    pub(super) too_many: bool,
}

/// Entries of `dirs`, so many levels deep.
pub(super) fn entries(dirs: &[PathBuf], levels: usize) -> Found {
    look(dirs, levels, |_| {}).found
}

/// The same with all that was in the way; every directory is told to `opening` before it is read.
pub(super) fn look(dirs: &[PathBuf], levels: usize, mut opening: impl FnMut(&Path)) -> Look {
    let mut look = Look::default();
    for dir in dirs {
        read(&mut look, CWD, dir.as_os_str(), OFlags::empty(), (dir.clone(), levels), &mut opening);
    }
    look
}

/// Reads one directory, and those in it as far as levels are left. One of those with more than
/// [`MAX_WITHIN`] entries (a build's, say) is seen by its own stamp alone.
fn read(
    look: &mut Look,
    parent: impl AsFd,
    name: &OsStr,
    follow: OFlags,
    (path, levels): (PathBuf, usize),
    opening: &mut impl FnMut(&Path),
) {
    opening(&path);
    let within = follow.contains(OFlags::NOFOLLOW);
    let mut count = 0;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NONBLOCK | follow;
    let listed = openat(parent, name, flags, Mode::empty()).and_then(|fd| {
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            count += 1;
            if within && count > MAX_WITHIN {
                look.found.retain(|found, _| *found == path || !found.starts_with(&path));
                return Ok(());
            }
            if look.found.len() >= MAX_ENTRIES {
                look.too_many = true;
                return Ok(());
            }
            let stat = match statx(&fd, name, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS) {
                Err(Errno::NOENT) => continue,
                stat => stat?,
            };
            let stamp = stamp(&stat);
            let path = path.join(name);
            look.found.insert(path.clone(), stamp);
            if stamp.kind == Kind::Directory && levels > 1 {
                read(look, &fd, name, OFlags::NOFOLLOW, (path, levels - 1), opening);
            }
        }
        Ok(())
    });
    match listed {
        // Not there yet, gone meanwhile, or replaced by something that is no directory.
        Ok(()) | Err(Errno::NOENT | Errno::LOOP) => {}
        Err(error) if look.unreadable.len() < MAX_UNREADABLE => look.unreadable.push((path, error.into())),
        Err(_) => {}
    }
}

fn stamp(stat: &Statx) -> Stamp {
    let kind = match FileType::from_raw_mode(stat.stx_mode.into()) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    Stamp {
        kind,
        bytes: if kind == Kind::Directory { 0 } else { stat.stx_size },
        modified: (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec),
        changed: (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec),
        inode: stat.stx_ino,
        mode: stat.stx_mode & 0o7777,
    }
}
