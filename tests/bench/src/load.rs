//! What a driver of the bench is told to make: so many devices, so many points, so often.
//!
//! ```text
//! [device.d0]  connection = "bench"  width = 100  period_ms = 50
//! ```
//! Always true: every driver of the bench (on the SDK, the plain loop, the one in Go) is told the same
//! way and makes the same bytes: full batches of [`BATCH_DEVICES`] devices, one float of four bytes per
//! point.

use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{Batch, Configuration, Connection, Device, DeviceSamples, Kind};
use serde::Deserialize;
use serde_json::json;

/// Name of the one connection.
pub const CONNECTION: &str = "bench";
/// Points of every device.
pub const POINTS: u32 = 100;
/// Devices in a batch; with [`POINTS`] it holds what makes a batch of the SDK full.
pub const BATCH_DEVICES: u32 = 20;
/// Samples in a full batch.
pub const BATCH_SAMPLES: u32 = BATCH_DEVICES * POINTS;

/// Devices and how often each is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// How many devices.
    pub devices: u32,
    /// How often each; zero: as fast as it goes.
    pub period: Duration,
}

/// A device's table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct Settings {
    /// How many points it has; `points` is the gateway's own word.
    pub width: u32,
    /// How often they are read; 0: as fast as it goes.
    pub period_ms: u64,
    /// Its values change as telemetry mostly does: each at every tenth read, by a small step.
    #[serde(default)]
    pub slow: bool,
}

impl Load {
    /// One device that is hardly ever read, for commands.
    pub const IDLE: Self = Self { devices: 1, period: Duration::from_secs(3_600) };
    /// As much as goes.
    pub const FLAT_OUT: Self = Self { devices: 600, period: Duration::ZERO };

    /// So many samples per second, every device read every 50 ms.
    pub const fn paced(samples_per_second: u32) -> Self {
        Self { devices: samples_per_second / POINTS / 20, period: Duration::from_millis(50) }
    }

    /// What the driver is told.
    pub fn configuration(self) -> Configuration {
        let connection = Connection { name: CONNECTION.to_owned(), settings: "{}".to_owned() };
        let device = |(name, settings)| Device {
            name,
            connection: CONNECTION.to_owned(),
            model: String::new(),
            settings,
        };
        let devices = self.devices().map(device).collect();
        Configuration { connections: vec![connection], models: Vec::new(), devices }
    }

    /// Each device's name and settings.
    pub fn devices(self) -> impl Iterator<Item = (String, String)> {
        let settings = json!({ "width": POINTS, "period_ms": self.period.as_millis() as u64 }).to_string();
        (0..self.devices).map(move |number| (format!("d{number}"), settings.clone()))
    }
}

/// A batch of the next devices in turn, as the SDK packs one: made anew each time, column by column.
pub fn batch(seq: u64, generation: u64, first: u32, devices: u32, points: u32) -> Batch {
    let boot_ns = clock::boot_ns();
    let wall_ms = clock::trusted_wall_ms();
    let one = |place: u32| DeviceSamples {
        device: (first + place) % devices,
        boot_ns,
        wall_ms,
        kinds: vec![Kind::Float as u8],
        count: points,
        floats: (0..u64::from(points)).map(|point| value(seq, point)).collect(),
        ..DeviceSamples::default()
    };
    Batch { seq, generation, devices: (0..BATCH_DEVICES.min(devices)).map(one).collect() }
}

/// A value as telemetry mostly is: with one decimal, and another one at every tenth turn.
pub fn slow_value(turn: u64, point: u64) -> f64 {
    let steps = (turn + point) / 10 + point * 13;
    200.0 + (steps % 500) as f64 / 10.0
}

/// A value that changes, and is exact in four bytes.
pub fn value(turn: u64, point: u64) -> f32 {
    ((turn + point) % 1_000) as f32
}

#[cfg(test)]
mod tests {
    use sagoo_edge_proto::sample;

    use super::*;

    #[test]
    fn a_paced_load_asks_for_what_it_says() {
        let load = Load::paced(200_000);
        let per_second = f64::from(load.devices * POINTS) / load.period.as_secs_f64();
        assert_eq!((load.devices, per_second), (100, 200_000.0));
        assert_eq!(load.configuration().devices.len(), 100);
    }

    #[test]
    fn a_batch_is_what_the_sdk_would_pack() {
        let made = batch(7, 1, 190, 200, POINTS);
        assert_eq!(made.devices.iter().map(|one| one.count).sum::<u32>(), BATCH_SAMPLES);
        assert_eq!(made.devices[10].device, 0, "the devices come in turn");
        for packed in made.devices {
            let samples = sample::unpack(packed.clone()).unwrap();
            assert_eq!(sample::pack(packed.device, &samples, packed.wall_ms), packed);
        }
    }

    #[test]
    fn a_tenth_of_the_slow_values_changes_at_a_read_and_by_little() {
        let changed =
            |turn| (0..100).filter(move |point| slow_value(turn, *point) != slow_value(turn + 1, *point));
        assert_eq!((changed(7).count(), changed(70_003).count()), (10, 10));
        assert!((slow_value(9, 0) - slow_value(10, 0)).abs() < 0.11);
    }

    #[test]
    fn settings_are_read_back() {
        let (name, settings) = Load::FLAT_OUT.devices().next().unwrap();
        let settings: Settings = serde_json::from_str(&settings).unwrap();
        assert_eq!((name.as_str(), settings), ("d0", Settings { width: POINTS, period_ms: 0, slow: false }));
    }
}
