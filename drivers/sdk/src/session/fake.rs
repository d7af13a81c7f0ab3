//! A driver for the session's own tests: its devices answer, stay silent or block as told.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use serde_json::Value as Json;
use tokio::sync::Semaphore;
use tokio::time::sleep;

use crate::driver::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, Driver, Found, Learned,
    Line, LineError, Offline, Outcome, PlannedRequest, Point, Poll, Problem, Readings, Rights, Scanned,
    Value,
};
use crate::host::Host;
use crate::tap::Tap;

/// How long a silent device takes to be silent.
pub(crate) const SILENCE: Duration = Duration::from_millis(300);

/// Everything the test and the driver share.
#[derive(Debug)]
pub(crate) struct World {
    log: Mutex<Vec<String>>,
    silent: Mutex<HashSet<String>>,
    broken: Mutex<bool>,
    stuck: Mutex<HashSet<String>>,
    /// A write takes one permit.
    pub(crate) writes: Semaphore,
    pub(crate) host: OnceLock<Host>,
}

impl World {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            log: Mutex::default(),
            silent: Mutex::default(),
            broken: Mutex::default(),
            stuck: Mutex::default(),
            writes: Semaphore::new(Semaphore::MAX_PERMITS),
            host: OnceLock::new(),
        })
    }

    pub(crate) fn count(&self, what: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.starts_with(what)).count()
    }

    /// What happened, only these.
    pub(crate) fn order(&self, wanted: &[&str]) -> Vec<String> {
        self.log.lock().unwrap().iter().filter(|line| wanted.contains(&line.as_str())).cloned().collect()
    }

    pub(crate) fn silence(&self, device: &str, silent: bool) {
        let mut devices = self.silent.lock().unwrap();
        if silent {
            devices.insert(device.to_owned())
        } else {
            devices.remove(device)
        };
    }

    /// From its next request on the line does not come back from this device, or from `close`.
    pub(crate) fn stick(&self, device: &str, stuck: bool) {
        let mut devices = self.stuck.lock().unwrap();
        if stuck {
            devices.insert(device.to_owned())
        } else {
            devices.remove(device)
        };
    }

    pub(crate) fn break_line(&self, broken: bool) {
        *self.broken.lock().unwrap() = broken;
    }

    fn note(&self, what: String) {
        self.log.lock().unwrap().push(what);
    }
}

/// Connection settings are any JSON, with a `port` it says that it connects there; a device has
/// `period_ms` (1 000), `points` (`["a", "b"]`), a writable point `w`, `step_ms` between two
/// readings (0), `panics`, `pauses`: each point
/// is a request of its own, and others may come between; `measured_ms`; and
/// `asks`: the name of a secret that is its first point.
#[derive(Debug)]
pub(crate) struct Fake(pub(crate) Arc<World>);

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct FakeDevice {
    name: String,
    points: usize,
    settings: Json,
}

pub(crate) struct FakeLine {
    world: Arc<World>,
    open: bool,
    reads: u64,
    /// The point a poll goes on with.
    place: usize,
    tap: Tap,
}

impl Driver for Fake {
    type Connection = Json;
    type Device = FakeDevice;
    type Line = FakeLine;

    fn describe(&self) -> Description {
        Description { name: "fake", version: "1.2.3", title: "Fake", config_schema: "{}", abilities: &[] }
    }

    fn attach(&self, host: Host) {
        // Two drivers may share a world.
        let _ = self.0.host.set(host);
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let mut problems = Vec::new();
        let connections = configuration
            .connections
            .iter()
            .map(|connection| CheckedConnection {
                name: connection.name.clone(),
                settings: connection.settings.clone(),
                devices: configuration
                    .devices
                    .iter()
                    .filter(|device| device.connection == connection.name)
                    .filter_map(|device| {
                        let checked = check(&device.name, &device.settings);
                        if checked.is_none() {
                            problems.push(Problem {
                                path: vec!["device".into(), device.name.clone()],
                                message: "no good".into(),
                                hint: String::new(),
                                warning: false,
                            });
                        }
                        checked
                    })
                    .collect(),
            })
            .collect();
        Checked { problems, connections }
    }

    fn rights(&self, connection: &Json) -> Option<Rights> {
        let port = connection.get("port")?.as_u64().unwrap() as u16;
        Some(Rights { connect_tcp: vec![port], listen_tcp: Vec::new() })
    }

    fn learned(&self, device: &str) -> Vec<Learned> {
        let learned = Learned { what: "one is refused".into(), paste: "holes = [1]".into() };
        if device == "known" { vec![learned] } else { Vec::new() }
    }

    fn measured(&self, _connection: &Json, device: &CheckedDevice<Self>) -> Option<Vec<Vec<PlannedRequest>>> {
        let measured = device.settings.settings.get("measured_ms")?.as_f64().unwrap();
        Some(vec![vec![request(measured)]])
    }

    fn line(&self, _connection: &Json, tap: Tap) -> FakeLine {
        FakeLine { world: self.0.clone(), open: false, reads: 0, place: 0, tap }
    }

    fn line_name(&self, connection: &Json) -> String {
        connection.get("called").and_then(Json::as_str).unwrap_or_default().to_owned()
    }

    /// Of `units`, those in `there` answer; a step takes `step_ms`.
    fn scan_steps(&self, _connection: &Json, options: &Json) -> Result<usize, String> {
        let units = options.get("units").ok_or("no \"units\" to look for")?;
        Ok(units.as_u64().unwrap() as usize)
    }
}

