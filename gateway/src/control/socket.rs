//! Opening the door: a unix socket with mode 0600 from its first moment.
//!
//! Always true: there is no time at which others may connect (the mode is set before the name
//! exists); a socket somebody answers on is never taken away, one of a dead gateway is replaced; at
//! the end only our own is removed.

use std::fs::{self, DirBuilder, File};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{sleep, timeout};

/// Only the owner.
const SOCKET_MODE: u32 = 0o600;
/// Of directories that have to be made for the socket.
const DIRECTORY_MODE: u32 = 0o755;
/// Clients the kernel lets wait.
const BACKLOG: i32 = 16;
/// How often, and how long apart, the directory's lock is tried: another gateway holds it only while
/// it opens its own socket.
const LOCK_TRIES: u32 = 50;
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A socket that does not take a client within this time belongs to a living, busy process.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// The open door; closing removes it.
#[derive(Debug)]
pub struct Socket {
    pub(super) listener: UnixListener,
    pub(super) path: PathBuf,
    /// Device and inode, to know our own again.
    identity: (u64, u64),
}

impl Drop for Socket {
    fn drop(&mut self) {
        if identity(&self.path).ok() == Some(self.identity) {
            // Nobody is left to tell: the next gateway replaces it.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Opens the socket at `path`, making its directory where it is missing.
pub(super) async fn open(path: &Path) -> anyhow::Result<Socket> {
    let shown = path.display();
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    DirBuilder::new()
        .recursive(true)
        .mode(DIRECTORY_MODE)
        .create(parent)
        .with_context(|| format!("making the directory {} of the control socket", parent.display()))?;
    // Two gateways that start together must not take each other's fresh socket for a dead one.
    let lock = lock(parent).await?;
    clear(path).await?;
    let listener = bind_private(path).with_context(|| format!("opening the control socket {shown}"))?;
    drop(lock);
    let metadata = fs::symlink_metadata(path).with_context(|| format!("looking at {shown}"))?;
    if metadata.mode() & 0o777 != SOCKET_MODE {
        fs::remove_file(path).with_context(|| format!("removing {shown}"))?;
        bail!(
            "the file system of {shown} does not keep a socket's mode: set [control] socket to another place"
        );
    }
    listener.set_nonblocking(true).with_context(|| format!("preparing {shown}"))?;
    let listener = UnixListener::from_std(listener).with_context(|| format!("watching {shown}"))?;
    Ok(Socket { listener, path: path.to_owned(), identity: (metadata.dev(), metadata.ino()) })
}

async fn lock(directory: &Path) -> anyhow::Result<File> {
    let file = File::open(directory).with_context(|| format!("opening {}", directory.display()))?;
    for _ in 0..LOCK_TRIES {
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) => sleep(LOCK_PAUSE).await,
            other => {
                other.with_context(|| format!("locking {}", directory.display()))?;
                return Ok(file);
            }
        }
    }
    bail!("{} is locked by another process: is a gateway starting there?", directory.display())
}

/// Removes the socket of a dead gateway; refuses when somebody answers or it is something else.
async fn clear(path: &Path) -> anyhow::Result<()> {
    let shown = path.display();
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("looking at {shown}")),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            bail!("{shown} is there and is no socket: remove it, or set [control] socket to another place")
        }
        Ok(_) => {}
    }
    match timeout(CONNECT_TIMEOUT, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).with_context(|| format!("removing the dead socket {shown}"))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::NotFound => Ok(()),
        Ok(Err(error)) => Err(error).with_context(|| format!("asking whether somebody answers at {shown}")),
        Ok(Ok(_)) | Err(_) => {
            bail!("another gateway answers at {shown}: stop it, or set [control] socket to another place")
        }
    }
}

/// The mode is set on the unbound socket: Linux gives the name it is bound to that mode.
fn bind_private(path: &Path) -> std::io::Result<StdListener> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    fchmod(&socket, Mode::from_raw_mode(SOCKET_MODE))?;
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, BACKLOG)?;
    Ok(StdListener::from(socket))
}

fn identity(path: &Path) -> std::io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
