//! Batches that are not acknowledged yet.
//!
//! Always true: numbers rise by one in the order batches were made; what is kept is bounded by
//! [`KEPT_BATCHES`] and [`KEPT_BYTES`]; what does not fit is given back to be counted, never lost
//! in silence. Full means: the oldest batch that is not on its way yet is dropped (one on its way
//! may well be stored, and would be counted twice); when all are on their way, the oldest of them.

use std::collections::VecDeque;

use prost::Message;
use sagoo_edge_proto::driver::{Batch, DeviceSamples};

/// Most batches kept for a gateway that does not acknowledge.
pub(crate) const KEPT_BATCHES: usize = 4_096;
/// Most bytes kept, as they are on the wire.
pub(crate) const KEPT_BYTES: usize = 4 * 1024 * 1024;

/// Un-acknowledged batches in order, and how far this session has sent them.
#[derive(Debug)]
pub(crate) struct Outbox {
    kept: VecDeque<Kept>,
    bytes: usize,
    /// How many of `kept`, from the front, were sent in this session.
    sent: usize,
    last_seq: u64,
    most_batches: usize,
    most_bytes: usize,
}

#[derive(Debug)]
struct Kept {
    batch: Batch,
    bytes: usize,
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
        Self { kept: VecDeque::new(), bytes: 0, sent: 0, last_seq: 0, most_batches, most_bytes }
    }

    /// Keeps a new batch; gives back what had to go for it.
    pub(crate) fn push(&mut self, generation: u64, devices: Vec<DeviceSamples>) -> Vec<Dropped> {
        self.last_seq += 1;
        let batch = Batch { seq: self.last_seq, generation, devices };
        let bytes = batch.encoded_len();
        self.bytes += bytes;
        self.kept.push_back(Kept { batch, bytes });
        let mut dropped = Vec::new();
        while self.kept.len() > 1 && (self.kept.len() > self.most_batches || self.bytes > self.most_bytes) {
            // The newest, which was just put at the end, always stays.
            let place = if self.sent + 1 < self.kept.len() { self.sent } else { 0 };
            self.sent -= usize::from(place < self.sent);
            if let Some(gone) = self.kept.remove(place) {
                self.bytes -= gone.bytes;
                dropped.extend(
                    gone.batch
                        .devices
                        .iter()
                        .map(|one| Dropped { device: one.device, samples: one.count.into() }),
                );
            }
        }
        dropped
    }

    /// The gateway wrote everything up to `seq`.
    pub(crate) fn acknowledge(&mut self, seq: u64) {
        // Only what was sent in this session can be meant; anything else is a confused peer.
        while self.sent > 0 && self.kept.front().is_some_and(|kept| kept.batch.seq <= seq) {
            self.sent -= 1;
            if let Some(done) = self.kept.pop_front() {
                self.bytes -= done.bytes;
            }
        }
    }

    /// A new session: everything is sent again.
    pub(crate) fn rewind(&mut self) {
        self.sent = 0;
    }

    /// The next batch this session has not sent yet.
    pub(crate) fn peek(&self) -> Option<&Batch> {
        self.kept.get(self.sent).map(|kept| &kept.batch)
    }

    /// The batch given by [`Outbox::peek`] is on its way.
    pub(crate) fn advance(&mut self) {
        self.sent = (self.sent + 1).min(self.kept.len());
    }

    /// Batches waiting for an acknowledgement.
    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
        outbox.rewind();
        assert_eq!(drain(&mut outbox), [1, 3, 4]);
        assert_eq!(outbox.push(1, one(1, 1)), [Dropped { device: 7, samples: 10 }]);
        outbox.rewind();
        assert_eq!(drain(&mut outbox), [3, 4, 5]);
    }

    #[test]
    fn an_ack_for_what_was_never_sent_removes_nothing() {
        let mut outbox = Outbox::default();
        outbox.push(1, one(0, 1));
        outbox.acknowledge(1);
        assert_eq!(outbox.len(), 1);
    }

    proptest! {
        /// Against a model: every sample is acknowledged, kept or counted as dropped.
        #[test]
        fn every_sample_is_accounted_for(steps in proptest::collection::vec((0..4u8, 1..50u32), 0..200)) {
            let mut outbox = Outbox::new(8, 200);
            let (mut made, mut dropped) = (0u64, 0u64);
            let mut acknowledged = 0u64;
            let count = |outbox: &Outbox| -> u64 {
                outbox.kept.iter().flat_map(|k| &k.batch.devices).map(|d| u64::from(d.count)).sum()
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
                prop_assert!(outbox.len() <= 8 && outbox.sent <= outbox.len());
                prop_assert_eq!(outbox.bytes, outbox.kept.iter().map(|k| k.bytes).sum::<usize>());
                let seqs: Vec<u64> = outbox.kept.iter().map(|k| k.batch.seq).collect();
                prop_assert!(seqs.windows(2).all(|w| w[0] < w[1]));
            }
        }
    }
}
