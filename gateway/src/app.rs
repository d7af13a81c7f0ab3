//! The only wiring: who holds whose door, in which order things start and stop.
//!
//! Always true: stopping goes upstream to downstream (drivers, northbound, buffer) and is bounded;
//! a task that ends early ends the process, systemd brings it back.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, anyhow, bail};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::sync::CancellationToken;

use crate::commands::{self, Dispatch, Routes};
use crate::config::Sources;
use crate::config::types::{Config, GatewayProperty};
use crate::control;
use crate::northbound::{self, DeviceOnPlatform};
use crate::pipeline;
use crate::row::{GATEWAY, Value};
use crate::southbound::{check, configuration, supervisor};
use crate::state;
use crate::status::board::Board;
use crate::status::{DriverStatus, NorthboundStatus, Status};

/// Commands waiting for one driver's session.
const DISPATCHED: usize = 16;
/// Everything together stops within 5 s: drivers, then northbound, then the buffer.
const STOP_DRIVERS: Duration = Duration::from_millis(3200);
const STOP_NORTHBOUND: Duration = Duration::from_millis(1100);
const STOP_BUFFER: Duration = Duration::from_millis(300);

/// Version of this build.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One group of tasks that stops together.
#[derive(Default)]
struct Stage {
    tasks: JoinSet<anyhow::Result<()>>,
    stop: CancellationToken,
}

impl Stage {
    fn spawn(
        &mut self,
        what: impl Into<String>,
        task: impl Future<Output = anyhow::Result<()>> + Send + 'static,
    ) {
        let (what, stop) = (what.into(), self.stop.clone());
        self.tasks.spawn(async move {
            let ended = task.await.with_context(|| what.clone());
            match ended {
                Ok(()) if !stop.is_cancelled() => Err(anyhow!("{what} ended early")),
                ended => ended,
            }
        });
    }

    /// Resolves with the first task that ends without being asked.
    async fn failed(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) => anyhow!("a task ended early"),
            Some(Err(panic)) => anyhow!("a task broke: {panic}"),
            None => std::future::pending().await,
        }
    }

    async fn end(mut self, within: Duration, what: &'static str) {
        self.stop.cancel();
        let ended = timeout(within, async { while self.tasks.join_next().await.is_some() {} }).await;
        if ended.is_err() {
            tracing::warn!(what, within_ms = within.as_millis() as u64, "did not stop in time, cut off");
        }
    }
}

/// Runs the gateway until `stop` is asked for, then stops it.
pub async fn run(config: Config, sources: Sources, stop: CancellationToken) -> anyhow::Result<()> {
    let began = Instant::now();
    tracing::info!(
        version = VERSION,
        gateway = %config.gateway.identity.device_key,
        profile = config.sagoo.profile.word(),
        connections = config.connections.len(),
        devices = config.devices.len(),
        "gateway starts"
    );
    let config = Arc::new(config);
    let (state, state_thread) = state::start(config.buffer.dir.join("state"));
    let opening = config.clone();
    let (pipeline, pipeline_thread) = tokio::task::spawn_blocking(move || pipeline::task::start(&opening))
        .await
        .context("opening the buffer")??;
    let mut rooms = wire(config, sources, began, &pipeline, state);

    let failed = tokio::select! {
        () = stop.cancelled() => None,
        error = rooms.south.failed() => Some(error),
        error = rooms.north.failed() => Some(error),
        error = rooms.middle.failed() => Some(error),
    };
    match &failed {
        None => tracing::info!("gateway stops"),
        Some(error) => tracing::error!(error = format!("{error:#}"), "gateway stops, something ended early"),
    }
    rooms.south.end(STOP_DRIVERS, "drivers").await;
    rooms.north.end(STOP_NORTHBOUND, "northbound").await;
    rooms.middle.end(STOP_BUFFER, "control").await;
    let flushed = async {
        pipeline.stop().await;
        let threads = move || (pipeline_thread.join(), state_thread.join());
        tokio::task::spawn_blocking(threads).await
    };
    if timeout(STOP_BUFFER, flushed).await.is_err() {
        tracing::error!("buffer did not finish in time; what is written is safe, the last sync is not");
    }
    tracing::info!(uptime_s = began.elapsed().as_secs(), "gateway stopped");
    match failed {
        None => Ok(()),
        Some(error) => bail!(error),
    }
}

/// The tasks, in the order they stop.
struct Rooms {
    south: Stage,
    north: Stage,
    middle: Stage,
}

