//! How many messages with rows may be un-acknowledged at a time: as many as the platform answers in time.
//!
//! ```text
//! answered within [`IN_TIME`] while somebody waited for a place   one more; after a shrink one more per
//!                                                                  round, as a network does it
//! timed out                                                       half, once for all that were out together
//! connection lost                                                 [`START`] again, if it was more
//! ```
//!
//! Always true: between [`LEAST`] and [`MOST`]; what is slower than [`IN_TIME`] never makes it grow,
//! because more on the way would only wait longer there, and what is new would wait behind it.

use std::time::{Duration, Instant};

/// Kept however slow the platform is.
pub const LEAST: usize = 4;
/// Before anything is known of the platform.
pub const START: usize = 32;
/// However fast it is; with probes and answers less than what the link may have un-acknowledged.
pub const MOST: usize = 192;
/// An answer within this time says that there is room for more.
pub const IN_TIME: Duration = Duration::from_millis(100);

/// See the module.
#[derive(Debug)]
pub struct Window {
    size: usize,
    /// Answers in time since it grew last.
    answers: usize,
    /// It was too large once: it grows slowly.
    careful: bool,
    /// What was sent before shared the fate that made it shrink.
    shrunk: Option<Instant>,
    /// Somebody waits for a place.
    wanted: bool,
}

impl Default for Window {
    fn default() -> Self {
        Self { size: START, answers: 0, careful: false, shrunk: None, wanted: false }
    }
}

impl Window {
    /// Messages that may be un-acknowledged now.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Whether somebody had to wait for a place, as of the last look.
    pub fn wanted(&mut self, wanted: bool) {
        self.wanted = wanted;
    }

    /// A message was answered.
    pub fn answered(&mut self, took: Duration) {
        if !self.wanted || took > IN_TIME {
            return;
        }
        self.answers += 1;
        if !self.careful || self.answers >= self.size {
            self.size = (self.size + 1).min(MOST);
            self.answers = 0;
        }
    }

    /// A message was not answered in time.
    pub fn timed_out(&mut self, sent: Instant, now: Instant) {
        if self.shrunk.is_some_and(|at| sent <= at) {
            return;
        }
        self.size = (self.size / 2).max(LEAST);
        (self.answers, self.careful, self.shrunk) = (0, true, Some(now));
    }

    /// Who is there next is not known.
    pub fn disconnected(&mut self) {
        self.size = self.size.min(START);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAST: Duration = Duration::from_millis(5);

    fn answer(window: &mut Window, times: usize, took: Duration) {
        for _ in 0..times {
            window.answered(took);
        }
    }

    #[test]
    fn answers_in_time_make_it_grow_to_the_most_but_only_while_somebody_waits() {
        let mut window = Window::default();
        answer(&mut window, 1_000, FAST);
        assert_eq!(window.size(), START, "nobody waited");
        window.wanted(true);
        answer(&mut window, 10, IN_TIME * 2);
        assert_eq!(window.size(), START, "they came late");
        answer(&mut window, 10, FAST);
        assert_eq!(window.size(), START + 10);
        answer(&mut window, 1_000, FAST);
        assert_eq!(window.size(), MOST);
        window.disconnected();
        assert_eq!(window.size(), START);
    }

    #[test]
    fn timeouts_of_one_round_halve_it_once_and_it_comes_back_slowly() {
        let (mut window, start) = (Window::default(), Instant::now());
        let later = start + Duration::from_secs(5);
        for message in 0..20 {
            window.timed_out(start + Duration::from_millis(message), later);
        }
        assert_eq!(window.size(), START / 2);
        window.wanted(true);
        answer(&mut window, START / 2, FAST);
        assert_eq!(window.size(), START / 2 + 1, "one more per round");
        for round in 1..9 {
            let sent = later + Duration::from_secs(10 * round);
            window.timed_out(sent, sent + Duration::from_secs(5));
        }
        assert_eq!(window.size(), LEAST);
    }
}
