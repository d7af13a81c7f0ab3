//! Disks that take no data: full, read-only and broken ones, real and made up.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::Command;

use sagoo_edge_buffer::{Buffer, Cursor, Durability, Error, Evicted, Options, Origin, Outcome};
use tempfile::TempDir;

use super::tap::{self, Trouble};
use super::{MIB, bytes_in, options, payload, read_all, scratch, seqs};

pub(super) const INSTANCE: [u8; 16] = [5; 16];

/// As the owner does it: what the disk does not take is appended again, for memory to take.
pub(super) fn store(buffer: &mut Buffer, len: usize) -> Vec<Evicted> {
    let seq = buffer.next_seq();
    let payload = payload(seq, len);
    let origin = Some(Origin { instance: INSTANCE, seq });
    let appended = buffer.append(origin, &payload).unwrap_or_else(|_| {
        assert!(buffer.in_memory() && buffer.starts_segment(payload.len()));
        buffer.append(origin, &payload).unwrap()
    });
    assert_eq!(appended.outcome, Outcome::Stored { seq });
    appended.evicted
}

/// What is read is these, unchanged.
pub(super) fn assert_whole(buffer: &mut Buffer, expected: impl Iterator<Item = u64>) {
    let records = read_all(buffer);
    let (found, expected) = (seqs(&records), expected.collect::<Vec<_>>());
    let ends = |seqs: &[u64]| (seqs.len(), seqs.first().copied(), seqs.last().copied());
    assert!(found == expected, "{:?} instead of {:?}", ends(&found), ends(&expected));
    assert!(records.iter().all(|record| record.payload == payload(record.seq, record.payload.len())));
}

#[test]
fn records_go_on_in_memory_and_are_written_when_the_disk_takes_them() {
    for trouble in [Trouble::Full, Trouble::ReadOnly, Trouble::Io] {
        for durability in [Durability::Each, Options::new("/".into(), MIB).durability] {
            let dir = scratch();
            let options = || Options { durability, ..options(dir.path()) };
            let (mut buffer, _) = Buffer::open(options()).unwrap();
            (0..20).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
            let on_disk = bytes_in(dir.path());
            tap::trouble(dir.path(), Some(trouble));
            (0..300).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
            assert_eq!(
                buffer.segment_start(21),
                Some(21),
                "{trouble:?}: what memory holds can be read alone"
            );
            assert!(buffer.stats().segments > 2 && buffer.stats().memory_bytes > 300_000);
            assert_whole(&mut buffer, 1..=320);
            assert!(buffer.retry().is_err(), "{trouble:?}");
            assert_eq!((buffer.stats().records, buffer.stats().bytes), (320, on_disk));
            let again = buffer.append(Some(Origin { instance: INSTANCE, seq: 300 }), b"double").unwrap();
            assert_eq!(again.outcome, Outcome::Double);
            // the cursor is kept, whether or not it can be written
            let _ = buffer.advance(Cursor { floor: 9, detail: b"nine".to_vec() });
            tap::trouble(dir.path(), None);
            buffer.retry().unwrap();
            assert!(!buffer.in_memory());
            assert_eq!((buffer.stats().memory_bytes, buffer.stats().bytes), (0, bytes_in(dir.path())));
            assert_eq!(store(&mut buffer, 1_000), []);
            assert_whole(&mut buffer, 1..=321);
            buffer.sync().unwrap();
            drop(buffer);
            let (mut buffer, recovery) = Buffer::open(options()).unwrap();
            assert_eq!((recovery.damaged_records, recovery.torn_bytes), (0, 0), "{trouble:?}");
            assert_whole(&mut buffer, 1..=321);
            assert_eq!(buffer.cursor(), &Cursor { floor: 9, detail: b"nine".to_vec() });
            assert_eq!(buffer.last_seq_of(&INSTANCE), Some(321));
        }
    }
}

#[test]
fn the_oldest_in_memory_are_dropped_and_named_and_those_on_disk_stay() {
    let dir = scratch();
    let open = || Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap();
    let (mut buffer, _) = open();
    (0..10).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    tap::trouble(dir.path(), Some(Trouble::Io));
    let mut next_lost = 11;
    for _ in 0..500 {
        for gone in store(&mut buffer, 1_000) {
            assert_eq!((gone.first_seq, gone.unwritten), (next_lost, true));
            assert_eq!(gone.records, gone.last_seq + 1 - gone.first_seq);
            next_lost = gone.last_seq + 1;
        }
        assert!(buffer.stats().memory_bytes <= MIB / 8);
    }
    assert!(next_lost > 300 && buffer.stats().memory_bytes > MIB / 12, "memory is used, and bounded");
    assert_eq!(buffer.stats().evicted_records, next_lost - 11);
    let left = || (1..=10).chain(next_lost..=510);
    assert_whole(&mut buffer, left());
    tap::trouble(dir.path(), None);
    buffer.retry().unwrap();
    assert_whole(&mut buffer, left());
    drop(buffer);
    let (mut buffer, recovery) = open();
    assert_eq!((recovery.damaged_records, recovery.torn_bytes), (0, 0));
    assert_whole(&mut buffer, left());
}

