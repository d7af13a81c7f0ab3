//! `sagoo-edge ledger`: what became of every sample, and whether it adds up.
//!
//! Always true: both identities are computed from the numbers that are shown; when one does not hold, the
//! exit code is 1.

use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use crate::config::did_you_mean;
use crate::control::message::{Reply, Request};
use crate::status::{DeviceStatus, Ledger, Restart, Status};

use super::Gateway;
use super::human::{count, time};
use super::print::{self, Tone, harmless};
use super::table::{Cell, table};

/// `ledger`
#[derive(Debug, Args)]
pub struct LedgerArgs {
    /// Name of a device in the configuration.
    pub device: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Asks and shows.
pub async fn ledger(args: &LedgerArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let status = match args.gateway.ask(&Request::Status).await {
        Ok(Reply::Status { status }) => status,
        Ok(_) => return print::failure(print::ANOTHER_VERSION, as_json),
        Err(error) => return print::failure(&error, as_json),
    };
    let colours = print::colours();
    let Some(name) = &args.device else {
        let done = status.devices.iter().all(|device| device.ledger.balances());
        return match as_json {
            true => print::json(&document(&status), done),
            false => print::out(&text(&status, colours), done),
        };
    };
    let Some(device) = status.devices.iter().find(|device| device.name == *name) else {
        let hint = did_you_mean(name, status.devices.iter().map(|device| device.name.as_str()));
        let hint = hint.unwrap_or_else(|| "`sagoo-edge ledger` lists them".to_owned());
        return print::failure(&format!("the gateway has no device {name:?}; {hint}"), as_json);
    };
    let done = device.ledger.balances();
    match as_json {
        true => print::json(&one(&device.name, &device.ledger), done),
        false => {
            let shown = device_text(device, colours) + &restart_text(status.restart.as_ref(), colours);
            print::out(&shown, done)
        }
    }
}

/// What `--json` prints.
pub(super) fn document(status: &Status) -> Json {
    let devices: Vec<Json> = status.devices.iter().map(|device| one(&device.name, &device.ledger)).collect();
    json!({ "devices": devices, "totals": one("", &status.totals)["ledger"], "restart": status.restart })
}

fn one(name: &str, ledger: &Ledger) -> Json {
    json!({
        "name": name,
        "ledger": ledger,
        "read_off": ledger.read_off(),
        "stored_off": ledger.stored_off(),
    })
}

/// Every device in two tables, one per identity, and the sums below.
pub(super) fn text(status: &Status, colours: bool) -> String {
    let mut rows: Vec<(&str, Ledger)> = Vec::new();
    rows.extend(status.devices.iter().map(|device| (device.name.as_str(), device.ledger)));
    rows.push(("all", status.totals));
    let read = identity("read", &READ, &rows, |ledger| ledger.read, Ledger::read_off, colours);
    let stored = identity("stored", &STORED, &rows, |ledger| ledger.stored, Ledger::stored_off, colours);
    format!("{read}\n{stored}{}", restart_text(status.restart.as_ref(), colours))
}

/// One term of an identity.
struct Term {
    head: &'static str,
    name: &'static str,
    of: fn(&Ledger) -> u64,
    /// Samples that the platform never gets.
    lost: bool,
}

const READ: [Term; 3] = [
    Term { head: "SUPPRESSED", name: "suppressed", of: |ledger| ledger.suppressed, lost: false },
    Term {
        head: "DROPPED",
        name: "dropped by the driver",
        of: |ledger| ledger.dropped_by_driver,
        lost: true,
    },
    Term { head: "STORED", name: "stored", of: |ledger| ledger.stored, lost: false },
];

const STORED: [Term; 8] = [
    Term { head: "ACKED", name: "acknowledged", of: |ledger| ledger.acknowledged, lost: false },
    Term { head: "WAITING", name: "waiting", of: |ledger| ledger.waiting, lost: false },
    Term { head: "FULL", name: "evicted: buffer full", of: |ledger| ledger.evicted_full, lost: true },
    Term { head: "DAMAGED", name: "evicted: damaged", of: |ledger| ledger.evicted_damaged, lost: true },
    Term { head: "TOO LARGE", name: "evicted: too large", of: |ledger| ledger.evicted_too_large, lost: true },
    Term { head: "UNWRITTEN", name: "evicted: unwritten", of: |ledger| ledger.evicted_unwritten, lost: true },
    Term { head: "PARKED", name: "parked", of: |ledger| ledger.parked, lost: true },
    Term { head: "MERGED", name: "merged", of: |ledger| ledger.merged, lost: false },
];

impl Term {
    fn cell(&self, ledger: &Ledger) -> Cell {
        let samples = (self.of)(ledger);
        Cell::number(count(samples)).tone(if self.lost && samples > 0 { Tone::Bad } else { Tone::Plain })
    }
}

/// Reasons of a loss that nobody had need no column.
fn identity(
    what: &str,
    terms: &[Term],
    rows: &[(&str, Ledger)],
    sum: fn(&Ledger) -> u64,
    off: fn(&Ledger) -> i64,
    colours: bool,
) -> String {
    let shown = |term: &&Term| !term.lost || rows.iter().any(|(_, ledger)| (term.of)(ledger) > 0);
    let terms: Vec<&Term> = terms.iter().filter(shown).collect();
    let title = what.to_uppercase();
    let mut heads = vec!["DEVICE", &title];
    heads.extend(terms.iter().map(|term| term.head));
    heads.push("");
    let rows = rows.iter().map(|(name, ledger)| {
        let mut row = vec![Cell::text(name), Cell::number(count(sum(ledger)))];
        row.extend(terms.iter().map(|term| term.cell(ledger)));
        row.push(Cell::text(verdict(off(ledger))).tone(tone(off(ledger))));
        row
    });
    table(&heads, rows.collect(), colours)
}

/// One device, one line per number.
pub(super) fn device_text(device: &DeviceStatus, colours: bool) -> String {
    let ledger = &device.ledger;
    let block = |what: &str, sum: u64, terms: &[Term], off: i64| {
        let mut rows = vec![vec![
            Cell::text(what),
            Cell::number(count(sum)).tone(Tone::Strong),
            Cell::text(verdict(off)).tone(tone(off)),
        ]];
        rows.extend(terms.iter().map(|term| vec![Cell::text(format!("  {}", term.name)), term.cell(ledger)]));
        rows
    };
    let mut rows = block("read", ledger.read, &READ, ledger.read_off());
    rows.extend(block("stored", ledger.stored, &STORED, ledger.stored_off()));
    let name = Tone::Strong.paint(&harmless(&device.name), colours);
    format!("{name}\n{}", table(&["", "SAMPLES"], rows, colours))
}

fn verdict(off: i64) -> String {
    match off {
        0 => "balances".to_owned(),
        1.. => format!("{} ARE NOWHERE", count(off.unsigned_abs())),
        _ => format!("{} TOO MANY", count(off.unsigned_abs())),
    }
}

fn tone(off: i64) -> Tone {
    if off == 0 { Tone::Good } else { Tone::Bad }
}

/// The entry of a start at which something was missing.
pub(super) fn restart_text(restart: Option<&Restart>, colours: bool) -> String {
    let Some(Restart { cause, wall_ms, missing_samples }) = restart else { return String::new() };
    let when = if *wall_ms == 0 { "at a start".to_owned() } else { time(*wall_ms) };
    let entry = format!(
        "{when}: {}\n  {} samples that were counted are gone; what was read after the last sync may be, too",
        harmless(cause),
        count(*missing_samples)
    );
    format!("\n{}\n", Tone::Warn.paint(&entry, colours))
}
