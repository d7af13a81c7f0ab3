//! Times against a table, and any bytes.

use proptest::prelude::*;

use super::*;

fn read(layout: Layout, bytes: &[u8]) -> Result<String, String> {
    layout.decode(bytes, Zone(60))
}

/// Made by hand.
#[test]
fn each_layout_reads_as_the_time_it_holds() {
    for (layout, bytes, text) in [
        (Layout::Unix32, &[0x65, 0xE0, 0x7A, 0x48][..], "2024-02-29T12:36:24Z"),
        (Layout::Unix64, &[0, 0, 0, 0, 0, 0, 0, 0], "1970-01-01T00:00:00Z"),
        (Layout::Unix64Ms, &[0, 0, 0, 0, 0, 0, 5, 0xDC], "1970-01-01T00:00:01.500Z"),
        (Layout::Words, &[7, 0xE8, 0, 2, 0, 29, 0, 12, 0, 36, 0, 24], "2024-02-29T12:36:24+01:00"),
        (Layout::Words, &[0, 24, 0, 2, 0, 29, 0, 12, 0, 36, 0, 24], "2024-02-29T12:36:24+01:00"),
        (Layout::Bytes, &[24, 2, 29, 12, 36, 24], "2024-02-29T12:36:24+01:00"),
        (Layout::Bcd, &[0x24, 2, 0x29, 0x12, 0x36, 0x24], "2024-02-29T12:36:24+01:00"),
        (Layout::S7, &[0x24, 2, 0x29, 0x12, 0x36, 0x24, 0x98, 0x75], "2024-02-29T12:36:24.987+01:00"),
        (Layout::S7, &[0x94, 2, 0x28, 0x12, 0x36, 0x24, 0, 1], "1994-02-28T12:36:24.000+01:00"),
        (Layout::Cp56, &[0, 24, 2, 0x9D, 12, 36, 0x5F, 0x1B], "2024-02-29T12:36:24.347+01:00"),
        (Layout::Cp56, &[0, 24, 7, 1, 0x8C, 36, 0, 0], "2024-07-01T12:36:00.000+02:00"),
    ] {
        assert_eq!(read(layout, bytes).as_deref(), Ok(text), "{layout}");
    }
}

#[test]
fn a_time_that_does_not_exist_says_so() {
    for (layout, bytes, reason) in [
        (Layout::Bytes, &[23, 2, 29, 12, 36, 24][..], "2023-02-29 is no date"),
        (Layout::Bytes, &[0, 0, 0, 0, 0, 0], "2000-00-00 is no date"),
        (Layout::Bytes, &[124, 2, 1, 0, 0, 0], "124 is no year of a century"),
        (Layout::Bytes, &[24, 2, 29, 24, 0, 0], "24:00:00.000 is no time of day"),
        (Layout::Bcd, &[0x24, 2, 0x2A, 0, 0, 0], "0x2a is not two decimal digits"),
        (Layout::Words, &[0xFF; 12], "65535-65535-65535 is no date"),
        (Layout::Cp56, &[0, 24, 2, 1, 12, 0x80, 0, 0], "the device says that its clock is not right"),
        (Layout::Cp56, &[0, 24, 2, 1, 12, 0, 0xFF, 0xFF], "12:00:65.535 is no time of day"),
        (Layout::Unix64, &[0xFF; 8], "a time after the year 9999"),
        (Layout::Unix64Ms, &[0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0], "a time after the year 9999"),
    ] {
        assert_eq!(read(layout, bytes), Err(reason.to_owned()), "{layout}");
    }
}

