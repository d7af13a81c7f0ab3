//! Events, which are a class of their own.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn an_event_has_the_wall_time_of_the_moment_it_happened() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    let now = clock::trusted_wall_ms().expect("this machine has a clock");
    let (tick, long_ago) = (clock::boot_ns(), clock::boot_ns().saturating_sub(5_000_000_000));
    for (device, boot_ns) in [("a", tick), ("a", long_ago), (GATEWAY, u64::MAX)] {
        handle.event(device, "trip".to_owned(), "{}".to_owned(), boot_ns).await.unwrap();
    }
    let rows = rows_of(Class::Event, &handle, 0).await;
    let [(_, first), (_, before), (_, future)] = &rows[..] else { panic!("{rows:?}") };
    assert!((now - 50..now + 5_000).contains(&first.time_ms), "{first:?} at {now}");
    let apart = first.time_ms - before.time_ms;
    let expected = ((tick - long_ago) / 1_000_000) as i64;
    assert!((apart - expected).abs() <= 1_000, "{apart} ms apart instead of {expected}");
    assert!((now - 50..now + 5_000).contains(&future.time_ms), "{future:?} at {now}");
    assert_eq!(&*future.device, GATEWAY);
    handle.stop().await;
    thread.join().unwrap();
}

/// The device's point cannot be read.
pub(super) fn unreadable(seq: u64, device: u32) -> Arrived {
    let quality = Quality::Bad("no answer".to_owned());
    let sample = Sample { point: 0, value: None, quality, boot_ns: clock::boot_ns() };
    Arrived { devices: vec![pack(device, &[sample], clock::trusted_wall_ms())], ..batch(seq, device, 0) }
}

/// What the events in the buffer say of qualities.
pub(super) async fn qualities(handle: &Handle) -> Vec<(String, String)> {
    let rows = rows_of(Class::Event, handle, 0).await.into_iter();
    let of_qualities = rows.filter(|(_, row)| said(row).name == "quality");
    of_qualities.map(|(_, row)| (row.device.to_string(), said(&row).value.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_quality_waits_behind_no_telemetry_and_falls_with_none() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 21)).unwrap();
    for seq in 1..=10_000 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    handle.batch(unreadable(10_001, 0)).await.unwrap();
    let bad = r#"{"points":"count","quality":"bad","reason":"no answer"}"#;
    let told = [("a".to_owned(), bad.to_owned())];
    assert_eq!(qualities(&handle).await, told, "it is the first of the class that goes first");
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.read, ledger.suppressed, ledger.waiting), (10_001, 1, 10_000));
    for seq in 10_002..=40_000 {
        handle.batch(batch(seq, 1, seq)).await.unwrap();
    }
    let snapshot = handle.snapshot().await.unwrap();
    assert_eq!(snapshot.devices["a"].ledger.waiting, 0, "all rows that were stored before it are evicted");
    assert_eq!(qualities(&handle).await, told);
    handle.stop().await;
    thread.join().unwrap();
}

/// Names of the gateway's own events in the buffer.
async fn own_events(handle: &Handle) -> Vec<Event> {
    let rows = rows_of(Class::Event, handle, 0).await.into_iter().filter(|(_, row)| &*row.device == GATEWAY);
    rows.filter_map(|(_, row)| row.event).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_does_not_balance_is_told_to_the_platform_once() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    for seq in 1..=2 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    assert!(own_events(&handle).await.is_empty());
    // the fault: answers for nine samples where one was stored
    for seq in 1..=2 {
        handle.settle(vec![Settled { samples: 9, ..settled("a", seq) }]).await.unwrap();
    }
    let events = own_events(&handle).await;
    let [event] = &events[..] else { panic!("{events:?}") };
    assert_eq!(event.name, "ledgerViolated");
    assert_eq!(event.value, r#"{"device":"a","read_off":0,"stored_off":-7}"#);
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.read_off(), ledger.stored_off()), (0, -16));
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_disk_takes_no_data_a_change_of_quality_waits_in_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), 1 << 22);
    // all there is is reserved for others
    config.buffer.reserve = 1 << 60;
    let (handle, thread) = start(&config).unwrap();
    handle.batch(batch(1, 0, 1)).await.unwrap();
    for _ in 0..2 {
        handle.batch(unreadable(2, 0)).await.unwrap();
        assert_eq!(qualities(&handle).await.len(), 1, "it is there when the batch is answered");
    }
    assert!(handle.snapshot().await.unwrap().buffer.classes.events.memory_bytes > 0);
    handle.stop().await;
    thread.join().unwrap();
}