/// Gives every task the doors it needs, and starts it.
fn wire(
    config: Arc<Config>,
    sources: Sources,
    began: Instant,
    pipeline: &pipeline::Handle,
    state: state::Handle,
) -> Rooms {
    let (mut south, mut north, mut middle) = (Stage::default(), Stage::default(), Stage::default());
    let (online, online_seen) = watch::channel(HashSet::new());
    let (drivers, doors) = start_drivers(&mut south, &config, sources, pipeline, &state, &online);
    let devices = config.devices.iter().filter_map(|(name, device)| {
        let connection = config.connections.get(&device.connection)?;
        Some((name.clone(), Arc::from(connection.driver.as_str())))
    });
    let routes = Routes { devices: devices.collect(), drivers: doors };
    let (commands, router) = commands::router(routes, state);
    middle.spawn("commands", router.run(middle.stop.clone()));

    let (platform, platform_seen) = watch::channel(NorthboundStatus::default());
    let setup = northbound::Setup {
        config: config.sagoo.clone(),
        gateway: config.gateway.clone(),
        devices: on_platform(&config),
        pipeline: pipeline.clone(),
        commands: commands.clone(),
        status: platform,
        online: online_seen,
        version: VERSION,
    };
    north.spawn("northbound", northbound::run(setup, north.stop.clone()));

    let board = Board {
        config: config.clone(),
        began,
        pipeline: pipeline.clone(),
        drivers,
        northbound: platform_seen,
    };
    let board = Arc::new(board);
    let own = report_itself(config.clone(), board.clone(), pipeline.clone(), middle.stop.clone());
    middle.spawn("own properties", own);
    let door = control::Door::new(
        move || {
            let board = board.clone();
            async move { board.status().await }
        },
        move |request| {
            let commands = commands.clone();
            async move { commands.execute(request).await }
        },
    );
    middle.spawn("control", control::serve(config.control.clone(), door, middle.stop.clone()));
    Rooms { south, north, middle }
}

type Doors = HashMap<Arc<str>, mpsc::Sender<Dispatch>>;

/// One supervisor per driver the configuration names.
fn start_drivers(
    stage: &mut Stage,
    config: &Arc<Config>,
    sources: Sources,
    pipeline: &pipeline::Handle,
    state: &state::Handle,
    online: &watch::Sender<HashSet<String>>,
) -> (Vec<watch::Receiver<DriverStatus>>, Doors) {
    let place: Arc<dyn Fn(&sagoo_edge_proto::driver::Problem) -> String + Send + Sync> =
        Arc::new(move |problem| sources.problem(check::found(problem.clone())).to_string());
    let mut shown = Vec::new();
    let mut doors = Doors::new();
    for id in configuration::drivers(config) {
        let id: Arc<str> = id.into();
        let (status, seen) = watch::channel(DriverStatus { id: id.to_string(), ..DriverStatus::default() });
        let (door, dispatched) = mpsc::channel(DISPATCHED);
        let supervisor = supervisor::Supervisor {
            id: id.clone(),
            config: config.clone(),
            pipeline: pipeline.clone(),
            state: state.clone(),
            dispatched,
            status,
            online: online.clone(),
            place: place.clone(),
        };
        shown.push(seen);
        doors.insert(id.clone(), door);
        stage.spawn(format!("driver {id}"), supervisor.run(stage.stop.clone()));
    }
    (shown, doors)
}

fn on_platform(config: &Config) -> Vec<DeviceOnPlatform> {
    let devices = config.devices.iter().map(|(name, device)| DeviceOnPlatform {
        name: name.as_str().into(),
        identity: device.identity.clone(),
        points: device.points.iter().map(|(name, point)| (point.key.clone(), name.clone())).collect(),
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
        let status = board.status().await;
        let values = config.gateway.properties.iter();
        let values = values.map(|(key, property)| (key.as_str().into(), own_value(*property, &status)));
        if pipeline.own(values.collect()).await.is_err() {
            return Ok(());
        }
    }
}

fn own_value(property: GatewayProperty, status: &Status) -> Value {
    let devices = || status.devices.iter().filter(|device| device.name != GATEWAY);
    match property {
        GatewayProperty::Version => Value::Text(status.version.clone()),
        GatewayProperty::UptimeS => Value::Uint(status.uptime_s),
        GatewayProperty::Devices => Value::Uint(devices().count() as u64),
        GatewayProperty::DevicesOnline => {
            Value::Uint(devices().filter(|device| device.online).count() as u64)
        }
        GatewayProperty::WaitingSamples => Value::Uint(status.totals.waiting),
        GatewayProperty::BufferBytes => Value::Uint(status.buffer.bytes),
        GatewayProperty::EvictedSamples => Value::Uint(status.totals.evicted),
    }
}