#[test]
fn memory_is_free_again_once_its_records_are_settled() {
    let dir = scratch();
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), MIB)).unwrap();
    store(&mut buffer, 1_000);
    tap::trouble(dir.path(), Some(Trouble::Full));
    for _ in 0..2_000 {
        assert_eq!(store(&mut buffer, 1_000), [], "nothing is lost as long as it is settled");
        let floor = buffer.next_seq() - 3;
        buffer.advance(Cursor { floor, detail: Vec::new() }).unwrap();
    }
    assert!(buffer.stats().memory_bytes < MIB / 16);
}

/// A filesystem of its own, gone with it.
pub(super) struct Mounted(TempDir);

impl Mounted {
    /// `None`: this machine does not let us.
    pub(super) fn new(arguments: &[&str]) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(arguments).arg(dir.path()).status();
        mounted.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

fn free(dir: &Path) -> u64 {
    let stat = rustix::fs::statvfs(dir).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// A stranger's file that takes all there is.
pub(super) fn fill_up(dir: &Path) {
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("stranger")).unwrap();
    for len in [MIB as usize, 4096, 1] {
        while file.write_all(&vec![1; len]).is_ok() {}
    }
}

#[test]
fn the_buffer_leaves_the_reserve_to_others_and_survives_others_that_leave_nothing() {
    const RESERVE: u64 = 8 * MIB;
    let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=32m", "store-test"]) else {
        // the same without a disk of its own: files cannot be written, and the rest is said above
        return records_go_on_in_memory_and_are_written_when_the_disk_takes_them();
    };
    let dir = disk.path().join("buffer");
    let options = Options { reserve_bytes: RESERVE, segment_bytes: MIB, ..Options::new(dir, 64 * MIB) };
    let (mut buffer, _) = Buffer::open(options.clone()).unwrap();
    let mut lost = 0;
    for _ in 0..6_000 {
        lost += store(&mut buffer, 10_000).iter().map(|gone| gone.records).sum::<u64>();
        assert!(free(disk.path()) >= RESERVE - 64 * 1024, "{} bytes free", free(disk.path()));
    }
    assert!(lost > 0 && !buffer.in_memory(), "the oldest make room");
    assert!(free(disk.path()) < RESERVE + 2 * MIB, "what is not reserved is used");

    // others take all, and what the oldest leave as well, until nothing is left to make room
    let first_left = loop {
        fill_up(disk.path());
        store(&mut buffer, 10_000);
        fill_up(disk.path());
        if let Err(Error::NoSpace { reserve, .. }) = buffer.retry() {
            assert_eq!(reserve, RESERVE);
            break buffer.first_seq();
        }
    };
    let stats = buffer.stats();
    assert!(buffer.in_memory() && stats.bytes < 3 * MIB, "{stats:?}");
    assert_eq!(stats.records + stats.evicted_records, stats.next_seq - 1, "every record is accounted for");
    while store(&mut buffer, 10_000).is_empty() {}
    assert!(buffer.stats().memory_bytes > 6 * MIB, "memory is used");
    assert_eq!(buffer.first_seq(), first_left, "and what is on disk stays");
    buffer.retry().unwrap_err();
    let records = read_all(&mut buffer);
    fs::remove_file(disk.path().join("stranger")).unwrap();
    buffer.retry().unwrap();
    assert!(read_all(&mut buffer) == records);
    assert_eq!(buffer.stats().bytes, bytes_in(&disk.path().join("buffer")));
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(options).unwrap();
    assert_eq!((recovery.damaged_records, recovery.torn_bytes), (0, 0));
    assert!(read_all(&mut buffer) == records);
}

/// As after an error of the disk: the kernel makes it read-only under everybody's feet.
#[test]
fn a_disk_that_becomes_read_only_stops_nothing() {
    let image = tempfile::tempdir().unwrap();
    let file = image.path().join("image");
    File::create(&file).unwrap().set_len(32 * MIB).unwrap();
    let made = Command::new("mkfs.ext4").arg("-q").arg(&file).status();
    let arguments = ["-o", "loop,errors=remount-ro", file.to_str().unwrap()];
    let disk = made.ok().filter(|made| made.success()).and_then(|_| Mounted::new(&arguments));
    let Some(disk) = disk else {
        // the same, made up
        return records_go_on_in_memory_and_are_written_when_the_disk_takes_them();
    };
    let dir = disk.path().join("buffer");
    let options = |dir: &Path| Options { reserve_bytes: MIB, ..Options::new(dir.to_owned(), 8 * MIB) };
    let (mut buffer, _) = Buffer::open(options(&dir)).unwrap();
    (0..50).for_each(|_| drop(store(&mut buffer, 1_000)));
    buffer.sync().unwrap();
    let aborted = Command::new("mount").args(["-o", "remount,abort"]).arg(disk.path()).status().unwrap();
    assert!(aborted.success());
    (0..50).for_each(|_| assert_eq!(store(&mut buffer, 1_000), []));
    let error = buffer.retry().unwrap_err();
    assert!(error.to_string().contains("ead-only"), "{error}");
    assert_whole(&mut buffer, 1..=100);
    drop(buffer);
    // repaired and mounted again
    drop(disk);
    let disk = Mounted::new(&arguments).unwrap();
    let (mut buffer, recovery) = Buffer::open(options(&disk.path().join("buffer"))).unwrap();
    assert_eq!(recovery.damaged_records, 0);
    assert_whole(&mut buffer, 1..=50);
}
