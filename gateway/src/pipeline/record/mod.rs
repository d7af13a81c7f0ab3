//! How rows are kept in the buffer: changes against the device's last row, column by column, and a full
//! row in the first two records of a segment that have the device, so that a segment can be read alone
//! after eviction or restart, and the loss of one record costs no other.
//!
//! Always true: decoding the records of a segment from its start, in order, gives exactly the rows
//! that were encoded; a row that does not fit its predecessor (its set has another fingerprint) is
//! an error, never a wrong row. So decoding may go on after records that are lost: what changed only in
//! them shows its value and time from before. A value is written whole, or as its difference from the
//! row before in the same record, never from another record.
//!
//! ```text
//! record = in a segment's first one perhaps TALLY, and as text what is told of the segment before;
//!          rows until its end; a row =
//!   flags       1   bit 0 FULL, 1 LIKE, 2 AGES (see columns.rs), or alone: 4 EVENT; the others are 0
//!   device          text: length and UTF-8. Lengths, counts and differences are numbers of 7 bits a byte
//!   time            minus that of the row before in the record
//!   samples
//!   event           product key, device key, name and value, texts; only with EVENT, and no more
//!   size            cells in the set
//!   set         4   its fingerprint; only without FULL
//!   identity        product key and device key, texts; only with FULL, and
//!   keys            each: how much of its beginning is that of the key before, and the rest as a text
//!   cells           all of them with FULL, else the changed ones: columns.rs
//! ```

mod columns;
pub mod compact;
mod context;
mod kind;
mod known;
mod wire;

use std::collections::HashMap;
use std::sync::Arc;

use columns::{Columns, Form};
pub use context::Context;
pub use known::{Known, Sets};
use wire::{Input, put_bytes, put_number, put_signed};

use crate::row::{Cell, Event, Identity, Row};

const FULL: u8 = 1;
const LIKE: u8 = 2;
const AGES: u8 = 4;
const EVENT: u8 = 16;
/// Instead of a row's flags.
const TALLY: u8 = 0x80;
/// Most of a key that is taken from the one before; the configuration's longest key has 64 bytes.
const SHARED: usize = 64;

/// Bytes that are not our format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

/// A record that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not our format.
    #[error("record is not readable: {0}")]
    Format(#[from] Malformed),
    /// It refers to a row that was not seen: reading did not begin at the start of a segment.
    #[error("record refers to an unknown row of device {}", .0.device)]
    NoContext(Damaged),
}

/// What is still known of a row that cannot be rebuilt, so that it can be accounted for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damaged {
    /// Name in the configuration.
    pub device: Arc<str>,
    /// Samples it accounts for in the ledger.
    pub samples: u32,
}

impl RecordError {
    /// The row it is about; `None`: nothing is known of the whole record.
    pub fn damaged(&self) -> Option<&Damaged> {
        match self {
            Self::Format(_) => None,
            Self::NoContext(row) => Some(row),
        }
    }
}

