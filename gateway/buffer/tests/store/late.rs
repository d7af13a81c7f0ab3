//! Disks that take no data when the store is opened, and some later.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use sagoo_edge_buffer::{Buffer, Cursor, CursorFound, Error, Options, Origin, Outcome, Slots};

use super::tap::{self, Trouble};
use super::trouble::{INSTANCE, Mounted, assert_whole, store};
use super::{MIB, append, bytes_in, options, scratch, segments};

/// Every file below a directory.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

fn small_segments(dir: &Path) -> Options {
    Options { segment_bytes: 6_000, ..options(dir) }
}

/// Twenty records, of which the first eight are settled, and the beginning of another one.
fn torn_store(dir: &Path) {
    let (mut buffer, _) = Buffer::open(small_segments(dir)).unwrap();
    (0..20).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    buffer.advance(Cursor { floor: 9, detail: b"nine".to_vec() }).unwrap();
    buffer.sync().unwrap();
    drop(buffer);
    let newest = segments(dir).pop().unwrap();
    let mut file = OpenOptions::new().append(true).open(newest).unwrap();
    file.write_all(b"Rec1\0\0").unwrap();
}

/// A whole life on such a disk: `refuse` makes it one, `allow` ends that.
fn goes_on(dir: &Path, refuse: impl Fn(), allow: impl Fn()) {
    torn_store(dir);
    let settled = segments(dir).len();
    refuse();
    let before = files(dir);
    let (mut buffer, recovery) = Buffer::open(small_segments(dir)).unwrap();
    assert_eq!((recovery.damaged_records, recovery.torn_bytes), (0, 6));
    assert_eq!(recovery.cursor, CursorFound::Good);
    assert_eq!(buffer.cursor(), &Cursor { floor: 9, detail: b"nine".to_vec() });
    assert!(buffer.in_memory());
    let first = buffer.first_seq();
    assert_whole(&mut buffer, first..=20);
    let error = Buffer::open(small_segments(dir)).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "two would write the same: {error}");

    let again = buffer.append(Some(Origin { instance: INSTANCE, seq: 20 }), b"double").unwrap();
    assert_eq!(again.outcome, Outcome::Double);
    (0..300).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    assert_eq!(buffer.segment_start(21), Some(21), "what memory holds can be read alone");
    assert_whole(&mut buffer, first..=320);
    let cursor = Cursor { floor: 12, detail: b"twelve".to_vec() };
    buffer.advance(cursor.clone()).unwrap_err();
    assert_eq!(buffer.cursor(), &cursor);
    let error = buffer.retry().unwrap_err();
    assert!(error.to_string().contains(dir.to_str().unwrap()), "{error}");
    assert!(buffer.sync_job().is_none() && buffer.sync().is_err());
    assert_eq!(buffer.stats().bytes, bytes_in(dir));
    assert!(files(dir) == before, "nothing is touched, not even repaired");

    allow();
    buffer.retry().unwrap();
    assert!(!buffer.in_memory());
    buffer.sync().unwrap();
    assert_eq!((buffer.stats().memory_bytes, buffer.stats().bytes), (0, bytes_in(dir)));
    assert!(buffer.first_seq() > first && settled > 1, "what is settled is removed now");
    let error = Buffer::open(small_segments(dir)).unwrap_err();
    assert!(matches!(error, Error::Locked { .. }), "{error}");
    store(&mut buffer, 1_000);
    let first = buffer.first_seq();
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(small_segments(dir)).unwrap();
    assert_eq!((recovery.damage, recovery.torn_bytes), (vec![], 0));
    assert_eq!(buffer.cursor(), &cursor);
    assert_whole(&mut buffer, first..=321);
    assert_eq!(buffer.last_seq_of(&INSTANCE), Some(321));
    assert_eq!(fs::metadata(dir.join("lock")).unwrap().len(), 0);
}

