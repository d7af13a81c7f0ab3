//! What of a class may be read.

use std::time::Duration;

use sagoo_edge_buffer::WhenFull;

use super::*;
use crate::class::PerClass;
use crate::row::{Cell, Identity, Value};

fn open(dir: &std::path::Path) -> Writer {
    let config = BufferConfig {
        dir: dir.to_owned(),
        max_size: 2 << 20,
        reserve: 0,
        sync: Sync::Interval(Duration::from_secs(1)),
        when_full: PerClass::new(|_| WhenFull::DropOldest),
    };
    Writer::open(&config, Class::Telemetry, |_| true).unwrap().0
}

fn submit(writer: &mut Writer, time_ms: i64) {
    let identity = Identity { product_key: "p".into(), device_key: "d".into() };
    let cells = vec![Cell { key: "k".into(), value: Value::Int(time_ms), time_ms }];
    let row = Row { device: "d".into(), identity, time_ms, cells, event: None, samples: 1 };
    writer.submit(Unwritten { origin: None, rows: vec![row], read: vec![("d".into(), 1)], replies: vec![] });
}

#[test]
fn what_waits_for_its_time_is_not_read_with_what_waited_before_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = open(dir.path());
    let first = writer.status().next_seq;
    submit(&mut writer, 1_800_000_000_000);
    submit(&mut writer, 1_800_000_001_000);
    writer.head.hold(None);
    submit(&mut writer, crate::pipeline::boots::since_boot(1, 5));
    let read = |writer: &mut Writer| {
        let records = writer.read(first, 1 << 20).expect("the disk can be read");
        records.iter().map(|record| record.seq - first).collect::<Vec<u64>>()
    };
    assert_eq!(read(&mut writer), [0, 1]);
    assert!(writer.read(first + 2, 1 << 20).expect("the disk can be read").is_empty());
    writer.head.release();
    assert_eq!(read(&mut writer), [0, 1, 2]);
}
