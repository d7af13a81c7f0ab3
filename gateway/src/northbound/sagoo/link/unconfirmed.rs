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

use tokio::time::Instant;

/// How long a message that was passed over may still be confirmed: some brokers confirm a little out of order.
const PASSED_OVER: Duration = Duration::from_secs(10);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Unconfirmed(VecDeque<Sent>);

#[derive(Debug)]
struct Sent {
    pkid: u16,
    at: Instant,
    /// One that was sent later is confirmed.
    passed_over: bool,
}

impl Unconfirmed {
    /// A PUBLISH with QoS 1 left.
    pub(super) fn sent(&mut self, pkid: u16, at: Instant) {
        self.0.push_back(Sent { pkid, at, passed_over: false });
    }

    /// Its PUBACK arrived.
    pub(super) fn confirmed(&mut self, pkid: u16) {
        let Some(place) = self.0.iter().position(|sent| sent.pkid == pkid) else { return };
        self.0.range_mut(..place).for_each(|sent| sent.passed_over = true);
        self.0.remove(place);
    }

    /// Whether the broker has lost one.
    pub(super) fn is_lost(&self, now: Instant) -> bool {
        self.0.front().is_some_and(|sent| sent.passed_over && now.duration_since(sent.at) > PASSED_OVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_passed_over_for_long_is_lost() {
        let begin = Instant::now();
        let late = begin + PASSED_OVER + Duration::from_millis(1);
        let mut unconfirmed = Unconfirmed::default();
        (1..=4).for_each(|pkid| unconfirmed.sent(pkid, begin));
        assert!(!unconfirmed.is_lost(late), "it may be the line");
        unconfirmed.confirmed(1);
        unconfirmed.confirmed(3);
        unconfirmed.confirmed(9);
        assert!(!unconfirmed.is_lost(begin + PASSED_OVER), "it may come a little later");
        assert!(unconfirmed.is_lost(late));
        unconfirmed.confirmed(2);
        assert!(!unconfirmed.is_lost(late), "4 was not passed over");
    }
}
