//! Whole driver against devices in this process: well-behaved ones from the case folders, and
//! misbehaving ones that say whatever a test makes them say.

mod bus;
mod cases;
pub(crate) mod device;
mod dialling;
mod learning;
mod lends;
mod looking;
mod modem;
mod network;
mod reading;
mod serial;
mod socket;
mod turns;
mod writing;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sagoo_driver_sdk::{Configuration, ConnectionTable, DeviceTable, Driver, ModelTable, Readings, Value};
use serde_json::{Value as Json, json};

use crate::connection::ends::{Endpoint, Listen, Tls};
use crate::connection::{Connection, Framing, Transport};
use crate::device::Device;
use crate::driver::Modbus;

/// Long enough for a loaded machine where an answer is expected.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);
/// Short where silence is expected.
pub(crate) const SHORT: Duration = Duration::from_millis(40);

pub(crate) fn connection(port: u16, timeout: Duration) -> Connection {
    let endpoint = Endpoint { host: "127.0.0.1".to_owned(), port };
    let transport = Transport::Tcp { endpoint, in_flight: 1 };
    Connection { transport, framing: Framing::Tcp, timeout, turnaround: Duration::ZERO }
}

#[test]
fn a_connection_needs_the_port_of_its_device_and_no_other() {
    let endpoint = || Endpoint { host: "h".to_owned(), port: 1502 };
    let tls = Tls { endpoint: endpoint(), server_name: "h".into(), ca: "c".into(), identity: None };
    let listen = Listen { address: "127.0.0.1:9000".parse().unwrap(), id: vec![1] };
    for (transport, connects, listens) in [
        (Transport::Tcp { endpoint: endpoint(), in_flight: 1 }, vec![1502], vec![]),
        (Transport::Tls(tls), vec![1502], vec![]),
        (Transport::Udp(endpoint()), vec![], vec![]),
        (Transport::Listen(listen), vec![], vec![9000]),
    ] {
        let rights = Modbus::default().rights(&Connection { transport, ..connection(1, PATIENT) }).unwrap();
        assert_eq!((rights.connect_tcp, rights.listen_tcp), (connects, listens));
    }
}

#[test]
fn devices_that_are_alike_share_their_points_and_plans() {
    let device = |name: &str, more: &str| {
        format!(
            "[connection.{name}]\ntcp = {{ host = \"{name}\" }}\n[device.{name}]\nconnection = \"{name}\"\nmodel = \"m\"\n{more}"
        )
    };
    let toml = "[model.m.points]\na = { at = \"holding:1\", type = \"u16\" }\n".to_owned()
        + &device("as_it_is", "unit = 1\n")
        + &device("too", "unit = 2\n")
        + &device("scaled", "points = { a = { scale = 0.1 } }\n")
        + &device("scaled_too", "points = { a = { scale = 0.1 } }\n")
        + &device("scaled_otherwise", "points = { a = { scale = 0.2 } }\n");
    let checked = Modbus::default().check(&configuration(&toml));
    let devices = checked.connections.iter().map(|connection| &connection.devices[0].settings);
    let devices: HashMap<&str, &Device> = devices.map(|device| (device.name.as_str(), device)).collect();
    for (one, other, alike) in [
        ("as_it_is", "too", true),
        ("scaled", "scaled_too", true),
        ("as_it_is", "scaled", false),
        ("scaled", "scaled_otherwise", false),
    ] {
        let (one, other) = (devices[one], devices[other]);
        assert_eq!(Arc::ptr_eq(&one.points, &other.points), alike);
        assert_eq!(Arc::ptr_eq(&one.polls, &other.polls), alike);
    }
}

/// TOML as the gateway hands it over: without what is the gateway's own.
pub(crate) fn configuration(toml: &str) -> Configuration {
    let file: Json = toml::from_str(toml).unwrap();
    let tables = |kind: &str| file.get(kind).and_then(Json::as_object).cloned().unwrap_or_default();
    let take =
        |settings: &mut Json, key: &str| match settings.as_object_mut().and_then(|table| table.remove(key)) {
            Some(Json::String(text)) => text,
            _ => String::new(),
        };
    let mut all = Configuration::default();
    for (name, mut settings) in tables("connection") {
        take(&mut settings, "driver");
        all.connections.push(ConnectionTable { name, settings });
    }
    for (name, mut settings) in tables("model") {
        strip_points(&mut settings);
        all.models.push(ModelTable { name, settings });
    }
    for (name, mut settings) in tables("device") {
        let (connection, model) = (take(&mut settings, "connection"), take(&mut settings, "model"));
        let model = model.split('@').next().unwrap_or_default().to_owned();
        settings.as_object_mut().unwrap().remove("sagoo");
        strip_points(&mut settings);
        all.devices.push(DeviceTable { name, connection, model, settings });
    }
    all
}

/// Points without the reporting rules, which are the gateway's.
fn strip_points(settings: &mut Json) {
    let points = settings.get_mut("points").and_then(Json::as_object_mut);
    for point in points.into_iter().flat_map(|points| points.values_mut()).filter_map(Json::as_object_mut) {
        for key in ["key", "unit", "deadband", "heartbeat"] {
            point.remove(key);
        }
    }
}

/// A device of unit 7 with these points, on a model with these other settings.
pub(crate) fn device(model: &str, points: &str) -> Device {
    let toml = format!(
        "[connection.c]\ndriver = \"modbus\"\ntcp = {{ host = \"h\" }}\n[model.m]\n{model}\n[model.m.points]\n{points}\n\
         [device.d]\nconnection = \"c\"\nmodel = \"m\"\nunit = 7\n"
    );
    let checked = Modbus::default().check(&configuration(&toml));
    assert!(checked.problems.iter().all(|problem| problem.warning), "{:?}", checked.problems);
    checked.connections[0].devices[0].settings.clone()
}

/// Point names and values, or `{"bad": reason}`.
pub(crate) fn told(device: &Device, out: &Readings) -> Json {
    let one = |value: &Result<Value, String>| match value {
        Ok(Value::Bool(value)) => json!(value),
        Ok(Value::Int(value)) => json!(value),
        Ok(Value::Uint(value)) => json!(value),
        Ok(Value::Float(value)) => json!(value),
        Ok(Value::Text(label)) => json!(label),
        Ok(Value::Json(list)) => serde_json::from_str(list).unwrap(),
        Ok(other) => panic!("a modbus point reads {other:?}"),
        Err(reason) => json!({ "bad": reason }),
    };
    let named = |reading: &sagoo_driver_sdk::Reading| {
        (device.points[reading.point].name.clone(), one(&reading.value))
    };
    let all: serde_json::Map<_, _> = out.readings().iter().map(named).collect();
    assert_eq!(all.len(), out.readings().len(), "a point was read twice");
    Json::Object(all)
}
