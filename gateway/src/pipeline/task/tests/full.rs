//! A buffer that is full: what goes, what stays, and what is told.

use sagoo_edge_buffer::WhenFull;

use super::kills::killed;
use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_full_buffer_drops_the_oldest_and_counts_every_sample() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 21)).unwrap();
    for seq in 1..=24_000 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    let snapshot = handle.snapshot().await.unwrap();
    let ledger = snapshot.devices["a"].ledger;
    assert!(ledger.evicted > 0, "{ledger:?}");
    assert_eq!(ledger.stored, 24_000);
    assert_eq!(ledger.waiting + ledger.evicted, 24_000);
    assert!(snapshot.buffer.bytes <= 1 << 21, "{:?}", snapshot.buffer);
    let left = rows(&handle, 0).await;
    assert_eq!(left.len() as u64, ledger.waiting);
    assert_eq!(left.last().unwrap().1.cells[0].value, Value::Uint(24_000));
    handle.stop().await;
    thread.join().unwrap();
}

/// The one event that tells of a flood, and the name of a device it must not have cost its event.
async fn told_of_drops(config: &Config) -> serde_json::Value {
    let (handle, thread) = start(config).unwrap();
    let rows = rows_of(Class::Event, &handle, 0).await;
    let [(_, kept), (_, told)] = &rows[..] else { panic!("{rows:?}") };
    assert_eq!((&*kept.device, &*said(kept).name), ("a", "trip"), "it was stored before the flood");
    assert_eq!((&*told.device, &*said(told).name), (GATEWAY, "rowsDropped"));
    handle.stop().await;
    thread.join().unwrap();
    serde_json::from_str(&said(told).value).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn eviction_of_samples_costs_no_event_and_a_flood_of_drops_is_told_as_one() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 1 << 21);
    let (handle, thread) = start(&config).unwrap();
    handle.event("a", "trip".to_owned(), "{}".to_owned(), clock::boot_ns()).await.unwrap();
    for seq in 1..=40_000 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    let snapshot = handle.snapshot().await.unwrap();
    let evicted = snapshot.devices["a"].ledger.evicted;
    let classes = snapshot.buffer.classes;
    assert_eq!(classes.telemetry.dropped["oldest"].samples, evicted);
    assert!(evicted > 5_000 && classes.events.dropped.is_empty(), "{classes:?}");
    assert_eq!(classes.events.waiting_rows, 1);
    handle.stop().await;
    thread.join().unwrap();
    let told = told_of_drops(&config).await;
    assert_eq!(
        (&told["class"], &told["samples"], &told["oldest"]),
        (&"telemetry".into(), &evicted.into(), &evicted.into())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn drop_newest_keeps_the_oldest_and_counts_the_rest_also_across_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 1 << 21);
    config.buffer.when_full.telemetry = WhenFull::DropNewest;
    let (handle, thread) = start(&config).unwrap();
    handle.event("a", "trip".to_owned(), "{}".to_owned(), clock::boot_ns()).await.unwrap();
    for seq in 1..=30_000 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    let before = handle.snapshot().await.unwrap();
    let ledger = before.devices["a"].ledger;
    assert!(ledger.balances() && ledger.evicted > 1_000, "{ledger:?}");
    assert_eq!((ledger.read, ledger.waiting + ledger.evicted), (30_000, 30_000));
    assert_eq!(before.buffer.classes.telemetry.dropped["newest"].rows, ledger.evicted);
    let kept = rows(&handle, 0).await;
    let first = |number: u64| kept[number as usize].1.cells[0].value.clone();
    assert_eq!((first(0), first(ledger.waiting / 2)), (Value::Uint(1), Value::Uint(ledger.waiting / 2 + 1)));
    let left = killed(dir.path());
    handle.stop().await;
    thread.join().unwrap();
    assert_eq!(told_of_drops(&config).await["newest"], ledger.evicted);

    config.buffer.dir = left.path().to_owned();
    let (handle, thread) = start(&config).unwrap();
    assert_eq!(handle.snapshot().await.unwrap().devices["a"].ledger, ledger);
    handle.batch(batch(30_000, 0, 30_000)).await.unwrap();
    let again = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!(again.read, 30_000, "the last one was taken, though its row was dropped");
    handle.stop().await;
    thread.join().unwrap();
}
