//! The gateway's process: a round by the first configuration, and one by each that follows.
//!
//! Always true: this file and those below it are the only wiring; what outlives a round (driver
//! processes, the command line's door, small state) is held here; between two rounds the command line
//! waits. A round that cannot start gives way to the one before it.
//!
//! ```text
//! reload    read and check the files, the drivers too ─ a mistake: nothing happens
//!           end the round, driver processes go on and keep what they read
//!           start a round by the new configuration ─ it cannot start: by the old one again
//! handover  end the round the same way, and the process with it
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow};
use sagoo_edge_proto::clock;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Sources};
use crate::control;
use crate::control::message::{LeftRunning, ReloadReply, Reloaded};
use crate::northbound::Said;
use crate::southbound::fleet::Fleet;
use crate::southbound::{Parting, configuration};
use crate::status::LastReload;

use self::reload::Verdict;
use self::round::{Desk, Limits, Outlives, Round, SmallState};
use self::stage::Stage;

mod door;
mod own;
mod reload;
mod round;
mod run_dir;
mod stage;

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Everything together stops within 5 s: drivers, then northbound, then the buffer.
const STOP: Limits = Limits {
    commands: None,
    drivers: Duration::from_millis(3200),
    northbound: Duration::from_millis(1100),
    buffer: Duration::from_millis(300),
};
/// Between two rounds there is time for a result that is on its way and for a slow disk; devices are
/// read all the while.
const SWITCH: Limits = Limits {
    commands: Some(Duration::from_secs(2)),
    drivers: Duration::from_millis(3200),
    northbound: Duration::from_millis(1100),
    buffer: Duration::from_secs(20),
};
/// The command line's door, at the very end.
const STOP_REST: Duration = Duration::from_millis(300);
/// Requests from the command line that wait while a round gives way to another; more wait at the door.
const ASKS: usize = 4;

/// What is asked of the process by signals.
#[derive(Debug, Clone, Default)]
pub struct Signals {
    /// End, drivers too.
    pub stop: CancellationToken,
    /// Read the configuration again.
    pub reload: Arc<Notify>,
}

/// What is asked of the process by the command line.
enum Ask {
    Reload(oneshot::Sender<Result<ReloadReply, String>>),
    Handover(oneshot::Sender<Result<Vec<LeftRunning>, String>>),
}

/// What the process does next.
enum Next {
    Stop,
    Ask(Ask),
    SignalledReload,
    Looked(Verdict),
    Failed(anyhow::Error),
}

/// Runs the gateway until it is told to end.
pub async fn run(config: Config, sources: Sources, signals: Signals) -> anyhow::Result<()> {
    let began = Instant::now();
    tracing::info!(
        version = VERSION,
        gateway = %config.gateway.identity.device_key,
        profile = config.sagoo.profile.word(),
        connections = config.connections.len(),
        devices = config.devices.len(),
        "gateway starts"
    );
    let (ask, asked) = mpsc::channel(ASKS);
    let (config, sources) = (Arc::new(config), Arc::new(sources));
    let mut process = Process::open(config.clone(), began, ask).await?;
    let round = Round::start(config, sources, &mut process.outlives).await?;
    process.desk.send_replace(Some(round.desk.clone()));
    let (round, parting, failed) = process.rounds(round, asked, &signals).await;
    match (&failed, parting) {
        (Some(error), _) => {
            tracing::error!(error = format!("{error:#}"), "gateway stops, something ended early");
        }
        (None, Parting::Stop) => tracing::info!("gateway stops"),
        (None, Parting::Keep) => tracing::info!("gateway hands its drivers over"),
    }
    process.desk.send_replace(None);
    if let Some(round) = round {
        let limits = if parting == Parting::Keep { SWITCH } else { STOP };
        // said where it happened; nothing is left to be done about it
        let _ = round.end(|_| parting, limits).await;
    }
    process.close(parting).await;
    tracing::info!(uptime_s = began.elapsed().as_secs(), "gateway stopped");
    failed.map_or(Ok(()), Err)
}

