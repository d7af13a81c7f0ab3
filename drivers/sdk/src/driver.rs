//! What a driver author writes: one [`Driver`] (settings → checked devices) and one [`Line`] (requests on a wire).
//!
//! Always true: the SDK owns the schedule, the session, the retries and the offline breaker; the
//! author owns bytes. `check` touches no device; a `Line` is used by one task at a time.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use sagoo_edge_proto::clock;
pub use sagoo_edge_proto::sample::{Quality, Value};
use serde_json::Value as Json;

use crate::host::Host;
use crate::tap::Tap;

/// Who a driver is and what it can do; told to the gateway by `Describe`.
#[derive(Debug, Clone)]
pub struct Description {
    /// Driver id, as in `connection.*.driver`.
    pub name: &'static str,
    /// Semantic version, usually `env!("CARGO_PKG_VERSION")`.
    pub version: &'static str,
    /// For people.
    pub title: &'static str,
    /// JSON Schema of the settings this driver understands.
    pub config_schema: &'static str,
    /// What its lines can do: `write`, `invoke`, `scan`, `probe` (the function `probe` of
    /// [`Line::invoke`]). What every driver can do by the SDK
    /// (`reattach`: go on under a new gateway) is added by the SDK.
    pub abilities: &'static [&'static str],
}

/// The driver's part of the configuration, tables as JSON.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Configuration {
    /// Wires and sockets.
    pub connections: Vec<ConnectionTable>,
    /// Device types.
    pub models: Vec<ModelTable>,
    /// Units on a connection.
    pub devices: Vec<DeviceTable>,
}

/// `[connection.<name>]` without `driver`.
#[derive(Debug, Clone, PartialEq)]
pub struct ConnectionTable {
    /// Its name.
    pub name: String,
    /// The table.
    pub settings: Json,
}

/// `[model.<name>]`.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelTable {
    /// Its name, without the version.
    pub name: String,
    /// The table, with `points` and `poll`.
    pub settings: Json,
}

/// `[device.<name>]` without `connection`, `model` and the platform identity.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceTable {
    /// Its name.
    pub name: String,
    /// Name of its connection.
    pub connection: String,
    /// Name of its model, without the version.
    pub model: String,
    /// The table; `points` overrides the model's points key by key.
    pub settings: Json,
}

/// TCP ports a connection needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rights {
    /// Ports of devices that the driver connects to.
    pub connect_tcp: Vec<u16>,
    /// Ports that devices dial in to.
    pub listen_tcp: Vec<u16>,
}

/// A mistake in the settings, with its place as a TOML path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `["model", "em24", "points", "voltage", "at"]`.
    pub path: Vec<String>,
    /// What is wrong: lower case, no full stop.
    pub message: String,
    /// The remedy; may be empty.
    pub hint: String,
    /// True when the driver runs all the same.
    pub warning: bool,
}

/// What `check` makes of a configuration: everything that can run, and every mistake.
#[derive(Debug)]
pub struct Checked<D: Driver> {
    /// Every mistake, not only the first.
    pub problems: Vec<Problem>,
    /// What can run; a device with a mistake is left out.
    pub connections: Vec<CheckedConnection<D>>,
}

/// One wire and the devices on it.
#[derive(Debug)]
pub struct CheckedConnection<D: Driver> {
    /// Its name.
    pub name: String,
    /// Checked settings; when they change, the line is closed and opened anew.
    pub settings: D::Connection,
    /// The devices on it.
    pub devices: Vec<CheckedDevice<D>>,
}

/// One device, ready to be polled.
#[derive(Debug)]
pub struct CheckedDevice<D: Driver> {
    /// Its name.
    pub name: String,
    /// Its points; a point's place is its number everywhere.
    pub points: Vec<Point>,
    /// Its polls; a poll's place is what [`Line::poll`] is given.
    pub polls: Vec<Poll>,
    /// When to give up on it for a while.
    pub offline: Offline,
    /// Checked settings; when they change, its schedule starts anew.
    pub settings: D::Device,
}

/// A point as the SDK sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Its name.
    pub name: String,
    /// Whether a command may write it.
    pub writable: bool,
}

/// Points of a device that are read together at one rate.
#[derive(Debug, Clone, PartialEq)]
pub struct Poll {
    /// Name of the rate, for people.
    pub name: String,
    /// How often.
    pub period: Duration,
    /// Numbers of the points it reads; they turn bad when the poll fails.
    pub points: Vec<usize>,
    /// The requests it makes, for `explain`.
    pub requests: Vec<PlannedRequest>,
}

/// One request on the wire, for `explain`.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedRequest {
    /// In the protocol's words: `input 0x0000 × 12`.
    pub request: String,
    /// Units asked for by points.
    pub wanted: u32,
    /// Units read only to merge.
    pub wasted: u32,
    /// Milliseconds on the wire; 0 when unknown.
    pub predicted_ms: f64,
}

