//! What `sagoo-edge status` shows: one tree, built from what each task publishes.
//!
//! Always true: field names are the JSON's; the command line parses the same types it is sent.
//! [`board`] puts it together; [`ledger`] is the account of samples, [`letters`] are rows given up; [`plan`] is what `sagoo-edge explain`
//! shows.

pub mod board;
pub mod ledger;
pub mod letters;
pub mod plan;

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

pub use ledger::{Evicted, Ledger, Restart};

use crate::class::PerClass;

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
    /// Per connection.
    #[serde(default)]
    pub connections: Vec<ConnectionStatus>,
    /// Per device.
    pub devices: Vec<DeviceStatus>,
    /// Store and forward.
    pub buffer: BufferStatus,
    /// What waits for the platform.
    pub backlog: Backlog,
    /// Why the small state (drivers' own values, command ids) is not available; empty when all is well.
    #[serde(default)]
    pub state_trouble: String,
    /// Whether times are right.
    #[serde(default)]
    pub clock: ClockStatus,
    /// The platform.
    pub northbound: NorthboundStatus,
    /// Sums over the devices.
    pub totals: Ledger,
    /// The last start at which not all that had been counted was there.
    #[serde(default)]
    pub restart: Option<Restart>,
    /// Where metrics can be fetched, if they can.
    #[serde(default)]
    pub metrics: Option<SocketAddr>,
    /// What became of the last reload, if there was one.
    #[serde(default)]
    pub last_reload: Option<LastReload>,
}

/// A reload of the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastReload {
    /// Whether what the files said then is what runs.
    pub done: bool,
    /// In one sentence.
    pub message: String,
    /// Seconds since it ended, when status was asked.
    pub since_s: u64,
    /// Boot time at which it ended.
    #[serde(skip)]
    pub boot_ns: u64,
}

/// One driver: the process at work, and what stands behind it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct DriverStatus {
    /// `modbus`
    pub id: String,
    /// `starting`, `running`, `updating`, `restarting`, `quarantined`, `missing`, `refused` (it may not
    /// run), `stopped`.
    pub state: String,
    /// Of the process.
    pub pid: Option<u32>,
    /// Of the driver.
    pub version: String,
    /// The file that runs, or would.
    pub program: String,
    /// Since the gateway's start.
    pub restarts: u32,
    /// Whether its signature was verified.
    pub signed: bool,
    /// The process was taken over from an earlier gateway.
    pub reattached: bool,
    /// Why it is not running, or last did not.
    pub last_error: String,
    /// What it logged last before that.
    pub last_lines: Vec<String>,
    /// The process that stands by.
    pub standby: Option<StandbyStatus>,
    /// What became of the last update, in one sentence; empty: there was none.
    pub update: String,
    /// What it is not confined by, and why.
    pub lacks: Vec<String>,
    /// Its lines, as its heartbeats tell; shown with the connections.
    #[serde(skip)]
    pub lines: BTreeMap<String, LineStatus>,
}

/// One connection.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// In the configuration.
    pub name: String,
    /// Who speaks on it.
    pub driver: String,
    /// How its line is.
    #[serde(flatten)]
    pub line: LineStatus,
}

/// How a line is, and how busy.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct LineStatus {
    /// Whether its last request could be made.
    pub open: bool,
    /// Why not.
    pub reason: String,
    /// Part of the last minute, or since the driver has it; nothing when that is not known.
    pub busy_percent: Option<f64>,
    /// Time spent in polls, commands and scans since the driver's start.
    pub busy_ms: u64,
    /// Due polls that were left out because the line was busy, since the driver's start.
    pub skipped: u64,
    /// Of these in the last minute.
    pub skipped_last_minute: u64,
}

/// A process that takes over when the one at work ends.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandbyStatus {
    /// Of the process.
    pub pid: Option<u32>,
    /// `starting` or `ready`.
    pub state: String,
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
    /// `good`, `uncertain`, `bad`, or `unread`: not read since the start, a value is from before it.
    pub quality: String,
    /// Why it is not good.
    pub reason: String,
    /// Since the last good read.
    pub age_ms: Option<u64>,
}

/// Store and forward.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct BufferStatus {
    /// On disk.
    pub bytes: u64,
    /// Cap.
    pub max_bytes: u64,
    /// Each has its share.
    #[serde(flatten)]
    pub classes: PerClass<ClassStatus>,
    /// Why it takes no data or cannot be read; empty when all is well.
    pub trouble: String,
}

