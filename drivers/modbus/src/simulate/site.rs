//! TOML files as the gateway has them → the driver's part, and where each key of it stands.
//!
//! Always true: what the gateway takes out before a driver sees it is taken out here as well; every
//! mistake has its file, line and column; connections and devices of other drivers are left out.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use sagoo_driver_sdk::{Configuration, ConnectionTable, DeviceTable, ModelTable, Problem};
use serde_json::{Map, Value as Json};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The gateway's keys of a connection.
const OF_CONNECTIONS: &[&str] = &["driver", "standby"];
/// Of a model.
const OF_MODELS: &[&str] = &["version"];
/// Of a device.
const OF_DEVICES: &[&str] = &["connection", "model", "sagoo"];
/// Of a point, in a model and in a device.
const OF_POINTS: &[&str] = &["key", "unit", "deadband", "heartbeat"];
/// The driver this is.
const DRIVER: &str = "modbus";

/// The tables of some files.
#[derive(Debug, Default)]
pub(crate) struct Site {
    files: Vec<(String, String)>,
    tables: Map<String, Json>,
    /// File and byte of each key, by its path.
    places: BTreeMap<Vec<String>, (usize, usize)>,
}

impl Site {
    /// Reads files that can be read to their end as TOML; otherwise every mistake with its place.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Vec<String>> {
        let mut site = Self::default();
        let mut wrong = Vec::new();
        for path in paths {
            match fs::read_to_string(path) {
                Ok(text) => site.add(path.display().to_string(), text, &mut wrong),
                Err(error) => wrong.push(format!("cannot read {}: {error}", path.display())),
            }
        }
        if wrong.is_empty() { Ok(site) } else { Err(wrong) }
    }

    /// One more file.
    pub(crate) fn add(&mut self, name: String, text: String, wrong: &mut Vec<String>) {
        let number = self.files.len();
        self.files.push((name, text.clone()));
        let (document, errors) = DeTable::parse_recoverable(&text);
        for error in errors {
            let at = self.show(number, error.span().map_or(0, |span| span.start));
            wrong.push(format!("{at}: {}", error.message()));
        }
        let mut path = Vec::new();
        for (kind, table) in document.into_inner() {
            let at = kind.span().start;
            let kind = kind.into_inner().into_owned();
            path.push(kind.clone());
            self.places.entry(path.clone()).or_insert((number, at));
            match table.into_inner() {
                DeValue::Table(entries) => self.gather(number, &kind, entries, &mut path, wrong),
                other => {
                    let value = self.convert(number, other, &mut path, wrong);
                    self.tables.insert(kind, value);
                }
            }
            path.pop();
        }
    }

    /// Entries of `[connection]`, `[model]` and `[device]` may come from several files.
    fn gather(
        &mut self,
        file: usize,
        kind: &str,
        entries: DeTable<'_>,
        path: &mut Vec<String>,
        wrong: &mut Vec<String>,
    ) {
        for (name, value) in entries {
            let at = name.span().start;
            let name = name.into_inner().into_owned();
            path.push(name.clone());
            if let Some((other, first)) = self.places.get(path.as_slice()).copied() {
                let (here, there) = (self.show(file, at), self.show(other, first));
                wrong.push(format!("{here}: [{kind}.{name}] is at {there} already"));
            } else {
                self.places.insert(path.clone(), (file, at));
                let value = self.convert(file, value.into_inner(), path, wrong);
                let table = self.tables.entry(kind).or_insert_with(|| Json::Object(Map::new()));
                if let Some(table) = table.as_object_mut() {
                    table.insert(name, value);
                }
            }
            path.pop();
        }
    }

    fn convert(
        &mut self,
        file: usize,
        value: DeValue<'_>,
        path: &mut Vec<String>,
        wrong: &mut Vec<String>,
    ) -> Json {
        match value {
            DeValue::String(text) => Json::String(text.into_owned()),
            DeValue::Boolean(value) => Json::Bool(value),
            DeValue::Datetime(value) => Json::String(value.to_string()),
            DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
                Ok(value) => Json::from(value),
                Err(_) => self.no_number(path, "does not fit 64 bits", wrong),
            },
            DeValue::Float(digits) => {
                let number = digits.as_str().parse().ok().and_then(serde_json::Number::from_f64);
                number.map_or_else(|| self.no_number(path, "is not a finite number", wrong), Json::Number)
            }
            DeValue::Array(items) => {
                let item = |(place, item): (usize, Spanned<DeValue<'_>>)| {
                    path.push(place.to_string());
                    self.places.insert(path.clone(), (file, item.span().start));
                    let item = self.convert(file, item.into_inner(), path, wrong);
                    path.pop();
                    item
                };
                Json::Array(items.into_iter().enumerate().map(item).collect())
            }
            DeValue::Table(entries) => {
                let mut table = Map::new();
                for (key, value) in entries {
                    let at = key.span().start;
                    let key = key.into_inner().into_owned();
                    path.push(key.clone());
                    self.places.insert(path.clone(), (file, at));
                    let value = self.convert(file, value.into_inner(), path, wrong);
                    path.pop();
                    table.insert(key, value);
                }
                Json::Object(table)
            }
        }
    }

    fn no_number(&self, path: &[String], why: &str, wrong: &mut Vec<String>) -> Json {
        wrong.push(format!("{}: {} {why}", self.place(path), path.last().map_or("", String::as_str)));
        Json::Null
    }

    /// Where a key is, or the nearest table around it that is there.
    pub(crate) fn place(&self, path: &[String]) -> String {
        let of = (0..=path.len()).rev().find_map(|len| self.places.get(&path[..len]));
        let (file, at) = of.copied().unwrap_or_default();
        self.show(file, at)
    }

    fn show(&self, file: usize, at: usize) -> String {
        let Some((name, text)) = self.files.get(file) else { return String::new() };
        let before = &text[..text.floor_char_boundary(at)];
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
        format!("{name}:{}:{column}", before.matches('\n').count() + 1)
    }

    /// What the driver's check found, with its place: `site.toml:3:7: message; hint`.
    pub(crate) fn told(&self, problem: &Problem) -> String {
        let kind = if problem.warning { "warning: " } else { "" };
        let hint = if problem.hint.is_empty() { String::new() } else { format!("; {}", problem.hint) };
        format!("{}: {kind}{}{hint}", self.place(&problem.path), problem.message)
    }

    /// The connections, models and devices that the gateway would hand to this driver.
    pub(crate) fn configuration(&self) -> Configuration {
        let mut configuration = Configuration::default();
        let ours = |table: &Json| table.get("driver").is_none_or(|driver| driver == DRIVER);
        for (name, settings) in self.tables("connection").filter(|(_, table)| ours(table)) {
            let settings = without(settings, OF_CONNECTIONS);
            configuration.connections.push(ConnectionTable { name: name.clone(), settings });
        }
        let text =
            |table: &Json, key: &str| table.get(key).and_then(Json::as_str).unwrap_or_default().to_owned();
        let foreign = |connection: &str| {
            self.tables("connection").any(|(name, table)| name == connection && !ours(table))
        };
        let mut foreign_models = Vec::new();
        for (name, table) in self.tables("device") {
            let (connection, model) = (text(table, "connection"), text(table, "model"));
            let model = model.split('@').next().unwrap_or_default().to_owned();
            if foreign(&connection) {
                foreign_models.push(model);
                continue;
            }
            let settings = without_rules(without(table, OF_DEVICES));
            configuration.devices.push(DeviceTable { name: name.clone(), connection, model, settings });
        }
        foreign_models.retain(|model| !configuration.devices.iter().any(|device| device.model == *model));
        for (name, table) in self.tables("model").filter(|(name, _)| !foreign_models.contains(name)) {
            let settings = without_rules(without(table, OF_MODELS));
            configuration.models.push(ModelTable { name: name.clone(), settings });
        }
        configuration
    }

    /// Everything at the top.
    pub(crate) fn top(&self) -> impl Iterator<Item = (&String, &Json)> {
        self.tables.iter()
    }

    fn tables(&self, kind: &str) -> impl Iterator<Item = (&String, &Json)> {
        self.tables.get(kind).and_then(Json::as_object).into_iter().flatten()
    }
}

