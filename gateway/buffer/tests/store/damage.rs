//! Flipped, cut and missing bytes: what they cost, and what they do not.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use sagoo_edge_buffer::{Buffer, Cursor, CursorFound, Options, Origin, Record};

use super::{append, long, open, options, payload, read_all, scratch, segments, seqs};

/// Copies a store, so that each damage begins from the same.
pub fn copied(from: &Path) -> tempfile::TempDir {
    let to = scratch();
    copy_dir(from, to.path());
    to
}

fn copy_dir(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.metadata().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy_dir(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

fn flip(path: &Path, at: u64, bits: u8) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ bits], at).unwrap();
}

/// Three segments of nine records or so, senders included.
pub fn filled(dir: &Path) -> Vec<Record> {
    let (mut buffer, _) = Buffer::open(Options { segment_bytes: 8_000, ..options(dir) }).unwrap();
    for n in 1..=27u64 {
        let origin = (n % 3 != 0).then_some(Origin { instance: [(n % 3) as u8; 16], seq: n });
        buffer.append(origin, &payload(n, 600 + n as usize * 7)).unwrap();
    }
    buffer.sync().unwrap();
    read_all(&mut buffer)
}

#[test]
fn a_tail_torn_at_any_byte_costs_the_torn_record_only() {
    let dir = scratch();
    let records = filled(dir.path());
    let newest = segments(dir.path()).pop().unwrap();
    let len = fs::metadata(&newest).unwrap().len();
    let frame = 24 + 600 + 27 * 7;
    for cut in 1..frame {
        let copy = copied(dir.path());
        let newest = segments(copy.path()).pop().unwrap();
        OpenOptions::new().write(true).open(&newest).unwrap().set_len(len - cut).unwrap();
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!((recovery.torn_bytes, recovery.damaged_records), (frame - cut, 0), "cut {cut}");
        assert_eq!(fs::metadata(&newest).unwrap().len(), len - frame);
        assert!(read_all(&mut buffer) == records[..26]);
        assert_eq!(append(&mut buffer, b"next"), 27);
        drop(buffer);
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!((recovery.torn_bytes, recovery.damage), (0, vec![]));
        assert_eq!(read_all(&mut buffer).last().unwrap().payload, b"next");
    }
}

#[test]
fn a_first_record_torn_at_any_byte_leaves_the_segments_before() {
    let dir = scratch();
    let records = filled(dir.path());
    let newest = segments(dir.path()).pop().unwrap();
    let first: u64 = newest.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    let before = records.iter().filter(|record| record.seq < first).count();
    // the header with two senders, and a record of more than 700 bytes
    for len in 0..750 {
        let copy = copied(dir.path());
        let newest = segments(copy.path()).pop().unwrap();
        OpenOptions::new().write(true).open(&newest).unwrap().set_len(len).unwrap();
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!(
            (recovery.torn_bytes > 0 || len == 0 || len == 116, recovery.damaged_records),
            (true, 0),
            "{len}"
        );
        assert!(read_all(&mut buffer) == records[..before], "cut to {len}");
        assert_eq!(append(&mut buffer, b"next"), first);
        assert!(buffer.last_seq_of(&[1; 16]).is_some());
        drop(buffer);
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!(recovery.damage, vec![]);
        assert_eq!(read_all(&mut buffer).len(), before + 1);
    }
}

#[test]
fn a_tail_of_zeros_is_a_torn_tail() {
    let dir = scratch();
    let records = filled(dir.path());
    let newest = segments(dir.path()).pop().unwrap();
    let file = OpenOptions::new().write(true).open(&newest).unwrap();
    let len = file.metadata().unwrap().len();
    file.set_len(len + 5_000).unwrap();
    let (mut buffer, recovery) = open(dir.path());
    assert_eq!((recovery.torn_bytes, recovery.damaged_records), (5_000, 0));
    assert!(read_all(&mut buffer) == records);
    assert_eq!(append(&mut buffer, b"next"), 28);
}

