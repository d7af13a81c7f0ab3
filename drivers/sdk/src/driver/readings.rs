//! What one poll or read brings back, while it is made.
//!
//! Always true: a reading is a value that can be told truthfully or a reason why there is none, with the
//! time its answer arrived.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sagoo_edge_proto::clock;
use sagoo_edge_proto::sample::Value;

/// What one poll or read brought back.
#[derive(Debug, Default)]
pub struct Readings {
    pub(crate) readings: Vec<Reading>,
    steps: Steps,
    turns: Turns,
}

impl Readings {
    pub(crate) fn counted(steps: &Steps) -> Self {
        Self { readings: Vec::new(), steps: steps.clone(), turns: Turns::default() }
    }

    /// Before a call of `poll`, the first or a further one.
    pub(crate) fn begin(&mut self, waiting: Waiting) {
        let resumed = std::mem::take(&mut self.turns.paused);
        self.turns = Turns { waiting, paused: false, resumed };
    }

    /// After a call of `poll` that was no error: whether it stopped to go on later.
    pub(crate) fn is_paused(&self) -> bool {
        self.turns.paused
    }

    pub(crate) fn steps(&self) -> Steps {
        self.steps.clone()
    }

    /// A good value, read now.
    pub fn good(&mut self, point: usize, value: Value) {
        self.good_at(point, value, clock::boot_ns());
    }

    /// A good value from an answer that arrived at `boot_ns`: one stamp for a whole block. A float
    /// that is infinite or not a number is no value, and is kept as a bad reading that says so.
    pub fn good_at(&mut self, point: usize, value: Value, boot_ns: u64) {
        let value = if is_number(&value) { Ok(value) } else { Err("not a number".to_owned()) };
        self.push(Reading { point, value, boot_ns });
    }

    /// No value, and why; the device itself answered.
    pub fn bad(&mut self, point: usize, reason: impl Into<String>) {
        self.push(Reading { point, value: Err(reason.into()), boot_ns: clock::boot_ns() });
    }

    fn push(&mut self, reading: Reading) {
        self.readings.push(reading);
        self.steps.make();
    }

    /// Asked between two requests of a poll: true when a command waits for the line, or the line is
    /// wanted otherwise. Then return `Ok(())` at once: `poll` is called again with the same device, poll
    /// and readings to make the requests that are left, and [`resumes`](Self::resumes) is true then.
    ///
    /// Ask after a request, while another is left: a call that makes no request does not get on. In
    /// between the line is used for other things, and may have been closed. A poll that nobody wants
    /// any more is not resumed; what it read until then counts. A driver that never asks makes
    /// commands wait for the whole poll.
    ///
    /// It also says that the poll gets on: a request more was made, whatever it brought.
    pub fn pauses(&mut self) -> bool {
        self.steps.make();
        self.turns.paused = self.turns.waiting.somebody();
        self.turns.paused
    }

    /// Whether this call goes on with a poll that stopped at [`pauses`](Self::pauses).
    pub fn resumes(&self) -> bool {
        self.turns.resumed
    }

    /// What was read so far.
    pub fn readings(&self) -> &[Reading] {
        &self.readings
    }
}

/// One point, read.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Number of the point.
    pub point: usize,
    /// Value, or why there is none.
    pub value: Result<Value, String>,
    /// When the answer arrived, nanoseconds since boot.
    pub boot_ns: u64,
}

/// Lets a command in between two requests of a poll.
#[derive(Debug, Default)]
struct Turns {
    waiting: Waiting,
    /// The poll stopped for somebody, and goes on later.
    paused: bool,
    /// It is going on after such a stop.
    resumed: bool,
}

/// Says whether somebody waits for the line. Asked of the queue itself, so there is nothing to set, to
/// clear or to miss.
#[derive(Clone, Default)]
pub(crate) struct Waiting(Option<Arc<dyn Fn() -> bool + Send + Sync>>);

impl Waiting {
    pub(crate) fn when(somebody: impl Fn() -> bool + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(somebody)))
    }

    fn somebody(&self) -> bool {
        self.0.as_ref().is_some_and(|somebody| somebody())
    }
}

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Waiting").field(&self.somebody()).finish()
    }
}

/// Counts readings and requests while they are made, for those who watch that they are. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Steps(Arc<AtomicUsize>);

impl Steps {
    fn make(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn made(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// False for a float that is infinite or not a number: nothing past a driver can tell it truthfully.
pub(crate) fn is_number(value: &Value) -> bool {
    !matches!(value, Value::Float(value) if !value.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_that_brought_nothing_is_a_step_all_the_same() {
        let steps = Steps::default();
        let mut out = Readings::counted(&steps);
        out.good(0, Value::Bool(true));
        let read = steps.made();
        assert!(!out.pauses() && steps.made() > read, "silent requests of a long poll are no standstill");
    }
}
