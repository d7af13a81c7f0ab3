//! What a site is made of: meters, the lines they are on, and what the case adds to the configuration.
//!
//! Always true: pure; the configuration is made of the plan and of ports and directories it is given.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::journal::Journal;
use super::{Guard, Meter, Point};
use crate::platform::{KnownDevice, Sender, Timing, Tsl};

/// Product key of the gateway.
pub const EDGE: &str = "edge";
/// Device key of the gateway.
pub const GATEWAY: &str = "gw-1";
/// Product key of the meters.
pub const PRODUCT: &str = "meter";
/// How often the gateway gives signs of life: often enough that a case of ten seconds sees them.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// Samples in one read of a meter: the points every meter has.
pub const POINTS: u64 = 3;

/// What to build.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The devices.
    pub meters: Vec<Meter>,
    /// Points of every meter beyond the usual ones.
    pub points: Vec<Point>,
    /// How often each is read.
    pub poll: Duration,
    /// How long a device may take to answer.
    pub timeout: Duration,
    /// Lines for `[gateway]`.
    pub gateway: String,
    /// Its `clock_wait`; none, as a machine that runs tests need not be synchronised.
    pub clock_wait: String,
    /// Lines for `[sagoo]`, after `broker` and what `sender` says.
    pub sagoo: String,
    /// How long the gateway waits for an answer, and whether its signs of life are judged.
    pub sender: Sender,
    /// `max_size` of the buffer.
    pub max_size: String,
    /// Where the buffer is, when it is not in its usual place in the site's directory.
    pub buffer_dir: Option<PathBuf>,
    /// The buffer's place is a filesystem of this size in memory, seen by the gateway alone.
    pub buffer_mount: Option<&'static str>,
    /// Where the command line's door is, when it is not in its usual place.
    pub socket: Option<PathBuf>,
    /// Lines for `[drivers]`.
    pub drivers: String,
    /// Lines of every connection.
    pub connection: String,
    /// More tables, in `conf.d`.
    pub more: String,
    /// Devices of `more`, as the platform knows them.
    pub others: Vec<KnownDevice>,
    /// Drivers that run without a signature.
    pub unsigned: Vec<String>,
    /// The gateway's port at the broker, when it is not the open one.
    pub guard: Option<Guard>,
    /// The gateway reaches the open port by a [`super::Way`] whose chance has this seed.
    pub way: Option<u64>,
    /// The platform's patience.
    pub timing: Timing,
    /// Errors and warnings the gateway has reason to log.
    pub journal: Journal,
    /// Words of violations that are the case's own doing.
    pub pardoned: Vec<String>,
}

/// Where the parts of a site are.
pub(super) struct Places<'s> {
    pub(super) broker_port: u16,
    pub(super) buffer: &'s Path,
    pub(super) drivers: &'s Path,
    pub(super) run: &'s Path,
    pub(super) keys: &'s Path,
    pub(super) socket: &'s Path,
    /// Line → its port.
    pub(super) lines: BTreeMap<&'s str, u16>,
}

impl Plan {
    /// Meters of these names, each on a line of its own, known to the platform, read twice a second.
    pub fn meters(names: &[&str]) -> Self {
        Self::of(names.iter().map(|name| Meter::alone(name, true)).collect())
    }

    /// Meters of these names as units 1, 2 … of one connection.
    pub fn sharing(line: &str, names: &[&str]) -> Self {
        let meter =
            |(unit, name): (u8, &&str)| Meter { line: line.to_owned(), unit, ..Meter::alone(name, true) };
        Self::of((1..).zip(names).map(meter).collect())
    }

    fn of(meters: Vec<Meter>) -> Self {
        Self {
            meters,
            points: Vec::new(),
            poll: Duration::from_millis(500),
            timeout: Duration::from_secs(1),
            gateway: String::new(),
            clock_wait: "0s".to_owned(),
            sagoo: String::new(),
            sender: Sender {
                device_key: GATEWAY,
                ack_timeout: Duration::from_secs(2),
                heartbeat: Some(HEARTBEAT),
            },
            max_size: "64MiB".to_owned(),
            buffer_dir: None,
            buffer_mount: None,
            socket: None,
            drivers: String::new(),
            connection: String::new(),
            more: String::new(),
            others: Vec::new(),
            unsigned: vec!["modbus".to_owned()],
            guard: None,
            way: None,
            timing: Timing { call: Duration::from_secs(8), ..Timing::default() },
            // A case of its own holds what this kernel can do.
            journal: Journal {
                may: vec!["drivers are not confined as they should be".to_owned()],
                ..Journal::default()
            },
            pardoned: Vec::new(),
        }
    }