/// Every byte of the newest segment, one at a time.
#[test]
fn a_flip_in_the_newest_segment_costs_one_record_at_most() {
    let dir = scratch();
    let records = filled(dir.path());
    let by_seq: BTreeMap<u64, &Record> = records.iter().map(|record| (record.seq, record)).collect();
    let last_of = |n| {
        let (buffer, _) = open(copied(dir.path()).path());
        buffer.last_seq_of(&[n; 16])
    };
    let (last_1, last_2) = (last_of(1), last_of(2));
    let newest = segments(dir.path()).pop().unwrap();
    let len = fs::metadata(&newest).unwrap().len();
    for at in (0..len).step_by(3) {
        let copy = copied(dir.path());
        flip(&segments(copy.path()).pop().unwrap(), at, 1 << (at % 8));
        let (mut buffer, recovery) = open(copy.path());
        let found = read_all(&mut buffer);
        assert!(found.len() + 1 >= records.len(), "flip at {at} of {len}: {:?}", seqs(&found));
        assert!(found.iter().all(|record| by_seq[&record.seq] == record), "flip at {at} changed a record");
        let lost = (records.len() - found.len()) as u64;
        assert_eq!(recovery.damaged_records + u64::from(recovery.torn_bytes > 0), lost, "flip at {at}");
        assert!(recovery.torn_bytes > 0 || recovery.damage.len() == 1, "flip at {at} went unseen");
        let set_aside = recovery.damage.iter().filter_map(|damage| damage.set_aside.as_ref());
        assert!(set_aside.map(|path| fs::metadata(path).unwrap().len()).all(|bytes| bytes > 0));
        assert!(buffer.last_seq_of(&[1; 16]) == last_1 || lost == 1);
        assert!(buffer.last_seq_of(&[2; 16]) == last_2 || lost == 1);
        assert!(append(&mut buffer, b"next") >= 27, "flip at {at}");
        assert_eq!(read_all(&mut buffer).last().unwrap().payload, b"next");
    }
}

/// Which record each byte of the segments belongs to; those of a header to none.
fn owners(dir: &Path, records: &[Record]) -> Vec<(PathBuf, u64, Option<u64>)> {
    let mut bytes = Vec::new();
    let paths = segments(dir);
    for (path, next) in paths.iter().zip(paths.iter().skip(1).map(Some).chain([None])) {
        let first = |path: &PathBuf| path.file_stem().unwrap().to_str().unwrap().parse::<u64>().unwrap();
        let range = first(path)..next.map_or(u64::MAX, first);
        let frames = records.iter().filter(|record| range.contains(&record.seq));
        let frames: Vec<_> = frames
            .map(|record| {
                (record.seq, 24 + 24 * u64::from(record.origin.is_some()) + record.payload.len() as u64)
            })
            .collect();
        let len = fs::metadata(path).unwrap().len();
        let header = len - frames.iter().map(|(_, len)| len).sum::<u64>();
        let owners = (0..header)
            .map(|_| None)
            .chain(frames.iter().flat_map(|(seq, len)| (0..*len).map(move |_| Some(*seq))));
        bytes.extend(owners.zip(0..).map(|(owner, at)| (path.clone(), at, owner)));
    }
    bytes
}

/// All of them in the long campaign.
#[test]
fn a_flip_in_the_newest_64_kib_of_the_store_costs_the_record_it_hits_and_is_reported() {
    let dir = scratch();
    let open = |dir: &Path| Buffer::open(Options { segment_bytes: 24_000, ..options(dir) }).unwrap();
    let (mut buffer, _) = open(dir.path());
    for n in 1..=90u64 {
        let origin = (n % 4 != 0).then_some(Origin { instance: [(n % 4) as u8; 16], seq: n });
        buffer.append(origin, &payload(n, 500 + n as usize * 7)).unwrap();
    }
    let settled = Cursor { floor: 3, detail: b"three".to_vec() };
    buffer.advance(settled.clone()).unwrap();
    buffer.sync().unwrap();
    let records = read_all(&mut buffer);
    drop(buffer);
    let owners = owners(dir.path(), &records);
    assert!(owners.len() > 64 << 10);
    for (path, at, owner) in owners[owners.len() - (64 << 10)..].iter().step_by(long(241, 1) as usize) {
        let copy = copied(dir.path());
        flip(&copy.path().join(path.file_name().unwrap()), *at, 1 << (at % 8));
        let (mut buffer, recovery) = open(copy.path());
        let found = read_all(&mut buffer);
        let expected = records.iter().filter(|record| Some(record.seq) != *owner);
        assert!(found.iter().eq(expected), "flip at {at} of {}, in {owner:?}", path.display());
        let mut damage = recovery.damage;
        damage.extend(buffer.take_damage());
        // a header that only speeds things up is of no use to whoever does not read it
        let newest = segments(dir.path()).pop().unwrap() == *path;
        let is_told = recovery.torn_bytes > 0 || damage.len() == 1 || (owner.is_none() && !newest);
        assert!(is_told, "flip at {at} of {}, in {owner:?} went unseen", path.display());
        for one in damage {
            let aside = fs::read(one.set_aside.unwrap()).unwrap();
            assert_eq!(aside.len() as u64, one.bytes);
        }
        assert_eq!(buffer.cursor(), &settled);
        let next = if recovery.torn_bytes > 0 { 90 } else { 91 };
        assert_eq!(append(&mut buffer, b"next"), next);
    }
}

