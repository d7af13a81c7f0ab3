//! `[connection.*]`, `[model.*]`, `[device.*]`: each alone, then what they say of each other.
//!
//! Always true: every device's connection and model exist, its points are its model's, and its keys
//! are ones the platform can keep apart. What belongs to a driver is passed on unread.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::Value as Json;

use crate::config::defaults;
use crate::config::place::Span;
use crate::config::problem::Report;
use crate::config::raw::fields::{Fields, did_you_mean};
use crate::config::raw::tree::{Entry, Kind, Node, Table};
use crate::config::raw::{json, read};
use crate::config::types::{ConnectionConfig, DeviceConfig, ModelConfig, PointConfig, Points};
use crate::row::{GATEWAY, Identity};

use super::points::{self, Rules};
use super::{identity, names};

/// What is in the field.
#[derive(Debug, Default)]
pub(super) struct Field {
    pub(super) connections: BTreeMap<String, ConnectionConfig>,
    pub(super) models: BTreeMap<String, ModelConfig>,
    pub(super) devices: BTreeMap<String, DeviceConfig>,
}

/// A model and what the gateway took out of it.
struct Model {
    config: ModelConfig,
    rules: BTreeMap<String, Rules>,
    /// The rules, as a device has them that overrides none.
    points: Points,
}

/// How far each device's rows are settled has to fit the buffer's cursor (64 KiB) beside its name.
const MAX_DEVICES: usize = 550;

/// Reads all three; `own` is the gateway itself, whose device key is taken; files begin at `dir`.
pub(super) fn field(tree: &Table, own: (&Identity, Span), dir: &Path, report: &mut Report) -> Field {
    let connection_tables = group(tree, "connection", report);
    let model_tables = group(tree, "model", report);
    let device_tables = group(tree, "device", report);
    let mut field = Field::default();
    for (name, entry) in &connection_tables {
        if let Some(connection) = connection(name, entry, dir, report) {
            field.connections.insert((*name).clone(), connection);
        }
    }
    let mut models = BTreeMap::new();
    for (name, entry) in &model_tables {
        if let Some(model) = model(name, entry, report) {
            models.insert((*name).clone(), model);
        }
    }
    let known = Known {
        connections: connection_tables.iter().map(|(name, _)| name.as_str()).collect(),
        model_names: model_tables.iter().map(|(name, _)| name.as_str()).collect(),
        models: &models,
    };
    let mut used = BTreeSet::new();
    let mut keys = vec![(own.0.device_key.to_string(), own.1)];
    if let Some((_, first_too_many)) = device_tables.get(MAX_DEVICES) {
        let message = format!("{} devices, and one gateway carries {MAX_DEVICES}", device_tables.len());
        report.error(first_too_many.key, message).hint("give some of them a gateway of their own");
    }
    for (name, entry) in &device_tables {
        if let Some(device) = device(name, entry, &known, &mut used, &mut keys, report) {
            field.devices.insert((*name).clone(), device);
        }
    }
    // A connection that says no driver was reported; nobody can check its devices.
    field.devices.retain(|_, device| field.connections.contains_key(&device.connection));
    // A key that could not be read is empty.
    keys.retain(|(key, _)| !key.is_empty());
    let keys: Vec<_> = keys.iter().map(|(key, span)| (key.as_str(), *span)).collect();
    names::device_keys(&keys, report);
    for (kind, tables) in [("connection", &connection_tables), ("model", &model_tables)] {
        for (name, entry) in tables.iter().filter(|(name, _)| !used.contains(&(kind, (*name).clone()))) {
            if !report.is_incomplete() {
                report.warn(entry.key, format!("no device uses the {kind} {name:?}"));
            }
        }
    }
    field.models = models.into_iter().map(|(name, model)| (name, model.config)).collect();
    field
}

/// The named tables under `[connection]`, `[model]` or `[device]`.
fn group<'t>(tree: &'t Table, kind: &str, report: &mut Report) -> Vec<(&'t String, &'t Entry)> {
    let Some(group) = tree.get(kind) else { return Vec::new() };
    let Some(tables) = read::table(&group.value, report) else { return Vec::new() };
    let named = tables.iter().filter(|(name, entry)| match entry.value.kind {
        Kind::Table(_) => names::own(kind, name, entry.key, report),
        _ => {
            let found = format!("{name:?} is not a {kind}");
            report.error(entry.key, found).hint(format!("each {kind} is a table: [{kind}.NAME]"));
            false
        }
    });
    named.collect()
}

