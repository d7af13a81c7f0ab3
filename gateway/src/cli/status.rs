//! `sagoo-edge status`: how the running gateway is doing.
//!
//! Always true: what needs someone to act stands out; nothing is hidden but what DEVICE leaves out.

use std::process::ExitCode;

use serde_json::json;

use crate::config::did_you_mean;
use crate::control::message::{Reply, Request};
use crate::status::{Backlog, ClockStatus, ConnectionStatus, DeviceStatus, Ledger, Status};

use super::StatusArgs;
use super::drivers;
use super::fold::fold;
use super::human::{age, bytes, count, value};
use super::print::{self, Tone, harmless};
use super::table::{Cell, table};

/// Asks and shows.
pub(super) async fn status(args: &StatusArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let status = match args.gateway.ask(&Request::Status).await {
        Ok(Reply::Status { status }) => status,
        Ok(_) => {
            return print::failure(print::ANOTHER_VERSION, as_json);
        }
        Err(error) => return print::failure(&error, as_json),
    };
    let Some(name) = &args.device else {
        return match as_json {
            true => print::json(&json!(status), true),
            false => print::out(&fold(&text(&status, print::colours())), true),
        };
    };
    let Some(device) = status.devices.iter().find(|device| device.name == *name) else {
        let hint = did_you_mean(name, status.devices.iter().map(|device| device.name.as_str()));
        let hint = hint.unwrap_or_else(|| "`sagoo-edge status` lists them".to_owned());
        return print::failure(&format!("the gateway has no device {name:?}; {hint}"), as_json);
    };
    match as_json {
        true => print::json(&json!(device), true),
        false => print::out(&fold(&device_text(device, print::colours())), true),
    }
}

/// The gateway as a whole.
pub(super) fn text(status: &Status, colours: bool) -> String {
    let strong = |text: &str| Tone::Strong.paint(text, colours);
    let mut out = format!(
        "{}  version {}, up {}\n\n",
        strong(&harmless(&status.gateway)),
        harmless(&status.version),
        age(status.uptime_s.saturating_mul(1_000)),
    );
    out += &northbound_and_buffer(status, colours);
    out += &clock(&status.clock, colours);
    if let Some(reload) = &status.last_reload {
        let tone = if reload.done { Tone::Faint } else { Tone::Bad };
        let since = age(reload.since_s.saturating_mul(1_000));
        let told = tone.paint(&format!("{since} ago: {}", harmless(&reload.message)), colours);
        out += &format!("reload    {told}\n");
    }
    if let Some(address) = status.metrics {
        out += &format!("metrics   http://{address}/metrics\n");
    }
    if let Some(restart) = &status.restart {
        let told = format!("{}; see sagoo-edge ledger", harmless(&restart.cause));
        out += &format!("start     {}\n", Tone::Warn.paint(&told, colours));
    }
    if !status.drivers.is_empty() {
        out += "\n";
        out += &drivers::text(&status.drivers, colours);
    }
    if !status.connections.is_empty() {
        let heads = ["CONNECTION", "DRIVER", "LINE", "BUSY", "SKIPPED", ""];
        out += "\n";
        out += &table(&heads, status.connections.iter().map(connection_row).collect(), colours);
    }
    if !status.devices.is_empty() {
        let heads = ["DEVICE", "CONNECTION", "STATE", "PLATFORM", "WAITING", "LOST", ""];
        out += "\n";
        out += &table(&heads, status.devices.iter().map(device_row).collect(), colours);
    }
    out += "\n";
    out += &ledger(&status.totals, colours);
    out
}

