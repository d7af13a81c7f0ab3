//! A row: what goes to the platform, a device's constant point set at one time (sagooiot.md R3), or
//! something that it announced.
//!
//! Always true: keys of a row are sorted and unique; a cell that did not change keeps its old time
//! and is not counted as a sample; a row with an event has no cells, and is of a class of its own.

use std::sync::Arc;

pub use sagoo_edge_proto::sample::Value;

/// A device's keys on the platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identity {
    /// Of its product.
    pub product_key: Arc<str>,
    /// Of the device itself.
    pub device_key: Arc<str>,
}

/// One property of a row.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Property key on the platform.
    pub key: Arc<str>,
    /// Last good value.
    pub value: Value,
    /// When it was read, Unix milliseconds.
    pub time_ms: i64,
}

/// Something announced, at the time of its row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Event key on the platform.
    pub name: String,
    /// JSON object.
    pub value: String,
}

/// One device at one time.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Name in the configuration; [`GATEWAY`] for the gateway itself.
    pub device: Arc<str>,
    /// Keys on the platform, as they were when the row was stored.
    pub identity: Identity,
    /// Unix milliseconds of the newest cell, or of the event.
    pub time_ms: i64,
    /// The whole set.
    pub cells: Vec<Cell>,
    /// What happened.
    pub event: Option<Event>,
    /// Samples this row accounts for in the ledger.
    pub samples: u32,
}

/// The gateway's own name among the devices; no configured device may have it.
pub const GATEWAY: &str = "gateway";
