//! Our gateway beside the plant: what it is told, and what its messages say.
//!
//! Always true: it is told nothing that is not needed: a connection per port, one model, the devices.

use std::fmt::Write as _;
use std::time::Duration;

use e2e::platform::{KnownDevice, Tsl};
use serde_json::{Map, Value as Json};

use super::account::Row;
use crate::gateway::{GATEWAY, PRODUCT};
use crate::plant::Plant;

/// Product of the devices on the platform.
const METER: &str = "meter";
/// What is published towards the platform.
pub(super) const FILTER: &str = "/sys/#";

/// The field: each device with registers 0 … `registers` - 1 as points, read at this period.
pub(crate) fn field_toml(plant: &Plant, registers: u16, period: Duration) -> String {
    let mut toml = format!(
        "[model.meter]\naddresses = \"zero-based\"\npoll = {{ all = \"{}ms\" }}\n[model.meter.points]\n",
        period.as_millis()
    );
    for register in 0..registers {
        let _ = writeln!(toml, "r{register} = {{ at = \"holding:{register}\", type = \"u16\" }}");
    }
    let mut ports = plant.ports.clone();
    ports.dedup();
    for port in &ports {
        let _ = write!(
            toml,
            "[connection.line{port}]\ndriver = \"modbus\"\ntcp = {{ host = \"127.0.0.1\", port = {port} }}\n\
             timeout = \"1s\"\n"
        );
    }
    for (number, (port, unit)) in plant.ports.iter().zip(&plant.units).enumerate() {
        let _ = write!(
            toml,
            "[device.d{number}]\nconnection = \"line{port}\"\nunit = {unit}\nmodel = \"meter@1\"\n\
             sagoo = {{ product_key = \"{METER}\", device_key = \"d{number}\" }}\n"
        );
    }
    toml
}

/// What the platform has to know for it.
pub(crate) fn known(devices: usize, registers: u16) -> Vec<KnownDevice> {
    let meter = |number: usize| {
        let meter = KnownDevice::new(METER, &format!("d{number}"));
        (0..registers).fold(meter, |meter, register| meter.property(&format!("r{register}"), Tsl::Int))
    };
    (0..devices).map(meter).chain([KnownDevice::new(PRODUCT, GATEWAY)]).collect()
}

/// The rows of a message: a pack of several devices, or one device on its own topic.
pub(crate) fn rows(topic: &str, payload: &[u8]) -> Vec<Row> {
    let Ok(message) = serde_json::from_slice::<Json>(payload) else { return Vec::new() };
    let params = &message["params"];
    if topic.ends_with("/event/property/pack/post") {
        let devices = params["subDevices"].as_array().into_iter().flatten();
        return devices
            .filter_map(|one| row(one["identity"]["deviceKey"].as_str()?, one["properties"].as_object()?))
            .collect();
    }
    if !topic.ends_with("/event/property/post") {
        return Vec::new();
    }
    let device = topic.split('/').nth(3).unwrap_or_default();
    params.as_object().and_then(|properties| row(device, properties)).into_iter().collect()
}

/// Who was read, and for which time, in the rows of a message: what [`rows`] says of register 0, at a
/// fraction of the cost, for whoever listens on the cores that are measured.
pub(crate) fn counts(topic: &str, payload: &[u8]) -> Vec<(usize, u64)> {
    const DEVICE: &str = r#""deviceKey":"d"#;
    let Ok(text) = std::str::from_utf8(payload) else { return Vec::new() };
    if topic.ends_with("/event/property/pack/post") {
        let devices = text.split(DEVICE).skip(1);
        return devices.filter_map(|one| Some((number(one)? as usize, count(one)?))).collect();
    }
    if !topic.ends_with("/event/property/post") {
        return Vec::new();
    }
    let device = topic.split('/').nth(3).and_then(|device| device.strip_prefix('d'));
    device.and_then(|device| Some((number(device)? as usize, count(text)?))).into_iter().collect()
}

/// Of register 0.
fn count(text: &str) -> Option<u64> {
    const COUNT: &str = r#""r0":{"value":"#;
    number(&text[text.find(COUNT)? + COUNT.len()..])
}

/// What a text begins with.
fn number(text: &str) -> Option<u64> {
    let end = text.find(|one: char| !one.is_ascii_digit()).unwrap_or(text.len());
    text[..end].parse().ok()
}

fn row(device: &str, properties: &Map<String, Json>) -> Option<Row> {
    let device = device.strip_prefix('d')?.parse().ok()?;
    let value = |(name, cell): (&String, &Json)| {
        Some((name.strip_prefix('r')?.parse().ok()?, cell["value"].as_u64()?))
    };
    let values: Vec<(u16, u64)> = properties.iter().filter_map(value).collect();
    (!values.is_empty()).then_some(Row { device, values })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_in_packs_and_alone() {
        let pack = r#"{"params":{"subDevices":[{"identity":{"deviceKey":"d4"},
            "properties":{"r0":{"value":7,"time":1},"r9":{"value":3,"time":1}}}]}}"#;
        let expected = vec![Row { device: 4, values: vec![(0, 7), (9, 3)] }];
        assert_eq!(rows("/sys/edge/bench/thing/event/property/pack/post", pack.as_bytes()), expected);
        let alone = r#"{"params":{"r0":{"value":7,"time":1},"r9":{"value":3,"time":1}}}"#;
        assert_eq!(rows("/sys/meter/d4/thing/event/property/post", alone.as_bytes()), expected);
        assert_eq!(rows("/sys/meter/d4/thing/event/property/post_reply", alone.as_bytes()), []);
    }

    #[test]
    fn counts_are_what_the_rows_say_of_register_0() {
        let pack = r#"{"params":{"subDevices":[{"identity":{"productKey":"meter","deviceKey":"d4"},
            "properties":{"r0":{"value":7,"time":1},"r9":{"value":3,"time":1}}},{"identity":
            {"productKey":"meter","deviceKey":"d12"},"properties":{"r0":{"value":30000,"time":1}}},{"identity":
            {"productKey":"meter","deviceKey":"d5"},"properties":{}}]}}"#;
        assert_eq!(
            counts("/sys/edge/bench/thing/event/property/pack/post", pack.as_bytes()),
            [(4, 7), (12, 30_000)]
        );
        let alone = r#"{"params":{"r0":{"value":7,"time":1},"r9":{"value":3,"time":1}}}"#;
        assert_eq!(counts("/sys/meter/d4/thing/event/property/post", alone.as_bytes()), [(4, 7)]);
        assert_eq!(counts("/sys/meter/d4/thing/event/property/post_reply", alone.as_bytes()), []);
    }
}
