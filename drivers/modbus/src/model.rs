//! The table `model`: what holds for all points of a device type, and the points themselves.
//!
//! Always true: a model is checked once, whether a device uses it or not; what could be understood
//! in spite of a mistake is still used to check the rest.

use std::sync::Arc;
use std::time::Duration;

use sagoo_driver_sdk::ModelTable;
use serde_json::Value as Json;

use crate::device::Alike;
use crate::plan::{Hole, Limits, MOST_REGISTERS};
use crate::point::Point;
use crate::point::address::{self, Notation};
use crate::settings::{Report, Settings, path, step};

/// Keys of a model; `version` is the gateway's.
pub(crate) const KEYS: &[&str] =
    &["version", "addresses", "order", "max_gap", "max_read", "holes", "poll", "points"];
/// The rate of a point that names none, where there is one of this name; the fastest one elsewhere.
/// Also the only one when `poll` is not there.
pub(crate) const DEFAULT_RATE: &str = "default";
const DEFAULT_PERIOD: Duration = Duration::from_secs(1);
const SHORTEST_PERIOD: Duration = Duration::from_millis(10);
const LONGEST_PERIOD: Duration = Duration::from_secs(7 * 86_400);

/// What a model says for all of its points.
#[derive(Debug, Clone)]
pub(crate) struct Model {
    pub(crate) notation: Notation,
    /// Default order of 32-bit points; also which order 64-bit points have to name.
    pub(crate) order: String,
    pub(crate) limits: Limits,
    /// Rates by name, the fastest first; none when they could not be read.
    pub(crate) rates: Vec<(String, Duration)>,
}

/// A model as far as it could be read.
#[derive(Debug)]
pub(crate) struct ReadModel<'a> {
    pub(crate) name: &'a str,
    pub(crate) model: Model,
    /// The tables of its points, for a device to lay its overrides over.
    pub(crate) entries: Vec<(&'a str, Settings<'a>)>,
    /// The points without a mistake.
    pub(crate) points: Arc<[Point]>,
    /// Whether there was no mistake at all.
    pub(crate) well: bool,
    /// What its devices share, as far as they were read.
    pub(crate) alike: Vec<Alike<'a>>,
}

/// Reads a model and all of its points.
pub(crate) fn read_model<'a>(table: &'a ModelTable, report: &mut Report) -> Option<ReadModel<'a>> {
    let before = report.errors();
    let place = path(["model", &table.name]);
    let settings = Settings::open(&table.settings, place.clone(), KEYS, &[], report)?;
    let notation = read_notation(&settings, report);
    let model = Model {
        notation,
        order: read_default_order(&settings, report),
        limits: read_limits(&settings, notation, report),
        rates: read_rates(&settings, report),
    };
    let mut entries = Vec::new();
    match settings.get("points").map(|points| (points, points.as_object())) {
        Some((_, Some(object))) if !object.is_empty() => {
            for (name, value) in object {
                let place = step(&settings.path_of("points"), name);
                entries.extend(Point::open(value, place, report).map(|entry| (name.as_str(), entry)));
            }
        }
        Some((_, None)) => settings.error("points", report, "points is not a table", "[model.….points]"),
        None if settings.misspelt("points") => {}
        _ => {
            report.error(place, "a model without points", "name = { at = \"holding:0x10\", type = \"u16\" }")
        }
    }
    let read = |(name, entry): &(&str, Settings<'_>)| Point::read(name, entry, &model, report);
    let points = entries.iter().filter_map(read).collect();
    let well = report.errors() == before;
    Some(ReadModel { name: &table.name, model, entries, points, well, alike: Vec::new() })
}

fn read_notation(settings: &Settings<'_>, report: &mut Report) -> Notation {
    match settings.text("addresses", report) {
        None => Notation::Unstated,
        Some("zero-based") => Notation::ZeroBased,
        Some("modicon") => Notation::Modicon,
        Some(other) => {
            let message = format!("{other:?} is not a way to count addresses");
            let hint = "\"zero-based\" (holding:0 is the first) or \"modicon\" (40001 is the first)";
            settings.error("addresses", report, message, hint);
            Notation::Unstated
        }
    }
}

