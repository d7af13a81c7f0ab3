//! What a scan tells: who answered to what was tried.

use serde_json::Value as Json;

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
