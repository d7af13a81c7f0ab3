//! The storage queue: reports gathered for 100 ms become one SQL chunk (sagooiot.md §4.6).
//!
//! Always true: of several reports of one device in one window the last wins; one report that breaks
//! the SQL takes every row of its window with it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::judge::Cell;

/// How long the platform gathers before it writes.
pub(super) const WINDOW: Duration = Duration::from_millis(100);

/// One stored row, or what would have been one.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Device key.
    pub device: String,
    /// `id` of the message it came in.
    pub message_id: String,
    /// When it arrived.
    pub arrived: Instant,
    /// Property key → what is stored.
    pub cells: BTreeMap<String, Cell>,
    /// The message had come before, byte for byte: a resend.
    pub resent: bool,
}

/// What became of a window.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Flushed {
    /// Written, in order of arrival.
    pub rows: Vec<Row>,
    /// Lost, with the reason.
    pub lost: Vec<(Row, String)>,
}

/// The window that is being gathered.
#[derive(Debug, Default)]
pub(super) struct Storage {
    opened: Option<Instant>,
    gathered: Vec<Row>,
    poisoned: Option<String>,
}

impl Storage {
    /// Takes one report; `poison` says why it breaks the SQL, if it does.
    pub(super) fn gather(&mut self, row: Row, poison: Option<String>) {
        self.opened.get_or_insert(row.arrived);
        if let Some(why) = poison {
            self.poisoned.get_or_insert(why);
        }
        if let Some(earlier) = self.gathered.iter().find(|earlier| earlier.device == row.device)
            && !earlier.cells.keys().eq(row.cells.keys())
        {
            self.poisoned
                .get_or_insert_with(|| format!("two key sets of {:?} within one storage window", row.device));
        }
        self.gathered.push(row);
    }

    /// What the platform has written by `now`; empty while the window is open.
    pub(super) fn flush(&mut self, now: Instant) -> Flushed {
        if self.opened.is_none_or(|opened| now < opened + WINDOW) {
            return Flushed::default();
        }
        self.opened = None;
        let gathered = std::mem::take(&mut self.gathered);
        if let Some(why) = self.poisoned.take() {
            let lost = gathered.into_iter().map(|row| (row, why.clone())).collect();
            return Flushed { rows: Vec::new(), lost };
        }
        let mut flushed = Flushed::default();
        for (place, row) in gathered.iter().enumerate() {
            if gathered[place + 1..].iter().any(|later| later.device == row.device) {
                flushed.lost.push((row.clone(), "overwritten by a later row of the same window".to_owned()));
            } else {
                flushed.rows.push(row.clone());
            }
        }
        flushed
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn row(device: &str, keys: &[&str], arrived: Instant) -> Row {
        let cell = Cell { value: json!(1), sent: json!(1), time: None };
        let cells = keys.iter().map(|key| ((*key).to_owned(), cell.clone())).collect();
        Row { device: device.into(), message_id: "1".into(), arrived, cells, resent: false }
    }

    fn flushed(rows: Vec<(Row, Option<String>)>, at: Instant) -> Flushed {
        let mut storage = Storage::default();
        for (row, poison) in rows {
            storage.gather(row, poison);
        }
        assert_eq!(storage.flush(at), Flushed::default(), "the window is still open");
        storage.flush(at + WINDOW)
    }

    #[test]
    fn two_reports_of_one_device_in_a_window_overwrite_each_other() {
        let now = Instant::now();
        let later = now + Duration::from_millis(50);
        let flushed = flushed(
            vec![
                (row("a", &["x"], now), None),
                (row("b", &["x"], now), None),
                (row("a", &["x"], later), None),
            ],
            now,
        );
        assert_eq!(flushed.rows.iter().map(|row| row.device.as_str()).collect::<Vec<_>>(), ["b", "a"]);
        assert_eq!(flushed.rows[1].arrived, later);
        assert!(flushed.lost[0].1.contains("overwritten"));
    }

    #[test]
    fn another_key_set_of_the_same_device_loses_everybodys_rows() {
        let now = Instant::now();
        let rows = vec![
            (row("a", &["x"], now), None),
            (row("b", &["x"], now), None),
            (row("a", &["x", "y"], now), None),
        ];
        let flushed = flushed(rows, now);
        assert!(flushed.rows.is_empty());
        assert_eq!(flushed.lost.len(), 3);
        assert!(flushed.lost[1].1.contains("two key sets"));
    }

    #[test]
    fn one_poisoned_report_loses_everybodys_rows() {
        let now = Instant::now();
        let flushed =
            flushed(vec![(row("a", &["x"], now), None), (row("b", &[], now), Some("a quote".into()))], now);
        assert_eq!(flushed.lost.len(), 2);
    }
}
