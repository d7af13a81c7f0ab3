//! What a driver author writes: one [`Driver`] (settings → checked devices) and one [`Line`] (requests on a wire).
//!
//! Always true: the SDK owns the schedule, the session, the retries and the offline breaker; the
//! author owns bytes. `check` touches no device; a `Line` is used by one task at a time.
//!
//! What they speak: [`Configuration`] in (`tables`), [`Checked`] out (`checked`), [`Readings`] of a
//! poll (`readings`), [`Scanned`] steps of a scan (`scan`).

mod checked;
mod readings;
mod scan;
mod tables;

use std::future::Future;
use std::time::Duration;

use sagoo_edge_proto::clock;
pub use sagoo_edge_proto::sample::{Quality, Value};
use serde_json::Value as Json;

pub use self::checked::*;
pub use self::readings::{Reading, Readings};
pub(crate) use self::readings::{Steps, Waiting, is_number};
pub use self::scan::*;
pub use self::tables::*;
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

/// Why a whole poll failed. A device that *answers*, even with a refusal, is not an error: use
/// [`Readings::bad`] for the points concerned.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum LineError {
    /// The device did not answer; the line itself is well.
    #[error("{0}")]
    Silent(String),
    /// The device could not be asked now, for a reason that passes by itself: neither it nor the line
    /// failed. Its next poll asks again.
    #[error("{0}")]
    Postponed(String),
    /// The line is broken or could not be opened; it is opened anew at the next request.
    #[error("{0}")]
    Broken(String),
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

    /// The requests of each of a device's polls as they are made now, with what was learned and measured,
    /// for `explain`. `None`: nothing is known beyond what `check` planned. The device is one that was
    /// checked just now; it may be another than the one of that name that runs.
    fn measured(
        &self,
        _connection: &Self::Connection,
        _device: &CheckedDevice<Self>,
    ) -> Option<Vec<Vec<PlannedRequest>>> {
        None
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

    /// Makes the requests of poll number `poll` of `device`. What was read before an error counts. Of
    /// several requests, ask [`Readings::pauses`] after each: a command waits for one request then, not
    /// for all of them.
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
