//! A row as the lanes keep it.
//!
//! Always true: what a row takes in memory is known, about.

use std::sync::Arc;

use crate::pipeline::handle::Fate;
use crate::pipeline::record::Damaged;
use crate::row::{Identity, Row};

/// Index of a row in its record.
pub type Place = u32;

/// A row in a lane.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its record.
    pub seq: u64,
    /// Its place in the record.
    pub place: Place,
    /// What to send.
    pub row: Arc<Row>,
    /// Index of the key it is sent under.
    pub peer: usize,
    /// Fingerprint of the property set it says.
    pub set: Option<u64>,
    /// It could not be rebuilt: only device and samples are known, and it is settled without being sent.
    pub damaged: bool,
    pub(super) bytes: usize,
}

impl Queued {
    /// Nothing to say: settled without being sent.
    pub fn is_empty(&self) -> bool {
        self.row.cells.is_empty() && self.row.event.is_none()
    }

    /// How it ends if it has nothing to say.
    pub fn unsaid(&self) -> Option<Fate> {
        let fate = if self.damaged { Fate::Damaged } else { Fate::Acknowledged };
        self.is_empty().then_some(fate)
    }
}

/// A row as it was read, or what is left of it.
#[derive(Debug)]
pub enum Offered {
    /// To be sent.
    Row(Row),
    /// To be settled in its turn.
    Damaged(Damaged),
}

impl Offered {
    /// Whose it is.
    pub fn device(&self) -> &Arc<str> {
        match self {
            Self::Row(row) => &row.device,
            Self::Damaged(row) => &row.device,
        }
    }
}

/// Keeps the place of a row that cannot be rebuilt.
pub fn blank(damaged: Damaged) -> Row {
    Row {
        device: damaged.device,
        identity: Identity { product_key: "".into(), device_key: "".into() },
        time_ms: 0,
        cells: Vec::new(),
        event: None,
        samples: damaged.samples,
    }
}

/// What a row takes in memory, about.
pub fn footprint(row: &Row) -> usize {
    use crate::row::Value;
    let heap = |value: &Value| match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let cells: usize = row.cells.iter().map(|cell| size_of_val(cell) + heap(&cell.value)).sum();
    let event = row.event.as_ref().map_or(0, |event| event.name.len() + event.value.len());
    size_of::<Row>() + size_of::<Queued>() + cells + event
}
