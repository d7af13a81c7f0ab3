//! Messages that come again (sagooiot.md R5): the same id is the same bytes, and it comes neither in a hurry
//! nor after its answer nor for ever.
//!
//! ```text
//! first ── ack_timeout ─▶ second ── ack_timeout + 1 s ─▶ third, and the last
//! ```
//! Always true: pure. Bytes are compared for ever, the rest on one connection of the sender: a new
//! connection may belong to a process that knows nothing of what was sent and answered before it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::core::KEEP;
use super::judge::Message;

/// The first of two may have been on its way for so much longer than the second. Both are on one way, and
/// the second leaves only after a later question was answered.
const ON_ITS_WAY: Duration = Duration::from_millis(500);
/// An answer has been heard so long after it was given; what left before that may arrive after it.
const HEARD_WITHIN: Duration = Duration::from_secs(1);
/// Each pause is longer than the one before, by this at least.
const GROWS_BY: Duration = Duration::from_secs(1);
/// Tries on one connection; then a message is given up.
pub(crate) const MOST_TIMES: u32 = 3;

/// All ids so far.
#[derive(Debug, Default)]
pub(super) struct Again {
    /// How long the sender waits for an answer; `None`: nobody has said, only bytes are compared.
    ack_timeout: Option<Duration>,
    /// Counts the sender's connections.
    connection: u64,
    seen: HashMap<String, Seen>,
}

#[derive(Debug)]
struct Seen {
    topic: String,
    payload: Vec<u8>,
    at: Instant,
    connection: u64,
    /// On this connection.
    times: u32,
    /// On this connection.
    answered: Option<Instant>,
}

impl Again {
    pub(super) fn new(ack_timeout: Option<Duration>) -> Self {
        Self { ack_timeout, ..Self::default() }
    }

    /// Whether this message came before, and what is wrong with that.
    pub(super) fn arrived(&mut self, message: &Message, id: &str, now: Instant) -> (bool, Vec<String>) {
        let is_post = message.topic.ends_with("/post");
        if id.is_empty() || !is_post {
            return (false, Vec::new());
        }
        let connection = self.connection;
        let Some(seen) = self.seen.get_mut(id) else {
            if self.seen.len() >= KEEP {
                self.seen.clear();
            }
            let (topic, payload) = (message.topic.clone(), message.payload.clone());
            let seen = Seen { topic, payload, at: now, connection, times: 1, answered: None };
            self.seen.insert(id.to_owned(), seen);
            return (false, Vec::new());
        };
        if seen.topic != message.topic || seen.payload != message.payload {
            return (false, vec![format!("id {id:?} again with another topic or other bytes")]);
        }
        let wrong = match self.ack_timeout {
            Some(timeout) if seen.connection == connection => seen.hurry(id, timeout, now),
            _ => Vec::new(),
        };
        if seen.connection != connection {
            (seen.connection, seen.times, seen.answered) = (connection, 0, None);
        }
        (seen.at, seen.times) = (now, seen.times + 1);
        (true, wrong)
    }

    /// Its answer reaches the broker at this moment.
    pub(super) fn answered(&mut self, id: &str, at: Instant) {
        let connection = self.connection;
        if let Some(seen) = self.seen.get_mut(id).filter(|seen| seen.connection == connection) {
            seen.answered.get_or_insert(at);
        }
    }

    /// The sender's connection has ended, or we were away and cannot know.
    pub(super) fn connection_changed(&mut self) {
        self.connection += 1;
    }

    /// Somebody asks for it to be sent again: it may come at once, and has its tries anew.
    pub(super) fn asked_for(&mut self, id: &str) {
        if let Some(seen) = self.seen.get_mut(id) {
            // of no connection that there will be
            seen.connection = u64::MAX;
        }
    }
}

impl Seen {
    /// It comes again at this moment, on the same connection.
    fn hurry(&self, id: &str, timeout: Duration, now: Instant) -> Vec<String> {
        let mut wrong = Vec::new();
        let pause = now.saturating_duration_since(self.at);
        let least = timeout + GROWS_BY * self.times.saturating_sub(1);
        if pause + ON_ITS_WAY < least {
            wrong.push(format!(
                "id {id:?} again after {pause:?}; at least {least:?} after it came for the {}. time",
                self.times
            ));
        }
        if let Some(answered) = self.answered.filter(|at| now > *at + HEARD_WITHIN) {
            wrong.push(format!("id {id:?} again {:?} after its answer", now - answered));
        }
        if self.times >= MOST_TIMES {
            wrong.push(format!("id {id:?} for the {}. time; {MOST_TIMES} are tries enough", self.times + 1));
        }
        wrong
    }
}
