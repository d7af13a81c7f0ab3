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

/// Unix milliseconds as `2026-11-29 10:40:57 UTC`.
pub(super) fn time(ms: i64) -> String {
    let (days, second) = (ms.div_euclid(86_400_000), ms.rem_euclid(86_400_000) / 1_000);
    // Howard Hinnant's days_from_civil, turned around: years begin in March, so that a leap day ends them
    let from_march_0 = i128::from(days) + 719_468;
    let (era, day) = (from_march_0.div_euclid(146_097), from_march_0.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = year + era * 400 + i128::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
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
    fn times_are_those_of_the_calendar() {
        let days = [(0, "1970-01-01"), (951_782_400, "2000-02-29"), (1_709_251_199, "2024-02-29")];
        for (second, day) in days {
            assert!(time(second * 1_000).starts_with(day), "{} is not {day}", time(second * 1_000));
        }
        assert_eq!(time(1_709_251_199_999), "2024-02-29 23:59:59 UTC");
        assert_eq!(time(-1), "1969-12-31 23:59:59 UTC");
        let _ = (time(i64::MIN), time(i64::MAX));
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
