//! Driver processes that outlive a round of the app (reload) or the process itself (handover, a kill).
//!
//! ```text
//! <run_dir>/drivers/<id>/<n>/   record of one process, for the gateway after this one
//! <run_dir>/plugins/…           its socket and temporary files
//! ```
//! Always true: nothing is started here; a process is either with a supervisor or here; what cannot be
//! taken over is ended, never left to itself.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use sagoo_edge_plugin_host::{
    Lack, Plugin, Reattach, ReattachError, ReattachFailure, Record, end_stray, records,
};
use sagoo_edge_proto::handshake;

use super::instance::GRACE;
use super::note::Note;
use crate::config::types::DriversConfig;

/// What a stray gets to end by itself.
const STRAY_GRACE: Duration = Duration::from_secs(1);
/// Longest path under which sockets can be made; deeper, they go to the system's temporary directory.
const LONGEST_RUN_DIR: usize = 60;

/// See the module. One for the life of the gateway's process.
#[derive(Debug)]
pub struct Fleet {
    /// Where records are; `None`: nowhere, so that drivers end with us.
    records: Option<PathBuf>,
    plugins: Option<PathBuf>,
    /// Between two rounds there is no task that could own this; it is locked for a moment only.
    inside: Mutex<Inside>,
}

#[derive(Debug, Default)]
struct Inside {
    /// Processes without a supervisor.
    here: BTreeMap<String, Vec<Kept>>,
    /// Records of an earlier gateway nobody asked for yet.
    left: Vec<Record>,
    /// Record directories that were given out.
    dirs: u32,
    /// What the kernel or the installation lacks, as far as it was said.
    said: BTreeSet<&'static str>,
}

/// A process that runs.
#[derive(Debug)]
pub struct Kept {
    /// It.
    pub plugin: Plugin,
    /// An earlier gateway started it.
    pub reattached: bool,
}

impl Fleet {
    /// Reads the records an earlier gateway left; nothing is started or killed yet.
    pub fn open(drivers: &DriversConfig) -> Arc<Self> {
        let dir = drivers.run_dir.join("drivers");
        let (records_dir, left) = match private(&dir) {
            Ok(()) => {
                if drivers.user.is_some() {
                    let_pass(&drivers.run_dir);
                }
                let left = records(&dir);
                (Some(dir), left)
            }
            Err(error) => {
                tracing::warn!(dir = %dir.display(), %error, "drivers will not outlive the gateway; let [drivers] run_dir name a directory it may write to");
                (None, Vec::new())
            }
        };
        let plugins = drivers.run_dir.join("plugins");
        let plugins = (records_dir.is_some() && plugins.as_os_str().as_bytes().len() <= LONGEST_RUN_DIR)
            .then_some(plugins);
        Arc::new(Self {
            records: records_dir,
            plugins,
            inside: Mutex::new(Inside { left, ..Inside::default() }),
        })
    }

    /// Where drivers' sockets are made; `None`: in the system's temporary directory.
    pub fn plugins(&self) -> Option<PathBuf> {
        self.plugins.clone()
    }

    /// A directory for the record of a new process of this driver; `None`: it ends with us.
    pub fn record_dir(&self, driver: &str) -> Option<PathBuf> {
        let parent = self.records.as_ref()?.join(driver);
        let mut inside = self.inside();
        loop {
            inside.dirs += 1;
            let dir = parent.join(inside.dirs.to_string());
            if !dir.exists() {
                return Some(dir);
            }
        }
    }

    /// The running processes of this driver, each with what was noted about it: from the round before,
    /// or from an earlier gateway. What cannot be taken over is ended.
    pub async fn take(&self, driver: &str) -> Vec<(Kept, Note)> {
        let (here, left) = {
            let mut inside = self.inside();
            let left: Vec<Record> = inside.left.extract_if(.., |record| self.is_of(record, driver)).collect();
            (inside.here.remove(driver).unwrap_or_default(), left)
        };
        let mut taken = Vec::new();
        for kept in here {
            match Note::of_text(&kept.plugin.note()) {
                Some(note) => taken.push((kept, note)),
                None => drop(kept.plugin.stop(GRACE).await),
            }
        }
        for record in left {
            match (Note::of_text(&record.note), record.app_version) {
                (Some(note), Some(handshake::APP_VERSION)) if record.alive => {
                    match Plugin::reattach(&record.dir, Reattach::default()).await {
                        Ok(plugin) => taken.push((Kept { plugin, reattached: true }, note)),
                        // it ended between two looks: there is nothing to take over
                        Err(ReattachError {
                            failure: ReattachFailure::Gone(_) | ReattachFailure::NoRecord,
                            ..
                        }) => {
                            end(driver, record).await;
                        }
                        Err(error) => {
                            tracing::warn!(driver, %error, "driver of an earlier gateway is ended, not taken over");
                            end(driver, record).await;
                        }
                    }
                }
                _ => end(driver, record).await,
            }
        }
        taken
    }

    /// A process goes on without a supervisor.
    pub fn keep(&self, driver: &str, kept: Kept) {
        self.inside().here.entry(driver.to_owned()).or_default().push(kept);
    }

