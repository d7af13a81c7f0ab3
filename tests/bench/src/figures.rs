//! Medians, spreads and ratios.
//!
//! Always true: a figure keeps the value of every round; its ratio to another is taken round by round,
//! because the rounds of both were measured next to each other.

use serde::Serialize;

/// One measured thing over all rounds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What it is counted in.
    pub unit: &'static str,
    /// The middle of the rounds.
    pub median: f64,
    /// The least of them.
    pub least: f64,
    /// The most.
    pub most: f64,
    /// Each, in the order they were measured.
    pub rounds: Vec<f64>,
}

impl Figure {
    /// Of these rounds; `None` when there is none.
    pub fn of(unit: &'static str, rounds: Vec<f64>) -> Option<Self> {
        let mut sorted = rounds.clone();
        sorted.sort_by(f64::total_cmp);
        let (least, most) = (*sorted.first()?, *sorted.last()?);
        Some(Self { unit, median: percentile(&sorted, 50.0), least, most, rounds })
    }

    /// How many times the other one this is, round by round.
    pub fn over(&self, other: &Self) -> Option<Self> {
        let pairs = self.rounds.iter().zip(&other.rounds).filter(|(_, other)| **other > 0.0);
        Self::of("×", pairs.map(|(own, other)| own / other).collect())
    }
}

/// The value below which this many percent of a sorted list lie; 0 for an empty one.
pub fn percentile(sorted: &[f64], percent: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = (last as f64 * percent / 100.0).round() as usize;
    if percent == 50.0 && sorted.len().is_multiple_of(2) {
        let upper = sorted.len() / 2;
        return (sorted[upper - 1] + sorted[upper]) / 2.0;
    }
    sorted[place.min(last)]
}

/// As many digits as a figure of this size deserves.
pub fn shown(value: f64) -> String {
    match value.abs() {
        size if size >= 999.5 => grouped(value.round() as i64),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 0.095 => format!("{value:.2}"),
        0.0 => "0".to_owned(),
        _ => format!("{value:.4}"),
    }
}

/// Thousands apart: `1 234 567`.
fn grouped(value: i64) -> String {
    let digits = value.unsigned_abs().to_string();
    let mut text = String::from(if value < 0 { "-" } else { "" });
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_median_is_the_middle_and_the_spread_its_ends() {
        let figure = Figure::of("ms", vec![3.0, 1.0, 9.0]).unwrap();
        assert_eq!((figure.median, figure.least, figure.most), (3.0, 1.0, 9.0));
        assert_eq!(figure.rounds, [3.0, 1.0, 9.0]);
        assert_eq!(Figure::of("ms", vec![1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Figure::of("ms", Vec::new()), None);
    }

    #[test]
    fn a_ratio_compares_what_was_measured_in_the_same_round() {
        let slow = Figure::of("ms", vec![2.0, 40.0, 6.0]).unwrap();
        let fast = Figure::of("ms", vec![1.0, 20.0, 2.0]).unwrap();
        let ratio = slow.over(&fast).unwrap();
        assert_eq!((ratio.median, ratio.least, ratio.most), (2.0, 2.0, 3.0));
        let zero = Figure::of("ms", vec![0.0]).unwrap();
        assert_eq!(slow.over(&zero), None, "nothing is infinitely slower");
    }

    #[test]
    fn percentiles_of_a_hundred_are_what_they_say() {
        let hundred: Vec<f64> = (0..=100).map(f64::from).collect();
        assert_eq!(percentile(&hundred, 99.0), 99.0);
        assert_eq!(percentile(&hundred, 50.0), 50.0);
        assert_eq!(percentile(&[7.0], 99.0), 7.0);
        assert_eq!(percentile(&[], 50.0), 0.0);
    }

    #[test]
    fn figures_are_shown_with_the_digits_they_deserve() {
        let all = [1_234_567.0, 999.6, 999.4, 12.34, 1.234, 0.5, 0.0123, 0.0, -4_000.0];
        let texts = ["1 234 567", "1 000", "999", "12.3", "1.23", "0.50", "0.0123", "0", "-4 000"];
        for (value, text) in all.into_iter().zip(texts) {
            assert_eq!(shown(value), text);
        }
    }
}
