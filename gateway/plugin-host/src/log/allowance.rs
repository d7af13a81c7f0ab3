//! How much of what a plugin says goes into the log.
//!
//! Always true: at most [`BYTES_PER_WINDOW`] in each [`WINDOW`], and the first event after a window
//! in which lines were dropped says how many. Lines nobody listens to cost nothing. What a plugin
//! says is read all the same: it never waits for our log.

use std::time::Duration;

use tokio::time::Instant;

/// Some 30 000 short lines.
pub(super) const BYTES_PER_WINDOW: usize = 4 << 20;
/// How often the allowance is new.
pub(super) const WINDOW: Duration = Duration::from_secs(10);
/// What a line costs besides its text: time, level and the driver's name are written with it.
pub(super) const PER_LINE: usize = 64;

/// Of one stream of one plugin.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    window: Option<Instant>,
    used: usize,
    dropped: u64,
}

impl Allowance {
    /// Whether a line of so many bytes may go into the log.
    pub(super) fn grants(&mut self, driver: &str, bytes: usize) -> bool {
        let now = Instant::now();
        if self.window.is_none_or(|since| now.duration_since(since) >= WINDOW) {
            self.finish(driver);
            self.window = Some(now);
            self.used = 0;
        }
        if self.used >= BYTES_PER_WINDOW {
            self.dropped += 1;
            return false;
        }
        self.used += bytes + PER_LINE;
        true
    }

    /// Says what was dropped so far.
    pub(super) fn finish(&mut self, driver: &str) {
        if self.dropped > 0 {
            let lines = std::mem::take(&mut self.dropped);
            tracing::warn!(driver, lines, "driver says too much, lines of its log dropped");
        }
    }
}
