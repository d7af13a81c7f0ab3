//! What the thread looks at: the clock, and itself.
//!
//! Always true: looking at itself changes nothing; what waited for the clock is released only here.

use std::collections::BTreeMap;

use sagoo_edge_proto::clock;

use super::{Pipeline, now_s};
use crate::class::PerClass;
use crate::pipeline::points::Device;
use crate::pipeline::snapshot::{DeviceSnapshot, PointSnapshot, Snapshot};
use crate::pipeline::wall::News;
use crate::row::{Event, GATEWAY};
use crate::status::BufferStatus;

impl Pipeline {
    /// Looks at the clock, before something is stored. What waited for it goes out once it is known.
    pub(super) fn look(&mut self) {
        let Some(news) = self.timekeeper.look() else { return };
        if matches!(news, News::Decided { .. }) {
            self.each(|writer| writer.head.release());
        }
        if let Some((name, value)) = news.event() {
            let time_ms = self.timekeeper.at(clock::boot_ns());
            let event = Event { name: name.to_owned(), value: value.to_string() };
            self.event(&GATEWAY.into(), event, time_ms);
        }
    }

    /// For status.
    pub(super) fn snapshot(&mut self) -> Snapshot {
        // events account for no samples
        let book = &self.writers.telemetry.book;
        let names = self.devices.keys().chain(book.devices());
        let devices = names.map(|name| {
            let shown = self.shown.get(name);
            let mut points = self.devices.get(name).map(Device::snapshot).unwrap_or_default();
            if self.timekeeper.wall.is_uncertain() {
                points.values_mut().for_each(PointSnapshot::doubt_time);
            }
            let one = DeviceSnapshot {
                online: shown.is_some_and(|shown| shown.online),
                reason: shown.map(|shown| shown.reason.clone()).unwrap_or_default(),
                points,
                ledger: book.ledger(name),
            };
            (name.clone(), one)
        });
        let devices: BTreeMap<_, DeviceSnapshot> = devices.collect();
        let waiting = devices.values().map(|device| device.ledger.waiting).sum();
        let restart = book.restart.clone();
        let classes = PerClass::new(|class| self.writers[class].status());
        let (backlog, clock) = (self.flow.backlog(waiting, now_s()), self.timekeeper.status());
        Snapshot { devices, restart, buffer: BufferStatus::of(classes), backlog, clock }
    }
}
