//! The terminal: where text goes, and whether it may have colours.
//!
//! Always true: colours only on a terminal and without `NO_COLOR`; text of devices cannot steer the
//! terminal; a reader that has gone away (`| head`) is no failure.

use std::env;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::process::ExitCode;

use serde_json::{Value as Json, json};

/// What a word means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// As the terminal has it.
    Plain,
    /// As it should be.
    Good,
    /// Odd, or on its way.
    Warn,
    /// Someone must act.
    Bad,
    /// Less important.
    Faint,
    /// A heading.
    Strong,
}

impl Tone {
    /// `text` in this tone.
    pub(super) fn paint(self, text: &str, colours: bool) -> String {
        let code = match self {
            Tone::Plain => return text.to_owned(),
            Tone::Good => "32",
            Tone::Warn => "33",
            Tone::Bad => "31",
            Tone::Faint => "2",
            Tone::Strong => "1",
        };
        match colours && !text.is_empty() {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_owned(),
        }
    }
}

/// Whether stdout may be coloured.
pub(super) fn colours() -> bool {
    allowed(no_color(), io::stdout().is_terminal())
}

/// Whether stderr may be coloured.
pub(super) fn error_colours() -> bool {
    allowed(no_color(), io::stderr().is_terminal())
}

fn no_color() -> bool {
    env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

fn allowed(no_color: bool, terminal: bool) -> bool {
    terminal && !no_color
}

/// Prints a result; `done` decides the exit code.
pub(super) fn out(text: &str, done: bool) -> ExitCode {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => ExitCode::FAILURE,
        _ => exit(done),
    }
}

/// Prints one JSON document.
pub(super) fn json(document: &Json, done: bool) -> ExitCode {
    out(&format!("{document:#}\n"), done)
}

/// Says why there is no result: for people on stderr, with `--json` as a document.
pub(super) fn failure(error: &str, as_json: bool) -> ExitCode {
    if as_json {
        return json(&json!({ "error": error }), false);
    }
    self::error(&format!("sagoo-edge: {}\n", harmless(error)))
}

/// What is said when a reply is none of ours.
pub(super) const ANOTHER_VERSION: &str = "the gateway answered something else: is it another version?";

/// Prints to stderr.
pub(super) fn error(text: &str) -> ExitCode {
    // Nobody is left to tell when stderr is closed.
    let _ = io::stderr().write_all(text.as_bytes());
    exit(false)
}

fn exit(done: bool) -> ExitCode {
    if done { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Without characters that could steer a terminal.
pub(super) fn harmless(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_for_terminals_without_no_color() {
        assert_eq!([allowed(false, true), allowed(true, true), allowed(false, false)], [true, false, false]);
        assert_eq!(Tone::Bad.paint("x", true), "\x1b[31mx\x1b[0m");
        assert_eq!(Tone::Bad.paint("x", false), "x");
    }

    #[test]
    fn text_of_a_device_cannot_steer_the_terminal() {
        assert_eq!(harmless("a\x1b[2J\u{9b}b\tc电"), "a\u{fffd}[2J\u{fffd}b\u{fffd}c电");
    }
}
