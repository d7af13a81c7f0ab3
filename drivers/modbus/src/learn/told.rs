//! What was learned, for people, with the lines to paste into the model. Pure.

use std::collections::BTreeMap;

use sagoo_driver_sdk::Learned;

use super::lesson::{Lesson, Refused};
use crate::device::Device;
use crate::plan::{BITS_PER_REGISTER, Span};
use crate::point::address::{Notation, Table};

/// Places named in one sentence; the rest is counted.
const NAMED: usize = 6;

/// What this lesson comes to.
pub(crate) fn tell(device: &Device, lesson: &Lesson) -> Vec<Learned> {
    let mut told = Vec::new();
    if !lesson.refused.is_empty() {
        let what = listed(lesson.refused.iter().map(|one| refused(device, one)));
        told.push(Learned { what: format!("refuses {what}"), paste: holes(device, lesson) });
    }
    let registers = lesson.most.iter().filter(|(table, _)| matches!(table, Table::Holding | Table::Input));
    if let Some((_, most)) = registers.clone().min_by_key(|(_, most)| *most) {
        let what = listed(registers.map(|(table, most)| format!("{most} {table} registers")));
        told.push(Learned {
            what: format!("gives at most {what} at a time"),
            paste: format!("max_read = {most}"),
        });
    }
    for (table, most) in lesson.most.iter().filter(|(table, _)| table.is_bits()) {
        // `max_read` counts registers, so it can only say it for all tables, and not for less than 16.
        let paste = match most / BITS_PER_REGISTER {
            0 => String::new(),
            registers => format!("max_read = {registers}"),
        };
        told.push(Learned { what: format!("gives at most {most} bits of table {table} at a time"), paste });
    }
    for (table, most) in lesson.most.iter().filter(|(table, _)| matches!(table, Table::File(_))) {
        let what = format!("gives at most {most} registers of {table} at a time");
        told.push(Learned { what, paste: String::new() });
    }
    if !lesson.seams.is_empty() {
        let what = listed(lesson.seams.iter().map(|(table, at)| format!("{table} {at:#06x}")));
        let what = format!("refuses to read {what} together with what is in front of it");
        told.push(Learned { what, paste: String::new() });
    }
    told
}

fn refused(device: &Device, one: &Refused) -> String {
    let place = format!("{} {:#06x} × {}", one.table, one.first, u32::from(one.last - one.first) + 1);
    let is_it = |span: &&Span| (span.table, span.address, span.last()) == (one.table, one.first, one.last);
    let spans = device.polls.iter().flat_map(|poll| &poll.spans);
    match spans.filter(is_it).find(|_| one.is_point) {
        Some(span) => format!("{place}, which is point {:?} ({})", device.points[span.point].name, one.why),
        None => format!("{place}, which no point wants ({})", one.why),
    }
}

fn listed(all: impl Iterator<Item = String>) -> String {
    let all: Vec<String> = all.collect();
    match all.len().checked_sub(NAMED).filter(|more| *more > 0) {
        Some(more) => format!("{} and {more} more", all[..NAMED].join("; ")),
        None => all.join("; "),
    }
}

/// The key `holes` with those of the model and these, which take no cell from a point that is read.
fn holes(device: &Device, lesson: &Lesson) -> String {
    let read: Vec<&Span> = device
        .polls
        .iter()
        .flat_map(|poll| &poll.spans)
        .filter(|span| lesson.refusal(span).is_none())
        .collect();
    let mut runs: BTreeMap<Table, Vec<(u16, u16)>> = BTreeMap::new();
    for one in &lesson.refused {
        let is_read = |cell: &u16| {
            read.iter().any(|span| span.table == one.table && (span.address..=span.last()).contains(cell))
        };
        for cell in (one.first..=one.last).filter(|cell| !is_read(cell)) {
            runs.entry(one.table).or_default().push((cell, cell));
        }
    }
    let mut holes: Vec<String> = device
        .limits
        .holes
        .iter()
        .map(|hole| match hole.table {
            Some(table) => pair(table, hole.first, hole.last, device.notation),
            None => format!("[{:#04x}, {:#04x}]", hole.first, hole.last),
        })
        .collect();
    for (table, mut cells) in runs {
        cells.sort_unstable();
        let mut joined: Vec<(u16, u16)> = Vec::new();
        for (first, last) in cells {
            match joined.last_mut() {
                Some(before) if u32::from(first) <= u32::from(before.1) + 1 => before.1 = last.max(before.1),
                _ => joined.push((first, last)),
            }
        }
        holes.extend(joined.into_iter().map(|(first, last)| pair(table, first, last, device.notation)));
    }
    format!("holes = [{}]", holes.join(", "))
}

fn pair(table: Table, first: u16, last: u16, notation: Notation) -> String {
    let one = |cell: u16| match notation {
        Notation::Modicon if table.modicon_digit().is_some() => {
            format!("\"{}\"", reference(table, cell, notation))
        }
        _ => format!("\"{}\"", table.at(cell)),
    };
    format!("[{}, {}]", one(first), one(last))
}

/// A cell as the model writes it, without the name of its table.
pub(crate) fn reference(table: Table, cell: u16, notation: Notation) -> String {
    let digit = match (notation, table.modicon_digit()) {
        (Notation::Modicon, Some(digit)) => digit,
        _ => return format!("{cell:#06x}"),
    };
    let number = u32::from(cell) + 1;
    if number <= 9_999 { format!("{digit}{number:04}") } else { format!("{digit}{number:05}") }
}