/// What lives as long as the process.
struct Process {
    /// Ours, and nobody else's, until we end.
    _run_dir: Option<File>,
    outlives: Outlives,
    /// Who answers the command line; nobody between two rounds.
    desk: watch::Sender<Option<Desk>>,
    last_reload: watch::Sender<Option<LastReload>>,
    ask: mpsc::Sender<Ask>,
    /// The command line's door, and where it is.
    control: (PathBuf, Stage),
    /// The door before it, while somebody there may wait for an answer.
    old_control: Option<(PathBuf, Stage)>,
}

impl Process {
    async fn open(config: Arc<Config>, began: Instant, ask: mpsc::Sender<Ask>) -> anyhow::Result<Self> {
        let run_dir = run_dir::lock(&config.drivers.run_dir).await?;
        let (last_reload, last_reload_seen) = watch::channel(None);
        let outlives = Outlives {
            began,
            fleet: Fleet::open(&config.drivers),
            state: SmallState::default(),
            drivers: BTreeMap::new(),
            last_reload: last_reload_seen,
            said: watch::Sender::new(Said::by_somebody_until(began)),
        };
        let (desk, _) = watch::channel(None);
        let mut process = Self {
            _run_dir: run_dir,
            outlives,
            desk,
            last_reload,
            ask,
            control: (PathBuf::new(), Stage::default()),
            old_control: None,
        };
        process.open_control(&config).await?;
        Ok(process)
    }

    /// Round after round, until the last one; it is left to be ended, if there is one.
    async fn rounds(
        &mut self,
        mut round: Round,
        mut asked: mpsc::Receiver<Ask>,
        signals: &Signals,
    ) -> (Option<Round>, Parting, Option<anyhow::Error>) {
        let mut looking: JoinSet<Verdict> = JoinSet::new();
        let mut waiting: Option<oneshot::Sender<Result<ReloadReply, String>>> = None;
        loop {
            let idle = looking.is_empty();
            let next = tokio::select! {
                () = signals.stop.cancelled() => Next::Stop,
                error = round.failed() => Next::Failed(error),
                error = self.control.1.failed() => Next::Failed(error),
                Some(looked) = looking.join_next() => match looked {
                    Ok(verdict) => Next::Looked(verdict),
                    Err(panic) => Next::Failed(anyhow!("looking at the new configuration broke: {panic}")),
                },
                Some(ask) = asked.recv() => Next::Ask(ask),
                () = signals.reload.notified(), if idle => Next::SignalledReload,
            };
            match next {
                Next::Stop => return (Some(round), Parting::Stop, None),
                // whoever starts us again takes the drivers over with all they have not been acknowledged
                Next::Failed(error) => return (Some(round), Parting::Keep, Some(error)),
                Next::Ask(Ask::Handover(reply)) => {
                    let _ = reply.send(Ok(self.left_running()));
                    return (Some(round), Parting::Keep, None);
                }
                Next::Ask(Ask::Reload(reply)) if !idle => {
                    let _ =
                        reply.send(Err("a reload is being checked: ask again when it is done".to_owned()));
                }
                Next::Ask(Ask::Reload(reply)) => {
                    waiting = Some(reply);
                    self.look(&mut looking, &round);
                }
                Next::SignalledReload => self.look(&mut looking, &round),
                Next::Looked(verdict) => {
                    let (next, reply) = match verdict {
                        Verdict::Stay(reply) => (Ok(round), reply),
                        Verdict::Run(new, reply) => self.switch(round, *new, reply).await,
                    };
                    self.tell(&reply);
                    if let Some(asker) = waiting.take() {
                        // it may have gone away
                        let _ = asker.send(Ok(reply));
                    }
                    self.close_old_control().await;
                    match next {
                        Ok(next) => round = next,
                        Err(error) => return (None, Parting::Keep, Some(error)),
                    }
                }
            }
        }
    }

