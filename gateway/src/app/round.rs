//! One round of the gateway: everything that runs by one configuration.
//!
//! Always true: stopping goes upstream to downstream (drivers, northbound, the rest, buffer) and is
//! bounded; a task that ends early ends the round.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use super::own::{Driver, Own};
use super::stage::Stage;
use crate::commands::{self, Dispatch, Routes};
use crate::config::Sources;
use crate::config::alike::Alike;
use crate::config::types::Config;
use crate::metrics;
use crate::northbound::deadletter::{self, ASKS};
use crate::northbound::{self, DeviceOnPlatform, Said};
use crate::pipeline;
use crate::southbound::fleet::Fleet;
use crate::southbound::reach::{Drivers, Reach};
use crate::southbound::{Parting, configuration, installed, supervisor};
use crate::state;
use crate::status::board::Board;
use crate::status::{DriverStatus, LastReload, NorthboundStatus};

/// Commands waiting for one driver's session.
const DISPATCHED: usize = 16;
/// Calls beside a session that wait for the way to its process; more wait at the door.
const REACHED: usize = 4;

/// The small state's last flush.
const STATE_STOP: Duration = Duration::from_millis(300);

/// How long each step of an end may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Commands that are being carried out get their result; `None`: they are not waited for.
    pub commands: Option<Duration>,
    /// Drivers, or their sessions.
    pub drivers: Duration,
    /// The broker is told goodbye.
    pub northbound: Duration,
    /// What is left, the buffer's last sync included.
    pub buffer: Duration,
}

/// What every round gets from the process, and leaves to the next.
pub struct Outlives {
    /// Start of the process.
    pub began: Instant,
    /// Driver processes without a supervisor.
    pub fleet: Arc<Fleet>,
    /// Small durable values.
    pub state: SmallState,
    /// What status shows of each driver, its restarts counted over all rounds.
    pub drivers: BTreeMap<String, watch::Sender<DriverStatus>>,
    /// What became of the last reload.
    pub last_reload: watch::Receiver<Option<LastReload>>,
    /// What was last said to the platform, for the distances it needs.
    pub said: watch::Sender<Said>,
}

/// The small state beside the buffer, opened with it and kept as long as the buffer stays in its place.
#[derive(Default)]
pub struct SmallState(Option<(PathBuf, state::Handle, JoinHandle<()>)>);

impl SmallState {
    /// That of this buffer.
    async fn of(&mut self, buffer: &Path) -> state::Handle {
        if let Some((dir, handle, _)) = &self.0
            && dir == buffer
        {
            return handle.clone();
        }
        std::mem::take(self).close().await;
        let (handle, thread) = state::start(buffer.join("state"));
        self.0 = Some((buffer.to_owned(), handle.clone(), thread));
        handle
    }

    /// Flushed, once everybody else has dropped their handles.
    pub async fn close(self) {
        let Some((_, handle, thread)) = self.0 else { return };
        drop(handle);
        let joined = tokio::task::spawn_blocking(move || thread.join());
        if timeout(STATE_STOP, joined).await.is_err() {
            tracing::warn!("small state did not finish in time; its last half second may be missing");
        }
    }
}

/// Who answers the command line during a round.
#[derive(Clone)]
pub struct Desk {
    /// Shows the status.
    pub board: Arc<Board>,
    /// Carries out commands.
    pub commands: commands::Handle,
    /// Calls running drivers beside their sessions.
    pub drivers: Drivers,
    /// Shows, sends and drops rows that were given up.
    pub dead_letters: mpsc::Sender<deadletter::Ask>,
    /// Where the configuration that runs comes from.
    pub dir: PathBuf,
}

/// Everything that runs.
pub struct Round {
    /// By which it runs.
    pub config: Arc<Config>,
    /// Where its tables stand.
    pub sources: Arc<Sources>,
    /// For the command line.
    pub desk: Desk,
    south: Stage,
    north: Stage,
    middle: Stage,
    /// Per driver.
    parting: Partings,
    pipeline: pipeline::Handle,
    pipeline_thread: JoinHandle<()>,
}

