//! A point's table of settings → a checked point.
//!
//! Always true: all mistakes are reported, each at the key that has to change; what contradicts itself is
//! blamed on what a device wrote over its model, which is the likelier mistake.

mod place;

use std::sync::Arc;

use serde_json::Value as Json;

use self::place::{check_cells, read_place, read_type};
use crate::model::{DEFAULT_RATE, Model};
use crate::point::Point;
use crate::point::expression::Expression;
use crate::point::kind::{Kind, Type};
use crate::point::labels::Labels;
use crate::point::meaning::Meaning;
use crate::point::order::Order;
use crate::point::scale::Scale;
use crate::point::text::Writing;
use crate::point::time::Zone;
use crate::point::value::{self, Codec};
use crate::point::write::rule::read_write;
use crate::settings::{Path, Report, Settings, step, suggest};

/// Keys of a point.
pub(crate) const KEYS: &[&str] = &[
    "at",
    "type",
    "enum",
    "order",
    "scale",
    "offset",
    "expression",
    "encoding",
    "trim",
    "zone",
    "unit",
    "poll",
    "write",
];

impl Point {
    /// Opens a point's table; `None` when it is none.
    pub(crate) fn open<'a>(value: &'a Json, path: Path, report: &mut Report) -> Option<Settings<'a>> {
        Settings::open(value, path, KEYS, &[], report)
    }

    /// Reads a point; `None` when a mistake was reported.
    pub(crate) fn read(
        name: &str,
        settings: &Settings<'_>,
        model: &Model,
        report: &mut Report,
    ) -> Option<Self> {
        let place = read_place(settings, model, report);
        let this = read_type(settings, place.map(|(table, _)| table), report);
        let rate = read_rate(settings, model, report);
        settings.text("unit", report);
        let meaning = read_meaning(settings, this, report);
        let (table, address) = place?;
        let this = this?;
        let writing = read_writing(settings, this.kind, report);
        let zone = read_zone(settings, this.kind, report);
        let order = read_order(settings, model, this.kind, report);
        let cells = value::cells(this, &order.unwrap_or(Order::plain(this.kind.ordered())));
        check_cells(settings, model, (table, address), (this, cells), report);
        let codec = match (order, meaning, writing, zone) {
            (Some(order), Some(meaning), Some(writing), Some(zone)) => {
                Some(Codec { kind: this.kind, count: this.count, order, meaning, writing, zone })
            }
            _ => None,
        };
        let write = read_write(settings, (table, this.kind), codec.as_ref(), report);
        Some(Self { name: name.to_owned(), table, address, codec: codec?, rate: rate?, write: write? })
    }
}

/// Reads `order`; what is not there is the model's, where that says something about so many bytes.
fn read_order(settings: &Settings<'_>, model: &Model, kind: Kind, report: &mut Report) -> Option<Order> {
    let bytes = kind.ordered();
    if matches!(kind, Kind::Bool | Kind::Name) {
        if settings.get("order").is_some() {
            let what = if kind == Kind::Bool { "a bool" } else { "what a device says it is" };
            report.error(
                settings.blame(&["order", "type", "at"]),
                format!("{what} has no byte order"),
                "leave order out",
            );
        }
        return Some(Order::plain(bytes));
    }
    let hint = match bytes {
        _ if kind.is_text() => "AB or BA; .A or A. where a register holds one character",
        2 => "AB or BA",
        4 => "ABCD, CDAB, BADC or DCBA",
        _ => "eight letters: ABCDEFGH, GHEFCDAB, BADCFEHG, HGFEDCBA",
    };
    if settings.get("order").is_some() {
        let letters = settings.text("order", report)?;
        let order = match kind.is_text() {
            true => Order::parse_for_text(letters),
            false => Order::parse(letters).filter(|order| order.bytes() == usize::from(bytes)),
        };
        if order.is_none() {
            let message = format!("{letters:?} is not an order for {kind}");
            report.error(settings.blame(&["order", "type"]), message, hint);
        }
        return order;
    }
    match (bytes, model.order.as_str()) {
        (4, letters) => Order::parse(letters),
        (2, _) | (_, "ABCD") => Some(Order::plain(bytes)),
        (_, letters) => {
            let eight = match letters {
                "CDAB" => "GHEFCDAB",
                "BADC" => "BADCFEHG",
                _ => "HGFEDCBA",
            };
            let message = format!("the model's order {letters} says nothing about 64 bits");
            report.error(settings.blame(&["type"]), message, format!("perhaps order = \"{eight}\""));
            None
        }
    }
}

/// At most one of scale and offset, `enum`, and `expression`.
fn read_meaning(settings: &Settings<'_>, this: Option<Type>, report: &mut Report) -> Option<Meaning> {
    let scale = read_scale(settings, this, report);
    let labels = match this {
        Some(Type { count: Some(_), .. }) if settings.get("enum").is_some() => {
            report.error(settings.blame(&["enum", "type"]), "a list has no labels", "leave enum out");
            None
        }
        this => Labels::read(settings, this.map(|this| this.kind), report),
    };
    let computed = read_expression(settings, this, report);
    Some(match (scale?, labels?, computed?) {
        (Some(scale), ..) => Meaning::Scaled(scale),
        (None, Some(labels), _) => Meaning::Labelled(labels),
        (None, None, Some(computed)) => computed,
        (None, None, None) => Meaning::Plain,
    })
}