/// The row before one of the same device and set.
enum Earlier<'a> {
    /// In the same record.
    Here(&'a Row),
    /// In an earlier one.
    Known(&'a Known),
}

/// Encodes one record. `context` holds the rows written before it in the same segment.
pub fn encode(rows: &[Row], context: &Context) -> Vec<u8> {
    let mut seen: HashMap<&str, &Row> = HashMap::new();
    let (mut columns, mut before) = (Columns::default(), Columns::default());
    let mut out = Vec::new();
    let mut time_ms = 0;
    for row in rows {
        if let Some(event) = &row.event {
            put_start(&mut out, EVENT, row, time_ms);
            put_identity(&mut out, &row.identity);
            put_bytes(&mut out, event.name.as_bytes());
            put_bytes(&mut out, event.value.as_bytes());
            time_ms = row.time_ms;
            continue;
        }
        let earlier = match seen.get(&*row.device) {
            Some(earlier) => same_set(earlier, row).then_some(Earlier::Here(earlier)),
            None => context.known(&row.device).filter(|known| known.has_set_of(row)).map(Earlier::Known),
        };
        let all = 0..row.cells.len();
        let set = match earlier {
            Some(Earlier::Here(earlier)) => {
                columns.gather(row, all.filter(|i| earlier.cells[*i] != row.cells[*i]), &before);
                Some(fingerprint(row))
            }
            Some(Earlier::Known(known)) => {
                columns.gather(row, all.filter(|i| !known.has(*i, &row.cells[*i])), &before);
                Some(known.set)
            }
            None => {
                columns.gather(row, all, &before);
                None
            }
        };
        let form = columns.form(&before);
        put_head(&mut out, row, form, set, time_ms);
        columns.write(&mut out, form, &before);
        time_ms = row.time_ms;
        std::mem::swap(&mut columns, &mut before);
        if !row.cells.is_empty() {
            seen.insert(&row.device, row);
        }
    }
    out
}

/// The record with what is to be told of the segment before.
pub fn with_tally(tally: &[u8], record: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(tally.len() + record.len() + 8);
    out.push(TALLY);
    put_bytes(&mut out, tally);
    out.extend_from_slice(record);
    out
}

/// What a record tells of the segment before it.
pub fn tally(record: &[u8]) -> Option<&[u8]> {
    Input(record.strip_prefix(&[TALLY])?).bytes().ok()
}

fn same_set(before: &Row, row: &Row) -> bool {
    before.identity == row.identity
        && before.cells.len() == row.cells.len()
        && before.cells.iter().zip(&row.cells).all(|(a, b)| a.key == b.key)
}

/// What comes before the columns; `set`: of a row that is not full.
fn put_head(out: &mut Vec<u8>, row: &Row, form: Form, set: Option<u32>, time_before_ms: i64) {
    let flag = |on: bool, flag: u8| if on { flag } else { 0 };
    let flags = flag(set.is_none(), FULL) | flag(form.like, LIKE) | flag(form.ages, AGES);
    put_start(out, flags, row, time_before_ms);
    put_number(out, row.cells.len() as u64);
    let Some(set) = set else {
        put_identity(out, &row.identity);
        let mut before: &[u8] = &[];
        for key in row.cells.iter().map(|cell| cell.key.as_bytes()) {
            let shared = key.iter().zip(before).take(SHARED).take_while(|(a, b)| a == b).count();
            put_number(out, shared as u64);
            put_bytes(out, &key[shared..]);
            before = key;
        }
        return;
    };
    out.extend_from_slice(&set.to_le_bytes());
}

/// What every row begins with.
fn put_start(out: &mut Vec<u8>, flags: u8, row: &Row, time_before_ms: i64) {
    out.push(flags);
    put_bytes(out, row.device.as_bytes());
    put_signed(out, row.time_ms.wrapping_sub(time_before_ms));
    put_number(out, row.samples.into());
}

fn put_identity(out: &mut Vec<u8>, identity: &Identity) {
    put_bytes(out, identity.product_key.as_bytes());
    put_bytes(out, identity.device_key.as_bytes());
}

/// Tells one set from another, so that places are never applied to the wrong set (FNV-1a; not a checksum:
/// the buffer's frames have one).
fn fingerprint(row: &Row) -> u32 {
    let keys = row.cells.iter().map(|cell| &cell.key);
    let parts = [&row.identity.product_key, &row.identity.device_key].into_iter().chain(keys);
    let bytes = parts.flat_map(|part| part.bytes().chain([0xff]));
    bytes.fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Rebuilds rows from records read in order.
#[derive(Debug, Default)]
pub struct Decoder {
    last: HashMap<Arc<str>, Known>,
    sets: Sets,
}

impl Decoder {
    /// Rows of the next record, in the order they were written. One row that does not fit costs itself.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Vec<Result<Row, RecordError>>, RecordError> {
        let mut input = Input(payload);
        let (mut columns, mut before) = (Columns::default(), Columns::default());
        let mut rows = Vec::new();
        let mut time_ms = 0;
        if payload.first() == Some(&TALLY) {
            input.byte()?;
            input.bytes()?;
        }
        while !input.is_empty() {
            let start = Start::read(&mut input, time_ms)?;
            time_ms = start.time_ms;
            if start.flags == EVENT {
                rows.push(Ok(event(&mut input, start)?));
                continue;
            }
            let head = Head::read(&mut input, start)?;
            columns.read(&mut input, head.size, head.form, &before)?;
            if head.identity.is_some() && columns.len() != head.size {
                return Err(Malformed("a full row has not all values").into());
            }
            rows.push(self.row(head, &columns));
            std::mem::swap(&mut columns, &mut before);
        }
        Ok(rows)
    }

    /// The devices' rows after the last record.
    pub fn into_last(self) -> HashMap<Arc<str>, Row> {
        self.last.into_iter().map(|(device, known)| (device, known.row())).collect()
    }

    fn row(&mut self, head: Head<'_>, columns: &Columns<'_>) -> Result<Row, RecordError> {
        let Head { start: Start { device, time_ms, samples, .. }, size, set, identity, keys, .. } = head;
        if let Some(identity) = identity {
            let device: Arc<str> = device.into();
            let values = columns.cells();
            let cells = keys.into_iter().zip(values).map(|(key, (_, value, age))| Cell {
                key,
                value,
                time_ms: time_ms.wrapping_sub(age),
            });
            let row = Row { device, identity, time_ms, cells: cells.collect(), event: None, samples };
            if row.cells.is_empty() {
                return Ok(row);
            }
            let known = Known::new(&row, &mut self.sets);
            // with the keys that are kept, its own can go
            let told = known.row();
            self.last.insert(row.device, known);
            return Ok(told);
        }
        let fits = |known: &&mut Known| known.set == set && known.len() == size;
        let Some(known) = self.last.get_mut(device).filter(fits) else {
            return Err(RecordError::NoContext(Damaged { device: device.into(), samples }));
        };
        known.begin(time_ms, samples);
        for (place, value, age) in columns.cells() {
            known.change(place, value, time_ms.wrapping_sub(age));
        }
        Ok(known.row())
    }
}

/// What every row begins with.
struct Start<'a> {
    flags: u8,
    device: &'a str,
    time_ms: i64,
    samples: u32,
}

