//! A whole site: broker, platform, Modbus devices and gateway, in one directory of its own.
//!
//! Always true: everything ends with the value; when the case fails, the logs are shown.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::{Broker, Gateway, Guard, ModbusDevice, eventually};
use crate::platform::{Endpoint, KnownDevice, Platform, Timing, Tsl};

/// Product key of the gateway.
pub const EDGE: &str = "edge";
/// Device key of the gateway.
pub const GATEWAY: &str = "gw-1";
/// Product key of the meters.
pub const PRODUCT: &str = "meter";
/// Most lines of the broker's log in a failing case.
const BROKER_TAIL: usize = 25;

/// One Modbus TCP device with the point list every case uses.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Name in the configuration, and device key.
    pub name: String,
    /// Whether the platform knows it.
    pub known: bool,
}

/// What to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The devices.
    pub meters: Vec<Meter>,
    /// How often each is read.
    pub poll: Duration,
    /// How long a device may take to answer.
    pub timeout: Duration,
    /// Lines for `[gateway]`.
    pub gateway: String,
    /// Lines for `[sagoo]`, after `broker`.
    pub sagoo: String,
    /// More tables, in `conf.d`.
    pub more: String,
    /// Drivers that run without a signature.
    pub unsigned: Vec<String>,
    /// The gateway's port at the broker, when it is not the open one.
    pub guard: Option<Guard>,
    /// The platform's patience.
    pub timing: Timing,
}

impl Plan {
    /// Meters of these names, known to the platform, read twice a second.
    pub fn meters(names: &[&str]) -> Self {
        let meter = |name: &&str| Meter { name: (*name).to_owned(), known: true };
        Self {
            meters: names.iter().map(meter).collect(),
            poll: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            gateway: String::new(),
            sagoo: "ack_timeout = \"2s\"\nheartbeat = \"5s\"\n".to_owned(),
            more: String::new(),
            unsigned: vec!["modbus".to_owned()],
            guard: None,
            timing: Timing { call: Duration::from_secs(8), ..Timing::default() },
        }
    }

    /// Adds a meter the platform has never heard of.
    #[must_use]
    pub fn stranger(mut self, name: &str) -> Self {
        self.meters.push(Meter { name: name.to_owned(), known: false });
        self
    }

    /// Adds lines to `[sagoo]`.
    #[must_use]
    pub fn sagoo(mut self, lines: &str) -> Self {
        let _ = writeln!(self.sagoo, "{lines}");
        self
    }

    /// Adds tables in `conf.d`.
    #[must_use]
    pub fn more(mut self, tables: &str) -> Self {
        let _ = writeln!(self.more, "{tables}");
        self
    }
}

/// Everything, running.
pub struct Site {
    /// The gateway.
    pub gateway: Gateway,
    /// The platform.
    pub platform: Platform,
    /// The broker.
    pub broker: Broker,
    devices: BTreeMap<String, ModbusDevice>,
    dir: TempDir,
}

impl Site {
    /// Starts everything and waits until the gateway answers.
    #[track_caller]
    pub fn start(plan: &Plan) -> Self {
        let mut site = Self::prepare(plan);
        site.gateway.start();
        site
    }

