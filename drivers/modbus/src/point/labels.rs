//! `enum`: the words that the numbers of a point stand for.
//!
//! Always true: every number is one the point can hold and every label is a text with something in
//! it; a number without a label is no value, since nobody can tell what the machine meant by it;
//! only a label is written, never a bare number.

use std::collections::BTreeMap;
use std::sync::Arc;

use sagoo_driver_sdk::{Value, did_you_mean};

use crate::point::kind::Kind;
use crate::settings::{Report, Settings, step};

/// How `enum` is written.
const EXAMPLE: &str = "enum = { 0 = \"off\", 1 = \"on\" }";

/// The labels of a point; points of several devices share one table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Labels(Arc<BTreeMap<i128, String>>);

impl Labels {
    /// What a number stands for, or why that is not known.
    pub(crate) fn value(&self, raw: i128) -> Result<Value, String> {
        let label = self.0.get(&raw).ok_or_else(|| format!("the value {raw} has no label in enum"))?;
        Ok(Value::Text(label.clone()))
    }

    /// The number to write for a label, or why there is none.
    pub(crate) fn raw(&self, value: &Value) -> Result<i128, String> {
        let known = || self.0.values().map(String::as_str);
        let Value::Text(text) = value else {
            return Err(format!("{value} is not a label, write one of {}", quoted(known())));
        };
        let labelled = self.0.iter().find(|(_, label)| *label == text);
        labelled.map(|(raw, _)| *raw).ok_or_else(|| {
            let hint = did_you_mean(text, known());
            let hint = hint.unwrap_or_else(|| format!("write one of {}", quoted(known())));
            format!("{text:?} is not a label; {hint}")
        })
    }

    /// Every number that has a label, the least first.
    pub(crate) fn numbers(&self) -> impl Iterator<Item = i128> {
        self.0.keys().copied()
    }

    /// A label of two numbers, and those numbers.
    pub(crate) fn ambiguous(&self) -> Option<(&str, i128, i128)> {
        let mut met: BTreeMap<&str, i128> = BTreeMap::new();
        self.0
            .iter()
            .find_map(|(raw, label)| met.insert(label, *raw).map(|other| (label.as_str(), other, *raw)))
    }

    /// Reads `enum`; `Some(None)`: there is none.
    pub(crate) fn read(
        settings: &Settings<'_>,
        kind: Option<Kind>,
        report: &mut Report,
    ) -> Option<Option<Self>> {
        let Some(value) = settings.get("enum") else { return Some(None) };
        let Some(table) = value.as_object().filter(|table| !table.is_empty()) else {
            settings.error("enum", report, "enum is not a table of labels", EXAMPLE);
            return None;
        };
        // What is wrong with the type was told; the labels cannot be measured against it.
        let kind = kind?;
        let Some(range) = kind.range() else {
            let hint = "labels are for whole numbers and bits";
            report.error(settings.blame(&["enum", "type"]), format!("{kind} has no labels"), hint);
            return None;
        };
        let place = settings.path_of("enum");
        let mut labels = BTreeMap::new();
        let mut is_well = true;
        for (key, label) in table {
            match read_label(key, label.as_str(), kind, range, &labels) {
                Ok((raw, label)) => {
                    labels.insert(raw, label);
                }
                Err((message, hint)) => {
                    report.error(step(&place, key), message, hint);
                    is_well = false;
                }
            }
        }
        is_well.then(|| Some(Self(Arc::new(labels))))
    }
}

fn read_label(
    key: &str,
    label: Option<&str>,
    kind: Kind,
    (least, most): (i128, i128),
    known: &BTreeMap<i128, String>,
) -> Result<(i128, String), (String, String)> {
    let Some(raw) = number(key) else {
        return Err((format!("{key:?} is not a whole number"), EXAMPLE.to_owned()));
    };
    if !(least..=most).contains(&raw) {
        return Err((format!("{kind} never reads {raw}"), format!("{least} to {most}")));
    }
    if known.contains_key(&raw) {
        return Err((format!("{raw} has two labels"), "one of them has to go".to_owned()));
    }
    match label.filter(|label| !label.trim().is_empty()) {
        Some(label) => Ok((raw, label.to_owned())),
        None => Err((format!("the label of {raw} is not a text"), EXAMPLE.to_owned())),
    }
}

