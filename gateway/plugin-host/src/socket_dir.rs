//! The directory of one launch: private to the user, short enough for a socket path, and removed
//! with everything in it when the plugin is gone, however it went.

use std::env;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

/// Longest path of a launch's directory: a socket path holds 107 bytes, `/plugin` and ten digits
/// follow, and a little is left for plugins that name theirs differently.
pub(crate) const LONGEST_DIR: usize = 83;
/// How much of the driver's name the directory shows.
const NAME_CHARS: usize = 16;
/// Left-over directories of an earlier process with our id that are stepped over.
const MAX_TRIES: u32 = 100;
/// Where sockets go when the system's own temporary directory is too deep.
const SHORT_DIR: &str = "/tmp";

/// Removes itself when dropped.
#[derive(Debug)]
pub(crate) struct SocketDir {
    path: PathBuf,
}

impl SocketDir {
    /// Makes a new directory in `parent` (itself made if missing), or in the temporary directory.
    pub(crate) fn create(parent: Option<&Path>, name: &str) -> Result<Self, (PathBuf, io::Error)> {
        static LAUNCHES: AtomicU32 = AtomicU32::new(0);
        let name: String = name.chars().filter(char::is_ascii_alphanumeric).take(NAME_CHARS).collect();
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
                    return Ok(Self { path });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err((path, error)),
            }
        }
        let full = io::Error::new(io::ErrorKind::AlreadyExists, "full of left-over directories");
        Err((parent.to_owned(), full))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketDir {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "socket directory of a plugin not removed");
        }
    }
}

/// Removes what launches of a killed host left: its empty directories. One that holds a socket may
/// still belong to a living plugin and stays.
fn sweep(parent: &Path, name: &str) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let left = entry.file_name();
        let host = left
            .to_str()
            .and_then(|left| left.strip_prefix(name)?.strip_prefix('-')?.split_once('-'))
            .and_then(|(host, launch)| launch.parse::<u32>().ok().and(host.parse::<u32>().ok()));
        if host.is_some_and(|host| !Path::new("/proc").join(host.to_string()).exists()) {
            // fails on one that is not empty or not ours, which is meant
            let _ = fs::remove_dir(entry.path());
        }
    }
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
        let [empty, used, alive, foreign] = [
            format!("drv-{dead}-0"),
            format!("drv-{dead}-1"),
            format!("drv-{}-9", process::id()),
            format!("other-{dead}-0"),
        ]
        .map(|name| parent.path().join(name));
        for dir in [&empty, &used, &alive, &foreign] {
            fs::create_dir(dir).unwrap();
        }
        fs::write(used.join("socket"), "").unwrap();
        let _dir = SocketDir::create(Some(parent.path()), "drv").unwrap();
        assert!(!empty.exists() && used.exists() && alive.exists() && foreign.exists());
    }
}
