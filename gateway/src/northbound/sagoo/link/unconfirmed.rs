//! What the broker has not confirmed (PUBACK) on one connection.
//!
//! A broker confirms in the order in which it received (MQTT 3.1.1, section 4.6). One that confirms what came
//! later has lost what came before, and will never confirm it: its packet id stays taken, and when the ids
//! have gone round, nothing can be published any more until the keep-alive gives the connection up, a minute
//! or so later. A new connection begins with free ids.
//!
//! Always true: a slow broker or line alone loses nothing; only a message that was passed over counts as lost.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::{Event, Outgoing, Packet};
use tokio::time::Instant;

/// How long a message that was passed over may still be confirmed: some brokers confirm a little out of order.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(VecDeque<Sent>);

#[derive(Debug)]
struct Sent {
    pkid: u16,
    /// Since when one that was sent later is confirmed.
    passed_over: Option<Instant>,
}

impl Unconfirmed {
    /// Takes what concerns it of all that happens.
    pub(super) fn note(&mut self, event: &Event) {
        match event {
            Event::Outgoing(Outgoing::Publish(pkid)) => self.sent(*pkid),
            Event::Incoming(Packet::PubAck(ack)) => self.confirmed(ack.pkid, Instant::now()),
            _ => {}
        }
    }

    /// A PUBLISH with QoS 1 left.
    fn sent(&mut self, pkid: u16) {
        self.0.push_back(Sent { pkid, passed_over: None });
    }

    /// Its PUBACK arrived.
    fn confirmed(&mut self, pkid: u16, now: Instant) {
        let Some(place) = self.0.iter().position(|sent| sent.pkid == pkid) else { return };
        for sent in self.0.range_mut(..place) {
            sent.passed_over.get_or_insert(now);
        }
        self.0.remove(place);
    }

    /// When the oldest that was passed over counts as lost.
    pub(super) fn lost_at(&self) -> Option<Instant> {
        Some(self.0.front()?.passed_over? + PASSED_OVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_passed_over_for_long_is_lost() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let mut unconfirmed = Unconfirmed::default();
        (1..=4).for_each(|pkid| unconfirmed.sent(pkid));
        unconfirmed.confirmed(1, at(100));
        assert_eq!(unconfirmed.lost_at(), None, "it may be the line");
        unconfirmed.confirmed(3, at(200));
        unconfirmed.confirmed(4, at(205));
        unconfirmed.confirmed(9, at(206));
        assert_eq!(unconfirmed.lost_at(), Some(at(200) + PASSED_OVER), "it may come a little later");
        unconfirmed.sent(5);
        unconfirmed.confirmed(2, at(207));
        assert_eq!(unconfirmed.lost_at(), None, "5 was not passed over");
    }
}
