//! Ages, sizes, counts and values as people read them.
//!
//! Always true: nothing is rounded to something that means otherwise (no `0 B` for a byte, no `60 s`).

use serde_json::Value as Json;

use super::print::harmless;

/// `0.3 s`, `12 s`, `5 min`, `2 h 3 min`, `3 d 4 h`.
pub(super) fn age(ms: u64) -> String {
    let seconds = ms / 1_000;
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match seconds {
        0..10 => format!("{}.{} s", seconds, ms % 1_000 / 100),
        10..60 => format!("{seconds} s"),
        60..600 => format!("{minutes} min {} s", seconds % 60),
        600..3_600 => format!("{minutes} min"),
        3_600..86_400 => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

/// `17 B`, `1.5 KiB`, `256 MiB`.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10) as usize;
    let tenths = (u128::from(bytes) * 10) >> (10 * power);
    match (tenths / 10, tenths % 10) {
        (whole, 0) => format!("{whole} {}", UNITS[power - 1]),
        (whole, _) if whole >= 100 => format!("{whole} {}", UNITS[power - 1]),
        (whole, tenth) => format!("{whole}.{tenth} {}", UNITS[power - 1]),
    }
}

/// `1 234 567`
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// A point's value; text without quotes.
pub(super) fn value(value: &Json) -> String {
    match value {
        Json::String(text) => harmless(text).replace('\n', "\u{fffd}"),
        other => harmless(&other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn ages_are_read_at_a_glance() {
        let shown = [340, 9_999, 59_999, 60_000, 3_599_000, 3_600_000, 7_380_000, 273_600_000].map(age);
        let expected = ["0.3 s", "9.9 s", "59 s", "1 min 0 s", "59 min", "1 h 0 min", "2 h 3 min", "3 d 4 h"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn sizes_are_read_at_a_glance() {
        let shown = [0, 1_023, 1_024, 1_536, 256 << 20, (256 << 20) - 1, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1 KiB", "1.5 KiB", "256 MiB", "255 MiB", "15.9 EiB"]);
    }

    #[test]
    fn values_are_shown_without_their_quotes() {
        assert_eq!(value(&json!("on\n\x1b")), "on\u{fffd}\u{fffd}");
        assert_eq!(value(&json!(u64::MAX)), "18446744073709551615");
        assert_eq!(value(&json!({"a": 1.5})), "{\"a\":1.5}");
    }

    proptest! {
        #[test]
        fn a_count_keeps_its_digits(number in any::<u64>()) {
            let shown = count(number);
            prop_assert_eq!(shown.replace(' ', ""), number.to_string());
            prop_assert!(shown.split(' ').skip(1).all(|group| group.len() == 3));
        }

        #[test]
        fn any_number_can_be_shown(number in any::<u64>()) {
            let _ = (age(number), bytes(number));
        }
    }
}
