//! The checked configuration: values that cannot be wrong any more.
//!
//! Always true: whoever holds a [`Config`] need not check it again. What belongs to a driver is
//! kept as JSON and checked by that driver.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_buffer::WhenFull;

use super::defaults;
use crate::class::{Class, PerClass};
use crate::row::Identity;

/// All of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Config {
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// `[sagoo]`
    pub sagoo: SagooConfig,
    /// `[buffer]`
    pub buffer: BufferConfig,
    /// `[drivers]`
    pub drivers: DriversConfig,
    /// `[control]`
    pub control: ControlConfig,
    /// `[metrics]`
    pub metrics: MetricsConfig,
    /// `[connection.*]`
    pub connections: BTreeMap<String, ConnectionConfig>,
    /// `[model.*]`
    pub models: BTreeMap<String, ModelConfig>,
    /// `[device.*]`
    pub devices: BTreeMap<String, DeviceConfig>,
}

impl Config {
    /// In one line, for people: `2 connections, 3 devices, 41 points`.
    pub fn summary(&self) -> String {
        let points = self.devices.values().map(|device| device.points.len()).sum();
        let counted =
            [(self.connections.len(), "connection"), (self.devices.len(), "device"), (points, "point")];
        let counted = counted.map(|(count, what)| match count {
            1 => format!("1 {what}"),
            _ => format!("{count} {what}s"),
        });
        counted.join(", ")
    }
}

/// The gateway as a device of the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct GatewayConfig {
    /// Its keys on the platform.
    pub identity: Identity,
    /// Property key on the platform → what the gateway reports there. Empty: only heartbeats, because
    /// a property the platform's thing model does not know poisons its storage (sagooiot.md §4.6).
    pub properties: BTreeMap<String, GatewayProperty>,
    /// How often they are reported.
    pub report: Duration,
    /// How long rows wait at most for a clock that is trusted; zero: a clock after 2025 is trusted at once.
    pub clock_wait: Duration,
}

/// What a gateway can say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum GatewayProperty {
    /// Version of the gateway, text.
    Version,
    /// Seconds since start.
    UptimeS,
    /// Devices configured.
    Devices,
    /// Devices that answer.
    DevicesOnline,
    /// Samples waiting in the buffer.
    WaitingSamples,
    /// Bytes the buffer takes on disk.
    BufferBytes,
    /// Samples dropped, oldest first, because the buffer was full.
    EvictedSamples,
}

/// The platform.
#[derive(Debug, Clone, PartialEq)]
pub struct SagooConfig {
    /// Where its broker is.
    pub broker: Broker,
    /// MQTT client id; the gateway's device key unless given.
    pub client_id: String,
    /// MQTT user.
    pub username: Option<String>,
    /// File with the password; read at every connect, so that it can be replaced.
    pub password: Option<PathBuf>,
    /// PEM file with the certificates to trust instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM files of the client certificate and its key.
    pub client_certificate: Option<(PathBuf, PathBuf)>,
    /// Which platform it is.
    pub profile: Profile,
    /// MQTT keep-alive.
    pub keep_alive: Duration,
    /// Empty message per device at least this often (platform's online timeout: 30 s).
    pub heartbeat: Duration,
    /// No acknowledgement for this long: send again with the same id.
    pub ack_timeout: Duration,
    /// Least time between two rows of one device (sagooiot.md R3).
    pub row_spacing: Duration,
    /// In which order what waited is sent.
    pub drain: Drain,
}

/// `mqtt://host:port` or `mqtts://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Host name or address.
    pub host: String,
    /// Port; 1883, or 8883 with TLS, unless given.
    pub port: u16,
    /// `mqtts`: TLS, verified.
    pub tls: bool,
}

/// Which platform is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// The open-source SagooIOT, with all the care it needs.
    Community,
    /// The paid editions. Treated like `community` but for the defaults of `drain` and `row_spacing`.
    Enterprise,
}

impl Profile {
    /// As it is configured.
    pub fn word(self) -> &'static str {
        match self {
            Self::Community => "community",
            Self::Enterprise => "enterprise",
        }
    }
}

/// In which order what waited for the platform is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// Oldest first.
    Ordered,
    /// The newest at once, the others beside it, oldest first.
    LiveFirst,
    /// The newest only; the others count as merged.
    LatestOnly,
}

