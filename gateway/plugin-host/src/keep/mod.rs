//! The directory of a kept plugin: what a later host needs to take it over.
//!
//! ```text
//! record.json       who it is and how to reach it, with our key: replaced by rename, never half
//! stdout, stderr    FIFOs it holds open for reading, too, so that writing never fails
//! lock              held by the host that has it: one at a time, and the kernel lets go for us
//! ```
//! Always true: directory and files belong to this user alone; only who holds the lock writes or
//! removes anything; the directory is gone when the plugin is.

mod facts;
mod strays;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::fs::{CWD, FlockOperation, Mode, OFlags, flock, mkfifoat, open};
use rustix::io::Errno;
use rustix::pipe::fcntl_setpipe_size;
use tokio::time::{Instant, sleep};

use crate::Fate;
pub use facts::Damage;
pub(crate) use facts::{Facts, Protection};
pub use strays::{Record, StrayError, end_stray, records};

const RECORD: &str = "record.json";
const NEW_RECORD: &str = "record.new";
const LOCK: &str = "lock";
pub(crate) const STDOUT: &str = "stdout";
pub(crate) const STDERR: &str = "stderr";
/// Everything that is ever in the directory.
const FILES: [&str; 5] = [RECORD, NEW_RECORD, STDOUT, STDERR, LOCK];

/// How long a host that is just letting go is waited for: the kernel takes a moment to end a killed
/// one, and a plugin that was dropped here is reaped in the background.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);
const LOCK_PAUSE: Duration = Duration::from_millis(10);
/// What a plugin can write to a FIFO while nobody reads; what the kernel allows everybody.
const FIFO_BYTES: usize = 1 << 20;

/// Why the directory of a kept plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// The directory or a file in it.
    #[error("{path}: {source}; the directory must be on a writable file system and belong to this user")]
    Io {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Another host has it.
    #[error("{0} is in use by another gateway; stop that one first")]
    Locked(PathBuf),
    /// A plugin runs under it.
    #[error("a driver of an earlier gateway runs under {dir} (pid {pid}); take it over or end it first")]
    Alive {
        /// The directory.
        dir: PathBuf,
        /// Its process.
        pid: u32,
    },
    /// Nobody can say whether one does.
    #[error("a driver of an earlier gateway may run under {dir} (pid {pid}): {source}")]
    Unknown {
        /// The directory.
        dir: PathBuf,
        /// Its process.
        pid: u32,
        /// Why not.
        source: Fate,
    },
    /// A path JSON cannot hold.
    #[error("{dir}: {source}; choose directories whose names are UTF-8")]
    Encode {
        /// The directory.
        dir: PathBuf,
        /// What does not fit.
        source: serde_json::Error,
    },
}

/// The directory, locked.
#[derive(Debug)]
pub(crate) struct KeptDir {
    path: PathBuf,
    lock: File,
    /// Whether it is gone. A lock, because the owner of a plugin writes while its keeper removes, and
    /// a record written into a directory on its way out would stay.
    removed: Mutex<bool>,
}

impl KeptDir {
    /// For a new plugin: makes the directory, and clears what a dead one left in it.
    pub(crate) async fn create(path: &Path) -> Result<Self, KeepError> {
        let this = Self::lock(path, true).await?.expect("made if missing");
        if let Ok(facts) = this.read() {
            let (dir, pid) = (path.to_owned(), facts.birth.pid);
            match facts.birth.find() {
                Ok(_) => return Err(KeepError::Alive { dir, pid }),
                Err(source @ Fate::Unknown(_)) => return Err(KeepError::Unknown { dir, pid, source }),
                Err(Fate::Ended | Fate::Rebooted) => strays::clear(facts).await,
            }
        }
        for file in FILES.iter().filter(|file| **file != LOCK) {
            this.remove_file(file)?;
        }
        Ok(this)
    }

    /// Of a plugin that may be there; nothing if there is no such directory.
    pub(crate) async fn open(path: &Path) -> Result<Option<Self>, KeepError> {
        Self::lock(path, false).await
    }

