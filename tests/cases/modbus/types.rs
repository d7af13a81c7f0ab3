//! Every type in every order of bytes, end to end, against the driver's table (`cases/every_type`), which
//! Python made and not the driver.

use std::fs;
use std::path::Path;

use e2e::platform::{KnownDevice, Tsl};
use e2e::rig::{ModbusDevice, Over, PRODUCT, Plan, Serving, Site, eventually};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::SOON;

fn table(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../drivers/modbus/cases/every_type").join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn json_table(file: &str) -> Json {
    serde_json::from_str(&table(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

#[test]
fn every_type_in_every_order_is_what_an_independent_table_says() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let device = ModbusDevice::serve(dir.path(), "hall", &Serving::over(Over::Tcp, "socket", &[1])).remove(0);
    let registers: Vec<u16> =
        serde_json::from_value(json_table("registers.json")["holding"]["0x0000"].clone()).expect("registers");
    device.set(0, &registers);
    let expected = json_table("expected.json")["devices"]["d"]["values"].as_object().expect("values").clone();
    assert!(expected.len() > 200, "the table has {} points", expected.len());

    let settings = table("settings.toml")
        .replace("host = \"192.0.2.1\"", &format!("host = \"127.0.0.1\", port = {}", device.port));
    let sagoo = format!("sagoo = {{ product_key = \"{PRODUCT}\", device_key = \"d\" }}\nunit = 1\n");
    let known = KnownDevice::new(PRODUCT, "d");
    let known = expected.keys().fold(known, |known, point| known.property(point, Tsl::Text));
    // The platform takes every number for a float of 64 bits, and some of these are longer.
    let plan = Plan::meters(&[]).other(known).must_log("values do not fit the platform's columns");
    let mut site = Site::prepare_in(dir, &plan.more(&format!("{settings}\n{sagoo}")));
    site.gateway.start();
    eventually("every point reads what the table says", SOON, || {
        let points = site.gateway.device("d")["points"].clone();
        let points = points.as_array().cloned().unwrap_or_default();
        let value_of = |name: &str| points.iter().find(|point| point["name"] == json!(name)).cloned();
        let wrong: Vec<String> = expected
            .iter()
            .filter_map(|(name, value)| {
                let told = value_of(name).unwrap_or_default();
                (!same(&told["value"], value)).then(|| format!("{name} should be {value}: {told}"))
            })
            .collect();
        wrong.is_empty().then_some(()).ok_or_else(|| format!("{} are wrong: {wrong:#?}", wrong.len()))
    });
    site.assert_unharmed();
}

/// Numbers compare as numbers, whether they are written as whole ones or not; lists may be told as text.
fn same(told: &Json, expected: &Json) -> bool {
    match (told, expected) {
        (Json::Number(told), Json::Number(expected)) => {
            told == expected || told.as_f64() == expected.as_f64()
        }
        (Json::String(told), Json::Array(_)) => {
            serde_json::from_str(told).is_ok_and(|told: Json| same(&told, expected))
        }
        (Json::Array(told), Json::Array(expected)) => {
            told.len() == expected.len()
                && told.iter().zip(expected).all(|(told, expected)| same(told, expected))
        }
        _ => told == expected,
    }
}
