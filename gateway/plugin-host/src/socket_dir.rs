//! The directory of one launch: private to the user, short enough for a socket path, and removed
//! with everything in it when the plugin is gone, however it went.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::alive;

/// Longest path of a launch's directory: a socket path holds 107 bytes, `/plugin` and ten digits
/// follow, and a little is left for plugins that name theirs differently.
pub(crate) const LONGEST_DIR: usize = 83;
/// How much of the driver's name the directory shows.
const NAME_CHARS: usize = 16;
/// Left-over directories of an earlier process with our id that are stepped over.
const MAX_TRIES: u32 = 100;
/// Where sockets go when the system's own temporary directory is too deep.
const SHORT_DIR: &str = "/tmp";

/// Names the record of a kept plugin, in the directory that plugin uses.
const KEPT: &str = ".kept";

/// Removes itself when dropped.
#[derive(Debug)]
pub(crate) struct SocketDir {
    path: PathBuf,
    left: bool,
}

impl SocketDir {
    /// Makes a new directory in `parent` (itself made if missing), or in the temporary directory.
    pub(crate) fn create(parent: Option<&Path>, name: &str) -> Result<Self, (PathBuf, io::Error)> {
        static LAUNCHES: AtomicU32 = AtomicU32::new(0);
        let name = shown(name);
        let mut builder = DirBuilder::new();
        builder.mode(0o700);
        let temp = env::temp_dir();
        let mut parent = parent.unwrap_or(&temp);
        for _ in 0..MAX_TRIES {
            let launch = LAUNCHES.fetch_add(1, Ordering::Relaxed);
            let own = format!("{name}-{}-{launch}", process::id());
            if parent == temp && !fits(&parent.join(&own)) {
                parent = Path::new(SHORT_DIR);
            }
            let path = parent.join(&own);
            if !fits(&path) {
                let long = io::Error::new(io::ErrorKind::InvalidFilename, "too long for a socket path");
                return Err((path, long));
            }
            let made =
                builder.recursive(true).create(parent).and_then(|()| builder.recursive(false).create(&path));
            match made {
                Ok(()) => {
                    sweep(parent, &name);
                    return Ok(Self { path, left: false });
                }
                // made by an earlier process that had our number
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => remove_unused(&path),
                Err(error) => return Err((path, error)),
            }
        }
        let full = io::Error::new(io::ErrorKind::AlreadyExists, "full of left-over directories");
        Err((parent.to_owned(), full))
    }

    /// One that an earlier host made for a plugin of this name, if it is there and looks like it.
    pub(crate) fn adopt(path: &Path, name: &str) -> Option<Self> {
        let file = path.file_name()?.to_str()?;
        let ours = path.is_absolute() && host_of(file, &shown(name)).is_some();
        let is_dir = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
        (ours && is_dir).then(|| Self { path: path.to_owned(), left: false })
    }

    /// One that an earlier host made for the plugin of this record, whatever that plugin is called.
    pub(crate) fn adopt_of(path: &Path, record: &Path) -> Option<Self> {
        let names_it = fs::read(path.join(KEPT)).is_ok_and(|name| *name == *record.as_os_str().as_bytes());
        let name = path.file_name()?.to_str()?.split('-').next()?;
        names_it.then(|| Self::adopt(path, name)).flatten()
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps later hosts from sweeping it while that record is there.
    pub(crate) fn keep_for(&self, record: &Path) -> io::Result<()> {
        fs::write(self.path.join(KEPT), record.as_os_str().as_bytes())
    }

    /// Lets it be: its plugin goes on.
    pub(crate) fn leave(mut self) {
        self.left = true;
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        if self.left {
            return;
        }
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket directory of a plugin not removed");
        }
    }
}

/// Removes what launches of a killed host left, unless a plugin still lives in it.
fn sweep(parent: &Path, name: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let host = entry.file_name().to_str().and_then(|file| host_of(file, name));
        if host.is_some_and(|host| !Path::new("/proc").join(host.to_string()).exists()) {
            remove_unused(&entry.path());
        }
    }
}

