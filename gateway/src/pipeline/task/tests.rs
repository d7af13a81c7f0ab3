//! The thread with a real buffer under it.

mod disk;
mod events;
mod full;
mod kills;

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
    let device = |name: &str| (Arc::from(name), Arc::new(vec![Arc::from("count")]));
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

fn said(row: &Row) -> &Event {
    row.event.as_ref().expect("it says an event")
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
