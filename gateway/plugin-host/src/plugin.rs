//! A running plugin: its channel, its health, its end.
//!
//! Always true: [`Plugin::stop`] takes at most its [`Grace`] and [`KILL_LIMIT`], whatever the
//! plugin does; a [`Plugin`] that is dropped instead is killed at once, with its whole group, and
//! reaped in the background. Neither leaves a zombie or a socket file.

use std::time::Duration;

use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_client::GrpcControllerClient;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use crate::launch::{self, KILL_LIMIT};
use crate::process::Process;
use crate::{Exit, HealthError, Launch, StartError, stdio};

/// The name go-plugin's health service answers to.
const HEALTH_SERVICE: &str = "plugin";

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
    app_version: u32,
    /// Ends with this value.
    tasks: JoinSet<()>,
}

impl Plugin {
    /// Starts a plugin and waits until it answers.
    pub async fn start(launch: Launch) -> Result<Self, StartError> {
        launch::start(launch).await
    }

    pub(crate) fn new(name: String, process: Process, channel: Channel, app_version: u32) -> Self {
        let mut tasks = JoinSet::new();
        tasks.spawn(stdio::forward(name.clone(), channel.clone()));
        Self { name, process, channel, app_version, tasks }
    }

    /// The connection. Raise the limits of clients on it to [`MAX_MESSAGE_BYTES`](crate::MAX_MESSAGE_BYTES).
    /// While a clone of it is in use, the plugin may wait for that before it ends.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
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

    /// Asks the plugin to end, waits, kills it if it does not.
    pub async fn stop(mut self, grace: Grace) -> Stopped {
        let mut client = GrpcControllerClient::new(self.channel.clone());
        let asked = timeout(grace.shutdown_rpc, client.shutdown(Empty {}));
        // Its answer says nothing: a Go plugin cuts the connection instead of replying.
        tokio::select! {
            _ = asked => {}
            _ = self.process.exit_within(grace.shutdown_rpc) => {}
        }
        // A plugin that stops gracefully waits for us to hang up.
        self.tasks.shutdown().await;
        let Self { name, process, channel, .. } = self;
        drop((client, channel));
        if let Some(exit) = process.exit_within(grace.exit).await {
            tracing::debug!(driver = name, %exit, "plugin stopped");
            return Stopped { exit: Some(exit), killed: false };
        }
        tracing::warn!(driver = name, pid = process.pid(), "plugin did not stop in time, killed");
        Stopped { exit: process.kill(KILL_LIMIT).await, killed: true }
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