/// When a silent device is left alone: after `after` failed polls in a row it is probed every
/// `probe`, doubling up to `max_probe`, jittered. Its neighbours on the line go on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Offline {
    /// Failed polls in a row.
    pub after: u32,
    /// First pause.
    pub probe: Duration,
    /// Longest pause.
    pub max_probe: Duration,
}

impl Default for Offline {
    fn default() -> Self {
        Self { after: 3, probe: Duration::from_secs(30), max_probe: Duration::from_secs(600) }
    }
}

/// What one poll or read brought back.
#[derive(Debug, Default)]
pub struct Readings {
    pub(crate) readings: Vec<Reading>,
    steps: Steps,
    turns: Turns,
}

/// Lets a command in between two requests of a poll.
#[derive(Debug, Default)]
pub(crate) struct Turns {
    /// Somebody waits for the line.
    waiting: Arc<AtomicBool>,
    /// The poll stopped for that, and goes on later.
    paused: bool,
    /// It is going on after such a stop.
    resumed: bool,
}

/// Counts readings while they are made, for those who watch that they are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(Arc<AtomicUsize>);

impl Steps {
    pub(crate) fn made(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// One point, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Number of the point.
    pub point: usize,
    /// Value, or why there is none.
    pub value: Result<Value, String>,
    /// When the answer arrived, nanoseconds since boot.
    pub boot_ns: u64,
}

impl Readings {
    pub(crate) fn counted(steps: &Steps) -> Self {
        Self { readings: Vec::new(), steps: steps.clone(), turns: Turns::default() }
    }

    /// A good value, read now.
    pub fn good(&mut self, point: usize, value: Value) {
        self.good_at(point, value, clock::boot_ns());
    }

    /// A good value from an answer that arrived at `boot_ns`: one stamp for a whole block. A float
    /// that is infinite or not a number is no value, and is kept as a bad reading that says so.
    pub fn good_at(&mut self, point: usize, value: Value, boot_ns: u64) {
        let value = if is_number(&value) { Ok(value) } else { Err("not a number".to_owned()) };
        self.push(Reading { point, value, boot_ns });
    }

    /// No value, and why; the device itself answered.
    pub fn bad(&mut self, point: usize, reason: impl Into<String>) {
        self.push(Reading { point, value: Err(reason.into()), boot_ns: clock::boot_ns() });
    }

    fn push(&mut self, reading: Reading) {
        self.readings.push(reading);
        self.steps.0.store(self.readings.len(), Ordering::Relaxed);
    }

    /// Asked between two requests of a poll: true when a command waits for the line. Then return `Ok(())`
    /// at once; `poll` is called again with the same device, poll and readings to make the requests that
    /// are left, and [`resumes`](Self::resumes) is true then. A driver that never asks makes commands wait.
    pub fn pauses(&mut self) -> bool {
        self.turns.paused = self.turns.waiting.load(Ordering::Relaxed);
        self.turns.paused
    }

    /// Whether this call goes on with a poll that stopped at [`pauses`](Self::pauses).
    pub fn resumes(&self) -> bool {
        self.turns.resumed
    }

    /// What was read so far.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }
}

/// Why a whole poll failed. A device that *answers*, even with a refusal, is not an error: use
/// [`Readings::bad`] for the points concerned.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum LineError {
    /// The device did not answer; the line itself is well.
    #[error("{0}")]
    Silent(String),
    /// The line is broken or could not be opened; it is opened anew at the next request.
    #[error("{0}")]
    Broken(String),
}

/// False for a float that is infinite or not a number: nothing past a driver can tell it truthfully.
pub(crate) fn is_number(value: &Value) -> bool {
    !matches!(value, Value::Float(value) if !value.is_finite())
}

/// When a command must not reach the device any more. Boot time, so it counts through a suspend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    boot_ns: u64,
}

impl Deadline {
    /// At this boot time, nanoseconds.
    pub fn at_boot_ns(boot_ns: u64) -> Self {
        Self { boot_ns }
    }

    /// This long from now.
    pub fn after(wait: Duration) -> Self {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self { boot_ns: clock::boot_ns().saturating_add(wait) }
    }

    /// Whether it is too late.
    pub fn passed(self) -> bool {
        self.left().is_zero()
    }

    /// How long until it is too late; zero when it is.
    pub fn left(self) -> Duration {
        Duration::from_nanos(self.boot_ns.saturating_sub(clock::boot_ns()))
    }
}

/// Something a driver found out about a device by reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// For people: lower case, no full stop.
    pub what: String,
    /// The line for the model's table that says so for good; may be empty.
    pub paste: String,
}

/// What one step of a scan came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Scanned {
    /// What was tried, for people: `19200-8E1 unit 7`.
    pub tried: String,
    /// Who answered.
    pub found: Vec<Found>,
}

