//! The driver __id__. As it is, every device is a wave whose height can be written; put your machine
//! in its place.
//!
//! Always true: `check` says everything there is to say about the settings and touches no machine;
//! `Machine` is the only part that does.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, DeviceTable, Driver,
    Line, LineError, Offline, Outcome, Point, Poll, Problem, Readings, Rights, Tap, Value, serve,
};

#[cfg(test)]
mod tests;

const DEFAULT_PERIOD_MS: u64 = 1_000;
/// Points are told apart by their place in the device's list.
const WAVE: usize = 0;
const HEIGHT: usize = 1;

/// Settings in, machines out.
#[derive(Debug)]
pub struct __Type__;

/// One connection: a wire or a socket of yours, opened by the first request.
pub struct Machine {
    started: Instant,
    height: f64,
}

impl Driver for __Type__ {
    type Connection = ();
    type Device = ();
    type Line = Machine;

    fn describe(&self) -> Description {
        Description {
            name: "__id__",
            version: env!("CARGO_PKG_VERSION"),
            title: "__Type__",
            config_schema: include_str!("../package/schema.json"),
            abilities: &["write"],
        }
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let mut problems = Vec::new();
        let connections = configuration.connections.iter().map(|connection| CheckedConnection {
            name: connection.name.clone(),
            settings: (),
            devices: configuration
                .devices
                .iter()
                .filter(|device| device.connection == connection.name)
                .filter_map(|device| check(device).map_err(|problem| problems.push(problem)).ok())
                .collect(),
        });
        let connections = connections.collect();
        Checked { problems, connections }
    }

    /// The TCP ports of your machines; the gateway lets the driver reach these and no others.
    fn rights(&self, _connection: &()) -> Option<Rights> {
        Some(Rights::default())
    }

    fn line(&self, _connection: &(), _tap: Tap) -> Machine {
        Machine { started: Instant::now(), height: 1.0 }
    }
}

/// Settings of one device → its points and how often they are read.
fn check(device: &DeviceTable) -> Result<CheckedDevice<__Type__>, Problem> {
    let period_ms = match device.settings.get("period_ms") {
        None => DEFAULT_PERIOD_MS,
        Some(given) => given.as_u64().filter(|ms| *ms >= 10).ok_or_else(|| Problem {
            path: vec!["device".to_owned(), device.name.clone(), "period_ms".to_owned()],
            message: format!("{given} is not a period"),
            hint: "whole milliseconds, at least 10".to_owned(),
            warning: false,
        })?,
    };
    let point = |name: &str, writable| Point { name: name.to_owned(), writable };
    Ok(CheckedDevice {
        name: device.name.clone(),
        points: [point("wave", false), point("height", true)].into(),
        polls: [Poll {
            name: "all".to_owned(),
            period: Duration::from_millis(period_ms),
            points: vec![WAVE, HEIGHT],
            requests: Vec::new(),
        }]
        .into(),
        offline: Offline::default(),
        settings: (),
    })
}

impl Line for Machine {
    type Device = ();

    async fn poll(&mut self, device: &(), _poll: usize, out: &mut Readings) -> Result<(), LineError> {
        self.read(device, &[WAVE, HEIGHT], out).await
    }

    async fn read(&mut self, _device: &(), points: &[usize], out: &mut Readings) -> Result<(), LineError> {
        for point in points {
            let value = match *point {
                WAVE => self.height * self.started.elapsed().as_secs_f64().sin(),
                _ => self.height,
            };
            out.good(*point, Value::Float(value));
        }
        Ok(())
    }

    async fn write(&mut self, _device: &(), values: &[(usize, Value)], deadline: Deadline) -> Vec<Outcome> {
        let write = |value: &Value| {
            let height = match value {
                _ if deadline.passed() => return Outcome::Expired,
                Value::Float(height) => *height,
                Value::Int(height) => *height as f64,
                Value::Uint(height) => *height as f64,
                other => return Outcome::Refused(format!("{other} is not a number")),
            };
            self.height = height;
            Outcome::Applied(Some(Value::Float(height)))
        };
        values.iter().map(|(_, value)| value).map(write).collect()
    }

    async fn close(&mut self) {}
}

fn main() -> ExitCode {
    serve(__Type__)
}