    /// Ends strays: processes whose records cannot be taken over, or of drivers that are not
    /// `configured` any more. Called at the start of every round.
    pub async fn finish(&self, configured: &BTreeSet<String>) {
        let (here, left) = {
            let mut inside = self.inside();
            let wanted = |record: &Record| configured.iter().any(|driver| self.is_of(record, driver));
            let left: Vec<Record> = inside.left.extract_if(.., |record| !wanted(record)).collect();
            let gone: Vec<String> =
                inside.here.keys().filter(|driver| !configured.contains(*driver)).cloned().collect();
            let here: Vec<(String, Vec<Kept>)> =
                gone.into_iter().filter_map(|driver| inside.here.remove_entry(&driver)).collect();
            (here, left)
        };
        for (driver, kept) in here {
            for Kept { plugin, .. } in kept {
                tracing::info!(
                    driver,
                    pid = plugin.pid(),
                    "no connection needs the driver any more, it is stopped"
                );
                plugin.stop(GRACE).await;
            }
        }
        for record in left {
            end(&record.name.clone(), record).await;
        }
    }

    /// The gateway's process ends: what is here goes on without it.
    pub fn leave(&self) {
        let here = std::mem::take(&mut self.inside().here);
        for Kept { plugin, .. } in here.into_values().flatten() {
            plugin.detach();
        }
    }

    /// Says what drivers are not confined by, once for all of them.
    pub fn say(&self, driver: &str, lacks: &[Lack]) {
        for lack in lacks {
            if self.inside().said.insert(lack.what) {
                tracing::warn!(
                    driver,
                    what = lack.what,
                    why = lack.why,
                    "drivers are not confined as they should be"
                );
            }
        }
    }

    /// By its place, which is ours, and not by its name, which may be damaged.
    fn is_of(&self, record: &Record, driver: &str) -> bool {
        self.records.as_ref().is_some_and(|records| record.dir.starts_with(records.join(driver)))
    }

    fn inside(&self) -> MutexGuard<'_, Inside> {
        self.inside.lock().expect("nobody panics inside")
    }
}

async fn end(driver: &str, record: Record) {
    let (pid, alive) = (record.pid, record.alive);
    match end_stray(record, STRAY_GRACE).await {
        Ok(()) if alive => tracing::info!(driver, pid, "driver of an earlier gateway was ended"),
        Ok(()) => {}
        Err(error) => tracing::error!(driver, %error, "driver of an earlier gateway is still there"),
    }
}

/// Lets the drivers' own user pass through the run directory to its sockets; it still sees nothing.
/// Where that is not ours to do, the plugin host says what is closed and how to open it.
fn let_pass(run_dir: &Path) {
    let private = std::fs::metadata(run_dir).is_ok_and(|meta| meta.mode() & 0o777 == 0o700);
    if private {
        let _ = std::fs::set_permissions(run_dir, Permissions::from_mode(0o711));
    }
}

/// Makes the directory, for this user alone.
fn private(dir: &Path) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    // it may have been there: that we may write to it is what matters
    let probe = dir.join(format!(".{}", std::process::id()));
    DirBuilder::new().mode(0o700).create(&probe)?;
    std::fs::remove_dir(&probe)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers(run_dir: &Path) -> DriversConfig {
        DriversConfig {
            dirs: Vec::new(),
            trusted_keys: run_dir.join("keys"),
            allow_unsigned: Vec::new(),
            run_dir: run_dir.to_owned(),
            orphan_grace: Duration::from_secs(600),
            user: None,
            memory_max: None,
            cpu_max: None,
        }
    }

    #[tokio::test]
    async fn every_process_has_a_directory_of_its_own_and_those_of_others_are_stepped_over() {
        let dir = tempfile::tempdir().unwrap();
        let left = dir.path().join("drivers/modbus/2");
        std::fs::create_dir_all(&left).unwrap();
        let fleet = Fleet::open(&drivers(dir.path()));
        let dirs: Vec<_> = (0..3).map(|_| fleet.record_dir("modbus").unwrap()).collect();
        let all: BTreeSet<_> = dirs.iter().chain([&left]).collect();
        assert_eq!(all.len(), 4, "{dirs:?}");
        assert!(fleet.take("modbus").await.is_empty());
    }

    #[test]
    fn a_user_for_drivers_may_pass_through_the_run_directory_and_not_into_the_records() {
        for (user, expected) in [(None, 0o700), (Some("sagoo-driver".to_owned()), 0o711)] {
            let dir = tempfile::tempdir().unwrap();
            let run_dir = dir.path().join("run");
            // whoever locks it makes it first
            private(&run_dir.join("drivers")).unwrap();
            Fleet::open(&DriversConfig { user, ..drivers(&run_dir) });
            let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
            assert_eq!((mode(&run_dir), mode(&run_dir.join("drivers"))), (expected, 0o700));
        }
    }

    #[test]
    fn without_a_place_for_records_drivers_end_with_the_gateway() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, "").unwrap();
        let fleet = Fleet::open(&drivers(&file));
        assert_eq!((fleet.record_dir("modbus"), fleet.plugins()), (None, None));
    }

    #[tokio::test]
    async fn what_is_left_of_dead_processes_is_cleared_whether_their_driver_is_configured_or_not() {
        let dir = tempfile::tempdir().unwrap();
        for driver in ["here", "gone"] {
            let record = dir.path().join("drivers").join(driver).join("1");
            std::fs::create_dir_all(&record).unwrap();
            std::fs::write(record.join("record.json"), "{").unwrap();
        }
        let fleet = Fleet::open(&drivers(dir.path()));
        fleet.finish(&BTreeSet::from(["here".to_owned()])).await;
        let there = |driver: &str| dir.path().join("drivers").join(driver).join("1").exists();
        assert_eq!((there("here"), there("gone")), (true, false));
        assert!(fleet.take("here").await.is_empty());
        assert!(!there("here"));
    }
}
