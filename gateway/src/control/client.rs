//! The command line's side of the door: one request, one reply, or a stream of them.
//!
//! Always true: every error says which socket it was and what to do.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::message::{Reply, Request};

/// Longest reply: the status of a million points fits.
const MAX_REPLY_BYTES: u64 = 256 * 1024 * 1024;
/// The gateway answers everything in time, if only with an error; this much later it will not.
const REPLY_TIMEOUT: Duration = Duration::from_secs(8);

/// A gateway that ends is gone within this time, its last sync on a slow disk included.
const ENDING: Duration = Duration::from_secs(40);

/// Why there is no reply.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Start the gateway, or name the right socket.
    #[error("no gateway answers at {}: is it running?", .0.display())]
    NotRunning(PathBuf),
    /// Become the user who may.
    #[error("only {owner} may open {}: try again as that user, or as root", path.display())]
    Denied {
        /// The socket.
        path: PathBuf,
        /// `user "sagoo-edge"`, as far as it can be seen.
        owner: String,
    },
    /// It answered that it ends, and did not.
    #[error("the gateway (pid {pid}) still runs after {} s; its log says more", ENDING.as_secs())]
    StillThere {
        /// Its process.
        pid: i32,
    },
    /// Ask again; the gateway's log says more.
    #[error("talking to the gateway at {}: {source}", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
}

/// Asks the gateway behind `socket`.
pub async fn ask(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    let broken = |source| ClientError::Broken { path: socket.to_owned(), source };
    let asked = timeout(request.answered_within() + REPLY_TIMEOUT, exchange(socket, request)).await;
    let asked = asked.unwrap_or_else(|_| Err(broken(io::Error::other("no answer in time"))))?;
    serde_json::from_slice(&asked).map_err(|error| broken(unreadable(&error)))
}

/// Asks for a stream.
pub async fn follow(socket: &Path, request: &Request) -> Result<Following, ClientError> {
    let broken = |source| ClientError::Broken { path: socket.to_owned(), source };
    let mut stream = connect(socket).await?;
    // A gateway with too many clients answers and closes before it reads: its answer counts.
    let _ = stream.write_all(&line(request).map_err(broken)?).await;
    Ok(Following { path: socket.to_owned(), stream: BufReader::new(stream) })
}

/// A stream on its way. Dropping it ends it.
#[derive(Debug)]
pub struct Following {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Following {
    /// What comes next. After [`Reply::End`] or an error nothing does.
    pub async fn next(&mut self) -> Result<Reply, ClientError> {
        let mut reply = Vec::new();
        let read = (&mut self.stream).take(MAX_REPLY_BYTES).read_until(b'\n', &mut reply).await;
        let path = self.path.clone();
        let broken = |source| ClientError::Broken { path, source };
        match read {
            Err(error) => Err(broken(error)),
            Ok(_) if !reply.ends_with(b"\n") => Err(broken(hung_up())),
            Ok(_) => serde_json::from_slice(&reply).map_err(|error| broken(unreadable(&error))),
        }
    }
}

fn line(request: &Request) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    Ok(line)
}

fn hung_up() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up")
}

fn unreadable(error: &serde_json::Error) -> io::Error {
    io::Error::other(format!("unreadable reply: {error}"))
}

/// Asks for something that ends the gateway, and waits until its process is gone. A reply that is an
/// error ends nothing and is not waited for.
pub async fn ask_and_outlive(socket: &Path, request: &Request) -> Result<Reply, ClientError> {
    let broken = |source| ClientError::Broken { path: socket.to_owned(), source };
    let process = connect(socket).await?.peer_cred().map_err(broken)?.pid().and_then(Pid::from_raw);
    // taken before it can end, so that it is never another process of that number
    let watched = process.map(|pid| (pid, pidfd_open(pid, PidfdFlags::empty())));
    let reply = ask(socket, request).await?;
    if let (Some((pid, Ok(process))), false) = (watched, matches!(reply, Reply::Error { .. })) {
        let gone = tokio::task::spawn_blocking(move || ends(&process)).await;
        if !gone.map_err(|error| broken(error.into()))?.map_err(broken)? {
            return Err(ClientError::StillThere { pid: pid.as_raw_nonzero().get() });
        }
    }
    Ok(reply)
}

/// Whether the process ends within [`ENDING`].
fn ends(process: &OwnedFd) -> io::Result<bool> {
    let within = Timespec { tv_sec: ENDING.as_secs() as i64, tv_nsec: 0 };
    Ok(poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&within))? > 0)
}

async fn connect(socket: &Path) -> Result<UnixStream, ClientError> {
    UnixStream::connect(socket).await.map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ClientError::NotRunning(socket.to_owned())
        }
        io::ErrorKind::PermissionDenied => {
            ClientError::Denied { path: socket.to_owned(), owner: owner(socket) }
        }
        _ => ClientError::Broken { path: socket.to_owned(), source: error },
    })
}

async fn exchange(socket: &Path, request: &Request) -> Result<Vec<u8>, ClientError> {
    let broken = |source| ClientError::Broken { path: socket.to_owned(), source };
    let mut stream = connect(socket).await?;
    let line = line(request).map_err(broken)?;
    // A gateway with too many clients answers and closes before it reads: its answer counts.
    let written = stream.write_all(&line).await;
    let mut reply = Vec::new();
    let read = BufReader::new(stream).take(MAX_REPLY_BYTES).read_until(b'\n', &mut reply).await;
    if reply.ends_with(b"\n") {
        return Ok(reply);
    }
    written.and(read.map(drop)).map_err(broken)?;
    Err(broken(hung_up()))
}

/// Who owns the socket, or the nearest directory above it that can be seen.
fn owner(socket: &Path) -> String {
    let Some(uid) = socket.ancestors().find_map(|path| path.metadata().ok()).map(|metadata| metadata.uid())
    else {
        return "its owner".to_owned();
    };
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    match user_name(&users, uid) {
        Some(name) => format!("user {name:?}"),
        None => format!("the user with id {uid}"),
    }
}

fn user_name(passwd: &str, uid: u32) -> Option<&str> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then_some(name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_named_as_in_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nbroken\nedge:x:998:998::/:/usr/sbin/nologin\n";
        assert_eq!(user_name(passwd, 998), Some("edge"));
        assert_eq!(user_name(passwd, 99), None);
    }
}
