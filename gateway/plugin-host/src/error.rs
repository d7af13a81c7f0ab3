//! Why a plugin did not start, or is not well: what happened, to whom, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sagoo_edge_proto::handshake::HandshakeError;
use sagoo_edge_proto::mtls::MtlsError;

use crate::{ChecksumError, Exit, KeepError};

/// Lines of stderr an error repeats; all that were kept are in [`StartError::last_lines`].
const SHOWN_LINES: usize = 3;

/// A plugin that did not start. Its process, if there ever was one, is gone.
#[derive(Debug)]
pub struct StartError {
    /// The driver's id.
    pub driver: String,
    /// The program that was to run.
    pub program: PathBuf,
    /// What went wrong.
    pub failure: StartFailure,
    /// The last lines it wrote to stderr.
    pub last_lines: Vec<String>,
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "driver {} ({}): {}", self.driver, self.program.display(), self.failure)?;
        if self.failure.is_a_broken_promise() {
            return Ok(());
        }
        let said: Vec<&str> =
            self.last_lines.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
        match said.len().saturating_sub(SHOWN_LINES) {
            _ if said.is_empty() => Ok(()),
            hidden => write!(f, "; its last words: {:?}", said[hidden..].join(" / ")),
        }
    }
}

/// Its text says all there is to say; there is no further source to print.
impl Error for StartError {}

/// What kept a plugin from starting.
#[derive(Debug, thiserror::Error)]
pub enum StartFailure {
    /// There is no such program.
    #[error("program not found; install the driver or correct its path")]
    Missing,
    /// The program is there, the one that runs it is not.
    #[error(
        "program found, but not the interpreter or loader it asks for: the file is {what}; \
         install that, or a build of the driver for this system"
    )]
    Interpreter {
        /// What the file is.
        what: String,
    },
    /// The file may not be run.
    #[error(
        "program is not executable by this user: the file is {what}, {rights}; \
         run chmod 0755 on it, and check the mount for noexec"
    )]
    NotExecutable {
        /// What the file is.
        what: String,
        /// Who may do what with it.
        rights: String,
    },
    /// The file is no program of this machine.
    #[error(
        "file is not a program for this machine: it is {what}; install the driver's build for {}",
        std::env::consts::ARCH
    )]
    NotAProgram {
        /// What the file is.
        what: String,
    },
    /// The system would not start it.
    #[error("cannot start the program: {0}; see what the system is short of, then try again")]
    Spawn(#[source] io::Error),
    /// No directory for its sockets.
    #[error("cannot use socket directory {path}: {source}; choose a short, writable run_dir")]
    SocketDir {
        /// The directory.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The program is not what it must be.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// No record for a plugin that is to be kept.
    #[error("cannot keep the driver for a later gateway: {0}")]
    Keep(#[from] KeepError),
    /// Kept and multiplexed at once.
    #[error("a multiplexed plugin cannot be reattached, as in go-plugin; start it without one of the two")]
    KeepMultiplexed,
    /// No certificate for the connection.
    #[error(transparent)]
    Identity(#[from] MtlsError),
    /// It says it is a plugin, but not for this host.
    #[error(
        "program is a plugin of another host: it does not know our cookie; \
         build the driver with the cookie of Sagoo Edge"
    )]
    WrongCookie,
    /// It ended before it was ready.
    #[error("program ended ({exit}) {stage}; {}", after_the_end(*exit))]
    Ended {
        /// How.
        exit: Exit,
        /// How far it had come.
        stage: &'static str,
    },
    /// It closed stdout and runs on.
    #[error("program closed its stdout without a handshake line; it is not a driver, or a broken one")]
    Silent,
    /// Nothing came in time.
    #[error(
        "program was not ready after {limit:?}: {stage}; if it is a driver, it has to start faster, \
         and its log says what it waited for"
    )]
    TimedOut {
        /// The start timeout.
        limit: Duration,
        /// What was missing.
        stage: &'static str,
    },
    /// The first line never ended.
    #[error("first line on stdout is too long for a handshake; a driver must print the handshake first")]
    LongLine,
    /// The first line is wrong.
    #[error(transparent)]
    Handshake(#[from] HandshakeError),
    /// It speaks another version of the contract.
    #[error(
        "driver speaks application version {plugin}, this gateway {}; {}",
        listed(host),
        to_update(*plugin, host)
    )]
    Version {
        /// The plugin's; of several the lowest, as no plugin announces more.
        plugin: u32,
        /// Ours, in order.
        host: Vec<u32>,
    },
    /// It does not speak gRPC.
    #[error(
        "driver speaks {0:?}, not grpc; with go-plugin, set GRPCServer: plugin.DefaultGRPCServer \
         in its ServeConfig"
    )]
    Protocol(String),
    /// AutoMTLS was asked for and not done.
    #[error(
        "driver sent no certificate, so its connection would not be encrypted; \
         build it with a plugin library that does AutoMTLS"
    )]
    NoCertificate,
    /// A certificate came that nobody asked for.
    #[error("driver sent a certificate although AutoMTLS is off; build it without a TLSProvider")]
    UnaskedCertificate,
    /// It cannot put all connections into one.
    #[error(
        "driver does not support multiplexing, which is on for it; \
         build it with a plugin library that does (go-plugin 1.6 or later)"
    )]
    NoMultiplex,
    /// Its answer about multiplexing is neither yes nor no.
    #[error(
        "driver answers {0:?} to whether it multiplexes; it must say true or false in the handshake's seventh field"
    )]
    MultiplexAnswer(String),
    /// It listens for the whole network.
    #[error("driver listens on {0}, open to others; it must listen on a unix socket or a loopback address")]
    NotLoopback(SocketAddr),
    /// Its socket is not where it may make sockets.
    #[error(
        "driver announces the socket {path}, which is not in its own directory {dir}; \
         it must make its socket in the directory the variable TMPDIR names"
    )]
    Elsewhere {
        /// The socket.
        path: PathBuf,
        /// The directory.
        dir: PathBuf,
    },
    /// The address it announced does not answer, or not as it should.
    #[error(
        "cannot connect to the driver at {address}: {}; it must listen before it prints the handshake",
        chain(&**source)
    )]
    Connect {
        /// The address.
        address: String,
        /// Why not.
        source: Box<dyn Error + Send + Sync>,
    },
    /// It is connected and not well.
    #[error(transparent)]
    Health(#[from] HealthError),
}

