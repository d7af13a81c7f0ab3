//! The smallest driver: every device is a sine wave whose amplitude can be written.
//!
//! ```toml
//! [connection.demo]
//! driver = "sine"
//! [device.wave]
//! connection = "demo"
//! period_ms = 1000
//! ```

use std::process::ExitCode;
use std::time::{Duration, Instant};

use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, DeviceTable, Driver,
    Line, LineError, Offline, Outcome, Point, Poll, Problem, Readings, Tap, Value, serve,
};

const DEFAULT_PERIOD_MS: u64 = 1_000;
const WAVE: usize = 0;
const AMPLITUDE: usize = 1;

#[derive(Debug)]
struct Sine;

struct Generator {
    started: Instant,
    amplitude: f64,
}

impl Driver for Sine {
    type Connection = ();
    type Device = ();
    type Line = Generator;

    fn describe(&self) -> Description {
        Description {
            name: "sine",
            version: env!("CARGO_PKG_VERSION"),
            title: "Sine wave",
            config_schema: r#"{"device": {"properties": {"period_ms": {"type": "integer", "minimum": 10}}}}"#,
            abilities: &["write"],
        }
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let mut problems = Vec::new();
        let connections = configuration
            .connections
            .iter()
            .map(|connection| CheckedConnection {
                name: connection.name.clone(),
                settings: (),
                devices: configuration
                    .devices
                    .iter()
                    .filter(|device| device.connection == connection.name)
                    .filter_map(|device| check(device).map_err(|problem| problems.push(problem)).ok())
                    .collect(),
            })
            .collect();
        Checked { problems, connections }
    }

    fn line(&self, _connection: &(), _tap: Tap) -> Generator {
        Generator { started: Instant::now(), amplitude: 1.0 }
    }
}

fn check(device: &DeviceTable) -> Result<CheckedDevice<Sine>, Problem> {
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
        points: [point("wave", false), point("amplitude", true)].into(),
        polls: [Poll {
            name: "all".to_owned(),
            period: Duration::from_millis(period_ms),
            points: vec![WAVE, AMPLITUDE],
            requests: Vec::new(),
        }]
        .into(),
        offline: Offline::default(),
        settings: (),
    })
}

impl Line for Generator {
    type Device = ();

    async fn poll(&mut self, device: &(), _poll: usize, out: &mut Readings) -> Result<(), LineError> {
        self.read(device, &[WAVE, AMPLITUDE], out).await
    }

    async fn read(&mut self, _device: &(), points: &[usize], out: &mut Readings) -> Result<(), LineError> {
        for point in points {
            let value = match *point {
                WAVE => self.amplitude * self.started.elapsed().as_secs_f64().sin(),
                _ => self.amplitude,
            };
            out.good(*point, Value::Float(value));
        }
        Ok(())
    }

    async fn write(&mut self, _device: &(), values: &[(usize, Value)], deadline: Deadline) -> Vec<Outcome> {
        values
            .iter()
            .map(|(_, value)| match value {
                _ if deadline.passed() => Outcome::Expired,
                Value::Float(amplitude) => {
                    self.amplitude = *amplitude;
                    Outcome::Applied(Some(value.clone()))
                }
                other => Outcome::Refused(format!("{other} is not a number with a fraction")),
            })
            .collect()
    }

    async fn close(&mut self) {}
}

fn main() -> ExitCode {
    serve(Sine)
}
