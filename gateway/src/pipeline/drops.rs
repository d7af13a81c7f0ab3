//! What of one class was dropped, by reason: for status at once, and for the platform once per flood.
//!
//! Always true: every row that is dropped is counted under one reason (one that is damaged was not
//! dropped: status and the ledger count damage apart); a flood of drops is told as one
//! event, when there was none for [`QUIET`], when it goes on for [`LONG`], or when the gateway stops. A
//! kill in between loses the event and not the ledger's count.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::status::Dropped;

/// A flood is over when nothing was dropped for this long.
pub const QUIET: Duration = Duration::from_secs(60);
/// A flood that goes on is told this often.
pub const LONG: Duration = Duration::from_secs(3_600);

/// Why rows were dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The buffer was full and the oldest had to go.
    Oldest,
    /// The buffer was full and what came last was not taken.
    Newest,
    /// No record holds the row.
    TooLarge,
    /// The disk took no data and memory was full.
    Disk,
}

impl Reason {
    fn word(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Newest => "newest",
            Self::TooLarge => "too_large",
            Self::Disk => "disk",
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Drops {
    /// Since the start.
    totals: BTreeMap<Reason, Dropped>,
    flood: Option<Flood>,
}

#[derive(Debug)]
struct Flood {
    began: Instant,
    last: Instant,
    counts: BTreeMap<Reason, Dropped>,
}

impl Drops {
    /// Rows were dropped; `true`: a flood begins.
    pub fn add(&mut self, reason: Reason, rows: u64, samples: u64, now: Instant) -> bool {
        let begins = self.flood.is_none();
        let flood =
            self.flood.get_or_insert_with(|| Flood { began: now, last: now, counts: BTreeMap::new() });
        flood.last = now;
        for counts in [&mut self.totals, &mut flood.counts] {
            let dropped = counts.entry(reason).or_default();
            dropped.rows += rows;
            dropped.samples += samples;
        }
        begins
    }

    /// When there is something to tell.
    pub fn due(&self) -> Option<Instant> {
        self.flood.as_ref().map(|flood| (flood.last + QUIET).min(flood.began + LONG))
    }

    /// The flood as an event's value, if there is one to tell; with `None` whether or not it is over.
    pub fn take(&mut self, class: &str, now: Option<Instant>) -> Option<serde_json::Value> {
        self.due().filter(|due| now.is_none_or(|now| *due <= now))?;
        let flood = self.flood.take()?;
        let mut value = serde_json::json!({
            "class": class,
            "seconds": flood.last.duration_since(flood.began).as_secs(),
            "samples": flood.counts.values().map(|dropped| dropped.samples).sum::<u64>(),
        });
        for (reason, dropped) in flood.counts {
            value[reason.word()] = dropped.rows.into();
        }
        Some(value)
    }

    /// For status, by reason.
    pub fn totals(&self) -> BTreeMap<String, Dropped> {
        self.totals.iter().map(|(reason, dropped)| (reason.word().to_owned(), *dropped)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thousand_drops_are_one_event_and_a_flood_that_goes_on_is_one_an_hour() {
        let start = Instant::now();
        let mut drops = Drops::default();
        for n in 0..1_000 {
            assert_eq!(drops.add(Reason::Oldest, 2, 20, start + Duration::from_millis(n)), n == 0);
        }
        drops.add(Reason::TooLarge, 1, 3, start + Duration::from_secs(2));
        assert_eq!(drops.take("telemetry", Some(start + QUIET)), None, "it may go on");
        let told = drops.take("telemetry", Some(start + QUIET + Duration::from_secs(2))).unwrap();
        let expected = serde_json::json!({
            "class": "telemetry", "seconds": 2, "samples": 20_003, "oldest": 2_000, "too_large": 1,
        });
        assert_eq!(told, expected);
        assert_eq!((drops.due(), drops.take("telemetry", None)), (None, None), "told once");
        let mut told = 0;
        for second in 0..3 * 3_600 {
            let now = start + Duration::from_secs(second);
            drops.add(Reason::Newest, 1, 1, now);
            told += usize::from(drops.take("telemetry", Some(now)).is_some());
        }
        assert_eq!(told, 2);
        assert_eq!(drops.totals()["newest"].rows, 3 * 3_600);
    }
}
