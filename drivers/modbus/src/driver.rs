//! The driver as the SDK sees it: who it is, and settings → devices with their read plans.
//!
//! Always true: checking touches no device; a device with a mistake of its own, of its model or of
//! its connection is left out, and every other device runs.

use std::sync::Arc;

use sagoo_driver_sdk::{
    Checked, CheckedConnection, CheckedDevice, Configuration, Description, DeviceTable, Driver, Host,
    Learned, Offline, PlannedRequest, Rights, Tap,
};
use serde_json::Value as Json;

use crate::connection::{self, Connection, Transport};
use crate::device::{self, Device};
use crate::learn::memory::Memory;
use crate::line::{ModbusLine, Sweep};
use crate::model::{self, ReadModel};
use crate::plan::Cost;
use crate::settings::{Report, path, step, suggest};

/// JSON Schema of what this driver reads.
pub(crate) const SCHEMA: &str = include_str!("schema.json");

/// The Modbus driver.
#[derive(Debug, Default)]
pub(crate) struct Modbus {
    memory: Arc<Memory>,
}

impl Driver for Modbus {
    type Connection = Connection;
    type Device = Device;
    type Line = ModbusLine;

    fn describe(&self) -> Description {
        Description {
            name: "modbus",
            version: env!("CARGO_PKG_VERSION"),
            title: "Modbus",
            config_schema: SCHEMA,
            abilities: &["write", "invoke", "scan", "probe"],
        }
    }

    fn attach(&self, host: Host) {
        self.memory.attach(host);
    }

    fn learned(&self, device: &str) -> Vec<Learned> {
        self.memory.told(device).map(|told| told.learned).unwrap_or_default()
    }

    fn measured(
        &self,
        _connection: &Connection,
        device: &CheckedDevice<Self>,
    ) -> Option<Vec<Vec<PlannedRequest>>> {
        let told = self.memory.told(&device.name)?;
        (told.fingerprint == device.settings.fingerprint).then_some(told.polls)
    }

    fn check(&self, configuration: &Configuration) -> Checked<Self> {
        let mut report = Report::default();
        let read = |table| model::read_model(table, &mut report);
        let mut models: Vec<ReadModel<'_>> = configuration.models.iter().filter_map(read).collect();
        let mut connections = Vec::new();
        for table in &configuration.connections {
            let read = connection::read_connection(table, &mut report);
            let on_it = |device: &&DeviceTable| device.connection == table.name;
            let tables = configuration.devices.iter().filter(on_it);
            let offline = read.as_ref().map_or_else(Offline::default, |(_, offline)| *offline);
            let cost = read.as_ref().map_or(Cost::SOCKET, |(connection, _)| Cost::on(connection));
            let broadcasts = read.as_ref().is_some_and(|(connection, _)| connection.broadcasts());
            let devices = check_devices(tables, &mut models, (offline, cost, broadcasts), &mut report);
            if let Some((settings, _)) = read
                && !shares_port(&table.name, &settings, &connections, &mut report)
            {
                connections.push(CheckedConnection { name: table.name.clone(), settings, devices });
            }
        }
        let wires = connections.iter().map(|of| (of.name.as_str(), &of.settings));
        connection::tell_doubles(wires, &mut report);
        tell_lost_devices(configuration, &mut report);
        Checked { problems: report.problems, connections }
    }

    fn rights(&self, connection: &Connection) -> Option<Rights> {
        let (connect_tcp, listen_tcp) = match &connection.transport {
            Transport::Tcp { endpoint, .. } => (vec![endpoint.port], Vec::new()),
            Transport::Tls(tls) => (vec![tls.endpoint.port], Vec::new()),
            Transport::Listen(listen) => (Vec::new(), vec![listen.address.port()]),
            Transport::Udp(_) | Transport::Serial(_) => (Vec::new(), Vec::new()),
        };
        Some(Rights { connect_tcp, listen_tcp })
    }

    fn line(&self, connection: &Connection, tap: Tap) -> ModbusLine {
        ModbusLine::new(connection, tap, self.memory.clone())
    }

    fn scan_steps(&self, connection: &Connection, options: &Json) -> Result<usize, String> {
        Sweep::read(connection, options).map(|sweep| sweep.steps())
    }

    fn line_name(&self, connection: &Connection) -> String {
        connection.words()
    }
}

/// The devices of one connection.
fn check_devices<'a>(
    tables: impl Iterator<Item = &'a DeviceTable>,
    models: &mut [ReadModel<'a>],
    (offline, cost, broadcasts): (Offline, Cost, bool),
    report: &mut Report,
) -> Vec<CheckedDevice<Modbus>> {
    let mut devices: Vec<CheckedDevice<Modbus>> = Vec::new();
    for table in tables {
        let Some((mut settings, mut told)) = device::read_device(table, models, cost, report) else {
            continue;
        };
        if broadcasts && settings.unit == 0 {
            (settings.polls, told.polls) = (Arc::default(), Arc::default());
            tell_broadcast(table, report);
        }
        if let Some(other) = devices.iter().find(|other| other.settings.unit == settings.unit) {
            let place = path(["device", &table.name]);
            let place = if table.settings.get("unit").is_some() { step(&place, "unit") } else { place };
            let message =
                format!("unit {} of this connection is device {:?} as well", settings.unit, other.name);
            report.warning(
                place,
                message,
                "unit = the device's own number; leave it so if both read the same device",
            );
        }
        let device::Told { points, polls } = told;
        devices.push(CheckedDevice { name: table.name.clone(), points, polls, offline, settings });
    }
    devices
}

/// A port is one wire, and two lines on it would talk into each other.
fn shares_port(
    name: &str,
    settings: &Connection,
    others: &[CheckedConnection<Modbus>],
    report: &mut Report,
) -> bool {
    let port = |connection: &Connection| match &connection.transport {
        Transport::Serial(serial) => Some(serial.port.clone()),
        _ => None,
    };
    let Some(own) = port(settings) else { return false };
    let Some(other) = others.iter().find(|other| port(&other.settings).as_ref() == Some(&own)) else {
        return false;
    };
    let message = format!("port {own:?} is connection {:?} as well", other.name);
    let hint = "one connection for a port, and all of its devices on it";
    report.error(path(["connection", name, "serial", "port"]), message, hint);
    true
}

/// Unit 0 is everybody, and nobody answers: it is written, never read.
fn tell_broadcast(table: &DeviceTable, report: &mut Report) {
    let message = "unit 0 is a broadcast on this line: its points are never read, and no write to them is \
                   confirmed";
    let place = path(["device", &table.name, "unit"]);
    report.warning(place, message, "unit = the device's own number, 1 to 247, to read it");
}

/// Devices whose connection is not there.
fn tell_lost_devices(configuration: &Configuration, report: &mut Report) {
    let names: Vec<&str> = configuration.connections.iter().map(|table| table.name.as_str()).collect();
    for table in &configuration.devices {
        if !names.contains(&table.connection.as_str()) {
            let message = format!("there is no connection {:?}", table.connection);
            report.error(
                path(["device", &table.name, "connection"]),
                message,
                suggest(&table.connection, &names),
            );
        }
    }
}
