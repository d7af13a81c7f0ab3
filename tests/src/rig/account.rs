//! What the platform's rows of a meter say about loss, order and doubles, by its counter.
//!
//! Always true: every row counts, resends with their id and bytes left out; a row whose cells all
//! equal an earlier one's, values and times, is a double, whatever id it came under.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use crate::platform::Row;

/// Reads that may be on their way from the device to the buffer when a process is killed.
const MOST_IN_FLIGHT: u64 = 4;
/// Rows of a device that wait for an acknowledgement at a time.
const UNACKNOWLEDGED: usize = 1;
/// Rows of a device that were acknowledged and whose place is not on disk yet: the gateway writes it
/// every 100 ms and sends a device's rows 250 ms apart.
const UNWRITTEN: usize = 1;

/// What interrupted the gateway, and what that may cost a meter: a row goes again under another id
/// only if its answer was not heard, and nothing that was stored is ever lost (design, promise 1).
#[derive(Debug, Clone)]
pub struct Interrupted {
    by: &'static str,
    lost: Lost,
    doubles: usize,
}

/// What may be missing.
#[derive(Debug, Clone)]
enum Lost {
    Nothing,
    /// One run of at most [`MOST_IN_FLIGHT`] reads, all of them after this one, which was in the buffer.
    After(u64),
    /// Nothing outside these runs of reads.
    Within(Vec<RangeInclusive<u64>>),
}

impl Interrupted {
    /// Nothing did: nothing is lost or doubled.
    pub fn by_nothing() -> Self {
        Self { by: "nothing", lost: Lost::Nothing, doubles: 0 }
    }

    /// Broker or platform were away: a pack that was not answered may be split.
    pub fn by_an_outage() -> Self {
        Self::by_outages(1)
    }

    /// Broker or platform were away so many times, or messages got lost on their way as often.
    pub fn by_outages(times: usize) -> Self {
        Self { by: "an outage", doubles: times * UNACKNOWLEDGED, ..Self::by_nothing() }
    }

    /// Stopped and started: the form in which a row went is not stored.
    pub fn by_a_restart() -> Self {
        Self { by: "a restart", ..Self::by_an_outage() }
    }

    /// Killed and started `times` times while its drivers went on and were taken over again: nothing is
    /// lost; what went to the platform and was not settled on disk goes again.
    pub fn by_takeovers(times: usize) -> Self {
        let doubles = times * (UNACKNOWLEDGED + UNWRITTEN);
        Self { by: "gateways that took the drivers over", doubles, ..Self::by_nothing() }
    }

    /// `kill -9` of the gateway when its buffer held the meter's count up to `stored`.
    pub fn by_a_kill(stored: u64) -> Self {
        Self { by: "a kill", lost: Lost::After(stored), doubles: UNACKNOWLEDGED + UNWRITTEN }
    }

    /// Killed so many times, sometimes with its drivers: each of those times may cost reads of a run that
    /// begins behind the newest that was in the buffer and ends with the last before the kill.
    pub fn by_kills(times: usize, lost: Vec<RangeInclusive<u64>>) -> Self {
        Self { by: "kills", lost: Lost::Within(lost), ..Self::by_takeovers(times) }
    }

    /// The driver's process died when the buffer held the meter's count up to `stored`.
    pub fn by_a_driver_crash(stored: u64) -> Self {
        Self { by: "a driver crash", lost: Lost::After(stored), doubles: 0 }
    }
}

/// What a counter says: it starts at 1 and rises by 1.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Count {
    /// First and last missing value of each hole.
    pub(super) holes: Vec<(u64, u64)>,
    /// A value that came after a greater or equal one, with that one.
    pub(super) disorder: Vec<(u64, u64)>,
    /// Values of rows that came again under another id, with both ids.
    pub(super) doubles: Vec<(u64, String, String)>,
}

impl Count {
    /// Reads the rows of one device in the order they were stored.
    pub(super) fn of(rows: &[Row]) -> Self {
        let mut count = Self::default();
        let mut last = 0;
        let mut earlier: HashMap<u64, Vec<&Row>> = HashMap::new();
        for row in rows {
            let value = row.cells.get("count").and_then(|cell| cell.value.as_u64()).unwrap_or(0);
            let same = earlier.entry(value).or_default();
            if let Some(first) = same.iter().find(|earlier| earlier.cells == row.cells) {
                count.doubles.push((value, first.message_id.clone(), row.message_id.clone()));
                continue;
            }
            same.push(row);
            if value <= last {
                count.disorder.push((last, value));
                continue;
            }
            if value > last + 1 {
                count.holes.push((last + 1, value - 1));
            }
            last = value;
        }
        count
    }

    /// Reads them where the newest may come before what is older: by their count, those of one as they came.
    pub(super) fn in_any_order(mut rows: Vec<Row>) -> Self {
        rows.sort_by_key(|row| row.cells.get("count").and_then(|cell| cell.value.as_u64()));
        Self::of(&rows)
    }

