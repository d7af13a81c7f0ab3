//! A device's row as it is remembered: with the keys of all rows of its set, and with small values.
//!
//! Always true: the row that comes out is the one that went in.

use std::sync::Arc;

use super::compact::Compact;
use super::fingerprint;
use crate::row::{Cell, Identity, Row, Value};

/// Keys of a set, in their order.
type Keys = Arc<[Arc<str>]>;

/// The sets that known rows have: as many as there are kinds of devices.
#[derive(Debug, Default)]
pub struct Sets(Vec<Keys>);

impl Sets {
    fn of(&mut self, row: &Row) -> Keys {
        if let Some(keys) = self.0.iter().find(|keys| are_keys(keys, row)) {
            return keys.clone();
        }
        // those nobody has any more
        self.0.retain(|keys| Arc::strong_count(keys) > 1);
        let keys: Keys = row.cells.iter().map(|cell| cell.key.clone()).collect();
        self.0.push(keys.clone());
        keys
    }

    /// No row is known.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// See the module.
#[derive(Debug)]
pub struct Known {
    device: Arc<str>,
    identity: Identity,
    time_ms: i64,
    samples: u32,
    /// Fingerprint of its set.
    pub(super) set: u32,
    keys: Keys,
    cells: Box<[(Compact, i64)]>,
}

impl Known {
    /// A row with cells.
    pub fn new(row: &Row, sets: &mut Sets) -> Self {
        Self {
            device: row.device.clone(),
            identity: row.identity.clone(),
            time_ms: row.time_ms,
            samples: row.samples,
            set: fingerprint(row),
            keys: sets.of(row),
            cells: row.cells.iter().map(|cell| (cell.value.clone().into(), cell.time_ms)).collect(),
        }
    }

    /// Takes a newer row over; false: it has another set.
    pub fn follow(&mut self, row: &Row) -> bool {
        if !self.has_set_of(row) {
            return false;
        }
        (self.time_ms, self.samples) = (row.time_ms, row.samples);
        for ((value, time_ms), cell) in self.cells.iter_mut().zip(&row.cells) {
            value.set(&cell.value);
            *time_ms = cell.time_ms;
        }
        true
    }

    /// The row.
    pub fn row(&self) -> Row {
        let cells = self.keys.iter().zip(&self.cells).map(|(key, (value, time_ms))| Cell {
            key: key.clone(),
            value: value.value(),
            time_ms: *time_ms,
        });
        Row {
            device: self.device.clone(),
            identity: self.identity.clone(),
            time_ms: self.time_ms,
            cells: cells.collect(),
            event: None,
            samples: self.samples,
        }
    }

    /// Whether it is of the same device with the same keys.
    pub(super) fn has_set_of(&self, row: &Row) -> bool {
        self.device == row.device && self.identity == row.identity && are_keys(&self.keys, row)
    }

    /// Whether the cell at this place is the same.
    pub(super) fn has(&self, place: usize, cell: &Cell) -> bool {
        let (value, time_ms) = &self.cells[place];
        *time_ms == cell.time_ms && *value == cell.value
    }

    /// Cells in its set.
    pub(super) fn len(&self) -> usize {
        self.cells.len()
    }

    /// What a newer row begins with; its changed cells follow.
    pub(super) fn begin(&mut self, time_ms: i64, samples: u32) {
        (self.time_ms, self.samples) = (time_ms, samples);
    }

    /// One cell changed.
    pub(super) fn change(&mut self, place: usize, value: Value, time_ms: i64) {
        self.cells[place] = (value.into(), time_ms);
    }
}

fn are_keys(keys: &[Arc<str>], row: &Row) -> bool {
    keys.len() == row.cells.len() && keys.iter().zip(&row.cells).all(|(key, cell)| *key == cell.key)
}
