//! Opening `sled` behind guard rails.
//!
//! Always true: what cannot be opened is moved aside whole and tried once more as a copy without its
//! snapshots, which are only a shortcut through the log; only then does the state start afresh. A full
//! or read-only disk is not damage: it is an error, and the files stay as they are.

use std::any::Any;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::{State, StateError, ballast, durable, rewrite};
use crate::lock::Lock;

/// Page cache: a floor of memory use rather than a limit, so small.
const CACHE_BYTES: u64 = 2 << 20;
/// How often `sled` syncs and collects its garbage by itself, changes or not: seldom, because each time costs
/// a sync. When values are durable is up to the owner, who calls [`State::flush`].
const FLUSH_EVERY_MS: u64 = 60_000;
/// A process being started holds a copy of every open file for a moment, and with it `sled`'s lock: how
/// often, and after how long, it is tried again.
const LOCK_TRIES: u32 = 40;
const LOCK_WAIT: Duration = Duration::from_millis(25);
pub(super) const QUARANTINE: &str = "quarantine-";

/// What opening the state found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateRecovery {
    /// Values held.
    pub values: u64,
    /// Half-written snapshots removed.
    pub snapshots_removed: u64,
    /// What `sled` said to the files it could not open.
    pub damage: Option<String>,
    /// Where they are now.
    pub quarantined: Option<PathBuf>,
    /// The values are back all the same: read from the log of the damaged files.
    pub recovered: bool,
}

/// Why `sled` did not open.
enum Trouble {
    /// The disk or its rights; trying again later may help.
    Disk(io::Error),
    /// Its lock is held.
    Busy(io::Error),
    /// The files themselves.
    Damage(String),
}

impl State {
    /// Opens or creates the state in `dir`.
    pub fn open(dir: impl AsRef<Path>) -> Result<(Self, StateRecovery), StateError> {
        let dir = dir.as_ref();
        if !durable::linked() {
            tracing::error!(dir = %dir.display(), "small state is not safe from a power cut: this build is linked wrongly");
        }
        DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(disk(dir))?;
        let lock_path = dir.join("lock");
        let lock = Lock::take(&lock_path).map_err(disk(&lock_path))?;
        let Some(lock) = lock else { return Err(StateError::Locked { dir: dir.to_owned() }) };
        let files = dir.join("db");
        rewrite::finish(dir).map_err(disk(&files))?;
        let snapshots_removed = remove_half_written(&files).map_err(disk(&files))?;
        let mut recovery = StateRecovery { snapshots_removed, ..StateRecovery::default() };
        let mut opened = try_open(&files, &mut recovery);
        if matches!(&opened, Err(Trouble::Disk(error)) if error.kind() == io::ErrorKind::StorageFull)
            && ballast::free(dir)
        {
            // what it has begun for want of space would keep it shut
            recovery.snapshots_removed += remove_half_written(&files).map_err(disk(&files))?;
            opened = try_open(&files, &mut recovery);
        }
        let db = match opened {
            Ok(db) => db,
            Err(Trouble::Disk(source) | Trouble::Busy(source)) => {
                return Err(StateError::Open { path: files, source });
            }
            Err(Trouble::Damage(reason)) => {
                let quarantine = quarantine(dir, &files)?;
                tracing::error!(quarantine = %quarantine.display(), %reason, "small state is damaged, moved aside");
                recovery.damage = Some(reason);
                recovery.quarantined = Some(quarantine.clone());
                open_again(&files, &quarantine, &mut recovery)?
            }
        };
        ballast::take(dir);
        let rewrite_above = rewrite::MAX_DB_BYTES;
        Ok((Self { db: Some(db), dir: dir.to_owned(), rewrite_above, _lock: lock }, recovery))
    }
}

