//! The way from nothing to a plugin that answers.
//!
//! ```text
//! socket directory → spawn → first line → its promises checked → connected → health
//! ```
//! Always true: the way ends within the start timeout (plus [`KILL_LIMIT`] on failure, and a few
//! seconds where another host still has the record), and a plugin that did not come to its end is
//! killed and reaped.

use std::path::PathBuf;
use std::time::Duration;

use sagoo_edge_proto::broker::{Setup, Tls};
use sagoo_edge_proto::handshake::Handshake;
use sagoo_edge_proto::mtls::{self, Identity};
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout_at};

use crate::announce::FirstLine;
use crate::connect::{Wire, connect};
use crate::plugin::{Kept, Ready};
use crate::process::Process;
use crate::spawn::{Spawned, spawn};
use crate::{HealthError, Launch, Plugin, Security, StartError, StartFailure};
use crate::{diagnosis, plugin, promises};

/// Longest wait for the end of a killed process. Only one the kernel holds on to takes so long.
pub(crate) const KILL_LIMIT: Duration = Duration::from_secs(2);
/// A plugin that stopped talking may be about to end; its exit status says more than its silence.
const EXIT_NOTICE: Duration = Duration::from_millis(500);
/// What Go's and our own plugins say when their cookie is missing or another.
const COOKIE_REFUSAL: &str = "This binary is a plugin";

/// See [`Plugin::start`].
pub(crate) async fn start(launch: Launch) -> Result<Plugin, StartError> {
    let deadline = Instant::now() + launch.start_timeout;
    let fail = |failure, last_lines| StartError {
        driver: launch.name.clone(),
        program: launch.program.clone(),
        failure,
        last_lines,
    };
    let spawned = match spawn(&launch).await {
        Ok(spawned) => spawned,
        Err(failure) => return Err(fail(failure, Vec::new())),
    };
    let Spawned { process, identity, sockets, first_line, lacks, mut kept } = spawned;
    tracing::debug!(driver = launch.name, pid = process.pid(), "plugin started");
    match ready(&launch, &process, identity, sockets, first_line, kept.as_mut(), deadline).await {
        Ok((wire, app_version)) => {
            let ready = Ready { name: launch.name, process, wire, app_version, lacks, kept };
            Ok(Plugin::new(ready, launch.mirror))
        }
        Err(failure) => {
            process.kill(KILL_LIMIT).await;
            let last_lines = process.last_lines();
            let refused = last_lines.iter().any(|line| line.contains(COOKIE_REFUSAL));
            Err(match failure {
                StartFailure::Ended { .. } if refused => fail(StartFailure::WrongCookie, last_lines),
                StartFailure::Ended { .. } => {
                    let foreign = diagnosis::foreign_program(&launch.program);
                    fail(foreign.map_or(failure, |what| StartFailure::NotAProgram { what }), last_lines)
                }
                failure => fail(failure, last_lines),
            })
        }
    }
}

/// From a running process to a channel that answers.
async fn ready(
    launch: &Launch,
    process: &Process,
    identity: Option<Identity>,
    sockets: PathBuf,
    first_line: oneshot::Receiver<FirstLine>,
    kept: Option<&mut Kept>,
    deadline: Instant,
) -> Result<(Wire, u32), StartFailure> {
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
    promises::check(&handshake, launch, &sockets)?;
    let Handshake { app, address, server_cert, .. } = handshake;

    let tls = match &launch.security {
        Security::AutoMtls => identity.zip(server_cert).map(|(own, peer)| Tls {
            client: Some(mtls::client_config(&own, &peer)),
            server: Some(mtls::server_config(&own, &peer)),
        }),
        Security::Plain => None,
        Security::Own(config) => Some(Tls { client: Some(mtls::own_client_config(config)), server: None }),
    };
    let setup = Setup { peer_sockets: Some(sockets.clone()), sockets, tls };
    let shown = address.to_string().replacen('|', " ", 1);
    let wire = match timeout_at(deadline, connect(address, setup, launch.multiplex)).await {
        Err(_) => return Err(late("it does not accept our connection")),
        Ok(Err(source)) => {
            let failure = StartFailure::Connect { address: shown, source };
            return Err(ended_or(process, "before we could connect", failure).await);
        }
        Ok(Ok(wire)) => wire,
    };

    let left = deadline.saturating_duration_since(Instant::now());
    match plugin::check_health(wire.channel.clone(), left).await {
        Ok(()) => {
            kept.map_or(Ok(()), |kept| kept.ready(line))?;
            Ok((wire, app))
        }
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