/// A device that answered a scan.
#[derive(Debug, Clone, PartialEq)]
pub struct Found {
    /// In the protocol's words: `unit 7 at 19200-8E1`.
    pub address: String,
    /// What it says of itself; may be empty.
    pub description: String,
    /// Settings to paste into a device's table.
    pub settings: Json,
}

/// What became of a write, point by point. A reason does not name its point: the SDK does.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// The device confirmed it; the value read back, when it was verified.
    Applied(Option<Value>),
    /// Written, but reads back as this.
    Differs(Value),
    /// The device or the settings said no; nothing changed.
    Refused(String),
    /// Sent, no answer: it may have happened.
    Unknown(String),
    /// Its deadline passed before its first byte was sent: nothing happened, nothing will.
    Expired,
}

/// One field protocol.
pub trait Driver: Send + Sync + Sized + 'static {
    /// Checked settings of a connection.
    type Connection: Clone + PartialEq + Send + Sync + std::fmt::Debug + 'static;
    /// Checked settings of a device, its read plan included.
    type Device: Clone + PartialEq + Send + Sync + std::fmt::Debug + 'static;
    /// The wire.
    type Line: Line<Device = Self::Device>;

    /// Who this driver is.
    fn describe(&self) -> Description;

    /// Called once, before anything else: the way to ask the gateway for context, kept values and
    /// secrets. A driver that needs none leaves it as it is.
    fn attach(&self, _host: Host) {}

    /// Settings → what can run, and every mistake. Pure: touches no device and no file.
    fn check(&self, configuration: &Configuration) -> Checked<Self>;

    /// What a connection makes the driver reach beyond its own folder and `/dev`. The gateway lets
    /// the process reach the rights of all its connections and nothing else; with `None` the driver
    /// does not say, and its network is not limited.
    fn rights(&self, _connection: &Self::Connection) -> Option<Rights> {
        None
    }

    /// What was found out about a device by reading it, for `explain`. By its name.
    fn learned(&self, _device: &str) -> Vec<Learned> {
        Vec::new()
    }

    /// A line that is not open yet; the first request opens it. It tells `tap` what passes on it.
    fn line(&self, connection: &Self::Connection, tap: Tap) -> Self::Line;

    /// A connection in a few words, for the first line of a capture: `serial rtu 9600-8E1`.
    fn line_name(&self, _connection: &Self::Connection) -> String {
        String::new()
    }

    /// How many steps a scan of this connection has; each is made by [`Line::scan`], with due polls in
    /// between. `options` is a JSON object in the driver's own words, empty for its defaults.
    fn scan_steps(&self, _connection: &Self::Connection, _options: &Json) -> Result<usize, String> {
        Err(format!("driver {} cannot look for devices", self.describe().name))
    }
}

/// One wire or socket, used by one task. Every method keeps its own timeouts; the SDK adds none
/// but the command's deadline, and never cancels a request half-way. Only a line that stands still,
/// with a request that brings nothing for a minute, is dropped and made anew.
pub trait Line: Send + 'static {
    /// Checked settings of a device.
    type Device: Send + Sync;

    /// Makes the requests of poll number `poll` of `device`. What was read before an error counts.
    fn poll(
        &mut self,
        device: &Self::Device,
        poll: usize,
        out: &mut Readings,
    ) -> impl Future<Output = Result<(), LineError>> + Send;

    /// Reads these points now.
    fn read(
        &mut self,
        device: &Self::Device,
        points: &[usize],
        out: &mut Readings,
    ) -> impl Future<Output = Result<(), LineError>> + Send;

    /// Writes these points; one outcome for each, in the same order. Never retries by itself.
    ///
    /// Look at `deadline` right before the bytes of each request go out, after every wait for the
    /// line: what was not sent by then is [`Outcome::Expired`]. Reading back may take longer.
    fn write(
        &mut self,
        device: &Self::Device,
        values: &[(usize, Value)],
        deadline: Deadline,
    ) -> impl Future<Output = Vec<Outcome>> + Send;

    /// Calls a function of the device; JSON object in, JSON object out. `deadline` as for a write.
    fn invoke(
        &mut self,
        _device: &Self::Device,
        function: &str,
        _input: &Json,
        _deadline: Deadline,
    ) -> impl Future<Output = Result<Json, Outcome>> + Send {
        let refused = Outcome::Refused(format!("this driver has no function {function:?}"));
        async move { Err(refused) }
    }

    /// Step number `step` of a scan with these options, of as many as [`Driver::scan_steps`] said: asks
    /// for one possible device, reading only. Nobody there is no error.
    fn scan(
        &mut self,
        _step: usize,
        _options: &Json,
    ) -> impl Future<Output = Result<Scanned, LineError>> + Send {
        async { Ok(Scanned::default()) }
    }

    /// Gives the line up at a frame boundary.
    fn close(&mut self) -> impl Future<Output = ()> + Send;
}