fn read_default_order(settings: &Settings<'_>, report: &mut Report) -> String {
    match settings.text("order", report) {
        None => "ABCD".to_owned(),
        Some(letters @ ("ABCD" | "CDAB" | "BADC" | "DCBA")) => letters.to_owned(),
        Some(letters) => {
            let message = format!("{letters:?} is not an order of 32-bit points");
            let hint = "ABCD, CDAB, BADC or DCBA; points of 16 and 64 bits name their own";
            settings.error("order", report, message, hint);
            "ABCD".to_owned()
        }
    }
}

fn read_limits(settings: &Settings<'_>, notation: Notation, report: &mut Report) -> Limits {
    let max_read = settings.integer("max_read", 1..=i64::from(MOST_REGISTERS), report);
    let max_gap = match settings.get("max_gap") {
        None => None,
        Some(Json::String(word)) if word == "auto" => None,
        Some(Json::Number(_)) => {
            let gap = settings.integer("max_gap", 0..=i64::from(MOST_REGISTERS), report);
            gap.map(|gap| gap as u16)
        }
        Some(_) => {
            settings.error(
                "max_gap",
                report,
                "max_gap is not a number of registers",
                "max_gap = 8, or \"auto\"",
            );
            None
        }
    };
    let mut holes = Vec::new();
    match settings.get("holes").map(|value| value.as_array().ok_or(value)) {
        None => {}
        Some(Err(_)) => settings.error("holes", report, "holes is not a list", "holes = [[0x40, 0x4F]]"),
        Some(Ok(list)) => {
            for (place, hole) in list.iter().enumerate() {
                match read_hole(hole, notation) {
                    Ok(hole) => holes.push(hole),
                    Err((message, hint)) => {
                        report.error(step(&settings.path_of("holes"), &place.to_string()), message, hint);
                    }
                }
            }
        }
    }
    Limits::new(max_read.map_or(MOST_REGISTERS, |read| read as u16), max_gap, holes)
}

/// `[first, last]`, written like `at`; bare numbers of a zero-based model are in all four tables.
fn read_hole(hole: &Json, notation: Notation) -> Result<Hole, (String, String)> {
    let pair = hole.as_array().map(Vec::as_slice);
    let Some([first, last]) = pair else {
        let hint = "[first, last], like [0x40, 0x4F] or [\"input:0x40\", \"input:0x4F\"]";
        return Err(("a hole is a pair".to_owned(), hint.to_owned()));
    };
    let end = |at: &Json| address::parse(at, notation).map_err(|wrong| (wrong.message, wrong.hint));
    let (first, last) = (end(first)?, end(last)?);
    if first.table != last.table {
        return Err(("a hole begins and ends in the same table".to_owned(), "write two holes".to_owned()));
    }
    if first.number > last.number {
        return Err(("a hole that ends before it begins".to_owned(), "[first, last]".to_owned()));
    }
    Ok(Hole { table: first.table, first: first.number, last: last.number })
}

fn read_rates(settings: &Settings<'_>, report: &mut Report) -> Vec<(String, Duration)> {
    let Some(value) = settings.get("poll") else {
        if settings.misspelt("poll") {
            return Vec::new();
        }
        return vec![(DEFAULT_RATE.to_owned(), DEFAULT_PERIOD)];
    };
    let Some(object) = value.as_object().filter(|object| !object.is_empty()) else {
        settings.error(
            "poll",
            report,
            "poll is not a table of rates",
            "poll = { fast = \"1s\", slow = \"5m\" }",
        );
        return Vec::new();
    };
    let mut rates = Vec::new();
    for (name, value) in object {
        let one = Settings::chosen(name, value, settings.path_of("poll"));
        match one.duration(name, SHORTEST_PERIOD..=LONGEST_PERIOD, report) {
            Some(period) => rates.push((name.clone(), period)),
            // Its points are not to be told that there is no such rate.
            None => rates.push((name.clone(), DEFAULT_PERIOD)),
        }
    }
    rates.sort_by(|one, other| (one.1, &one.0).cmp(&(other.1, &other.0)));
    rates
}
