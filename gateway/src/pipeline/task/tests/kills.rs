//! What a kill leaves, and what comes again after it.

use super::events::{qualities, unreadable};
use super::*;

/// What a kill leaves: the files as they are, copied while the thread goes on.
pub(super) fn killed(dir: &std::path::Path) -> tempfile::TempDir {
    let left = tempfile::tempdir().unwrap();
    copy(dir, left.path());
    left
}

fn copy(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

fn unchanged_is_not_news(dir: &std::path::Path) -> Config {
    let mut config = config(dir, 1 << 22);
    let points = config.devices.values_mut().map(|device| Arc::make_mut(&mut device.points));
    for point in points.flat_map(|points| points.values_mut()) {
        point.deadband = Some(crate::config::types::Deadband::Absolute(0.0));
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_kill_nothing_that_was_suppressed_or_dropped_is_forgotten_or_counts_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&unchanged_is_not_news(dir.path())).unwrap();
    handle.batch(batch(1, 0, 41)).await.unwrap();
    handle.batch(batch(2, 0, 41)).await.unwrap();
    handle.dropped("a".into(), [7; 16], 5).await.unwrap();
    let told = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((told.read, told.suppressed, told.dropped_by_driver, told.stored), (7, 1, 5, 1));

    let left = killed(dir.path());
    let (again, its_thread) = start(&unchanged_is_not_news(left.path())).unwrap();
    // The driver lives on: it did not hear the answer, and says its total again.
    again.batch(batch(2, 0, 41)).await.unwrap();
    again.dropped("a".into(), [7; 16], 5).await.unwrap();
    assert_eq!(again.snapshot().await.unwrap().devices["a"].ledger, told);
    again.batch(batch(3, 0, 41)).await.unwrap();
    again.dropped("a".into(), [7; 16], 6).await.unwrap();
    let on = again.snapshot().await.unwrap().devices["a"].ledger;
    // The first read after a start is stored, news or not.
    assert_eq!((on.read, on.suppressed + on.stored, on.dropped_by_driver), (9, 3, 6));
    for (handle, thread) in [(handle, thread), (again, its_thread)] {
        handle.stop().await;
        thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_whose_rows_a_kill_took_counts_once_when_it_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&unchanged_is_not_news(dir.path())).unwrap();
    handle.batch(batch(1, 0, 41)).await.unwrap();
    let before = killed(dir.path());
    // One device has news, the other does not.
    let mut both = batch(2, 1, 50);
    both.devices.extend(batch(2, 0, 41).devices);
    handle.batch(both.clone()).await.unwrap();
    // Killed after the account was written and before the rows were.
    let cursor = "payload/telemetry/cursor";
    std::fs::copy(dir.path().join(cursor), before.path().join(cursor)).unwrap();
    handle.stop().await;
    thread.join().unwrap();

    let (handle, thread) = start(&unchanged_is_not_news(before.path())).unwrap();
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.read, ledger.suppressed, ledger.stored), (1, 0, 1));
    handle.batch(both).await.unwrap();
    let devices = handle.snapshot().await.unwrap().devices;
    let (a, b) = (devices["a"].ledger, devices["b"].ledger);
    assert_eq!((a.read, a.suppressed + a.stored), (2, 2));
    assert_eq!((b.read, b.suppressed, b.stored), (1, 0, 1));
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_quality_is_stored_once_whenever_a_kill_comes() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(batch(1, 0, 41)).await.unwrap();
    let before = killed(dir.path());
    let mut both = unreadable(2, 0);
    both.devices.extend(batch(2, 1, 50).devices);
    handle.batch(both.clone()).await.unwrap();
    let after = killed(dir.path());
    let between = killed(before.path());
    std::fs::remove_dir_all(between.path().join("payload/events")).unwrap();
    copy(&dir.path().join("payload/events"), &between.path().join("payload/events"));
    handle.stop().await;
    thread.join().unwrap();

    for (left, known) in [(before, 0), (between, 1), (after, 1)] {
        let (handle, thread) = start(&config(left.path(), 1 << 22)).unwrap();
        assert_eq!(qualities(&handle).await.len(), known, "as it was left");
        for _ in 0..2 {
            handle.batch(both.clone()).await.unwrap();
            let told = qualities(&handle).await;
            assert!(told.len() == 1 && told[0].0 == "a" && told[0].1.contains("no answer"), "{told:?}");
            let devices = handle.snapshot().await.unwrap().devices;
            let ledger = |name: &str| devices[name].ledger;
            assert_eq!((ledger("a").read, ledger("a").suppressed, ledger("a").stored), (2, 1, 1));
            assert_eq!((ledger("b").read, ledger("b").stored), (1, 1));
        }
        handle.stop().await;
        thread.join().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_good_again_is_told_also_if_a_start_was_in_between() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(unreadable(1, 0)).await.unwrap();
    handle.batch(batch(2, 1, 41)).await.unwrap();
    let killed_before = killed(dir.path());
    handle.stop().await;
    thread.join().unwrap();
    for left in [dir, killed_before] {
        for again in 0..2 {
            let (handle, thread) = start(&config(left.path(), 1 << 22)).unwrap();
            handle.batch(batch(3 + 2 * again, 0, 42)).await.unwrap();
            handle.batch(batch(4 + 2 * again, 1, 42)).await.unwrap();
            let told: Vec<_> = qualities(&handle).await.into_iter().map(|(device, _)| device).collect();
            assert_eq!(told, ["a", "a"], "bad and good, once each; of b nothing was told");
            handle.stop().await;
            thread.join().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_point_that_is_good_again_is_told_also_if_the_disk_refused_to_keep_that() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(unreadable(1, 0)).await.unwrap();
    handle.stop().await;
    thread.join().unwrap();
    // all there is is reserved for others, so that memory takes it
    let mut full = config(dir.path(), 1 << 22);
    full.buffer.reserve = 1 << 60;
    let (handle, thread) = start(&full).unwrap();
    handle.batch(batch(2, 0, 42)).await.unwrap();
    assert_eq!(qualities(&handle).await.len(), 2);
    handle.stop().await;
    thread.join().unwrap();

    for (seq, known) in [(3, 1), (4, 2)] {
        let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
        assert_eq!(qualities(&handle).await.len(), known, "memory is gone with the process");
        handle.batch(batch(seq, 0, 42)).await.unwrap();
        assert_eq!(qualities(&handle).await.len(), 2, "bad, and good once");
        handle.stop().await;
        thread.join().unwrap();
    }
}