#[test]
fn a_flip_in_the_cursor_costs_no_record_and_at_most_the_last_step() {
    let dir = scratch();
    let records = filled(dir.path());
    let (mut buffer, _) = open(dir.path());
    let steps = [3, 5, 6].map(|floor| Cursor { floor, detail: payload(floor, 300) });
    for step in &steps {
        buffer.advance(step.clone()).unwrap();
        buffer.sync().unwrap();
    }
    drop(buffer);
    let len = fs::metadata(dir.path().join("cursor")).unwrap().len();
    let used = (0..3).flat_map(|slot| slot * (len / 3)..slot * (len / 3) + 400);
    for at in used.step_by(long(7, 1) as usize) {
        let copy = copied(dir.path());
        flip(&copy.path().join("cursor"), at, 1 << (at % 8));
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!(recovery.cursor, CursorFound::Good, "flip at {at}");
        assert!(steps[1..].contains(buffer.cursor()), "flip at {at}: {:?}", buffer.cursor().floor);
        assert!(read_all(&mut buffer) == records, "flip at {at}");
    }
}

#[test]
fn a_flip_in_an_old_segment_is_found_when_it_is_read() {
    let dir = scratch();
    let records = filled(dir.path());
    let oldest = segments(dir.path()).remove(0);
    let len = fs::metadata(&oldest).unwrap().len();
    for at in (48..len).step_by(97) {
        let copy = copied(dir.path());
        flip(&segments(copy.path()).remove(0), at, 0x40);
        let (mut buffer, _) = open(copy.path());
        let found = read_all(&mut buffer);
        assert!(found.len() + 1 >= records.len(), "flip at {at}");
        let damage = buffer.take_damage();
        assert_eq!(damage.iter().map(|one| one.records).sum::<u64>(), (records.len() - found.len()) as u64);
        let stats = buffer.stats();
        assert_eq!(stats.records, found.len() as u64);
        assert_eq!(stats.damaged_records, (records.len() - found.len()) as u64);
        assert_eq!(read_all(&mut buffer).len(), found.len());
        assert_eq!(buffer.take_damage(), vec![], "reported once");
    }
}

/// A header only speeds things up.
#[test]
fn a_damaged_header_costs_no_record_and_no_sender() {
    let dir = scratch();
    let records = filled(dir.path());
    for index in 0..segments(dir.path()).len() {
        let copy = copied(dir.path());
        flip(&segments(copy.path())[index], 20, 0xFF);
        let (mut buffer, recovery) = open(copy.path());
        assert_eq!((recovery.damaged_records, recovery.damage.len()), (0, 1));
        assert!(read_all(&mut buffer) == records);
        assert_eq!(buffer.last_seq_of(&[1; 16]), Some(25));
        assert_eq!(buffer.last_seq_of(&[2; 16]), Some(26));
        assert_eq!(append(&mut buffer, b"next"), 28);
    }
}

#[test]
fn an_old_segment_cut_short_costs_what_was_cut() {
    let dir = scratch();
    let records = filled(dir.path());
    let oldest = segments(dir.path()).remove(0);
    OpenOptions::new().write(true).open(&oldest).unwrap().set_len(3_000).unwrap();
    let (mut buffer, recovery) = open(dir.path());
    let found = read_all(&mut buffer);
    assert_eq!(recovery.damaged_records as usize, records.len() - found.len());
    assert!(!found.is_empty() && found.len() < records.len());
    assert_eq!(buffer.stats().records, found.len() as u64);
}

#[test]
fn a_missing_segment_costs_its_own_records() {
    let dir = scratch();
    let records = filled(dir.path());
    let paths = segments(dir.path());
    fs::remove_file(&paths[1]).unwrap();
    let (mut buffer, _) = open(dir.path());
    let found = read_all(&mut buffer);
    assert!(found.len() < records.len() && found.iter().all(|record| records.contains(record)));
    assert_eq!(found.last(), records.last());
    assert_eq!(append(&mut buffer, b"next"), 28);
}

#[test]
fn a_damaged_cursor_begins_again_at_the_oldest_record() {
    let damages: [fn(&Path); 5] = [
        |path| fs::write(path, b"").unwrap(),
        |path| fs::write(path, vec![0; 208_896]).unwrap(),
        |path| fs::write(path, vec![0x5A; 300_000]).unwrap(),
        |path| fs::write(path, vec![0x5A; 1_000]).unwrap(),
        |path| fs::remove_file(path).unwrap(),
    ];
    for damage in damages {
        let dir = scratch();
        let records = filled(dir.path());
        let (mut buffer, recovery) = open(dir.path());
        assert_eq!(recovery.cursor, CursorFound::Good);
        buffer.advance(Cursor { floor: 5, detail: b"detail".to_vec() }).unwrap();
        drop(buffer);
        damage(&dir.path().join("cursor"));
        let (mut buffer, recovery) = open(dir.path());
        assert_eq!(recovery.cursor, CursorFound::Lost);
        assert_eq!(buffer.cursor(), &Cursor::default());
        assert!(read_all(&mut buffer) == records);
        buffer.advance(Cursor { floor: 9, detail: Vec::new() }).unwrap();
        drop(buffer);
        let (buffer, recovery) = open(dir.path());
        assert_eq!((recovery.cursor, buffer.cursor().floor), (CursorFound::Good, 9));
    }
}

