//! The way from a record to a plugin that answers.
//!
//! ```text
//! directory locked → record read → that very process alive → connected as before → health → its FIFOs
//! ```
//! Always true: a plugin that cannot be taken over is left as it is, with its record; the way ends
//! within the timeout and the patience for the lock.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::broker::{Setup, Tls};
use sagoo_edge_proto::handshake::Handshake;
use sagoo_edge_proto::mtls::{self, Identity, MtlsError};
use tokio::time::{Instant, timeout_at};

use crate::confine::Cgroup;
use crate::connect::{ConnectError, Wire, connect};
use crate::error::chain;
use crate::keep::{Facts, KeptDir, Protection};
use crate::keeper::Remains;
use crate::plugin::{Kept, Ready};
use crate::process::{Process, SpawnError};
use crate::socket_dir::SocketDir;
use crate::{Damage, Fate, HealthError, KeepError, Lack, Mirror, Plugin, plugin};

/// How long a plugin may take to answer its new host, if the caller says nothing.
const TIMEOUT: Duration = Duration::from_secs(5);

/// How a plugin is taken over.
#[derive(Debug, Clone)]
pub struct Reattach {
    /// TLS for a plugin that was started with [`Security::Own`](crate::Security::Own).
    pub own: Option<Arc<rustls::ClientConfig>>,
    /// Who gets its output from now on.
    pub mirror: Mirror,
    /// Longest time it may take to answer.
    pub timeout: Duration,
}

impl Default for Reattach {
    fn default() -> Self {
        Self { own: None, mirror: Mirror::default(), timeout: TIMEOUT }
    }
}

/// A plugin that was not taken over. It is as it was, and so is its record.
#[derive(Debug)]
pub struct ReattachError {
    /// The directory of the record.
    pub dir: PathBuf,
    /// What went wrong.
    pub failure: ReattachFailure,
}

impl fmt::Display for ReattachError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "driver of an earlier gateway ({}): {}", self.dir.display(), self.failure)
    }
}

/// Its text says all there is to say; there is no further source to print.
impl std::error::Error for ReattachError {}

/// What kept a plugin from being taken over.
#[derive(Debug, thiserror::Error)]
pub enum ReattachFailure {
    /// No such directory.
    #[error("there is no record; start the driver")]
    NoRecord,
    /// The record is of no use.
    #[error("its record {0}; end it and start the driver anew")]
    Damaged(#[from] Damage),
    /// The directory cannot be used, or another host has it.
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The process is not there. (Go: `ErrProcessNotFound`.)
    #[error("reattachment process not found: {0}; start the driver anew")]
    Gone(#[from] Fate),
    /// Its host died before it was ready.
    #[error("it never got ready; end it and start it anew")]
    NeverReady,
    /// It was started in the mode that allows one connection ever.
    #[error("a multiplexed plugin cannot be reattached, as in go-plugin; end it and start it anew")]
    Multiplexed,
    /// The identity in the record is none.
    #[error("its record is damaged: {0}")]
    Identity(#[from] MtlsError),
    /// It was started with the caller's own TLS, which was not given.
    #[error("it was started with a TLS configuration of the caller's own; give that again")]
    OwnTls,
    /// It does not answer.
    #[error("cannot connect to it at {address}: {}; end it and start it anew", chain(&**source))]
    Connect {
        /// The address.
        address: String,
        /// Why not.
        source: ConnectError,
    },
    /// It answers too slowly.
    #[error("it does not accept our connection within {0:?}; end it and start it anew")]
    TimedOut(Duration),
    /// It is connected and not well.
    #[error(transparent)]
    Health(#[from] HealthError),
    /// Our own side.
    #[error("cannot watch it: {0}; see what the system is short of, then try again")]
    Watch(#[source] io::Error),
}

/// See [`Plugin::reattach`].
pub(crate) async fn reattach(dir: &Path, how: Reattach) -> Result<Plugin, ReattachError> {
    take_over(dir, how).await.map_err(|failure| ReattachError { dir: dir.to_owned(), failure })
}

async fn take_over(dir: &Path, how: Reattach) -> Result<Plugin, ReattachFailure> {
    let deadline = Instant::now() + how.timeout;
    let kept = Arc::new(KeptDir::open(dir).await?.ok_or(ReattachFailure::NoRecord)?);
    let facts = kept.read()?;
    let living = facts.birth.find()?;
    if facts.multiplex {
        return Err(ReattachFailure::Multiplexed);
    }
    let handshake = facts.announced()?.ok_or(ReattachFailure::NeverReady)?;
    let app_version = handshake.app;
    let wire = wire(&facts, handshake, &how, deadline).await?;
    let socket_dir = SocketDir::adopt(&facts.socket_dir, &facts.name).ok_or_else(|| {
        let missing = io::Error::new(io::ErrorKind::NotFound, "its directory for sockets is gone");
        ReattachFailure::Watch(missing)
    })?;
    let cgroup = facts.cgroup.as_deref().and_then(Cgroup::adopt);
    let remains = Remains { dir: Some(socket_dir), cgroup, kept: Some(Arc::clone(&kept)) };
    let process = Process::adopt(living, &facts.name, &facts.socket_dir, remains, &how.mirror)?;
    tracing::debug!(driver = facts.name, pid = process.pid(), "plugin taken over");
    let lacks = facts.lacks.iter().filter_map(|(what, why)| Lack::recorded(what, why)).collect();
    let name = facts.name.clone();
    let kept = Some(Kept { dir: kept, facts: facts.into() });
    Ok(Plugin::new(Ready { name, process, wire, app_version, lacks, kept }, how.mirror))
}

async fn wire(
    facts: &Facts,
    handshake: Handshake,
    how: &Reattach,
    deadline: Instant,
) -> Result<Wire, ReattachFailure> {
    let Handshake { address, server_cert, .. } = handshake;
    let tls = match (&facts.protection, server_cert) {
        (Protection::AutoMtls { cert_pem, key_pem }, Some(peer)) => {
            let own = Identity::from_pem(cert_pem, key_pem)?;
            Some(Tls {
                client: Some(mtls::client_config(&own, &peer)),
                server: Some(mtls::server_config(&own, &peer)),
            })
        }
        (Protection::AutoMtls { .. }, None) => return Err(ReattachFailure::NeverReady),
        (Protection::Own, _) => {
            let own = how.own.clone().ok_or(ReattachFailure::OwnTls)?;
            Some(Tls { client: Some(mtls::own_client_config(&own)), server: None })
        }
        (Protection::Plain, _) => None,
    };
    let sockets = facts.socket_dir.clone();
    let setup = Setup { peer_sockets: Some(sockets.clone()), sockets, tls };
    let shown = address.to_string().replacen('|', " ", 1);
    let connecting = timeout_at(deadline, connect(address, setup, false)).await;
    let wire = connecting
        .map_err(|_| ReattachFailure::TimedOut(how.timeout))?
        .map_err(|source| ReattachFailure::Connect { address: shown, source })?;
    let left = deadline.saturating_duration_since(Instant::now());
    plugin::check_health(wire.channel.clone(), left).await?;
    Ok(wire)
}

impl From<SpawnError> for ReattachFailure {
    fn from(error: SpawnError) -> Self {
        match error {
            SpawnError::System(error) => Self::Watch(error),
            SpawnError::Keep(error) => Self::Keep(error),
        }
    }
}
