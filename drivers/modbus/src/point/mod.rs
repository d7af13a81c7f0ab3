//! One point: where it is, how its bytes read, whether it may be written.
//!
//! Always true: a [`Point`] can be read by its table's function in one request, its codec fits its
//! cells, and its limits for writing fit its codec. Mistakes are all reported, each at the key that
//! has to change.

pub(crate) mod address;
pub(crate) mod kind;
pub(crate) mod labels;
pub(crate) mod scale;
pub(crate) mod value;

use sagoo_driver_sdk::Value;
use serde_json::Value as Json;

use self::address::{Notation, Table};
use self::kind::{Kind, parse_bits};
use self::labels::Labels;
use self::scale::Scale;
use self::value::{Codec, Order, as_number};
use crate::model::{DEFAULT_RATE, Model};
use crate::settings::{NotYet, Report, Settings, suggest};

/// Keys of a point.
pub(crate) const KEYS: &[&str] = &["at", "type", "enum", "order", "scale", "offset", "unit", "poll", "write"];
/// Keys of `write`.
pub(crate) const WRITE_KEYS: &[&str] = &["min", "max", "verify"];
/// Keys that later versions will have.
const NOT_YET: &[NotYet] = &[NotYet {
    key: "expression",
    what: "expressions",
    hint: "scale and offset are: value = raw × scale + offset",
}];
/// Types that later versions will have, by how their words begin.
const TYPES_NOT_YET: [&str; 9] = ["string", "text", "bcd", "f16", "u8", "i8", "date", "time", "array"];

/// A point, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Point {
    pub(crate) name: String,
    pub(crate) table: Table,
    pub(crate) address: u16,
    pub(crate) codec: Codec,
    /// Place of its rate in [`Model::rates`].
    pub(crate) rate: usize,
    /// `None`: it must not be written.
    pub(crate) write: Option<WriteRule>,
}

/// What a written value must keep to.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct WriteRule {
    pub(crate) min: Option<f64>,
    pub(crate) max: Option<f64>,
    /// Read back what was written.
    pub(crate) verify: bool,
}

impl WriteRule {
    fn allows(&self, value: &Value) -> Result<(), String> {
        if self.min.is_none() && self.max.is_none() {
            return Ok(());
        }
        let number = as_number(value)?;
        match (self.min, self.max) {
            (Some(min), _) if number < min => Err(format!("{number} is below its min {min}")),
            (_, Some(max)) if number > max => Err(format!("{number} is above its max {max}")),
            _ => Ok(()),
        }
    }
}

impl Point {
    /// The bytes of `value` when it may be written here and fits.
    pub(crate) fn bytes_to_write(&self, value: &Value) -> Result<(Vec<u8>, WriteRule), String> {
        let rule = self.write.ok_or("may not be written, its model has no write")?;
        rule.allows(value)?;
        Ok((self.codec.encode(value)?, rule))
    }

    /// Opens a point's table; `None` when it is none.
    pub(crate) fn open<'a>(value: &'a Json, path: Vec<String>, report: &mut Report) -> Option<Settings<'a>> {
        Settings::open(value, path, KEYS, NOT_YET, report)
    }

    /// Reads a point; `None` when a mistake was reported.
    pub(crate) fn read(
        name: &str,
        settings: &Settings<'_>,
        model: &Model,
        report: &mut Report,
    ) -> Option<Self> {
        let place = read_place(settings, model, report);
        let kind = read_kind(settings, place.map(|(table, _)| table), report);
        let rate = read_rate(settings, model, report);
        settings.text("unit", report);
        let scale = read_scale(settings, kind, report);
        let labels = Labels::read(settings, kind, report);
        let (table, address) = place?;
        let kind = kind?;
        check_cells(settings, model, (table, address), kind, report);
        let order = read_order(settings, model, kind, report);
        let codec = match (order, scale, labels) {
            (Some(order), Some(scale), Some(labels)) => Some(Codec { kind, order, scale, labels }),
            _ => None,
        };
        let write = read_write(settings, (table, kind), codec.as_ref(), report);
        Some(Self { name: name.to_owned(), table, address, codec: codec?, rate: rate?, write: write? })
    }
}

