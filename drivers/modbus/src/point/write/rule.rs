//! The key `write` of a point: whether, within which limits and by which function.
//!
//! Always true: a rule fits the point's table and type, and its limits are values that can be written.

use sagoo_driver_sdk::Value;
use serde_json::Value as Json;

use crate::point::address::Table;
use crate::point::kind::Kind;
use crate::point::labels::Labels;
use crate::point::value::{Codec, as_number};
use crate::settings::{Report, Settings, suggest};

/// Keys of `write`.
pub(crate) const WRITE_KEYS: &[&str] = &["min", "max", "verify", "function", "via", "inverse"];
/// `via` of bits.
const VIA: [(&str, Way); 2] = [("mask", Way::Mask), ("read-modify-write", Way::Merge)];
/// Cells that fit into one request (6.11, 6.12, 6.15 and 6.17 of the standard).
const MOST_COILS: u16 = 1_968;
const MOST_REGISTERS: u16 = 123;
const MOST_OF_FILE: u16 = 122;
const MOST_READ_BACK: u16 = 121;

/// What a written value must keep to, and how it is written.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct WriteRule {
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    /// Read back what was written.
    pub(crate) verify: bool,
    pub(super) way: Way,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Way {
    /// By the function that fits, and by the one for several when the device does not know it.
    #[default]
    Fitting,
    /// By this one and no other.
    Function(u8),
    /// Function 22.
    Mask,
    /// Read, changed and written.
    Merge,
}

impl WriteRule {
    pub(super) fn allows(&self, value: &Value) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(());
        }
        if let Value::Json(text) | Value::Text(text) = value
            && let Ok(list) = serde_json::from_str::<Vec<f64>>(text)
        {
            return list.into_iter().try_for_each(|number| self.allows(&Value::Float(number)));
        }
        let number = as_number(value)?;
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("{number} is below its min {min}")),
            (_, Some(max)) if number > max => Err(format!("{number} is above its max {max}")),
            _ => Ok(()),
        }
    }
}

/// Reads `write`; `Some(None)`: not writable. Without a codec the limits cannot be measured.
pub(crate) fn read_write(
    settings: &Settings<'_>,
    (table, kind): (Table, Kind),
    codec: Option<&Codec>,
    report: &mut Report,
) -> Option<Option<WriteRule>> {
    let mut rule = match settings.get("write") {
        None | Some(Json::Bool(false)) => return Some(None),
        Some(Json::Bool(true)) => WriteRule::default(),
        Some(value) => {
            let keys = Settings::open(value, settings.path_of("write"), WRITE_KEYS, &[], report)?;
            let min = keys.number("min", report);
            let max = keys.number("max", report);
            if let Some(codec) = codec {
                check_limits(&keys, codec, (min, max), report);
            }
            let verify = keys.flag("verify", report).unwrap_or(false);
            WriteRule { min, max, verify, way: read_way(&keys, (table, kind), codec, report)? }
        }
    };
    if kind.is_part() && rule.way == Way::Fitting {
        rule.way = Way::Mask;
    }
    if let Some((message, hint)) = unwritable((table, kind), rule.way, codec) {
        report.error(settings.blame(&["write", "at"]), message, hint);
        return None;
    }
    Some(Some(rule))
}

/// `function` and `via`.
fn read_way(
    keys: &Settings<'_>,
    (table, kind): (Table, Kind),
    codec: Option<&Codec>,
    report: &mut Report,
) -> Option<Way> {
    let mut way = Way::Fitting;
    if keys.get("via").is_some() {
        let word = keys.text("via", report)?;
        let words = VIA.map(|(word, _)| word);
        let Some((_, found)) = VIA.iter().find(|(known, _)| *known == word) else {
            keys.error("via", report, format!("{word:?} is no way to write bits"), suggest(word, &words));
            return None;
        };
        if !kind.is_part() {
            let message = format!("{kind} has no via, it is written as a whole");
            keys.error("via", report, message, "leave via out; it is for bits and halves of a register");
            return None;
        }
        way = *found;
    }
    if keys.get("function").is_some() {
        let function = keys.integer("function", 0..=255, report)? as u8;
        let cells = codec.map_or(1, Codec::cells);
        let known: &[u8] = match table {
            _ if kind.is_part() => &[22],
            Table::Coil if cells == 1 => &[5, 15],
            Table::Coil => &[15],
            Table::File(_) => &[21],
            _ if cells == 1 => &[6, 16, 23],
            _ => &[16, 23],
        };
        if !known.contains(&function) || way == Way::Merge {
            let known: Vec<String> = known.iter().map(u8::to_string).collect();
            let message = format!("function {function} does not write {kind} in {table}");
            keys.error("function", report, message, format!("{}; or leave function out", known.join(" or ")));
            return None;
        }
        way = if function == 22 { Way::Mask } else { Way::Function(function) };
    }
    Some(way)
}

