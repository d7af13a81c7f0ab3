//! Which names the platform can keep apart (sagooiot.md §4.5), and the shape of our own.
//!
//! Always true: what passes here is a table, a column and a topic word of the platform that no other
//! name of this configuration shares. The platform lower-cases names and turns `-` into `_`.

use std::collections::HashMap;

use crate::config::place::Span;
use crate::config::problem::Report;
use crate::config::raw::read;
use crate::config::raw::tree::Node;

/// Longest name of anything.
const MAX_NAME: usize = 64;
/// The platform's own column in every device's table.
const TIME_COLUMN: &str = "ts";
/// What the platform appends for the column of a property's time.
const TIME_SUFFIX: &str = "_time";

/// A name of ours (connection, model, device) or a key of the platform: letters, digits, `_`, `-`.
fn is_name(name: &str) -> bool {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b == b'_' || b == b'-';
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(fits)
}

/// Reports a name of a connection, model or device that is none.
pub(super) fn own(kind: &str, name: &str, span: Span, report: &mut Report) -> bool {
    if is_name(name) {
        return true;
    }
    report
        .error(span, format!("{name:?} cannot name a {kind}"))
        .hint(format!("1 to {MAX_NAME} letters, digits, _ and -"));
    false
}

/// A product or device key.
pub(super) fn platform_key(node: &Node, report: &mut Report) -> Option<String> {
    let key = read::text(node, report)?;
    if is_name(&key) {
        return Some(key);
    }
    report.error(node.span, format!("{key:?} cannot be a key on the platform")).hint(format!(
        "1 to {MAX_NAME} letters, digits, _ and -: it becomes part of a topic and of a table's name"
    ));
    None
}

/// A driver's id: the program is called `driver-<id>`.
pub(super) fn driver(node: &Node, report: &mut Report) -> Option<String> {
    let id = read::text(node, report)?;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    if id.len() <= MAX_NAME && id.bytes().all(fits) {
        return Some(id);
    }
    report
        .error(node.span, format!("{id:?} cannot be a driver"))
        .hint("its id in small letters, like \"modbus\", without path or \"driver-\"");
    None
}

/// A user of the system, by name.
pub(super) fn system_user(node: &Node, report: &mut Report) -> Option<String> {
    /// Longest name Linux keeps.
    const MAX_USER: usize = 32;
    let name = read::text(node, report)?;
    let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let starts = name.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
    if starts && name.len() <= MAX_USER && name.bytes().all(fits) {
        return Some(name);
    }
    report
        .error(node.span, format!("{name:?} cannot be a user of the system"))
        .hint("its name in small letters, like \"sagoo-driver\"");
    None
}

/// Reports device keys that would share one table on the platform.
pub(super) fn device_keys(keys: &[(&str, Span)], report: &mut Report) {
    let mut tables: HashMap<String, (&str, Span)> = HashMap::new();
    for (key, span) in keys {
        let table = key.to_ascii_lowercase().replace('-', "_");
        match tables.get(&table) {
            Some((first, at)) if first == key => {
                report
                    .error(*span, format!("the device key {key:?} is already used"))
                    .first_at(*at)
                    .hint("every device has a key of its own on the platform");
            }
            Some((first, at)) => {
                report
                    .error(*span, format!("the platform cannot tell device key {key:?} from {first:?}"))
                    .first_at(*at)
                    .hint("it ignores case and takes - for _");
            }
            None => {
                tables.insert(table, (key, *span));
            }
        }
    }
}

/// Reports property keys of one device that are none, or would share a column. Each is given with
/// the name of its point.
pub(super) fn property_keys(keys: &[(&str, &str, Span)], report: &mut Report) {
    let mut columns: HashMap<String, (&str, Span)> = HashMap::new();
    for (point, key, span) in keys {
        if let Err(hint) = property_key(key) {
            let hint = match point == key {
                true => format!("{hint}; a point keeps its name with key = \"…\""),
                false => hint.to_owned(),
            };
            report.error(*span, format!("{key:?} cannot be a property key")).hint(hint);
            continue;
        }
        if let Some((first, at)) = columns.get(&key.to_ascii_lowercase()) {
            report
                .error(*span, format!("the platform cannot tell property {key:?} from {first:?}"))
                .first_at(*at)
                .hint("it ignores case: rename one (a point with key = \"…\")");
            continue;
        }
        columns.insert(key.to_ascii_lowercase(), (key, *span));
    }
    for (_, key, span) in keys {
        let value = key.to_ascii_lowercase();
        let value = value.strip_suffix(TIME_SUFFIX).and_then(|value| columns.get(value));
        if let Some((first, at)) = value {
            report
                .error(*span, format!("the platform keeps the time of {first:?} under the name {key:?}"))
                .first_at(*at)
                .hint("rename one (a point with key = \"…\")");
        }
    }
}

fn property_key(key: &str) -> Result<(), &'static str> {
    let starts = key.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let fits = key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    match key {
        _ if key.eq_ignore_ascii_case(TIME_COLUMN) => Err("the platform has a column of that name already"),
        _ if key.len() > MAX_NAME => Err("at most 64 characters"),
        _ if starts && fits => Ok(()),
        _ => Err("letters, digits and _, not a digit first"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HERE: Span = Span { file: 0, start: 0, end: 0 };

    fn collides(keys: &[&str]) -> bool {
        let keys: Vec<_> = keys.iter().map(|key| (*key, *key, HERE)).collect();
        let mut report = Report::default();
        property_keys(&keys, &mut report);
        !report.is_clean()
    }

    fn columns(keys: &[&str]) -> Vec<String> {
        keys.iter()
            .flat_map(|key| [format!("p_{key}"), format!("p_{key}_time")])
            .map(|c| c.to_lowercase())
            .collect()
    }

    proptest! {
        /// The platform's own naming (sagooiot.md §4.5) is the judge.
        #[test]
        fn property_keys_pass_exactly_when_their_columns_differ(
            keys in proptest::collection::vec("[aAb](_time|_TIME)?(_time)?", 1..4),
        ) {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let mut all = columns(&keys);
            let count = all.len();
            all.sort();
            all.dedup();
            prop_assert_eq!(collides(&keys), all.len() < count);
        }

        #[test]
        fn device_keys_pass_exactly_when_their_tables_differ(
            keys in proptest::collection::vec("[aA_-]{1,3}", 1..4),
        ) {
            let given: Vec<_> = keys.iter().map(|key| (key.as_str(), HERE)).collect();
            let mut report = Report::default();
            device_keys(&given, &mut report);
            let mut tables: Vec<_> = keys.iter().map(|key| key.to_lowercase().replace('-', "_")).collect();
            tables.sort();
            tables.dedup();
            prop_assert_eq!(report.is_clean(), tables.len() == keys.len());
        }
    }

    #[test]
    fn a_property_key_is_a_column_name() {
        for wrong in ["", "1a", "a-b", "a b", "电压", "ts", "TS", "a.b"] {
            assert!(property_key(wrong).is_err(), "{wrong:?}");
        }
        for right in ["a", "_", "A1", "tsx", "voltage_l1"] {
            assert!(property_key(right).is_ok(), "{right:?}");
        }
    }
}