    fn look(&self, looking: &mut JoinSet<Verdict>, round: &Round) {
        let (dir, running) = (round.sources.dir().to_owned(), round.config.clone());
        tracing::info!(dir = %dir.display(), "configuration is read again");
        looking.spawn(async move { reload::look(&dir, &running).await });
    }

    /// Ends the round and starts the next one; if that cannot be, the same one again. An error means
    /// that neither can.
    async fn switch(
        &mut self,
        round: Round,
        (config, sources): (Config, Sources),
        reply: ReloadReply,
    ) -> (anyhow::Result<Round>, ReloadReply) {
        let (config, sources) = (Arc::new(config), Arc::new(sources));
        let (old_config, old_sources) = (round.config.clone(), round.sources.clone());
        let restored = |error: &anyhow::Error| ReloadReply {
            result: Reloaded::Restored,
            message: format!("the new configuration cannot be started ({error:#}); the old one runs again"),
            ..reply.clone()
        };
        if let Err(error) = self.open_control(&config).await {
            return (Ok(round), restored(&error));
        }
        self.desk.send_replace(None);
        // what nobody needs any more gives up all it has read before it goes
        let needed = configuration::drivers(&config);
        let parting = |driver: &str| if needed.contains(driver) { Parting::Keep } else { Parting::Stop };
        let ended = round.end(parting, SWITCH).await;
        let started = match ended {
            Ok(()) => Round::start(config, sources, &mut self.outlives).await,
            Err(error) => Err(error),
        };
        let (next, reply) = match started {
            Ok(round) => (Ok(round), reply),
            Err(error) => {
                let again = self.open_control(&old_config).await;
                let next = match again {
                    Ok(()) => Round::start(old_config, old_sources, &mut self.outlives).await,
                    Err(error) => Err(error),
                };
                (next.context("starting the old configuration again"), restored(&error))
            }
        };
        if let Ok(round) = &next {
            self.desk.send_replace(Some(round.desk.clone()));
        }
        (next, reply)
    }

    /// Opens the command line's door where the configuration has it, unless it is open there already.
    async fn open_control(&mut self, config: &Config) -> anyhow::Result<()> {
        let path = &config.control.socket;
        if *path == self.control.0 {
            return Ok(());
        }
        let next = match self.old_control.take() {
            Some(old) if old.0 == *path => old,
            _ => {
                let socket = control::open(&config.control).await?;
                let mut stage = Stage::default();
                stage.spawn(
                    "control",
                    control::serve(socket, door::door(&self.desk, &self.ask), stage.stop.clone()),
                );
                (path.clone(), stage)
            }
        };
        self.old_control = Some(std::mem::replace(&mut self.control, next));
        Ok(())
    }

    async fn close_old_control(&mut self) {
        if let Some((_, stage)) = self.old_control.take() {
            stage.end(STOP_REST, "control").await;
        }
    }

    /// For the log and for status.
    fn tell(&self, reply: &ReloadReply) {
        let (outcome, changes) = (&reply.message, reply.changes.len());
        match reply.result {
            Reloaded::Applied | Reloaded::Unchanged => {
                tracing::info!(outcome, changes, "configuration is reloaded");
            }
            Reloaded::Refused => tracing::error!(outcome, "the new configuration is refused"),
            Reloaded::Restored => tracing::error!(outcome, "the new configuration is taken back"),
        }
        let (done, message) = (reply.result.is_done(), outcome.clone());
        self.last_reload.send_replace(Some(LastReload {
            done,
            message,
            since_s: 0,
            boot_ns: clock::boot_ns(),
        }));
    }

    fn left_running(&self) -> Vec<LeftRunning> {
        let drivers = self.outlives.drivers.values().map(|status| status.borrow().clone());
        drivers.filter_map(|driver| Some(LeftRunning { pid: driver.pid?, id: driver.id })).collect()
    }

    /// The last things: the small state is flushed, the command line hears its last answer.
    async fn close(self, parting: Parting) {
        if parting == Parting::Keep {
            self.outlives.fleet.leave();
        }
        self.outlives.state.close().await;
        self.control.1.end(STOP_REST, "control").await;
    }
}