/// `-3`, `12` or `0x1F`.
fn number(key: &str) -> Option<i128> {
    match key.strip_prefix("0x").or_else(|| key.strip_prefix("0X")) {
        Some(hex) if hex.bytes().all(|byte| byte.is_ascii_hexdigit()) => i128::from_str_radix(hex, 16).ok(),
        None if !key.starts_with('+') => key.parse().ok(),
        _ => None,
    }
}

fn quoted<'l>(labels: impl Iterator<Item = &'l str>) -> String {
    labels.map(|label| format!("{label:?}")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::settings::path;

    fn read(labels: &Json, kind: Kind) -> Result<Labels, Vec<String>> {
        let mut report = Report::default();
        let table = json!({ "enum": labels });
        let settings = Settings::open(&table, path(["p"]), &["enum", "type"], &[], &mut report).unwrap();
        let read = Labels::read(&settings, Some(kind), &mut report);
        let told = |p: &sagoo_driver_sdk::Problem| format!("{}: {}; {}", p.path.join("."), p.message, p.hint);
        let problems: Vec<String> = report.problems.iter().map(told).collect();
        assert_eq!(read.is_none(), !problems.is_empty(), "a refusal has its reason");
        read.flatten().ok_or(problems)
    }

    const PHASE: Kind = Kind::Bits { first: 4, last: 6, registers: 1 };

    #[test]
    fn a_number_reads_as_its_label_and_a_label_is_written_as_its_number() {
        let labels = read(&json!({ "0": "L123", "1": "L132", "0x7": "none" }), PHASE).unwrap();
        assert_eq!(labels.value(1), Ok(Value::Text("L132".into())));
        assert_eq!(labels.value(7), Ok(Value::Text("none".into())));
        assert_eq!(labels.value(2), Err("the value 2 has no label in enum".to_owned()));
        assert_eq!(labels.raw(&Value::Text("L123".into())), Ok(0));
        let refused = |value| labels.raw(&value).unwrap_err();
        assert_eq!(refused(Value::Text("L213".into())), "\"L213\" is not a label; did you mean \"L123\"?");
        let all = "write one of \"L123\", \"L132\", \"none\"";
        assert_eq!(refused(Value::Text("off".into())), format!("\"off\" is not a label; {all}"));
        assert_eq!(refused(Value::Int(0)), format!("0 is not a label, {all}"));
        assert_eq!(refused(Value::Bool(true)), format!("true is not a label, {all}"));
    }

    #[test]
    fn a_label_is_measured_against_its_type() {
        for (labels, kind, told) in [
            (json!({ "8": "x" }), PHASE, "p.enum.8: bits[4..6] never reads 8; 0 to 7"),
            (json!({ "2": "x" }), Kind::Bool, "p.enum.2: bool never reads 2; 0 to 1"),
            (json!({ "-1": "x" }), Kind::U16, "p.enum.-1: u16 never reads -1; 0 to 65535"),
            (
                json!({ "0": "x" }),
                Kind::F32,
                "p.enum: f32 has no labels; labels are for whole numbers and bits",
            ),
            (json!({ "on": 1 }), PHASE, "p.enum.on: \"on\" is not a whole number; "),
            (json!({ "0": 1 }), PHASE, "p.enum.0: the label of 0 is not a text; "),
            (json!({ "0": " " }), PHASE, "p.enum.0: the label of 0 is not a text; "),
            (json!({ "1": "a", "0x1": "b" }), PHASE, "p.enum.1: 1 has two labels; "),
            (json!({}), PHASE, "p.enum: enum is not a table of labels; "),
            (json!(["a", "b"]), PHASE, "p.enum: enum is not a table of labels; "),
        ] {
            let problems = read(&labels, kind).unwrap_err();
            assert_eq!(problems.len(), 1, "{problems:?}");
            assert!(problems[0].starts_with(told), "{problems:?}");
        }
        assert!(read(&json!({ "-1": "fault" }), Kind::I16).is_ok());
        assert!(read(&json!({ "18446744073709551615": "all" }), Kind::U64).is_ok());
    }

    #[test]
    fn two_numbers_may_share_a_label_but_then_it_cannot_be_written() {
        let shared = read(&json!({ "1": "on", "2": "fault", "3": "fault" }), PHASE).unwrap();
        assert_eq!(shared.ambiguous(), Some(("fault", 2, 3)));
        assert_eq!(read(&json!({ "1": "on", "0": "off" }), PHASE).unwrap().ambiguous(), None);
    }
}
