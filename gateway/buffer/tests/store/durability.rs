//! Syncing, here and on another thread.

use std::thread;
use std::time::{Duration, Instant};

use sagoo_edge_buffer::{Buffer, Cursor, Durability, Options};

use super::{append, open, options, payload, read_all};

#[test]
fn a_sync_is_due_one_interval_after_the_first_unsynced_write() {
    let dir = tempfile::tempdir().unwrap();
    let interval = Duration::from_secs(7);
    let durability = Durability::Interval(interval);
    let (mut buffer, _) = Buffer::open(Options { durability, ..options(dir.path()) }).unwrap();
    buffer.sync().unwrap();
    assert_eq!(buffer.sync_due(), None);
    let before = Instant::now();
    append(&mut buffer, b"one");
    let due = buffer.sync_due().unwrap();
    assert!(due >= before + interval && due <= Instant::now() + interval);
    append(&mut buffer, b"two");
    assert_eq!(buffer.sync_due(), Some(due));
    buffer.sync().unwrap();
    assert_eq!(buffer.sync_due(), None);
    buffer.advance(Cursor { floor: 2, detail: Vec::new() }).unwrap();
    assert!(buffer.sync_due().is_some());
}

#[test]
fn a_job_syncs_on_another_thread_while_records_arrive() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = open(dir.path());
    append(&mut buffer, b"one");
    let job = buffer.sync_job().unwrap();
    let syncing = thread::spawn(move || job.run());
    append(&mut buffer, b"two");
    assert!(buffer.sync_job().is_none(), "one at a time");
    buffer.synced(syncing.join().unwrap()).unwrap();
    assert!(buffer.sync_due().is_some(), "the second record waits");
    let job = buffer.sync_job().unwrap();
    buffer.synced(job.run()).unwrap();
    assert_eq!(buffer.sync_due(), None);
    assert!(buffer.sync_job().is_none());
}

#[test]
fn a_job_that_was_dropped_is_made_up_for() {
    let dir = tempfile::tempdir().unwrap();
    let (mut buffer, _) = open(dir.path());
    append(&mut buffer, b"one");
    drop(buffer.sync_job().unwrap());
    assert!(buffer.sync_job().is_none());
    buffer.sync().unwrap();
    append(&mut buffer, b"two");
    let job = buffer.sync_job().expect("jobs are given out again");
    buffer.synced(job.run()).unwrap();
}

#[test]
fn each_record_is_synced_when_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let options = || Options { durability: Durability::Each, ..options(dir.path()) };
    let (mut buffer, _) = Buffer::open(options()).unwrap();
    for n in 1..=20 {
        append(&mut buffer, &payload(n, 100));
        assert!(buffer.sync_job().is_none(), "nothing is left to sync");
    }
    drop(buffer);
    let (mut buffer, _) = Buffer::open(options()).unwrap();
    assert_eq!(read_all(&mut buffer).len(), 20);
}
