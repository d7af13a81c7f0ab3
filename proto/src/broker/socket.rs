//! Sockets on disk: ours, which only the other side can reach, and the other side's, where they may be.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::net::UnixListener;

use super::error::BrokerError;

/// Socket names of an earlier process with our id that are stepped over.
const MAX_TRIES: u32 = 100;

/// A socket that listens. Its file, if it is ours, goes with it.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) listener: UnixListener,
    _file: Option<File>,
}

impl Socket {
    /// One whose file is somebody else's business.
    pub(super) fn of(listener: UnixListener) -> Self {
        Self { listener, _file: None }
    }

    /// Binds a new socket in `dir`, for the owner of that directory and nobody else.
    pub(super) fn bind(dir: &Path) -> Result<(Self, PathBuf), BrokerError> {
        static SOCKETS: AtomicU32 = AtomicU32::new(0);
        let mut tries = 0;
        loop {
            let number = SOCKETS.fetch_add(1, Ordering::Relaxed);
            // Both sides may use the same directory, hence the process id.
            let path = dir.join(format!("b{}-{number}", process::id()));
            let failed = |source| BrokerError::Socket { path: path.clone(), source };
            match UnixListener::bind(&path) {
                Ok(listener) => {
                    let file = File(path.clone());
                    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
                    give_to_owner(&path, dir).map_err(failed)?;
                    return Ok((Self { listener, _file: Some(file) }, path));
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse && tries < MAX_TRIES => tries += 1,
                Err(error) => return Err(failed(error)),
            }
        }
    }
}

/// A host that gave the directory to a plugin with a user of its own gives it the socket, too.
fn give_to_owner(socket: &Path, dir: &Path) -> io::Result<()> {
    let (dir, own) = (fs::metadata(dir)?, fs::symlink_metadata(socket)?);
    if dir.uid() == own.uid() {
        return Ok(());
    }
    chown(socket, Some(dir.uid()), Some(dir.gid()))
}

/// A socket's file; removed when dropped.
#[derive(Debug)]
struct File(PathBuf);

impl Drop for File {
    fn drop(&mut self) {
        // Gone already is what was wanted.
        let _ = fs::remove_file(&self.0);
    }
}

/// Whether a socket lies outside the directory, or is a link that may lead out of it. One that is
/// not there at all is for the connection to complain about.
pub fn is_elsewhere(socket: &Path, dir: &Path) -> bool {
    let parent = socket.parent().and_then(|parent| fs::canonicalize(parent).ok());
    let dir = fs::canonicalize(dir).ok();
    let (Some(parent), Some(dir)) = (parent, dir) else { return true };
    !socket.is_absolute()
        || !parent.starts_with(dir)
        || fs::symlink_metadata(socket).is_ok_and(|found| !found.file_type().is_socket())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::os::unix::net;

    use super::*;

    #[test]
    fn only_a_socket_in_its_own_directory_is_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let (own, other) = (dir.path().join("own"), dir.path().join("own-not"));
        for dir in [&own, &other] {
            fs::create_dir_all(dir.join("sub")).unwrap();
        }
        let _listeners = [own.join("p"), own.join("sub/p"), other.join("p")].map(net::UnixListener::bind);
        symlink(other.join("p"), own.join("link")).unwrap();
        symlink(&other, own.join("out")).unwrap();
        symlink(&own, dir.path().join("own-by-another-name")).unwrap();
        fs::write(own.join("file"), "").unwrap();
        for good in ["own/p", "own/sub/p", "own/not-there", "own/sub/../p", "own-by-another-name/p"] {
            assert!(!is_elsewhere(&dir.path().join(good), &own), "{good}");
        }
        assert!(!is_elsewhere(&own.join("p"), &dir.path().join("own-by-another-name")));
        for bad in
            ["own-not/p", "own/link", "own/out/p", "own/../own-not/p", "own/file", "gone/p", "own/no/p"]
        {
            assert!(is_elsewhere(&dir.path().join(bad), &own), "{bad}");
        }
        for bad in ["p", "@abstract", "own/p", "/", "/p"] {
            assert!(is_elsewhere(Path::new(bad), &own), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_socket_is_for_the_owner_of_its_directory_only_and_goes_with_its_listener() {
        let dir = tempfile::tempdir().unwrap();
        if rustix::process::geteuid().is_root() {
            chown(dir.path(), Some(65_534), Some(65_534)).unwrap();
        }
        let (socket, path) = Socket::bind(dir.path()).unwrap();
        let (of_dir, of_socket) = (fs::metadata(dir.path()).unwrap(), fs::symlink_metadata(&path).unwrap());
        assert_eq!(of_socket.mode() & 0o777, 0o600);
        assert_eq!(of_socket.uid(), of_dir.uid());
        drop(socket);
        assert!(!path.exists());
        let error = Socket::bind(&dir.path().join("gone")).unwrap_err().to_string();
        assert!(error.contains("gone/b") && error.contains("short and writable"), "{error}");
    }
}