    /// Starts everything but the gateway, whose configuration is written.
    #[track_caller]
    pub fn prepare(plan: &Plan) -> Self {
        Self::prepare_in(TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory"), plan)
    }

    /// Like [`Site::prepare`], for a case that has put files (certificates) there before.
    #[track_caller]
    pub fn prepare_in(dir: TempDir, plan: &Plan) -> Self {
        let broker = Broker::start_guarded(dir.path(), plan.guard.as_ref());
        let platform = Platform::start(Endpoint::local(broker.port), plan.timing, known_devices(plan));
        let device = |meter: &Meter| (meter.name.clone(), ModbusDevice::start(dir.path(), &meter.name, &[0]));
        let devices = plan.meters.iter().map(device).collect();
        let gateway = Gateway::new(dir.path());
        let site = Self { gateway, platform, broker, devices, dir };
        site.configure(plan);
        site
    }

    /// The Modbus device of this name.
    #[track_caller]
    pub fn device(&self, name: &str) -> &ModbusDevice {
        self.devices.get(name).unwrap_or_else(|| panic!("the plan has no meter {name:?}"))
    }

    /// The site's directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Writes the gateway's configuration anew.
    pub fn configure(&self, plan: &Plan) {
        self.gateway.configure("gateway.toml", &self.gateway_toml(plan));
        self.gateway.configure("conf.d/field.toml", &self.field_toml(plan));
    }

    /// Waits until the meter's newest stored count is at least `count`.
    #[track_caller]
    pub fn await_count(&self, meter: &str, count: u64, within: Duration) {
        eventually(&format!("the platform stores count ≥ {count} of {meter}"), within, || {
            let stored = self.platform.latest(meter, "count");
            let enough = stored.as_ref().and_then(serde_json::Value::as_u64).is_some_and(|n| n >= count);
            enough.then_some(()).ok_or_else(|| format!("{stored:?}"))
        });
    }

    /// Waits until everything read by now is stored, then checks the count: no double, no disorder,
    /// and holes nowhere but where a process was killed in the middle of a read (`kills` times).
    #[track_caller]
    pub fn assert_nothing_lost(&self, meter: &str, kills: usize, within: Duration) {
        let read = u64::from(self.device(meter).register(0));
        self.await_count(meter, read, within);
        let count = Count::of(&self.platform.values(meter, "count"));
        assert!(count.disorder.is_empty(), "{meter}: not in order: {:?}", count.disorder);
        assert!(count.holes.len() <= kills, "{meter}: lost {:?} with {kills} kills", count.holes);
        for hole in &count.holes {
            assert!(hole.1 - hole.0 < MOST_IN_FLIGHT, "{meter}: a kill lost {hole:?}");
        }
    }

    /// Fails if a message would have harmed the real platform, or was published otherwise than
    /// QoS 1 and not retained; the broker's log is the only one who sees the latter.
    #[track_caller]
    pub fn assert_unharmed(&self) {
        self.platform.assert_unharmed();
        let log = self.broker.log();
        let from_gateway = format!("Received PUBLISH from {GATEWAY} (");
        let careless: Vec<&str> =
            log.lines().filter(|line| line.contains(&from_gateway) && !line.contains(", q1, r0, ")).collect();
        assert!(careless.is_empty(), "not QoS 1 or retained:\n{}", careless.join("\n"));
    }

    fn gateway_toml(&self, plan: &Plan) -> String {
        let scheme =
            if plan.guard.as_ref().is_some_and(|guard| guard.tls.is_some()) { "mqtts" } else { "mqtt" };
        let port = self.broker.guarded_port.unwrap_or(self.broker.port);
        format!(
            r#"[gateway]
product_key = "{EDGE}"
device_key = "{GATEWAY}"
{gateway}
[sagoo]
broker = "{scheme}://127.0.0.1:{port}"
{sagoo}
[buffer]
dir = "{buffer}"
max_size = "64MiB"

[drivers]
dirs = ["{drivers}"]
allow_unsigned = {unsigned:?}

[control]
socket = "{socket}"
"#,
            gateway = plan.gateway,
            unsigned = plan.unsigned,
            sagoo = plan.sagoo,
            buffer = self.dir.path().join("buffer").display(),
            drivers = self.gateway.drivers_dir().display(),
            socket = self.gateway.socket().display(),
        )
    }

    fn field_toml(&self, plan: &Plan) -> String {
        let mut toml = format!(
            r#"[model.meter]
version = 1
addresses = "zero-based"
poll = {{ fast = "{}ms" }}

[model.meter.points]
count = {{ at = "holding:0", type = "u16", poll = "fast" }}
level = {{ at = "holding:10", type = "u16", poll = "fast", write = {{ min = 0, max = 1000, verify = true }} }}
temperature = {{ at = "holding:12", type = "i16", scale = 0.1, unit = "°C", poll = "fast" }}
"#,
            plan.poll.as_millis(),
        );
        for meter in &plan.meters {
            let (name, port) = (&meter.name, self.device(&meter.name).port);
            let timeout = plan.timeout.as_millis();
            let _ = write!(
                toml,
                r#"
[connection.{name}]
driver = "modbus"
tcp = {{ host = "127.0.0.1", port = {port} }}
timeout = "{timeout}ms"
offline = {{ after = 3, probe = "1s", max_probe = "2s" }}

[device.{name}]
connection = "{name}"
unit = 1
model = "meter@1"
sagoo = {{ product_key = "{PRODUCT}", device_key = "{name}" }}
"#,
            );
        }
        toml.push_str(&plan.more);
        toml
    }

    /// A file in the site's directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        let _ = std::fs::create_dir_all("/tmp/e2elogs");
        let _ = std::fs::write(
            format!("/tmp/e2elogs/{}.log", std::thread::current().name().unwrap_or("x")),
            self.gateway.log(),
        ); // SURVEY
        if !std::thread::panicking() {
            return;
        }
        let (log, state) = (self.broker.log(), self.broker.state());
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(BROKER_TAIL);
        let stored: BTreeMap<&str, usize> =
            self.devices.keys().map(|name| (name.as_str(), self.platform.rows(name).len())).collect();
        eprintln!(
            "{}--- mosquitto ({state}) ---\n{}\n--- platform: rows {stored:?}, violations {:#?}",
            self.gateway.tail(),
            lines[from..].join("\n"),
            self.platform.violations(),
        );
    }
}

