//! One device's rows of one class that were read and are not settled.
//!
//! Always true: rows are in the order of their records; what the next row refers to is known.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::ahead::Ahead;
use super::lanes::{READ_AHEAD_ROWS, Reader};
use super::merge::Pace;
use super::queued::Queued;
use crate::config::types::Drain;
use crate::pipeline::handle::Settled;
use crate::pipeline::record::{Known, Sets};
use crate::row::Row;

/// See the module.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) device: Arc<str>,
    pub(super) rows: VecDeque<Queued>,
    pub(super) bytes: usize,
    pub(super) taken: u64,
    pub(super) behind: bool,
    /// It fell behind (again) since the running lap began, and has to wait for another one.
    pub(super) left_lap: bool,
    /// Last row with cells that was taken, while it waits to be settled: what the records after it refer to.
    context: Option<Arc<Row>>,
    /// The same, once nothing waits.
    settled: Option<Known>,
    /// When its first row came to the front.
    pub(super) front_since: Option<Instant>,
    /// Rows of the front record that are done, waiting for the others of the same record.
    pub(super) partial: Option<Settled>,
    pub(super) ahead: Ahead,
    /// No row that waits since an outage goes in its turn before.
    pub(super) rests_until: Option<Instant>,
    pub(super) pace: Pace,
}

impl Lane {
    /// Rows below `taken` are settled.
    pub(super) fn new(device: Arc<str>, taken: u64, drain: Drain) -> Self {
        Self {
            device,
            rows: VecDeque::new(),
            bytes: 0,
            taken,
            behind: false,
            left_lap: false,
            context: None,
            settled: None,
            front_since: None,
            partial: None,
            ahead: Ahead::default(),
            rests_until: None,
            pace: Pace::new(drain),
        }
    }

    /// A row with cells was taken.
    pub(super) fn refer_to(&mut self, row: Arc<Row>, sets: &mut Sets) {
        self.context = Some(row);
        self.settle_context(sets);
    }

    /// What the next row refers to.
    pub(super) fn context(&self) -> Option<Row> {
        match &self.context {
            Some(row) => Some((**row).clone()),
            None => self.settled.as_ref().map(Known::row),
        }
    }

    /// Where nothing waits, what is remembered takes as little memory as it can.
    pub(super) fn settle_context(&mut self, sets: &mut Sets) {
        if !self.rows.is_empty() {
            return;
        }
        let Some(row) = self.context.take() else { return };
        if !self.settled.as_mut().is_some_and(|settled| settled.follow(&row)) {
            self.settled = Some(Known::new(&row, sets));
        }
    }

    pub(super) fn push(&mut self, queued: Queued, now: Instant) {
        if !queued.row.cells.is_empty() {
            self.context = Some(queued.row.clone());
        }
        self.bytes += queued.bytes;
        self.front_since.get_or_insert(now);
        self.rows.push_back(queued);
    }

    pub(super) fn served_by(&self, reader: Reader) -> bool {
        match reader {
            Reader::Live => !self.behind,
            Reader::Scout => false,
            Reader::Lap { start } => self.behind && !self.left_lap && self.taken >= start,
        }
    }

    pub(super) fn full(&self, share: usize) -> bool {
        self.rows.len() >= READ_AHEAD_ROWS || (self.rows.len() >= 2 && self.bytes >= share)
    }

    pub(super) fn has_room(&self, share: usize) -> bool {
        self.rows.len() < 2 || (self.rows.len() <= READ_AHEAD_ROWS / 2 && self.bytes <= share / 2)
    }
}
