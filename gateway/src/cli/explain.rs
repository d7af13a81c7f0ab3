//! `sagoo-edge explain`: how devices are read, and what of each wire that takes.
//!
//! Always true: what runs speaks for itself; only where no gateway runs this configuration the
//! installed drivers are asked.

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::print::{self, Tone, harmless};
use super::table::{Cell, table};
use super::typed::Gateway;
use super::{check, human};
use crate::config::{self, Config, did_you_mean};
use crate::control::message::{Explained, Reply, Request};
use crate::status::plan::{ConnectionPlan, Cycle, DevicePlan, percent};

/// `explain`
#[derive(Debug, Args)]
pub struct ExplainArgs {
    /// Name of a device in the configuration; none: all.
    pub device: Option<String>,
    #[command(flatten)]
    gateway: Gateway,
}

/// Asks whoever runs, or the drivers' files by `of_files`, and shows.
pub async fn explain(args: &ExplainArgs, of_files: impl AsyncFn(&Config) -> Vec<ConnectionPlan>) -> ExitCode {
    let as_json = args.gateway.json;
    let running = match running(&args.gateway).await {
        Ok(running) => running,
        Err(error) => return print::failure(&error, as_json),
    };
    let runs = running.is_some();
    let mut connections = match running {
        Some(connections) => connections,
        None => {
            let loaded = config::load(&args.gateway.config);
            match &loaded.config {
                Some(config) => of_files(config).await,
                None if as_json => return print::json(&check::document(&loaded), false),
                None => return print::error(&check::text(&loaded, print::error_colours())),
            }
        }
    };
    if let Some(name) = &args.device
        && let Err(error) = only(name, &mut connections)
    {
        return print::failure(&error, as_json);
    }
    let done = connections.iter().all(|connection| connection.error.is_empty());
    match as_json {
        true => print::json(&json!({ "running": runs, "connections": connections }), done),
        false => print::out(&text(&connections, runs, print::colours()), done),
    }
}

/// What runs, when that is the configuration in question.
async fn running(gateway: &Gateway) -> Result<Option<Vec<ConnectionPlan>>, String> {
    let Explained { config, connections } = match gateway.ask_if_running(&Request::Explain).await? {
        None => return Ok(None),
        Some(Reply::Explain { explained }) => explained,
        Some(_) => return Err(print::ANOTHER_VERSION.to_owned()),
    };
    let same =
        |a: &Path, b: &Path| matches!((fs::canonicalize(a), fs::canonicalize(b)), (Ok(a), Ok(b)) if a == b);
    // two configurations may name one socket
    let meant = gateway.socket.is_some() || same(&config, &gateway.config);
    Ok(meant.then_some(connections))
}

fn only(name: &str, connections: &mut Vec<ConnectionPlan>) -> Result<(), String> {
    let named = |device: &DevicePlan| device.name == name;
    if !connections.iter().any(|connection| connection.devices.iter().any(named)) {
        let names = connections.iter().flat_map(|connection| &connection.devices);
        let hint = did_you_mean(name, names.map(|device| device.name.as_str()));
        let hint = hint.unwrap_or_else(|| "`sagoo-edge explain` shows all that are read".to_owned());
        return Err(format!("no driver plans to read a device {name:?}; {hint}"));
    }
    for connection in connections.iter_mut() {
        connection.devices.retain(named);
    }
    connections.retain(|connection| !connection.devices.is_empty());
    Ok(())
}

