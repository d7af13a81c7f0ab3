//! What a driver makes of a configuration: connections and devices that can run, and how they are read.
//!
//! Always true: a point's place is its number everywhere, and a poll's place is what the line is given.

use std::sync::Arc;
use std::time::Duration;

use super::{Driver, Problem};

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
    /// Its points; a point's place is its number everywhere. Devices that are alike may share them.
    pub points: Arc<[Point]>,
    /// Its polls; a poll's place is what [`Line::poll`] is given. Devices that are alike may share them.
    pub polls: Arc<[Poll]>,
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

/// Something a driver found out about a device by reading it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Learned {
    /// For people: lower case, no full stop.
    pub what: String,
    /// The line for the model's table that says so for good; may be empty.
    pub paste: String,
}
