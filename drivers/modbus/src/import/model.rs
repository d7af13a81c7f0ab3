//! Points → the text of a model that the driver's own check accepts.
//!
//! Always true: what is written was read back and checked as the gateway would; a point the check
//! refuses is left out and told with the row it came from.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use sagoo_driver_sdk::{ConnectionTable, DeviceTable, Driver};
use serde_json::{Value as Json, json};

use super::row::{Counting, Made, Row};
use crate::driver::Modbus;
use crate::simulate::site::Site;

/// A model, and what is not in it.
#[derive(Debug)]
pub(super) struct Written {
    pub(super) text: String,
    pub(super) points: usize,
    /// Rows that are left out, each with its place and why.
    pub(super) left_out: Vec<String>,
}

/// Writes the model called `name`; `Err`: the model itself cannot be.
pub(super) fn write(name: &str, rows: &[Row], counting: Option<Counting>) -> Result<Written, Vec<String>> {
    let mut left_out = Vec::new();
    let mut made: Vec<(&Row, Made)> = Vec::new();
    for row in rows {
        match row.make(counting) {
            Ok(point) => match made.iter().find(|(_, other)| other.name == point.name) {
                Some((other, _)) => {
                    left_out.push(format!(
                        "{}: {} is at {} already; name one of them anew",
                        row.place, point.name, other.place
                    ));
                }
                None => made.push((row, point)),
            },
            Err(why) => left_out.push(format!("{}: {why}", row.place)),
        }
    }
    // Refusing one point may bring to light what is wrong with another, and never ends with more of them.
    loop {
        let text = text(name, made.iter().map(|(_, point)| point));
        if made.is_empty() {
            return Ok(Written { text, points: 0, left_out });
        }
        let refused = refused(name, &text)?;
        if refused.is_empty() {
            return Ok(Written { text, points: made.len(), left_out });
        }
        made.retain(|(row, point)| match refused.get(&point.name) {
            Some(why) => {
                left_out.push(format!("{}: {}: {why}", row.place, point.name));
                false
            }
            None => true,
        });
    }
}

/// Points that the driver's check refuses, and why.
fn refused(name: &str, text: &str) -> Result<BTreeMap<String, String>, Vec<String>> {
    let mut site = Site::default();
    let mut wrong = Vec::new();
    site.add("the model".to_owned(), text.to_owned(), &mut wrong);
    let mut configuration = site.configuration();
    let (connection, settings) = ("import".to_owned(), json!({ "tcp": { "host": "127.0.0.1" } }));
    configuration.connections.push(ConnectionTable { name: connection.clone(), settings });
    let (model, settings) = (name.to_owned(), json!({}));
    configuration.devices.push(DeviceTable { name: connection.clone(), connection, model, settings });
    let mut refused = BTreeMap::new();
    for problem in
        Modbus::default().check(&configuration).problems.into_iter().filter(|problem| !problem.warning)
    {
        let why = match problem.hint.as_str() {
            "" => problem.message.clone(),
            hint => format!("{}; {hint}", problem.message),
        };
        match problem.path.as_slice() {
            [table, of, points, point, ..]
                if (table.as_str(), of.as_str(), points.as_str()) == ("model", name, "points") =>
            {
                refused.entry(point.clone()).or_insert(why);
            }
            _ => wrong.push(why),
        }
    }
    if wrong.is_empty() { Ok(refused) } else { Err(wrong) }
}

fn text<'m>(name: &str, points: impl Iterator<Item = &'m Made> + Clone) -> String {
    let mut rates: Vec<&str> = points.clone().filter_map(|point| point.poll.as_deref()).collect();
    rates.sort_unstable();
    rates.dedup();
    let has_plain = points.clone().any(|point| point.poll.is_none());
    let mut text = format!("[model.{}]\nversion = 1\naddresses = \"zero-based\"\n", key(name));
    if !rates.is_empty() {
        let mut named: Vec<String> =
            rates.iter().map(|rate| format!("{} = {}", rate_name(rate), quoted(rate))).collect();
        if has_plain {
            named.insert(0, "default = \"1s\"".to_owned());
        }
        // To a String nothing can fail.
        let _ = writeln!(text, "poll = {{ {} }}", named.join(", "));
    }
    let _ = writeln!(text, "\n[model.{}.points]", key(name));
    for point in points {
        let mut keys: Vec<String> =
            point.keys.iter().map(|(name, value)| format!("{name} = {}", toml(value))).collect();
        keys.extend(point.poll.as_deref().map(|rate| format!("poll = {}", quoted(&rate_name(rate)))));
        let note = point.note.replace(|letter: char| letter.is_control(), " ");
        let note = if note.is_empty() { String::new() } else { format!("  # {note}") };
        let _ = writeln!(text, "{} = {{ {} }}{note}", point.name, keys.join(", "));
    }
    text
}

/// `every_1m30s`.
fn rate_name(rate: &str) -> String {
    format!("every_{rate}")
}

fn toml(value: &Json) -> String {
    match value {
        Json::String(text) => quoted(text),
        Json::Object(table) => {
            let inner: Vec<String> =
                table.iter().map(|(name, value)| format!("{} = {}", key(name), toml(value))).collect();
            format!("{{ {} }}", inner.join(", "))
        }
        other => other.to_string(),
    }
}

/// A key as it is, or quoted where TOML needs that.
fn key(name: &str) -> String {
    let is_bare = |letter: u8| letter.is_ascii_alphanumeric() || matches!(letter, b'_' | b'-');
    if !name.is_empty() && name.bytes().all(is_bare) { name.to_owned() } else { quoted(name) }
}

/// A basic string of TOML.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' | '\\' => out.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(letter));
            }
            letter => out.push(letter),
        }
    }
    out.push('"');
    out
}