#[test]
fn a_store_opens_where_no_file_can_be_opened_for_writing_and_catches_up_when_one_can() {
    for trouble in [Trouble::ReadOnly, Trouble::NoWriter] {
        let dir = scratch();
        goes_on(dir.path(), || tap::trouble(dir.path(), Some(trouble)), || tap::trouble(dir.path(), None));
    }
    // as an archive that was unpacked without them: the directory itself is locked
    let dir = scratch();
    let without = || {
        fs::remove_file(dir.path().join("lock")).unwrap();
        tap::trouble(dir.path(), Some(Trouble::ReadOnly));
    };
    goes_on(dir.path(), without, || tap::trouble(dir.path(), None));
}

#[test]
fn a_store_opens_on_a_disk_that_is_mounted_read_only() {
    let remount = |disk: &Mounted, how: &str| {
        let done = Command::new("mount").args(["-o", how]).arg(disk.path()).status().unwrap();
        assert!(done.success(), "{how}");
    };
    let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=32m", "store-test"]) else {
        // the same, made up
        return a_store_opens_where_no_file_can_be_opened_for_writing_and_catches_up_when_one_can();
    };
    let reserve_bytes = MIB;
    goes_on(&disk.path().join("buffer"), || remount(&disk, "remount,ro"), || remount(&disk, "remount,rw"));

    // nor does it have to be there
    remount(&disk, "remount,ro");
    let dir = disk.path().join("a/b");
    let options = || Options { reserve_bytes, ..options(&dir) };
    let (mut buffer, recovery) = Buffer::open(options()).unwrap();
    assert_eq!((recovery.cursor, recovery.records), (CursorFound::New, 0));
    (0..50).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    let _ = buffer.advance(Cursor { floor: 3, detail: b"three".to_vec() });
    let error = buffer.retry().unwrap_err().to_string();
    assert!(error.contains(dir.to_str().unwrap()) && error.contains("mounted writable"), "{error}");
    remount(&disk, "remount,rw");
    buffer.retry().unwrap();
    assert!(matches!(Buffer::open(options()), Err(Error::Locked { .. })));
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(options()).unwrap();
    assert_eq!((recovery.cursor, recovery.damage), (CursorFound::Good, vec![]));
    assert_eq!(buffer.cursor(), &Cursor { floor: 3, detail: b"three".to_vec() });
    assert_whole(&mut buffer, 1..=50);
}

#[test]
fn a_store_opens_on_a_full_disk_where_it_never_was() {
    let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=4m", "store-test"]) else {
        return a_store_opens_where_no_file_can_be_opened_for_writing_and_catches_up_when_one_can();
    };
    super::trouble::fill_up(disk.path());
    let dir = disk.path().join("buffer");
    let options = || Options { reserve_bytes: 4_096, ..Options::new(dir.clone(), MIB) };
    let (mut buffer, _) = Buffer::open(options()).unwrap();
    (0..50).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    buffer.retry().unwrap_err();
    // not removed: a process that is being started may hold it open for a moment
    OpenOptions::new().write(true).truncate(true).open(disk.path().join("stranger")).unwrap();
    buffer.retry().unwrap();
    drop(buffer);
    assert_whole(&mut Buffer::open(options()).unwrap().0, 1..=50);
}

#[test]
fn what_comes_to_be_there_meanwhile_is_never_written_over() {
    let dir = scratch();
    // as a disk that is mounted too late
    tap::trouble(dir.path(), Some(Trouble::ReadOnly));
    let (mut buffer, _) = Buffer::open(options(dir.path())).unwrap();
    (0..10).for_each(|_| drop(store(&mut buffer, 1_000)));
    tap::trouble(dir.path(), None);
    let other = scratch();
    torn_store(other.path());
    for (path, bytes) in files(other.path()) {
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
    }
    let there = files(dir.path());
    let error = buffer.retry().unwrap_err();
    assert!(matches!(error, Error::Changed { .. }), "{error}");
    let _ = buffer.advance(Cursor { floor: 5, detail: Vec::new() });
    (0..10).for_each(|_| drop(store(&mut buffer, 1_000)));
    let first = buffer.first_seq();
    assert_whole(&mut buffer, first..=20);
    assert!(files(dir.path()) == there);
    drop(buffer);
    let (mut buffer, _) = Buffer::open(options(dir.path())).unwrap();
    let first = buffer.first_seq();
    assert_whole(&mut buffer, first..=20);
}

