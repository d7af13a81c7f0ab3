//! The line that says what is being measured.
//!
//! Always true: it goes to stderr, so that stdout holds results only; a terminal sees one line that
//! moves, everything else a line per step.

use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Steps on their way.
#[derive(Debug)]
pub struct Progress {
    moves: bool,
    began: Instant,
}

impl Progress {
    /// Nothing shown yet.
    pub fn new() -> Self {
        Self { moves: std::io::stderr().is_terminal(), began: Instant::now() }
    }

    /// Says what is being done now.
    pub fn say(&self, step: &str) {
        let seconds = self.began.elapsed().as_secs();
        let clock = format!("{}:{:02}", seconds / 60, seconds % 60);
        let line =
            if self.moves { format!("\r\x1b[K{clock:>6}  {step}") } else { format!("{clock:>6}  {step}\n") };
        write(&line);
    }
}

impl Default for Progress {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.moves {
            write("\r\x1b[K");
        }
    }
}

/// Nobody has to look.
fn write(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
