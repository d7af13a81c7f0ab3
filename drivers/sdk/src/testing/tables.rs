//! Tables of a configuration, written in a test as they stand in the TOML.
//!
//! Always true: what the gateway keeps for itself (`driver`, the platform identity, a model's
//! version) is left out, as the gateway does.

use serde_json::Value as Json;

use crate::driver::{Configuration, ConnectionTable, DeviceTable, ModelTable};

/// Tables as they stand in the TOML, written as JSON: `connection`, `model` and `device` by name,
/// with `driver`, the platform identity and a model's version left out as the gateway does.
pub fn tables(field: Json) -> Configuration {
    let mut tables = Configuration::default();
    for (name, mut settings) in named(&field, "connection") {
        take(&mut settings, "driver");
        tables.connections.push(ConnectionTable { name, settings });
    }
    for (name, mut settings) in named(&field, "model") {
        take(&mut settings, "version");
        tables.models.push(ModelTable { name, settings });
    }
    for (name, mut settings) in named(&field, "device") {
        let connection = take(&mut settings, "connection");
        let model = take(&mut settings, "model");
        let model = model.split('@').next().unwrap_or_default().to_owned();
        take(&mut settings, "sagoo");
        tables.devices.push(DeviceTable { name, connection, model, settings });
    }
    tables
}

fn named(field: &Json, kind: &str) -> Vec<(String, Json)> {
    let tables = field.get(kind).and_then(Json::as_object);
    tables.map(|tables| tables.clone().into_iter().collect()).unwrap_or_default()
}

fn take(settings: &mut Json, key: &str) -> String {
    let taken = settings.as_object_mut().and_then(|settings| settings.remove(key));
    taken.and_then(|taken| taken.as_str().map(str::to_owned)).unwrap_or_default()
}
