//! Why a plugin did not start, or is not well: what happened, to whom, and what to do about it.

use std::error::Error;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use sagoo_edge_proto::handshake::HandshakeError;
use sagoo_edge_proto::mtls::MtlsError;

use crate::Exit;

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
        "program found, but not the interpreter or loader it asks for; \
         install that, or a build of the driver for this system"
    )]
    Interpreter,
    /// The file may not be run.
    #[error("program is not executable by this user; run chmod 0755 on it, and check the mount for noexec")]
    NotExecutable,
    /// The file is no program of this machine.
    #[error(
        "file is not a program for this machine; install the driver's build for {}",
        std::env::consts::ARCH
    )]
    NotAProgram,
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
    #[error(
        "program ended ({exit}) {stage}; if it is a driver, correct what it complains of, otherwise install one"
    )]
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
        "program did not get ready within {limit:?}: {stage}; is it a driver? if it is only slow, raise the start timeout"
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
        "driver speaks application version {plugin}, this gateway {host:?}; \
         update the older of the two"
    )]
    Version {
        /// The plugin's.
        plugin: u32,
        /// Ours.
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
        "driver sent no certificate although AutoMTLS is on; update its plugin library, \
         or turn AutoMTLS off for this driver"
    )]
    NoCertificate,
    /// A certificate came that nobody asked for.
    #[error(
        "driver sent a certificate although AutoMTLS is off; turn AutoMTLS on for this driver, \
         or remove its TLSProvider"
    )]
    UnaskedCertificate,
    /// It listens for the whole network.
    #[error("driver listens on {0}, open to others; it must listen on a unix socket or a loopback address")]
    NotLoopback(SocketAddr),
    /// The address it announced does not answer, or not as it should.
    #[error(
        "cannot connect to the driver at {address}: {}; it must listen before it prints the handshake",
        chain(source)
    )]
    Connect {
        /// The address.
        address: String,
        /// Why not.
        source: tonic::transport::Error,
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
                | Self::NotLoopback(_)
        )
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
fn chain(error: &(dyn Error + 'static)) -> String {
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
