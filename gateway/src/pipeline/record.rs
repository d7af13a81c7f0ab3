//! How rows are kept in the buffer: changes against the device's last row, and a full row where a
//! device first appears in a segment, so that a segment can be read alone after eviction or restart.
//!
//! Always true: decoding the records of a segment from its start, in order, gives exactly the rows
//! that were encoded; a row that does not fit its predecessor (its set has another fingerprint) is
//! an error, never a wrong row. So decoding may go on after records that are lost: what changed only in
//! them shows its value and time from before.
//!
//! ```text
//! Record = rows; a row = device, time, and either
//!          identity + keys + all values                          (full: first in a segment, or the set changed)
//!       or fingerprint of the set + places in it + their values   (changes)
//! ```

use std::collections::HashMap;
use std::sync::Arc;

use prost::Message;
use sagoo_edge_proto::driver::{Value as WireValue, value};

use crate::row::{Cell, Event, Identity, Row, Value};

#[derive(Clone, PartialEq, Message)]
struct WireRecord {
    #[prost(message, repeated, tag = "1")]
    rows: Vec<WireRow>,
}

#[derive(Clone, PartialEq, Message)]
struct WireRow {
    #[prost(string, tag = "1")]
    device: String,
    /// Product and device key; present with `keys`.
    #[prost(string, repeated, tag = "2")]
    identity: Vec<String>,
    /// The whole sorted set; empty: unchanged.
    #[prost(string, repeated, tag = "3")]
    keys: Vec<String>,
    #[prost(sint64, tag = "4")]
    time_ms: i64,
    /// Places in the set of the cells that follow; empty with as many values as keys: all.
    #[prost(uint32, repeated, tag = "5")]
    places: Vec<u32>,
    #[prost(message, repeated, tag = "6")]
    values: Vec<WireValue>,
    /// `time_ms` minus the cell's time, per value; empty: all zero.
    #[prost(sint64, repeated, tag = "7")]
    ages_ms: Vec<i64>,
    #[prost(message, repeated, tag = "8")]
    events: Vec<WireEvent>,
    #[prost(uint32, tag = "9")]
    samples: u32,
    /// Fingerprint of the set the places refer to; 0 in a full row.
    #[prost(fixed32, tag = "10")]
    set: u32,
}

#[derive(Clone, PartialEq, Message)]
struct WireEvent {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
    #[prost(sint64, tag = "3")]
    time_ms: i64,
}

/// A record that cannot be understood.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Not our format.
    #[error("record is not readable: {0}")]
    Format(#[from] prost::DecodeError),
    /// It refers to a row that was not seen: reading did not begin at the start of a segment.
    #[error("record refers to an unknown row of device {}", .0.device)]
    NoContext(Damaged),
    /// Columns of different lengths.
    #[error("record contradicts itself for device {}", .0.device)]
    Contradiction(Damaged),
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
            Self::NoContext(row) | Self::Contradiction(row) => Some(row),
        }
    }
}

/// Encodes one record. `context` holds the devices' rows written before it in the same segment.
pub fn encode(rows: &[Row], context: &HashMap<Arc<str>, Row>) -> Vec<u8> {
    let mut seen: HashMap<&str, &Row> = HashMap::new();
    let mut out = Vec::with_capacity(rows.len());
    for row in rows {
        let before = seen.get(&*row.device).copied().or_else(|| context.get(&row.device));
        out.push(match before {
            Some(before) if same_set(before, row) => changes(before, row),
            _ => full(row),
        });
        if !row.cells.is_empty() {
            seen.insert(&row.device, row);
        }
    }
    WireRecord { rows: out }.encode_to_vec()
}

fn same_set(before: &Row, row: &Row) -> bool {
    before.identity == row.identity
        && before.cells.len() == row.cells.len()
        && before.cells.iter().zip(&row.cells).all(|(a, b)| a.key == b.key)
}

fn full(row: &Row) -> WireRow {
    WireRow {
        identity: vec![row.identity.product_key.to_string(), row.identity.device_key.to_string()],
        keys: row.cells.iter().map(|cell| cell.key.to_string()).collect(),
        values: row.cells.iter().map(|cell| cell.value.clone().into()).collect(),
        ages_ms: ages(row.time_ms, row.cells.iter()),
        ..head(row)
    }
}

fn changes(before: &Row, row: &Row) -> WireRow {
    let changed: Vec<usize> = (0..row.cells.len()).filter(|i| before.cells[*i] != row.cells[*i]).collect();
    WireRow {
        set: fingerprint(row),
        places: changed.iter().map(|i| *i as u32).collect(),
        values: changed.iter().map(|i| row.cells[*i].value.clone().into()).collect(),
        ages_ms: ages(row.time_ms, changed.iter().map(|i| &row.cells[*i])),
        ..head(row)
    }
}