/// What made no sense stays where it is, until it can be set aside.
#[test]
fn damage_on_a_disk_that_takes_no_data_costs_what_it_costs_anywhere() {
    let dir = scratch();
    torn_store(dir.path());
    let newest = segments(dir.path()).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    let last = bytes.len() - 100;
    bytes[last] ^= 1;
    fs::write(&newest, bytes).unwrap();
    tap::trouble(dir.path(), Some(Trouble::ReadOnly));
    let there = files(dir.path());
    let (mut buffer, recovery) = Buffer::open(small_segments(dir.path())).unwrap();
    assert_eq!((recovery.damaged_records, recovery.torn_bytes), (1, 0));
    assert_eq!(recovery.damage.len(), 1);
    (0..10).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    let left = |first| (first..=19).chain(21..=30);
    let first = buffer.first_seq();
    assert_whole(&mut buffer, left(first));
    assert!(files(dir.path()) == there);
    tap::trouble(dir.path(), None);
    buffer.retry().unwrap();
    assert_eq!(buffer.stats().bytes, bytes_in(dir.path()));
    drop(buffer);
    let (mut buffer, _) = Buffer::open(small_segments(dir.path())).unwrap();
    assert_whole(&mut buffer, left(first));
    let damage = buffer.take_damage();
    assert_eq!(damage.iter().map(|one| (one.first_seq, one.records)).collect::<Vec<_>>(), [(20, 1)]);
    assert!(damage[0].set_aside.is_some());
}

#[test]
fn rights_that_are_missing_are_told_at_once() {
    let dir = scratch();
    fs::create_dir(dir.path().join("cursor")).unwrap();
    let error = Buffer::open(options(dir.path())).unwrap_err();
    assert!(matches!(error, Error::Open { .. }), "nothing that time mends: {error}");
}

#[test]
fn another_gateway_that_can_write_first_is_left_alone() {
    let dir = scratch();
    tap::trouble(dir.path(), Some(Trouble::ReadOnly));
    let (mut buffer, _) = Buffer::open(options(dir.path())).unwrap();
    store(&mut buffer, 1_000);
    tap::trouble(dir.path(), None);
    // it finds no lock file, and makes one
    let (mut other, _) = Buffer::open(options(dir.path())).unwrap();
    append(&mut other, b"theirs");
    let there = files(dir.path());
    assert!(matches!(buffer.retry(), Err(Error::Locked { .. })));
    assert!(files(dir.path()) == there);
    drop(other);
    assert!(matches!(buffer.retry(), Err(Error::Changed { .. })));
    assert!(files(dir.path()) == there);
}

#[test]
fn a_small_value_is_read_from_a_disk_that_takes_no_data_and_replaced_once_it_does() {
    let dir = scratch();
    let path = dir.path().join("value");
    let (mut slots, _) = Slots::open(&path).unwrap();
    for value in [b"first", b"other"] {
        slots.write(value, true).unwrap();
    }
    drop(slots);
    tap::trouble(dir.path(), Some(Trouble::ReadOnly));
    let (mut slots, value) = Slots::open(&path).unwrap();
    assert_eq!(value.as_deref(), Some(&b"other"[..]));
    let error = slots.write(b"third", true).unwrap_err();
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    tap::trouble(dir.path(), None);
    slots.write(b"third", true).unwrap();
    assert_eq!(Slots::open(&path).unwrap().1.as_deref(), Some(&b"third"[..]));
    // where not even the directory is there yet
    let path = dir.path().join("later/value");
    let (mut slots, _) = Slots::open(&path).unwrap();
    slots.write(b"first", true).unwrap_err();
    fs::create_dir(dir.path().join("later")).unwrap();
    slots.write(b"first", true).unwrap();
    assert_eq!(Slots::open(&path).unwrap().1.as_deref(), Some(&b"first"[..]));
}
