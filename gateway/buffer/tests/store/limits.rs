//! Cap, sizes, locks, doubles.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use sagoo_edge_buffer::{Buffer, Cursor, Error, MAX_DETAIL, Options, Origin, Outcome, WhenFull};

use super::{MIB, append, bytes_in, open, options, payload, read_all, segments, seqs};

#[test]
fn a_second_owner_is_told_which_directory_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let (buffer, _) = open(dir.path());
    let error = Buffer::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
    drop(buffer);
    open(dir.path());
}

#[test]
fn nobody_else_may_read_it() {
    let outer = tempfile::tempdir().unwrap();
    let dir = outer.path().join("a/b");
    let (mut buffer, _) = open(&dir);
    append(&mut buffer, b"secret");
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in [dir.join("lock"), dir.join("cursor"), segments(&dir).remove(0)] {
        assert_eq!(mode(&file), 0o600, "{}", file.display());
    }
}

#[test]
fn sizes_outside_the_limits_are_refused_and_change_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let small = Options::new(dir.path().to_owned(), MIB - 1);
    assert!(matches!(Buffer::open(small), Err(Error::CapTooSmall { .. })));
    let (mut buffer, _) = open(dir.path());
    let largest = buffer.max_payload();
    let error = buffer.append(None, &vec![1; largest + 1]).unwrap_err();
    assert!(matches!(error, Error::PayloadTooLarge { .. }), "{error}");
    assert_eq!(append(&mut buffer, &vec![1; largest]), 1);
    let detail = vec![1; MAX_DETAIL];
    buffer.advance(Cursor { floor: 1, detail: detail.clone() }).unwrap();
    let error = buffer.advance(Cursor { floor: 1, detail: vec![1; MAX_DETAIL + 1] }).unwrap_err();
    assert!(matches!(error, Error::DetailTooLarge { .. }), "{error}");
    for floor in [0, 3] {
        let error = buffer.advance(Cursor { floor, detail: Vec::new() }).unwrap_err();
        assert!(matches!(error, Error::CursorOutOfRange { .. }), "{error}");
    }
    drop(buffer);
    let (buffer, _) = open(dir.path());
    assert_eq!(buffer.cursor(), &Cursor { floor: 1, detail });
}

#[test]
fn a_usual_cap_takes_payloads_of_one_mebibyte() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), 256 * MIB)).unwrap();
    assert_eq!(buffer.max_payload() as u64, MIB);
    append(&mut buffer, &vec![7; MIB as usize]);
    append(&mut buffer, b"small");
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(Options::new(dir.path().to_owned(), 256 * MIB)).unwrap();
    assert_eq!(recovery.damage, vec![]);
    assert_eq!(
        read_all(&mut buffer).iter().map(|record| record.payload.len()).collect::<Vec<_>>(),
        [1 << 20, 5]
    );
}

#[test]
fn the_oldest_segments_make_room_and_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap();
    let mut evicted = Vec::new();
    for n in 0..2_000 {
        evicted.extend(buffer.append(None, &payload(n, 1_000)).unwrap().evicted);
        assert!(bytes_in(dir.path()) <= MIB);
    }
    assert!(evicted.len() >= 5);
    let mut expected = 1;
    for gone in &evicted {
        assert_eq!(gone.first_seq, expected);
        assert_eq!(gone.records, gone.last_seq - gone.first_seq + 1);
        expected = gone.last_seq + 1;
    }
    let records = read_all(&mut buffer);
    assert_eq!(seqs(&records), (expected..=2_000).collect::<Vec<_>>());
    assert!(bytes_in(dir.path()) > MIB * 8 / 10, "the cap is used");
    let stats = buffer.stats();
    assert_eq!((stats.evicted_records, stats.first_seq), (expected - 1, expected));
    assert_eq!(buffer.segment_start(expected - 1), None);
    assert_eq!(buffer.segment_start(expected), Some(expected));
    assert_eq!(buffer.segment_start(2_002), None);
}

