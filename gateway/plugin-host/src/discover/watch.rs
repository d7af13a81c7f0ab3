//! Looking again when something changed: the kernel says when, a slow poll finds what it did not.
//!
//! ```text
//! event → wait until it is quiet for SETTLE, at most SETTLE_LIMIT → look → publish if it differs
//! ```
//! Always true: however many events come, there is at most one look per [`SETTLE`]; a directory is
//! watched before it is read, so that nothing falls in between; without the kernel's help (its limit
//! of watches is reached, a network disk) a change is found within [`POLL`].

use std::collections::{BTreeSet, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use rustix::io::Errno;
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::scan::{Look, look};
use super::{Found, MAX_ENTRIES};

/// Entries of the directories, and of the directories in them.
const LEVELS: usize = 2;
/// Most directories the kernel watches for us; changes in others are found by the poll.
const MAX_WATCHES: usize = 512;
/// How long it must be quiet before we look.
const SETTLE: Duration = Duration::from_millis(200);
/// Longest time changes are waited out.
const SETTLE_LIMIT: Duration = Duration::from_secs(2);
/// How often we look although nothing was heard.
const POLL: Duration = Duration::from_secs(15);

/// See [`Discovery::watch`](super::Discovery::watch).
pub(super) fn start(dirs: Vec<PathBuf>) -> watch::Receiver<Found> {
    let events = match Events::new() {
        Ok(events) => Some(events),
        Err(error) => {
            tracing::warn!(%error, poll = ?POLL, "plugin directories are only looked at from time to time");
            None
        }
    };
    start_with(events, dirs)
}

fn start_with(events: Option<Events>, dirs: Vec<PathBuf>) -> watch::Receiver<Found> {
    let dirs = dirs.into_iter().map(|dir| std::path::absolute(&dir).unwrap_or(dir)).collect();
    let mut watcher = Watcher { dirs, events, complaints: BTreeSet::new() };
    let (found, receiver) = watch::channel(watcher.look());
    tokio::spawn(watcher.run(found));
    receiver
}

struct Watcher {
    dirs: Vec<PathBuf>,
    events: Option<Events>,
    /// What was said already, so that a lasting trouble is one line of the log.
    complaints: BTreeSet<String>,
}

impl Watcher {
    async fn run(mut self, found: watch::Sender<Found>) {
        loop {
            tokio::select! {
                () = found.closed() => return,
                () = changes(self.events.as_mut()) => {}
            }
            // A disk may be slow; the runtime's threads are not for waiting.
            let looked = tokio::task::spawn_blocking(move || {
                let now = self.look();
                (self, now)
            });
            let now;
            (self, now) = match looked.await {
                Ok(looked) => looked,
                // Only when the runtime ends.
                Err(_) => return,
            };
            found.send_if_modified(|before| {
                let changed = *before != now;
                *before = now;
                changed
            });
        }
    }

    fn look(&mut self) -> Found {
        let Self { dirs, events, .. } = self;
        let Look { found, unreadable, too_many } = match events {
            Some(events) => {
                let mut watches = Watches::new(&events.inotify);
                let look = look(dirs, LEVELS, |dir| watches.add(dir));
                let watched = watches.watched;
                events.keep_only(watched);
                look
            }
            None => look(dirs, LEVELS, |_| {}),
        };
        let mut complaints = BTreeSet::new();
        for (path, error) in unreadable {
            complaints.insert(format!("{}: {error}", path.display()));
        }
        if too_many {
            complaints.insert(format!("more than {MAX_ENTRIES} entries, the others are not seen"));
        }
        for complaint in complaints.difference(&self.complaints) {
            tracing::warn!(
                error = complaint,
                "plugin directory not wholly read; tidy it or correct its rights"
            );
        }
        self.complaints = complaints;
        found
    }
}

/// Returns when it is time to look again.
async fn changes(events: Option<&mut Events>) {
    let Some(events) = events else { return sleep(POLL).await };
    if timeout(POLL, events.next()).await.is_err() {
        return;
    }
    let limit = Instant::now() + SETTLE_LIMIT;
    loop {
        let quiet = Instant::now() + SETTLE;
        if quiet > limit || timeout_at(quiet, events.next()).await.is_err() {
            return;
        }
    }
}

/// The kernel's notices. What they say does not matter, only that there are some.
struct Events {
    /// No pipe, but read and waited for like one.
    inotify: pipe::Receiver,
    watched: HashSet<i32>,
}

impl Events {
    fn new() -> io::Result<Self> {
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        Ok(Self { inotify: pipe::Receiver::from_owned_fd_unchecked(inotify)?, watched: HashSet::new() })
    }

    /// Waits for notices and takes all there are.
    async fn next(&mut self) {
        let mut buffer = [0; 4096];
        loop {
            if self.inotify.readable().await.is_err() {
                // Only when the runtime ends.
                return std::future::pending().await;
            }
            match self.inotify.try_read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // An event, or a trouble that is a reason to look for ourselves.
                _ => return,
            }
        }
    }

    /// Forgets the directories that are not ours any more.
    fn keep_only(&mut self, watched: HashSet<i32>) {
        for gone in self.watched.difference(&watched) {
            // The kernel has forgotten a removed one itself.
            let _ = inotify::remove_watch(&self.inotify, *gone);
        }
        self.watched = watched;
    }
}

/// The watches of one look.
struct Watches<'a> {
    inotify: &'a pipe::Receiver,
    watched: HashSet<i32>,
}

impl<'a> Watches<'a> {
    fn new(inotify: &'a pipe::Receiver) -> Self {
        Self { inotify, watched: HashSet::new() }
    }

    /// Watches a directory, or, if it is not there, the nearest one it can appear in.
    fn add(&mut self, dir: &Path) {
        let own = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVE
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::CLOSE_WRITE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF;
        let above = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::MASK_ADD;
        let mut flags = own;
        for dir in dir.ancestors() {
            if self.watched.len() >= MAX_WATCHES {
                return;
            }
            match inotify::add_watch(self.inotify, dir, flags | WatchFlags::ONLYDIR) {
                Ok(watch) => {
                    self.watched.insert(watch);
                    return;
                }
                Err(Errno::NOENT | Errno::NOTDIR) => flags = above,
                // The poll finds what we are not told.
                Err(_) => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn without_the_kernels_help_a_change_is_found_by_the_next_poll() {
        let dir = tempfile::tempdir().unwrap();
        let mut found = start_with(None, vec![dir.path().to_owned()]);
        let begun = Instant::now();
        std::fs::write(dir.path().join("driver-x"), "").unwrap();
        found.changed().await.unwrap();
        assert!(begun.elapsed() >= POLL && begun.elapsed() < 2 * POLL, "{:?}", begun.elapsed());
        assert_eq!(found.borrow().len(), 1);
    }
}
