//! Requests to give lines up, until the last of their lines did.
//!
//! Always true: a request is answered once, when none of its connections is held any more and every
//! batch made until then went before the answer, or forgotten because a new configuration wants them
//! back; at most [`RELEASES`] wait for lines, and as many for batches.

use std::collections::{HashSet, VecDeque};

use sagoo_edge_proto::driver::Released;
use tracing::warn;

/// Most requests waiting; of more, the oldest is forgotten.
const RELEASES: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Releases {
    waiting: Vec<Waiting>,
    /// Lines are given up; the answer goes after the batch of this number.
    done: VecDeque<(u64, Released)>,
}

#[derive(Debug)]
struct Waiting {
    asked: Vec<String>,
    held: HashSet<String>,
}

impl Releases {
    /// Takes a request in. `held`: the lines it waits for; `last_seq`: the newest batch by now.
    pub(crate) fn begin(&mut self, asked: Vec<String>, held: Vec<String>, last_seq: u64) {
        if self.waiting.len() >= RELEASES {
            warn!("too many requests to release lines, the oldest is forgotten");
            self.waiting.remove(0);
        }
        self.waiting.push(Waiting { asked, held: held.into_iter().collect() });
        self.settle(last_seq);
    }

    /// A line was given up; `last_seq`: the newest batch by now.
    pub(crate) fn released(&mut self, connection: &str, last_seq: u64) {
        for waiting in &mut self.waiting {
            waiting.held.remove(connection);
        }
        self.settle(last_seq);
    }

    /// The next answer, when every batch before it went. `next_seq`: the next batch to go, if any.
    pub(crate) fn answer(&mut self, next_seq: Option<u64>) -> Option<Released> {
        let ready = |(after, _): &mut (u64, Released)| next_seq.is_none_or(|next| next > *after);
        self.done.pop_front_if(ready).map(|(_, released)| released)
    }

    /// Whether an answer waits for batches only.
    pub(crate) fn has_answers(&self) -> bool {
        !self.done.is_empty()
    }

    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
        self.done.clear();
    }

    fn settle(&mut self, last_seq: u64) {
        let done = self.waiting.extract_if(.., |waiting| waiting.held.is_empty());
        self.done.extend(done.map(|waiting| (last_seq, Released { connections: waiting.asked })));
        while self.done.len() > RELEASES {
            warn!("too many answers to release requests wait, the oldest is forgotten");
            self.done.pop_front();
        }
    }
}
