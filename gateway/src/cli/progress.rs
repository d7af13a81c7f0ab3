//! A bar while something takes long, in a terminal only.
//!
//! Always true: it is on stderr and gone when the work is done; quick work and `--json` show none.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use super::{human, print};

/// Work that is done sooner shows no bar.
const PATIENCE: Duration = Duration::from_millis(300);
/// Time between two pictures.
const PICTURE: Duration = Duration::from_millis(100);
const WIDTH: u64 = 30;

/// A bar, or nothing.
pub(super) struct Progress {
    what: String,
    shown: bool,
    next: Instant,
    visible: bool,
}

impl Progress {
    /// `what` is done, like `checking driver-x.zip`.
    pub(super) fn new(what: impl Into<String>, as_json: bool) -> Self {
        let visible = !as_json && io::stderr().is_terminal();
        Self { what: what.into(), shown: false, next: Instant::now() + PATIENCE, visible }
    }

    /// So many bytes are done of so many.
    pub(super) fn at(&mut self, done: u64, total: u64) {
        self.show(done, total, || format!("{} of {}", human::bytes(done), human::bytes(total)));
    }

    /// So many steps are done of so many, and this is the next.
    pub(super) fn step(&mut self, done: u64, total: u64, now: &str) {
        self.show(done, total, || {
            format!("{} of {}  {}", human::count(done), human::count(total), print::harmless(now))
        });
    }

    /// Makes room for a line of text; the bar comes back with what is done next.
    pub(super) fn hide(&mut self) {
        if self.shown {
            self.draw("");
            (self.shown, self.next) = (false, Instant::now());
        }
    }

    fn show(&mut self, done: u64, total: u64, amount: impl Fn() -> String) {
        let now = Instant::now();
        if !self.visible || now < self.next {
            return;
        }
        self.next = now + PICTURE;
        self.shown = true;
        self.draw(&picture(&self.what, done, total, &amount()));
    }

    fn draw(&self, line: &str) {
        // a terminal that went away takes no picture, and nobody misses it
        let _ = write!(io::stderr(), "\r\x1b[2K{line}").and_then(|()| io::stderr().flush());
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.hide();
    }
}

fn picture(what: &str, done: u64, total: u64, amount: &str) -> String {
    let total = total.max(1);
    let full = (done.min(total) * WIDTH / total) as usize;
    let bar = "#".repeat(full) + &"·".repeat(WIDTH as usize - full);
    let percent = done.min(total) * 100 / total;
    format!("{what}  {bar}  {percent:>3} %  {amount}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_fills_from_left_to_right() {
        assert_eq!(picture("x", 0, 100, "0 B"), format!("x  {}    0 %  0 B", "·".repeat(30)));
        let half = format!("x  {}{}   50 %  1 of 2", "#".repeat(15), "·".repeat(15));
        assert_eq!(picture("x", 1 << 20, 2 << 20, "1 of 2"), half);
        assert!(picture("x", 7, 0, "").contains("100 %"), "an empty package is done");
    }
}