    /// What is lost, out of order or doubled beyond what the interruption allows.
    pub(super) fn complaints(&self, interrupted: &Interrupted) -> Vec<String> {
        let Interrupted { by, ref lost, doubles } = *interrupted;
        let mut complaints = Vec::new();
        if !self.disorder.is_empty() {
            complaints.push(format!("not in order: {:?}", self.disorder));
        }
        if self.doubles.len() > doubles {
            complaints.push(format!(
                "{} rows stored twice under another id, interrupted by {by} at most {doubles}: {:?}",
                self.doubles.len(),
                self.doubles
            ));
        }
        match lost {
            Lost::Nothing if !self.holes.is_empty() => complaints.push(format!("lost {:?}", self.holes)),
            Lost::Nothing => {}
            Lost::After(stored) => complaints.extend(self.lost_after(by, *stored)),
            Lost::Within(runs) => complaints.extend(self.lost_outside(by, runs)),
        }
        complaints
    }

    /// Reads that are missing.
    pub(super) fn missing(&self) -> u64 {
        self.holes.iter().map(|(first, last)| last - first + 1).sum()
    }

    fn lost_outside(&self, by: &str, runs: &[RangeInclusive<u64>]) -> Option<String> {
        let may_be = |count: &u64| runs.iter().any(|run| run.contains(count));
        let outside: Vec<u64> = self
            .holes
            .iter()
            .flat_map(|(first, last)| *first..=*last)
            .filter(|count| !may_be(count))
            .collect();
        (!outside.is_empty()).then(|| format!("{by} lost {outside:?}, and only {runs:?} may be missing"))
    }

    fn lost_after(&self, by: &str, stored: u64) -> Option<String> {
        let missing = self.missing();
        let before = self.holes.iter().any(|(first, _)| *first <= stored);
        let why = if before {
            format!("{by} lost what was in the buffer")
        } else if missing > MOST_IN_FLIGHT || self.holes.len() > 1 {
            format!("{by} lost more than one run of at most {MOST_IN_FLIGHT} reads that were on their way")
        } else {
            return None;
        };
        Some(format!("{why}: {:?} are missing, stored was up to {stored}", self.holes))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use serde_json::json;

    use super::*;
    use crate::platform::Cell;

    const TIME: i64 = 1_750_000_000;

    fn row(id: &str, value: u64, time: i64) -> Row {
        let cell = Cell { value: json!(value), sent: json!(value), time: Some(time) };
        let cells = [("count".to_owned(), cell)].into();
        Row { device: "a".into(), message_id: id.into(), arrived: Instant::now(), cells, resent: false }
    }

    fn count(values: &[u64]) -> Count {
        let row = |(place, value): (usize, &u64)| row(&place.to_string(), *value, TIME + place as i64);
        Count::of(&values.iter().enumerate().map(row).collect::<Vec<_>>())
    }

    #[test]
    fn in_any_order_a_hole_is_what_never_came() {
        let count = |values: &[u64]| {
            let row = |(place, value): (usize, &u64)| row(&place.to_string(), *value, TIME);
            Count::in_any_order(values.iter().enumerate().map(row).collect())
        };
        assert_eq!(count(&[5, 1, 3, 2, 4]), Count::default());
        assert_eq!(count(&[5, 1, 2]).holes, [(3, 4)]);
        assert_eq!(count(&[2, 1, 2]).doubles, [(2, "0".to_owned(), "2".to_owned())]);
    }

    #[test]
    fn a_hole_and_a_value_out_of_order_are_told_apart() {
        assert_eq!(count(&[1, 2, 3]), Count::default());
        assert_eq!(count(&[2, 3, 7]).holes, [(1, 1), (4, 6)], "the first read counts, too");
        assert_eq!(count(&[1, 3, 2]).disorder, [(3, 2)]);
        assert_eq!(count(&[1, 2, 2]).disorder, [(2, 2)], "a value with a new time is a new sample");
    }

    #[test]
    fn a_row_under_another_id_is_a_double_even_within_one_second() {
        let rows = [row("gw-1", 1, TIME), row("gw-2", 2, TIME), row("gw-1-0", 1, TIME)];
        let count = Count::of(&rows);
        assert_eq!(count.doubles, [(1, "gw-1".to_owned(), "gw-1-0".to_owned())]);
        assert!(count.disorder.is_empty() && count.holes.is_empty());
        let complaints = count.complaints(&Interrupted::by_nothing());
        assert!(complaints.len() == 1 && complaints[0].contains("gw-1-0"), "{complaints:?}");
        assert_eq!(count.complaints(&Interrupted::by_an_outage()), Vec::<String>::new());
    }

    #[test]
    fn a_kill_may_cost_what_was_not_stored_yet_and_nothing_else() {
        let lost = |values: &[u64], stored| count(values).complaints(&Interrupted::by_a_kill(stored));
        assert_eq!(lost(&[1, 2, 5, 6], 2), Vec::<String>::new());
        assert!(lost(&[1, 2, 5, 6], 3)[0].contains("what was in the buffer"));
        assert!(lost(&[1, 2, 8], 2)[0].contains("at most 4 reads"));
        assert!(lost(&[1, 2, 4, 6], 2)[0].contains("more than one run"));
        let kills = Interrupted::by_kills(2, vec![3..=4]);
        assert_eq!(count(&[1, 2, 4, 5]).complaints(&kills), Vec::<String>::new());
        assert!(count(&[1, 2, 5, 7]).complaints(&kills)[0].contains("lost [6]"));
        assert!(count(&[1, 3]).complaints(&Interrupted::by_a_restart())[0].contains("lost [(2, 2)]"));
    }
}
