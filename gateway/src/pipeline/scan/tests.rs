//! What the tallies tell is what is found without them.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sagoo_edge_buffer::{Options, WhenFull};

use super::*;
use crate::class::{Class, PerClass};
use crate::config::types::{BufferConfig, Sync};
use crate::pipeline::boots;
use crate::pipeline::handle::{Fate, Settled};
use crate::pipeline::unwritten::Unwritten;
use crate::pipeline::writer::Writer;
use crate::row::{Cell, Identity, Value};

/// With texts of this length some twenty records fill a segment.
const TEXT_BYTES: usize = 6_000;

fn config(dir: &Path) -> BufferConfig {
    BufferConfig {
        dir: dir.to_owned(),
        max_size: 2 << 20,
        reserve: 0,
        sync: Sync::Interval(std::time::Duration::from_secs(1)),
        when_full: PerClass::new(|_| WhenFull::DropOldest),
    }
}

fn open(dir: &Path) -> Writer {
    Writer::open(&config(dir), Class::Telemetry, |_| true).unwrap().0
}

fn name(device: usize) -> Arc<str> {
    format!("device {device}").into()
}

fn row(device: usize, number: u64, time_ms: i64) -> Row {
    let text = format!("{number:0TEXT_BYTES$}");
    let cell = Cell { key: "text".into(), value: Value::Text(text), time_ms };
    let identity = Identity { product_key: "p".into(), device_key: name(device) };
    Row {
        device: name(device),
        identity,
        time_ms,
        cells: vec![cell],
        event: None,
        samples: 1 + number as u32 % 3,
    }
}

fn submit(writer: &mut Writer, rows: Vec<Row>) {
    let read = rows.iter().map(|row| (row.device.clone(), u64::from(row.samples))).collect();
    writer.submit(Unwritten { origin: None, rows, read, replies: Vec::new() });
}

/// What a start makes of a directory: per segment and device what is open, the ledgers, times and last rows.
fn found(dir: &Path, told: impl Fn(&mut Buffer, u64, u64) -> Option<Tally>) -> (String, LastRows) {
    let config = config(dir);
    let options = Options::new(config.place(Class::Telemetry), config.share(Class::Telemetry));
    let (mut buffer, _) = Buffer::open(options).unwrap();
    let cursor = buffer.cursor().clone();
    let mut book = Book::restore(cursor.floor, &cursor.detail);
    let scanned = scan_with(&mut buffer, &mut book, told).unwrap();
    let next_seq = buffer.next_seq();
    let reconciled =
        super::super::book::Found { next_seq, first_seq: buffer.first_seq(), ..Default::default() };
    book.reconcile(&reconciled, |_| true);
    let ledgers: BTreeMap<Arc<str>, _> =
        book.devices().map(|device| (device.clone(), book.ledger(device))).collect();
    let mut text = format!("{ledgers:?} {} {:?} {}", book.waiting_rows(), scanned.seen, book.floor(next_seq));
    let newest: BTreeMap<_, _> =
        scanned.newest.devices.iter().map(|(device, share)| (device.clone(), *share)).collect();
    text.push_str(&format!(" {newest:?}"));
    for (first_seq, next_seq) in buffer.segments() {
        text.push_str(&format!("\n{first_seq}: {:?}", book.evicted(next_seq - 1)));
    }
    (text, scanned.last)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases / 4, ..ProptestConfig::default() })]

    #[test]
    fn a_start_with_tallies_finds_what_one_without_finds(
        steps in prop::collection::vec((0..10u8, 0..4usize, 1..3usize), 1..160),
        boot in 1..4u32,
    ) {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = open(dir.path());
        let mut waiting: Vec<Vec<(u64, u32)>> = vec![Vec::new(); 5];
        let mut seq = writer.status().next_seq;
        for (number, (op, device, more)) in steps.into_iter().enumerate() {
            let number = number as u64;
            match op {
                // of one that stays silent afterwards, too
                0..=5 => {
                    let of = if number == 3 { 4 } else { device };
                    let time_ms = if op == 0 { boots::since_boot(boot, number as i64) } else { 1_800_000_000_000 + number as i64 };
                    let rows: Vec<Row> = (0..more).map(|more| row((of + more) % 5, number, time_ms)).collect();
                    let counts: Vec<u32> = rows.iter().map(|row| row.samples).collect();
                    submit(&mut writer, rows);
                    for (more, samples) in counts.into_iter().enumerate() {
                        waiting[(of + more) % 5].push((seq, samples));
                    }
                    seq = writer.status().next_seq;
                }
                6 | 7 if !waiting[device].is_empty() => {
                    let (seq, samples) = waiting[device].remove(0);
                    let (class, device) = (Class::Telemetry, name(device));
                    writer.settle(&Settled { class, device, seq, samples, fate: Fate::Acknowledged });
                }
                8 => writer.write_cursor(),
                9 if more == 2 && device == 0 => {
                    drop(writer);
                    writer = open(dir.path());
                }
                _ => {}
            }
        }
        drop(writer);
        let (told, last) = found(dir.path(), tally_of);
        let (scanned, all) = found(dir.path(), |_, _, _| None);
        prop_assert_eq!(told, scanned);
        for (device, row) in &last {
            prop_assert_eq!(Some(row), all.get(device), "never an older row than the newest");
        }
    }
}