fn read_place(settings: &Settings<'_>, model: &Model, report: &mut Report) -> Option<(Table, u16)> {
    let Some(at) = settings.get("at") else {
        if settings.misspelt("at") {
            return None;
        }
        let hint = match model.notation {
            Notation::Modicon => "like at = \"40001\"",
            Notation::ZeroBased | Notation::Unstated => "like at = \"holding:0x10\"",
        };
        report.error(settings.path().to_vec(), "at is missing: where is this point?", hint);
        return None;
    };
    match address::parse(at, model.notation) {
        Ok(address::Address { table: Some(table), number }) => Some((table, number)),
        Ok(address::Address { table: None, number }) => {
            let hint = format!("at = \"holding:{number}\", or input, coil, discrete");
            settings.error("at", report, format!("{number} names no table"), hint);
            None
        }
        Err(wrong) => {
            settings.error("at", report, wrong.message, wrong.hint);
            None
        }
    }
}

fn read_kind(settings: &Settings<'_>, table: Option<Table>, report: &mut Report) -> Option<Kind> {
    let words = Kind::WORDS.map(|(word, _)| word);
    if settings.get("type").is_none() {
        if table.is_some_and(Table::is_bits) {
            return Some(Kind::Bool);
        }
        if table.is_some() && !settings.misspelt("type") {
            let hint = format!("one of {}, bits[4..6]", words[1..].join(", "));
            report.error(settings.path().to_vec(), "type is missing: what do the registers hold?", hint);
        }
        return None;
    }
    let word = settings.text("type", report)?;
    let kind = parse_kind(settings, word, report)?;
    match table {
        Some(table) if table.is_bits() && kind != Kind::Bool => {
            let message = format!("a {table} is one bit, not {word:?}");
            report.error(settings.blame(&["type", "at"]), message, "type = \"bool\", or another table in at");
            None
        }
        Some(table) if !table.is_bits() && kind == Kind::Bool => {
            let message = format!("a register of {table} is not a bool");
            let hint = "type = \"bits[0]\" is its lowest bit, \"u16\" the whole register; \
                        bools are in coil and discrete";
            report.error(settings.blame(&["type", "at"]), message, hint);
            None
        }
        _ => Some(kind),
    }
}

fn parse_kind(settings: &Settings<'_>, word: &str, report: &mut Report) -> Option<Kind> {
    if let Some((_, kind)) = Kind::WORDS.into_iter().find(|(known, _)| *known == word) {
        return Some(kind);
    }
    let words = Kind::WORDS.map(|(word, _)| word);
    let (message, hint) = match parse_bits(word) {
        Some(Ok(kind)) => return Some(kind),
        Some(Err(wrong)) => wrong,
        None if TYPES_NOT_YET.iter().any(|begin| word.to_lowercase().starts_with(begin)) => (
            format!("type {word:?} is not supported by this driver version yet"),
            format!("supported: {}, bits[4..6]", words.join(", ")),
        ),
        None => (format!("unknown type {word:?}"), suggest(word, &words)),
    };
    settings.error("type", report, message, hint);
    None
}

/// Whether its cells exist, fit into one read and are not in a hole.
fn check_cells(
    settings: &Settings<'_>,
    model: &Model,
    (table, address): (Table, u16),
    kind: Kind,
    report: &mut Report,
) {
    let cells = kind.cells();
    let Some(last) = address.checked_add(cells - 1) else {
        let message = format!("a {kind} at {table} {address:#06x} goes past the end of the table");
        report.error(settings.blame(&["at", "type"]), message, "the last register is 0xffff");
        return;
    };
    if cells > model.limits.cells(table) {
        let message = format!("a {kind} needs {cells} registers, max_read is {}", model.limits.max_read);
        report.error(settings.blame(&["type"]), message, format!("max_read = {cells} or more"));
    }
    if let Some(hole) = model.limits.hole(table, address, last) {
        let message =
            format!("is in the hole {:#06x} to {:#06x}, which is never read", hole.first, hole.last);
        let hint = match hole.table {
            Some(_) => "shorten the hole or move the point".to_owned(),
            None => format!("shorten the hole, or name its table: [\"{table}:{}\", …]", hole.first),
        };
        report.error(settings.path_of("at"), message, hint);
    }
}

