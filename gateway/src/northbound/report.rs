//! What `sagoo-edge status` says of the platform.
//!
//! Always true: a change of state is published at once, counters at most every [`STATUS_INTERVAL`];
//! while nothing changes, `since_s` is renewed when the forwarder is awake anyway, every
//! [`SINCE_INTERVAL`] at most.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::sagoo::flight::{Counts, Flight};
use crate::status::NorthboundStatus;

/// Counters are published at most this often.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// The age of the state is published at most this often.
const SINCE_INTERVAL: Duration = Duration::from_secs(5);

/// What is told to `status`.
#[derive(Debug)]
pub struct Report {
    sender: watch::Sender<NorthboundStatus>,
    since: Instant,
    published: Option<Instant>,
    counts: Counts,
    commands: u64,
    in_flight: usize,
    stale: bool,
}

impl Report {
    /// Not connected yet.
    pub fn new(sender: watch::Sender<NorthboundStatus>, broker: String) -> Self {
        sender.send_modify(|status| status.broker = broker);
        Self {
            sender,
            since: Instant::now(),
            published: None,
            counts: Counts::default(),
            commands: 0,
            in_flight: 0,
            stale: true,
        }
    }

    /// MQTT is up.
    pub fn connected(&mut self, now: Instant) {
        self.since = now;
        self.published = None;
        self.sender.send_modify(|status| status.connected = true);
    }

    /// MQTT is down, or still is.
    pub fn disconnected(&mut self, reason: String, now: Instant) {
        self.published = None;
        let since = &mut self.since;
        self.sender.send_modify(|status| {
            if status.connected {
                *since = now;
            }
            status.connected = false;
            status.last_error = reason;
        });
    }

    /// MQTT is up, but the platform does not answer.
    pub fn silent(&mut self, device_key: &str) {
        self.published = None;
        let reason = format!("the platform does not answer for {device_key}");
        self.sender.send_modify(|status| status.last_error = reason);
    }

    /// Publishes what changed, not too often; returns when to come back for what was not published.
    pub fn update(&mut self, flight: &Flight, commands: u64, now: Instant) -> Option<Instant> {
        let (counts, in_flight) = (flight.counts(), flight.in_flight());
        self.stale |= (counts, commands, in_flight) != (self.counts, self.commands, self.in_flight);
        self.stale |= self.published.is_some_and(|at| now.duration_since(at) >= SINCE_INTERVAL);
        let due = self.published.map(|at| at + STATUS_INTERVAL);
        if due.is_some() && !self.stale {
            return None;
        }
        if let Some(due) = due.filter(|due| *due > now) {
            return Some(due);
        }
        (self.counts, self.commands, self.in_flight, self.stale) = (counts, commands, in_flight, false);
        self.published = Some(now);
        let since = self.since;
        self.sender.send_modify(|status| {
            status.since_s = now.duration_since(since).as_secs();
            status.in_flight = in_flight as u64;
            status.sent_messages = counts.sent_messages;
            status.sent_samples = counts.sent_samples;
            status.acknowledged_messages = counts.acknowledged_messages;
            status.resent_messages = counts.resent_messages;
            status.known_devices = flight.known_keys(now.into_std());
            status.commands = commands;
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::super::sagoo::flight::Options;
    use super::*;
    use crate::row::Identity;

    #[test]
    fn the_age_of_the_state_is_renewed_though_nothing_else_changes() {
        let options = Options {
            gateway: Identity { product_key: "p".into(), device_key: "gw".into() },
            devices: Vec::new(),
            positions: HashMap::new(),
            written_before: 0,
            heartbeat: Duration::from_secs(10),
            ack_timeout: Duration::from_secs(5),
            row_spacing: Duration::from_millis(250),
            read_ahead_bytes: 0,
            run: 1,
        };
        let start = Instant::now();
        let flight = Flight::new(options, start.into_std());
        let (sender, seen) = watch::channel(NorthboundStatus::default());
        let mut report = Report::new(sender, "mqtt://b:1883".to_owned());
        report.connected(start);
        assert_eq!(report.update(&flight, 0, start), None);
        let soon = start + SINCE_INTERVAL / 2;
        assert_eq!(
            (report.update(&flight, 0, soon), seen.borrow().since_s),
            (None, 0),
            "nobody is woken for it"
        );
        let later = start + SINCE_INTERVAL * 3;
        assert_eq!(
            (report.update(&flight, 0, later), seen.borrow().since_s),
            (None, later.duration_since(start).as_secs())
        );
    }
}
