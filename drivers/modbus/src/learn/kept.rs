//! A lesson as bytes, for the gateway's store. Pure.
//!
//! ```text
//! {"for":"<fingerprint>","refused":[[table,first,last,exception,is_point],…],"seams":[[table,cell],…],"most":[[table,cells],…]}
//! ```
//! Tables are the functions that read them, 1 to 4.
//!
//! Always true: a full lesson fits into [`KV_VALUE_BYTES`]; bytes of other settings, of another version
//! or of no sense are an empty lesson, never an error.

use sagoo_driver_sdk::host::KV_VALUE_BYTES;
use serde_json::{Value as Json, json};
use tokio::time::Instant;

use super::lesson::Lesson;
use crate::point::address::Table;
use crate::wire::Exception;

/// The bytes; `None` when nothing was learned.
pub(crate) fn pack(fingerprint: u64, lesson: &Lesson) -> Option<Vec<u8>> {
    if *lesson == Lesson::default() {
        return None;
    }
    let refused: Vec<Json> = lesson
        .refused
        .iter()
        .map(|one| json!([number(one.table), one.first, one.last, one.why.0, u8::from(one.is_point)]))
        .collect();
    let pairs = |pairs: &[(Table, u16)]| -> Vec<Json> {
        pairs.iter().map(|(table, value)| json!([number(*table), value])).collect()
    };
    let kept = json!({
        "for": format!("{fingerprint:016x}"),
        "refused": refused,
        "seams": pairs(&lesson.seams),
        "most": pairs(&lesson.most),
    });
    let bytes = kept.to_string().into_bytes();
    debug_assert!(bytes.len() <= KV_VALUE_BYTES, "{} bytes", bytes.len());
    Some(bytes)
}

/// What was kept for these settings; `roll` spreads when its points are asked again.
pub(crate) fn unpack(bytes: &[u8], fingerprint: u64, now: Instant, mut roll: impl FnMut() -> f64) -> Lesson {
    let kept: Json = serde_json::from_slice(bytes).unwrap_or_default();
    let mut lesson = Lesson::default();
    if kept["for"].as_str() != Some(&format!("{fingerprint:016x}")) {
        return lesson;
    }
    let list = |key: &str| kept[key].as_array().map(Vec::as_slice).unwrap_or_default();
    for one in list("refused") {
        let (table, first, last) = (table(&one[0]), cell(&one[1]), cell(&one[2]));
        let why = one[3].as_u64().and_then(|code| u8::try_from(code).ok());
        if let (Some(table), Some(first), Some(last), Some(why)) = (table, first, last, why)
            && first <= last
        {
            lesson.remember((table, first, last), Exception(why), one[4] == 1, now, roll());
        }
    }
    for one in list("seams") {
        if let (Some(table), Some(at)) = (table(&one[0]), cell(&one[1])) {
            lesson.part(table, at);
        }
    }
    for one in list("most") {
        if let (Some(table), Some(cells)) = (table(&one[0]), cell(&one[1]).filter(|cells| *cells > 0)) {
            lesson.shorten(table, cells);
        }
    }
    lesson
}

/// Files are 65536 and their own number.
fn number(table: Table) -> u32 {
    match table {
        Table::Coil => 1,
        Table::Discrete => 2,
        Table::Holding => 3,
        Table::Input => 4,
        Table::Identity => 43,
        Table::File(file) => 1 << 16 | u32::from(file),
    }
}

fn table(of: &Json) -> Option<Table> {
    let of = u32::try_from(of.as_u64()?).ok()?;
    let file = u16::try_from(of ^ 1 << 16).ok().map(Table::File);
    file.or(Table::ALL.into_iter().chain([Table::Identity]).find(|table| number(*table) == of))
}

fn cell(of: &Json) -> Option<u16> {
    of.as_u64().and_then(|cell| u16::try_from(cell).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::learn::lesson::{MOST_REFUSED, MOST_SEAMS, MOST_TABLES};
    use crate::plan::Span;

    fn full(now: Instant) -> Lesson {
        let mut lesson = Lesson::default();
        for n in 0..MOST_REFUSED as u16 + 1 {
            let span = Span { point: 0, table: Table::File(65_535), address: 65_000 + n, cells: 1 };
            assert_eq!(lesson.leave_out(&span, Exception(255), now, 0.5), n < MOST_REFUSED as u16);
        }
        for n in 0..MOST_SEAMS as u16 + 1 {
            assert_eq!(lesson.part(Table::File(65_535), 65_000 + n), n < MOST_SEAMS as u16);
        }
        for n in 0..MOST_TABLES as u16 + 1 {
            assert_eq!(lesson.shorten(Table::File(65_000 + n), 120), n < MOST_TABLES as u16);
        }
        lesson
    }

    #[test]
    fn the_fullest_lesson_fits_and_comes_back() {
        let now = Instant::now();
        let lesson = full(now);
        let bytes = pack(7, &lesson).unwrap();
        assert!(bytes.len() <= KV_VALUE_BYTES, "{}", bytes.len());
        let back = unpack(&bytes, 7, now, || 0.5);
        assert_eq!(
            (back.refused.len(), &back.seams, &back.most),
            (MOST_REFUSED, &lesson.seams, &lesson.most)
        );
        for (one, other) in back.refused.iter().zip(&lesson.refused) {
            assert_eq!(
                (one.table, one.first, one.last, one.why),
                (other.table, other.first, other.last, other.why)
            );
        }
        assert_eq!(unpack(&bytes, 8, now, || 0.5), Lesson::default(), "of other settings");
        assert_eq!(pack(7, &Lesson::default()), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_an_error(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..60), text in "[0-9,:\"a-z{}\\[\\]]{0,80}") {
            unpack(&bytes, 1, Instant::now(), || 0.5);
            let text = format!("{{\"for\":\"0000000000000001\",\"refused\":[[{text}]],\"most\":[[4,0],[9,9],[3]]}}");
            assert_eq!(unpack(text.as_bytes(), 1, Instant::now(), || 0.5).most, []);
        }
    }
}
