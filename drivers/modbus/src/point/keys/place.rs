//! Where a point is and what its cells hold: `at` and `type`.
//!
//! Always true: a point's cells exist and fit into one read; one in a hole is told, and is not read.

use crate::model::Model;
use crate::plan::{BITS_PER_REGISTER, Limits, MOST_REGISTERS};
use crate::point::address::{self, Notation, Table};
use crate::point::kind::{Kind, Type};
use crate::settings::{Report, Settings};

pub(super) fn read_place(
    settings: &Settings<'_>,
    model: &Model,
    report: &mut Report,
) -> Option<(Table, u16)> {
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

pub(super) fn read_type(settings: &Settings<'_>, table: Option<Table>, report: &mut Report) -> Option<Type> {
    if settings.get("type").is_none() {
        if table.is_some_and(Table::is_bits) {
            return Some(Type::one(Kind::Bool));
        }
        if table == Some(Table::Identity) {
            return Some(Type::one(Kind::Name));
        }
        if table.is_some() && !settings.misspelt("type") {
            let words = Kind::words()[1..].join(", ");
            let hint =
                format!("one of {words}, bits[4..6], string[16], time[unix32], or a list such as u16[10]");
            report.error(settings.path().to_vec(), "type is missing: what do the registers hold?", hint);
        }
        return None;
    }
    let word = settings.text("type", report)?;
    if table == Some(Table::Identity) {
        if word != "string" {
            let message = format!("what a device says it is is text, not {word:?}");
            report.error(settings.blame(&["type", "at"]), message, "leave type out");
            return None;
        }
        return Some(Type::one(Kind::Name));
    }
    let this = match Type::parse(word) {
        Ok(this) => this,
        Err((message, hint)) => {
            settings.error("type", report, message, hint);
            return None;
        }
    };
    match table {
        Some(table) if table.is_bits() && this.kind != Kind::Bool => {
            let message = format!("a {table} is one bit, not {word:?}");
            report.error(settings.blame(&["type", "at"]), message, "type = \"bool\", or another table in at");
            None
        }
        Some(table) if !table.is_bits() && this.kind == Kind::Bool => {
            let message = format!("a register of {table} is not a bool");
            let hint = "type = \"bits[0]\" is its lowest bit, \"u16\" the whole register; \
                        bools are in coil and discrete";
            report.error(settings.blame(&["type", "at"]), message, hint);
            None
        }
        _ => Some(this),
    }
}

/// Whether its cells exist, fit into one read and are not in a hole.
pub(super) fn check_cells(
    settings: &Settings<'_>,
    model: &Model,
    (table, address): (Table, u16),
    (this, cells): (Type, u16),
    report: &mut Report,
) {
    if table == Table::Identity {
        return;
    }
    let end = table.last_cell();
    let Some(last) = address.checked_add(cells - 1).filter(|last| *last <= end) else {
        let message = format!("a {this} at {table} {address:#06x} goes past the end of the table");
        report.error(settings.blame(&["at", "type"]), message, format!("the last register is {end:#06x}"));
        return;
    };
    let most = model.limits.cells(table);
    if cells > most {
        let what = if table.is_bits() { "bits" } else { "registers" };
        let message = format!("a {this} needs {cells} {what}, one read of {table} has {most}");
        let registers = if table.is_bits() { cells.div_ceil(BITS_PER_REGISTER) } else { cells };
        let is_possible = Limits::new(MOST_REGISTERS, None, Vec::new()).cells(table) >= cells;
        let hint = if is_possible {
            format!("max_read = {registers} or more")
        } else {
            "make two points of it".to_owned()
        };
        report.error(settings.blame(&["type"]), message, hint);
    }
    if let Some(hole) = model.limits.hole(table, address, last) {
        // The line that a learned hole is told with may be pasted over the point that showed it.
        let message =
            format!("is in the hole {:#06x} to {:#06x}, which is never read", hole.first, hole.last);
        let hint = match hole.table {
            Some(_) => "shorten the hole or move the point".to_owned(),
            None => format!("shorten the hole, or name its table: [\"{}\", …]", table.at(hole.first)),
        };
        report.warning(settings.path_of("at"), message, hint);
    }
}