impl Round {
    /// Opens the buffer and starts every task. What cannot be, is before the first task started.
    pub async fn start(
        config: Arc<Config>,
        sources: Arc<Sources>,
        outlives: &mut Outlives,
    ) -> anyhow::Result<Self> {
        let opening = config.clone();
        let opened = tokio::task::spawn_blocking(move || pipeline::task::start(&opening)).await;
        let (pipeline, pipeline_thread) = opened.context("opening the buffer")??;
        outlives.fleet.finish(&configuration::drivers(&config)).await;
        let state = outlives.state.of(&config.buffer.dir).await;
        let configured = |device: &str| config.devices.contains_key(device);
        let loaded = pipeline::latest::load(state.clone(), configured).await;
        pipeline.remember(loaded).await.context("remembering values")?;
        Ok(Self::wire((config, sources), outlives, state, (pipeline, pipeline_thread)))
    }

    /// Gives every task the doors it needs, and starts it.
    fn wire(
        (config, sources): (Arc<Config>, Arc<Sources>),
        outlives: &mut Outlives,
        state: state::Handle,
        (pipeline, pipeline_thread): (pipeline::Handle, JoinHandle<()>),
    ) -> Self {
        let (mut south, mut north, mut middle) = (Stage::default(), Stage::default(), Stage::default());
        let (online, online_seen) = watch::channel(HashSet::new());
        let field =
            Field { config: &config, sources: &sources, pipeline: &pipeline, state: &state, online: &online };
        let Started { shown, own, doors, reaches, partings } = field.start_drivers(&mut south, outlives);
        let devices = config.devices.iter().filter_map(|(name, device)| {
            let connection = config.connections.get(&device.connection)?;
            Some((name.clone(), Arc::from(connection.driver.as_str())))
        });
        let (own_door, own_calls) = mpsc::channel(DISPATCHED);
        let routes = Routes { devices: devices.collect(), drivers: doors, own: Some(own_door) };
        let state_trouble = state.trouble();
        let (commands, router) = commands::router(routes, state.clone());
        middle.spawn("commands", router.run(middle.stop.clone()));

        let (dead_letters, asked) = mpsc::channel(ASKS);
        let (platform, platform_seen) = watch::channel(NorthboundStatus::default());
        let setup = northbound::Setup {
            config: config.sagoo.clone(),
            gateway: config.gateway.clone(),
            devices: on_platform(&config),
            pipeline: pipeline.clone(),
            commands: commands.clone(),
            status: platform,
            online: online_seen,
            state,
            dead_letters: config.buffer.dir.join("deadletters"),
            asked,
            said: outlives.said.clone(),
        };
        north.spawn("northbound", northbound::run(setup, north.stop.clone()));

        let (metrics_shown, metrics_seen) = watch::channel(None);
        let board = Arc::new(Board {
            config: config.clone(),
            began: outlives.began,
            pipeline: pipeline.clone(),
            state_trouble,
            drivers: shown,
            northbound: platform_seen,
            last_reload: outlives.last_reload.clone(),
            metrics: metrics_seen,
        });
        if let Some(address) = config.metrics.listen {
            middle
                .spawn("metrics", metrics::serve(address, board.clone(), metrics_shown, middle.stop.clone()));
        }
        let report = report_itself(config.clone(), board.clone(), pipeline.clone(), middle.stop.clone());
        middle.spawn("own properties", report);
        let own = Own { board: board.clone(), drivers: own };
        middle.spawn("own functions", own.run(own_calls, middle.stop.clone()));
        let (drivers, dir) = (Drivers::new(config.clone(), reaches), sources.dir().to_owned());
        let desk = Desk { board, commands, drivers, dead_letters, dir };
        Self { config, sources, desk, south, north, middle, parting: partings, pipeline, pipeline_thread }
    }

    /// Resolves with the first task that ends without being asked.
    pub async fn failed(&mut self) -> anyhow::Error {
        tokio::select! {
            error = self.south.failed() => error,
            error = self.north.failed() => error,
            error = self.middle.failed() => error,
        }
    }

