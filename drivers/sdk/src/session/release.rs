//! Requests to give lines up, until the last of their lines did.
//!
//! Always true: a request is answered once, when none of its connections is held any more, or
//! forgotten because a new configuration wants them back; at most [`RELEASES`] wait.

use std::collections::HashSet;

use sagoo_edge_proto::driver::Released;
use tracing::warn;

/// Most requests waiting; of more, the oldest is forgotten.
const RELEASES: usize = 16;

#[derive(Debug, Default)]
pub(crate) struct Releases {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    asked: Vec<String>,
    held: HashSet<String>,
}

impl Releases {
    /// Takes a request in; its answer at once when none of its connections is held.
    pub(crate) fn begin(&mut self, asked: Vec<String>, held: Vec<String>) -> Option<Released> {
        if held.is_empty() {
            return Some(Released { connections: asked });
        }
        if self.waiting.len() >= RELEASES {
            warn!("too many requests to release lines, the oldest is forgotten");
            self.waiting.remove(0);
        }
        self.waiting.push(Waiting { asked, held: held.into_iter().collect() });
        None
    }

    /// A line was given up; the answers this completes.
    pub(crate) fn released(&mut self, connection: &str) -> Vec<Released> {
        for waiting in &mut self.waiting {
            waiting.held.remove(connection);
        }
        let done = self.waiting.extract_if(.., |waiting| waiting.held.is_empty());
        done.map(|waiting| Released { connections: waiting.asked }).collect()
    }

    pub(crate) fn forget(&mut self) {
        self.waiting.clear();
    }
}