#[test]
fn a_time_is_written_in_the_zone_of_the_device() {
    let write = |layout: Layout, text: &str| layout.encode(text, Zone(60));
    assert_eq!(write(Layout::Bytes, "2024-02-29T12:36:24Z"), Ok(vec![24, 2, 29, 13, 36, 24]));
    assert_eq!(write(Layout::Bytes, "2024-02-29 12:36:24"), Ok(vec![24, 2, 29, 12, 36, 24]));
    assert_eq!(write(Layout::Bcd, "2024-02-29T23:36:24-00:30"), Ok(vec![0x24, 3, 1, 1, 6, 0x24]));
    assert_eq!(write(Layout::Unix32, "1970-01-01T01:00:02.9"), Ok(vec![0, 0, 0, 2]));
    assert_eq!(
        write(Layout::Cp56, "2024-02-29T12:36:24.347+01:00"),
        Ok(vec![0, 24, 2, 0x9D, 12, 36, 0x5F, 0x1B]),
        "with its day of the week, Thursday"
    );
    for (layout, text) in [
        (Layout::Unix32, "1969-12-31T23:59:59Z"),
        (Layout::Unix32, "2106-02-07T06:28:16Z"),
        (Layout::Bytes, "1999-06-01T00:00:00Z"),
        (Layout::S7, "2090-06-01T00:00:00Z"),
    ] {
        assert_eq!(write(layout, text), Err(format!("{text} does not fit time[{layout}]")));
    }
    for text in [
        "",
        "now",
        "2024-02-30T00:00:00",
        "2024-02-29",
        "2024-02-29T12:36:24+1",
        "2024-02-29T12:36:24.",
        "20240-2-29T12:36:24",
        "2024-02-29T1é:36:24",
    ] {
        let told = write(Layout::Bytes, text).unwrap_err();
        assert!(told.contains("is not a time, write it like \"2024-02-29T12:30:00+01:00\""), "{told}");
    }
}

#[test]
fn a_zone_is_an_offset() {
    for (text, minutes) in [("Z", 0), ("UTC", 0), ("+08:00", 480), ("-03:30", -210)] {
        assert_eq!(Zone::parse(text), Some(Zone(minutes)));
    }
    for wrong in ["", "08:00", "+8", "+15:00", "+08:60", "CET", "+08-00"] {
        assert_eq!(Zone::parse(wrong), None, "{wrong}");
    }
    assert_eq!(Zone(-210).to_string(), "-03:30");
}

proptest! {
    #[test]
    fn a_time_that_is_written_reads_back(
        seconds in 946_684_800i64..3_000_000_000, millis in 0..1_000i64, zone in -14 * 60..=14 * 60i16, pick in 0..8usize,
    ) {
        let layout = Layout::WORDS[pick].1;
        let zone = if layout.is_unix() { Zone(0) } else { Zone(zone) };
        let millis = if layout.has_millis() { millis } else { 0 };
        let text = Civil::of(seconds * 1_000 + millis + zone.ms()).text(zone, layout.has_millis());
        if let Ok(bytes) = layout.encode(&text, zone) {
            prop_assert_eq!(bytes.len(), usize::from(layout.cells()) * 2);
            prop_assert_eq!(layout.decode(&bytes, zone), Ok(text));
        }
    }

    #[test]
    fn any_registers_are_a_time_or_a_reason(bytes in proptest::collection::vec(any::<u8>(), 12), pick in 0..8usize, small in any::<bool>()) {
        let layout = Layout::WORDS[pick].1;
        let bytes: Vec<u8> = bytes.into_iter().map(|byte| if small { byte % 32 } else { byte }).collect();
        if let Ok(text) = layout.decode(&bytes[..usize::from(layout.cells()) * 2], Zone(0)) {
            let again = layout.encode(&text, Zone(0)).and_then(|bytes| layout.decode(&bytes, Zone(0)));
            // What the two-digit years cannot hold is refused; an hour of summer is told in the text.
            prop_assert!(again.is_err() || text.contains("+01:00") || again == Ok(text));
        }
    }

    #[test]
    fn any_text_is_a_time_or_a_reason(text in "\\PC{0,30}", near in "20[0-9]{2}-[0-9]{2}-[0-9]{2}[T ][0-9:.Z+é]{0,18}") {
        for text in [text, near] {
            let _ = Layout::Bytes.encode(&text, Zone(0));
        }
    }
}