    /// Ends everything, downstream last; `parting` says how each driver is left. An error means that the buffer is not closed, so that nobody
    /// else can open it; what is written in it is safe.
    pub async fn end(self, parting: impl Fn(&str) -> Parting, limits: Limits) -> anyhow::Result<()> {
        if let Some(within) = limits.commands
            && timeout(within, self.desk.commands.idle()).await.is_err()
        {
            tracing::warn!("a command takes too long to be waited for; its result stays unknown");
        }
        self.south.stop.cancel();
        for (driver, told) in &self.parting {
            told.send_replace(Some(parting(driver)));
        }
        self.south.end(limits.drivers, "drivers").await;
        self.north.end(limits.northbound, "northbound").await;
        self.middle.end(limits.buffer, "commands").await;
        let (pipeline, thread) = (self.pipeline, self.pipeline_thread);
        let flushed = async {
            pipeline.stop().await;
            tokio::task::spawn_blocking(move || thread.join()).await
        };
        match timeout(limits.buffer, flushed).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(_) => bail!("the pipeline broke"),
            Err(_) => {
                tracing::error!(
                    "buffer did not finish in time; what is written is safe, the last sync is not"
                );
                bail!("the buffer did not finish within {} ms", limits.buffer.as_millis())
            }
        }
    }
}

type Partings = BTreeMap<Arc<str>, watch::Sender<Option<Parting>>>;

/// Everybody's way to the supervisors, by driver.
#[derive(Default)]
struct Started {
    shown: Vec<watch::Receiver<DriverStatus>>,
    own: BTreeMap<Arc<str>, Driver>,
    doors: HashMap<Arc<str>, mpsc::Sender<Dispatch>>,
    reaches: HashMap<Arc<str>, mpsc::Sender<Reach>>,
    partings: Partings,
}

/// What all supervisors of a round share.
struct Field<'a> {
    config: &'a Arc<Config>,
    sources: &'a Arc<Sources>,
    pipeline: &'a pipeline::Handle,
    state: &'a state::Handle,
    online: &'a watch::Sender<HashSet<String>>,
}

impl Field<'_> {
    /// One supervisor per driver the configuration names.
    fn start_drivers(&self, stage: &mut Stage, outlives: &mut Outlives) -> Started {
        let installed = installed::watch(&self.config.drivers);
        let ids = configuration::drivers(self.config);
        outlives.drivers.retain(|id, _| ids.contains(id));
        let mut started = Started::default();
        for id in ids {
            let fresh = || watch::Sender::new(DriverStatus { id: id.clone(), ..DriverStatus::default() });
            let status = outlives.drivers.entry(id.clone()).or_insert_with(fresh).clone();
            let (door, dispatched) = mpsc::channel(DISPATCHED);
            let (reach, reached) = mpsc::channel(REACHED);
            started.shown.push(status.subscribe());
            let id: Arc<str> = id.into();
            let reboot = Arc::new(Notify::new());
            started.own.insert(id.clone(), Driver { status: status.subscribe(), reboot: reboot.clone() });
            let supervisor = supervisor::Supervisor {
                id: id.clone(),
                config: self.config.clone(),
                pipeline: self.pipeline.clone(),
                state: self.state.clone(),
                dispatched,
                reached,
                status,
                online: self.online.clone(),
                sources: self.sources.clone(),
                fleet: outlives.fleet.clone(),
                reboot,
                installed: installed.clone(),
            };
            let (parting, told) = watch::channel(None);
            started.doors.insert(id.clone(), door);
            started.reaches.insert(id.clone(), reach);
            started.partings.insert(id.clone(), parting);
            stage.spawn(format!("driver {id}"), supervisor.run(told));
        }
        started
    }
}

fn on_platform(config: &Config) -> Vec<DeviceOnPlatform> {
    let mut keys = Alike::default();
    let devices = config.devices.iter().map(|(name, device)| DeviceOnPlatform {
        name: name.as_str().into(),
        identity: device.identity.clone(),
        points: keys.of(&device.points, |points| {
            points.iter().map(|(name, point)| (point.key.clone(), name.clone())).collect()
        }),
    });
    devices.collect()
}

/// Stores the gateway's own properties every `gateway.report`.
async fn report_itself(
    config: Arc<Config>,
    board: Arc<Board>,
    pipeline: pipeline::Handle,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    if config.gateway.properties.is_empty() {
        stop.cancelled().await;
        return Ok(());
    }
    let mut due = interval(config.gateway.report);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = due.tick() => {}
        }
        if pipeline.own(board.own_properties().await).await.is_err() {
            return Ok(());
        }
    }
}
