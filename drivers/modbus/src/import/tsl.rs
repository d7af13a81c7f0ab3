//! SagooIOT's thing model → rows. Pure.
//!
//! ```text
//! {"properties": [{"key": "va", "accessMode": 1, "valueType": {"type": "float", "unit": "V", …},
//!                  "extConfig": {"protocol": "modbus", "config": {"registerAddr": …, "dataType": …, …}}}]}
//! ```
//! Always true: the keys of `config` are named as freely as columns; every property that does not
//! become a row is told with its line.

use serde_json::{Map, Value as Json};

use super::column::{Column, column};
use super::csv::Parsed;
use super::row::Row;

/// In `accessMode`.
const READ_AND_WRITE: i64 = 0;

/// Reads a whole file; an error when it is no thing model.
pub(super) fn parse(file: &str, text: &str) -> Result<Parsed, String> {
    let model: Json = serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| format!("{file}:{}:{}: not JSON: {error}", error.line(), error.column()))?;
    // Some exports wrap it: {"data": {…}}, {"tsl": "{…}"}.
    let inner = ["data", "tsl", "metadata"].iter().find_map(|key| model.get(key)).cloned().map(unfold);
    let model = if model.get("properties").is_some() { model } else { inner.unwrap_or(model) };
    let Some(properties) = model.get("properties").and_then(Json::as_array) else {
        return Err(format!("{file}:1: no thing model of SagooIOT: it has no list \"properties\""));
    };
    let mut parsed = Parsed::default();
    for property in properties {
        let key = property.get("key").and_then(Json::as_str).unwrap_or_default();
        let place = format!("{file}:{}", line_of(text, key));
        parsed.rows.push(row(property, key, place, &mut parsed.notes));
    }
    Ok(parsed)
}

fn row(property: &Json, key: &str, place: String, notes: &mut Vec<String>) -> Row {
    let mut row = Row { place, ..Row::default() };
    let mut set = |column: Column, value: &Json| {
        let text = match value {
            Json::String(text) => text.trim().to_owned(),
            Json::Number(_) | Json::Bool(_) => value.to_string(),
            _ => return,
        };
        if !text.is_empty() {
            row.cells.entry(column).or_insert(text);
        }
    };
    set(Column::Name, &Json::from(key));
    let extra = property.get("extConfig").cloned().map(unfold).unwrap_or_default();
    let protocol = extra.get("protocol").and_then(Json::as_str).unwrap_or("modbus");
    let config = extra.get("config").cloned().map(unfold).unwrap_or(extra.clone());
    let Some(config) = config.as_object().filter(|config| !config.is_empty()) else {
        row.wrong = Some("no extConfig: where is this property in the device?".to_owned());
        return row;
    };
    if !protocol.to_lowercase().contains("modbus") {
        row.wrong = Some(format!("its extConfig is for {protocol:?}, not for Modbus"));
        return row;
    }
    let mut unused = Vec::new();
    for (name, value) in config {
        match column(name) {
            Some((Column::Poll, unit)) => {
                set(Column::Poll, &Json::from(format!("{}{}", plain(value), unit.unwrap_or_default())));
            }
            Some((column, _)) => set(column, value),
            None => unused.push(name.as_str()),
        }
    }
    let kind = property.get("valueType").cloned().unwrap_or_default();
    set(Column::Unit, kind.get("unit").unwrap_or(&Json::Null));
    set(Column::Note, property.get("name").filter(|name| *name != key).unwrap_or(&Json::Null));
    if property.get("accessMode").and_then(Json::as_i64) == Some(READ_AND_WRITE) {
        set(Column::Access, &Json::from("rw"));
        for (column, name) in [(Column::Min, "min"), (Column::Max, "max")] {
            set(column, kind.get(name).unwrap_or(&Json::Null));
        }
    }
    row.labels = labels(&kind);
    if !unused.is_empty() {
        notes.push(format!(
            "{}: {key}: keys of extConfig that are not used: {}",
            row.place,
            unused.join(", ")
        ));
    }
    row
}

/// A property of words: their numbers, where they are numbers.
fn labels(kind: &Json) -> Map<String, Json> {
    let elements = kind.get("elements").and_then(Json::as_array).into_iter().flatten();
    let label = |element: &Json| {
        let number = plain(element.get("value")?).parse::<i64>().ok()?;
        let text = element.get("text")?.as_str().filter(|text| !text.trim().is_empty())?;
        Some((number.to_string(), Json::from(text)))
    };
    elements.filter_map(label).collect()
}

fn plain(value: &Json) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// JSON inside of a text is JSON.
fn unfold(value: Json) -> Json {
    match value.as_str().map(serde_json::from_str) {
        Some(Ok(inner)) => inner,
        _ => value,
    }
}

/// Where a property of this key stands.
fn line_of(text: &str, key: &str) -> usize {
    let quoted = format!("\"{key}\"");
    let at = text.match_indices(&quoted).map(|(at, _)| at).find(|at| {
        let before = text[..*at].trim_end();
        before.strip_suffix(':').is_some_and(|before| before.trim_end().ends_with("\"key\""))
    });
    at.map_or(1, |at| text[..at].matches('\n').count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::csv::cells;

    #[test]
    fn a_property_is_a_row() {
        let text = r#"{"properties": [
            {"key": "va", "name": "Voltage A", "accessMode": 0, "valueType": {"type": "float", "unit": "V", "max": 500},
             "extConfig": {"protocol": "modbusTcp", "config": {"registerAddr": 40001, "dataType": "uint16", "factor": 0.1, "colour": 1}}},
            {"key": "mode", "accessMode": 1, "valueType": {"type": "enum", "elements": [{"value": "0", "text": "off"}]},
             "extConfig": "{\"protocol\": \"modbus\", \"config\": {\"registerAddr\": \"30002\", \"dataType\": \"uint16\", \"interval_ms\": 500}}"},
            {"key": "x", "valueType": {"type": "int"}},
            {"key": "y", "extConfig": {"protocol": "opcua", "config": {"node": 1}}}
        ]}"#;
        let parsed = parse("f", text).unwrap();
        assert_eq!(parsed.notes, ["f:2: va: keys of extConfig that are not used: colour"]);
        assert_eq!(
            parsed.rows[0].cells,
            cells([
                (Column::Name, "va"),
                (Column::At, "40001"),
                (Column::Type, "uint16"),
                (Column::Scale, "0.1"),
                (Column::Unit, "V"),
                (Column::Note, "Voltage A"),
                (Column::Access, "rw"),
                (Column::Max, "500"),
            ])
        );
        assert_eq!(parsed.rows[1].labels, serde_json::json!({ "0": "off" }).as_object().unwrap().clone());
        assert_eq!(parsed.rows[1].cells[&Column::Poll], "500ms");
        let wrong: Vec<_> =
            parsed.rows[2..].iter().map(|row| (row.place.as_str(), row.wrong.clone().unwrap())).collect();
        assert_eq!(wrong[0], ("f:6", "no extConfig: where is this property in the device?".to_owned()));
        assert_eq!(wrong[1], ("f:7", "its extConfig is for \"opcua\", not for Modbus".to_owned()));
        assert!(parse("f", "{}").unwrap_err().contains("no list \"properties\""));
        assert!(parse("f", "{").unwrap_err().starts_with("f:1:1: not JSON"));
    }
}
