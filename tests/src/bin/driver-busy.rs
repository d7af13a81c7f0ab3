//! A driver whose requests take the time its devices' settings say (`ms = 12.5`, every 100 ms), and that
//! can do everything a command of the gateway asks for: a probe, a scan, a capture, a secret.

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use sagoo_driver_sdk::host::Host;
use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Deadline, Description, Driver, Found, Line,
    LineError, Offline, Outcome, PlannedRequest, Poll, Readings, Scanned, Tap, Value, serve,
};
use serde_json::{Value as Json, json};

const PERIOD: Duration = Duration::from_millis(100);
/// What a step of a scan takes.
const STEP: Duration = Duration::from_millis(100);
/// Answers to a scan: at each step divisible by it.
const FOUND_AT: usize = 2;

#[derive(Debug, Default)]
struct Busy(Arc<OnceLock<Host>>);

struct Wire {
    host: Arc<OnceLock<Host>>,
    tap: Tap,
}

impl Driver for Busy {
    type Connection = ();
    type Device = ();
    type Line = Wire;

    fn describe(&self) -> Description {
        let (title, abilities) = ("Keeps a line busy", &["scan", "invoke", "probe"]);
        Description { name: "busy", version: "0.0.1", title, config_schema: "{}", abilities }
    }

    fn attach(&self, host: Host) {
        let _ = self.0.set(host);
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let poll = |settings: &Json| Poll {
            name: "all".to_owned(),
            period: PERIOD,
            points: Vec::new(),
            requests: vec![PlannedRequest {
                request: "all there is".to_owned(),
                wanted: 1,
                wasted: 0,
                predicted_ms: settings["ms"].as_f64().unwrap_or_default(),
            }],
        };
        let devices = |line: &str| {
            let here = configuration.devices.iter().filter(|device| device.connection == line);
            let device = here.map(|device| CheckedDevice {
                name: device.name.clone(),
                points: [].into(),
                polls: [poll(&device.settings)].into(),
                offline: Offline::default(),
                settings: (),
            });
            device.collect()
        };
        let lines = configuration.connections.iter().map(|line| CheckedConnection {
            name: line.name.clone(),
            settings: (),
            devices: devices(&line.name),
        });
        Checked { problems: Vec::new(), connections: lines.collect() }
    }

    fn line(&self, _connection: &(), tap: Tap) -> Wire {
        Wire { host: self.0.clone(), tap }
    }

    fn scan_steps(&self, _connection: &(), options: &Json) -> Result<usize, String> {
        let steps = options["steps"].as_str().unwrap_or("4");
        steps.parse().map_err(|_| format!("steps = {steps:?} is no number"))
    }
}

impl Line for Wire {
    type Device = ();

    async fn poll(&mut self, _device: &(), _poll: usize, _out: &mut Readings) -> Result<(), LineError> {
        self.tap.sent(&[0x01, 0x02]);
        self.tap.received(&[0xFF]);
        Ok(())
    }

    async fn read(&mut self, _device: &(), _points: &[usize], _out: &mut Readings) -> Result<(), LineError> {
        Ok(())
    }

    async fn write(&mut self, _device: &(), values: &[(usize, Value)], _deadline: Deadline) -> Vec<Outcome> {
        values.iter().map(|_| Outcome::Applied(None)).collect()
    }

    /// Shows the secret that is called as the address.
    async fn invoke(
        &mut self,
        _device: &(),
        function: &str,
        input: &Json,
        _deadline: Deadline,
    ) -> Result<Json, Outcome> {
        if function != "probe" {
            return Err(Outcome::Refused(format!("this driver has no function {function:?}")));
        }
        let name = input["address"].as_str().unwrap_or_default();
        let host = self.host.get().ok_or_else(|| Outcome::Refused("nobody to ask".to_owned()))?;
        let secret = host.secret(name).await.map_err(|error| Outcome::Refused(error.to_string()))?;
        let secret = String::from_utf8_lossy(&secret).into_owned();
        Ok(
            json!({ "title": name, "columns": ["address", "count", "secret"], "rows": [[name, input["count"], secret]] }),
        )
    }

    async fn scan(&mut self, step: usize, _options: &Json) -> Result<Scanned, LineError> {
        tokio::time::sleep(STEP).await;
        let found = step.is_multiple_of(FOUND_AT).then(|| Found {
            address: format!("place {step}"),
            description: "somebody".to_owned(),
            settings: json!({ "place": step }),
        });
        Ok(Scanned { tried: format!("place {step}"), found: found.into_iter().collect() })
    }

    async fn close(&mut self) {}
}

fn main() -> ExitCode {
    serve(Busy::default())
}
