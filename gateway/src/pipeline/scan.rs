//! What waits in the buffer at start, and what is found damaged there.
//!
//! Always true: a row is counted exactly if the forwarder will meet it, so one that cannot be rebuilt is
//! counted as well; every place of damage that is met is named in the log, once per process. Only what the
//! tallies do not tell is read: the newest segment, those in which something is settled up to somewhere
//! within, and a few with the last rows of devices that were heard of last then.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use sagoo_edge_buffer::{Buffer, Damage, Error};

use super::book::Book;
use super::record::{self, Decoder, RecordError};
use super::tally::Tally;
use crate::row::Row;

/// Bytes read at once while the backlog is counted.
const SCAN_BYTES: usize = 64 << 10;
/// Segments read for nothing but the last rows of devices. Of more, what [`super::latest`] kept counts, which
/// is a minute old at most.
const MAX_LOOKED_UP: usize = if cfg!(test) { 4 } else { 16 };

/// Each device's last row.
pub type LastRows = HashMap<Arc<str>, Row>;

/// What a start finds.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Of devices that were heard of lately, the newest segments first.
    pub last: LastRows,
    /// Of the newest segment.
    pub newest: Tally,
    /// Which times there are in all of them.
    pub seen: super::boots::Seen,
}

/// Counts what waits; finds each device's last row, and which times are known.
pub fn scan(buffer: &mut Buffer, book: &mut Book) -> Result<Scanned, Error> {
    scan_with(buffer, book, tally_of)
}

/// With another way to know what is in the segment from the first to before the second number.
fn scan_with(
    buffer: &mut Buffer,
    book: &mut Book,
    told: impl Fn(&mut Buffer, u64, u64) -> Option<Tally>,
) -> Result<Scanned, Error> {
    // telemetry cannot wait for a bad sector
    buffer.give_up_unreadable(true);
    let scanned = scan_segments(buffer, book, told);
    buffer.give_up_unreadable(false);
    scanned
}

fn scan_segments(
    buffer: &mut Buffer,
    book: &mut Book,
    told: impl Fn(&mut Buffer, u64, u64) -> Option<Tally>,
) -> Result<Scanned, Error> {
    let mut scanned = Scanned::default();
    let mut heard_of: HashSet<Arc<str>> = HashSet::new();
    let (mut looked_up, mut newest) = (0, true);
    for (first_seq, next_seq) in buffer.segments().into_iter().rev() {
        let tally = if newest { None } else { told(buffer, first_seq, next_seq) };
        let mut read = tally.as_ref().is_none_or(|tally| book.divides(tally));
        let has_last = |tally: &Tally| tally.devices.keys().any(|device| !heard_of.contains(device));
        if !read && looked_up < MAX_LOOKED_UP && tally.as_ref().is_some_and(has_last) {
            (looked_up, read) = (looked_up + 1, true);
        }
        let tally = match tally.filter(|_| !read) {
            Some(tally) => {
                book.found_all(&tally);
                tally
            }
            None => {
                let (tally, last) = read_segment(buffer, first_seq, next_seq, |seq, device, samples| {
                    book.found(first_seq, seq, device, samples);
                })?;
                scanned.last.extend(last.into_iter().filter(|(device, _)| !heard_of.contains(device)));
                tally
            }
        };
        heard_of.extend(tally.devices.keys().cloned());
        scanned.seen = scanned.seen.with(&tally.seen);
        if std::mem::take(&mut newest) {
            scanned.newest = tally;
        }
    }
    Ok(scanned)
}

/// What the record after a segment tells of it.
fn tally_of(buffer: &mut Buffer, first_seq: u64, next_seq: u64) -> Option<Tally> {
    let after = buffer.read(next_seq, 1).ok()?.into_iter().next().filter(|record| record.seq == next_seq)?;
    let tally = Tally::decode(record::tally(&after.payload)?)?;
    (tally.first_seq == first_seq && tally.next_seq == next_seq).then_some(tally)
}

/// What lies in a segment, and the last rows there; `met` is told of each device of each record.
pub fn read_segment(
    buffer: &mut Buffer,
    first_seq: u64,
    next_seq: u64,
    mut met: impl FnMut(u64, &Arc<str>, u32),
) -> Result<(Tally, LastRows), Error> {
    let (mut decoder, mut tally) = (Decoder::default(), Tally::new(first_seq));
    let mut from = first_seq;
    while from < next_seq {
        let records = buffer.read_to(from, next_seq, SCAN_BYTES)?;
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        for record in records.iter().take_while(|record| record.seq < next_seq) {
            let rows = decoder.decode(&record.payload).unwrap_or_default();
            rows.iter().flatten().for_each(|row| tally.see(record.seq, row));
            for (device, samples) in per_device(rows.iter().filter_map(account)) {
                met(record.seq, &device, samples);
                tally.add(record.seq, &device, samples);
            }
        }
    }
    tally.next_seq = next_seq;
    Ok((tally, decoder.into_last()))
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
pub fn say_damage(dir: &Path, found: &[Damage]) {
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

#[cfg(test)]
mod tests;
