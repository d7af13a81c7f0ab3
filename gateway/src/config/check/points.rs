//! The gateway's own part of a point: its key on the platform and its reporting rules.
//!
//! Always true: what is taken out here never reaches a driver, and nothing else is taken out.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value as Json};

use crate::config::defaults;
use crate::config::place::Span;
use crate::config::problem::Report;
use crate::config::raw::tree::{Kind, Node};
use crate::config::raw::{json, read};
use crate::config::types::{Deadband, PointConfig};

/// The gateway's keys of a point.
const OWN: [&str; 4] = ["key", "unit", "deadband", "heartbeat"];

/// What a model or a device says of one point; a device's word goes first.
#[derive(Debug, Clone)]
pub(super) struct Rules {
    /// Where the point is named, or its `key`.
    pub(super) span: Span,
    key: Option<String>,
    unit: Option<String>,
    deadband: Option<Deadband>,
    heartbeat: Option<Duration>,
}

impl Rules {
    /// Whether it names the property.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }

    /// The property key of the point called `name`.
    pub(super) fn key<'a>(&'a self, name: &'a str) -> &'a str {
        self.key.as_deref().unwrap_or(name)
    }

    /// These, where they say nothing those of the model.
    pub(super) fn over(self, model: &Rules) -> Rules {
        Rules {
            span: if self.key.is_some() { self.span } else { model.span },
            key: self.key.or_else(|| model.key.clone()),
            unit: self.unit.or_else(|| model.unit.clone()),
            deadband: self.deadband.or(model.deadband),
            heartbeat: self.heartbeat.or(model.heartbeat),
        }
    }

    /// As the pipeline needs them. A heartbeat alone means: report changes, and unchanged values at
    /// least that often.
    pub(super) fn into_point(self, name: &str) -> PointConfig {
        let deadband = self.deadband.or(self.heartbeat.map(|_| Deadband::Absolute(0.0)));
        PointConfig {
            key: self.key.unwrap_or_else(|| name.to_owned()),
            unit: self.unit.unwrap_or_default(),
            deadband,
            heartbeat: self.heartbeat,
        }
    }
}

/// A `points` table: our rules, and the driver's part with ours left out.
pub(super) fn points(node: &Node, report: &mut Report) -> (BTreeMap<String, Rules>, Map<String, Json>) {
    let mut rules = BTreeMap::new();
    let mut settings = Map::new();
    let Some(table) = read::table(node, report) else { return (rules, settings) };
    for (name, entry) in table {
        let Kind::Table(point) = &entry.value.kind else {
            let found = read::expected("a point like { at = …, unit = \"V\" }", &entry.value, report);
            found.hint("a point is a table");
            continue;
        };
        let mut own = Rules { span: entry.key, key: None, unit: None, deadband: None, heartbeat: None };
        let take = |key: &str| point.get(key).map(|entry| &entry.value);
        if let Some(node) = take("key") {
            own.key = read::text(node, report);
            own.span = node.span;
        }
        own.unit = take("unit").and_then(|node| unit(node, report));
        own.deadband = take("deadband").and_then(|node| deadband(node, report));
        let heartbeat = read::duration(defaults::POINT_HEARTBEAT_RANGE);
        own.heartbeat = take("heartbeat").and_then(|node| heartbeat(node, report));
        rules.insert(name.clone(), own);
        settings.insert(name.clone(), Json::Object(json::table(point, &OWN, report)));
    }
    (rules, settings)
}

/// A unit may be empty: a number without one.
fn unit(node: &Node, report: &mut Report) -> Option<String> {
    match &node.kind {
        Kind::Text(unit) => Some(unit.clone()),
        _ => {
            read::expected("text like \"kWh\"", node, report);
            None
        }
    }
}

fn deadband(node: &Node, report: &mut Report) -> Option<Deadband> {
    let read = match &node.kind {
        Kind::Integer(value) => Some(Deadband::Absolute(*value as f64)),
        Kind::Float(value) => Some(Deadband::Absolute(*value)),
        Kind::Text(text) => percent(text),
        _ => None,
    };
    match read {
        Some(Deadband::Absolute(value)) if value.is_finite() && value >= 0.0 => read,
        Some(Deadband::Percent(value)) if (0.0..=100.0).contains(&value) => read,
        Some(_) => {
            report
                .error(node.span, format!("{} is out of range", node.describe()))
                .hint("0 or more, or \"0%\" to \"100%\"");
            None
        }
        None => {
            read::expected("a number like 0.5 or a share like \"1%\"", node, report);
            None
        }
    }
}

fn percent(text: &str) -> Option<Deadband> {
    let number = text.strip_suffix('%')?;
    let plain = number.bytes().all(|b| b.is_ascii_digit() || b == b'.' || b == b'-');
    number.parse().ok().filter(|_| plain).map(Deadband::Percent)
}