/// A copy without snapshots, or nothing.
fn open_again(files: &Path, quarantine: &Path, recovery: &mut StateRecovery) -> Result<sled::Db, StateError> {
    if copy_log(quarantine, files).is_ok()
        && let Ok(db) = try_open(files, recovery)
    {
        recovery.recovered = true;
        return Ok(db);
    }
    if files.exists() {
        fs::remove_dir_all(files).map_err(disk(files))?;
    }
    try_open(files, recovery).map_err(|trouble| trouble.of(files))
}

impl Trouble {
    fn of(self, files: &Path) -> StateError {
        match self {
            Self::Disk(source) | Self::Busy(source) => StateError::Open { path: files.to_owned(), source },
            Self::Damage(reason) => StateError::Broken { dir: files.to_owned(), reason },
        }
    }
}

/// Opens, waiting for a lock that nobody else can mean to hold: the directory is ours.
fn try_open(files: &Path, recovery: &mut StateRecovery) -> Result<sled::Db, Trouble> {
    for _ in 0..LOCK_TRIES {
        match open_and_read(files, recovery) {
            Err(Trouble::Busy(_)) => thread::sleep(LOCK_WAIT),
            result => return result,
        }
    }
    open_and_read(files, recovery)
}

/// After it was closed by us.
pub(super) fn reopen(files: &Path) -> Result<sled::Db, StateError> {
    try_open(files, &mut StateRecovery::default()).map_err(|trouble| trouble.of(files))
}

pub(super) fn config(files: &Path) -> sled::Config {
    sled::Config::new()
        .path(files)
        .cache_capacity(CACHE_BYTES)
        .flush_every_ms(Some(FLUSH_EVERY_MS))
        .print_profile_on_drop(false)
}

/// Opens and reads everything once, because `sled` notices some damage only then.
fn open_and_read(files: &Path, recovery: &mut StateRecovery) -> Result<sled::Db, Trouble> {
    let opened = catch_unwind(|| {
        let db = config(files).open()?;
        let mut values = 0;
        for pair in db.iter() {
            pair?;
            values += 1;
        }
        Ok((db, values))
    });
    match opened {
        Ok(Ok((db, values))) => {
            recovery.values = values;
            Ok(db)
        }
        // sled wraps this one and drops its number
        Ok(Err(sled::Error::Io(error))) if error.to_string().starts_with("could not acquire lock") => {
            Err(Trouble::Busy(error))
        }
        // What the system refused has its number; sled's own I/O errors have none.
        Ok(Err(sled::Error::Io(error))) if error.raw_os_error().is_some() => Err(Trouble::Disk(error)),
        Ok(Err(error)) => Err(Trouble::Damage(error.to_string())),
        Err(panic) => Err(Trouble::Damage(panic_text(&*panic))),
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("sled panicked: {}", text.unwrap_or("no reason given"))
}

/// Removes snapshots that were being written when the process ended: with one of these there `sled`
/// never opens again.
fn remove_half_written(files: &Path) -> io::Result<u64> {
    let mut removed = 0;
    for path in entries(files)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(&path)?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Moves the files aside; what was there from an earlier time goes.
fn quarantine(dir: &Path, files: &Path) -> Result<PathBuf, StateError> {
    for path in entries(dir).map_err(disk(dir))? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if name.starts_with(QUARANTINE) {
            fs::remove_dir_all(&path).map_err(disk(&path))?;
        }
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let quarantine = dir.join(format!("{QUARANTINE}{now}"));
    fs::rename(files, &quarantine).map_err(disk(files))?;
    Ok(quarantine)
}

/// Copies the log, from which `sled` rebuilds everything else; its settings are ours and always the same.
/// A copy, because a panic may have left the old file locked.
fn copy_log(from: &Path, to: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(to)?;
    fs::copy(from.join("db"), to.join("db")).map(|_| ())
}

fn entries(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

pub(super) fn disk(path: &Path) -> impl FnOnce(io::Error) -> StateError {
    move |source| StateError::Open { path: path.to_owned(), source }
}
