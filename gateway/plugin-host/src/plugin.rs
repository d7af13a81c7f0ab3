//! A running plugin: its channel, its health, its end.
//!
//! Always true: [`Plugin::stop`] takes at most its [`Grace`] and [`KILL_LIMIT`], whatever the
//! plugin does; a [`Plugin`] that is dropped instead is killed at once, with its whole group, and
//! reaped in the background. Neither leaves a zombie, a socket file or a record. Only
//! [`Plugin::detach`] leaves it running.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sagoo_edge_proto::broker::Broker;
use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_client::GrpcControllerClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::broker::{Brokered, keep_open};
use crate::connect::Wire;
use crate::keep::{Facts, KeptDir};
use crate::process::Process;
use crate::reattach::{self, Reattach};
use crate::start::{self, KILL_LIMIT};
use crate::stdio::{self, Sinks};
use crate::{Exit, HealthError, KeepError, Lack, Launch, Mirror, ReattachError, StartError};

/// The name go-plugin's health service answers to.
const HEALTH_SERVICE: &str = "plugin";

/// How long what a stopping plugin printed is waited for.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How long a plugin may take to stop before it is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grace {
    /// For its answer to `Shutdown`.
    pub shutdown_rpc: Duration,
    /// From there to the end of its process.
    pub exit: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self { shutdown_rpc: Duration::from_secs(1), exit: Duration::from_secs(2) }
    }
}

/// How a plugin stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stopped {
    /// How its process ended; `None` if the kernel still held on to it when our patience ended.
    pub exit: Option<Exit>,
    /// Whether it had to be killed.
    pub killed: bool,
}

/// A plugin that is running, or was until it crashed.
#[derive(Debug)]
pub struct Plugin {
    name: String,
    process: Process,
    channel: Channel,
    broker: Brokered,
    app_version: u32,
    lacks: Vec<Lack>,
    kept: Option<Kept>,
    /// Cancelled when it was asked to end.
    stopping: CancellationToken,
    /// The task that takes what it prints. Like the others it ends with this value.
    printed: JoinSet<()>,
    tasks: JoinSet<()>,
}

/// The record of a kept plugin. A lock, because a note is set through a shared reference and must
/// be in the record when that returns.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) dir: Arc<KeptDir>,
    pub(crate) facts: Mutex<Facts>,
}

/// A plugin just found ready, from wherever it comes.
pub(crate) struct Ready {
    pub(crate) name: String,
    pub(crate) process: Process,
    pub(crate) wire: Wire,
    pub(crate) app_version: u32,
    pub(crate) lacks: Vec<Lack>,
    pub(crate) kept: Option<Kept>,
}

impl Plugin {
    /// Starts a plugin and waits until it answers.
    pub async fn start(launch: Launch) -> Result<Self, StartError> {
        start::start(launch).await
    }

    /// Takes a plugin over that an earlier host started with [`Launch::keep`] and left, by
    /// [`Self::detach`] or by dying. `dir` is that [`Keep::dir`](crate::Keep).
    pub async fn reattach(dir: &Path, how: Reattach) -> Result<Self, ReattachError> {
        reattach::reattach(dir, how).await
    }

    pub(crate) fn new(ready: Ready, mirror: Mirror) -> Self {
        let Ready { name, process, wire: Wire { channel, broker }, app_version, lacks, kept } = ready;
        let (mut printed, mut tasks) = (JoinSet::new(), JoinSet::new());
        let stopping = CancellationToken::new();
        let sinks = Sinks { stdout: mirror.stdio_stdout, stderr: mirror.stdio_stderr };
        printed.spawn(stdio::forward(name.clone(), channel.clone(), sinks, stopping.clone()));
        tasks.spawn(keep_open(name.clone(), broker.clone(), channel.clone()));
        Self {
            name,
            process,
            channel,
            broker: Brokered(broker),
            app_version,
            lacks,
            kept,
            stopping,
            printed,
            tasks,
        }
    }

