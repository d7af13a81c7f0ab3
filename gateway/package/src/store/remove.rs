//! Removing a driver, or one of its versions.
//!
//! Always true: first `current` goes, so that a running gateway releases the devices and stops the
//! driver; its files go when no process runs from them any more.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use super::Store;
use super::install::{REMOVED, sweep};
use super::layout::{self, Home};
use crate::files;
use crate::lock::Lock;
use crate::name::{self, Version};

/// Longest wait for a running gateway to stop the driver.
pub const RELEASE_WAIT: Duration = Duration::from_secs(20);
/// How often it is looked.
const AGAIN: Duration = Duration::from_millis(100);
/// Where the kernel shows processes.
const PROC: &str = "/proc";

/// What was removed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Removed {
    /// Versions that are gone.
    pub versions: Vec<String>,
    /// Where they were.
    pub path: PathBuf,
    /// Where the driver is found now, if another directory has it, too.
    pub instead: Option<PathBuf>,
}

/// Why nothing, or not everything, was removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// It is not there.
    #[error("no package {id} in {dirs}; sagoo-edge driver list shows what is installed")]
    Missing {
        /// Driver id.
        id: String,
        /// Where it was looked for.
        dirs: String,
    },
    /// That version is not there.
    #[error("{id} has no version {version}, but {versions}")]
    MissingVersion {
        /// Driver id.
        id: String,
        /// What was asked for.
        version: String,
        /// What is there.
        versions: String,
    },
    /// It is no package.
    #[error("{path} is a program alone and no package; delete it yourself")]
    Bare {
        /// The program.
        path: PathBuf,
    },
    /// The version is in use.
    #[error(
        "{id} {version} is in use; install another version first, or remove the driver: sagoo-edge driver remove {id}"
    )]
    InUse {
        /// Driver id.
        id: String,
        /// Its version.
        version: String,
    },
    /// Processes go on running from its files.
    #[error(
        "{id} is out of use, but its files in {path} stay: process {pids} still runs from them; stop it, then remove the driver again"
    )]
    StillRunning {
        /// Driver id.
        id: String,
        /// Its folder.
        path: PathBuf,
        /// Who.
        pids: String,
    },
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was to be changed.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Store {
    /// Removes the driver `id`, or only one version of it that is not in use. Waits up to `wait` for a
    /// running gateway to stop it; `waiting` is told which processes still run from its files.
    pub fn remove(
        &self,
        id: &str,
        version: Option<&str>,
        wait: Duration,
        waiting: &mut dyn FnMut(&[u32]),
    ) -> Result<Removed, RemoveError> {
        let home = self.home_to_remove(id)?;
        let dir = home.dir().to_owned();
        let _lock = Lock::take(&dir).map_err(io_at(&dir))?;
        sweep(&dir);
        let versions = home.versions();
        let (gone, path) = match version {
            Some(version) => (vec![version.to_owned()], one_version(&home, id, version, &versions)?),
            None => {
                home.unset_current().map_err(io_at(&home.current_file()))?;
                (versions.iter().map(Version::to_string).collect(), home.0.clone())
            }
        };
        let pids = let_go(&path, wait, waiting);
        if !pids.is_empty() {
            let pids = pids.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
            return Err(RemoveError::StillRunning { id: id.to_owned(), path, pids });
        }
        let name = path.file_name().expect("a version or an id").to_string_lossy();
        let aside = path.with_file_name(format!("{REMOVED}{name}"));
        let done = fs::rename(&path, &aside).and_then(|()| fs::remove_dir_all(&aside));
        done.and_then(|()| files::sync_dir(&dir)).map_err(io_at(&path))?;
        let instead = self.candidates(id, &self.bad(id)).unwrap_or_default().first().map(|next| next.path());
        Ok(Removed { versions: gone, path, instead })
    }

    fn home_to_remove(&self, id: &str) -> Result<Home, RemoveError> {
        let missing = || RemoveError::Missing { id: id.to_owned(), dirs: self.listed_dirs() };
        if !name::is_id(id) {
            return Err(missing());
        }
        let homes = self.dirs.iter().map(|dir| Home::of(dir, id));
        // without `current` too: a removal that was cut short is finished by asking again
        let there = |home: &Home| home.current_file().exists() || !home.versions().is_empty();
        if let Some(home) = homes.into_iter().find(there) {
            return Ok(home);
        }
        match self.dirs.iter().map(|dir| dir.join(name::bare(id))).find(|path| path.is_file()) {
            Some(path) => Err(RemoveError::Bare { path }),
            None => Err(missing()),
        }
    }
}

fn one_version(home: &Home, id: &str, version: &str, versions: &[Version]) -> Result<PathBuf, RemoveError> {
    let Some(found) = versions.iter().find(|known| known.to_string() == version) else {
        let versions = versions.iter().map(Version::to_string).collect::<Vec<_>>().join(", ");
        return Err(RemoveError::MissingVersion { id: id.to_owned(), version: version.to_owned(), versions });
    };
    let current = home.current().map_err(io_at(&home.current_file()))?;
    match current.is_some_and(|current| current.version == *found) {
        true => Err(RemoveError::InUse { id: id.to_owned(), version: version.to_owned() }),
        false => Ok(home.version_dir(found)),
    }
}

/// Waits until nobody runs from the folder any more; who still does.
fn let_go(folder: &Path, wait: Duration, waiting: &mut dyn FnMut(&[u32])) -> Vec<u32> {
    let began = Instant::now();
    loop {
        let pids = running_from(folder);
        if pids.is_empty() || began.elapsed() >= wait {
            return pids;
        }
        waiting(&pids);
        thread::sleep(AGAIN);
    }
}

/// Processes whose program, or whose script, is below the folder.
fn running_from(folder: &Path) -> Vec<u32> {
    let Ok(folder) = fs::canonicalize(folder) else { return Vec::new() };
    let pids = layout::names(Path::new(PROC)).into_iter().filter_map(|name| name.parse::<u32>().ok());
    let runs = |pid: &u32| {
        let process = Path::new(PROC).join(pid.to_string());
        let program = fs::read_link(process.join("exe")).is_ok_and(|program| program.starts_with(&folder));
        let given = || fs::read(process.join("cmdline")).unwrap_or_default();
        // what an interpreter is given first: its options, then the script
        let script = || {
            given()
                .split(|b| *b == 0)
                .skip(1)
                .take(3)
                .any(|arg| std::str::from_utf8(arg).is_ok_and(|arg| Path::new(arg).starts_with(&folder)))
        };
        *pid != std::process::id() && (program || script())
    };
    pids.filter(runs).collect()
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> RemoveError + use<> {
    let path = path.to_owned();
    move |source| RemoveError::Io { path, source }
}
