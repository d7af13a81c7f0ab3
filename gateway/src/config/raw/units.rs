//! Durations and sizes: a whole number and its unit, nothing else.
//!
//! Always true: what is printed reads back as the same value; a number that does not fit is `None`.

use std::time::Duration;

/// From small to large; the shortest spelling takes the largest that divides.
const DURATION_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];
const SIZE_UNITS: [(&str, u64); 4] = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40)];

/// `300ms`, `5s`, `10m`, `1h`.
pub(crate) fn duration(text: &str) -> Option<Duration> {
    parse(text, &DURATION_UNITS).map(Duration::from_millis)
}

/// `64KiB`, `256MiB`, `1GiB`, `1TiB`.
pub(crate) fn size(text: &str) -> Option<u64> {
    parse(text, &SIZE_UNITS)
}

/// As [`duration`] reads it.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(duration.as_millis().try_into().unwrap_or(u64::MAX), "ms", &DURATION_UNITS)
}

/// As [`size`] reads it; sizes that are no multiple of 1 KiB in bytes.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, "B", &SIZE_UNITS)
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show(value: u64, smallest: &str, units: &[(&str, u64)]) -> String {
    let unit = units.iter().rev().find(|(_, factor)| value != 0 && value.is_multiple_of(*factor));
    match unit {
        Some((name, factor)) => format!("{}{name}", value / factor),
        None => format!("{value}{smallest}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn units_are_read_as_people_write_them() {
        assert_eq!(duration("300ms"), Some(Duration::from_millis(300)));
        assert_eq!(duration("10m"), Some(Duration::from_secs(600)));
        assert_eq!(duration("1h"), Some(Duration::from_secs(3600)));
        assert_eq!(size("256MiB"), Some(256 << 20));
        for wrong in
            ["", "5", "s", "5 s", "-5s", "+5s", "1.5s", "5sec", "1h30m", "５s", "99999999999999999999s"]
        {
            assert_eq!(duration(wrong), None, "{wrong:?}");
        }
        for wrong in ["1MB", "1", "MiB", "1 MiB", "18446744073709551615TiB"] {
            assert_eq!(size(wrong), None, "{wrong:?}");
        }
    }

    proptest! {
        #[test]
        fn a_shown_duration_reads_back(ms in any::<u64>()) {
            let value = Duration::from_millis(ms);
            prop_assert_eq!(duration(&show_duration(value)), Some(value));
        }

        #[test]
        fn a_shown_size_reads_back(kib in 1..u64::MAX >> 10) {
            prop_assert_eq!(size(&show_size(kib << 10)), Some(kib << 10));
        }

        #[test]
        fn any_text_is_a_value_or_none(text in "\\PC*") {
            let _ = (duration(&text), size(&text));
        }
    }
}
