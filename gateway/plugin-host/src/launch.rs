//! What to start, and the way from nothing to a plugin that answers.
//!
//! ```text
//! socket directory → spawn → first line → its promises checked → connected → health
//! ```
//! Always true: the way ends within the start timeout (plus [`KILL_LIMIT`] on failure), and a
//! plugin that did not come to its end is killed and reaped.

use std::env;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use sagoo_edge_proto::handshake::{Address, Handshake, PROTOCOL_GRPC};
use sagoo_edge_proto::mtls::{self, Identity};
use tokio::process::Command;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};
use tonic::transport::Channel;

use crate::announce::FirstLine;
use crate::connect::connect;
use crate::process::Process;
use crate::socket_dir::SocketDir;
use crate::{HealthError, Plugin, StartError, StartFailure, environment, plugin};

/// Longest wait for the end of a killed process. Only one the kernel holds on to takes so long.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(2);
/// A plugin that stopped talking may be about to end; its exit status says more than its silence.
const EXIT_NOTICE: Duration = Duration::from_millis(500);
/// What Go's and our own plugins say when their cookie is missing or another.
const COOKIE_REFUSAL: &str = "This binary is a plugin";

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The driver's id, for logs and errors.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables it gets besides the few every plugin gets. None starting with `PLUGIN_` passes.
    pub env: Vec<(OsString, OsString)>,
    /// Name and value of the cookie it expects.
    pub cookie: (String, String),
    /// Application versions we can speak with it.
    pub app_versions: Vec<u32>,
    /// Encrypt and authenticate the connection with throw-away certificates.
    pub auto_mtls: bool,
    /// Longest time from start to ready.
    pub start_timeout: Duration,
    /// Where its own directory for sockets and temporary files is made (its `TMPDIR`, removed at
    /// its end); the system's temporary directory if not given. At most some 60 bytes long.
    pub run_dir: Option<PathBuf>,
}

/// See [`Plugin::start`].
pub(crate) async fn start(launch: Launch) -> Result<Plugin, StartError> {
    let deadline = Instant::now() + launch.start_timeout;
    let fail = |failure, last_lines| StartError {
        driver: launch.name.clone(),
        program: launch.program.clone(),
        failure,
        last_lines,
    };
    let (process, identity, first_line) = spawn(&launch).map_err(|failure| fail(failure, Vec::new()))?;
    tracing::debug!(driver = launch.name, pid = process.pid(), "plugin started");
    match ready(&launch, &process, identity, first_line, deadline).await {
        Ok((channel, app_version)) => Ok(Plugin::new(launch.name, process, channel, app_version)),
        Err(failure) => {
            process.kill(KILL_LIMIT).await;
            let last_lines = process.last_lines();
            let refused = last_lines.iter().any(|line| line.contains(COOKIE_REFUSAL));
            Err(match failure {
                StartFailure::Ended { .. } if refused => fail(StartFailure::WrongCookie, last_lines),
                failure => fail(failure, last_lines),
            })
        }
    }
}

type Spawned = (Process, Option<Identity>, oneshot::Receiver<FirstLine>);

fn spawn(launch: &Launch) -> Result<Spawned, StartFailure> {
    let identity = launch.auto_mtls.then(Identity::generate).transpose()?;
    let dir = SocketDir::create(launch.run_dir.as_deref(), &launch.name)
        .map_err(|(path, source)| StartFailure::SocketDir { path, source })?;
    let cert = identity.as_ref().map(Identity::cert_pem);
    let mut command = Command::new(&launch.program);
    command.args(&launch.args).env_clear().envs(environment::variables(
        env::vars_os(),
        launch,
        dir.path(),
        cert,
    ));
    let (process, first_line) =
        Process::spawn(command, &launch.name, dir).map_err(|error| spawn_failure(&launch.program, error))?;
    Ok((process, identity, first_line))
}

fn spawn_failure(program: &Path, error: io::Error) -> StartFailure {
    match error.kind() {
        io::ErrorKind::NotFound if program.exists() => StartFailure::Interpreter,
        io::ErrorKind::NotFound => StartFailure::Missing,
        io::ErrorKind::PermissionDenied => StartFailure::NotExecutable,
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            StartFailure::NotAProgram
        }
        _ => StartFailure::Spawn(error),
    }
}

/// From a running process to a channel that answers.
async fn ready(
    launch: &Launch,
    process: &Process,
    identity: Option<Identity>,
    first_line: oneshot::Receiver<FirstLine>,
    deadline: Instant,
) -> Result<(Channel, u32), StartFailure> {
    let late = |stage| StartFailure::TimedOut { limit: launch.start_timeout, stage };

    let line = match timeout_at(deadline, first_line).await {
        Err(_) => return Err(late("no handshake line on stdout")),
        Ok(Err(_)) => {
            return Err(ended_or(process, "before its handshake line", StartFailure::Silent).await);
        }
        Ok(Ok(None)) => return Err(StartFailure::LongLine),
        Ok(Ok(Some(line))) => line,
    };
    let handshake = Handshake::parse(&line)?;
    check(&handshake, launch)?;
    let Handshake { app, address, server_cert, .. } = handshake;

    let tls = identity.zip(server_cert).map(|(own, peer)| mtls::client_config(&own, &peer));
    let shown = address.to_string().replacen('|', " ", 1);
    let channel = match timeout_at(deadline, connect(address, tls)).await {
        Err(_) => return Err(late("it does not accept our connection")),
        Ok(Err(source)) => {
            let failure = StartFailure::Connect { address: shown, source };
            return Err(ended_or(process, "before we could connect", failure).await);
        }
        Ok(Ok(channel)) => channel,
    };

    let left = deadline.saturating_duration_since(Instant::now());
    match plugin::check_health(channel.clone(), left).await {
        Ok(()) => Ok((channel, app)),
        Err(HealthError::Unanswered(_)) => Err(late("no answer to the health check")),
        Err(error) => Err(ended_or(process, "before its first answer", error.into()).await),
    }
}

/// The end of the process explains the failure better, if it has ended.
async fn ended_or(process: &Process, stage: &'static str, failure: StartFailure) -> StartFailure {
    match process.exit_within(EXIT_NOTICE).await {
        Some(exit) => StartFailure::Ended { exit, stage },
        None => failure,
    }
}

/// What the plugin promised, against what we asked for.
fn check(handshake: &Handshake, launch: &Launch) -> Result<(), StartFailure> {
    if !launch.app_versions.contains(&handshake.app) {
        return Err(StartFailure::Version { plugin: handshake.app, host: launch.app_versions.clone() });
    }
    if handshake.protocol != PROTOCOL_GRPC {
        return Err(StartFailure::Protocol(handshake.protocol.clone()));
    }
    if let Address::Tcp(address) = handshake.address
        && !address.ip().is_loopback()
    {
        return Err(StartFailure::NotLoopback(address));
    }
    match (launch.auto_mtls, &handshake.server_cert) {
        (true, None) => Err(StartFailure::NoCertificate),
        (false, Some(_)) => Err(StartFailure::UnaskedCertificate),
        _ => Ok(()),
    }
}
