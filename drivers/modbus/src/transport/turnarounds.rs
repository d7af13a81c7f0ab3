//! How long units take to answer, measured.
//!
//! Always true: a figure moves by an eighth of each new one, so that one slow answer is no trend.

use std::collections::BTreeMap;
use std::time::Duration;

/// The share of a new figure.
const SHARE: u32 = 8;

/// From the last byte of a request to the first of its answer, by unit.
#[derive(Debug, Default)]
pub(super) struct Turnarounds {
    units: BTreeMap<u8, Duration>,
}

impl Turnarounds {
    pub(super) fn measure(&mut self, unit: u8, took: Duration) {
        self.units
            .entry(unit)
            .and_modify(|known| *known = (*known * (SHARE - 1) + took) / SHARE)
            .or_insert(took);
    }

    pub(super) fn of(&self, unit: u8) -> Option<Duration> {
        self.units.get(&unit).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_follows_what_is_measured() {
        let mut known = Turnarounds::default();
        assert_eq!(known.of(1), None);
        known.measure(1, Duration::from_millis(8));
        known.measure(1, Duration::from_millis(16));
        known.measure(2, Duration::from_millis(1));
        assert_eq!(known.of(1), Some(Duration::from_millis(9)));
        for _ in 0..100 {
            known.measure(1, Duration::from_millis(40));
        }
        assert!(
            known.of(1) > Some(Duration::from_millis(39)) && known.of(2) == Some(Duration::from_millis(1))
        );
    }
}
