//! `sagoo-edge scan`: devices that nobody configured, as they are found, with the lines to paste.
//!
//! Always true: whatever was found is shown, however the scan ends; a scan that is interrupted here ends
//! in the driver, too.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use serde_json::{Map, Value as Json, json};

use super::human;
use super::print::{self, Tone, harmless};
use super::progress::Progress;
use super::typed::Gateway;
use crate::config;
use crate::control::message::{Found, Progress as Tried, Reply, Request};

/// `scan`
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// Name of a connection in the configuration.
    pub connection: String,
    /// Options in the driver's words; none: its defaults.
    #[arg(value_name = "KEY=VALUE", value_parser = option)]
    options: Vec<(String, String)>,
    /// End after this long, like 30s or 5m; without it when all was tried.
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    within: Option<Duration>,
    #[command(flatten)]
    gateway: Gateway,
}

/// How a scan ended.
#[derive(Debug, PartialEq, Eq)]
enum Ended {
    /// All was tried, or the time was over.
    Done,
    /// Ctrl-C.
    Interrupted,
    /// The driver, or the gateway, gave up.
    Broken(String),
}

/// Looks, and shows what is found as it is found.
pub async fn scan(args: &ScanArgs) -> ExitCode {
    let as_json = args.gateway.json;
    let request = Request::Scan {
        connection: args.connection.clone(),
        options: args.options.iter().map(|(key, value)| (key.clone(), Json::from(value.as_str()))).collect(),
        for_ms: millis(args.within),
    };
    let mut following = match args.gateway.follow(&request).await {
        Ok(following) => following,
        Err(error) => return print::failure(&error, as_json),
    };
    let mut bar = Progress::new(format!("scanning {}", harmless(&args.connection)), as_json);
    let (mut all, mut tried) = (Vec::new(), Tried::default());
    let ended = loop {
        let next = tokio::select! {
            next = args.gateway.next(&mut following) => next,
            _ = tokio::signal::ctrl_c() => break Ended::Interrupted,
        };
        match next {
            Ok(Reply::Progress { progress }) => {
                bar.step(progress.done.into(), progress.total.into(), &progress.now);
                tried = progress;
            }
            Ok(Reply::Found { found }) => {
                bar.hide();
                if !as_json && !shown(&text(&args.connection, &found, print::colours())) {
                    return ExitCode::SUCCESS;
                }
                all.push(found);
            }
            Ok(Reply::End) => break Ended::Done,
            Ok(_) => break Ended::Broken(print::ANOTHER_VERSION.to_owned()),
            Err(error) => break Ended::Broken(error),
        }
    };
    drop((bar, following));
    conclude(&ended, &all, &tried, as_json)
}

fn conclude(ended: &Ended, all: &[Found], tried: &Tried, as_json: bool) -> ExitCode {
    let done = *ended == Ended::Done;
    let error = match ended {
        Ended::Broken(error) => Some(error),
        Ended::Done | Ended::Interrupted => None,
    };
    if as_json {
        let document = json!({
            "found": all, "tried": tried.done, "total": tried.total, "complete": done, "error": error,
        });
        return print::json(&document, done);
    }
    let verdict = verdict(ended, all.len(), tried);
    match error {
        Some(error) if all.is_empty() && tried.done == 0 => print::failure(error, false),
        Some(_) => print::error(&format!("sagoo-edge: {verdict}\n")),
        None => print::out(&format!("{verdict}\n"), done),
    }
}

fn verdict(ended: &Ended, found: usize, tried: &Tried) -> String {
    let found = match found {
        1 => "1 device".to_owned(),
        many => format!("{} devices", human::count(many as u64)),
    };
    let tried = format!("{} of {} tried", human::count(tried.done.into()), human::count(tried.total.into()));
    match ended {
        Ended::Done => format!("{found} found, {tried}"),
        Ended::Interrupted => format!("interrupted: {found} found, {tried}"),
        Ended::Broken(error) => format!("{}: {found} found, {tried}", harmless(error)),
    }
}

/// Whether somebody still reads.
fn shown(text: &str) -> bool {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).is_ok()
}

/// Who was found, and what to paste.
pub(super) fn text(connection: &str, found: &Found, colours: bool) -> String {
    let Found { address, description, settings } = found;
    let mut out = Tone::Good.paint(&harmless(address), colours);
    if !description.is_empty() {
        out += &format!("  {}", harmless(description).replace('\n', " "));
    }
    out.push('\n');
    if settings.is_empty() {
        return out;
    }
    out += &format!("  [device.NAME]\n  connection = {}\n", toml_text(connection));
    out += &lines(settings);
    for (key, example) in
        [("model", "\"MODEL\""), ("sagoo", "{ product_key = \"PRODUCT\", device_key = \"DEVICE\" }")]
    {
        if !settings.contains_key(key) {
            out += &format!("  {key} = {example}\n");
        }
    }
    out.push('\n');
    out
}

