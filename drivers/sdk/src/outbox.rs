//! Batches that are not acknowledged yet.
//!
//! Always true: numbers rise by one in the order batches were made; what is kept is bounded by
//! [`KEPT_BATCHES`] and [`KEPT_BYTES`]; what does not fit is given back to be counted, never lost
//! in silence. Full means: the oldest batch that never was on its way is dropped (one that was, to
//! whatever gateway, may well be stored, and would be counted twice); when all were, the oldest.
//!
//! The bounds hold ten minutes of 1 000 points/s as meters send them (a test says so): a gateway
//! may be away that long and nothing is lost.

use std::collections::VecDeque;

use prost::Message;
use sagoo_edge_proto::driver::{Batch, DeviceSamples};

/// Most batches kept for a gateway that does not acknowledge: more than ten minutes of one every
/// [`BATCH_WAIT`](crate::batcher::BATCH_WAIT).
pub(crate) const KEPT_BATCHES: usize = 32_768;
/// Most bytes kept, bookkeeping included.
pub(crate) const KEPT_BYTES: usize = 16 * 1024 * 1024;
/// What a batch costs besides its bytes: its place in the queue and its allocation.
const BATCH_COST: usize = 64;
/// The newest batches stay as they are, in case they go at once, as they nearly always do. Older
/// ones are packed as on the wire, which takes a fraction of the memory.
const UNPACKED: usize = 16;

/// Un-acknowledged batches in order, and how far this session has sent them.
#[derive(Debug)]
pub(crate) struct Outbox {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// How many of `kept`, from the front, were sent in this session.
    sent: usize,
    /// How many were ever: a gateway that is gone may have stored them.
    tried: usize,
    last_seq: u64,
    most_batches: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    seq: u64,
    form: Form,
    bytes: usize,
}

#[derive(Debug)]
enum Form {
    Open(Batch),
    Packed(Box<[u8]>),
}

/// Samples of a device that were given up.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    pub(crate) device: u32,
    pub(crate) samples: u64,
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new(KEPT_BATCHES, KEPT_BYTES)
    }
}

impl Outbox {
    pub(crate) fn new(most_batches: usize, most_bytes: usize) -> Self {
        Self { kept: VecDeque::new(), bytes: 0, sent: 0, tried: 0, last_seq: 0, most_batches, most_bytes }
    }

    /// Keeps a new batch; gives back what had to go for it.
    pub(crate) fn push(&mut self, generation: u64, devices: Vec<DeviceSamples>) -> Vec<Dropped> {
        self.last_seq += 1;
        let batch = Batch { seq: self.last_seq, generation, devices };
        let bytes = batch.encoded_len() + BATCH_COST;
        self.bytes += bytes;
        self.kept.push_back(Kept { seq: self.last_seq, form: Form::Open(batch), bytes });
        if let Some(place) = self.kept.len().checked_sub(UNPACKED + 1) {
            self.kept[place].pack();
        }
        let mut dropped = Vec::new();
        while self.kept.len() > 1 && (self.kept.len() > self.most_batches || self.bytes > self.most_bytes) {
            // The newest, which was just put at the end, always stays.
            let place = if self.tried + 1 < self.kept.len() { self.tried } else { 0 };
            self.sent -= usize::from(place < self.sent);
            self.tried -= usize::from(place < self.tried);
            if let Some(gone) = self.kept.remove(place) {
                self.bytes -= gone.bytes;
                let counts = |one: &DeviceSamples| Dropped { device: one.device, samples: one.count.into() };
                dropped.extend(gone.batch().devices.iter().map(counts));
            }
        }
        dropped
    }

    /// The gateway wrote everything up to `seq`.
    pub(crate) fn acknowledge(&mut self, seq: u64) {
        // Only what was sent in this session can be meant; anything else is a confused peer.
        while self.sent > 0 && self.kept.front().is_some_and(|kept| kept.seq <= seq) {
            self.sent -= 1;
            self.tried -= 1;
            if let Some(done) = self.kept.pop_front() {
                self.bytes -= done.bytes;
            }
        }
        if self.kept.is_empty() {
            // What a long loss needed is given back.
            self.kept.shrink_to(UNPACKED);
        }
    }

    /// A new session: everything is sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next batch this session has not sent yet.
    pub(crate) fn peek(&self) -> Option<Batch> {
        self.kept.get(self.sent).map(Kept::batch)
    }

    /// Number of the batch given by [`Outbox::peek`].
    pub(crate) fn next_seq(&self) -> Option<u64> {
        self.kept.get(self.sent).map(|kept| kept.seq)
    }

    /// Number of the newest batch; 0 before the first.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// The batch given by [`Outbox::peek`] is on its way.
    pub(crate) fn advance(&mut self) {
        self.sent = (self.sent + 1).min(self.kept.len());
        self.tried = self.tried.max(self.sent);
    }

    /// Batches waiting for an acknowledgement.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

impl Kept {
    fn pack(&mut self) {
        if let Form::Open(batch) = &self.form {
            self.form = Form::Packed(batch.encode_to_vec().into_boxed_slice());
        }
    }

