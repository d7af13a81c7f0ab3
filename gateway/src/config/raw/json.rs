//! A driver's part of the TOML as JSON.
//!
//! Always true: integers stay integers of 64 bits, date-times become text; what JSON cannot say
//! (infinite, not a number) is a mistake, never a silent null.

use serde_json::{Map, Number, Value as Json};

use crate::config::problem::Report;

use super::tree::{Kind, Node, Table};

/// A table without the keys in `skip`.
pub(crate) fn table(table: &Table, skip: &[&str], report: &mut Report) -> Map<String, Json> {
    let kept = table.iter().filter(|(key, _)| !skip.contains(&key.as_str()));
    kept.map(|(key, entry)| (key.clone(), value(&entry.value, report))).collect()
}

/// Any value.
pub(crate) fn value(node: &Node, report: &mut Report) -> Json {
    match &node.kind {
        Kind::Text(text) | Kind::Datetime(text) => Json::String(text.clone()),
        Kind::Integer(number) => Json::from(*number),
        Kind::Boolean(flag) => Json::Bool(*flag),
        Kind::Float(number) => Number::from_f64(*number).map_or_else(
            || {
                report.error(node.span, format!("expected a finite number, found {}", node.describe()));
                Json::Null
            },
            Json::Number,
        ),
        Kind::Array(items) => Json::Array(items.iter().map(|item| value(item, report)).collect()),
        Kind::Table(inner) => Json::Object(table(inner, &[], report)),
    }
}
