//! What goes to the gateway, and in which order.
//!
//! Always true: nothing is sent that the transport does not take at once; answers go before the
//! heartbeat and that before batches, and a `Released` goes right after the batches it speaks of.

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{DeviceSamples, DriverMessage, driver_message::Message};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::debug;

use super::Session;
use super::link::Link;
use crate::batcher::Now;
use crate::driver::Driver;

impl<D: Driver> Session<D> {
    /// Puts a message that is not a batch on its way, when a gateway is there to read it.
    pub(super) fn say(&mut self, message: Option<Message>) {
        if let (Some(link), Some(message)) = (&mut self.link, message) {
            link.control.push_back(message);
        }
    }

    pub(super) fn flush(&mut self) {
        self.flush_at = None;
        if let Some(devices) = self.batcher.take(now()) {
            self.keep(devices);
        }
    }

    pub(super) fn keep(&mut self, devices: Vec<DeviceSamples>) {
        let dropped = self.outbox.push(self.generation, devices);
        if !dropped.is_empty() {
            debug!("a batch was dropped, the gateway does not keep up");
        }
        self.tally.dropped(&dropped);
    }

    /// Sends what the transport takes.
    pub(super) fn pump(&mut self) {
        while let Some(link) = &mut self.link {
            if !link.has_room() {
                return;
            }
            let Some(message) = self.next_to_send() else { return };
            if let Some(link) = &mut self.link
                && !link.send(message)
            {
                self.lost();
            }
        }
    }

    /// Answers, then the heartbeat, then batches, and what has to come after a batch in its place.
    pub(super) fn next_to_send(&mut self) -> Option<Message> {
        let link = self.link.as_mut()?;
        if let Some(message) = link.control.pop_front() {
            return Some(message);
        }
        if std::mem::take(&mut link.heartbeat_due) {
            let overdue = self.lines.overdue(Instant::now());
            let heartbeat = self.tally.heartbeat(self.outbox.len(), overdue, self.lines.states());
            return Some(Message::Heartbeat(heartbeat));
        }
        let next_seq = self.outbox.next_seq().filter(|_| link.configured);
        if let Some(released) = self.releases.answer(next_seq) {
            return Some(Message::Released(released));
        }
        next_seq?;
        let batch = self.outbox.peek()?;
        self.outbox.advance();
        Some(Message::Batch(batch))
    }

    /// Whether something waits for the transport.
    pub(super) fn backlog(&self) -> bool {
        self.link.as_ref().is_some_and(|link| {
            !link.control.is_empty()
                || link.heartbeat_due
                || self.releases.has_answers()
                || (link.configured && self.outbox.next_seq().is_some())
        })
    }

    pub(super) fn wants_room(&self) -> Option<mpsc::Sender<DriverMessage>> {
        self.link.as_ref().filter(|_| self.backlog()).map(Link::outbound)
    }
}

pub(super) fn now() -> Now {
    Now { boot_ns: clock::boot_ns(), wall_ms: clock::trusted_wall_ms() }
}
