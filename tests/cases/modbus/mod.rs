//! The Modbus driver under the real gateway, against peers nobody here wrote.
//!
//! Reading order: `carried` is every way to a device; `maps` points across every border; `learned` what
//! devices refuse; `bus` many on one slow line, and strangers on it; `late` answers after their time;
//! `types` every type in every order; `writes` every way of writing a point; `commands` when they are
//! written; `tools` what people type; `masters` another master against our
//! simulator.
//!
//! Always true: registers hold what can be told from unit and address, so that a value under a wrong
//! name is seen; what the platform stored is compared whole, not only its end.

mod bus;
mod carried;
mod commands;
mod late;
mod learned;
mod maps;
mod masters;
mod tools;
mod types;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

use e2e::platform::{KnownDevice, Tsl};
use e2e::rig::{ModbusDevice, PRODUCT, Plan, Site, eventually};
use serde_json::{Value as Json, json};

/// Longest wait for something that takes a second or two on an idle machine.
const SOON: Duration = Duration::from_secs(30);

/// Longest wait for something that chance decides.
const PATIENT: Duration = Duration::from_secs(60);

/// What register `address` of `unit` holds.
fn pattern(unit: u8, address: u16) -> u16 {
    u16::from(unit) * 1000 + address
}

/// Puts the pattern into the first registers of a device.
fn fill(device: &ModbusDevice, unit: u8, count: u16) {
    let values: Vec<u16> = (0..count).map(|address| pattern(unit, address)).collect();
    device.set(0, &values);
}

/// A point and what it is to read, `None` when it may read anything or nothing.
#[derive(Debug, Clone)]
struct Expected {
    name: String,
    settings: String,
    tsl: Tsl,
    value: Option<Json>,
}

impl Expected {
    fn new(name: impl Into<String>, settings: impl Into<String>, tsl: Tsl, value: Json) -> Self {
        Self { name: name.into(), settings: settings.into(), tsl, value: Some(value) }
    }

    /// A register with the pattern.
    fn register(unit: u8, address: u16) -> Self {
        let value = json!(pattern(unit, address));
        Self::new(
            format!("r{address}"),
            format!(r#"at = "holding:{address}", type = "u16""#),
            Tsl::Int,
            value,
        )
    }

    fn registers(unit: u8, addresses: impl IntoIterator<Item = u16>) -> Vec<Self> {
        addresses.into_iter().map(|address| Self::register(unit, address)).collect()
    }
}

/// Lines and devices of a case.
#[derive(Debug, Default)]
struct Field {
    toml: String,
    devices: BTreeMap<String, Vec<Expected>>,
}

impl Field {
    /// A connection, by the lines of its table.
    fn line(&mut self, name: &str, settings: &str) -> &mut Self {
        let _ = writeln!(self.toml, "[connection.{name}]\ndriver = \"modbus\"\n{settings}\n");
        self
    }

    /// A device that is polled this often; `more` are lines of its model.
    fn device(&mut self, name: &str, line: &str, unit: u8, poll_ms: u32, more: &str, points: Vec<Expected>) {
        let toml = &mut self.toml;
        let _ = writeln!(toml, "[device.{name}]\nconnection = \"{line}\"\nunit = {unit}\nmodel = \"{name}\"");
        let _ = writeln!(toml, "sagoo = {{ product_key = \"{PRODUCT}\", device_key = \"{name}\" }}\n");
        let _ = writeln!(
            toml,
            "[model.{name}]\naddresses = \"zero-based\"\npoll = {{ often = \"{poll_ms}ms\" }}"
        );
        let _ = writeln!(toml, "{more}\n[model.{name}.points]");
        for point in &points {
            let _ = writeln!(toml, "{} = {{ {}, poll = \"often\" }}", point.name, point.settings);
        }
        let _ = writeln!(toml);
        self.devices.insert(name.to_owned(), points);
    }

    fn plan(&self) -> Plan {
        let mut plan = Plan::meters(&[]).more(&self.toml);
        for (name, points) in &self.devices {
            let known = KnownDevice::new(PRODUCT, name);
            plan = plan.other(
                points.iter().fold(known, |known, point| known.property(&point.name, point.tsl.clone())),
            );
        }
        plan
    }

    /// Waits until the platform has every point of every device that has a value to read, then looks at
    /// all it ever stored.
    #[track_caller]
    fn assert_read(&self, site: &Site) {
        for name in self.devices.keys() {
            self.await_read(site, name);
        }
        self.assert_never_wrong(site);
    }

    #[track_caller]
    fn await_read(&self, site: &Site, name: &str) {
        eventually(&format!("every good point of {name} is stored"), SOON, || {
            let missing: Vec<&str> = self.devices[name]
                .iter()
                .filter(|point| point.value.is_some() && site.platform.latest(name, &point.name).is_none())
                .map(|point| point.name.as_str())
                .collect();
            missing.is_empty().then_some(()).ok_or_else(|| {
                format!("missing: {missing:?}; gateway: {:#}", site.gateway.device(name)["points"])
            })
        });
    }

    /// Waits until every point that has a value to read was read well after this moment, each at some
    /// time: what says nothing new is not stored again, so rows do not show it.
    #[track_caller]
    fn await_fresh(&self, site: &Site) {
        let since = Instant::now();
        let mut missing: BTreeSet<(String, String)> = BTreeSet::new();
        for (device, points) in &self.devices {
            let wanted = points.iter().filter(|point| point.value.is_some());
            missing.extend(wanted.map(|point| (device.clone(), point.name.clone())));
        }
        let text = |told: &Json| told["name"].as_str().unwrap_or_default().to_owned();
        eventually("every point is read well again", PATIENT, || {
            let status = site.gateway.status();
            for device in status["devices"].as_array().into_iter().flatten() {
                for point in device["points"].as_array().into_iter().flatten() {
                    let fresh = point["age_ms"]
                        .as_u64()
                        .is_some_and(|age| u128::from(age) < since.elapsed().as_millis());
                    if fresh && point["quality"] == json!("good") {
                        missing.remove(&(text(device), text(point)));
                    }
                }
            }
            missing.is_empty().then_some(()).ok_or_else(|| format!("not yet: {missing:?}"))
        });
    }

    /// Every value ever stored is the one its point is to have.
    #[track_caller]
    fn assert_never_wrong(&self, site: &Site) {
        for (name, points) in &self.devices {
            for row in site.platform.rows(name) {
                for point in points {
                    let (Some(cell), Some(value)) = (row.cells.get(&point.name), &point.value) else {
                        continue;
                    };
                    assert_eq!(&cell.value, value, "{name}.{} ({})", point.name, point.settings);
                }
            }
        }
        site.assert_unharmed();
    }
}
