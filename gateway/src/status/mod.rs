//! What `sagoo-edge status` shows: one tree, built from what each task publishes.
//!
//! Always true: field names are the JSON's; the command line parses the same types it is sent.

pub mod board;

use serde::{Deserialize, Serialize};

/// Everything at one moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Status {
    /// Of the gateway.
    pub version: String,
    /// Since its start.
    pub uptime_s: u64,
    /// The gateway's device key.
    pub gateway: String,
    /// Per driver process.
    pub drivers: Vec<DriverStatus>,
    /// Per device.
    pub devices: Vec<DeviceStatus>,
    /// Store and forward.
    pub buffer: BufferStatus,
    /// The platform.
    pub northbound: NorthboundStatus,
    /// Sums over the devices.
    pub totals: Ledger,
}

/// One driver process.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DriverStatus {
    /// `modbus`
    pub id: String,
    /// `starting`, `running`, `restarting`, `missing`, `refused` (not signed), `stopped`.
    pub state: String,
    /// Of the process.
    pub pid: Option<u32>,
    /// Of the driver.
    pub version: String,
    /// Since the gateway's start.
    pub restarts: u32,
    /// Whether its signature was verified.
    pub signed: bool,
    /// Why it is not running, or last did not.
    pub last_error: String,
}

/// One device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct DeviceStatus {
    /// In the configuration.
    pub name: String,
    /// Its wire.
    pub connection: String,
    /// Whether it answers.
    pub online: bool,
    /// Why not.
    pub reason: String,
    /// On the platform.
    pub product_key: String,
    /// On the platform.
    pub device_key: String,
    /// Whether the platform is known to know it: `unknown`, `probing`, `known`.
    pub platform: String,
    /// Latest values.
    pub points: Vec<PointStatus>,
    /// Account of its samples.
    pub ledger: Ledger,
}

/// One point.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct PointStatus {
    /// In the configuration.
    pub name: String,
    /// Last good value.
    pub value: Option<serde_json::Value>,
    /// For people.
    pub unit: String,
    /// `good`, `uncertain`, `bad`, or `unread`.
    pub quality: String,
    /// Why it is not good.
    pub reason: String,
    /// Since the last good read.
    pub age_ms: Option<u64>,
}

/// Account of samples: `read = suppressed + dropped_by_driver + stored` and
/// `stored = acknowledged + waiting + evicted + parked + merged` (design, promise 2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ledger {
    /// Read by the driver.
    pub read: u64,
    /// Not reported: unchanged within the deadband, or bad without news.
    pub suppressed: u64,
    /// Dropped by the driver while the gateway was away.
    pub dropped_by_driver: u64,
    /// Written to the buffer.
    pub stored: u64,
    /// Answered by the platform.
    pub acknowledged: u64,
    /// In the buffer.
    pub waiting: u64,
    /// Dropped because the buffer was full, oldest first.
    pub evicted: u64,
    /// Given up because the platform answers others but never these.
    pub parked: u64,
    /// Merged into a newer row.
    pub merged: u64,
}

/// Store and forward.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BufferStatus {
    /// On disk.
    pub bytes: u64,
    /// Cap.
    pub max_bytes: u64,
    /// On disk, acknowledged ones in the oldest segment included.
    pub records: u64,
    /// Dropped because full.
    pub evicted_records: u64,
    /// Set aside because damaged.
    pub damaged_records: u64,
    /// Oldest.
    pub first_seq: u64,
    /// The next one to be written.
    pub next_seq: u64,
    /// Why it takes no data; empty when all is well.
    pub trouble: String,
}

/// The platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NorthboundStatus {
    /// MQTT is up.
    pub connected: bool,
    /// `mqtts://host:port`
    pub broker: String,
    /// In this state.
    pub since_s: u64,
    /// Why it is not, or last was not.
    pub last_error: String,
    /// Messages waiting for the platform's acknowledgement.
    pub in_flight: u64,
    /// Messages handed to the broker the first time.
    pub sent_messages: u64,
    /// Samples in them.
    pub sent_samples: u64,
    /// Messages acknowledged by the platform.
    pub acknowledged_messages: u64,
    /// Messages sent again, same id and bytes.
    pub resent_messages: u64,
    /// Device keys the platform answered for.
    pub known_devices: Vec<String>,
    /// Commands received.
    pub commands: u64,
}
