//! The driver's part of the configuration as it is handed in, and what is said about it.
//!
//! Always true: nothing here was looked at yet; a mistake names its place as a TOML path.

use serde_json::Value as Json;

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
