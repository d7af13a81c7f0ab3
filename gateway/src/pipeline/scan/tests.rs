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
/// Of a store in which each has one row.
const DEVICES: usize = 130;

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

/// How a segment file is damaged; they all hold records of the same length.
#[derive(Debug, Clone, Copy)]
enum Harm {
    Last,
    First,
    /// The second half is not there.
    Cut,
}

fn harm(path: &Path, harm: Harm) {
    let mut bytes = std::fs::read(path).unwrap();
    match harm {
        Harm::Last => {
            let at = bytes.len() - TEXT_BYTES / 2;
            bytes[at] ^= 1;
        }
        Harm::First => bytes[TEXT_BYTES] ^= 1,
        Harm::Cut => bytes.truncate(bytes.len() / 2),
    }
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn nothing_waits_for_ever_for_what_is_damaged_in_segments_that_were_not_read() {
    let cases: [&[(usize, Harm)]; 6] = [
        &[(0, Harm::Last)],
        &[(1, Harm::First)],
        &[(1, Harm::Last), (2, Harm::First)],
        &[(1, Harm::Cut)],
        &[(2, Harm::Cut), (3, Harm::First)],
        &[(0, Harm::Cut), (1, Harm::Last), (2, Harm::Last)],
    ];
    for case in cases {
        is_counted_as_lost(case);
    }
}

/// Damages segments (the oldest is 0) of a store in which each row is of another device, so that nothing
/// later tells that it will not come.
fn is_counted_as_lost(case: &[(usize, Harm)]) {
    let waiting = |writer: &Writer| ledgers(writer).iter().map(|one| one.waiting).sum::<u64>();
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    for number in 0..DEVICES as u64 {
        submit(&mut writer, vec![row(number as usize, number, number as i64)]);
    }
    let all = waiting(&writer);
    writer.write_cursor();
    drop(writer);
    let place = config(dir.path()).place(Class::Telemetry);
    let segments = Buffer::open(Options::new(place.clone(), 1 << 20)).unwrap().0.segments();
    for (segment, how) in case {
        harm(&place.join(format!("{:020}.seg", segments[*segment].0)), *how);
    }
    let mut writer = open(dir.path());
    // half of it arrives in this process, and the rest in the next
    let next_seq = writer.status().next_seq;
    let mut arrived = arrive(&mut writer, next_seq / 2);
    writer.write_cursor();
    drop(writer);
    let mut writer = open(dir.path());
    arrived += arrive(&mut writer, next_seq);
    assert_eq!(waiting(&writer), 0, "{case:?}");
    assert_eq!(writer.status().waiting_rows, 0, "{case:?}");
    let lost = ledgers(&writer).iter().map(|one| one.evicted_damaged).sum::<u64>();
    assert!(arrived > 0 && lost > 0, "{case:?}: {arrived} arrived, {lost} are lost");
    assert_eq!(arrived + lost, all, "{case:?}");
    assert!(ledgers(&writer).iter().all(crate::status::Ledger::balances), "{case:?}");
}

fn ledgers(writer: &Writer) -> Vec<crate::status::Ledger> {
    (0..DEVICES).map(|device| writer.book.ledger(&name(device))).collect()
}

/// Reads on as the forwarder does, up to a number, and everything read is acknowledged. Returns the samples.
fn arrive(writer: &mut Writer, to: u64) -> u64 {
    let resume = writer.resume();
    let (mut decoder, mut from, mut arrived) = (Decoder::default(), resume.from, 0);
    while from < to {
        let records = writer.read(from, 1).unwrap();
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        for record in records {
            for row in decoder.decode(&record.payload).unwrap().into_iter().map(Result::unwrap) {
                let settled =
                    resume.positions.get(&row.device).is_some_and(|position| record.seq < *position);
                if !settled {
                    arrived += u64::from(row.samples);
                    let (class, device, samples) = (Class::Telemetry, row.device, row.samples);
                    writer.settle(&Settled {
                        class,
                        device,
                        seq: record.seq,
                        samples,
                        fate: Fate::Acknowledged,
                    });
                }
            }
        }
    }
    arrived
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_cannot_be_read_for_a_minute_holds_up_nothing_any_more() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    for number in 0..DEVICES as u64 {
        submit(&mut writer, vec![row(number as usize, number, number as i64)]);
    }
    let (all, next_seq) =
        (ledgers(&writer).iter().map(|one| one.waiting).sum::<u64>(), writer.status().next_seq);
    let place = config(dir.path()).place(Class::Telemetry);
    let files = std::fs::read_dir(&place).unwrap().map(|entry| entry.unwrap().path());
    let mut segments: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    segments.sort();
    let first_seq = segments[1].file_stem().unwrap().to_str().unwrap().parse().unwrap();
    std::fs::remove_file(&segments[1]).unwrap();

    let mut arrived = arrive(&mut writer, first_seq);
    for _ in 0..60 {
        assert!(writer.read(first_seq, 1).is_none(), "it may come back");
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
    }
    assert!(writer.status().trouble.contains("seg"), "{}", writer.status().trouble);
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let behind = writer.read(first_seq, 1).expect("it is given up");
    assert!(behind[0].seq > first_seq, "{}", behind[0].seq);
    assert_eq!(writer.status().trouble, "");
    arrived += arrive(&mut writer, next_seq);
    assert_eq!(writer.status().waiting_rows, 0);
    let lost = ledgers(&writer).iter().map(|one| one.evicted_damaged).sum::<u64>();
    assert!(lost > 0 && arrived + lost == all, "{arrived} arrived, {lost} are lost of {all}");
    assert!(ledgers(&writer).iter().all(crate::status::Ledger::balances));
}