fn without(table: &Json, keys: &[&str]) -> Json {
    let mut table = table.clone();
    if let Some(object) = table.as_object_mut() {
        object.retain(|key, _| !keys.contains(&key.as_str()));
    }
    table
}

/// Without the reporting rules of points.
fn without_rules(mut table: Json) -> Json {
    let points = table.get_mut("points").and_then(Json::as_object_mut);
    for point in points.into_iter().flat_map(|points| points.values_mut()) {
        *point = without(point, OF_POINTS);
    }
    table
}

#[cfg(test)]
mod tests {
    use sagoo_driver_sdk::Driver;

    use super::*;
    use crate::driver::Modbus;

    fn site(files: &[(&str, &str)]) -> Result<Site, Vec<String>> {
        let (mut site, mut wrong) = (Site::default(), Vec::new());
        for (name, text) in files {
            site.add((*name).to_owned(), (*text).to_owned(), &mut wrong);
        }
        if wrong.is_empty() { Ok(site) } else { Err(wrong) }
    }

    const FIELD: &str = "[gateway]\nproduct_key = \"x\"\n[connection.hall]\ndriver = \"modbus\"\nstandby = true\n\
        tcp = { host = \"h\" }\n[connection.other]\ndriver = \"opc\"\nurl = \"x\"\n\
        [device.a]\nconnection = \"hall\"\nmodel = \"m@3\"\nunit = 3\nsagoo = { product_key = \"p\" }\n\
        points = { v = { scale = 0.1, deadband = \"1%\" } }\n\
        [device.b]\nconnection = \"other\"\nmodel = \"o\"\n[model.o]\nnodes = 1\n";
    const MODEL: &str = "[model.m]\nversion = 3\n[model.m.points]\n\
        v = { at = \"input:0\", type = \"u16\", unit = \"V\", key = \"volt\", heartbeat = \"1m\" }\n";

