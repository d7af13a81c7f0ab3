//! The drivers in `sagoo-edge status`: a line each, and below what a line has no room for.
//!
//! Always true: a driver that is as it should be has its line and nothing more.

use std::borrow::Cow;

use crate::status::DriverStatus;

use super::human::count;
use super::print::{Tone, harmless};
use super::table::{Cell, table};

/// How much a line shows of what a driver wrote; `--json` has it whole.
const SHOWN_CHARS: usize = 200;
/// Behind it an error repeats what a driver wrote.
const LAST_WORDS: &str = "its last words: ";

/// The table, and what there is to say about single drivers.
pub(super) fn text(drivers: &[DriverStatus], colours: bool) -> String {
    let stand_by = drivers.iter().any(|driver| driver.standby.is_some());
    let mut heads = vec!["DRIVER", "STATE", "VERSION", "PID", "STANDBY", "RESTARTS", "SIGNED", ""];
    if !stand_by {
        heads.retain(|head| *head != "STANDBY");
    }
    let mut out = table(&heads, drivers.iter().map(|driver| row(driver, stand_by)).collect(), colours);
    for driver in drivers {
        out += &notes(driver, colours);
    }
    out
}

fn row(driver: &DriverStatus, stand_by: bool) -> Vec<Cell> {
    let tone = match driver.state.as_str() {
        "running" => Tone::Good,
        "starting" | "updating" | "restarting" => Tone::Warn,
        _ => Tone::Bad,
    };
    let signed = if driver.signed { Cell::text("yes") } else { Cell::text("no").tone(Tone::Warn) };
    let pid = |pid: Option<u32>| pid.map(|pid| pid.to_string()).unwrap_or_default();
    let standby = stand_by.then(|| match &driver.standby {
        Some(standby) => {
            let tone = if standby.state == "ready" { Tone::Good } else { Tone::Warn };
            Cell::text(format!("{} {}", standby.state, pid(standby.pid))).tone(tone)
        }
        None => Cell::text(""),
    });
    let start = [
        Cell::text(&driver.id),
        Cell::text(&driver.state).tone(tone),
        Cell::text(&driver.version),
        Cell::number(pid(driver.pid)),
    ];
    let error = if driver.state == "running" { Tone::Faint } else { Tone::Bad };
    let end = [
        Cell::number(count(driver.restarts.into())),
        signed,
        Cell::text(clipped(&driver.last_error)).tone(error),
    ];
    start.into_iter().chain(standby).chain(end).collect()
}

/// The cause of an error is ours and stays whole, what follows it is the driver's and may be long.
fn clipped(text: &str) -> Cow<'_, str> {
    let words = text.find(LAST_WORDS).map_or(0, |at| at + LAST_WORDS.len());
    match text[words..].char_indices().nth(SHOWN_CHARS) {
        Some((end, _)) => Cow::Owned(format!("{}… (--json shows all)", &text[..words + end])),
        None => Cow::Borrowed(text),
    }
}

fn notes(driver: &DriverStatus, colours: bool) -> String {
    let mut notes = Vec::new();
    if driver.reattached {
        notes.push((Tone::Faint, "taken over from the gateway before".to_owned()));
    }
    if !driver.update.is_empty() {
        notes.push((Tone::Plain, driver.update.clone()));
    }
    notes.extend(driver.lacks.iter().map(|lack| (Tone::Warn, format!("not confined by {lack}"))));
    if driver.state == "quarantined" {
        notes.extend(driver.last_lines.iter().map(|line| (Tone::Faint, format!("| {}", clipped(line)))));
    }
    let lines = notes.into_iter().map(|(tone, note)| {
        let note = format!("{}: {}", driver.id, note);
        format!("{}\n", tone.paint(&harmless(&note).replace('\n', " "), colours))
    });
    lines.collect()
}