/// A table for each connection, and below it what was learned.
pub(super) fn text(connections: &[ConnectionPlan], running: bool, colours: bool) -> String {
    let mut out = match running {
        true => "as it runs, with what drivers learned and measured\n".to_owned(),
        false => "as the configuration says; no gateway runs it\n".to_owned(),
    };
    for connection in connections {
        let name = Tone::Strong.paint(&harmless(&connection.name), colours);
        out += &format!("\n{name}  {}, {}\n", harmless(&connection.driver), wire(connection, colours));
        let (read, left_out): (Vec<&DevicePlan>, Vec<&DevicePlan>) =
            connection.devices.iter().partition(|device| device.error.is_empty());
        let heads = ["DEVICE", "POLL", "EVERY", "REQUEST", "WANTED", "WASTED", "MS", "SHARE"];
        let rows: Vec<Vec<Cell>> = read.into_iter().flat_map(rows).collect();
        if !rows.is_empty() {
            out += &table(&heads, rows, colours);
        }
        for device in left_out {
            let line = format!("{} is not read: {}\n", harmless(&device.name), harmless(&device.error));
            out += &Tone::Bad.paint(&line, colours);
        }
        for device in &connection.devices {
            for learned in &device.learned {
                out += &format!("{} learned: {}\n", harmless(&device.name), harmless(&learned.what));
                if !learned.paste.is_empty() {
                    out += &format!("  {}\n", Tone::Strong.paint(&harmless(&learned.paste), colours));
                }
            }
        }
    }
    out
}

fn wire(connection: &ConnectionPlan, colours: bool) -> String {
    let (tone, words) = match connection.share {
        _ if !connection.error.is_empty() => (Tone::Bad, harmless(&connection.error)),
        None => (Tone::Faint, "the driver predicts no time on the wire".to_owned()),
        Some(share) => {
            let tone = match connection.strain() {
                Some(strain) if strain.refused => Tone::Bad,
                Some(_) => Tone::Warn,
                None => Tone::Good,
            };
            (tone, format!("{} of the wire", percent(share)))
        }
    };
    tone.paint(&words, colours)
}

fn rows(device: &DevicePlan) -> Vec<Vec<Cell>> {
    let mut rows: Vec<Vec<Cell>> =
        device.cycles.iter().flat_map(|cycle| of_cycle(&device.name, cycle)).collect();
    if device.cycles.len() > 1 {
        let all = |count: fn(&Cycle) -> u32| device.cycles.iter().map(count).sum::<u32>();
        let sums = [all(wanted), all(wasted)].map(|units| human::count(units.into()));
        let share = device.share.map(percent).unwrap_or_default();
        rows.push(sum(&device.name, "", "", "all polls", sums, "", &share));
    }
    rows
}

/// Its requests, and what they come to.
fn of_cycle(device: &str, cycle: &Cycle) -> Vec<Vec<Cell>> {
    let every = every(cycle.period_ms);
    let rows = cycle.requests.iter().map(|request| {
        let share = request.predicted_ms.filter(|_| cycle.period_ms > 0);
        vec![
            Cell::text(device),
            Cell::text(&cycle.poll),
            Cell::text(&every),
            Cell::text(&request.request),
            Cell::number(human::count(request.wanted.into())),
            Cell::number(human::count(request.wasted.into())),
            Cell::number(ms(request.predicted_ms)),
            Cell::number(share.map(|ms| percent(ms / f64::from(cycle.period_ms))).unwrap_or_default()),
        ]
    });
    let mut rows: Vec<Vec<Cell>> = rows.collect();
    if rows.len() > 1 {
        let what = format!("a cycle of {}", rows.len());
        let sums = [wanted(cycle), wasted(cycle)].map(|units| human::count(units.into()));
        let share = cycle.share.map(percent).unwrap_or_default();
        rows.push(sum(device, &cycle.poll, &every, &what, sums, &ms(cycle.predicted_ms), &share));
    }
    rows
}

fn sum(
    device: &str,
    poll: &str,
    every: &str,
    what: &str,
    [wanted, wasted]: [String; 2],
    ms: &str,
    share: &str,
) -> Vec<Cell> {
    let texts = [device, poll, every, what].map(|text| Cell::text(text).tone(Tone::Strong));
    let numbers = [&wanted, &wasted, ms, share].map(|text| Cell::number(text).tone(Tone::Strong));
    texts.into_iter().chain(numbers).collect()
}

fn wanted(cycle: &Cycle) -> u32 {
    cycle.requests.iter().map(|request| request.wanted).sum()
}

fn wasted(cycle: &Cycle) -> u32 {
    cycle.requests.iter().map(|request| request.wasted).sum()
}