fn check(name: &str, settings: &Json) -> Option<CheckedDevice<Fake>> {
    if settings.get("wrong").is_some() {
        return None;
    }
    let given = settings.get("points").and_then(Json::as_array).cloned();
    let names = given.map_or_else(
        || vec!["a".to_owned(), "b".to_owned()],
        |names| names.iter().map(|name| name.as_str().unwrap().to_owned()).collect(),
    );
    let read = names.len();
    let points = names.into_iter().chain(["w".to_owned()]);
    let period = settings.get("period_ms").and_then(Json::as_u64).unwrap_or(1_000);
    Some(CheckedDevice {
        name: name.to_owned(),
        points: points.map(|name| Point { writable: name == "w", name }).collect(),
        polls: [Poll {
            name: "all".into(),
            period: Duration::from_millis(period),
            points: (0..read).collect(),
            requests: vec![request(0.0)],
        }]
        .into(),
        offline: Offline::default(),
        settings: FakeDevice { name: name.to_owned(), points: read, settings: settings.clone() },
    })
}

fn request(predicted_ms: f64) -> PlannedRequest {
    PlannedRequest { request: "everything".into(), wanted: 2, wasted: 0, predicted_ms }
}

impl FakeLine {
    async fn ready(&mut self, device: &FakeDevice) -> Result<(), LineError> {
        if *self.world.broken.lock().unwrap() {
            return Err(LineError::Broken("connection refused".into()));
        }
        if !self.open {
            self.open = true;
            self.world.note("open".to_owned());
        }
        assert!(device.settings.get("panics").is_none(), "this device panics");
        let stuck = self.world.stuck.lock().unwrap().contains(&device.name);
        if stuck {
            std::future::pending::<()>().await;
        }
        let silent = self.world.silent.lock().unwrap().contains(&device.name);
        if silent {
            sleep(SILENCE).await;
            return Err(LineError::Silent("no answer".into()));
        }
        Ok(())
    }
}

impl Line for FakeLine {
    type Device = FakeDevice;

    async fn poll(&mut self, device: &FakeDevice, _poll: usize, out: &mut Readings) -> Result<(), LineError> {
        if !out.resumes() {
            self.world.note(format!("poll {}", device.name));
            self.reads += 1;
            self.place = 0;
        }
        self.ready(device).await?;
        if let Some(secret) = device.settings.get("asks").and_then(Json::as_str) {
            let host = self.world.host.get().expect("the session attaches its host first");
            match host.secret(secret).await {
                Ok(secret) => out.good(0, Value::Text(String::from_utf8(secret).unwrap())),
                Err(error) => out.bad(0, error.to_string()),
            }
            return Ok(());
        }
        let step = device.settings.get("step_ms").and_then(Json::as_u64).unwrap_or_default();
        let pauses = device.settings.get("pauses").is_some();
        for point in self.place..device.points {
            if step > 0 {
                sleep(Duration::from_millis(step)).await;
            }
            if pauses {
                self.world.note(format!("request {} {point}", device.name));
            }
            self.tap.sent(&[0, point as u8]);
            self.tap.received(&[1, point as u8]);
            out.good(point, Value::Uint(self.reads));
            self.place = point + 1;
            if pauses && self.place < device.points && out.pauses() {
                return Ok(());
            }
        }
        Ok(())
    }

    async fn read(
        &mut self,
        device: &FakeDevice,
        points: &[usize],
        out: &mut Readings,
    ) -> Result<(), LineError> {
        self.world.note(format!("read {}", device.name));
        self.ready(device).await?;
        points.iter().for_each(|point| out.good(*point, Value::Text(format!("{point}"))));
        Ok(())
    }

    async fn write(
        &mut self,
        device: &FakeDevice,
        values: &[(usize, Value)],
        deadline: Deadline,
    ) -> Vec<Outcome> {
        self.world.note(format!("write {}", device.name));
        self.world.writes.acquire().await.unwrap().forget();
        let sent = |value: &Value| match deadline.passed() {
            true => Outcome::Expired,
            false => Outcome::Applied(Some(value.clone())),
        };
        values.iter().map(|(_, value)| sent(value)).collect()
    }

    async fn scan(&mut self, step: usize, options: &Json) -> Result<Scanned, LineError> {
        self.world.note(format!("scan {step}"));
        if *self.world.broken.lock().unwrap() {
            return Err(LineError::Broken("connection refused".into()));
        }
        if !std::mem::replace(&mut self.open, true) {
            self.world.note("open".to_owned());
        }
        let step_ms = options.get("step_ms").and_then(Json::as_u64).unwrap_or_default();
        sleep(Duration::from_millis(step_ms)).await;
        let there = options.get("there").and_then(Json::as_array);
        let is_there = there.is_some_and(|there| there.contains(&step.into()));
        let found = Found {
            address: format!("unit {step}"),
            description: String::new(),
            settings: serde_json::json!({ "unit": step }),
        };
        let found = if is_there { vec![found] } else { Vec::new() };
        Ok(Scanned { tried: format!("unit {step}"), found })
    }

    async fn close(&mut self) {
        let stuck = self.world.stuck.lock().unwrap().contains("close");
        if stuck {
            std::future::pending::<()>().await;
        }
        if std::mem::take(&mut self.open) {
            self.world.note("close".to_owned());
        }
    }
}