    #[test]
    fn a_site_is_what_the_gateway_would_hand_to_this_driver() {
        let site = site(&[("field.toml", FIELD), ("model.toml", MODEL)]).unwrap();
        let configuration = site.configuration();
        assert_eq!(configuration.models.len(), 1, "{configuration:?}");
        let checked = Modbus::default().check(&configuration);
        assert_eq!(checked.problems, []);
        let device = &checked.connections[0].devices[0];
        assert_eq!((device.name.as_str(), device.settings.unit, device.points.len()), ("a", 3, 1));
    }

    #[test]
    fn every_mistake_has_its_place() {
        let model = "[model.m.points]\nv = { at = \"input:0\", tpye = \"u16\" }\n";
        let read = site(&[("field.toml", FIELD), ("model.toml", model)]).unwrap();
        let told: Vec<String> = Modbus::default()
            .check(&read.configuration())
            .problems
            .iter()
            .map(|problem| read.told(problem))
            .collect();
        assert_eq!(told[0], "model.toml:2:23: unknown key \"tpye\"; did you mean \"type\"?");
        let wrong = site(&[
            ("a.toml", MODEL),
            ("b.toml", "[model.m]\nx = 1e999\n[model.n]\nx = 99999999999999999999\n"),
        ]);
        assert_eq!(
            wrong.unwrap_err(),
            ["b.toml:1:8: [model.m] is at a.toml:1:8 already", "b.toml:4:1: x does not fit 64 bits"]
        );
        assert_eq!(site(&[("c.toml", "[model.m\n")]).unwrap_err().len(), 1);
    }
}