    fn batch(&self) -> Batch {
        match &self.form {
            Form::Open(batch) => batch.clone(),
            Form::Packed(bytes) => Batch::decode(&**bytes).expect("packed by us"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sagoo_edge_proto::sample::{self, Quality, Sample, Value};

    use super::*;

    fn one(device: u32, count: u32) -> Vec<DeviceSamples> {
        vec![DeviceSamples { device, count, ..DeviceSamples::default() }]
    }

    fn drain(outbox: &mut Outbox) -> Vec<u64> {
        let mut sent = Vec::new();
        while let Some(batch) = outbox.peek() {
            sent.push(batch.seq);
            outbox.advance();
        }
        sent
    }

    #[test]
    fn unacknowledged_batches_are_sent_again_in_order() {
        let mut outbox = Outbox::default();
        for _ in 0..5 {
            outbox.push(1, one(0, 1));
        }
        assert_eq!(drain(&mut outbox), [1, 2, 3, 4, 5]);
        outbox.acknowledge(2);
        outbox.rewind();
        outbox.push(1, one(0, 1));
        assert_eq!(drain(&mut outbox), [3, 4, 5, 6]);
        outbox.acknowledge(99);
        assert_eq!(outbox.len(), 0);
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_that_is_not_on_its_way() {
        let mut outbox = Outbox::new(3, usize::MAX);
        outbox.push(1, one(7, 10));
        outbox.peek().unwrap();
        outbox.advance();
        outbox.push(1, one(8, 20));
        outbox.push(1, one(9, 30));
        assert_eq!(outbox.push(1, one(9, 40)), [Dropped { device: 8, samples: 20 }]);
        // the gateway was killed; the next one has not taken any of it yet
        outbox.rewind();
        assert_eq!(outbox.push(1, one(9, 50)), [Dropped { device: 9, samples: 30 }]);
        assert_eq!(drain(&mut outbox), [1, 4, 5]);
        assert_eq!(outbox.push(1, one(1, 1)), [Dropped { device: 7, samples: 10 }]);
        outbox.rewind();
        assert_eq!(drain(&mut outbox), [4, 5, 6]);
    }

    #[test]
    fn an_ack_for_what_was_never_sent_removes_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(1, one(0, 1));
        outbox.acknowledge(1);
        assert_eq!(outbox.len(), 1);
    }

    /// The promise in this file's head, with devices as they are: polled one by one, some numbers
    /// of 32 bits, some of 64, and 50 batches in each second.
    #[test]
    fn ten_minutes_of_a_thousand_points_per_second_fit() {
        for (devices, points) in [(10, 100), (50, 20), (250, 4)] {
            let mut outbox = Outbox::default();
            let mut boot_ns = 3_600_000_000_000_u64;
            let per_batch = (devices / 50).max(1);
            for second in 0..600 {
                let devices: Vec<_> = (0..devices).collect();
                for together in devices.chunks(per_batch) {
                    boot_ns += 1_000_000_000 / 50;
                    let batch =
                        together.iter().map(|device| measured(*device as u32, points, second, boot_ns));
                    assert_eq!(outbox.push(1, batch.collect()), [], "second {second} of {devices:?}");
                }
            }
            let memory = size_of::<Kept>() * outbox.kept.capacity()
                + outbox.kept.iter().map(Kept::heap_bytes).sum::<usize>();
            println!(
                "{devices} × {points}: {} batches, {} KiB on the wire, {} KiB in memory",
                outbox.len(),
                outbox.bytes / 1024,
                memory / 1024
            );
            assert!(memory <= KEPT_BYTES, "{memory} bytes");
            let samples: u64 =
                outbox.kept.iter().flat_map(|kept| kept.batch().devices).map(|d| u64::from(d.count)).sum();
            assert_eq!(samples, 600_000);
        }
    }

    impl Kept {
        fn heap_bytes(&self) -> usize {
            match &self.form {
                Form::Packed(bytes) => bytes.len(),
                // An open one has a column for each kind and what they grew to.
                Form::Open(batch) => 4 * batch.encoded_len() + 512 * batch.devices.len(),
            }
        }
    }

    fn measured(device: u32, points: u32, second: u64, boot_ns: u64) -> DeviceSamples {
        let samples: Vec<Sample> = (0..points)
            .map(|point| Sample {
                point,
                value: Some(match point % 4 {
                    0 => Value::Float(230.1 + (second as f64) / 7.0),
                    1 => Value::Uint(1_000_000 + second * 17),
                    2 => Value::Int(-(i64::from(point)) * 100),
                    _ => Value::Float(0.5),
                }),
                quality: Quality::Good,
                boot_ns,
            })
            .collect();
        sample::pack(device, &samples, Some(1_800_000_000_000))
    }

    proptest! {
        /// Against a model: every sample is acknowledged, kept or counted as dropped.
        #[test]
        fn every_sample_is_accounted_for(steps in proptest::collection::vec((0..4u8, 1..50u32), 0..200)) {
            let mut outbox = Outbox::new(8, 200);
            let (mut made, mut dropped) = (0u64, 0u64);
            let mut acknowledged = 0u64;
            let count = |outbox: &Outbox| -> u64 {
                outbox.kept.iter().flat_map(|k| k.batch().devices).map(|d| u64::from(d.count)).sum()
            };
            for (step, n) in steps {
                match step {
                    0 => {
                        made += u64::from(n);
                        dropped += outbox.push(1, one(0, n)).iter().map(|d| d.samples).sum::<u64>();
                    }
                    1 => outbox.advance(),
                    2 => outbox.rewind(),
                    _ => {
                        let before = count(&outbox);
                        outbox.acknowledge(outbox.last_seq.saturating_sub(u64::from(n % 8)));
                        acknowledged += before - count(&outbox);
                    }
                }
                prop_assert_eq!(made, dropped + acknowledged + count(&outbox));
                prop_assert!(outbox.len() <= 8 && outbox.sent <= outbox.tried && outbox.tried <= outbox.len());
                prop_assert_eq!(outbox.bytes, outbox.kept.iter().map(|k| k.bytes).sum::<usize>());
                let seqs: Vec<u64> = outbox.kept.iter().map(|k| k.seq).collect();
                prop_assert!(seqs.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
}
