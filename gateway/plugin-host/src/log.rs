//! Stderr into `tracing`: hclog's JSON lines at their own level, everything else by its prefix.
//!
//! Always true: any line becomes exactly one event under the target [`DRIVER`]; a field that is
//! not of the expected type never loses the line.

use std::collections::VecDeque;
use std::fmt::Write as _;

use serde_json::{Map, Value};
use tokio::sync::watch;
use tracing::Level;

use crate::LAST_LINES;
use crate::pipe::{Lines, Piece};

/// Target of every event that is a plugin's and not ours.
pub(crate) const DRIVER: &str = "driver";
/// How much of a line the last lines keep.
const KEPT_CHARS: usize = 512;

/// Takes a plugin's stderr in any pieces.
#[derive(Debug)]
pub(crate) struct Stderr {
    driver: String,
    lines: Lines,
    reader: Reader,
    last: watch::Sender<VecDeque<String>>,
}

impl Stderr {
    pub(crate) fn new(driver: String) -> (Self, watch::Receiver<VecDeque<String>>) {
        let (last, receiver) = watch::channel(VecDeque::new());
        (Self { driver, lines: Lines::default(), reader: Reader::default(), last }, receiver)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Self { driver, lines, reader, last } = self;
        lines.push(bytes, |piece| deliver(driver, reader, last, piece));
    }

    pub(crate) fn finish(mut self) {
        let Self { driver, lines, reader, last } = &mut self;
        lines.finish(|piece| deliver(driver, reader, last, piece));
    }
}

fn deliver(driver: &str, reader: &mut Reader, last: &watch::Sender<VecDeque<String>>, piece: Piece<'_>) {
    let entry = match piece {
        Piece::Line(line) => reader.read(&shown(line)),
        Piece::Part(part) => Entry::plain(Level::DEBUG, shown(part)),
    };
    emit(driver, &entry);
    let mut kept = entry.message;
    if !entry.fields.is_empty() {
        kept = format!("{kept} {}", entry.fields);
    }
    if let Some((end, _)) = kept.char_indices().nth(KEPT_CHARS) {
        kept.truncate(end);
    }
    last.send_modify(|lines| {
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(kept);
    });
}

/// Bytes of a plugin as text fit for one log line.
pub(crate) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn emit(driver: &str, entry: &Entry) {
    macro_rules! at {
        ($level:ident) => {
            if entry.fields.is_empty() {
                tracing::event!(target: DRIVER, Level::$level, driver, "{}", entry.message)
            } else {
                // as a line of our own reads, values behind the sentence
                tracing::event!(target: DRIVER, Level::$level, driver, "{} {}", entry.message, entry.fields)
            }
        };
    }
    match entry.level {
        Level::TRACE => at!(TRACE),
        Level::DEBUG => at!(DEBUG),
        Level::INFO => at!(INFO),
        Level::WARN => at!(WARN),
        _ => at!(ERROR),
    }
}

/// One line, understood.
#[derive(Debug, PartialEq, Eq)]
struct Entry {
    level: Level,
    message: String,
    /// `key=value` of everything else, in the order of the keys.
    fields: String,
}

impl Entry {
    fn plain(level: Level, message: String) -> Self {
        Self { level, message, fields: String::new() }
    }
}

/// What earlier lines mean for the next one.
#[derive(Debug, Default)]
struct Reader {
    /// A Go program panicked: what follows is its stack, until it is gone.
    go_panic: bool,
    /// A Rust thread panicked: its message is the next line.
    rust_panic: bool,
}

impl Reader {
    fn read(&mut self, line: &str) -> Entry {
        if line.starts_with('{')
            && let Ok(Value::Object(object)) = serde_json::from_str(line)
        {
            return hclog(object).unwrap_or_else(|| Entry::plain(Level::DEBUG, line.to_owned()));
        }
        let after_panic = std::mem::take(&mut self.rust_panic) || self.go_panic;
        let level = match line {
            _ if line.starts_with("[TRACE]") => Level::TRACE,
            _ if line.starts_with("[DEBUG]") => Level::DEBUG,
            _ if line.starts_with("[INFO]") => Level::INFO,
            _ if line.starts_with("[WARN]") => Level::WARN,
            _ if line.starts_with("[ERROR]") => Level::ERROR,
            _ if line.starts_with("panic: ") || line.starts_with("fatal error: ") => {
                self.go_panic = true;
                Level::ERROR
            }
            _ if line.starts_with("thread '") && line.contains(" panicked at ") => {
                self.rust_panic = true;
                Level::ERROR
            }
            _ if after_panic => Level::ERROR,
            _ => Level::DEBUG,
        };
        Entry::plain(level, line.to_owned())
    }
}

/// An object without a level is not of hclog.
fn hclog(mut object: Map<String, Value>) -> Option<Entry> {
    let level = match object.remove("@level")?.as_str()?.trim().to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => return None,
    };
    let message = match object.remove("@message") {
        Some(Value::String(message)) => message,
        Some(other) => other.to_string(),
        None => String::new(),
    };
    // The line is stamped again on arrival, by one clock for all drivers.
    object.remove("@timestamp");
    let mut fields = String::new();
    for (key, value) in object {
        let gap = if fields.is_empty() { "" } else { " " };
        let _ = match value {
            Value::String(text) if is_bare(&text) => write!(fields, "{gap}{key}={text}"),
            other => write!(fields, "{gap}{key}={other}"),
        };
    }
    Some(Entry { level, message, fields })
}