#[test]
fn drop_newest_keeps_the_oldest_counts_what_is_refused_and_takes_more_once_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { when_full: WhenFull::DropNewest, ..Options::new(dir.path().to_owned(), MIB) };
    let (mut buffer, _) = Buffer::open(options()).unwrap();
    let origin = |seq| Some(Origin { instance: [1; 16], seq });
    let mut kept = Vec::new();
    for n in 1..=2_000 {
        match buffer.append(origin(n), &payload(n, 1_000)).unwrap().outcome {
            Outcome::Stored { seq } => kept.push(seq),
            outcome => assert_eq!(outcome, Outcome::Refused),
        }
        assert!(bytes_in(dir.path()) <= MIB);
    }
    let stats = buffer.stats();
    assert_eq!((stats.refused_records, stats.evicted_records), (2_000 - kept.len() as u64, 0));
    assert_eq!(kept, (1..=kept.len() as u64).collect::<Vec<_>>(), "numbers are given to what is kept");
    assert!(bytes_in(dir.path()) > MIB * 9 / 10, "the cap is used");
    assert_eq!(buffer.last_seq_of(&[1; 16]), kept.last().copied(), "what was refused may come again");
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(options()).unwrap();
    assert_eq!(recovery.evicted, []);
    assert_eq!(seqs(&read_all(&mut buffer)), kept);
    buffer.advance(Cursor { floor: buffer.next_seq(), detail: Vec::new() }).unwrap();
    let outcome = buffer.append(origin(2_000), &payload(1, 1_000)).unwrap().outcome;
    assert_eq!(outcome, Outcome::Stored { seq: kept.len() as u64 + 1 });
}

#[test]
fn a_smaller_cap_evicts_when_it_opens() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), 64 * MIB)).unwrap();
    for n in 0..200 {
        append(&mut buffer, &payload(n, 100_000));
    }
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap();
    assert!(!recovery.evicted.is_empty());
    assert!(bytes_in(dir.path()) <= MIB);
    for n in 0..30 {
        append(&mut buffer, &payload(n, 90_000));
        assert!(bytes_in(dir.path()) <= MIB);
        assert_eq!(bytes_in(dir.path()), buffer.stats().bytes);
    }
}

#[test]
fn a_double_is_told_across_restart_release_and_eviction() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap().0;
    let instance = [9; 16];
    let mut buffer = open();
    let send =
        |buffer: &mut Buffer, seq| buffer.append(Some(Origin { instance, seq }), b"batch").unwrap().outcome;
    assert_eq!(send(&mut buffer, 41), Outcome::Stored { seq: 1 });
    assert_eq!(send(&mut buffer, 41), Outcome::Double);
    drop(buffer);
    let mut buffer = open();
    assert_eq!(send(&mut buffer, 40), Outcome::Double);
    // its record is evicted
    for n in 0..2_000 {
        append(&mut buffer, &payload(n, 1_000));
    }
    assert!(buffer.first_seq() > 1);
    drop(buffer);
    let mut buffer = open();
    assert_eq!(send(&mut buffer, 41), Outcome::Double);
    // everything is settled
    buffer.advance(Cursor { floor: buffer.next_seq(), detail: Vec::new() }).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    drop(buffer);
    let mut buffer = open();
    assert_eq!(send(&mut buffer, 41), Outcome::Double);
    assert_eq!(send(&mut buffer, 42), Outcome::Stored { seq: 2_002 });
    assert_eq!((buffer.last_seq_of(&instance), buffer.stats().doubles), (Some(42), 1));
}

#[test]
fn settled_segments_go_and_the_newest_stays() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = Buffer::open(Options { segment_bytes: 10_000, ..options(dir.path()) }).unwrap();
    for n in 0..100 {
        append(&mut buffer, &payload(n, 1_000));
    }
    let start = buffer.segment_start(50).unwrap();
    let before = segments(dir.path()).len() as u64;
    let released = buffer.advance(Cursor { floor: 50, detail: Vec::new() }).unwrap();
    assert_eq!(buffer.first_seq(), start, "a segment goes only as a whole");
    assert_eq!(before - segments(dir.path()).len() as u64, released.segments);
    buffer.advance(Cursor { floor: 101, detail: Vec::new() }).unwrap();
    assert_eq!(segments(dir.path()).len(), 1);
    assert_eq!(buffer.segment_start(101), Some(buffer.first_seq()), "where the next record would go");
}

