//! The account at the far end: which values of each device's counter arrived, and the verdict.
//!
//! A device counts every read of its counter and the gateway is never asked to leave values out, so
//! the platform has to receive 1, 2, 3 … without a hole. Two accounts are held against each other:
//!
//! ```text
//! the gateway's ledger    lost = read - suppressed - acknowledged - waiting
//! the platform's counters lost = values served - values that arrived
//! ```
//!
//! Always true: `lost` is the larger of the two, and what still waits in the buffer at the end is not
//! called lost, but not a success either, because the demo's buffer goes with the demo.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::Value as Json;

use super::gateway::Ledger;
use crate::platform::{Cell, Row};

/// The property that counts.
pub(super) const COUNTER: &str = "counter";

/// What arrived from one device.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    /// Newest value of each property.
    pub(super) latest: BTreeMap<String, Json>,
    /// When the counter last moved.
    pub(super) at: Option<Instant>,
    /// Different values of the counter.
    pub(super) values: u64,
    /// Values that came again although nobody sent them again.
    pub(super) twice: u64,
    /// Values that came after a later one, and had not come before.
    pub(super) late: u64,
    highest: u64,
    holes: BTreeSet<u64>,
    last_cell: Option<(Option<i64>, Json)>,
}

impl Arrived {
    /// Takes a stored row; a resend was counted when it came first.
    pub(super) fn take(&mut self, row: &Row) {
        let newest = row.cells.iter().map(|(key, cell)| (key.clone(), cell.value.clone()));
        self.latest.extend(newest);
        if let Some(cell) = row.cells.get(COUNTER).filter(|_| !row.resent) {
            self.take_counter(cell, row.arrived);
        }
    }

    fn take_counter(&mut self, cell: &Cell, at: Instant) {
        let this = Some((cell.time, cell.value.clone()));
        if self.last_cell == this {
            return; // a whole row repeats the cells that did not change, with their old time
        }
        self.last_cell = this;
        let Some(value) = cell.value.as_u64() else { return };
        self.at = Some(at);
        if value > self.highest {
            self.holes.extend(self.highest + 1..value);
            self.highest = value;
            self.values += 1;
        } else if self.holes.remove(&value) {
            self.values += 1;
            self.late += 1;
        } else {
            self.twice += 1;
        }
    }

    /// How many of the values `1..=served` did not arrive.
    pub(super) fn missing(&self, served: u64) -> u64 {
        self.holes.len() as u64 + served.saturating_sub(self.highest)
    }
}

/// The end of the demo in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) ledger: Ledger,
    pub(super) sent: u64,
    pub(super) served: u64,
    pub(super) arrived: u64,
    pub(super) missing: u64,
    pub(super) twice: u64,
    pub(super) late: u64,
    pub(super) commands: u64,
    pub(super) confirmed: u64,
    /// Whatever else went wrong, in sentences.
    pub(super) troubles: Vec<String>,
}

impl Verdict {
    /// Samples that will never arrive.
    pub(super) fn lost(&self) -> u64 {
        let Ledger { read, suppressed, acknowledged, waiting, .. } = self.ledger;
        read.saturating_sub(suppressed + acknowledged + waiting).max(self.missing)
    }

    /// Everything that speaks against success.
    pub(super) fn objections(&self) -> Vec<String> {
        let Ledger { read, suppressed, dropped_by_driver, stored, acknowledged, waiting, .. } = self.ledger;
        let Ledger { evicted, parked, merged, .. } = self.ledger;
        let checks = [
            (self.lost() > 0, format!("{} samples were lost", self.lost())),
            (waiting > 0, format!("{waiting} samples still waited in the buffer at the end")),
            (read == 0, "no sample was read".to_owned()),
            (
                read != suppressed + dropped_by_driver + stored,
                "the ledger does not add up: read is not suppressed + dropped + stored".to_owned(),
            ),
            (
                stored != acknowledged + waiting + evicted + parked + merged,
                "the ledger does not add up: stored is not acknowledged + waiting + evicted + parked + merged"
                    .to_owned(),
            ),
            (self.twice > 0, format!("{} values arrived twice", self.twice)),
            (self.late > 0, format!("{} values arrived after later ones", self.late)),
            (
                self.confirmed < self.commands,
                format!("{} of {} commands were not confirmed", self.commands - self.confirmed, self.commands),
            ),
        ];
        let failed = checks.into_iter().filter_map(|(wrong, sentence)| wrong.then_some(sentence));
        failed.chain(self.troubles.iter().cloned()).collect()
    }

