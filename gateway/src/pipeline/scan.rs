//! What waits in the buffer at start, and what is found damaged there.
//!
//! Always true: a row is counted exactly if the forwarder will meet it, so one that cannot be rebuilt is
//! counted as well; every place of damage that is met is named in the log, once per process.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use sagoo_edge_buffer::{Buffer, Damage, Error};

use super::book::Book;
use super::boots::Seen;
use super::record::{Decoder, RecordError};
use crate::row::Row;

/// Bytes read at once while the backlog is counted.
const SCAN_BYTES: usize = 64 << 10;

/// Each device's last row.
pub type LastRows = HashMap<Arc<str>, Row>;

/// Counts what waits; finds each device's last row, and which times are known.
pub fn scan(buffer: &mut Buffer, book: &mut Book) -> Result<(LastRows, Seen), Error> {
    let (mut decoder, mut seen) = (Decoder::default(), Seen::default());
    let mut from = buffer.first_seq();
    loop {
        let records = buffer.read(from, SCAN_BYTES)?;
        let Some(last) = records.last() else { return Ok((decoder.into_last(), seen)) };
        from = last.seq + 1;
        for record in &records {
            let segment = buffer.segment_start(record.seq).unwrap_or(record.seq);
            let rows = decoder.decode(&record.payload).unwrap_or_default();
            rows.iter().flatten().for_each(|row| seen.row(record.seq, row));
            for (device, samples) in per_device(rows.iter().filter_map(account)) {
                book.found(segment, record.seq, &device, samples);
            }
        }
    }
}

/// Samples of each device in one record.
pub fn per_device<'a>(rows: impl Iterator<Item = (&'a Arc<str>, u32)>) -> BTreeMap<Arc<str>, u32> {
    let mut sums = BTreeMap::new();
    for (device, samples) in rows {
        *sums.entry(device.clone()).or_default() += samples;
    }
    sums
}

/// Whose row it is and how many samples it accounts for.
fn account(row: &Result<Row, RecordError>) -> Option<(&Arc<str>, u32)> {
    match row {
        Ok(row) => Some((&row.device, row.samples)),
        Err(error) => error.damaged().map(|row| (&row.device, row.samples)),
    }
}

/// Names each place of damage in the buffer of `dir`.
pub fn say_damage(dir: &Path, found: impl IntoIterator<Item = Damage>) {
    for damage in found {
        tracing::error!(
            dir = %dir.display(),
            segment = damage.segment,
            offset = damage.offset,
            bytes = damage.bytes,
            records = damage.records,
            first_seq = damage.first_seq,
            last_seq = (damage.first_seq + damage.records).saturating_sub(1),
            set_aside = %damage.set_aside.as_deref().unwrap_or(Path::new("")).display(),
            "buffer is damaged here, records of this range are lost; check the disk"
        );
    }
}