    /// The connection. Raise the limits of clients on it to [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES).
    /// While a clone of it is in use, the plugin may wait for that before it ends.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// Further connections with the plugin, in either direction, by number. They end with it.
    pub fn broker(&self) -> Broker {
        self.broker.0.clone()
    }

    /// The application version the plugin chose, one of those it was offered.
    pub fn app_version(&self) -> u32 {
        self.app_version
    }

    /// The id of its process, and of its process group.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Asks the plugin whether it is well.
    pub async fn health(&self, deadline: Duration) -> Result<(), HealthError> {
        check_health(self.channel.clone(), deadline).await
    }

    /// Turns to the way it ended as soon as that is known. [`Self::last_lines`] is complete then.
    pub fn exited(&self) -> watch::Receiver<Option<Exit>> {
        self.process.exited()
    }

    /// The last [`LAST_LINES`](crate::LAST_LINES) lines of its stderr, for the report of a crash.
    pub fn last_lines(&self) -> Vec<String> {
        self.process.last_lines()
    }

    /// What its confinement lacks on this system; empty if nothing, or if none was asked for.
    pub fn lacks(&self) -> &[Lack] {
        &self.lacks
    }

    /// What the caller noted in the record last; empty for a plugin that is not kept.
    pub fn note(&self) -> String {
        self.kept.as_ref().map_or_else(String::new, |kept| kept.facts().note.clone())
    }

    /// Replaces the note in the record. A plugin that is not kept has none.
    pub fn set_note(&self, note: String) {
        let Some(kept) = &self.kept else { return };
        let mut facts = kept.facts();
        facts.note = note;
        if let Err(error) = kept.dir.write(&facts) {
            tracing::warn!(driver = self.name, %error, "note about a plugin not written");
        }
    }

    /// Leaves a kept plugin running, with its record, for another host. Any other is killed.
    pub fn detach(self) {
        self.process.let_go();
    }

    /// Asks the plugin to end, waits, kills it if it does not.
    pub async fn stop(mut self, grace: Grace) -> Stopped {
        let mut client = GrpcControllerClient::new(self.channel.clone());
        let asked = timeout(grace.shutdown_rpc, client.shutdown(Empty {}));
        // Its answer says nothing: a Go plugin cuts the connection instead of replying.
        tokio::select! {
            _ = asked => {}
            _ = self.process.exit_within(grace.shutdown_rpc) => {}
        }
        let end = Instant::now() + grace.exit;
        self.stopping.cancel();
        let _ = timeout(LAST_WORDS.min(grace.exit), self.printed.join_next()).await;
        // A plugin that stops gracefully waits for us to hang up.
        self.printed.shutdown().await;
        self.tasks.shutdown().await;
        let Self { name, process, channel, broker, .. } = self;
        drop((client, channel, broker));
        if let Some(exit) = process.exit_within(end.saturating_duration_since(Instant::now())).await {
            tracing::debug!(driver = name, %exit, "plugin stopped");
            return Stopped { exit: Some(exit), killed: false };
        }
        tracing::warn!(driver = name, pid = process.pid(), "plugin did not stop in time, killed");
        Stopped { exit: process.kill(KILL_LIMIT).await, killed: true }
    }
}

impl Kept {
    /// Its handshake is known, and it answers: from here on a later host can take it over.
    pub(crate) fn ready(&mut self, handshake: String) -> Result<(), KeepError> {
        let mut facts = self.facts();
        facts.handshake = Some(handshake);
        self.dir.write(&facts)
    }

    fn facts(&self) -> MutexGuard<'_, Facts> {
        self.facts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One question to the health service.
pub(crate) async fn check_health(channel: Channel, deadline: Duration) -> Result<(), HealthError> {
    let request = HealthCheckRequest { service: HEALTH_SERVICE.to_owned() };
    let mut client = HealthClient::new(channel);
    let reply = timeout(deadline, client.check(request))
        .await
        .map_err(|_| HealthError::Unanswered(deadline))?
        .map_err(|status| HealthError::Failed(Box::new(status)))?;
    match reply.into_inner().status() {
        ServingStatus::Serving => Ok(()),
        _ => Err(HealthError::NotServing),
    }
}
