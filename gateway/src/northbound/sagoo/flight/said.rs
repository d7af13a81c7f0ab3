//! What was last said of each device key, so that whoever speaks next keeps the platform's distances.
//!
//! Always true: it is handed on from one run of the northbound to the next within a process; of what an
//! earlier process said nothing is known, so that everybody is quiet for one distance first: from the start,
//! and from the platform's first answer, by which all that was on its way has arrived.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Rows of one device that are closer overwrite each other on the platform (sagooiot.md R3).
const LEAST_SPACING: Duration = Duration::from_millis(250);

/// The last row of a key, and the last one that said properties: when, and which set. It was sent then,
/// or had arrived by then, if that is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LastSaid {
    /// Any row.
    pub row: Option<Instant>,
    /// A row with properties, and the fingerprint of its set.
    pub set: Option<(Instant, u64)>,
}

impl LastSaid {
    /// The last row arrived at this moment at the latest.
    pub fn arrived_by(&mut self, now: Instant) {
        if let (Some(row), Some((set, _))) = (self.row, &mut self.set)
            && row == *set
        {
            *set = now;
        }
        self.row = self.row.map(|_| now);
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Said {
    by_key: HashMap<Arc<str>, LastSaid>,
    quiet_until: Option<Instant>,
    /// The platform has answered this process.
    answered: bool,
}

impl Said {
    /// Nothing is known, because the process has just begun.
    pub fn by_somebody_until(began: Instant) -> Self {
        Self { by_key: HashMap::new(), quiet_until: Some(began + LEAST_SPACING), answered: false }
    }

    /// Of these keys, and of those that are not among them as before.
    pub fn and(mut self, keys: impl IntoIterator<Item = (Arc<str>, LastSaid)>, now: Instant) -> Self {
        self.by_key.extend(keys);
        // what is long past is within no distance any more
        self.by_key.retain(|_, said| said.row.is_some_and(|at| at + super::peers::SET_CHANGE_SPACING > now));
        self
    }

    /// The platform answers: what an earlier process said has arrived by now, or never will.
    pub fn platform_answered(&mut self, now: Instant) {
        if !std::mem::replace(&mut self.answered, true) {
            self.quiet_until = self.quiet_until.map(|until| until.max(now + LEAST_SPACING));
        }
    }

    /// Of one key.
    pub fn of(&self, key: &str) -> LastSaid {
        self.by_key.get(key).copied().unwrap_or_default()
    }

    /// No row of any key before.
    pub fn quiet_until(&self) -> Option<Instant> {
        self.quiet_until
    }
}

#[cfg(test)]
mod tests {
    use super::super::peers::{Peers, SET_CHANGE_SPACING};
    use super::*;
    use crate::row::Identity;

    const SPACING: Duration = Duration::from_millis(250);

    fn peers(said: Said, now: Instant) -> (Peers, usize) {
        let identity = |key: &str| Identity { product_key: "p".into(), device_key: key.into() };
        let own = ("gateway".into(), identity("gw"));
        let mut peers = Peers::new(own, Duration::from_secs(10), SPACING, said, now);
        let id = peers.add("a".into(), identity("d1"), now);
        (peers, id)
    }

    #[test]
    fn the_next_run_keeps_the_distances_to_what_the_last_one_said() {
        let start = Instant::now();
        let (mut before, id) = peers(Said::default(), start);
        assert_eq!(before.ready_at(id, Some(1)), None);
        before.row_sent(id, Some(1), start);
        before.row_answered(id, start);
        let later = start + Duration::from_millis(20);
        let (after, id) = peers(before.said(later), later);
        assert_eq!(after.ready_at(id, Some(1)), Some(start + SPACING));
        assert_eq!(after.ready_at(id, Some(2)), Some(start + SET_CHANGE_SPACING));
        // And the one after that, though this one said nothing.
        let (third, id) = peers(after.said(later), later);
        assert_eq!(third.ready_at(id, Some(2)), Some(start + SET_CHANGE_SPACING));
        let (much_later, id) = peers(third.said(start + SET_CHANGE_SPACING), start + SET_CHANGE_SPACING);
        assert_eq!(much_later.ready_at(id, Some(2)), None, "what is long past is forgotten");
    }

    #[test]
    fn the_distance_is_counted_from_the_answer_and_of_what_is_still_under_way_from_now() {
        let start = Instant::now();
        let (mut before, id) = peers(Said::default(), start);
        before.row_sent(id, Some(1), start);
        let later = start + Duration::from_millis(120);
        let (after, other) = peers(before.said(later), later);
        assert_eq!(after.ready_at(other, Some(1)), Some(later + SPACING), "it may arrive only now");
        before.row_answered(id, later);
        assert_eq!(before.ready_at(id, Some(1)), Some(later + SPACING));
        assert_eq!(before.ready_at(id, Some(2)), Some(later + SET_CHANGE_SPACING));
        before.row_sent(id, None, later + SPACING);
        before.row_answered(id, later + SPACING * 2);
        assert_eq!(before.ready_at(id, Some(2)), Some(later + SET_CHANGE_SPACING), "it said no set");
        before.row_sent(id, Some(1), later + SPACING * 3);
        before.disconnected(later + SPACING * 4);
        assert_eq!(
            before.ready_at(id, Some(1)),
            Some(later + SPACING * 5),
            "it may have arrived at the last moment"
        );
    }

    #[test]
    fn a_process_that_has_just_begun_does_not_know_what_was_said_and_waits() {
        let start = Instant::now();
        let (peers, id) = peers(Said::by_somebody_until(start), start);
        assert_eq!(peers.ready_at(id, Some(1)), Some(start + LEAST_SPACING));
    }

    #[test]
    fn after_a_process_of_which_nothing_is_known_the_distance_counts_from_the_first_answer() {
        let start = Instant::now();
        let (mut peers, id) = peers(Said::by_somebody_until(start), start);
        assert_eq!(peers.ready_at(id, Some(1)), Some(start + SPACING));
        let answered = start + SPACING * 3;
        peers.platform_answered(answered);
        assert_eq!(peers.ready_at(id, Some(1)), Some(answered + SPACING), "its last row may have come late");
        peers.platform_answered(answered + SPACING * 9);
        assert_eq!(peers.ready_at(id, Some(1)), Some(answered + SPACING), "we have spoken since");
    }
}
