//! A gateway for a test that needs nothing of a driver but its way to ask: secrets by name.

use std::sync::Mutex;

use sagoo_driver_sdk::testing::TestHost;
use sagoo_driver_sdk::{
    Checked, Configuration, Deadline, Description, Driver, Host, Line, LineError, Outcome, Readings, Tap,
    Value,
};
use tokio::sync::oneshot;

/// A driver that only gives away its way to the gateway.
struct Lends(Mutex<Option<oneshot::Sender<Host>>>);

/// Asked for nothing.
struct NoLine;

impl Driver for Lends {
    type Connection = ();
    type Device = ();
    type Line = NoLine;

    fn describe(&self) -> Description {
        Description { name: "lends", version: "0.0.0", title: "", config_schema: "{}", abilities: &[] }
    }

    fn attach(&self, host: Host) {
        if let Some(wanted) = self.0.lock().unwrap().take() {
            wanted.send(host).unwrap();
        }
    }

    fn check(&self, _: &Configuration) -> Checked<Self> {
        Checked { problems: Vec::new(), connections: Vec::new() }
    }

    fn line(&self, _: &(), _: Tap) -> NoLine {
        NoLine
    }
}

impl Line for NoLine {
    type Device = ();

    async fn poll(&mut self, _: &(), _: usize, _: &mut Readings) -> Result<(), LineError> {
        Ok(())
    }

    async fn read(&mut self, _: &(), _: &[usize], _: &mut Readings) -> Result<(), LineError> {
        Ok(())
    }

    async fn write(&mut self, _: &(), _: &[(usize, Value)], _: Deadline) -> Vec<Outcome> {
        Vec::new()
    }

    async fn close(&mut self) {}
}

/// A gateway that gives out these secrets; it answers as long as the test runs.
pub(super) async fn gateway(secrets: &[(&str, &str)]) -> Host {
    let (lend, lent) = oneshot::channel();
    let mut gateway = TestHost::new(Lends(Mutex::new(Some(lend)))).await;
    for (name, secret) in secrets {
        gateway.secret(name, secret.as_bytes());
    }
    tokio::spawn(async move {
        loop {
            gateway.heartbeat().await;
        }
    });
    lent.await.unwrap()
}