#[test]
fn only_what_tallies_do_not_tell_is_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    submit(&mut writer, vec![row(9, 0, 1)]);
    let silent_since = writer.status().next_seq;
    for number in 1..100 {
        submit(&mut writer, vec![row(number as usize % 3, number, number as i64)]);
    }
    drop(writer);
    let asked = std::cell::Cell::new(0);
    let (_, last) = found(dir.path(), |buffer, first_seq, next_seq| {
        let tally = tally_of(buffer, first_seq, next_seq);
        asked.set(asked.get() + u32::from(tally.is_some()));
        tally
    });
    let config = config(dir.path());
    let options = Options::new(config.place(Class::Telemetry), config.share(Class::Telemetry));
    let segments = Buffer::open(options).unwrap().0.segments();
    assert!(segments.len() > 4, "{segments:?}");
    assert_eq!(asked.get() as usize, segments.len() - 1, "each but the newest is told of by the next");
    assert!(segments[0].1 >= silent_since);
    assert_eq!(last.len(), 4, "also of the device that was silent since the oldest segment");
}

#[test]
fn a_tally_that_is_of_other_records_is_not_believed() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    for number in 0..60 {
        submit(&mut writer, vec![row(0, number, 1)]);
    }
    drop(writer);
    let place = config(dir.path()).place(Class::Telemetry);
    let (mut buffer, _) = Buffer::open(Options::new(place, 1 << 20)).unwrap();
    let segments = buffer.segments();
    let (first_seq, next_seq) = segments[0];
    assert!(tally_of(&mut buffer, first_seq, next_seq).is_some());
    assert!(tally_of(&mut buffer, first_seq, next_seq - 1).is_none());
    assert!(tally_of(&mut buffer, first_seq + 1, next_seq).is_none());
    assert!(tally_of(&mut buffer, segments.last().unwrap().0, segments.last().unwrap().1).is_none());
}

#[test]
fn what_is_damaged_in_a_segment_that_was_not_read_does_not_wait_for_ever() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    // each of another device, so that nothing later tells that it will not come
    for number in 0..130 {
        submit(&mut writer, vec![row(number as usize, number, number as i64)]);
    }
    let (first_seq, next_seq) = (writer.status().first_seq, writer.status().next_seq);
    drop(writer);
    let place = config(dir.path()).place(Class::Telemetry);
    let (damaged, _) = Buffer::open(Options::new(place.clone(), 1 << 20)).unwrap().0.segments()[0];
    let path = place.join(format!("{damaged:020}.seg"));
    let mut bytes = std::fs::read(&path).unwrap();
    // within the last record
    let at = bytes.len() - TEXT_BYTES / 2;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).unwrap();

    let mut writer = open(dir.path());
    let waiting =
        |writer: &Writer| (0..130).map(|device| writer.book.ledger(&name(device)).waiting).sum::<u64>();
    let before = waiting(&writer);
    let (mut decoder, mut from, mut arrived) = (Decoder::default(), first_seq, 0);
    while from < next_seq {
        let records = writer.read(from, 1 << 16).unwrap();
        from = records.last().unwrap().seq + 1;
        for record in records {
            for row in decoder.decode(&record.payload).unwrap() {
                let row = row.unwrap();
                arrived += u64::from(row.samples);
                let (class, device, samples) = (Class::Telemetry, row.device, row.samples);
                writer.settle(&Settled { class, device, seq: record.seq, samples, fate: Fate::Acknowledged });
            }
        }
    }
    let ledgers: Vec<_> = (0..130).map(|device| writer.book.ledger(&name(device))).collect();
    assert_eq!(waiting(&writer), 0);
    assert_eq!(ledgers.iter().map(|one| one.evicted_damaged).sum::<u64>(), before - arrived);
    assert!(before > arrived && ledgers.iter().all(crate::status::Ledger::balances));
    assert_eq!(writer.status().waiting_rows, 0);
}