/// Why a point cannot be written at all, and what to do about it.
fn unwritable(
    (table, kind): (Table, Kind),
    way: Way,
    codec: Option<&Codec>,
) -> Option<(String, &'static str)> {
    if !table.is_writable() {
        return Some((
            format!("{table} cannot be written"),
            "leave write out; coil, holding and file can be written",
        ));
    }
    let codec = codec?;
    if let Some((label, one, other)) = codec.meaning.labels().and_then(Labels::ambiguous) {
        let message = format!("the label {label:?} is {one} and {other}: which of them is to be written?");
        return Some((message, "leave write out, or give each number a label of its own"));
    }
    if kind.is_part() {
        let is_file = matches!(table, Table::File(_));
        if is_file {
            let message = format!("{kind} of a file cannot be written");
            return Some((message, "no function writes some bits of a file; write the whole register"));
        }
        let touched = codec.mask().map_or(0, |mask| mask.chunks(2).filter(|two| *two != [0, 0]).count());
        if way == Way::Mask && touched > 1 {
            let message =
                format!("{kind} lies in {touched} registers, and function 22 changes the bits of one");
            return Some((
                message,
                "write = { via = \"read-modify-write\" }, where nothing else writes them",
            ));
        }
    }
    if codec.meaning.lacks_inverse() {
        let message = "a point with an expression is written by its inverse, and there is none";
        return Some((
            message.to_owned(),
            "write = { inverse = \"x / 2\" } makes the raw value of x, the value",
        ));
    }
    let most = match (table, way) {
        (Table::Coil, _) => MOST_COILS,
        (Table::File(_), _) => MOST_OF_FILE,
        (_, Way::Function(23)) => MOST_READ_BACK,
        _ => MOST_REGISTERS,
    };
    let cells = codec.cells();
    (cells > most).then(|| {
        let message = format!("{} takes {cells} cells, one request writes {most}", codec.this());
        (message, "leave write out, or make two points of it")
    })
}

fn check_limits(rule: &Settings<'_>, codec: &Codec, limits: (Option<f64>, Option<f64>), report: &mut Report) {
    let unlimited = match codec.kind {
        _ if codec.meaning.labels().is_some() => Some("a point with enum".to_owned()),
        Kind::Bool => Some("a bool".to_owned()),
        kind if !kind.is_number() => Some(kind.to_string()),
        _ => None,
    };
    if let Some(what) = unlimited {
        if limits.0.is_some() || limits.1.is_some() {
            report.error(
                rule.blame(&["min", "max"]),
                format!("{what} has no min and no max"),
                "leave min and max out",
            );
        }
        return;
    }
    if let (Some(min), Some(max)) = limits
        && min > max
    {
        let hint = format!("min = {max}, max = {min}?");
        report.error(
            rule.path_of("min"),
            format!("min {min} is above max {max}, nothing could be written"),
            hint,
        );
        return;
    }
    let one = Codec { count: None, ..codec.clone() };
    for (key, limit) in [("min", limits.0), ("max", limits.1)] {
        let whole = codec.meaning.is_plain() && codec.kind.range().is_some();
        let Some(limit) = limit else { continue };
        // A limit between two whole numbers is a limit all the same.
        let probe = if whole { limit.trunc() } else { limit };
        if !one.meaning.lacks_inverse()
            && let Err(reason) = one.encode(&Value::Float(probe))
        {
            rule.error(key, report, format!("{key} can never be written: {reason}"), "");
        }
    }
}