fn connection(name: &str, entry: &Entry, dir: &Path, report: &mut Report) -> Option<ConnectionConfig> {
    let table = read::table(&entry.value, report)?;
    let mut fields = Fields::of(format!("[connection.{name}]"), &entry.value, report)?;
    let driver = fields.need(report, "driver", "\"modbus\"", names::driver);
    let standby = fields.get(report, "standby", read::flag).unwrap_or(false);
    fields.guess(report, "standby");
    let settings = Json::Object(json::table(table, &["driver", "standby"], report));
    let mut files = Vec::new();
    files_in(&settings, dir, &mut Vec::new(), &mut files);
    Some(ConnectionConfig { driver: driver?, standby, settings: text(settings), files })
}

/// As it is kept: the tree is ten times as large.
fn text(settings: Json) -> Box<str> {
    settings.to_string().into()
}

/// Tables exactly of the form `{ file = "…" }`, each with its place.
fn files_in(node: &Json, dir: &Path, place: &mut Vec<String>, found: &mut Vec<(Vec<String>, PathBuf)>) {
    let mut inside = |key: String, value: &Json| {
        place.push(key);
        match value.as_object().filter(|table| table.len() == 1).and_then(|table| table.get("file")?.as_str())
        {
            Some(file) => found.push((place.clone(), dir.join(file))),
            None => files_in(value, dir, place, found),
        }
        place.pop();
    };
    match node {
        Json::Object(table) => table.iter().for_each(|(key, value)| inside(key.clone(), value)),
        Json::Array(items) => {
            items.iter().enumerate().for_each(|(number, value)| inside(number.to_string(), value));
        }
        _ => {}
    }
}

fn model(name: &str, entry: &Entry, report: &mut Report) -> Option<Model> {
    let table = read::table(&entry.value, report)?;
    let mut fields = Fields::of(format!("[model.{name}]"), &entry.value, report)?;
    let version = fields.get(report, "version", read::whole(1..=i64::from(u32::MAX)));
    let example = "{ voltage = { … } }";
    let (rules, points) =
        fields.need(report, "points", example, |node, report| Some(points::points(node, report)))?;
    let keys: Vec<_> =
        rules.iter().map(|(name, rules)| (name.as_str(), rules.key(name), rules.span)).collect();
    names::property_keys(&keys, report);
    let mut settings = json::table(table, &["version", "points"], report);
    settings.insert("points".to_owned(), Json::Object(points));
    let version = version.and_then(|version| u32::try_from(version).ok()).unwrap_or(defaults::MODEL_VERSION);
    let points = Arc::new(resolved(rules.clone()));
    let settings = text(Json::Object(settings));
    Some(Model { config: ModelConfig { version, settings }, rules, points })
}

/// What a device may refer to.
struct Known<'a> {
    connections: Vec<&'a str>,
    /// Also of models with mistakes, which are not in `models`.
    model_names: Vec<&'a str>,
    models: &'a BTreeMap<String, Model>,
}

