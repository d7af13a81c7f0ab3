//! A driver whose first poll panics.

use std::process::ExitCode;
use std::time::Duration;

use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, Driver, Line, LineError,
    Offline, Outcome, Poll, Readings, Tap, Value, serve,
};

#[derive(Debug)]
struct Panics;

struct Nothing;

impl Driver for Panics {
    type Connection = ();
    type Device = ();
    type Line = Nothing;

    fn describe(&self) -> Description {
        Description { name: "panics", version: "0.0.1", title: "Panics", config_schema: "{}", abilities: &[] }
    }

    fn check(&self, _configuration: &Configuration) -> Checked<Self> {
        let polls = [Poll {
            name: "all".to_owned(),
            period: Duration::from_secs(1),
            points: Vec::new(),
            requests: Vec::new(),
        }];
        let device = CheckedDevice {
            name: "victim".to_owned(),
            points: [].into(),
            polls: polls.into(),
            offline: Offline::default(),
            settings: (),
        };
        let connection = CheckedConnection { name: "bus".to_owned(), settings: (), devices: vec![device] };
        Checked { problems: Vec::new(), connections: vec![connection] }
    }

    fn line(&self, _connection: &(), _tap: Tap) -> Nothing {
        Nothing
    }
}

impl Line for Nothing {
    type Device = ();

    async fn poll(&mut self, _device: &(), _poll: usize, _out: &mut Readings) -> Result<(), LineError> {
        panic!("this driver always does");
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
    serve(Panics)
}
