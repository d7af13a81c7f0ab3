//! The thread with a real buffer under it.

use sagoo_edge_buffer::WhenFull;
use sagoo_edge_proto::sample::{Quality, Sample, pack};

use super::*;
use crate::class::Class;
use crate::config::load;
use crate::pipeline::handle::{Arrived, Fate, Numbers, Settled};
use crate::pipeline::record::Decoder;

const CONFIG: &str = r#"
[gateway]
product_key = "edge-gw"
device_key = "gw-1"
[sagoo]
broker = "mqtt://127.0.0.1:1"
[connection.hall]
driver = "fake"
[model.meter]
[model.meter.points]
count = {}
[device.a]
connection = "hall"
model = "meter"
sagoo = { product_key = "meter", device_key = "a-1" }
[device.b]
connection = "hall"
model = "meter"
sagoo = { product_key = "meter", device_key = "b-1" }
"#;

fn config(dir: &std::path::Path, max_size: u64) -> Config {
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("gateway.toml"), CONFIG).unwrap();
    let mut config = load(files.path()).config.unwrap();
    config.buffer.dir = dir.to_owned();
    config.buffer.max_size = max_size;
    config
}

fn numbers() -> Arc<Numbers> {
    let device = |name: &str| (Arc::from(name), vec![Arc::from("count")]);
    Arc::new([(0, device("a")), (1, device("b"))].into())
}

fn batch(seq: u64, device: u32, value: u64) -> Arrived {
    let sample = Sample {
        point: 0,
        value: Some(Value::Uint(value)),
        quality: Quality::Good,
        boot_ns: clock::boot_ns(),
    };
    Arrived {
        driver: "fake".into(),
        instance: [7; 16],
        boot_id: clock::boot_id().into(),
        seq,
        numbers: numbers(),
        devices: vec![pack(device, &[sample], clock::trusted_wall_ms())],
    }
}

async fn rows(handle: &Handle, from: u64) -> Vec<(u64, Row)> {
    rows_of(Class::Telemetry, handle, from).await
}

async fn rows_of(class: Class, handle: &Handle, from: u64) -> Vec<(u64, Row)> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    let mut next = handle.resume().await.unwrap()[class].from;
    loop {
        let records = handle.read(class, next, 1 << 16).await.unwrap().expect("the disk can be read");
        let Some(last) = records.last() else { return found };
        next = last.seq + 1;
        for record in records {
            let decoded = decoder.decode(&record.payload).unwrap().into_iter().map(Result::unwrap);
            found.extend(decoded.filter(|_| record.seq >= from).map(|row| (record.seq, row)));
        }
    }
}

fn settled(device: &str, seq: u64) -> Settled {
    Settled { class: Class::Telemetry, device: device.into(), seq, samples: 1, fate: Fate::Acknowledged }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_is_readable_once_it_is_answered_and_a_double_is_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(batch(1, 0, 41)).await.unwrap();
    handle.batch(batch(2, 0, 42)).await.unwrap();
    handle.batch(batch(2, 0, 42)).await.unwrap();
    let values: Vec<Value> =
        rows(&handle, 0).await.into_iter().map(|(_, row)| row.cells[0].value.clone()).collect();
    assert_eq!(values, [Value::Uint(41), Value::Uint(42)]);
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.read, ledger.stored, ledger.waiting), (2, 2, 2));
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_where_the_platform_answered_and_still_knows_doubles() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 1 << 22);
    let (handle, thread) = start(&config).unwrap();
    for seq in 1..=6 {
        handle.batch(batch(seq, (seq % 2) as u32, seq)).await.unwrap();
    }
    let stored = rows(&handle, 0).await;
    let first_b = stored.iter().find(|(_, row)| &*row.device == "b").unwrap().0;
    handle.settle(vec![settled("b", first_b)]).await.unwrap();
    handle.stop().await;
    thread.join().unwrap();

    let (handle, thread) = start(&config).unwrap();
    let resume = handle.resume().await.unwrap().telemetry;
    assert_eq!(resume.positions.get("b"), Some(&(first_b + 1)));
    let snapshot = handle.snapshot().await.unwrap();
    let (a, b) = (snapshot.devices["a"].ledger, snapshot.devices["b"].ledger);
    assert_eq!((a.waiting, a.acknowledged, b.waiting, b.acknowledged), (3, 0, 2, 1));
    handle.batch(batch(6, 0, 6)).await.unwrap();
    assert_eq!(rows(&handle, 0).await.len(), 6);
    handle.stop().await;
    thread.join().unwrap();
}

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

