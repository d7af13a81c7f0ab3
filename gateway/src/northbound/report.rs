//! What `sagoo-edge status` says of the platform.
//!
//! Always true: a change of state is published at once with its boot time, counters at most every
//! [`STATUS_INTERVAL`]; nobody is woken for what only time changes, it is published when the forwarder is
//! awake anyway, every [`RENEW_INTERVAL`] at most.

use std::time::Duration;

use sagoo_edge_proto::clock;
use tokio::sync::watch;
use tokio::time::Instant;

use super::sagoo::flight::{Counts, Flight};
use crate::status::{DeadLetterStatus, NorthboundStatus};

/// Counters are published at most this often.
const STATUS_INTERVAL: Duration = Duration::from_millis(500);

/// Which keys are known changes by time alone, and is published at most this often.
const RENEW_INTERVAL: Duration = Duration::from_secs(5);

/// What is told to `status`.
#[derive(Debug)]
pub struct Report {
    sender: watch::Sender<NorthboundStatus>,
    published: Option<Instant>,
    counts: Counts,
    commands: u64,
    in_flight: usize,
    stale: bool,
}

impl Report {
    /// Not connected yet.
    pub fn new(sender: watch::Sender<NorthboundStatus>, broker: String) -> Self {
        sender.send_modify(|status| {
            status.broker = broker;
            status.since_boot_ns = Some(clock::boot_ns());
        });
        Self { sender, published: None, counts: Counts::default(), commands: 0, in_flight: 0, stale: true }
    }

    /// MQTT is up.
    pub fn connected(&mut self) {
        self.published = None;
        self.sender.send_modify(|status| {
            status.connected = true;
            status.since_boot_ns = Some(clock::boot_ns());
        });
    }

    /// MQTT is down, or still is.
    pub fn disconnected(&mut self, reason: String) {
        self.published = None;
        self.sender.send_modify(|status| {
            if status.connected {
                status.since_boot_ns = Some(clock::boot_ns());
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

    /// Rows that were given up came or went.
    pub fn dead_letters(&self, dead_letters: DeadLetterStatus) {
        self.sender.send_modify(|status| status.dead_letters = dead_letters);
    }

    /// Publishes what changed, not too often; returns when to come back for what was not published.
    pub fn update(&mut self, flight: &Flight, commands: u64, now: Instant) -> Option<Instant> {
        let (counts, in_flight) = (flight.counts(), flight.in_flight());
        self.stale |= (counts, commands, in_flight) != (self.counts, self.commands, self.in_flight);
        self.stale |= self.published.is_some_and(|at| now.duration_since(at) >= RENEW_INTERVAL);
        let due = self.published.map(|at| at + STATUS_INTERVAL);
        if due.is_some() && !self.stale {
            return None;
        }
        if let Some(due) = due.filter(|due| *due > now) {
            return Some(due);
        }
        (self.counts, self.commands, self.in_flight, self.stale) = (counts, commands, in_flight, false);
        self.published = Some(now);
        self.sender.send_modify(|status| {
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
    use super::super::sagoo::flight::{Kind, Options};
    use super::*;
    use crate::class::PerClass;
    use crate::config::types::Drain;
    use crate::row::Identity;

    const HEARTBEAT: Duration = Duration::from_secs(10);

    fn flight(now: Instant) -> Flight {
        let options = Options {
            gateway: Identity { product_key: "p".into(), device_key: "gw".into() },
            devices: Vec::new(),
            resume: PerClass::default(),
            written_before: PerClass::default(),
            heartbeat: HEARTBEAT,
            ack_timeout: Duration::from_secs(5),
            row_spacing: Duration::from_millis(250),
            drain: Drain::Ordered,
            read_ahead_bytes: 0,
            run: 1,
            said: Default::default(),
        };
        Flight::new(options, now.into_std())
    }

    #[test]
    fn a_state_carries_the_time_it_was_entered_and_keeps_it_whatever_else_changes() {
        let now = Instant::now();
        let (sender, seen) = watch::channel(NorthboundStatus::default());
        let since = || seen.borrow().since_boot_ns.expect("a state was entered");
        let before = clock::boot_ns();
        let mut report = Report::new(sender, "mqtt://b:1883".to_owned());
        let waiting = since();
        assert!((before..=clock::boot_ns()).contains(&waiting));
        report.disconnected("nobody there".to_owned());
        assert_eq!(since(), waiting, "it was not connected before");
        report.connected();
        let connected = since();
        assert!(connected > waiting);
        report.silent("gw");
        report.update(&flight(now), 7, now + STATUS_INTERVAL);
        assert_eq!((since(), seen.borrow().commands), (connected, 7));
        report.disconnected("gone".to_owned());
        assert!(since() > connected);
    }

    #[test]
    fn a_key_that_is_no_longer_known_disappears_though_nothing_else_changes() {
        let start = Instant::now();
        let mut flight = flight(start);
        flight.connected(start.into_std());
        let probe = flight.poll(start.into_std(), 1).send.remove(0);
        let id = serde_json::from_str::<serde_json::Value>(&probe.payload).unwrap()["id"].clone();
        flight.acknowledged(Kind::Pack, "gw", id.as_str().unwrap(), start.into_std());
        let (sender, seen) = watch::channel(NorthboundStatus::default());
        let mut report = Report::new(sender, "mqtt://b:1883".to_owned());
        assert_eq!(report.update(&flight, 0, start), None);
        assert_eq!(seen.borrow().known_devices, ["gw"]);
        let later = start + HEARTBEAT * 3 + RENEW_INTERVAL;
        assert_eq!(report.update(&flight, 0, later), None, "nobody is woken for it");
        assert!(seen.borrow().known_devices.is_empty());
    }
}
