//! One driver's life: found, started, talked to, started again when it dies.
//!
//! Always true: restarts back off with jitter up to [`MAX_BACKOFF`]; while the driver is away its
//! commands are answered at once; stopping is bounded.

use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_plugin_host::{Grace, Launch, Plugin};
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::handshake;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::answers::Answers;
use super::session::{self, Ended, Online};
use super::{configuration, program};
use crate::commands::{Dispatch, Outcome, Verdict};
use crate::config::types::{Config, DriversConfig};
use crate::pipeline;
use crate::state;
use crate::status::DriverStatus;

/// First pause before a restart.
const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause.
const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A driver that ran this long starts with the first pause again.
const HEALTHY: Duration = Duration::from_secs(60);
/// How often a driver that never gets to work, always for the same reason, is reported.
const SAY_AGAIN: Duration = Duration::from_secs(300);
/// A process that ended sooner never got to work.
const NEVER_RAN: Duration = Duration::from_secs(1);
/// Handshake and first health check.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// One call outside the session.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// How a driver is stopped: polite call, then time to go, then the process group is killed.
pub const GRACE: Grace = Grace { shutdown_rpc: Duration::from_millis(500), exit: Duration::from_secs(1) };

/// Everything one driver's task needs.
pub struct Supervisor {
    /// Driver id.
    pub id: Arc<str>,
    /// The whole configuration.
    pub config: Arc<Config>,
    /// Where samples go.
    pub pipeline: pipeline::Handle,
    /// Small durable values.
    pub state: state::Handle,
    /// Commands for its devices.
    pub dispatched: mpsc::Receiver<Dispatch>,
    /// What status shows.
    pub status: watch::Sender<DriverStatus>,
    /// Devices that answer.
    pub online: Online,
    /// Shows where in the configuration a driver's problem is.
    pub place: Arc<dyn Fn(&wire::Problem) -> String + Send + Sync>,
}

/// How a driver is started; the same for running and for checking.
pub fn launch(drivers: &DriversConfig, id: &str) -> Result<Launch, program::ProgramError> {
    let program = program::find(drivers, id)?;
    Ok(Launch {
        name: id.to_owned(),
        program,
        args: Vec::new(),
        env: std::env::var_os("SAGOO_LOG").map(|level| ("SAGOO_LOG".into(), level)).into_iter().collect(),
        cookie: (handshake::COOKIE_KEY.to_owned(), handshake::COOKIE_VALUE.to_owned()),
        app_versions: vec![handshake::APP_VERSION],
        auto_mtls: true,
        start_timeout: START_TIMEOUT,
        run_dir: None,
    })
}