fn said(row: &Row) -> &Event {
    row.event.as_ref().expect("it says an event")
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

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_cannot_be_read_costs_only_itself() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    let mut torn = batch(1, 0, 1);
    torn.devices[0].count = 9;
    handle.batch(torn).await.unwrap();
    handle.batch(batch(2, 9, 2)).await.unwrap();
    handle.batch(batch(3, 0, 3)).await.unwrap();
    assert_eq!(rows(&handle, 0).await.len(), 1);
    handle.stop().await;
    thread.join().unwrap();
}

/// The only segment file of telemetry.
fn segment(dir: &std::path::Path) -> std::path::PathBuf {
    let files = std::fs::read_dir(dir.join("payload/telemetry")).unwrap();
    let segments = files.map(|file| file.unwrap().path());
    let mut segments = segments.filter(|path| path.extension().is_some_and(|end| end == "seg"));
    let segment = segments.next().unwrap();
    assert!(segments.next().is_none(), "more than one segment");
    segment
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_cannot_be_read_is_told_from_one_that_has_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    assert!(
        handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().unwrap().is_empty(),
        "nothing is there yet"
    );
    handle.batch(batch(1, 0, 1)).await.unwrap();
    let (file, away) = (segment(dir.path()), dir.path().join("away"));
    std::fs::rename(&file, &away).unwrap();
    assert!(handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().is_none());
    let trouble = handle.snapshot().await.unwrap().buffer.trouble;
    assert!(trouble.contains(file.to_str().unwrap()), "{trouble}");
    std::fs::rename(&away, &file).unwrap();
    assert_eq!(handle.read(Class::Telemetry, 1, 1 << 16).await.unwrap().unwrap().len(), 1);
    assert_eq!(handle.snapshot().await.unwrap().buffer.trouble, "");
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_whose_set_is_lost_wait_until_they_are_settled_also_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 1 << 22);
    let (handle, thread) = start(&config).unwrap();
    for seq in 1..=4 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    handle.stop().await;
    thread.join().unwrap();
    let file = segment(dir.path());
    let mut bytes = std::fs::read(&file).unwrap();
    let places = bytes.windows(3).enumerate().filter(|(_, bytes)| bytes == b"a-1").map(|(place, _)| place);
    let places: Vec<usize> = places.collect();
    assert_eq!(places.len(), 2, "two full rows name the device key");
    places.into_iter().for_each(|place| bytes[place] ^= 0x10);
    std::fs::write(&file, bytes).unwrap();

    let (handle, thread) = start(&config).unwrap();
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!(
        (ledger.stored, ledger.waiting, ledger.evicted_damaged),
        (4, 2, 2),
        "two of four are still there, if unreadable"
    );
    let from = handle.resume().await.unwrap().telemetry.from;
    let mut decoder = Decoder::default();
    for record in handle.read(Class::Telemetry, from, 1 << 16).await.unwrap().unwrap() {
        let rows = decoder.decode(&record.payload).unwrap();
        let damaged = rows[0].as_ref().unwrap_err().damaged().unwrap().clone();
        let fate = Fate::Damaged;
        let class = Class::Telemetry;
        let settled =
            Settled { class, device: damaged.device, seq: record.seq, samples: damaged.samples, fate };
        handle.settle(vec![settled]).await.unwrap();
    }
    let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
    assert_eq!((ledger.stored, ledger.waiting, ledger.evicted_damaged), (4, 0, 4));
    let resume = handle.resume().await.unwrap().telemetry;
    assert_eq!(resume.positions["a"], 5, "nothing holds the floor any more");
    handle.stop().await;
    thread.join().unwrap();
}

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

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_on_the_clock_that_the_disk_refuses_is_kept_as_soon_as_it_takes_it() {
    let dir = tempfile::tempdir().unwrap();
    let in_its_way = dir.path().join("clock");
    std::fs::create_dir(&in_its_way).unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    handle.batch(batch(1, 0, 1)).await.unwrap();
    assert_eq!(rows(&handle, 0).await.len(), 1, "nothing waits for it");
    std::fs::remove_dir(&in_its_way).unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    let boot = clock::boot_id().as_bytes();
    // read as it is: to open it as the pipeline does would write, too
    while !std::fs::read(&in_its_way).is_ok_and(|file| file.windows(boot.len()).any(|bytes| bytes == boot)) {
        assert!(std::time::Instant::now() < deadline, "it was not tried again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    handle.stop().await;
    thread.join().unwrap();
}

/// What a kill leaves: the files as they are, copied while the thread goes on.
fn killed(dir: &std::path::Path) -> tempfile::TempDir {
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
    for point in config.devices.values_mut().flat_map(|device| device.points.values_mut()) {
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

/// The device's point cannot be read.
fn unreadable(seq: u64, device: u32) -> Arrived {
    let quality = Quality::Bad("no answer".to_owned());
    let sample = Sample { point: 0, value: None, quality, boot_ns: clock::boot_ns() };
    Arrived { devices: vec![pack(device, &[sample], clock::trusted_wall_ms())], ..batch(seq, device, 0) }
}

/// What the events in the buffer say of qualities.
async fn qualities(handle: &Handle) -> Vec<(String, String)> {
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
async fn what_was_counted_and_is_cut_off_is_taken_back_with_an_entry() {
    let dir = tempfile::tempdir().unwrap();
    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    for seq in 1..=3 {
        handle.batch(batch(seq, 0, seq)).await.unwrap();
    }
    handle.settle(vec![settled("a", 1)]).await.unwrap();
    handle.stop().await;
    thread.join().unwrap();
    let file = segment(dir.path());
    let bytes = std::fs::read(&file).unwrap();
    std::fs::write(&file, &bytes[..bytes.len() - 1]).unwrap();

    let (handle, thread) = start(&config(dir.path(), 1 << 22)).unwrap();
    let snapshot = handle.snapshot().await.unwrap();
    let ledger = snapshot.devices["a"].ledger;
    assert!(ledger.balances(), "{ledger:?}");
    assert_eq!((ledger.read, ledger.stored, ledger.acknowledged, ledger.waiting), (2, 2, 1, 1));
    assert_eq!(snapshot.restart.unwrap().missing_samples, 1);
    handle.stop().await;
    thread.join().unwrap();
}

/// A filesystem of its own, gone with it; `None`: this machine does not let us.
struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let mut mount = std::process::Command::new("mount");
        let status = mount.args(["-t", "tmpfs", "-o", "size=32m", "pipeline-test"]).arg(dir.path()).status();
        status.is_ok_and(|status| status.success()).then_some(Self(dir))
    }

    /// A stranger's file that takes all there is.
    fn fill_up(&self) -> std::path::PathBuf {
        let path = self.0.path().join("stranger");
        let mut file = std::fs::File::create(&path).unwrap();
        for len in [1 << 20, 4_096, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; len]).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

async fn values(handle: &Handle) -> Vec<Value> {
    rows(handle, 0).await.into_iter().map(|(_, row)| row.cells[0].value.clone()).collect()
}

fn counted(to: u64) -> Vec<Value> {
    (1..=to).map(Value::Uint).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_goes_on_while_the_disk_takes_no_data_and_is_on_it_as_soon_as_it_does() {
    let disk = Disk::new();
    let fallback = tempfile::tempdir().unwrap();
    let place = disk.as_ref().map_or(fallback.path(), |disk| disk.0.path()).join("buffer");
    let mut config = config(&place, 4 << 20);
    // where nothing can be mounted, all there is is reserved, so that nothing is written from the start
    config.buffer.reserve = if disk.is_some() { 1 << 20 } else { 1 << 60 };
    let (handle, thread) = start(&config).unwrap();
    let mut sent = 0;
    let stranger = disk.as_ref().map(Disk::fill_up);
    while handle.snapshot().await.unwrap().buffer.trouble.is_empty() {
        sent += 1;
        assert!(sent < 10_000, "the disk is full and takes data");
        handle.batch(batch(sent, 0, sent)).await.unwrap();
    }
    let on_disk = sent;
    for _ in 0..200 {
        sent += 1;
        handle.batch(batch(sent, 0, sent)).await.unwrap();
    }
    // doubles are still told
    handle.batch(batch(sent, 0, sent)).await.unwrap();
    assert_eq!(values(&handle).await, counted(sent));
    let snapshot = handle.snapshot().await.unwrap();
    assert!(snapshot.buffer.classes.telemetry.memory_bytes > 0);
    let ledger = snapshot.devices["a"].ledger;
    assert_eq!((ledger.read, ledger.stored, ledger.waiting), (sent, sent, sent));
    // what memory holds can be settled
    let settling = rows(&handle, 0).await.into_iter().take(on_disk as usize + 5);
    handle.settle(settling.map(|(seq, _)| settled("a", seq)).collect()).await.unwrap();

    if let Some(stranger) = stranger {
        std::fs::remove_file(stranger).unwrap();
        let deadline = std::time::Instant::now() + Duration::from_secs(60);
        while !handle.snapshot().await.unwrap().buffer.trouble.is_empty() {
            assert!(std::time::Instant::now() < deadline, "the disk is well, and still in trouble");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(handle.snapshot().await.unwrap().buffer.classes.telemetry.memory_bytes, 0);
        sent += 1;
        handle.batch(batch(sent, 0, sent)).await.unwrap();
        assert_eq!(values(&handle).await.last(), Some(&Value::Uint(sent)));
        handle.stop().await;
        thread.join().unwrap();
        let (handle, thread) = start(&config).unwrap();
        let ledger = handle.snapshot().await.unwrap().devices["a"].ledger;
        assert!(ledger.balances(), "{ledger:?}");
        assert_eq!((ledger.acknowledged, ledger.waiting), (on_disk + 5, sent - on_disk - 5));
        assert_eq!(values(&handle).await.last(), Some(&Value::Uint(sent)));
        handle.stop().await;
        thread.join().unwrap();
        return;
    }
    handle.stop().await;
    thread.join().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_without_the_rows_in_the_buffer_knows_the_values_that_were_saved() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), 1 << 22);
    let begin = async || {
        let (handle, thread) = start(&config).unwrap();
        let (state, small) = crate::state::start(dir.path().join("state"));
        let loaded = super::super::latest::load(state, |device| device == "a").await;
        handle.remember(loaded).await.unwrap();
        (handle, thread, small)
    };
    let end = async |(handle, thread, small): (Handle, thread::JoinHandle<()>, thread::JoinHandle<()>)| {
        handle.stop().await;
        drop(handle);
        thread.join().unwrap();
        small.join().unwrap();
    };
    let running = begin().await;
    running.0.batch(batch(1, 0, 41)).await.unwrap();
    running.0.batch(batch(2, 1, 42)).await.unwrap();
    let stored = rows(&running.0, 0).await;
    end(running).await;
    std::fs::remove_dir_all(dir.path().join("payload")).unwrap();

    let running = begin().await;
    let snapshot = running.0.snapshot().await.unwrap();
    let point = |device: &str| snapshot.devices[device].points["count"].clone();
    let (known, unread) = (point("a"), crate::pipeline::snapshot::QualityWord::Unread);
    assert_eq!((known.value, known.quality), (Some(Value::Uint(41)), unread));
    let read_at = crate::pipeline::snapshot::ReadAt::BeforeTheStart(stored[0].1.cells[0].time_ms);
    assert_eq!(known.read_at, read_at);
    assert_eq!(point("b").value, None, "nobody asked for it");
    end(running).await;
}
