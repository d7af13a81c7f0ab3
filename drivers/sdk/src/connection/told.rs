//! What heartbeats tell of one line.
//!
//! Always true: counters only rise while the process lives, also when the line's settings change; a line
//! is called open when its last poll or read got through to it, whether the device answered or not.

use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::driver::LineState;
use tokio::sync::watch;

/// What is said of a line before its first request.
pub(crate) const NOT_USED_YET: &str = "not used yet";

/// The latest of one line; the session reads it, the line's task writes it.
#[derive(Debug, Clone)]
pub(crate) struct Told(Arc<watch::Sender<State>>);

#[derive(Debug)]
struct State {
    skipped: u64,
    busy: Duration,
    /// `Err`: why not.
    open: Result<(), String>,
}

impl Default for Told {
    fn default() -> Self {
        let state = State { skipped: 0, busy: Duration::ZERO, open: Err(NOT_USED_YET.to_owned()) };
        Self(Arc::new(watch::Sender::new(state)))
    }
}

impl Told {
    pub(crate) fn busy(&self, took: Duration) {
        self.0.send_modify(|state| state.busy += took);
    }

    /// Due polls were left out. Gives back how many by now.
    pub(crate) fn skipped(&self, more: u64) -> u64 {
        self.0.send_modify(|state| state.skipped += more);
        self.0.borrow().skipped
    }

    pub(crate) fn open(&self) {
        self.set(Ok(()));
    }

    pub(crate) fn closed(&self, reason: &str) {
        self.set(Err(reason.to_owned()));
    }

    pub(crate) fn state(&self, connection: &str) -> LineState {
        let state = self.0.borrow();
        LineState {
            connection: connection.to_owned(),
            skipped: state.skipped,
            busy_ms: u64::try_from(state.busy.as_millis()).unwrap_or(u64::MAX),
            open: state.open.is_ok(),
            reason: state.open.clone().err().unwrap_or_default(),
        }
    }

    fn set(&self, open: Result<(), String>) {
        self.0.send_if_modified(|state| {
            let changed = state.open != open;
            state.open = open;
            changed
        });
    }
}
