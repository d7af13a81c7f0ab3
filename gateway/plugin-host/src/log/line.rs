//! One line of stderr, understood: hclog's JSON at its own level, everything else by how it begins.
//!
//! Always true: any bytes are a line; a field that is not of the expected type never loses the line,
//! where go-plugin's own host dies of one; values are shown exactly as they came.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::value::RawValue;
use tracing::Level;

use super::harmless;
use crate::pipe::Piece;

/// Lines after the head of a Rust panic that belong to it: a message and a whole backtrace.
const MAX_PANIC_LINES: usize = 300;

/// What is understood of a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) level: Level,
    pub(super) message: String,
    /// `key=value` of everything else, in the order of the keys.
    pub(super) fields: String,
}

impl Entry {
    pub(super) fn plain(level: Level, text: &str) -> Self {
        Self { level, message: harmless(text).into_owned(), fields: String::new() }
    }
}

/// What earlier lines mean for the next one.
#[derive(Debug)]
pub(super) struct Reader {
    after: After,
    /// Level of the last line that came in pieces: they all have that of the first.
    long: Level,
}

impl Default for Reader {
    fn default() -> Self {
        Self { after: After::Nothing, long: Level::DEBUG }
    }
}

#[derive(Debug, Clone, Copy)]
enum After {
    Nothing,
    /// A Go program died: what follows is its stack, until it is gone.
    GoPanic,
    /// A Rust thread died, and the process perhaps did not: its message, its backtrace, its note.
    RustPanic {
        lines_left: usize,
    },
    /// A Python exception: its frames are indented, its name is not and ends it.
    Traceback,
}

impl Reader {
    pub(super) fn read(&mut self, piece: &Piece<'_>) -> Entry {
        let text = String::from_utf8_lossy(piece.bytes());
        match piece {
            Piece::Line(_) => self.line(&text),
            // Never parsed: half an object is none.
            Piece::Head(_) => {
                self.long = self.level(&text);
                Entry::plain(self.long, &text)
            }
            Piece::More(_) => Entry::plain(self.long, &text),
        }
    }

    fn line(&mut self, line: &str) -> Entry {
        if line.is_empty() {
            return Entry::plain(self.continued(line), line);
        }
        let entry = if line.trim_start().starts_with('{') { hclog(line) } else { None };
        if let Some(entry) = entry {
            self.now(After::Nothing);
            return entry;
        }
        Entry::plain(self.level(line), line)
    }

    /// The stack of a Go program is the last it says, whatever the other threads say in between.
    fn now(&mut self, after: After) {
        if !matches!(self.after, After::GoPanic) {
            self.after = after;
        }
    }

    /// By the rules of go-plugin's own host, and two more kinds of death.
    fn level(&mut self, line: &str) -> Level {
        let prefixes = [
            ("[TRACE]", Level::TRACE),
            ("[DEBUG]", Level::DEBUG),
            ("[INFO]", Level::INFO),
            ("[WARN]", Level::WARN),
            ("[ERROR]", Level::ERROR),
        ];
        if let Some((_, level)) = prefixes.iter().find(|(prefix, _)| line.starts_with(prefix)) {
            self.now(After::Nothing);
            return *level;
        }
        if let Some(death) = death(line) {
            self.now(death);
            return Level::ERROR;
        }
        self.continued(line)
    }

    /// The level of a line that says nothing about it itself.
    fn continued(&mut self, line: &str) -> Level {
        match self.after {
            After::Nothing => return Level::DEBUG,
            After::GoPanic => {}
            After::RustPanic { lines_left: 0 } => {
                self.after = After::Nothing;
                return Level::DEBUG;
            }
            After::RustPanic { .. } if line.starts_with("note: ") => self.after = After::Nothing,
            After::RustPanic { lines_left } => {
                self.after = After::RustPanic { lines_left: lines_left - 1 };
            }
            After::Traceback if line.starts_with(' ') => {}
            After::Traceback => self.after = After::Nothing,
        }
        Level::ERROR
    }
}

/// Whether a line is the first of somebody's last.
fn death(line: &str) -> Option<After> {
    let begins = |text| line.starts_with(text);
    if begins("panic: ") || begins("fatal error: ") {
        return Some(After::GoPanic);
    }
    let of_a_thread = begins("thread '")
        && (line.contains("' panicked at ")
            || line.contains(") panicked at ")
            || line.ends_with(" has overflowed its stack"));
    if of_a_thread {
        return Some(After::RustPanic { lines_left: MAX_PANIC_LINES });
    }
    if begins("fatal runtime error: ") || (begins("memory allocation of ") && line.contains(" failed")) {
        return Some(After::Nothing);
    }
    begins("Traceback (most recent call last):").then_some(After::Traceback)
}

/// A line of hclog: an object with a level. Everything else is not of hclog.
fn hclog(line: &str) -> Option<Entry> {
    // Values stay text, so that none is too large or too deep, and none is shown as another.
    let mut object: BTreeMap<String, &RawValue> = serde_json::from_str(line).ok()?;
    let level = match text(object.remove("@level")?)?.trim().to_ascii_lowercase().as_str() {
        "trace" => Level::TRACE,
        "debug" => Level::DEBUG,
        "info" => Level::INFO,
        "warn" => Level::WARN,
        "error" => Level::ERROR,
        _ => return None,
    };
    let message = match object.remove("@message") {
        Some(value) => text(value).unwrap_or_else(|| value.get().to_owned()),
        None => String::new(),
    };
    // The line is stamped again on arrival, by one clock for all drivers.
    object.remove("@timestamp");
    let mut fields = String::new();
    for (key, value) in &object {
        let gap = if fields.is_empty() { "" } else { " " };
        let key = bare_or_quoted(key);
        let value = text(value).map_or_else(|| value.get().to_owned(), |text| bare_or_quoted(&text));
        let _ = write!(fields, "{gap}{key}={value}");
    }
    let mut entry = Entry::plain(level, &message);
    entry.fields = harmless(&fields).into_owned();
    Some(entry)
}

/// A JSON text without its quotes; nothing if it is something else.
fn text(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// A key or a text, in quotes where it could be taken for more than one.
fn bare_or_quoted(text: &str) -> String {
    let is_bare = !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"' || c == '=');
    if is_bare { text.to_owned() } else { serde_json::Value::from(text).to_string() }
}