fn lines(settings: &Map<String, Json>) -> String {
    let pairs = settings.iter().filter(|(_, value)| !value.is_null());
    pairs.map(|(key, value)| format!("  {} = {}\n", toml_key(key), toml_value(value))).collect()
}

fn toml_value(value: &Json) -> String {
    match value {
        Json::String(text) => toml_text(text),
        Json::Array(items) => {
            let items: Vec<String> = items.iter().map(toml_value).collect();
            format!("[{}]", items.join(", "))
        }
        Json::Object(table) => {
            let pairs = table.iter().filter(|(_, value)| !value.is_null());
            let pairs: Vec<String> =
                pairs.map(|(key, value)| format!("{} = {}", toml_key(key), toml_value(value))).collect();
            format!("{{ {} }}", pairs.join(", "))
        }
        other => other.to_string(),
    }
}

fn toml_key(key: &str) -> String {
    let bare = !key.is_empty() && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if bare { key.to_owned() } else { toml_text(key) }
}

/// JSON's escapes are TOML's, too; what could steer a terminal is written as one.
fn toml_text(text: &str) -> String {
    let quoted = Json::from(text).to_string();
    let escaped = |c: char| match c.is_control() {
        true => format!("\\u{:04x}", u32::from(c)),
        false => c.to_string(),
    };
    quoted.chars().map(escaped).collect()
}

/// `units=1-32`
fn option(typed: &str) -> Result<(String, String), String> {
    match typed.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("an option is KEY=VALUE, like units=1-32".to_owned()),
    }
}

/// `30s`
pub(super) fn duration(typed: &str) -> Result<Duration, String> {
    let duration = config::duration(typed).filter(|duration| !duration.is_zero());
    duration.ok_or_else(|| "a duration is a whole number and ms, s, m or h, like 30s".to_owned())
}

/// For a request, in which 0 stands for no limit.
pub(super) fn millis(within: Option<Duration>) -> u32 {
    within.map_or(0, |within| u32::try_from(within.as_millis()).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(settings: &Json) -> Found {
        let settings = settings.as_object().cloned().unwrap_or_default();
        Found { address: "unit 7 at 19200-8E1".into(), description: "Meter\x1b[2J 3".into(), settings }
    }

    #[test]
    fn what_is_found_is_shown_with_the_lines_to_paste() {
        let expected = "\
unit 7 at 19200-8E1  Meter\u{fffd}[2J 3
  [device.NAME]
  connection = \"bus1\"
  unit = 7
  model = \"MODEL\"
  sagoo = { product_key = \"PRODUCT\", device_key = \"DEVICE\" }

";
        assert_eq!(text("bus1", &found(&json!({ "unit": 7 })), false), expected);
        assert_eq!(text("bus1", &found(&Json::Null), false), "unit 7 at 19200-8E1  Meter\u{fffd}[2J 3\n");
    }

    #[test]
    fn what_is_pasted_is_what_the_driver_said() {
        let said = json!({
            "unit": 7, "a b": "q\"u\\o\n\u{7f}\u{9b}te", "list": [1.5, true, "x"], "nothing": null,
            "inner": { "k.e": -1, "none": null },
        });
        let read: toml::Table = toml::from_str(&lines(said.as_object().unwrap())).unwrap();
        let mut expected = said;
        expected.as_object_mut().unwrap().remove("nothing");
        expected["inner"].as_object_mut().unwrap().remove("none");
        assert_eq!(serde_json::to_value(read).unwrap(), expected);
    }

    #[test]
    fn options_and_durations_are_understood_or_taught() {
        assert_eq!(option("units=1-32"), Ok(("units".to_owned(), "1-32".to_owned())));
        assert_eq!(option("a=b=c"), Ok(("a".to_owned(), "b=c".to_owned())));
        assert!(option("units").is_err() && option("=1").is_err());
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert!(duration("10").is_err() && duration("0s").is_err());
        assert_eq!((millis(None), millis(Some(Duration::from_secs(1)))), (0, 1_000));
    }

    #[test]
    fn the_last_line_says_how_it_ended() {
        let tried = Tried { done: 32, total: 64, now: String::new() };
        assert_eq!(verdict(&Ended::Done, 1, &tried), "1 device found, 32 of 64 tried");
        assert_eq!(verdict(&Ended::Interrupted, 0, &tried), "interrupted: 0 devices found, 32 of 64 tried");
        let broken = verdict(&Ended::Broken("line lost".into()), 2, &tried);
        assert_eq!(broken, "line lost: 2 devices found, 32 of 64 tried");
    }
}