/// `Some(None)`: no scale, whole numbers stay whole.
fn read_scale(settings: &Settings<'_>, this: Option<Type>, report: &mut Report) -> Option<Option<Scale>> {
    let (has_scale, has_offset) = (settings.get("scale").is_some(), settings.get("offset").is_some());
    if !has_scale && !has_offset {
        return Some(None);
    }
    let factor = if has_scale { settings.number("scale", report) } else { Some(1.0) };
    let offset = if has_offset { settings.number("offset", report) } else { Some(0.0) };
    let unscaled = match this.map(|this| this.kind) {
        Some(Kind::Bool) => Some("a bool".to_owned()),
        Some(kind) if !kind.is_number() => Some(kind.to_string()),
        _ if settings.get("enum").is_some() => Some("a point with enum".to_owned()),
        _ => None,
    };
    if let Some(what) = unscaled {
        let blamed = settings.blame(&["scale", "offset", "enum", "type"]);
        report.error(blamed, format!("{what} has no scale and no offset"), "leave scale and offset out");
        return None;
    }
    if factor == Some(0.0) {
        settings.error(
            "scale",
            report,
            "scale = 0 makes every value the same",
            "leave scale out for the plain value",
        );
        return None;
    }
    Some(Some(Scale::new(factor?, offset?)))
}

/// `Some(None)`: no expression.
fn read_expression(
    settings: &Settings<'_>,
    this: Option<Type>,
    report: &mut Report,
) -> Option<Option<Meaning>> {
    let inverse = settings.get("write").and_then(|write| write.get("inverse"));
    let place = || step(&settings.path_of("write"), "inverse");
    if settings.get("expression").is_none() {
        if inverse.is_some() {
            report.error(place(), "an inverse without an expression", "leave inverse out, scale has its own");
            return None;
        }
        return Some(None);
    }
    let reads = settings.text("expression", report)?;
    let other = ["scale", "offset", "enum"].into_iter().find(|key| settings.get(key).is_some());
    let unfit = match (this.map(|this| this.kind), other) {
        (Some(Kind::Bool), _) => Some(("a bool has no expression".to_owned(), "enum gives names to 0 and 1")),
        (Some(kind), _) if !kind.is_number() => {
            Some((format!("{kind} has no expression"), "leave expression out"))
        }
        (_, Some(key)) => {
            let hint = "say it all in the expression: x * 0.1 + 5, or if(x == 1, 10, 20)";
            Some((format!("expression and {key} beside each other"), hint))
        }
        _ => None,
    };
    if let Some((message, hint)) = unfit {
        report.error(settings.blame(&["expression", "scale", "offset", "enum", "type"]), message, hint);
        return None;
    }
    let reads = parse(reads, settings.path_of("expression"), report);
    let writes = match inverse {
        None => None,
        Some(Json::String(text)) => Some(parse(text, place(), report)?),
        Some(_) => {
            report.error(place(), "inverse is not a text in quotes", "inverse = \"x / 2\"");
            return None;
        }
    };
    Some(Some(Meaning::Computed { reads: reads?, writes }))
}

fn parse(text: &str, place: Path, report: &mut Report) -> Option<Arc<Expression>> {
    match Expression::parse(text) {
        Ok(expression) => Some(Arc::new(expression)),
        Err(wrong) => {
            report.error(place, format!("column {}: {}", wrong.column, wrong.message), wrong.hint);
            None
        }
    }
}

/// `encoding` and `trim`, of texts only.
fn read_writing(settings: &Settings<'_>, kind: Kind, report: &mut Report) -> Option<Writing> {
    let beside = ["encoding", "trim"].into_iter().find(|key| settings.get(key).is_some());
    match beside {
        Some(key) if !kind.is_text() => {
            let message = format!("{kind} has no {key}");
            report.error(
                settings.blame(&[key, "type"]),
                message,
                format!("leave {key} out, it is for string[16]"),
            );
            None
        }
        _ => Writing::read(settings, report),
    }
}

/// `zone`, of times that are not in UTC by definition.
fn read_zone(settings: &Settings<'_>, kind: Kind, report: &mut Report) -> Option<Zone> {
    if settings.get("zone").is_none() {
        return Some(Zone::default());
    }
    let text = settings.text("zone", report)?;
    let unfit = match kind {
        Kind::Time(layout) if layout.is_unix() => Some(format!("{kind} counts in UTC and has no zone")),
        Kind::Time(_) => None,
        _ => Some(format!("{kind} has no zone")),
    };
    if let Some(message) = unfit {
        report.error(settings.blame(&["zone", "type"]), message, "leave zone out");
        return None;
    }
    let zone = Zone::parse(text);
    if zone.is_none() {
        let hint = "what the clock of the device is ahead of UTC: \"+08:00\", \"-03:30\" or \"Z\"";
        settings.error("zone", report, format!("{text:?} is not a zone"), hint);
    }
    zone
}

fn read_rate(settings: &Settings<'_>, model: &Model, report: &mut Report) -> Option<usize> {
    let names: Vec<&str> = model.rates.iter().map(|(name, _)| name.as_str()).collect();
    if names.is_empty() {
        // The rates themselves were wrong, which is told already.
        return None;
    }
    if settings.get("poll").is_some() {
        let name = settings.text("poll", report)?;
        let rate = names.iter().position(|known| *known == name);
        if rate.is_none() {
            settings.error("poll", report, format!("the model has no rate {name:?}"), suggest(name, &names));
        }
        return rate;
    }
    // The fastest is the first.
    Some(names.iter().position(|name| *name == DEFAULT_RATE).unwrap_or(0))
}
