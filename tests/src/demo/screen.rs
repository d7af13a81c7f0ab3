//! The terminal: drawn over in place while the demo runs, and given back as it was.
//!
//! Always true: without a terminal nothing but plain lines is written; whatever ends the demo, the
//! cursor and the text that stood there come back.

use std::io::{self, IsTerminal, Write};

/// Other screen, cursor hidden, long lines cut instead of wrapped.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[?1049l";

/// Colours by what they mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    /// Headings.
    Strong,
    /// What one may overlook.
    Faint,
    /// As it should be.
    Good,
    /// Look here.
    Bad,
    /// What moves.
    Alive,
}

/// Puts colours into text, or leaves them out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Paint {
    /// `NO_COLOR` is not set.
    pub(super) colours: bool,
}

impl Paint {
    /// `text` in this tone.
    pub(super) fn put(self, tone: Tone, text: &str) -> String {
        if !self.colours {
            return text.to_owned();
        }
        let code = match tone {
            Tone::Strong => "1",
            Tone::Faint => "2",
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Alive => "1;36",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Where the demo shows itself.
pub(super) struct Screen {
    /// How it may look.
    pub(super) paint: Paint,
    drawing: bool,
}

impl Screen {
    /// Takes the terminal, if there is one that can be drawn on.
    pub(super) fn open() -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb");
        let drawing = io::stdout().is_terminal() && !dumb;
        if drawing {
            write(ENTER);
        }
        Self { paint: Paint { colours: drawing && !set("NO_COLOR") }, drawing }
    }

    /// Whether frames are drawn; otherwise lines are printed.
    pub(super) fn draws(&self) -> bool {
        self.drawing
    }

    /// Draws a frame over the one before, in one write, so that nothing flickers.
    pub(super) fn draw(&self, frame: &[String]) {
        let mut text = String::from("\x1b[H");
        for line in frame {
            text.push_str(line);
            text.push_str("\x1b[K\r\n");
        }
        text.push_str("\x1b[J");
        write(&text);
    }

    /// Gives the terminal back; what is printed from now on stays.
    pub(super) fn close(&mut self) {
        if std::mem::take(&mut self.drawing) {
            write(LEAVE);
        }
    }

    /// Prints a line.
    pub(super) fn print(&self, line: &str) {
        write(&format!("{line}\n"));
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.close();
    }
}

/// Whoever closed the other end does not want to see it; the demo goes on to its verdict.
fn write(text: &str) {
    let mut out = io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
