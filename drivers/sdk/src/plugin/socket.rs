//! The socket the gateway connects to.
//!
//! Always true: only this user can reach it (its directory is private, or the host's own private
//! one); its path fits a unix address and the handshake line; it is removed when dropped.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use sagoo_edge_proto::handshake::{Address, PLUGIN_UNIX_SOCKET_DIR, PLUGIN_UNIX_SOCKET_GROUP};
use tokio::net::UnixListener;
use tracing::warn;

/// Bytes of a path that fit a unix address, its final zero left out; the smaller of Linux and macOS.
const PATH_BYTES: usize = 103;
/// The longest name of a socket, brokered ones included.
const NAME_BYTES: usize = 16;
/// The directory that is always short enough.
const SHORT_DIR: &str = "/tmp";

/// A bound socket.
#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) listener: UnixListener,
    pub(crate) remove: Remove,
}

/// What is on disk; removed when dropped.
#[derive(Debug)]
pub(crate) struct Remove {
    path: PathBuf,
    /// The private directory around it, when it is ours.
    dir: Option<PathBuf>,
}

/// No socket could be made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SocketError {
    #[error("socket directory {path}: {error}; set TMPDIR to a directory this user may write")]
    Dir { path: PathBuf, error: io::Error },
    #[error("socket {path}: {error}")]
    Bind { path: PathBuf, error: io::Error },
}

impl Socket {
    /// Binds where the environment says, or in the short directory when that does not do.
    pub(crate) fn bind() -> Result<Self, SocketError> {
        if std::env::var_os(PLUGIN_UNIX_SOCKET_GROUP).is_some_and(|group| !group.is_empty()) {
            warn!("{PLUGIN_UNIX_SOCKET_GROUP} is not supported, only this user can connect");
        }
        let given = std::env::var_os(PLUGIN_UNIX_SOCKET_DIR).filter(|dir| !dir.is_empty());
        let (base, private) = match given {
            Some(dir) => (PathBuf::from(dir), true),
            None => (std::env::temp_dir(), false),
        };
        match Self::bind_in(&base, private) {
            Err(error) if base != Path::new(SHORT_DIR) => {
                warn!(%error, "the socket goes to {SHORT_DIR} instead");
                Self::bind_in(Path::new(SHORT_DIR), false)
            }
            bound => bound,
        }
    }

    /// Binds in `base` when it is private already, else in a private directory made in it.
    fn bind_in(base: &Path, private: bool) -> Result<Self, SocketError> {
        let name = format!("plugin{:08x}", fastrand::u32(..));
        let (path, dir) = if private {
            (base.join(name), None)
        } else {
            (base.join(&name).join("main"), Some(base.join(name)))
        };
        let around = path.parent().map_or(0, |dir| dir.as_os_str().len());
        let fits = Address::Unix(path.clone()).fits_the_line() && around + 1 + NAME_BYTES <= PATH_BYTES;
        if !fits {
            let error =
                io::Error::new(io::ErrorKind::InvalidFilename, "too long, or with characters no host reads");
            return Err(SocketError::Bind { path, error });
        }
        if let Some(dir) = &dir {
            fs::DirBuilder::new()
                .mode(0o700)
                .create(dir)
                .map_err(|error| SocketError::Dir { path: dir.clone(), error })?;
        }
        let remove = Remove { path: path.clone(), dir };
        let listener = UnixListener::bind(&path).map_err(|error| SocketError::Bind { path, error })?;
        Ok(Self { listener, remove })
    }
}

impl Remove {
    pub(crate) fn address(&self) -> Address {
        Address::Unix(self.path.clone())
    }

    /// Where further sockets go.
    pub(crate) fn dir(&self) -> PathBuf {
        self.path.parent().map(Path::to_owned).unwrap_or_default()
    }
}

impl Drop for Remove {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some(dir) = &self.dir {
            // A brokered socket may still be there; it goes with its directory.
            let _ = fs::remove_dir_all(dir);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn a_socket_is_private_and_leaves_nothing_behind() {
        let base = tempfile::tempdir().unwrap();
        let socket = Socket::bind_in(base.path(), false).unwrap();
        let Address::Unix(path) = socket.remove.address() else { panic!("a unix socket") };
        let mode = fs::metadata(path.parent().unwrap()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        drop(socket);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_path_that_is_too_long_or_has_a_bar_is_refused_before_it_is_made() {
        let base = tempfile::tempdir().unwrap();
        for name in ["x".repeat(100), "a|b".to_owned()] {
            let dir = base.path().join(name);
            fs::create_dir(&dir).unwrap();
            assert!(matches!(Socket::bind_in(&dir, false), Err(SocketError::Bind { .. })));
            assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
        }
    }
}
