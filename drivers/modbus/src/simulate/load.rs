//! Files → the devices to serve, or every mistake with its place.
//!
//! Always true: the driver's own check reads them, so that what is served would also be polled.

use std::fs;
use std::path::Path;

use sagoo_driver_sdk::{CheckedDevice, Configuration, ConnectionTable, DeviceTable, Driver, did_you_mean};
use serde_json::{Value as Json, json};

use super::capture::{self, Capture};
use super::field::Field;
use super::memory::Memory;
use super::motion::Motion;
use super::options::Options;
use super::replay::Replay;
use super::serve::Source;
use super::site::Site;
use crate::connection::Framing;
use crate::driver::Modbus;

/// Of a model that no device of the file uses.
const DEFAULT_UNIT: u8 = 1;
/// The connection of such devices.
const NO_CONNECTION: &str = "simulated";

/// What is to be served, and in which framing.
pub(crate) fn source(options: &Options) -> Result<(Source, Framing), Vec<String>> {
    if let [path] = options.files.as_slice()
        && let Ok(text) = fs::read_to_string(path)
        && text.starts_with(capture::BEGINS)
    {
        let capture = Capture::parse(&path.display().to_string(), &text)?;
        let is_no_bus = options.serial.is_some() && capture.framing == Framing::Tcp;
        let own = if is_no_bus { Framing::Rtu } else { capture.framing };
        let framing = options.framing.unwrap_or(own);
        return Ok((Source::Replay(Replay::new(capture, options.unrecorded)), framing));
    }
    let own = if options.serial.is_some() { Framing::Rtu } else { Framing::Tcp };
    let framing = options.framing.unwrap_or(own);
    Ok((Source::Field(field(options, framing != Framing::Tcp)?), framing))
}

/// The devices of a model or a site. On a bus several units hear every request.
pub(crate) fn field(options: &Options, is_a_bus: bool) -> Result<Field, Vec<String>> {
    let site = Site::read(&options.files)?;
    let mut configuration = site.configuration();
    if configuration.devices.is_empty() || options.model.is_some() {
        put_up_devices(&mut configuration, options)?;
    }
    let checked = Modbus::default().check(&configuration);
    let told: Vec<String> = checked.problems.iter().map(|problem| site.told(problem)).collect();
    if checked.problems.iter().any(|problem| !problem.warning) {
        return Err(told);
    }
    let mut devices: Vec<(String, CheckedDevice<Modbus>)> = Vec::new();
    for connection in checked.connections {
        devices.extend(connection.devices.into_iter().map(|device| (connection.name.clone(), device)));
    }
    let devices = chosen(devices, options)?;
    let memory =
        |device: &CheckedDevice<Modbus>| Memory::new(device.name.clone(), &device.settings, options.gaps);
    let mut devices: Vec<Memory> = devices.iter().map(memory).collect();
    if let Some(path) = &options.values {
        set_values(path, &mut devices)?;
    }
    Ok(Field { devices, is_a_bus })
}

/// Devices for a model alone, on a connection that is never opened.
fn put_up_devices(configuration: &mut Configuration, options: &Options) -> Result<(), Vec<String>> {
    let names: Vec<&str> = configuration.models.iter().map(|model| model.name.as_str()).collect();
    let model = match (&options.model, names.as_slice()) {
        (Some(wanted), names) if names.contains(&wanted.as_str()) => wanted.clone(),
        (Some(wanted), names) => {
            let hint = did_you_mean(wanted, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("known here: {}", names.join(", ")));
            return Err(vec![format!("--model {wanted}: there is no such model; {hint}")]);
        }
        (None, [only]) => (*only).to_owned(),
        (None, []) => {
            return Err(vec![
                "there is neither a device nor a model in it: a file for simulate has [model.NAME] and \
                 [model.NAME.points]"
                    .to_owned(),
            ]);
        }
        (None, names) => {
            return Err(vec![format!("there are several models in it; --model {}", names.join("|"))]);
        }
    };
    configuration.devices.clear();
    let settings = json!({ "tcp": { "host": "127.0.0.1" } });
    configuration.connections = vec![ConnectionTable { name: NO_CONNECTION.to_owned(), settings }];
    let units = if options.units.is_empty() { &[DEFAULT_UNIT][..] } else { &options.units };
    for unit in units {
        configuration.devices.push(DeviceTable {
            name: format!("{model}-{unit}"),
            connection: NO_CONNECTION.to_owned(),
            model: model.clone(),
            settings: json!({ "unit": unit }),
        });
    }
    Ok(())
}

