//! Puts together what each task publishes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use sagoo_edge_proto::clock;
use tokio::sync::watch;

use crate::config::types::{Config, GatewayProperty};
use crate::control::value::to_json;
use crate::pipeline;
use crate::pipeline::snapshot::{DeviceSnapshot, ReadAt};
use crate::row::{GATEWAY, Value};
use crate::status::{
    ConnectionStatus, DeviceStatus, DriverStatus, LastReload, LineStatus, NorthboundStatus, PointStatus,
    Status, UNCERTAIN,
};

/// Where everything can be seen.
pub struct Board {
    /// The configuration.
    pub config: Arc<Config>,
    /// Start of the process.
    pub began: Instant,
    /// Values, ledger, buffer.
    pub pipeline: pipeline::Handle,
    /// Why the small state is not available.
    pub state_trouble: watch::Receiver<String>,
    /// Driver processes.
    pub drivers: Vec<watch::Receiver<DriverStatus>>,
    /// The platform.
    pub northbound: watch::Receiver<NorthboundStatus>,
    /// Of the configuration.
    pub last_reload: watch::Receiver<Option<LastReload>>,
    /// Where metrics can be fetched.
    pub metrics: watch::Receiver<Option<SocketAddr>>,
}

impl Board {
    /// Everything at this moment.
    pub async fn status(&self) -> Status {
        let snapshot = self.pipeline.snapshot().await.unwrap_or_default();
        let northbound = self.northbound.borrow().clone().asked_at(clock::boot_ns());
        let devices = snapshot.devices.iter().map(|(name, shown)| self.device(name, shown, &northbound));
        let devices: Vec<DeviceStatus> = devices.collect();
        let totals = devices.iter().map(|device| device.ledger).sum();
        let drivers: Vec<DriverStatus> = self.drivers.iter().map(|driver| driver.borrow().clone()).collect();
        Status {
            connections: self.connections(&drivers),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            uptime_s: self.began.elapsed().as_secs(),
            gateway: self.config.gateway.identity.device_key.to_string(),
            drivers,
            devices,
            buffer: snapshot.buffer,
            backlog: snapshot.backlog,
            state_trouble: self.state_trouble.borrow().clone(),
            clock: snapshot.clock,
            northbound,
            totals,
            restart: snapshot.restart,
            metrics: *self.metrics.borrow(),
            last_reload: self.last_reload.borrow().clone().map(|reload| LastReload {
                since_s: clock::boot_ns().saturating_sub(reload.boot_ns) / 1_000_000_000,
                ..reload
            }),
        }
    }

    /// Whether what is read now has a time that may be wrong.
    pub async fn clock_is_uncertain(&self) -> bool {
        let snapshot = self.pipeline.snapshot().await;
        snapshot.is_ok_and(|snapshot| snapshot.clock.state == UNCERTAIN)
    }

    /// The gateway's own properties, by their keys on the platform.
    pub async fn own_properties(&self) -> Vec<(Arc<str>, Value)> {
        let status = self.status().await;
        let properties = self.config.gateway.properties.iter();
        properties.map(|(key, property)| (key.as_str().into(), own_value(*property, &status))).collect()
    }

    fn connections(&self, drivers: &[DriverStatus]) -> Vec<ConnectionStatus> {
        let shown = self.config.connections.iter().map(|(name, connection)| {
            let driver = drivers.iter().find(|driver| driver.id == connection.driver);
            let line = driver.and_then(|driver| driver.lines.get(name).cloned());
            let reason = || match driver.map(|driver| driver.state.as_str()) {
                Some("running") if driver.is_some_and(|driver| !driver.lines.is_empty()) => {
                    "the driver does not run it; see sagoo-edge check".to_owned()
                }
                Some("running" | "updating") => "the driver has not told of it yet".to_owned(),
                Some(state) => format!("the driver is {state}"),
                None => String::new(),
            };
            ConnectionStatus {
                name: name.clone(),
                driver: connection.driver.clone(),
                line: line.unwrap_or_else(|| LineStatus { reason: reason(), ..LineStatus::default() }),
            }
        });
        shown.collect()
    }

    fn device(&self, name: &str, shown: &DeviceSnapshot, northbound: &NorthboundStatus) -> DeviceStatus {
        let config = self.config.devices.get(name);
        let identity = match config {
            Some(device) => Some(&device.identity),
            None => (name == GATEWAY).then_some(&self.config.gateway.identity),
        };
        let known =
            identity.is_some_and(|id| northbound.known_devices.iter().any(|key| **key == *id.device_key));
        let points = shown.points.iter().map(|(point, value)| PointStatus {
            name: point.to_string(),
            value: value.value.as_ref().map(to_json),
            unit: config
                .and_then(|device| device.points.get(&**point))
                .map(|p| p.unit.clone())
                .unwrap_or_default(),
            quality: value.quality.word().to_owned(),
            reason: value.reason.clone(),
            age_ms: age_ms(value.read_at),
        });
        DeviceStatus {
            name: name.to_owned(),
            connection: config.map(|device| device.connection.clone()).unwrap_or_default(),
            online: shown.online || name == GATEWAY,
            reason: shown.reason.clone(),
            product_key: identity.map(|id| id.product_key.to_string()).unwrap_or_default(),
            device_key: identity.map(|id| id.device_key.to_string()).unwrap_or_default(),
            platform: if known { "known" } else { "unknown" }.to_owned(),
            points: points.collect(),
            ledger: shown.ledger,
        }
    }
}

/// Nothing when it was never read, or when the clock cannot tell.
fn age_ms(read_at: ReadAt) -> Option<u64> {
    match read_at {
        ReadAt::Never => None,
        // of this boot, and the clock is still waited for
        ReadAt::BeforeTheStart(..0) => None,
        ReadAt::Boot(boot_ns) => Some(clock::boot_ns().saturating_sub(boot_ns) / 1_000_000),
        ReadAt::BeforeTheStart(time_ms) => {
            let now = clock::trusted_wall_ms()?;
            Some(u64::try_from(now.saturating_sub(time_ms)).unwrap_or(0))
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
