//! What lies in the plugin directories, and when that changes.
//!
//! Always true: discovery is never execution, it opens directories and no file; a symbolic link is
//! seen as a link and not followed (the directories themselves may be links); a directory that is
//! not there yet is an empty one; at most [`MAX_ENTRIES`] entries two levels deep are looked at.

mod pattern;
mod scan;
mod watch;

use std::collections::BTreeMap;
use std::path::PathBuf;

pub use pattern::{BadPattern, Pattern};

/// Most entries looked at, over all directories; one event says that there are more.
pub const MAX_ENTRIES: usize = 4096;

/// Most entries of a directory within one of the plugin directories; it is no plugin's own if it has more,
/// and its contents are not looked at.
pub const MAX_WITHIN: usize = 64;

/// Everything found, by its path.
pub type Found = BTreeMap<PathBuf, Stamp>;

/// What tells one state of an entry from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// What it is.
    pub kind: Kind,
    /// Its length; of a directory, nothing one can rely on.
    pub bytes: u64,
    /// When its content changed: seconds and nanoseconds of the wall clock.
    pub modified: (i64, u32),
    /// When anything of it changed, which no program can set back.
    pub changed: (i64, u32),
    /// Which file it is on its disk.
    pub inode: u64,
    /// Permissions, and the bits for another user.
    pub mode: u16,
}

/// Kinds of entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link, wherever it leads.
    Link,
    /// A socket, a pipe or another thing that is no file.
    Other,
}

/// The entries of `dirs` whose names match, in order, of any kind but hidden in no way: what is a
/// plugin is for the caller to say. A directory that cannot be read has none.
pub fn discover(dirs: &[PathBuf], pattern: &Pattern) -> Vec<PathBuf> {
    let found = scan::entries(dirs, 1);
    let matches =
        |path: &PathBuf| path.file_name().is_some_and(|name| pattern.matches(&name.to_string_lossy()));
    found.into_keys().filter(matches).collect()
}

/// The state of plugin directories, kept.
#[derive(Debug)]
pub struct Discovery;

impl Discovery {
    /// Looks now, and again whenever something changes, until the last receiver is gone. A change
    /// is published when it has settled. Must be called inside a runtime.
    pub fn watch(dirs: Vec<PathBuf>) -> tokio::sync::watch::Receiver<Found> {
        watch::start(dirs)
    }
}