fn northbound_and_buffer(status: &Status, colours: bool) -> String {
    let north = &status.northbound;
    let (word, tone) = if north.connected { ("connected", Tone::Good) } else { ("not connected", Tone::Bad) };
    let since = age(north.since_s.saturating_mul(1_000));
    let mut out =
        format!("platform  {} for {since}, {}\n", tone.paint(word, colours), harmless(&north.broker));
    if !north.last_error.is_empty() {
        let tone = if north.connected { Tone::Faint } else { Tone::Bad };
        let label = if north.connected { "last error: " } else { "" };
        out += &format!(
            "          {}\n",
            tone.paint(&format!("{label}{}", harmless(&north.last_error)), colours)
        );
    }
    out += &format!(
        "          {} samples in {} messages sent, {} acknowledged, {} sent again, {} in flight; {} commands\n",
        count(north.sent_samples),
        count(north.sent_messages),
        count(north.acknowledged_messages),
        count(north.resent_messages),
        count(north.in_flight),
        count(north.commands),
    );
    let dead = &north.dead_letters;
    if dead.letters > 0 {
        let told = format!("{} dead letters; see sagoo-edge deadletter", count(dead.letters));
        out += &format!("          {}\n", Tone::Bad.paint(&told, colours));
    }
    if !dead.trouble.is_empty() {
        let told = format!("dead letters cannot be kept: {}", harmless(&dead.trouble));
        out += &format!("          {}\n", Tone::Bad.paint(&told, colours));
    }
    out + &self::buffer(status, colours)
}

fn buffer(status: &Status, colours: bool) -> String {
    let buffer = &status.buffer;
    let mut out = format!(
        "buffer    {} of {}, {} samples waiting{}\n",
        bytes(buffer.bytes),
        bytes(buffer.max_bytes),
        count(status.backlog.waiting),
        done(&status.backlog, colours),
    );
    for (word, class) in [("events", &buffer.classes.events), ("telemetry", &buffer.classes.telemetry)] {
        out += &format!(
            "          {word}: {} of {}, {} rows waiting\n",
            bytes(class.bytes),
            bytes(class.max_bytes),
            count(class.waiting_rows),
        );
        if class.memory_bytes > 0 {
            let told =
                format!("{} of {word} in memory, because the disk takes no data", bytes(class.memory_bytes));
            out += &format!("          {}\n", Tone::Bad.paint(&told, colours));
        }
        let dropped = class.dropped.iter().map(|(reason, lost)| {
            let why = match reason.as_str() {
                "oldest" => "the oldest, because it was full",
                "newest" => "the newest, because it was full",
                "too_large" => "larger than a record may be",
                _ => "the disk took no data",
            };
            format!("{} rows of {word} dropped: {why}", count(lost.rows))
        });
        let damaged = Some(class.damaged_records).filter(|records| *records > 0);
        let damaged = damaged.map(|records| format!("{} records of {word} damaged", count(records)));
        for told in dropped.chain(damaged) {
            out += &format!("          {}\n", Tone::Bad.paint(&told, colours));
        }
    }
    for trouble in [&buffer.trouble, &status.state_trouble] {
        if !trouble.is_empty() {
            out += &format!("          {}\n", Tone::Bad.paint(&harmless(trouble), colours));
        }
    }
    out
}

/// When what waits will be sent.
fn done(backlog: &Backlog, colours: bool) -> String {
    match backlog.done_in_s {
        Some(0) => String::new(),
        Some(seconds) => format!(", done in {}", age(seconds.saturating_mul(1_000))),
        None => format!(", {}", Tone::Warn.paint("not done at this rate", colours)),
    }
}

/// Only where it matters.
fn clock(clock: &ClockStatus, colours: bool) -> String {
    let told = match (clock.state.as_str(), clock.waits_s) {
        ("waiting", Some(left)) => {
            format!("not trusted: rows wait for it, at most {} more", age(left.saturating_mul(1_000)))
        }
        ("waiting", None) => "not trusted: rows will wait for it".to_owned(),
        ("uncertain", _) => "not trusted: rows go out with uncertain times".to_owned(),
        _ => return String::new(),
    };
    format!("clock     {}\n          {}\n", Tone::Bad.paint(&told, colours), harmless(&clock.remedy))
}

