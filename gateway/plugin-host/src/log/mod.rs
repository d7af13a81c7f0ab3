//! What a plugin says, into `tracing`: stderr at each line's own level, what it printed at debug.
//!
//! Always true: any line becomes exactly one event under the target [`DRIVER`], in text that cannot
//! pass for another line; a plugin that says more than [`allowance`] grants is cut short in the log,
//! and one event says by how much; the last lines of stderr are kept either way.

mod allowance;
mod line;

use std::borrow::Cow;
use std::collections::VecDeque;

use tokio::sync::watch;
use tracing::Level;

use crate::LAST_LINES;
use crate::pipe::{Lines, Piece};
use allowance::Allowance;
use line::{Entry, Reader};

/// Target of every event that is a plugin's and not ours.
const DRIVER: &str = "driver";
/// How much of a line the last lines keep.
const KEPT_CHARS: usize = 512;

/// Takes a plugin's stderr in any pieces.
#[derive(Debug)]
pub(crate) struct Stderr {
    lines: Lines,
    says: Says,
}

#[derive(Debug)]
struct Says {
    driver: String,
    reader: Reader,
    allowance: Allowance,
    last: watch::Sender<VecDeque<String>>,
}

impl Stderr {
    pub(crate) fn new(driver: String) -> (Self, watch::Receiver<VecDeque<String>>) {
        let (last, receiver) = watch::channel(VecDeque::new());
        let says = Says { driver, reader: Reader::default(), allowance: Allowance::default(), last };
        (Self { lines: Lines::default(), says }, receiver)
    }

    /// Gives back all of it: there is nothing in stderr that is not for everybody.
    pub(crate) fn push<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let Self { lines, says } = self;
        lines.push(bytes, |piece| says.one(&piece));
        bytes
    }

    pub(crate) fn finish(mut self) {
        let Self { lines, says } = &mut self;
        lines.finish(|piece| says.one(&piece));
        says.allowance.finish(&says.driver);
    }
}

impl Says {
    fn one(&mut self, piece: &Piece<'_>) {
        let entry = self.reader.read(piece);
        if entry.message.is_empty() && entry.fields.is_empty() {
            // an event like any other, but nothing a report needs
            return emit(&self.driver, None, &entry, &mut self.allowance);
        }
        emit(&self.driver, None, &entry, &mut self.allowance);
        let mut kept = entry.message;
        if !entry.fields.is_empty() {
            kept = format!("{kept} {}", entry.fields);
        }
        if let Some((end, _)) = kept.char_indices().nth(KEPT_CHARS) {
            kept.truncate(end);
            kept.shrink_to_fit();
        }
        self.last.send_modify(|lines| {
            if lines.len() == LAST_LINES {
                lines.pop_front();
            }
            lines.push_back(kept);
        });
    }
}

/// Takes what a plugin printed, from one stream, in any pieces.
#[derive(Debug)]
pub(crate) struct Printed {
    driver: String,
    stream: &'static str,
    lines: Lines,
    allowance: Allowance,
}

impl Printed {
    pub(crate) fn new(driver: String, stream: &'static str) -> Self {
        Self { driver, stream, lines: Lines::default(), allowance: Allowance::default() }
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let Self { driver, stream, lines, allowance } = self;
        lines.push(bytes, |piece| printed(driver, stream, &piece, allowance));
    }

    pub(crate) fn finish(mut self) {
        let Self { driver, stream, lines, allowance } = &mut self;
        lines.finish(|piece| printed(driver, stream, &piece, allowance));
        allowance.finish(driver);
    }
}

fn printed(driver: &str, stream: &str, piece: &Piece<'_>, allowance: &mut Allowance) {
    if !tracing::enabled!(target: DRIVER, Level::DEBUG) {
        return;
    }
    let text = String::from_utf8_lossy(piece.bytes());
    emit(driver, Some(stream), &Entry::plain(Level::DEBUG, &text), allowance);
}

/// One event, if anybody listens at its level and the plugin has not said too much.
fn emit(driver: &str, stream: Option<&str>, entry: &Entry, allowance: &mut Allowance) {
    let Entry { message, fields, .. } = entry;
    macro_rules! at {
        ($level:ident) => {
            if tracing::enabled!(target: DRIVER, Level::$level)
                && allowance.grants(driver, message.len() + fields.len())
            {
                if fields.is_empty() {
                    tracing::event!(target: DRIVER, Level::$level, driver, stream, "{message}")
                } else {
                    // as a line of our own reads, values behind the sentence
                    tracing::event!(target: DRIVER, Level::$level, driver, stream, "{message} {fields}")
                }
            }
        };
    }
    match entry.level {
        Level::TRACE => at!(TRACE),
        Level::DEBUG => at!(DEBUG),
        Level::INFO => at!(INFO),
        Level::WARN => at!(WARN),
        Level::ERROR => at!(ERROR),
    }
}

/// Text of a plugin, fit for one line of a log: what would start a new line, move the cursor or turn
/// the direction of reading is written out.
fn harmless(text: &str) -> Cow<'_, str> {
    if !text.contains(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_harmful(c) {
            true => out.extend(c.escape_debug()),
            false => out.push(c),
        }
    }
    Cow::Owned(out)
}

fn is_harmful(c: char) -> bool {
    match c {
        '\t' => false,
        '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' => true,
        '\u{2066}'..='\u{2069}' | '\u{feff}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests;