/// Numbers are not given twice while somebody may know them.
#[test]
fn numbers_go_on_behind_the_cursor_when_the_records_are_gone() {
    let dir = scratch();
    filled(dir.path());
    let (mut buffer, _) = open(dir.path());
    buffer.advance(Cursor { floor: 28, detail: Vec::new() }).unwrap();
    drop(buffer);
    for path in segments(dir.path()) {
        fs::remove_file(path).unwrap();
    }
    let (mut buffer, _) = open(dir.path());
    assert_eq!((buffer.first_seq(), buffer.next_seq()), (28, 28));
    assert_eq!(append(&mut buffer, b"next"), 28);
}

#[test]
fn what_is_set_aside_is_bounded() {
    let dir = scratch();
    let (mut buffer, _) = open(dir.path());
    for n in 0..200 {
        append(&mut buffer, &payload(n, 3_000));
    }
    drop(buffer);
    let newest = segments(dir.path()).pop().unwrap();
    for n in 0..100 {
        flip(&newest, 1_000 + n * 6_048, 1);
    }
    let (mut buffer, recovery) = open(dir.path());
    assert_eq!((recovery.damaged_records, recovery.damage.len()), (100, 64));
    assert_eq!(read_all(&mut buffer).len(), 100);
    assert_eq!(fs::read_dir(dir.path().join("damaged")).unwrap().count(), 16);
    assert_eq!(buffer.stats().bytes, super::bytes_in(dir.path()));
}

/// A record whose payload holds whole frames: they are not records, damaged or not.
#[test]
fn frames_inside_a_payload_do_not_become_records() {
    let inner = scratch();
    let (mut buffer, _) = open(inner.path());
    append(&mut buffer, b"one");
    append(&mut buffer, b"two");
    drop(buffer);
    let frames = fs::read(segments(inner.path()).pop().unwrap()).unwrap();
    let dir = scratch();
    let (mut buffer, _) = open(dir.path());
    for _ in 0..4 {
        append(&mut buffer, &frames);
    }
    drop(buffer);
    flip(&segments(dir.path()).pop().unwrap(), 52 + 3 * (24 + frames.len() as u64) + 8, 1);
    let (mut buffer, _) = open(dir.path());
    let found = read_all(&mut buffer);
    assert_eq!(seqs(&found), [1, 2, 3]);
    assert!(found.iter().all(|record| record.payload == frames));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases.max(128), ..ProptestConfig::default() })]

    /// Any bytes in any file: it opens, reads and takes records, and what it gives is what was stored.
    #[test]
    fn garbage_anywhere_is_survived(
        writes in proptest::collection::vec((0..4usize, 0.0..1.0f64, proptest::collection::vec(any::<u8>(), 1..400)), 1..6),
        cut in proptest::option::of((0..4usize, 0.0..1.2f64)),
    ) {
        let dir = scratch();
        let records = filled(dir.path());
        let mut files = segments(dir.path());
        files.push(dir.path().join("cursor"));
        for (file, place, bytes) in writes {
            let path = &files[file % files.len()];
            let at = (fs::metadata(path).unwrap().len() as f64 * place) as u64;
            OpenOptions::new().write(true).open(path).unwrap().write_all_at(&bytes, at).unwrap();
        }
        if let Some((file, place)) = cut {
            let path = &files[file % files.len()];
            let len = (fs::metadata(path).unwrap().len() as f64 * place) as u64;
            OpenOptions::new().write(true).open(path).unwrap().set_len(len).unwrap();
        }
        for _ in 0..2 {
            let (mut buffer, _) = open(dir.path());
            let found = read_all(&mut buffer);
            prop_assert!(seqs(&found).is_sorted());
            prop_assert!(found.iter().all(|record| records.contains(record) || record.payload == b"next"));
            let seq = append(&mut buffer, b"next");
            prop_assert!(found.iter().all(|record| record.seq < seq));
            let last = read_all(&mut buffer).pop().unwrap();
            prop_assert_eq!((last.seq, last.payload), (seq, b"next".to_vec()));
            let bytes = buffer.stats().bytes;
            prop_assert_eq!(bytes, super::bytes_in(dir.path()));
        }
    }
}
