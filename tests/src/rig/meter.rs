//! The parts of a plan: meters, and points beyond those every meter has.
//!
//! Always true: pure data.

use crate::platform::Tsl;

/// The driver of every line, unless a meter says otherwise.
const DRIVER: &str = "modbus";

/// One Modbus TCP device with the point list every case uses.
#[derive(Debug, Clone)]
pub struct Meter {
    /// Name in the configuration, and device key.
    pub name: String,
    /// The connection it is on.
    pub line: String,
    /// Its unit id there.
    pub unit: u8,
    /// Whether the platform knows it.
    pub known: bool,
    /// More lines of its table.
    pub more: String,
    /// The driver of its line; all meters of a line have the same.
    pub driver: String,
}

/// A point beyond those every meter has.
#[derive(Debug, Clone)]
pub struct Point {
    /// Name and property key.
    pub name: String,
    /// Its settings, an inline table.
    pub toml: String,
    /// Its type on the platform.
    pub tsl: Tsl,
}

impl Meter {
    /// On a line of its own, which has its name.
    pub(super) fn alone(name: &str, known: bool) -> Self {
        Self {
            name: name.to_owned(),
            line: name.to_owned(),
            unit: 1,
            known,
            more: String::new(),
            driver: DRIVER.to_owned(),
        }
    }
}
