//! A record on its way into the buffer.
//!
//! Always true: whoever waits for it is told once, when all of it is written.

use std::sync::Arc;

use sagoo_edge_buffer::Origin;
use tokio::sync::oneshot;

use super::scan::per_device;
use crate::row::Row;

/// A record on its way into the buffer.
pub struct Unwritten {
    /// The batch it is of.
    pub origin: Option<Origin>,
    /// What is written.
    pub rows: Vec<Row>,
    /// Samples they are made of, per device, as they were counted when they arrived.
    pub read: Vec<(Arc<str>, u64)>,
    /// Told when it is written.
    pub replies: Vec<oneshot::Sender<()>>,
}

impl Unwritten {
    /// Two records for one, the later one first. The origin goes with the last to be written: until
    /// then the driver would send the batch again.
    pub fn halves(mut self) -> [Self; 2] {
        let rows = self.rows.split_off(self.rows.len() / 2);
        let mut first = Self { origin: None, rows: self.rows, read: Vec::new(), replies: Vec::new() };
        for (device, samples) in per_device(first.rows.iter().map(|row| (&row.device, row.samples))) {
            // what is counted wrongly stays with the last one, where it is seen
            if let Some((_, read)) = self.read.iter_mut().find(|(name, _)| *name == device) {
                let samples = u64::from(samples).min(*read);
                *read -= samples;
                first.read.push((device, samples));
            }
        }
        [Self { rows, ..self }, first]
    }

    /// It is written.
    pub fn answer(self) {
        for reply in self.replies {
            let _ = reply.send(());
        }
    }
}
