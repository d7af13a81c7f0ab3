//! What a driver's batch becomes: a record of telemetry, and one of events where qualities changed.
//!
//! Always true: a batch is answered when both are in the buffer. The events are written first and carry the
//! batch's origin, too: killed in between, the batch comes again, and its events are known to be there. So
//! they are stored exactly once, unless one record does not hold them. That a device has points that are not
//! good is written down before it is told, and taken back after it was told that they are: whenever a start
//! comes in between, the platform hears of what is good again.

use std::collections::BTreeSet;
use std::sync::Arc;

use sagoo_edge_buffer::Origin;
use sagoo_edge_proto::driver::DeviceSamples;
use sagoo_edge_proto::{clock, sample};
use tokio::sync::oneshot;

use super::{Pipeline, now_s};
use crate::pipeline::handle::Arrived;
use crate::pipeline::points::{Device, Made};
use crate::pipeline::unwritten::Unwritten;
use crate::row::Row;

impl Pipeline {
    /// Answers when the batch is in the buffer, now or before.
    pub(super) fn batch(&mut self, mut arrived: Arrived, reply: oneshot::Sender<()>) {
        let origin = Origin { instance: arrived.instance, seq: arrived.seq };
        let writer = &mut self.writers.telemetry;
        let taken = writer.book.taken.last(&origin.instance).max(writer.last_seq_of(&origin.instance));
        if taken >= Some(origin.seq) {
            let _ = reply.send(());
            return;
        }
        self.look();
        let (mut rows, mut events) = (Vec::new(), Vec::new());
        let (mut suppressed, mut read) = (Vec::new(), Vec::new());
        for packed in std::mem::take(&mut arrived.devices) {
            let count = u64::from(packed.count);
            let Some((device, made)) = self.rows(&arrived, packed) else { continue };
            let left_out = made.suppressed + made.unknown;
            if left_out > 0 {
                suppressed.push((device.clone(), left_out));
            }
            // not what the rows say: what was lost while they were made has to show
            read.push((device, count.saturating_sub(left_out)));
            rows.extend(made.rows);
            events.extend(made.events);
        }
        if !events.is_empty() {
            self.tell(origin, events);
        }
        let counted = !suppressed.is_empty();
        let writer = &mut self.writers.telemetry;
        writer.book.take(origin, !rows.is_empty(), suppressed);
        if counted {
            // before the rows, so that a kill in between can be told from one before
            writer.write_cursor();
        }
        self.flow.stored(rows.iter().map(|row| u64::from(row.samples)).sum(), now_s());
        writer.submit(Unwritten { origin: Some(origin), rows, read, replies: vec![reply] });
    }

    /// Changes of quality.
    fn tell(&mut self, origin: Origin, rows: Vec<Row>) {
        let devices: BTreeSet<Arc<str>> = rows.iter().map(|row| row.device.clone()).collect();
        let (doubted, good): (Vec<_>, Vec<_>) =
            devices.into_iter().partition(|device| self.devices.get(device).is_some_and(Device::is_doubted));
        let writer = &mut self.writers.events;
        let news = doubted.iter().filter(|device| writer.book.doubt(device, true)).count();
        if news > 0 {
            writer.write_cursor();
        }
        writer.submit(Unwritten { origin: Some(origin), rows, read: Vec::new(), replies: Vec::new() });
        // what memory holds or nobody took may never be heard: a start then tells it again
        let kept = !writer.in_memory() && writer.last_seq_of(&origin.instance) >= Some(origin.seq);
        for device in good.into_iter().filter(|_| kept) {
            writer.unwritten_cursor |= writer.book.doubt(&device, false);
        }
    }

    /// One device's rows; nothing when it is not configured or its samples cannot be read.
    fn rows(&mut self, arrived: &Arrived, packed: DeviceSamples) -> Option<(Arc<str>, Made)> {
        let (driver, seq) = (&arrived.driver, arrived.seq);
        let Some((name, points)) = arrived.numbers.get(&packed.device) else {
            self.left_out.add(format!("number {} of driver {driver}", packed.device), packed.count);
            return None;
        };
        let Some(device) = self.devices.get_mut(name) else {
            self.left_out.add(name.to_string(), packed.count);
            return None;
        };
        let label = packed.wall_ms.map(|wall_ms| (packed.boot_ns, wall_ms));
        let samples = match sample::unpack(packed) {
            Ok(samples) => samples,
            Err(error) => {
                tracing::error!(%driver, device = %name, seq, %error, "batch is not readable, samples lost");
                return None;
            }
        };
        let same_boot = *arrived.boot_id == *clock::boot_id();
        let timekeeper = &mut self.timekeeper;
        let time_of = |boot_ns| match same_boot {
            true => timekeeper.at(boot_ns),
            false => timekeeper.elsewhere(boot_ns, label),
        };
        let made = device.rows(samples, |number| points.get(number as usize).cloned(), time_of);
        if made.unknown > 0 {
            let samples = made.unknown;
            tracing::warn!(%driver, device = %name, samples, "driver sent points that are not configured");
        }
        if !made.rows.is_empty() {
            let shown = self.shown.entry(name.clone()).or_default();
            (shown.online, shown.reason) = (true, String::new());
        }
        Some((name.clone(), made))
    }
}