    /// Adds a meter the platform has never heard of.
    #[must_use]
    pub fn stranger(mut self, name: &str) -> Self {
        self.meters.push(Meter::alone(name, false));
        self
    }

    /// Adds lines to `[sagoo]`.
    #[must_use]
    pub fn sagoo(mut self, lines: &str) -> Self {
        let _ = writeln!(self.sagoo, "{lines}");
        self
    }

    /// Every meter has `points` points in all, in registers that follow each other and are read at once.
    #[must_use]
    pub fn wide(mut self, points: u64) -> Self {
        let usual = [0, 10, 12];
        let more = (0..points).filter(|register| !usual.contains(register));
        self.points.extend(more.map(|register| Point {
            name: format!("r{register}"),
            toml: format!(r#"{{ at = "holding:{register}", type = "u16", poll = "fast" }}"#),
            tsl: Tsl::Int,
        }));
        self
    }

    /// Samples in one read of a meter.
    pub fn per_read(&self) -> u64 {
        POINTS + self.points.len() as u64
    }

    /// A time without a read that means that so many polls were skipped; a busy machine may make one late.
    pub fn skipped(&self, polls: u32) -> Duration {
        self.poll * (polls + 1) - self.poll / 20
    }

    /// Adds a line to every connection.
    #[must_use]
    pub fn connections(mut self, line: &str) -> Self {
        let _ = writeln!(self.connection, "{line}");
        self
    }

    /// Another driver for a meter's line, which may run without a signature.
    #[must_use]
    pub fn driven_by(mut self, meter: &str, driver: &str) -> Self {
        let meter = self.meters.iter_mut().find(|known| known.name == meter).expect("a meter of the plan");
        meter.driver = driver.to_owned();
        self.unsigned.push(driver.to_owned());
        self
    }

    /// Adds a line to the table of a meter.
    #[must_use]
    pub fn line_of(mut self, meter: &str, line: &str) -> Self {
        let meter = self.meters.iter_mut().find(|known| known.name == meter).expect("a meter of the plan");
        let _ = writeln!(meter.more, "{line}");
        self
    }

    /// Leaves meters out.
    #[must_use]
    pub fn without(mut self, gone: &[&str]) -> Self {
        self.meters.retain(|meter| !gone.contains(&meter.name.as_str()));
        self
    }

    /// Adds lines to `[drivers]`.
    #[must_use]
    pub fn drivers(mut self, lines: &str) -> Self {
        let _ = writeln!(self.drivers, "{lines}");
        self
    }

    /// A device of the tables a case adds itself, as the platform knows it.
    #[must_use]
    pub fn other(mut self, device: KnownDevice) -> Self {
        self.others.push(device);
        self
    }

    /// Adds tables in `conf.d`.
    #[must_use]
    pub fn more(mut self, tables: &str) -> Self {
        let _ = writeln!(self.more, "{tables}");
        self
    }

    /// The gateway's log must have an error or warning with these words.
    #[must_use]
    pub fn must_log(mut self, words: &str) -> Self {
        self.journal.must.push(words.to_owned());
        self
    }

    /// The gateway's log may have errors and warnings with these words.
    #[must_use]
    pub fn may_log(mut self, words: &str) -> Self {
        self.journal.may.push(words.to_owned());
        self
    }

    /// The case does something to the gateway so many times, each of which it may tell.
    #[must_use]
    pub fn troubles(mut self, times: usize) -> Self {
        self.journal.troubles = times;
        self
    }

    /// Violations with these words are the case's own doing.
    #[must_use]
    pub fn pardon(mut self, words: &str) -> Self {
        self.pardoned.push(words.to_owned());
        self
    }

    /// Unit ids of each line.
    pub(super) fn lines(&self) -> BTreeMap<&str, Vec<&Meter>> {
        let mut lines: BTreeMap<&str, Vec<&Meter>> = BTreeMap::new();
        for meter in &self.meters {
            lines.entry(&meter.line).or_default().push(meter);
        }
        lines
    }

    /// The gateway's device and the meters', as the platform has their thing models.
    pub(super) fn known_devices(&self) -> Vec<KnownDevice> {
        let gateway =
            KnownDevice::new(EDGE, GATEWAY).property("version", Tsl::Text).property("devices", Tsl::Int);
        let meters = self.meters.iter().filter(|meter| meter.known);
        let meters = meters.map(|meter| self.known_device(&meter.name));
        meters.chain(self.others.iter().cloned()).chain([gateway]).collect()
    }

    /// A meter as the platform has its thing model.
    pub fn known_device(&self, meter: &str) -> KnownDevice {
        let usual = KnownDevice::new(PRODUCT, meter)
            .property("count", Tsl::Int)
            .property("level", Tsl::Int)
            .property("temperature", Tsl::Float(1));
        self.points.iter().fold(usual, |device, point| device.property(&point.name, point.tsl.clone()))
    }

    pub(super) fn gateway_toml(&self, places: &Places<'_>) -> String {
        let scheme =
            if self.guard.as_ref().is_some_and(|guard| guard.tls.is_some()) { "mqtts" } else { "mqtt" };
        format!(
            r#"[gateway]
product_key = "{EDGE}"
device_key = "{GATEWAY}"
clock_wait = "{clock_wait}"
{gateway}
[sagoo]
broker = "{scheme}://127.0.0.1:{port}"
ack_timeout = "{ack_timeout}ms"
heartbeat = "{heartbeat}ms"
{sagoo}
[buffer]
dir = "{buffer}"
max_size = "{max_size}"

[drivers]
dirs = ["{drivers}"]
run_dir = "{run}"
trusted_keys = "{keys}"
allow_unsigned = {unsigned:?}
{more}

[control]
socket = "{socket}"
"#,
            gateway = self.gateway,
            clock_wait = self.clock_wait,
            port = places.broker_port,
            ack_timeout = self.sender.ack_timeout.as_millis(),
            heartbeat = self.sender.heartbeat.unwrap_or(HEARTBEAT).as_millis(),
            sagoo = self.sagoo,
            buffer = self.buffer_dir.as_deref().unwrap_or(places.buffer).display(),
            max_size = self.max_size,
            drivers = places.drivers.display(),
            run = places.run.display(),
            keys = places.keys.display(),
            more = self.drivers,
            unsigned = self.unsigned,
            socket = self.socket.as_deref().unwrap_or(places.socket).display(),
        )
    }

    pub(super) fn field_toml(&self, places: &Places<'_>) -> String {
        let mut toml = String::new();
        if !self.meters.is_empty() {
            toml.push_str(&self.model_toml());
        }
        let lines = self.lines();
        for (line, port) in &places.lines {
            let timeout = self.timeout.as_millis();
            let driver = lines[line][0].driver.as_str();
            let _ = write!(
                toml,
                r#"
[connection.{line}]
driver = "{driver}"
tcp = {{ host = "127.0.0.1", port = {port} }}
timeout = "{timeout}ms"
offline = {{ after = 3, probe = "1s", max_probe = "2s" }}
{more}
"#,
                more = self.connection,
            );
        }
        for Meter { name, line, unit, more, .. } in &self.meters {
            let _ = write!(
                toml,
                r#"
[device.{name}]
connection = "{line}"
unit = {unit}
model = "meter@1"
sagoo = {{ product_key = "{PRODUCT}", device_key = "{name}" }}
{more}
"#,
            );
        }
        toml.push_str(&self.more);
        toml
    }

    /// The point list of every meter.
    fn model_toml(&self) -> String {
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
            self.poll.as_millis(),
        );
        for Point { name, toml: settings, .. } in &self.points {
            let _ = writeln!(toml, "{name} = {settings}");
        }
        toml
    }
}
