//! Rows that a newer one stands for are not sent: *merged*. A row is a full snapshot, each cell with its
//! own time, so the newest value of each point wins by sending the newer row as it was stored. Nothing is
//! rebuilt: ids and bytes of what is sent are those it always had, and the older row is settled as merged
//! while the newer one is in the buffer and not yet sent. A kill in between repeats the decision or sends
//! the older row after all; it loses and counts nothing twice.
//!
//! ```text
//! drain = "latest-only"   always: of what waits only the newest row of a device is sent
//! otherwise               only when a device's rows came faster than they could be sent for all of
//!                         [`MERGE_AFTER`] and those that wait span at least as much: then each message
//!                         stands for as many rows as it takes to catch up, until they span half of that
//! ```
//!
//! Always true: a row is merged only into the next one of its device with the same keys; never an event,
//! one that is on its way, or one that cannot be rebuilt; without need none is merged.

use std::time::{Duration, Instant};

use super::queued::Queued;
use crate::config::types::Drain;

/// How long rows must come too fast, and how much they must span, before they are merged.
pub const MERGE_AFTER: Duration = Duration::from_secs(300);
/// Rows one message stands for at most.
pub const MERGE_MOST: u32 = 64;

/// How fast rows of a device come and go.
#[derive(Debug)]
pub struct Pace {
    drain: Drain,
    since: Option<Instant>,
    came: u32,
    went: u32,
    sent: u32,
    /// Time of the newest row that came.
    newest_ms: i64,
    /// Between it and the one before.
    period: Option<Duration>,
    /// Rows each message stands for.
    stride: u32,
    /// Merged since the last message.
    merged: u32,
}

impl Pace {
    /// Nothing came yet.
    pub fn new(drain: Drain) -> Self {
        Self {
            drain,
            since: None,
            came: 0,
            went: 0,
            sent: 0,
            newest_ms: 0,
            period: None,
            stride: 1,
            merged: 0,
        }
    }

    /// A row was stored just now.
    pub fn came(&mut self, time_ms: i64) {
        self.came = self.came.saturating_add(1);
        if self.newest_ms != 0 {
            let period = u64::try_from(time_ms.saturating_sub(self.newest_ms)).ok();
            self.period = period.map(Duration::from_millis);
        }
        self.newest_ms = time_ms;
    }

    /// The time between the last two rows that came, if it is known.
    pub fn period(&self) -> Option<Duration> {
        self.period
    }

    /// A row is settled.
    pub fn went(&mut self, merged: bool) {
        self.went = self.went.saturating_add(1);
        if merged {
            self.merged += 1;
        } else {
            self.sent = self.sent.saturating_add(1);
            self.merged = 0;
        }
    }

    /// The device cannot be sent to, or keeps up: no need.
    pub fn rest(&mut self) {
        (self.since, self.stride) = (None, 1);
    }

    /// Rows of the device wait, this one first, and could be sent.
    pub fn judge(&mut self, front_ms: i64, now: Instant) {
        let span = Duration::from_millis(self.newest_ms.saturating_sub(front_ms).max(0) as u64);
        if span < MERGE_AFTER / 2 {
            self.stride = 1;
        }
        let since = *self.since.get_or_insert_with(|| {
            (self.came, self.went, self.sent) = (0, 0, 0);
            now
        });
        if now.saturating_duration_since(since) < MERGE_AFTER {
            return;
        }
        if span >= MERGE_AFTER && self.came > self.went {
            self.stride = (self.came / self.sent.max(1) + 1).min(MERGE_MOST);
        }
        self.since = None;
    }

    /// The front row may be merged into the next one.
    pub fn merges(&self, front: &Queued, next: &Queued) -> bool {
        let wanted = self.drain == Drain::LatestOnly || self.merged + 1 < self.stride;
        wanted && stands_for(next, front)
    }
}

fn stands_for(newer: &Queued, older: &Queued) -> bool {
    let whole = |queued: &Queued| !queued.damaged && queued.set.is_some();
    whole(newer) && whole(older) && newer.set == older.set && newer.peer == older.peer
}
