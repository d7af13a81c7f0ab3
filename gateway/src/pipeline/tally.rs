//! What a segment of the buffer holds, per device, told by the first record of the segment after it, so that
//! a start need not read a store of hundreds of MiB to know what waits in it.
//!
//! Always true: a tally says what a scan of its whole segment would find; where there is none, or it is of
//! other records than lie there, the segment is scanned.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use prost::Message;

use super::boots::{Seen, Unclocked};
use crate::row::Row;

/// Longest in bytes; of a segment with more to tell there is none.
const MAX_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Of the segment.
    pub first_seq: u64,
    /// One past its last record.
    pub next_seq: u64,
    /// What each device has there.
    pub devices: HashMap<Arc<str>, Share>,
    /// Which times.
    pub seen: Seen,
}

/// What a device has in a segment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Share {
    /// Records with rows of it.
    pub rows: u32,
    /// Samples they account for.
    pub samples: u32,
    /// The last of those records.
    pub last_seq: u64,
}

impl Tally {
    /// Of a segment without records.
    pub fn new(first_seq: u64) -> Self {
        Self { first_seq, next_seq: first_seq, ..Self::default() }
    }

    /// A record with rows of a device; records come in order.
    pub fn add(&mut self, seq: u64, device: &Arc<str>, samples: u32) {
        self.next_seq = self.next_seq.max(seq + 1);
        let share = match self.devices.get_mut(device) {
            Some(share) => share,
            None => self.devices.entry(device.clone()).or_default(),
        };
        share.rows += 1;
        share.samples += samples;
        share.last_seq = seq;
    }

    /// The times of a row.
    pub fn see(&mut self, seq: u64, row: &Row) {
        self.seen.row(seq, row);
    }

    /// For the record after it; `None`: it has nothing to tell, or too much.
    pub fn encode(&self) -> Option<Vec<u8>> {
        let shares = self.devices.iter().map(|(device, share)| KeptShare {
            device: device.to_string(),
            rows: share.rows,
            samples: share.samples,
            last: share.last_seq.saturating_sub(self.first_seq),
        });
        let mut shares: Vec<KeptShare> = shares.collect();
        shares.sort_by(|a, b| a.device.cmp(&b.device));
        let boots = self.seen.boots.iter().map(|(boot, found)| KeptBoot {
            boot: *boot,
            first: found.first_seq.saturating_sub(self.first_seq),
            first_ms: found.first_ms,
            last_ms: found.last_ms,
        });
        let (first_seq, records) = (self.first_seq, self.next_seq - self.first_seq);
        let newest_ms = self.seen.newest_ms;
        let kept = KeptTally { first_seq, records, newest_ms, boots: boots.collect(), shares };
        let fits = !kept.shares.is_empty() && kept.encoded_len() <= MAX_BYTES;
        fits.then(|| kept.encode_to_vec())
    }

    /// What [`Self::encode`] gave; `None`: it is not readable.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let kept = KeptTally::decode(bytes).ok()?;
        let first_seq = kept.first_seq;
        let next_seq = first_seq.checked_add(kept.records)?;
        let within = |place: u64| first_seq.checked_add(place).filter(|seq| *seq < next_seq);
        let mut devices = HashMap::new();
        for KeptShare { device, rows, samples, last } in kept.shares {
            let share = Share { rows, samples, last_seq: within(last)? };
            devices.insert(Arc::from(device), share);
        }
        let mut boots = BTreeMap::new();
        for KeptBoot { boot, first, first_ms, last_ms } in kept.boots {
            boots.insert(boot, Unclocked { first_seq: within(first)?, first_ms, last_ms });
        }
        Some(Self { first_seq, next_seq, devices, seen: Seen { newest_ms: kept.newest_ms, boots } })
    }
}

#[derive(Clone, PartialEq, Message)]
struct KeptTally {
    #[prost(uint64, tag = "1")]
    first_seq: u64,
    #[prost(uint64, tag = "2")]
    records: u64,
    #[prost(sint64, optional, tag = "3")]
    newest_ms: Option<i64>,
    #[prost(message, repeated, tag = "4")]
    boots: Vec<KeptBoot>,
    #[prost(message, repeated, tag = "5")]
    shares: Vec<KeptShare>,
}

#[derive(Clone, PartialEq, Message)]
struct KeptBoot {
    #[prost(uint32, tag = "1")]
    boot: u32,
    /// From the segment's first.
    #[prost(uint64, tag = "2")]
    first: u64,
    #[prost(sint64, tag = "3")]
    first_ms: i64,
    #[prost(sint64, tag = "4")]
    last_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct KeptShare {
    #[prost(string, tag = "1")]
    device: String,
    #[prost(uint32, tag = "2")]
    rows: u32,
    #[prost(uint32, tag = "3")]
    samples: u32,
    /// From the segment's first.
    #[prost(uint64, tag = "4")]
    last: u64,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_told_is_understood(
            first in 1..1u64 << 60,
            records in prop::collection::vec((0..5u8, 0..1000u32, any::<i64>()), 1..50),
        ) {
            let mut tally = Tally::new(first);
            for (seq, (device, samples, time_ms)) in (first..).zip(records) {
                tally.add(seq, &format!("device {device}").into(), samples);
                tally.seen.time(seq, time_ms);
            }
            prop_assert_eq!(Tally::decode(&tally.encode().unwrap()), Some(tally));
        }

        #[test]
        fn any_bytes_are_a_tally_or_none(bytes: Vec<u8>) {
            let _ = Tally::decode(&bytes);
        }
    }

    #[test]
    fn nothing_is_told_of_nothing_or_of_too_much() {
        let mut tally = Tally::new(7);
        assert_eq!(tally.encode(), None);
        for number in 0..MAX_BYTES / 10 {
            tally.add(7, &format!("device number {number}").into(), 1);
        }
        assert_eq!(tally.encode(), None);
    }
}