fn remove_unused(dir: &Path) {
    if !is_kept(dir) && !alive::is_in_use(dir) {
        // fails on one that is not ours, which is meant
        let _ = fs::remove_dir_all(dir);
    }
}

/// The host that made a directory for plugins of this name.
fn host_of(file: &str, name: &str) -> Option<u32> {
    let (host, launch) = file.strip_prefix(name)?.strip_prefix('-')?.split_once('-')?;
    launch.parse::<u32>().ok().and(host.parse().ok())
}

fn is_kept(dir: &Path) -> bool {
    fs::read(dir.join(KEPT)).is_ok_and(|record| Path::new(OsStr::from_bytes(&record)).exists())
}

/// As much of a driver's name as the directory shows.
fn shown(name: &str) -> String {
    name.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS).collect()
}

fn fits(path: &Path) -> bool {
    path.as_os_str().as_bytes().len() <= LONGEST_DIR
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_directory_is_private_and_goes_with_its_contents() {
        let parent = tempfile::tempdir().unwrap();
        let run = parent.path().join("run");
        let dir = SocketDir::create(Some(&run), "../mod bus").unwrap();
        let other = SocketDir::create(Some(&run), "../mod bus").unwrap();
        assert_ne!(dir.path(), other.path());
        assert_eq!(dir.path().parent(), Some(run.as_path()));
        assert_eq!(fs::metadata(dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(dir.path().join("plugin1"), "").unwrap();
        drop((dir, other));
        assert_eq!(fs::read_dir(run).unwrap().count(), 0);
    }

    #[test]
    fn a_run_directory_too_deep_for_sockets_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("d".repeat(90));
        let (path, error) = SocketDir::create(Some(&deep), "modbus").unwrap_err();
        assert!(path.starts_with(&deep));
        assert_eq!(error.kind(), io::ErrorKind::InvalidFilename);
    }

    #[test]
    fn what_a_killed_host_left_is_swept_and_what_is_in_use_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dead = u32::MAX;
        let [empty, full, used, kept, alive, foreign] = [
            format!("drv-{dead}-0"),
            format!("drv-{dead}-1"),
            format!("drv-{dead}-2"),
            format!("drv-{dead}-3"),
            format!("drv-{}-9", process::id()),
            format!("other-{dead}-0"),
        ]
        .map(|name| parent.path().join(name));
        for dir in [&empty, &full, &used, &kept, &alive, &foreign] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(full.join("socket"), "").unwrap();
        let record = parent.path().join("record");
        fs::write(kept.join(KEPT), record.as_os_str().as_bytes()).unwrap();
        fs::create_dir(&record).unwrap();
        let mut user = process::Command::new("sleep").arg("1000").env("TMPDIR", &used).spawn().unwrap();
        let _dir = SocketDir::create(Some(parent.path()), "drv").unwrap();
        assert!(!empty.exists() && !full.exists());
        assert!(used.exists() && kept.exists() && alive.exists() && foreign.exists());
        user.kill().unwrap();
        user.wait().unwrap();
        fs::remove_dir(&record).unwrap();
        let _dir = SocketDir::create(Some(parent.path()), "drv").unwrap();
        assert!(!used.exists() && !kept.exists() && alive.exists() && foreign.exists());
    }

    #[test]
    fn only_what_looks_like_ours_is_taken_over() {
        let parent = tempfile::tempdir().unwrap();
        let at = |name: &str| {
            let path = parent.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let ours = at("modbus-12-3");
        std::os::unix::fs::symlink(&ours, parent.path().join("modbus-12-4")).unwrap();
        for not_ours in [
            at("modbus"),
            at("modbus-1"),
            at("modbus-x-3"),
            parent.path().join("modbus-12-4"),
            parent.path().join("modbus-9-9"),
            "modbus-12-3".into(),
            "/".into(),
        ] {
            assert!(SocketDir::adopt(&not_ours, "modbus").is_none(), "{}", not_ours.display());
        }
        drop(SocketDir::adopt(&ours, "mod/bus").unwrap());
        assert!(!ours.exists());
    }
}