/// A device's thing model, as the platform has it.
fn known_devices(plan: &Plan) -> Vec<KnownDevice> {
    let meter = |meter: &Meter| {
        KnownDevice::new(PRODUCT, &meter.name)
            .property("count", Tsl::Int)
            .property("level", Tsl::Int)
            .property("temperature", Tsl::Float(1))
    };
    let gateway =
        KnownDevice::new(EDGE, GATEWAY).property("version", Tsl::Text).property("devices", Tsl::Int);
    plan.meters.iter().filter(|meter| meter.known).map(meter).chain([gateway]).collect()
}

/// Reads that may be on their way through a process when it is killed.
const MOST_IN_FLIGHT: u64 = 4;

/// What a counter says about loss: it starts at 1 and rises by 1.
struct Count {
    /// First and last missing value of each hole.
    holes: Vec<(u64, u64)>,
    /// A value that came after a greater or equal one, with that one.
    disorder: Vec<(u64, u64)>,
}

impl Count {
    fn of(values: &[serde_json::Value]) -> Self {
        let mut count = Self { holes: Vec::new(), disorder: Vec::new() };
        let mut last = 0;
        for value in values.iter().map(|value| value.as_u64().unwrap_or(0)) {
            if value <= last {
                count.disorder.push((last, value));
                continue;
            }
            if value > last + 1 {
                count.holes.push((last + 1, value - 1));
            }
            last = value;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn count(values: &[u64]) -> Count {
        Count::of(&values.iter().map(|value| json!(value)).collect::<Vec<_>>())
    }

    #[test]
    fn a_hole_and_a_value_out_of_order_are_told_apart() {
        assert!(count(&[1, 2, 3]).holes.is_empty());
        assert_eq!(count(&[2, 3, 7]).holes, [(1, 1), (4, 6)], "the first read counts, too");
        assert_eq!(count(&[1, 3, 2]).disorder, [(3, 2)]);
        assert_eq!(count(&[1, 2, 2]).disorder, [(2, 2)]);
    }
}