impl Supervisor {
    /// Runs until it is told to stop.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut backoff = MIN_BACKOFF;
        let mut said = Instant::now();
        while !stop.is_cancelled() {
            let began = Instant::now();
            let (state, why) = match launch(&self.config.drivers, &self.id) {
                Ok(launch) => ("restarting", self.life(launch, &stop).await),
                Err(error @ program::ProgramError::Missing { .. }) => ("missing", error.to_string()),
                Err(error @ program::ProgramError::Unsigned { .. }) => ("refused", error.to_string()),
            };
            if stop.is_cancelled() {
                break;
            }
            if began.elapsed() > HEALTHY {
                backoff = MIN_BACKOFF;
            }
            let pause = backoff.mul_f64(0.5 + fastrand::f64() / 2.0);
            backoff = (backoff * 2).min(MAX_BACKOFF);
            let news = began.elapsed() > NEVER_RAN || self.status.borrow().last_error != why;
            if news || said.elapsed() > SAY_AGAIN {
                said = Instant::now();
                let retry_in_ms = pause.as_millis() as u64;
                tracing::error!(driver = %self.id, error = %why, retry_in_ms, "driver is down");
            }
            self.show(|status| {
                status.state = state.to_owned();
                status.pid = None;
                status.restarts += u32::from(state == "restarting");
                status.last_error = why;
            });
            tokio::select! {
                () = self.refuse_commands() => {}
                () = sleep(pause) => {}
                () = stop.cancelled() => {}
            }
        }
        self.show(|status| {
            status.state = "stopped".to_owned();
            status.pid = None;
        });
        Ok(())
    }

    /// One process from start to end; why it ended.
    async fn life(&mut self, launch: Launch, stop: &CancellationToken) -> String {
        self.show(|status| status.state = "starting".to_owned());
        let started = tokio::select! {
            started = Plugin::start(launch) => started,
            () = stop.cancelled() => return "stopped".to_owned(),
        };
        let plugin = match started {
            Ok(plugin) => plugin,
            Err(error) => return error.to_string(),
        };
        let version = self.describe(&plugin).await;
        self.show(|status| {
            status.state = "running".to_owned();
            status.pid = Some(plugin.pid());
            status.version.clone_from(&version);
        });
        tracing::info!(driver = %self.id, pid = plugin.pid(), version, "driver started");
        let ended = self.sessions(&plugin, stop).await;
        let mut exited = plugin.exited();
        // a broken stream is usually the process' end: say what it died of
        let exit = if matches!(ended, Ended::Broken(_)) {
            let exit = timeout(Duration::from_millis(500), exited.wait_for(Option::is_some)).await;
            exit.ok().and_then(Result::ok).and_then(|exit| *exit)
        } else {
            None
        };
        let last_lines = plugin.last_lines();
        let stopped = plugin.stop(GRACE).await;
        if matches!(ended, Ended::Stopped) {
            tracing::info!(driver = %self.id, killed = stopped.killed, "driver stopped");
        }
        match (exit, last_lines.last()) {
            // one that was killed had no time for words
            (Some(exit), Some(line)) if exit.code.is_some() => format!("{exit}; its last words: {line}"),
            (Some(exit), _) => exit.to_string(),
            (None, _) => ended.to_string(),
        }
    }

    /// Sessions with one process: a new one only when the buffer stalled.
    async fn sessions(&mut self, plugin: &Plugin, stop: &CancellationToken) -> Ended {
        let answers = Answers::new(&self.config, &self.id, self.state.clone());
        let place = self.place.clone();
        let driver = self.id.clone();
        let problems = move |problem: &wire::Problem| {
            if problem.warning {
                tracing::warn!(%driver, problem = place(problem), "driver warns about its configuration");
            } else {
                tracing::error!(%driver, problem = place(problem), "driver refuses part of its configuration; the rest runs");
            }
        };
        loop {
            let setup = session::Setup {
                driver: self.id.clone(),
                configuration: configuration::of_driver(&self.config, &self.id),
                pipeline: &self.pipeline,
                answers: &answers,
                online: &self.online,
                problems: &problems,
            };
            let ended = session::run(plugin.channel(), setup, &mut self.dispatched, stop).await;
            if !matches!(ended, Ended::Stalled) {
                return ended;
            }
            tracing::warn!(driver = %self.id, "buffer takes no data, session is opened anew");
            sleep(MIN_BACKOFF).await;
        }
    }

    async fn describe(&self, plugin: &Plugin) -> String {
        let mut client = DriverClient::new(plugin.channel());
        let described = timeout(CALL_TIMEOUT, client.describe(wire::DescribeRequest {})).await;
        match described {
            Ok(Ok(described)) => described.into_inner().version,
            _ => String::new(),
        }
    }

    /// While there is no session, commands are refused at once instead of left to time out.
    async fn refuse_commands(&mut self) {
        while let Some(Dispatch { reply, .. }) = self.dispatched.recv().await {
            let message = format!("driver {} is not running", self.id);
            let _ = reply.send(Outcome::failed(Verdict::Refused, message));
        }
        std::future::pending::<()>().await;
    }

    fn show(&self, change: impl FnOnce(&mut DriverStatus)) {
        self.status.send_modify(change);
    }
}