impl StartFailure {
    /// The program runs well and is the wrong one: its log adds nothing.
    fn is_a_broken_promise(&self) -> bool {
        matches!(
            self,
            Self::WrongCookie
                | Self::Version { .. }
                | Self::Protocol(_)
                | Self::NoCertificate
                | Self::UnaskedCertificate
                | Self::NoMultiplex
                | Self::MultiplexAnswer(_)
                | Self::NotLoopback(_)
                | Self::Elsewhere { .. }
        )
    }
}

/// What to do about a program that ended too early.
fn after_the_end(exit: Exit) -> &'static str {
    match (exit.code, exit.signal) {
        (Some(0), _) => {
            "it is not a driver, or one that gave up without saying so; \
             run it by hand to see, and install a driver otherwise"
        }
        (None, Some(9)) => "somebody killed it; see whether the system is out of memory",
        _ => "if it is a driver, correct what it complains of, otherwise install one",
    }
}

fn listed(versions: &[u32]) -> String {
    let versions: Vec<String> = versions.iter().map(u32::to_string).collect();
    match versions.as_slice() {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Which of the two is to be updated.
fn to_update(plugin: u32, host: &[u32]) -> &'static str {
    let newer = host.iter().all(|version| *version < plugin);
    let older = host.iter().all(|version| *version > plugin);
    match (newer, older) {
        (true, false) => "update the gateway, or install an older version of the driver",
        (false, true) => "update the driver, or go back to an older gateway",
        _ => "install a version of the driver that speaks one of these",
    }
}

/// A plugin that did not say it is well.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// No answer: it hangs, or the machine is overloaded.
    #[error("no answer to the health check within {0:?}; restart the driver if this repeats")]
    Unanswered(Duration),
    /// The call failed: mostly, the process is gone.
    #[error("health check failed: {}; a driver must serve grpc.health.v1 for the service \"plugin\"", chain(&**.0))]
    Failed(#[source] Box<tonic::Status>),
    /// It says itself that it is not.
    #[error("driver reports that it is not serving; see its log")]
    NotServing,
}

/// An error with all that caused it, on one line, without repeating what is already said.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = match error.downcast_ref::<tonic::Status>() {
        Some(status) => format!("{:?}: {}", status.code(), status.message()),
        None => error.to_string(),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    text
}