/// Tells one set from another, so that places are never applied to the wrong set (FNV-1a; not a checksum:
/// the buffer's frames have one).
fn fingerprint(row: &Row) -> u32 {
    let keys = row.cells.iter().map(|cell| &cell.key);
    let parts = [&row.identity.product_key, &row.identity.device_key].into_iter().chain(keys);
    let bytes = parts.flat_map(|part| part.bytes().chain([0xff]));
    let hash = bytes.fold(0x811c_9dc5u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.max(1)
}

fn head(row: &Row) -> WireRow {
    let events = row.events.iter().map(|event| WireEvent {
        name: event.name.clone(),
        value: event.value.clone(),
        time_ms: event.time_ms,
    });
    WireRow {
        device: row.device.to_string(),
        time_ms: row.time_ms,
        events: events.collect(),
        samples: row.samples,
        ..WireRow::default()
    }
}

fn ages<'a>(time_ms: i64, cells: impl Iterator<Item = &'a Cell>) -> Vec<i64> {
    let ages: Vec<i64> = cells.map(|cell| time_ms.wrapping_sub(cell.time_ms)).collect();
    if ages.iter().all(|age| *age == 0) { Vec::new() } else { ages }
}

/// Rebuilds rows from records read in order.
#[derive(Debug, Default)]
pub struct Decoder {
    last: HashMap<Arc<str>, Row>,
}

impl Decoder {
    /// Rows of the next record, in the order they were written. One row that does not fit costs itself.
    pub fn decode(&mut self, payload: &[u8]) -> Result<Vec<Result<Row, RecordError>>, RecordError> {
        let record = WireRecord::decode(payload)?;
        Ok(record.rows.into_iter().map(|row| self.row(row)).collect())
    }

    /// The devices' rows after the last record.
    pub fn into_last(self) -> HashMap<Arc<str>, Row> {
        self.last
    }

    fn row(&mut self, wire: WireRow) -> Result<Row, RecordError> {
        let device: Arc<str> = wire.device.as_str().into();
        let damaged = Damaged { device: device.clone(), samples: wire.samples };
        let contradiction = || RecordError::Contradiction(damaged.clone());
        let events: Vec<Event> = wire
            .events
            .iter()
            .map(|e| Event { name: e.name.clone(), value: e.value.clone(), time_ms: e.time_ms })
            .collect();
        let full = match wire.identity.as_slice() {
            [] => None,
            [product_key, device_key] => Some(Identity {
                product_key: product_key.as_str().into(),
                device_key: device_key.as_str().into(),
            }),
            _ => return Err(contradiction()),
        };
        let mut row = match full {
            Some(identity) => Row {
                device: device.clone(),
                identity,
                time_ms: wire.time_ms,
                cells: blank(&wire.keys),
                events: Vec::new(),
                samples: 0,
            },
            None => match self.last.get(&device) {
                Some(last) if fingerprint(last) == wire.set => last.clone(),
                _ => return Err(RecordError::NoContext(damaged)),
            },
        };
        if full_without_values(&wire) || (!wire.ages_ms.is_empty() && wire.ages_ms.len() != wire.values.len())
        {
            return Err(contradiction());
        }
        for (i, value) in wire.values.iter().enumerate() {
            let place = if wire.identity.is_empty() {
                *wire.places.get(i).ok_or_else(contradiction)? as usize
            } else {
                i
            };
            let age = wire.ages_ms.get(i).copied().unwrap_or(0);
            let cell = row.cells.get_mut(place).ok_or_else(contradiction)?;
            cell.value = known(value).ok_or_else(contradiction)?;
            cell.time_ms = wire.time_ms.wrapping_sub(age);
        }
        row.time_ms = wire.time_ms;
        row.samples = wire.samples;
        if !row.cells.is_empty() {
            self.last.insert(device, row.clone());
        }
        row.events = events;
        Ok(row)
    }
}

fn full_without_values(wire: &WireRow) -> bool {
    !wire.identity.is_empty() && wire.values.len() != wire.keys.len()
}

fn blank(keys: &[String]) -> Vec<Cell> {
    keys.iter().map(|key| Cell { key: key.as_str().into(), value: Value::Bool(false), time_ms: 0 }).collect()
}

