//! The log on stderr: one JSON object per line, as hclog writes them and go-plugin's host reads them.
//!
//! ```text
//! {"@level":"warn","@message":"device is offline","@timestamp":"2026-11-22T06:16:04.460700Z","device":"meter"}
//! ```
//! Always true: `@level`, `@message` and `@timestamp` are strings (a Go host panics otherwise), the
//! time has exactly six fractional digits, a line is at most [`LINE_BYTES`] long, and nothing here
//! waits, panics or fails when nobody reads stderr.

use std::fmt::{self, Write as _};
use std::io;
use std::panic;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sagoo_edge_proto::levels::Levels;
use serde_json::{Map, Value as Json};
use tokio_util::sync::CancellationToken;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt as _;

use super::stderr::{FLUSH_LIMIT, Lines};

/// Longest line; hosts read lines into 64 KiB.
pub(crate) const LINE_BYTES: usize = 60 * 1024;
/// Longest single text in a line; a longer one is cut and says so.
const TEXT_BYTES: usize = 8 * 1024;
/// Libraries whose talk helps nobody who debugs a driver.
const QUIET: [&str; 5] = ["h2", "hyper", "rustls", "tonic", "tower"];

/// Sends everything logged to stderr, from the level (`debug`) or levels (`driver_modbus=trace,info`)
/// that are `wanted`. A subscriber the author installed before stays.
pub(crate) fn install(wanted: &str) -> io::Result<Lines> {
    let lines = Lines::start(io::stderr(), dropped_lines)?;
    let layer = HclogLayer { lines: lines.clone() }.with_filter(targets(wanted));
    let _ = tracing_subscriber::registry().with(layer).try_init();
    Ok(lines)
}

fn dropped_lines(dropped: u64) -> String {
    let mut line = Line::new(Level::WARN, module_path!());
    line.add("@message", "log lines were dropped while nobody read them".to_owned());
    line.add("dropped", dropped.to_string());
    line.text()
}

fn targets(wanted: &str) -> Targets {
    // What cannot be understood the gateway complains of: it has the same words.
    let levels = Levels::parse(wanted);
    let targets = Targets::new().with_default(levels.default);
    let targets = targets.with_targets(levels.modules);
    QUIET.iter().fold(targets, |targets, library| {
        if wanted.contains(library) { targets } else { targets.with_target(*library, Level::WARN) }
    })
}

/// Makes every panic one error line, and tells the process to end: a plugin that panicked holds
/// state nobody can vouch for, and its host starts a fresh one.
pub(crate) fn report_panics(lines: Lines, panicked: CancellationToken) {
    panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("no message");
        let mut line = Line::new(Level::ERROR, "panic");
        line.add("@message", format!("panicked: {text}"));
        if let Some(place) = info.location() {
            line.add("place", place.to_string());
        }
        lines.say(line.text());
        // The process may not live to write it later.
        lines.flush(FLUSH_LIMIT);
        panicked.cancel();
    }));
}

/// Fields of a span, kept for the lines within it.
struct SpanFields(Vec<(String, String)>);

struct HclogLayer {
    lines: Lines,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for HclogLayer {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(SpanFields(fields.0));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        values.record(&mut fields);
        let Some(span) = context.span(id) else { return };
        if let Some(known) = span.extensions_mut().get_mut::<SpanFields>() {
            known.0.extend(fields.0);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = Line::new(*event.metadata().level(), event.metadata().target());
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<SpanFields>() {
                fields.0.iter().for_each(|(key, value)| line.add(key, value.clone()));
            }
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        fields.0.into_iter().for_each(|(key, value)| line.add(&key, value));
        self.lines.say(line.text());
    }
}

#[derive(Default)]
struct Fields(Vec<(String, String)>);

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.push((key(field), value.to_owned()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        let _ = write!(text, "{value:?}");
        self.0.push((key(field), text));
    }
}

fn key(field: &Field) -> String {
    match field.name() {
        "message" => "@message".to_owned(),
        // A field of this name would overwrite what the host reads.
        name => name.trim_start_matches('@').to_owned(),
    }
}

/// A line being put together.
struct Line(Map<String, Json>);

impl Line {
    fn new(level: Level, module: &str) -> Self {
        let word = match level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG => "debug",
            Level::TRACE => "trace",
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut line = Map::new();
        line.insert("@level".to_owned(), word.into());
        line.insert("@message".to_owned(), "".into());
        // Where in the code it was said helps a developer and is noise to everybody else.
        if level >= Level::DEBUG {
            line.insert("@module".to_owned(), module.into());
        }
        line.insert("@timestamp".to_owned(), timestamp(now).into());
        Self(line)
    }

    fn add(&mut self, key: &str, mut text: String) {
        if text.len() > TEXT_BYTES {
            let mut end = TEXT_BYTES;
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            text.push_str(" … cut");
        }
        self.0.insert(key.to_owned(), text.into());
    }

    fn text(mut self) -> String {
        let mut text = Json::Object(self.0.clone()).to_string();
        if text.len() > LINE_BYTES {
            self.0.retain(|key, _| key.starts_with('@'));
            self.0.insert("cut".to_owned(), "the fields of this line were too long".into());
            text = Json::Object(self.0).to_string();
        }
        text.push('\n');
        text
    }
}

/// `2026-11-22T06:16:04.460700Z`.
fn timestamp(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let (days, second) = (seconds / 86_400, seconds % 86_400);
    // Days to year, month, day by eras of 400 years that begin in March (Howard Hinnant's method).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let micros = since_epoch.subsec_micros();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{micros:06}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_six_digits_and_the_right_day() {
        for (seconds, wanted) in [
            (0, "1970-01-01T00:00:00.000007Z"),
            (951_782_400, "2000-02-29T00:00:00.000007Z"),
            (1_795_328_164, "2026-11-22T06:16:04.000007Z"),
            (4_107_542_399, "2100-02-28T23:59:59.000007Z"),
        ] {
            assert_eq!(timestamp(Duration::from_secs(seconds) + Duration::from_micros(7)), wanted);
        }
    }

    #[test]
    fn levels_are_read_from_the_environment() {
        for (wanted, module, level, enabled) in [
            ("", "driver_modbus", Level::INFO, true),
            ("", "driver_modbus", Level::DEBUG, false),
            ("debug", "driver_modbus", Level::DEBUG, true),
            ("debug", "h2::codec", Level::DEBUG, false),
            ("h2=debug", "h2::codec", Level::DEBUG, true),
            ("verbose", "driver_modbus", Level::INFO, true),
            ("verbose,debug", "driver_modbus", Level::DEBUG, true),
            ("driver_modbus=trace", "driver_modbus::tcp", Level::TRACE, true),
            ("driver_modbus=trace", "sagoo_driver_sdk", Level::INFO, true),
        ] {
            assert_eq!(targets(wanted).would_enable(module, &level), enabled, "{wanted:?} {module} {level}");
        }
    }

    #[test]
    fn a_line_is_never_too_long_and_always_json() {
        let mut line = Line::new(Level::WARN, "sdk");
        line.add("@message", "\u{1}".repeat(100_000));
        for field in 0..40 {
            line.add(&format!("field{field}"), "ü".repeat(10_000));
        }
        let text = line.text();
        assert!(text.len() <= LINE_BYTES, "{} bytes", text.len());
        let json: Json = serde_json::from_str(&text).unwrap();
        assert!(json["@message"].is_string() && json["@level"] == "warn" && json["cut"].is_string());
    }
}