impl<'a> Start<'a> {
    fn read(input: &mut Input<'a>, time_before_ms: i64) -> Result<Self, Malformed> {
        let flags = input.byte()?;
        if flags != EVENT && flags & !(FULL | LIKE | AGES) != 0 {
            return Err(Malformed("a row has an unknown flag"));
        }
        Ok(Self {
            flags,
            device: input.text()?,
            time_ms: time_before_ms.wrapping_add(input.signed()?),
            samples: u32::try_from(input.number()?).map_err(|_| Malformed("a number is too large"))?,
        })
    }
}

/// What comes before the columns.
struct Head<'a> {
    start: Start<'a>,
    size: usize,
    form: Form,
    /// Of a row that is not full.
    set: u32,
    /// Of a full row, with all its keys.
    identity: Option<Identity>,
    keys: Vec<Arc<str>>,
}

impl<'a> Head<'a> {
    fn read(input: &mut Input<'a>, start: Start<'a>) -> Result<Self, Malformed> {
        let flags = start.flags;
        let mut head = Self {
            start,
            size: input.count()?,
            form: Form { like: flags & LIKE != 0, ages: flags & AGES != 0 },
            set: 0,
            identity: None,
            keys: Vec::new(),
        };
        if flags & FULL == 0 {
            head.set = u32::from_le_bytes(input.array()?);
            return Ok(head);
        }
        head.identity = Some(identity(input)?);
        let mut key = Vec::new();
        for _ in 0..head.size {
            let shared = input.count()?;
            if shared > SHARED.min(key.len()) {
                return Err(Malformed("a key shares more than there is"));
            }
            key.truncate(shared);
            key.extend_from_slice(input.bytes()?);
            head.keys.push(wire::text(&key)?.into());
        }
        Ok(head)
    }
}

fn identity(input: &mut Input<'_>) -> Result<Identity, Malformed> {
    Ok(Identity { product_key: input.text()?.into(), device_key: input.text()?.into() })
}

/// What is left of a row that says an event.
fn event(input: &mut Input<'_>, start: Start<'_>) -> Result<Row, Malformed> {
    let Start { device, time_ms, samples, .. } = start;
    let identity = identity(input)?;
    let event = Event { name: input.text()?.to_owned(), value: input.text()?.to_owned() };
    Ok(Row { device: device.into(), identity, time_ms, cells: Vec::new(), event: Some(event), samples })
}

#[cfg(test)]
mod tests;