/// Issue 2: opening asked for room for a segment header that nobody was writing, and evicted the oldest segment.
#[test]
fn a_buffer_full_to_the_last_byte_loses_nothing_when_it_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let open = || {
        let options = Options { segment_bytes: 6_000, ..Options::new(dir.path().to_owned(), MIB) };
        Buffer::open(options).unwrap()
    };
    let (mut buffer, _) = open();
    // every record is larger than a segment is to be, so each has one of its own
    let empty = buffer.stats().bytes;
    append(&mut buffer, &payload(0, 90_000));
    let overhead = buffer.stats().bytes - empty - 90_000;
    let mut left = MIB - buffer.stats().bytes;
    while left > 0 {
        let len = if left > 100_000 { 90_000 } else { left - overhead };
        append(&mut buffer, &payload(left, len as usize));
        left = MIB - buffer.stats().bytes;
    }
    assert_eq!((bytes_in(dir.path()), buffer.stats().evicted_records), (MIB, 0));
    let records = read_all(&mut buffer);
    drop(buffer);
    for _ in 0..2 {
        let (mut buffer, recovery) = open();
        assert_eq!((recovery.evicted, recovery.bytes, recovery.damage), (vec![], MIB, vec![]));
        assert!(read_all(&mut buffer) == records);
    }
    let (mut buffer, _) = open();
    let evicted = buffer.append(None, b"one more").unwrap().evicted;
    assert_eq!(evicted.iter().map(|gone| (gone.first_seq, gone.records)).collect::<Vec<_>>(), [(1, 1)]);
    assert!(bytes_in(dir.path()) <= MIB);
}

#[test]
fn numbers_and_senders_outlive_a_cap_too_small_for_any_segment() {
    let dir = tempfile::tempdir().unwrap();
    let origin = Origin { instance: [3; 16], seq: 8 };
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), 64 * MIB)).unwrap();
    buffer.append(Some(origin), b"first").unwrap();
    for n in 0..30 {
        append(&mut buffer, &payload(n, 100_000));
    }
    drop(buffer);
    let open = || Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap();
    let (_, recovery) = open();
    assert_eq!((recovery.evicted.len(), recovery.records), (1, 0), "the one segment is too large");
    // as if the process ended before the next record came
    for _ in 0..2 {
        let (buffer, recovery) = open();
        assert_eq!((recovery.evicted, recovery.damage), (vec![], vec![]));
        assert_eq!((buffer.next_seq(), buffer.first_seq()), (32, 32));
        assert_eq!(buffer.last_seq_of(&origin.instance), Some(8));
        assert_eq!(buffer.stats().bytes, bytes_in(dir.path()));
    }
    let (mut buffer, _) = open();
    let again = buffer.append(Some(origin), b"first").unwrap();
    assert_eq!(again.outcome, Outcome::Double);
    assert_eq!(append(&mut buffer, b"next"), 32);
}

#[test]
fn the_first_record_after_a_bare_header_begins_a_segment() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = open(dir.path());
    let empty = buffer.stats().bytes;
    append(&mut buffer, b"");
    let (file, frame) = (segments(dir.path()).remove(0), 24);
    let header = buffer.stats().bytes - empty - frame;
    drop(buffer);
    // a kill in the middle of the write that began it
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(header).unwrap();
    let (mut buffer, recovery) = open(dir.path());
    assert_eq!((recovery.segments, recovery.records), (1, 0));
    assert!(buffer.starts_segment(10));
    assert_eq!(append(&mut buffer, b"first"), 1);
    assert_eq!(buffer.segment_start(1), Some(1));
    assert!(!buffer.starts_segment(10));
    assert_eq!((buffer.stats().segments, buffer.stats().bytes), (1, bytes_in(dir.path())));
    assert_eq!(seqs(&read_all(&mut buffer)), [1]);
}