impl BufferStatus {
    /// Both together.
    pub fn of(classes: PerClass<ClassStatus>) -> Self {
        let (events, telemetry) = (&classes.events, &classes.telemetry);
        let trouble = if telemetry.trouble.is_empty() { &events.trouble } else { &telemetry.trouble };
        Self {
            bytes: events.bytes + telemetry.bytes,
            max_bytes: events.max_bytes + telemetry.max_bytes,
            trouble: trouble.clone(),
            classes,
        }
    }
}

/// Rows that were dropped.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dropped {
    /// Of each record one per device in it.
    pub rows: u64,
    /// Samples they account for; events account for none.
    pub samples: u64,
}

/// What waits of one class.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ClassStatus {
    /// On disk.
    pub bytes: u64,
    /// In memory, because the disk takes no data.
    pub memory_bytes: u64,
    /// Its part of the cap.
    pub max_bytes: u64,
    /// Rows that wait for the platform: of each record one per device in it.
    pub waiting_rows: u64,
    /// On disk, acknowledged ones in the oldest segment included.
    pub records: u64,
    /// Dropped because full.
    pub evicted_records: u64,
    /// What was dropped since the start of the gateway: `oldest` and `newest` because it was full,
    /// `too_large` for a record, or because the `disk` took no data.
    pub dropped: BTreeMap<String, Dropped>,
    /// Set aside because damaged.
    pub damaged_records: u64,
    /// Oldest.
    pub first_seq: u64,
    /// The next one to be written.
    pub next_seq: u64,
    /// Why it takes no data; empty when all is well.
    pub trouble: String,
}

/// What waits for the platform, and how fast that changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Backlog {
    /// Samples.
    pub waiting: u64,
    /// Samples stored, as in the last minute.
    pub stored_per_minute: u64,
    /// Samples settled, as in the last minute.
    pub settled_per_minute: u64,
    /// Nothing will wait any more, at this rate; 0: they wait for their answers only; nothing: never,
    /// because it grows or stands still.
    pub done_in_s: Option<u64>,
}

/// See [`ClockStatus::state`].
pub const UNCERTAIN: &str = "uncertain";

/// The clock of the box, as far as rows carry its time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClockStatus {
    /// `trusted`, `waiting` (rows are stored and wait for it) or `uncertain` (rows go out with times that
    /// may be wrong).
    pub state: String,
    /// How much longer rows wait at most; nothing when none does.
    pub waits_s: Option<u64>,
    /// What helps.
    pub remedy: String,
}

/// The platform.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NorthboundStatus {
    /// MQTT is up.
    pub connected: bool,
    /// `mqtts://host:port`
    pub broker: String,
    /// Seconds in this state when status was asked, see [`Self::asked_at`].
    pub since_s: u64,
    /// Boot time at which the state was entered; `None`: the northbound has not begun. Nobody outside
    /// this process can compare it.
    #[serde(skip)]
    pub since_boot_ns: Option<u64>,
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
    /// Rows that were given up.
    #[serde(default)]
    pub dead_letters: DeadLetterStatus,
}

/// Rows that were given up and are kept until somebody sends or drops them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterStatus {
    /// Kept.
    pub letters: u64,
    /// Of their messages.
    pub bytes: u64,
    /// Of these, to be sent again.
    pub sending: u64,
    /// Dropped to make room for newer ones, since the start.
    pub evicted: u64,
    /// Dropped by hand, since the start.
    pub dropped: u64,
    /// Sent again and acknowledged, since the start.
    pub acknowledged: u64,
    /// Why they are not kept as they should; empty when all is well.
    pub trouble: String,
}

impl NorthboundStatus {
    /// As it is at this boot time.
    pub fn asked_at(mut self, boot_ns: u64) -> Self {
        self.since_s = self.since_boot_ns.map_or(0, |since| boot_ns.saturating_sub(since) / 1_000_000_000);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_of_a_state_is_that_of_the_moment_it_is_asked_for_and_travels_as_seconds() {
        let entered = NorthboundStatus { since_boot_ns: Some(5_000_000_000), ..NorthboundStatus::default() };
        assert_eq!(entered.clone().asked_at(6_999_999_999).since_s, 1);
        assert_eq!(NorthboundStatus::default().asked_at(6_999_999_999).since_s, 0);
        let json = serde_json::to_value(entered.asked_at(3_605_000_000_000)).unwrap();
        assert_eq!((&json["since_s"], json.get("since_boot_ns")), (&3_600.into(), None));
    }
}
