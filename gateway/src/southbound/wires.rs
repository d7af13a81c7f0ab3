//! How busy each line is, by what heartbeats say.
//!
//! Always true: a line is spoken for by the process that has it; a process that begins to count anew is
//! counted anew; what is remembered of a line is bounded.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use sagoo_edge_proto::driver as wire;
use tokio::time::Instant;

use super::life::Number;
use crate::status::LineStatus;

/// What "now" is taken over.
const WINDOW: Duration = Duration::from_secs(60);
/// Heartbeats closer than this to the one before are not remembered, so that [`MARKS`] cover the window.
const APART: Duration = Duration::from_secs(4);
const MARKS: usize = 16;

/// All lines of a driver.
#[derive(Debug, Default)]
pub struct Wires(BTreeMap<String, Wire>);

#[derive(Debug)]
struct Wire {
    of: Number,
    state: wire::LineState,
    /// When it was said last, and earlier.
    at: Instant,
    marks: VecDeque<Mark>,
}

/// What was counted at some time.
#[derive(Debug, Clone, Copy)]
struct Mark {
    at: Instant,
    busy_ms: u64,
    skipped: u64,
}

impl Wires {
    /// A heartbeat of the process that has these lines; names those that begin to leave polls out.
    pub fn heard(&mut self, now: Instant, of: Number, lines: Vec<wire::LineState>) -> Vec<String> {
        let mut begin = Vec::new();
        for state in lines {
            let name = state.connection.clone();
            let wire = self.0.entry(name.clone()).or_insert_with(|| Wire::new(now, of, &state));
            let counts_anew = state.busy_ms < wire.state.busy_ms || state.skipped < wire.state.skipped;
            if wire.of != of || counts_anew {
                *wire = Wire::new(now, of, &state);
            }
            let skipped_before = wire.skipped_of_late();
            wire.hear(now, state);
            if skipped_before == 0 && wire.skipped_of_late() > 0 {
                begin.push(name);
            }
        }
        begin
    }

    /// A process has ended: nobody speaks for its lines.
    pub fn gone(&mut self, of: Number) {
        self.0.retain(|_, wire| wire.of != of);
    }

    /// As status shows them.
    pub fn shown(&self) -> BTreeMap<String, LineStatus> {
        self.0.iter().map(|(name, wire)| (name.clone(), wire.shown())).collect()
    }
}

impl Wire {
    fn new(now: Instant, of: Number, state: &wire::LineState) -> Self {
        let mark = Mark { at: now, busy_ms: state.busy_ms, skipped: state.skipped };
        Self { of, state: state.clone(), at: now, marks: VecDeque::from([mark]) }
    }

    fn hear(&mut self, now: Instant, state: wire::LineState) {
        let mark = Mark { at: now, busy_ms: state.busy_ms, skipped: state.skipped };
        (self.state, self.at) = (state, now);
        if self.marks.back().is_none_or(|last| now.duration_since(last.at) >= APART) {
            self.marks.push_back(mark);
        }
        // the oldest one that is kept is the last one outside of the window
        while self.marks.len() > MARKS
            || self.marks.get(1).is_some_and(|next| now.duration_since(next.at) >= WINDOW)
        {
            self.marks.pop_front();
        }
    }

    fn skipped_of_late(&self) -> u64 {
        self.marks.front().map_or(0, |mark| self.state.skipped.saturating_sub(mark.skipped))
    }

    fn shown(&self) -> LineStatus {
        let since = self.marks.front().map(|mark| (*mark, self.at.duration_since(mark.at)));
        let busy = since.filter(|(_, time)| !time.is_zero()).map(|(mark, time)| {
            let busy = self.state.busy_ms.saturating_sub(mark.busy_ms) as f64;
            (busy * 100.0 / time.as_secs_f64() / 1_000.0).clamp(0.0, 100.0)
        });
        LineStatus {
            open: self.state.open,
            reason: self.state.reason.clone(),
            // tenths are as exact as heartbeats are
            busy_percent: busy.map(|percent| (percent * 10.0).round() / 10.0),
            busy_ms: self.state.busy_ms,
            skipped: self.state.skipped,
            skipped_last_minute: self.skipped_of_late(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(busy_ms: u64, skipped: u64) -> Vec<wire::LineState> {
        let connection = "bus".to_owned();
        vec![wire::LineState { connection, skipped, busy_ms, open: true, reason: String::new() }]
    }

    fn bus(wires: &Wires) -> LineStatus {
        wires.shown()["bus"].clone()
    }

    #[test]
    fn the_share_is_that_of_the_last_minute() {
        let (mut wires, begin) = (Wires::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        wires.heard(at(0), 1, line(0, 0));
        assert_eq!(bus(&wires).busy_percent, None, "one heartbeat tells no share");
        for second in 1..=100 {
            wires.heard(at(second), 1, line(second * 250, 0));
        }
        assert_eq!(bus(&wires).busy_percent, Some(25.0));
        // it turns idle: a minute later nothing is left of what was
        for second in 101..=170 {
            wires.heard(at(second), 1, line(25_000, 0));
        }
        assert_eq!((bus(&wires).busy_percent, bus(&wires).busy_ms), (Some(0.0), 25_000));
        assert!(wires.0["bus"].marks.len() <= MARKS);
    }

    #[test]
    fn polls_that_are_left_out_are_said_when_they_begin_and_forgotten_a_minute_after_the_last() {
        let (mut wires, begin) = (Wires::default(), Instant::now());
        let mut heard = |second: u64, skipped: u64| {
            let told = wires.heard(begin + Duration::from_secs(second), 1, line(0, skipped));
            (told.len(), wires.shown()["bus"].skipped_last_minute)
        };
        assert_eq!(heard(0, 7), (0, 0), "what was before is nothing new");
        assert_eq!(heard(5, 8), (1, 1));
        assert_eq!(heard(10, 12), (0, 5));
        for second in (15..=100).step_by(5) {
            heard(second, 12);
        }
        assert_eq!(heard(105, 12), (0, 0));
        assert_eq!(heard(110, 13), (1, 1));
    }

    #[test]
    fn a_process_that_has_the_line_now_counts_from_its_own_beginning() {
        let (mut wires, begin) = (Wires::default(), Instant::now());
        let at = |seconds: u64| begin + Duration::from_secs(seconds);
        wires.heard(at(0), 1, line(50_000, 90));
        wires.heard(at(10), 2, line(100, 2));
        wires.heard(at(20), 2, line(5_100, 2));
        let shown = bus(&wires);
        assert_eq!((shown.busy_percent, shown.skipped, shown.skipped_last_minute), (Some(50.0), 2, 0));
        wires.gone(1);
        assert_eq!(wires.shown().len(), 1, "it is another's");
        wires.gone(2);
        assert!(wires.shown().is_empty());
    }
}