fn read_order(settings: &Settings<'_>, model: &Model, kind: Kind, report: &mut Report) -> Option<Order> {
    let bytes = (kind.cells() * 2) as u8;
    if kind == Kind::Bool {
        if settings.get("order").is_some() {
            report.error(
                settings.blame(&["order", "type", "at"]),
                "a bool has no byte order",
                "leave order out",
            );
        }
        return Some(Order::plain(bytes));
    }
    let hint = match bytes {
        2 => "AB or BA",
        4 => "ABCD, CDAB, BADC or DCBA",
        _ => "eight letters: ABCDEFGH, GHEFCDAB, BADCFEHG, HGFEDCBA",
    };
    if settings.get("order").is_some() {
        let letters = settings.text("order", report)?;
        let order = Order::parse(letters).filter(|order| order.bytes() == usize::from(bytes));
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

/// `Some(None)`: no scale, whole numbers stay whole.
fn read_scale(settings: &Settings<'_>, kind: Option<Kind>, report: &mut Report) -> Option<Option<Scale>> {
    let (has_scale, has_offset) = (settings.get("scale").is_some(), settings.get("offset").is_some());
    if !has_scale && !has_offset {
        return Some(None);
    }
    let factor = if has_scale { settings.number("scale", report) } else { Some(1.0) };
    let offset = if has_offset { settings.number("offset", report) } else { Some(0.0) };
    let unscaled = match kind {
        Some(Kind::Bool) => Some("a bool".to_owned()),
        Some(kind @ Kind::Bits { .. }) => Some(kind.to_string()),
        _ => settings.get("enum").map(|_| "a point with enum".to_owned()),
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

/// `Some(None)`: not writable. Without a codec the limits cannot be measured.
fn read_write(
    settings: &Settings<'_>,
    (table, kind): (Table, Kind),
    codec: Option<&Codec>,
    report: &mut Report,
) -> Option<Option<WriteRule>> {
    let path = settings.path_of("write");
    let rule = match settings.get("write") {
        None | Some(Json::Bool(false)) => return Some(None),
        Some(Json::Bool(true)) => WriteRule::default(),
        Some(value) => {
            let rule = Settings::open(value, path.clone(), WRITE_KEYS, &[], report)?;
            let min = rule.number("min", report);
            let max = rule.number("max", report);
            if let Some(codec) = codec {
                check_limits(&rule, codec, (min, max), report);
            }
            WriteRule { min, max, verify: rule.flag("verify", report).unwrap_or(false) }
        }
    };
    let problem = if !table.is_writable() {
        Some((format!("{table} cannot be written"), "leave write out; coil and holding can be written"))
    } else if matches!(kind, Kind::Bits { .. }) {
        // It takes a function that leaves the other bits alone; read and write back would race the device.
        let message = "writing some bits of a register is not supported by this driver version yet";
        Some((message.to_owned(), "leave write out, or write the whole register with type = \"u16\""))
    } else {
        let ambiguous = codec.and_then(|codec| codec.labels.as_ref()).and_then(Labels::ambiguous);
        ambiguous.map(|(label, one, other)| {
            let message =
                format!("the label {label:?} is {one} and {other}: which of them is to be written?");
            (message, "leave write out, or give each number a label of its own")
        })
    };
    if let Some((message, hint)) = problem {
        report.error(settings.blame(&["write", "at"]), message, hint);
        return None;
    }
    Some(Some(rule))
}

fn check_limits(rule: &Settings<'_>, codec: &Codec, limits: (Option<f64>, Option<f64>), report: &mut Report) {
    let unlimited = match codec.kind {
        _ if codec.labels.is_some() => Some("a point with enum"),
        Kind::Bool => Some("a bool"),
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
    if matches!(codec.kind, Kind::Bits { .. }) {
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
    for (key, limit) in [("min", limits.0), ("max", limits.1)] {
        let whole = codec.scale.is_none() && !matches!(codec.kind, Kind::F32 | Kind::F64);
        let Some(limit) = limit else { continue };
        // A limit between two whole numbers is a limit all the same.
        let probe = if whole { limit.trunc() } else { limit };
        if let Err(reason) = codec.encode(&Value::Float(probe)) {
            rule.error(key, report, format!("{key} can never be written: {reason}"), "");
        }
    }
}