fn device(
    name: &str,
    entry: &Entry,
    known: &Known<'_>,
    used: &mut BTreeSet<(&'static str, String)>,
    keys: &mut Vec<(String, Span)>,
    report: &mut Report,
) -> Option<DeviceConfig> {
    if name.eq_ignore_ascii_case(GATEWAY) {
        let found = report.error(entry.key, format!("a device cannot be called {name:?}"));
        found.hint("that is the gateway itself: choose another name");
    }
    let table = read::table(&entry.value, report)?;
    let mut fields = Fields::of(format!("[device.{name}]"), &entry.value, report)?;
    let connection = fields.need(report, "connection", "\"bus1\"", |node, report| {
        let name = read::text(node, report)?;
        used.insert(("connection", name.clone()));
        reference("connection", &name, &known.connections, node, report).then_some(name)
    });
    let model = fields.need(report, "model", "\"em24@3\"", |node, report| {
        let name = model_reference(node, known, report)?;
        used.insert(("model", name.clone()));
        Some(name)
    });
    let sagoo = "{ product_key = \"em24\", device_key = \"hall3-meter-a\" }";
    let identity = fields.need(report, "sagoo", sagoo, |node, report| {
        let mut fields = Fields::of("sagoo", node, report)?;
        let identity = identity(&mut fields, ["\"em24\"", "\"hall3-meter-a\""], report);
        if let Some(key) = fields.node("device_key") {
            keys.push((identity.device_key.to_string(), key.span));
        }
        fields.finish(report);
        Some(identity)
    });
    let mut settings = json::table(table, &["connection", "model", "sagoo", "points"], report);
    let overrides = fields.get(report, "points", |node, report| Some(points::points(node, report)));
    let (overrides, rest) = overrides.unwrap_or_default();
    if !rest.is_empty() {
        settings.insert("points".to_owned(), Json::Object(rest));
    }
    let model = model?;
    let points = merged(known.models.get(&model)?, &model, overrides, report);
    Some(DeviceConfig {
        connection: connection?,
        model,
        identity: identity.unwrap_or_else(|| Identity { product_key: "".into(), device_key: "".into() }),
        points,
        settings: text(Json::Object(settings)),
    })
}

/// The name in `"em24"` or `"em24@3"`, when there is such a model in that version.
fn model_reference(node: &Node, known: &Known<'_>, report: &mut Report) -> Option<String> {
    let text = read::text(node, report)?;
    let (name, version) = match text.split_once('@') {
        Some((name, version)) => (name, Some(version)),
        None => (text.as_str(), None),
    };
    if !reference("model", name, &known.model_names, node, report) {
        return None;
    }
    if let (Some(asked), Some(model)) = (version, known.models.get(name)) {
        let there = model.config.version;
        if asked.parse() != Ok(there) {
            let found =
                report.error(node.span, format!("the model {name:?} is version {there}, not {asked:?}"));
            found.hint(format!("write \"{name}@{there}\" once the device fits it"));
            return None;
        }
    }
    Some(name.to_owned())
}

fn reference(kind: &str, name: &str, known: &[&str], node: &Node, report: &mut Report) -> bool {
    let exists = known.contains(&name);
    // What was not found may stand where the file could not be read.
    if !exists && !report.is_incomplete() {
        let hint = did_you_mean(name, known.iter().copied());
        let hint = hint.unwrap_or_else(|| match known {
            [] => format!("there is none: add [{kind}.NAME]"),
            _ => format!("there are {}", known.join(", ")),
        });
        report.error(node.span, format!("unknown {kind} {name:?}")).hint(hint);
    }
    exists
}

/// The model's rules with the device's over them.
fn merged(
    model: &Model,
    model_name: &str,
    overrides: BTreeMap<String, Rules>,
    report: &mut Report,
) -> Points {
    if overrides.is_empty() {
        return model.points.clone();
    }
    let mut rules = model.rules.clone();
    let renames = overrides.values().any(Rules::has_key);
    for (name, over) in overrides {
        let Some(base) = model.rules.get(&name) else {
            let hint = did_you_mean(&name, model.rules.keys().map(String::as_str));
            let hint = hint.unwrap_or_else(|| "a device overrides points, it has none of its own".to_owned());
            report.error(over.span, format!("the model {model_name:?} has no point {name:?}")).hint(hint);
            continue;
        };
        rules.insert(name, over.over(base));
    }
    // Without a new key the model's own check has said it all.
    if renames {
        let keys: Vec<_> =
            rules.iter().map(|(name, rules)| (name.as_str(), rules.key(name), rules.span)).collect();
        names::property_keys(&keys, report);
    }
    let points = resolved(rules);
    // most overrides are the driver's
    if points == *model.points { model.points.clone() } else { Arc::new(points) }
}

fn resolved(rules: BTreeMap<String, Rules>) -> BTreeMap<String, PointConfig> {
    rules.into_iter().map(|(name, rules)| (name.clone(), rules.into_point(&name))).collect()
}