/// Store and forward.
#[derive(Debug, Clone, PartialEq)]
pub struct BufferConfig {
    /// Directory: `payload/` inside it holds what waits, `state/` small values.
    pub dir: PathBuf,
    /// Most bytes of `payload/`, both classes together.
    pub max_size: u64,
    /// Free space that is left to others on the same filesystem.
    pub reserve: u64,
    /// When written data is synced: the loss bound at a power cut.
    pub sync: Sync,
    /// What goes when a class has used up its share.
    pub when_full: PerClass<WhenFull>,
}

impl BufferConfig {
    /// Where a class lies.
    pub fn place(&self, class: Class) -> PathBuf {
        self.dir.join("payload").join(class.word())
    }

    /// What a class may take of `max_size`: events a sixteenth, and at least what they need.
    pub fn share(&self, class: Class) -> u64 {
        let events = (self.max_size / defaults::EVENTS_PER_BUFFER).max(defaults::CLASS_SIZE_MIN);
        match class {
            Class::Event => events,
            Class::Telemetry => self.max_size.saturating_sub(events),
        }
    }
}

/// `sync = "1s"` or `sync = "each"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sync {
    /// Every batch.
    Each,
    /// At most once per interval.
    Interval(Duration),
}

/// Where drivers come from.
#[derive(Debug, Clone, PartialEq)]
pub struct DriversConfig {
    /// Searched in order for `driver-<id>`.
    pub dirs: Vec<PathBuf>,
    /// Keys that may sign drivers.
    pub trusted_keys: PathBuf,
    /// Drivers that run without a signature; status shows them.
    pub allow_unsigned: Vec<String>,
    /// What lives as long as driver processes: their records in `drivers/`, their sockets and
    /// temporary files in `plugins/`.
    pub run_dir: PathBuf,
    /// A driver whose gateway is gone polls on for this long, then ends itself.
    pub orphan_grace: Duration,
    /// System user that drivers run as; `None`: the gateway's.
    pub user: Option<String>,
    /// Most bytes one driver may have in memory.
    pub memory_max: Option<u64>,
    /// Most of the processor one driver may take, in percent of one core.
    pub cpu_max: Option<u32>,
}

/// The command line's door.
#[derive(Debug, Clone, PartialEq)]
pub struct ControlConfig {
    /// Unix socket that only its user may open.
    pub socket: PathBuf,
}

/// The page of metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricsConfig {
    /// Where it can be fetched; nowhere unless it is given.
    pub listen: Option<SocketAddr>,
}

/// A wire or a socket.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionConfig {
    /// Which driver speaks on it.
    pub driver: String,
    /// A second process of that driver stands by, configured and without open lines.
    pub standby: bool,
    /// The driver's part as JSON, without `driver` and `standby`.
    pub settings: Box<str>,
    /// Files it names for its driver as `{ file = "…" }`: the place inside its table, and where it is.
    pub files: Vec<(Vec<String>, PathBuf)>,
}

/// A device type.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// `version`, 1 unless given.
    pub version: u32,
    /// The driver's part as JSON: reporting rules and `version` left out.
    pub settings: Box<str>,
}

/// A unit on a connection.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceConfig {
    /// Name of its connection.
    pub connection: String,
    /// Name of its model, without version.
    pub model: String,
    /// Its keys on the platform.
    pub identity: Identity,
    /// Reporting rules of its points, model and overrides merged; shared by the devices that have the
    /// model's.
    pub points: Points,
    /// The driver's part as JSON: reporting rules and the platform's keys left out.
    pub settings: Box<str>,
}

/// The points of a device, by name.
pub type Points = Arc<BTreeMap<String, PointConfig>>;

/// What the gateway knows of a point.
#[derive(Debug, Clone, PartialEq)]
pub struct PointConfig {
    /// Property key on the platform; the point's name unless given.
    pub key: String,
    /// For people.
    pub unit: String,
    /// Smaller changes are not reported.
    pub deadband: Option<Deadband>,
    /// An unchanged value is reported at least this often; only with `deadband` (one that is given
    /// alone gets the deadband 0: changes only).
    pub heartbeat: Option<Duration>,
}

/// `deadband = 0.5` or `deadband = "1%"`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Deadband {
    /// In the point's unit.
    Absolute(f64),
    /// Of the last reported value.
    Percent(f64),
}