/// Whether a text can stand without quotes.
fn is_bare(text: &str) -> bool {
    !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn every_kind_of_line_gets_its_level_message_and_fields() {
        let recorded = r#"{"@level":"debug","@message":"plugin address","@timestamp":"2026-11-22T06:16:04.460700Z","address":"/tmp/plugin3598961913","network":"unix"}"#;
        let cases = [
            (recorded, Level::DEBUG, "plugin address", "address=/tmp/plugin3598961913 network=unix"),
            (r#"{"@level":" WARN ","@message":"x"}"#, Level::WARN, "x", ""),
            (
                r#"{"@level":"error","@message":"no","err":"not so good","n":3,"b":true,"l":[1,"a"]}"#,
                Level::ERROR,
                "no",
                r#"b=true err="not so good" l=[1,"a"] n=3"#,
            ),
            (
                r#"{"@level":"info","@message":"m","@module":"kv","@caller":"main.go:7"}"#,
                Level::INFO,
                "m",
                "@caller=main.go:7 @module=kv",
            ),
            (
                r#"{"@level":"trace","@message":"t","e":"","q":"a\"b","eq":"a=b","nl":"a\nb"}"#,
                Level::TRACE,
                "t",
                r#"e="" eq="a=b" nl="a\nb" q="a\"b""#,
            ),
            // Of a type Go's own host dies of.
            (r#"{"@level":"info","@message":{"a":1},"@timestamp":7}"#, Level::INFO, r#"{"a":1}"#, ""),
            (r#"{"@level":3,"@message":"x"}"#, Level::DEBUG, r#"{"@level":3,"@message":"x"}"#, ""),
            (r#"{"@level":"info"}"#, Level::INFO, "", ""),
            (r#"{"@level":"off","@message":"x"}"#, Level::DEBUG, r#"{"@level":"off","@message":"x"}"#, ""),
            (r#"{"a":1}"#, Level::DEBUG, r#"{"a":1}"#, ""),
            ("[1,2]", Level::DEBUG, "[1,2]", ""),
            ("7", Level::DEBUG, "7", ""),
            (r#"{"@level":"info","#, Level::DEBUG, r#"{"@level":"info","#, ""),
            ("[TRACE] a", Level::TRACE, "[TRACE] a", ""),
            ("[DEBUG] a", Level::DEBUG, "[DEBUG] a", ""),
            ("[INFO] a", Level::INFO, "[INFO] a", ""),
            ("[WARN] a", Level::WARN, "[WARN] a", ""),
            ("[ERROR] a", Level::ERROR, "[ERROR] a", ""),
            ("[ERR] a", Level::DEBUG, "[ERR] a", ""),
            ("plain", Level::DEBUG, "plain", ""),
            ("", Level::DEBUG, "", ""),
        ];
        for (line, level, message, fields) in cases {
            let expected = Entry { level, message: message.into(), fields: fields.into() };
            assert_eq!(Reader::default().read(line), expected, "{line}");
        }
    }

    fn levels(lines: &[&str]) -> Vec<Level> {
        let mut reader = Reader::default();
        lines.iter().map(|line| reader.read(line).level).collect()
    }

    #[test]
    fn after_a_go_panic_everything_unmarked_is_an_error() {
        let info = r#"{"@level":"info","@message":"x"}"#;
        for panic in ["panic: oh no", "fatal error: all goroutines are asleep"] {
            let seen =
                levels(&["before", panic, "", "goroutine 1 [running]:", info, "[DEBUG] x", "main.go:3"]);
            use Level as L;
            assert_eq!(seen, [L::DEBUG, L::ERROR, L::ERROR, L::ERROR, L::INFO, L::DEBUG, L::ERROR]);
        }
    }

    #[test]
    fn a_rust_panic_and_its_message_are_errors() {
        for panic in
            ["thread 'main' panicked at src/main.rs:3:5:", "thread 'w' (81) panicked at src/a.rs:1:1:"]
        {
            let seen = levels(&[panic, "index out of bounds", "note: run with RUST_BACKTRACE"]);
            assert_eq!(seen, [Level::ERROR, Level::ERROR, Level::DEBUG]);
        }
    }

    #[test]
    fn the_last_lines_are_kept_short_and_readable() {
        let (mut stderr, last) = Stderr::new("d".into());
        for n in 0..LAST_LINES + 3 {
            stderr.push(format!("line {n}\n").as_bytes());
        }
        stderr.push(br#"{"@level":"error","@message":"cannot open","path":"/dev/ttyUSB0"}"#);
        stderr.push(b"\n");
        stderr.push("é".repeat(KEPT_CHARS + 1).as_bytes());
        stderr.finish();
        let last = last.borrow();
        assert_eq!(last.len(), LAST_LINES);
        assert_eq!(last[0], "line 5");
        assert_eq!(last[LAST_LINES - 2], "cannot open path=/dev/ttyUSB0");
        assert_eq!(last[LAST_LINES - 1], "é".repeat(KEPT_CHARS));
    }

    proptest! {
        #[test]
        fn any_line_becomes_an_entry(line in any::<String>()) {
            Reader::default().read(&line);
        }
    }
}
