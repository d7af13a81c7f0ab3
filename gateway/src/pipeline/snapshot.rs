//! What the pipeline shows of itself: latest values, the ledger, the buffer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::row::Value;
use crate::status::{BufferStatus, Ledger};

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By device name.
    pub devices: BTreeMap<Arc<str>, DeviceSnapshot>,
    /// The buffer.
    pub buffer: BufferStatus,
}

/// One device.
#[derive(Debug, Default, Clone)]
pub struct DeviceSnapshot {
    /// Whether it answers.
    pub online: bool,
    /// Why not.
    pub reason: String,
    /// By point name.
    pub points: BTreeMap<Arc<str>, PointSnapshot>,
    /// Account of its samples.
    pub ledger: Ledger,
}

/// One point.
#[derive(Debug, Default, Clone)]
pub struct PointSnapshot {
    /// Last good value.
    pub value: Option<Value>,
    /// Empty: good; else why not.
    pub reason: String,
    /// Boot clock of the last good read.
    pub boot_ns: u64,
}