fn ms(predicted: Option<f64>) -> String {
    predicted.map_or_else(|| "?".to_owned(), |ms| format!("{ms:.1}"))
}

/// `200 ms`, `1 s`, `5 min`: as it is configured, not rounded.
fn every(period_ms: u32) -> String {
    match period_ms {
        ms if ms > 0 && ms.is_multiple_of(60_000) => format!("{} min", ms / 60_000),
        ms if ms > 0 && ms.is_multiple_of(1_000) => format!("{} s", ms / 1_000),
        ms => format!("{ms} ms"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::plan::{Learned, PlannedRequest};

    fn request(words: &str, wanted: u32, wasted: u32, ms: f64) -> PlannedRequest {
        PlannedRequest { request: words.into(), wanted, wasted, predicted_ms: (ms > 0.0).then_some(ms) }
    }

    fn plans() -> Vec<ConnectionPlan> {
        let requests = vec![
            ("fast".to_owned(), 1_000, request("input 0x00 × 12", 10, 2, 41.0)),
            ("fast".to_owned(), 1_000, request("input 0x40 × 4", 4, 0, 20.0)),
            ("slow".to_owned(), 300_000, request("input 0x90 × 2\x1b[2J", 2, 0, 0.0)),
        ];
        let what = "input 0x0010 is refused: illegal data address".to_owned();
        let learned = vec![Learned { what, paste: "holes = [[0x10, 0x10]]".to_owned() }];
        let meter = DevicePlan::new("meter".to_owned(), requests, learned);
        let pump = DevicePlan::new(
            "pump".to_owned(),
            vec![("fast".to_owned(), 200, request("input 0 × 1", 1, 0, 10.0))],
            Vec::new(),
        );
        let out = DevicePlan::left_out("valve".to_owned());
        let silent = ConnectionPlan::unknown("spare", "other", "driver other is not running".to_owned());
        vec![ConnectionPlan::new("bus1", "fake", vec![meter, out, pump]), silent]
    }

    #[test]
    fn requests_their_waste_their_time_and_their_share_are_read_at_a_glance() {
        let expected = "\
as it runs, with what drivers learned and measured

bus1  fake, 11.1 % of the wire
DEVICE  POLL  EVERY   REQUEST             WANTED  WASTED    MS  SHARE
meter   fast  1 s     input 0x00 × 12         10       2  41.0  4.1 %
meter   fast  1 s     input 0x40 × 4           4       0  20.0  2.0 %
meter   fast  1 s     a cycle of 2            14       2  61.0  6.1 %
meter   slow  5 min   input 0x90 × 2\u{fffd}[2J       2       0     ?
meter                 all polls               16       2        6.1 %
pump    fast  200 ms  input 0 × 1              1       0  10.0  5.0 %
valve is not read: the driver refuses its configuration; see sagoo-edge check
meter learned: input 0x0010 is refused: illegal data address
  holes = [[0x10, 0x10]]

spare  other, driver other is not running
";
        assert_eq!(text(&plans(), true, false), expected);
    }

    #[test]
    fn one_device_is_shown_alone_and_a_misspelt_one_is_guessed() {
        let mut one = plans();
        only("pump", &mut one).unwrap();
        assert_eq!((one.len(), one[0].devices.len(), one[0].devices[0].name.as_str()), (1, 1, "pump"));
        assert!(one[0].share.unwrap() > 0.1, "the wire is that of all");
        let error = only("pumb", &mut plans()).unwrap_err();
        assert_eq!(error, "no driver plans to read a device \"pumb\"; did you mean \"pump\"?");
    }

    #[test]
    fn a_full_wire_stands_out() {
        let requests = vec![("p".to_owned(), 100, request("r", 1, 0, 126.4))];
        let full =
            ConnectionPlan::new("bus", "fake", vec![DevicePlan::new("a".into(), requests, Vec::new())]);
        assert!(text(&[full], false, true).contains("\x1b[31m126.4 % of the wire\x1b[0m"));
    }
}