fn known(value: &WireValue) -> Option<Value> {
    value.value.clone().map(|kind: value::Value| kind.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn row(device: &str, keys: &[&str], values: &[i64], time_ms: i64, ages: &[i64]) -> Row {
        let cells = keys.iter().zip(values).zip(ages);
        Row {
            device: device.into(),
            identity: Identity { product_key: "p".into(), device_key: format!("{device}-k").as_str().into() },
            time_ms,
            cells: cells
                .map(|((key, v), age)| Cell {
                    key: (*key).into(),
                    value: Value::Int(*v),
                    time_ms: time_ms - age,
                })
                .collect(),
            events: Vec::new(),
            samples: keys.len() as u32,
        }
    }

    fn rows_of(decoder: &mut Decoder, payload: &[u8]) -> Vec<Row> {
        decoder.decode(payload).unwrap().into_iter().map(Result::unwrap).collect()
    }

    fn remember(last: &mut HashMap<Arc<str>, Row>, rows: &[Row]) {
        for row in rows.iter().filter(|row| !row.cells.is_empty()) {
            last.insert(row.device.clone(), Row { events: Vec::new(), ..row.clone() });
        }
    }

    proptest! {
        #[test]
        fn rows_come_back_as_they_went_in_from_any_segment_start(
            steps in proptest::collection::vec(
                (0..3usize, 1..4usize, proptest::collection::vec((0..5i64, 0..3i64), 4), any::<bool>()), 1..40),
        ) {
            let keys = ["a", "b", "c", "d"];
            let mut last = HashMap::new();
            let mut written = Vec::new();
            for (i, (device, width, cells, begins)) in steps.into_iter().enumerate() {
                let values: Vec<i64> = cells.iter().map(|c| c.0).collect();
                let ages: Vec<i64> = cells.iter().map(|c| c.1).collect();
                let rows = vec![row(&format!("d{device}"), &keys[..width], &values, i as i64 * 1000, &ages)];
                let begins = begins || i == 0;
                if begins {
                    last.clear();
                }
                written.push((begins, encode(&rows, &last), rows.clone()));
                remember(&mut last, &rows);
            }
            for start in (0..written.len()).filter(|i| written[*i].0) {
                let mut decoder = Decoder::default();
                for (_, payload, rows) in &written[start..] {
                    prop_assert_eq!(&rows_of(&mut decoder, payload), rows);
                }
            }
        }

        #[test]
        fn any_bytes_are_an_error_or_rows(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Decoder::default().decode(&bytes);
        }
    }

    #[test]
    fn an_event_travels_without_touching_the_set() {
        let mut last = HashMap::new();
        let first = row("m", &["a"], &[1], 1_000, &[0]);
        let record = encode(std::slice::from_ref(&first), &last);
        remember(&mut last, std::slice::from_ref(&first));
        let event = Event { name: "gone".into(), value: "{}".into(), time_ms: 2_000 };
        let announced =
            Row { cells: Vec::new(), events: vec![event], samples: 0, time_ms: 2_000, ..first.clone() };
        let second = encode(std::slice::from_ref(&announced), &last);
        let third = row("m", &["a"], &[2], 3_000, &[0]);
        let third_record = encode(std::slice::from_ref(&third), &last);
        let mut decoder = Decoder::default();
        assert_eq!(rows_of(&mut decoder, &record), [first]);
        assert_eq!(rows_of(&mut decoder, &second), [announced]);
        assert_eq!(rows_of(&mut decoder, &third_record), [third]);
    }

    #[test]
    fn reading_from_the_middle_is_refused_not_guessed() {
        let mut last = HashMap::new();
        let first = row("m", &["a"], &[1], 1_000, &[0]);
        remember(&mut last, std::slice::from_ref(&first));
        let second = encode(&[row("m", &["a"], &[2], 2_000, &[0])], &last);
        let rows = Decoder::default().decode(&second).unwrap();
        assert!(
            matches!(&rows[..], [Err(RecordError::NoContext(d))] if &*d.device == "m" && d.samples == 1),
            "{rows:?}"
        );
    }

    #[test]
    fn a_lost_record_never_shifts_values_to_other_keys() {
        let mut last = HashMap::new();
        let first = row("m", &["a", "b"], &[1, 2], 1_000, &[0, 0]);
        let first_record = encode(std::slice::from_ref(&first), &last);
        remember(&mut last, std::slice::from_ref(&first));
        let lost = row("m", &["a", "c"], &[1, 3], 2_000, &[0, 0]);
        remember(&mut last, std::slice::from_ref(&lost));
        let third = encode(&[row("m", &["a", "c"], &[1, 4], 3_000, &[0, 0])], &last);
        let mut decoder = Decoder::default();
        assert_eq!(rows_of(&mut decoder, &first_record), [first]);
        assert!(matches!(&decoder.decode(&third).unwrap()[..], [Err(RecordError::NoContext(_))]));
    }
}