    /// The summary that ends the demo.
    pub(super) fn lines(&self) -> Vec<String> {
        let Ledger { read, stored, acknowledged, suppressed, waiting, .. } = self.ledger;
        let mut lines = vec![
            format!(
                "samples   read {read}  stored {stored}  sent {}  acknowledged {acknowledged}  lost {}",
                self.sent,
                self.lost()
            ),
            format!("          suppressed {suppressed}  waiting {waiting}"),
            format!(
                "counters  served by the devices {}  arrived at the platform {}  missing {}  twice {}",
                self.served, self.arrived, self.missing, self.twice
            ),
            format!("commands  sent down {}  confirmed by the device {}", self.commands, self.confirmed),
        ];
        let objections = self.objections();
        if objections.is_empty() {
            lines.push("nothing was lost".to_owned());
        }
        lines.extend(objections.iter().map(|objection| format!("not good: {objection}")));
        lines
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn arrived(values: &[u64]) -> Arrived {
        let mut arrived = Arrived::default();
        for (time, value) in values.iter().enumerate() {
            let cell = Cell { value: json!(value), sent: json!(value), time: Some(time as i64) };
            arrived.take_counter(&cell, Instant::now());
        }
        arrived
    }

    #[test]
    fn holes_doubles_and_late_values_are_told_apart() {
        let a = arrived(&[1, 2, 5, 4, 4, 6]);
        assert_eq!((a.values, a.late, a.twice), (5, 1, 1));
        assert_eq!((a.missing(6), a.missing(8)), (1, 3));
    }

    #[test]
    fn an_unchanged_cell_is_no_double() {
        let mut a = arrived(&[1]);
        let cell = Cell { value: json!(1), sent: json!(1), time: Some(0) };
        a.take_counter(&cell, Instant::now());
        assert_eq!((a.values, a.twice), (1, 0));
    }

    fn good() -> Verdict {
        let ledger = Ledger { read: 9, suppressed: 1, stored: 8, acknowledged: 8, ..Ledger::default() };
        Verdict { ledger, sent: 8, served: 3, arrived: 3, commands: 1, confirmed: 1, ..Verdict::default() }
    }

    #[test]
    fn nothing_lost_is_the_only_good_end() {
        assert_eq!(good().objections(), Vec::<String>::new());
        assert_eq!(good().lines().last().map(String::as_str), Some("nothing was lost"));
    }

    #[test]
    fn every_kind_of_loss_is_an_objection() {
        type Change = fn(&mut Verdict);
        let changes: [(&str, Change); 8] = [
            ("1 samples were lost", |v| v.missing = 1),
            ("1 samples were lost", |v| (v.ledger.acknowledged, v.ledger.evicted) = (7, 1)),
            ("1 samples still waited", |v| (v.ledger.acknowledged, v.ledger.waiting) = (7, 1)),
            ("does not add up: read", |v| v.ledger.suppressed = 2),
            ("does not add up: stored", |v| v.ledger.merged = 1),
            ("arrived twice", |v| v.twice = 1),
            ("commands were not confirmed", |v| v.confirmed = 0),
            ("no sample was read", |v| v.ledger = Ledger::default()),
        ];
        for (expected, change) in changes {
            let mut verdict = good();
            change(&mut verdict);
            let objections = verdict.objections();
            assert!(objections.iter().any(|o| o.contains(expected)), "{expected}: {objections:?}");
        }
    }
}
