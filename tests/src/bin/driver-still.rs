//! A driver that works for a moment and then stands still: it talks, and nothing gets done.

use std::process::ExitCode;
use std::time::Duration;

use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, Driver, Line, LineError,
    Offline, Outcome, Poll, Readings, Tap, Value, serve,
};

/// Polls that come back.
const GOOD_POLLS: u32 = 3;

#[derive(Debug)]
struct Still;

struct Stuck {
    polls: u32,
}

impl Driver for Still {
    type Connection = ();
    type Device = ();
    type Line = Stuck;

    fn describe(&self) -> Description {
        let title = "Stands still";
        Description { name: "still", version: "0.0.1", title, config_schema: "{}", abilities: &[] }
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let poll = || Poll {
            name: "all".to_owned(),
            period: Duration::from_millis(200),
            points: Vec::new(),
            requests: Vec::new(),
        };
        let devices = |line: &str| {
            let here = configuration.devices.iter().filter(|device| device.connection == line);
            let device = here.map(|device| CheckedDevice {
                name: device.name.clone(),
                points: [].into(),
                polls: [poll()].into(),
                offline: Offline::default(),
                settings: (),
            });
            device.collect()
        };
        let lines = configuration.connections.iter();
        let lines = lines.map(|line| CheckedConnection {
            name: line.name.clone(),
            settings: (),
            devices: devices(&line.name),
        });
        Checked { problems: Vec::new(), connections: lines.collect() }
    }

    fn line(&self, _connection: &(), _tap: Tap) -> Stuck {
        Stuck { polls: 0 }
    }
}

impl Line for Stuck {
    type Device = ();

    async fn poll(&mut self, _device: &(), _poll: usize, _out: &mut Readings) -> Result<(), LineError> {
        self.polls += 1;
        if self.polls > GOOD_POLLS {
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn read(&mut self, _device: &(), _points: &[usize], _out: &mut Readings) -> Result<(), LineError> {
        Ok(())
    }

    async fn write(&mut self, _device: &(), _values: &[(usize, Value)], _deadline: Deadline) -> Vec<Outcome> {
        Vec::new()
    }

    async fn close(&mut self) {}
}

fn main() -> ExitCode {
    serve(Still)
}