    async fn lock(path: &Path, make: bool) -> Result<Option<Self>, KeepError> {
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            if make {
                make_private(path).map_err(|source| KeepError::Io { path: path.to_owned(), source })?;
            } else if !path.is_dir() {
                return Ok(None);
            }
            if let Some(lock) = try_lock(path)? {
                return Ok(Some(Self { path: path.to_owned(), lock, removed: Mutex::new(false) }));
            }
            if Instant::now() > deadline {
                return Err(KeepError::Locked(path.to_owned()));
            }
            sleep(LOCK_PAUSE).await;
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn read(&self) -> Result<Facts, Damage> {
        read(&self.path)
    }

    /// Replaces the record. After [`Self::remove`] it does nothing: the plugin is gone.
    pub(crate) fn write(&self, facts: &Facts) -> Result<(), KeepError> {
        let removed = self.removed();
        if *removed {
            return Ok(());
        }
        let bytes = facts.encode().map_err(|source| KeepError::Encode { dir: self.path.clone(), source })?;
        let new = self.path.join(NEW_RECORD);
        let write = || {
            self.remove_file(NEW_RECORD).ok();
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
            file.write_all(&bytes)?;
            fs::rename(&new, self.path.join(RECORD))
        };
        write().map_err(|source| KeepError::Io { path: new.clone(), source })
    }

    /// Makes a FIFO; its reading end and the one for the plugin. That one is open for reading, too:
    /// so the FIFO never is without a reader, and the plugin's writes never fail.
    pub(crate) fn make_fifo(&self, name: &str) -> Result<(OwnedFd, OwnedFd), KeepError> {
        let path = self.path.join(name);
        let make = || {
            mkfifoat(CWD, &path, Mode::RUSR | Mode::WUSR)?;
            let ours = read_end(&path)?;
            let theirs = open(&path, OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())?;
            if let Err(error) = fcntl_setpipe_size(&ours, FIFO_BYTES) {
                tracing::debug!(path = %path.display(), %error, "fifo of a plugin stays at its ordinary size");
            }
            Ok((ours, theirs))
        };
        make().map_err(|source: io::Error| KeepError::Io { path: path.clone(), source })
    }

    /// The reading end of a FIFO an earlier host made.
    pub(crate) fn open_fifo(&self, name: &str) -> Result<OwnedFd, KeepError> {
        let path = self.path.join(name);
        read_end(&path).map_err(|source| KeepError::Io { path: path.clone(), source: source.into() })
    }

    /// Lets another host have it; this value is of no use afterwards.
    pub(crate) fn unlock(&self) {
        // it is ours, so it can be given up; and if not, the descriptor's end does it
        let _ = flock(&self.lock, FlockOperation::Unlock);
    }

    /// Removes the directory, the lock last. What is not ours stays, and the directory with it.
    pub(crate) fn remove(&self) {
        let mut gone = self.removed();
        *gone = true;
        let removed = FILES.iter().try_for_each(|file| self.remove_file(file)).and_then(|()| {
            fs::remove_dir(&self.path).map_err(|source| KeepError::Io { path: self.path.clone(), source })
        });
        if let Err(error) = removed {
            tracing::warn!(%error, "record of a plugin not removed");
        }
    }

    fn removed(&self) -> MutexGuard<'_, bool> {
        self.removed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remove_file(&self, name: &str) -> Result<(), KeepError> {
        let path = self.path.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(KeepError::Io { path, source: error })
            }
            _ => Ok(()),
        }
    }
}

fn read(dir: &Path) -> Result<Facts, Damage> {
    let mut bytes = Vec::new();
    let file =
        OpenOptions::new().read(true).custom_flags(OFlags::NOFOLLOW.bits() as i32).open(dir.join(RECORD));
    file.and_then(|file| file.take(facts::MAX_BYTES).read_to_end(&mut bytes)).map_err(Damage::Unreadable)?;
    Facts::decode(&bytes)
}

fn read_end(path: &Path) -> rustix::io::Result<OwnedFd> {
    open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty())
}

fn make_private(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if fs::metadata(path)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

/// Nothing if another host has it, or has just removed it.
fn try_lock(dir: &Path) -> Result<Option<File>, KeepError> {
    let path = dir.join(LOCK);
    let lock = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(OFlags::NOFOLLOW.bits() as i32)
        .open(&path);
    let lock = match lock {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        lock => lock.map_err(|source| KeepError::Io { path: path.clone(), source })?,
    };
    match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => return Ok(None),
        Err(error) => return Err(KeepError::Io { path, source: error.into() }),
    }
    // a lock on a file its owner has removed meanwhile keeps nobody out
    let held = lock.metadata().map(|held| (held.dev(), held.ino()));
    let there = fs::metadata(&path).map(|there| (there.dev(), there.ino()));
    Ok((held.ok() == there.ok()).then_some(lock))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alive::Birth;

    fn facts() -> Facts {
        let birth = Birth { pid: u32::MAX, started_ticks: 0, boot_id: String::new() };
        Facts::new("d".into(), birth, Protection::Plain, "/nowhere/d-1-0".into())
    }

    #[tokio::test]
    async fn everything_in_it_is_for_this_user_alone() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("drivers/modbus/1");
        let dir = KeptDir::create(&path).await.unwrap();
        dir.write(&facts()).unwrap();
        dir.make_fifo(STDERR).unwrap();
        for there in [&path, &path.join(RECORD), &path.join(LOCK), &path.join(STDERR)] {
            let mode = fs::metadata(there).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{}", there.display());
        }
        assert_eq!(dir.read().unwrap(), facts());
        dir.remove();
        assert!(!path.exists());
        dir.write(&facts()).unwrap();
        assert!(!path.exists(), "a record of a plugin that is gone");
    }

    #[tokio::test]
    async fn a_directory_that_was_open_to_others_is_closed() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("1");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let _dir = KeptDir::create(&path).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
    }

    #[tokio::test(start_paused = true)]
    async fn two_hosts_never_have_it_at_once() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("1");
        assert!(KeptDir::open(&path).await.unwrap().is_none());
        let first = KeptDir::create(&path).await.unwrap();
        let second = KeptDir::open(&path).await.unwrap_err();
        assert_eq!(
            second.to_string(),
            format!("{} is in use by another gateway; stop that one first", path.display())
        );
        first.unlock();
        let second = KeptDir::open(&path).await.unwrap().unwrap();
        // removed and made anew by the second: the first one's lock file is not the one that counts
        second.remove();
        let third = KeptDir::create(&path).await.unwrap();
        assert!(matches!(KeptDir::create(&path).await, Err(KeepError::Locked(_))));
        drop(third);
        KeptDir::create(&path).await.unwrap();
    }

    #[tokio::test]
    async fn writing_to_a_fifo_never_fails_and_nothing_is_lost_between_two_readers() {
        let parent = tempfile::tempdir().unwrap();
        let dir = KeptDir::create(&parent.path().join("1")).await.unwrap();
        let (ours, theirs) = dir.make_fifo(STDERR).unwrap();
        let mut writer = File::from(theirs);
        drop(ours);
        writer.write_all(&vec![b'x'; FIFO_BYTES]).unwrap();
        let mut read = vec![0; FIFO_BYTES];
        File::from(dir.open_fifo(STDERR).unwrap()).read_exact(&mut read).unwrap();
        assert!(read.iter().all(|&byte| byte == b'x'));
    }
}
