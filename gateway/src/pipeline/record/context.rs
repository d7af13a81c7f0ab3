//! What was written so far in a segment, for the rows that are written next.
//!
//! Always true: a row is referred to only when two records of the segment have its set in full.

use std::collections::HashMap;
use std::sync::Arc;

use super::known::{Known, Sets};
use crate::row::Row;

/// The devices' rows written so far in a segment.
#[derive(Debug, Default)]
pub struct Context {
    devices: HashMap<Arc<str>, Stated>,
    sets: Sets,
    records: u64,
}

/// A row whose set has been written in full.
#[derive(Debug)]
struct Stated {
    known: Known,
    /// The record that did it first.
    since: u64,
    /// Another one did it again.
    twice: bool,
}

impl Context {
    /// These rows were written, as one record.
    pub fn remember(&mut self, rows: &[Row]) {
        self.records += 1;
        for row in rows.iter().filter(|row| !row.cells.is_empty()) {
            if let Some(stated) = self.devices.get_mut(&row.device)
                && stated.known.follow(row)
            {
                stated.twice |= stated.since != self.records;
                continue;
            }
            let known = Known::new(row, &mut self.sets);
            let stated = Stated { known, since: self.records, twice: false };
            self.devices.insert(row.device.clone(), stated);
        }
    }

    /// The device's last row, where it may be referred to: two records state its set in full.
    pub(super) fn known(&self, device: &str) -> Option<&Known> {
        self.devices.get(device).filter(|stated| stated.twice).map(|stated| &stated.known)
    }

    /// A segment begins.
    pub fn clear(&mut self) {
        self.devices.clear();
        self.sets.clear();
    }

    /// Whether a row of this device is known.
    pub fn has(&self, device: &str) -> bool {
        self.devices.contains_key(device)
    }

    /// Whether no row is known.
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }
}
