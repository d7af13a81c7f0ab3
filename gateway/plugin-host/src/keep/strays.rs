//! What earlier hosts left, and its end.
//!
//! Always true: only the very process a record names is killed, and only a directory that carries
//! the shape of ours is removed: a record is a file, and files can be damaged. One that says nothing
//! is still named by the directory its process was given, in that process's own environment.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::time::timeout;

use super::{Damage, Facts, KeepError, KeptDir, LOCK, RECORD, read};
use crate::Checksum;
use crate::alive::{Fate, kill_members, tmp_dirs};
use crate::confine::Cgroup;
use crate::socket_dir::SocketDir;
use crate::start::KILL_LIMIT;

/// How far below the directory records are looked for: `<driver>/<instance>`, and one to spare.
const DEPTH: usize = 3;
/// More are not looked at.
const MAX_RECORDS: usize = 1000;

/// A plugin an earlier host left, or is about to.
#[derive(Debug)]
pub struct Record {
    /// The directory of the record, for [`Plugin::reattach`](crate::Plugin::reattach).
    pub dir: PathBuf,
    /// Whether its process lives, as far as can be told.
    pub alive: bool,
    /// The driver's id.
    pub name: String,
    /// Its process.
    pub pid: u32,
    /// What the caller had noted.
    pub note: String,
    /// The application version it speaks; none if it never got ready.
    pub app_version: Option<u32>,
    /// What its program was, if that was verified.
    pub checksum: Option<Checksum>,
    /// Why nothing of it is known; all the rest is empty then.
    pub damage: Option<Damage>,
}

/// Why a stray is still there.
#[derive(Debug, thiserror::Error)]
pub enum StrayError {
    /// Its directory.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// Nobody can say whether it lives.
    #[error("driver {name} of an earlier gateway (pid {pid}): {source}")]
    Unknown {
        /// The driver's id.
        name: String,
        /// Its process.
        pid: u32,
        /// Why not.
        source: Fate,
    },
    /// It was killed and is still there.
    #[error(
        "driver {name} of an earlier gateway (pid {pid}) was killed and does not end; restart the system if it holds a line"
    )]
    Stuck {
        /// The driver's id.
        name: String,
        /// Its process.
        pid: u32,
    },
}

/// What is left below a directory, without touching any of it.
pub fn records(dir: &Path) -> Vec<Record> {
    let mut dirs = Vec::new();
    collect(dir, DEPTH, &mut dirs);
    dirs.sort();
    dirs.into_iter().map(Record::read).collect()
}

fn collect(dir: &Path, depth: usize, found: &mut Vec<PathBuf>) {
    if dir.join(RECORD).exists() || dir.join(LOCK).exists() {
        found.push(dir.to_owned());
        return;
    }
    if depth == 0 {
        return;
    }
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if found.len() < MAX_RECORDS && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            collect(&entry.path(), depth - 1, found);
        }
    }
}

impl Record {
    fn read(dir: PathBuf) -> Self {
        match read(&dir) {
            Ok(facts) => Self {
                dir,
                alive: !matches!(facts.birth.find(), Err(Fate::Ended | Fate::Rebooted)),
                app_version: facts.announced().ok().flatten().map(|handshake| handshake.app),
                checksum: facts.checksum.as_deref().and_then(|text| text.parse().ok()),
                name: facts.name,
                pid: facts.birth.pid,
                note: facts.note,
                damage: None,
            },
            Err(damage) => Self {
                dir,
                alive: false,
                name: String::new(),
                pid: 0,
                note: String::new(),
                app_version: None,
                checksum: None,
                damage: Some(damage),
            },
        }
    }
}

/// Ends what a record names: asks (SIGTERM), waits for `grace`, kills its whole group, and removes
/// its directories. Nobody else is hit: a process that is not the recorded one is left alone.
pub async fn end_stray(record: Record, grace: Duration) -> Result<(), StrayError> {
    let Some(kept) = KeptDir::open(&record.dir).await? else { return Ok(()) };
    // read again under the lock: another host may have had it meanwhile
    match kept.read() {
        Ok(facts) => {
            end(&facts, grace).await?;
            clear(facts).await;
        }
        Err(_) => end_unrecorded(record.dir).await,
    }
    kept.remove();
    Ok(())
}

/// Of a host that was killed before it wrote the record, or whose record is damaged or of another
/// version: nobody could ever take the process over, and it may hold a line.
async fn end_unrecorded(record: PathBuf) {
    let ended = tokio::task::spawn_blocking(move || {
        for (group, dir) in tmp_dirs() {
            if let Some(dir) = SocketDir::adopt_of(&dir, &record) {
                tracing::info!(dir = %dir.path().display(), "driver of an earlier gateway that has no record is ended");
                kill_members(group, dir.path());
            }
        }
    });
    // it fails only when the runtime ends
    let _ = ended.await;
}

async fn end(facts: &Facts, grace: Duration) -> Result<(), StrayError> {
    let (name, pid) = (facts.name.clone(), facts.birth.pid);
    let living = match facts.birth.find() {
        Ok(living) => living,
        Err(Fate::Rebooted | Fate::Ended) => return Ok(()),
        Err(source) => return Err(StrayError::Unknown { name, pid, source }),
    };
    let unknown = |error| StrayError::Unknown { name: name.clone(), pid, source: Fate::Unknown(error) };
    let ended = living.pidfd.watch().map_err(unknown)?;
    living.pidfd.signal(Signal::TERM);
    let asked = timeout(grace, ended.readable()).await;
    living.kill_group(&facts.socket_dir);
    if asked.is_err() && timeout(KILL_LIMIT, ended.readable()).await.is_err() {
        return Err(StrayError::Stuck { name, pid });
    }
    tracing::info!(driver = name, pid, killed = asked.is_err(), "driver of an earlier gateway ended");
    Ok(())
}

/// Removes what a dead plugin left: its control group, members of its group, its directory for
/// sockets.
pub(super) async fn clear(facts: Facts) {
    // off the runtime's threads: what a plugin left in its directory can be large
    let cleared = tokio::task::spawn_blocking(move || {
        if let Some(cgroup) = facts.cgroup.as_deref().and_then(Cgroup::adopt) {
            cgroup.remove();
        }
        let Some(dir) = SocketDir::adopt(&facts.socket_dir, &facts.name) else { return };
        let group = i32::try_from(facts.birth.pid).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            kill_members(group, dir.path());
        }
    });
    // it fails only when the runtime ends
    let _ = cleared.await;
}