/// Polls that are left out now stand out; those of long ago are only a number.
fn connection_row(connection: &ConnectionStatus) -> Vec<Cell> {
    let ConnectionStatus { name, driver, line } = connection;
    let open = match line.open {
        true => Cell::text("open").tone(Tone::Good),
        false => Cell::text("not open").tone(Tone::Bad),
    };
    let busy = line.busy_percent.map(|percent| format!("{percent:.1} %"));
    let rising = line.skipped_last_minute > 0;
    let notes = [
        line.reason.clone(),
        match line.skipped_last_minute {
            0 => String::new(),
            late => format!("{} polls left out in the last minute: the line is too busy", count(late)),
        },
    ];
    let notes: Vec<String> = notes.into_iter().filter(|note| !note.is_empty()).collect();
    vec![
        Cell::text(name),
        Cell::text(driver),
        open,
        Cell::number(busy.unwrap_or_default()),
        Cell::number(count(line.skipped)).tone(if rising { Tone::Warn } else { Tone::Plain }),
        Cell::text(notes.join("; ")).tone(if line.open { Tone::Warn } else { Tone::Bad }),
    ]
}

fn device_row(device: &DeviceStatus) -> Vec<Cell> {
    let (ledger, lost) = (&device.ledger, device.ledger.lost());
    let platform = if device.platform == "known" { Tone::Good } else { Tone::Warn };
    vec![
        Cell::text(&device.name),
        Cell::text(&device.connection),
        state(device),
        Cell::text(&device.platform).tone(platform),
        Cell::number(count(ledger.waiting)),
        Cell::number(count(lost)).tone(if lost > 0 { Tone::Bad } else { Tone::Plain }),
        Cell::text(&device.reason).tone(Tone::Bad),
    ]
}

fn state(device: &DeviceStatus) -> Cell {
    match device.online {
        true => Cell::text("online").tone(Tone::Good),
        false => Cell::text("offline").tone(Tone::Bad),
    }
}

/// One device with its points.
pub(super) fn device_text(device: &DeviceStatus, colours: bool) -> String {
    let online =
        if device.online { Tone::Good.paint("online", colours) } else { Tone::Bad.paint("offline", colours) };
    let reason =
        if device.reason.is_empty() { String::new() } else { format!(" ({})", harmless(&device.reason)) };
    let mut out = format!(
        "{}  {online}{reason}, on {}, {}/{} on the platform ({})\n\n",
        Tone::Strong.paint(&harmless(&device.name), colours),
        harmless(&device.connection),
        harmless(&device.product_key),
        harmless(&device.device_key),
        harmless(&device.platform),
    );
    let rows = device.points.iter().map(|point| {
        let tone = if point.quality == "good" { Tone::Good } else { Tone::Bad };
        let quality = match point.reason.as_str() {
            "" => point.quality.clone(),
            reason => format!("{}: {reason}", point.quality),
        };
        vec![
            Cell::text(&point.name),
            Cell::number(point.value.as_ref().map(value).unwrap_or_default()).tone(Tone::Strong),
            Cell::text(&point.unit),
            Cell::number(point.age_ms.map(age).unwrap_or_default()),
            Cell::text(&quality).tone(tone),
        ]
    });
    out += &table(&["POINT", "VALUE", "UNIT", "AGE", "QUALITY"], rows.collect(), colours);
    out += "\n";
    out += &ledger(&device.ledger, colours);
    out
}

/// The account of samples in short.
fn ledger(ledger: &Ledger, colours: bool) -> String {
    let lost = format!("{} lost", count(ledger.lost()));
    let lost = if ledger.lost() > 0 { Tone::Bad.paint(&lost, colours) } else { lost };
    let (verdict, tone) = match ledger.balances() {
        true => ("the ledger balances", Tone::Good),
        false => ("THE LEDGER DOES NOT BALANCE; see sagoo-edge ledger", Tone::Bad),
    };
    format!(
        "samples   {} read, {} stored, {} acknowledged, {} waiting, {lost}\n          {}\n",
        count(ledger.read),
        count(ledger.stored),
        count(ledger.acknowledged),
        count(ledger.waiting),
        tone.paint(verdict, colours),
    )
}
