//! A driver on the SDK whose devices are numbers: as many points, as often, as it is configured to.
//!
//! Always true: a poll costs nothing but its readings, so what is measured with it is the SDK and the
//! boundary.

use std::process::ExitCode;
use std::time::Duration;

use bench::load::{Settings, slow_value, value};
use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, DeviceTable, Driver,
    Line, LineError, Offline, Outcome, Point, Poll, Problem, Readings, Tap, Value, serve,
};
use sagoo_edge_proto::clock;

/// The SDK polls no faster; asked for 0 it is as fast as this.
const SHORTEST: Duration = Duration::from_millis(1);

const NS_PER_MS: u64 = 1_000_000;

struct Synthetic;

/// Turns of a device differ, so that its values do.
struct Numbers {
    turn: u64,
}

impl Driver for Synthetic {
    type Connection = ();
    type Device = Settings;
    type Line = Numbers;

    fn describe(&self) -> Description {
        Description {
            name: "synthetic",
            version: env!("CARGO_PKG_VERSION"),
            title: "Load on the SDK",
            config_schema: r#"{"device": {"required": ["width", "period_ms"]}}"#,
            abilities: &["write"],
        }
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let mut problems = Vec::new();
        let mut connections = Vec::new();
        for connection in &configuration.connections {
            let own = configuration.devices.iter().filter(|device| device.connection == connection.name);
            let devices = own.filter_map(|device| check(device).map_err(|why| problems.push(why)).ok());
            let devices = devices.collect();
            connections.push(CheckedConnection { name: connection.name.clone(), settings: (), devices });
        }
        Checked { problems, connections }
    }

    fn line(&self, (): &(), _tap: Tap) -> Numbers {
        Numbers { turn: 0 }
    }
}

fn check(device: &DeviceTable) -> Result<CheckedDevice<Synthetic>, Problem> {
    let settings = serde_json::from_value::<Settings>(device.settings.clone()).map_err(|why| Problem {
        path: vec!["device".to_owned(), device.name.clone()],
        message: why.to_string(),
        hint: "width = 100 and period_ms = 1000, for example".to_owned(),
        warning: false,
    })?;
    let points = 0..settings.width;
    let poll = Poll {
        name: "all".to_owned(),
        period: Duration::from_millis(settings.period_ms).max(SHORTEST),
        points: points.clone().map(|point| point as usize).collect(),
        requests: Vec::new(),
    };
    Ok(CheckedDevice {
        name: device.name.clone(),
        points: points.map(|point| Point { name: format!("p{point}"), writable: true }).collect(),
        polls: [poll].into(),
        offline: Offline::default(),
        settings,
    })
}

impl Numbers {
    fn value(&self, device: &Settings, now: u64, point: u64) -> Value {
        if !device.slow {
            return Value::Float(value(self.turn, point).into());
        }
        // The line's turns are those of all its devices; its own are told by the clock.
        Value::Float(slow_value(now / (device.period_ms.max(1) * NS_PER_MS), point))
    }
}

impl Line for Numbers {
    type Device = Settings;

    async fn poll(&mut self, device: &Settings, _: usize, out: &mut Readings) -> Result<(), LineError> {
        self.turn += 1;
        let now = clock::boot_ns();
        for point in 0..device.width {
            out.good_at(point as usize, self.value(device, now, point.into()), now);
        }
        Ok(())
    }

    async fn read(
        &mut self,
        device: &Settings,
        points: &[usize],
        out: &mut Readings,
    ) -> Result<(), LineError> {
        let now = clock::boot_ns();
        for point in points {
            out.good(*point, self.value(device, now, *point as u64));
        }
        Ok(())
    }

    async fn write(&mut self, _: &Settings, values: &[(usize, Value)], _: Deadline) -> Vec<Outcome> {
        values.iter().map(|_| Outcome::Applied(None)).collect()
    }

    async fn close(&mut self) {}
}

fn main() -> ExitCode {
    serve(Synthetic)
}