/// The devices of one line: its units are all different.
fn chosen(
    devices: Vec<(String, CheckedDevice<Modbus>)>,
    options: &Options,
) -> Result<Vec<CheckedDevice<Modbus>>, Vec<String>> {
    let mut lines: Vec<&str> = devices.iter().map(|(connection, _)| connection.as_str()).collect();
    lines.dedup();
    if let Some(wanted) = &options.connection
        && !lines.contains(&wanted.as_str())
    {
        let hint = did_you_mean(wanted, lines.iter().copied());
        let hint = hint.unwrap_or_else(|| format!("with devices: {}", lines.join(", ")));
        return Err(vec![format!("--connection {wanted}: there is no such connection; {hint}")]);
    }
    let lines = lines.join("|");
    let mut chosen: Vec<CheckedDevice<Modbus>> = Vec::new();
    for (connection, device) in devices {
        let unit = device.settings.unit;
        if options.connection.as_ref().is_some_and(|wanted| *wanted != connection)
            || !options.units.is_empty() && !options.units.contains(&unit)
        {
            continue;
        }
        if let Some(other) = chosen.iter().find(|other| other.settings.unit == unit) {
            return Err(vec![format!(
                "{} and {} are both unit {unit}, and one line has it once; --connection {lines}, or --unit",
                other.name, device.name
            )]);
        }
        chosen.push(device);
    }
    if chosen.is_empty() {
        return Err(vec!["no device is left to be served; --unit or --connection leaves out all".to_owned()]);
    }
    Ok(chosen)
}

/// `point = value` for every device that has it, `[device]` with them for one.
fn set_values(path: &Path, devices: &mut [Memory]) -> Result<(), Vec<String>> {
    let name = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|error| vec![format!("cannot read {name}: {error}")])?;
    let mut site = Site::default();
    let mut wrong = Vec::new();
    site.add(name, text, &mut wrong);
    let mut take = |devices: &mut [&mut Memory], place: &[String], wanted: &Json| {
        let point = place.last().map_or("", String::as_str);
        let mut is_known = false;
        for device in devices.iter_mut() {
            let Some((known, motion)) = device.motion(point) else { continue };
            is_known = true;
            match Motion::chosen(known, wanted) {
                Ok(chosen) => *motion = chosen,
                Err(why) => wrong.push(format!("{}: {point}: {why}", site.place(place))),
            }
        }
        if !is_known {
            let hint = did_you_mean(point, devices.iter().flat_map(|device| device.points()));
            let hint = hint.map(|hint| format!("; {hint}")).unwrap_or_default();
            wrong.push(format!("{}: there is no point {point:?}{hint}", site.place(place)));
        }
    };
    for (key, value) in site.top() {
        let of_device = devices.iter_mut().find(|device| device.name() == key);
        match (of_device, value.as_object()) {
            (Some(device), Some(values)) => {
                for (point, wanted) in values {
                    take(&mut [&mut *device], &[key.clone(), point.clone()], wanted);
                }
            }
            _ => take(&mut devices.iter_mut().collect::<Vec<_>>(), std::slice::from_ref(key), value),
        }
    }
    wrong.dedup();
    if wrong.is_empty() { Ok(()) } else { Err(wrong) }
}
