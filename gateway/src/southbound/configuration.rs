//! A driver's part of the configuration, as the contract wants it.

use std::collections::{BTreeSet, HashMap};

use sagoo_edge_proto::driver::{Configuration, Connection, Device, Model};

use crate::config::types::Config;

/// Connections of driver `id`, the devices on them and the models they use.
pub fn of_driver(config: &Config, id: &str) -> Configuration {
    let connections = config.connections.iter().filter(|(_, connection)| connection.driver == id);
    let connections = connections.map(|(name, connection)| Connection {
        name: name.clone(),
        settings: connection.settings.to_string(),
    });
    let connections: Vec<Connection> = connections.collect();
    let here = |name: &str| connections.iter().any(|connection| connection.name == name);
    let devices = config.devices.iter().filter(|(_, device)| here(&device.connection));
    let mut used = BTreeSet::new();
    let devices = devices.map(|(name, device)| {
        used.insert(device.model.as_str());
        Device {
            name: name.clone(),
            connection: device.connection.clone(),
            model: device.model.clone(),
            settings: device.settings.to_string(),
        }
    });
    let devices: Vec<Device> = devices.collect();
    let models = config.models.iter().filter(|(name, _)| used.contains(name.as_str()));
    let models =
        models.map(|(name, model)| Model { name: name.clone(), settings: model.settings.to_string() });
    Configuration { models: models.collect(), connections, devices }
}

/// Which connection each device is on.
pub fn owners(configuration: &Configuration) -> HashMap<String, String> {
    let devices = configuration.devices.iter();
    devices.map(|device| (device.name.clone(), device.connection.clone())).collect()
}

/// Ids of all drivers the configuration needs.
pub fn drivers(config: &Config) -> BTreeSet<String> {
    config.connections.values().map(|connection| connection.driver.clone()).collect()
}
