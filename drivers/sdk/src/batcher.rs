//! Collects samples of many devices into one batch.
//!
//! Always true: a batch holds no (device, point) twice, at most [`BATCH_SAMPLES`] samples and about
//! [`BATCH_BYTES`] bytes; samples of a device stay in the order of their times. Samples that could
//! not be packed truthfully (not finite, too large) leave here as bad ones with the reason.

use std::collections::BTreeMap;
use std::time::Duration;

use sagoo_edge_proto::driver::DeviceSamples;
use sagoo_edge_proto::sample::{self, Quality, Sample, Value};

/// How long the first sample of a batch waits for company.
pub(crate) const BATCH_WAIT: Duration = Duration::from_millis(20);
/// Samples that make a batch full.
pub(crate) const BATCH_SAMPLES: usize = 2_000;
/// Bytes of texts and blobs that make a batch full; far below what one gRPC message may carry.
pub(crate) const BATCH_BYTES: usize = 256 * 1024;
/// Largest single value; a larger one becomes a bad sample.
pub(crate) const VALUE_BYTES: usize = 64 * 1024;

/// The batch being filled.
#[derive(Debug, Default)]
pub(crate) struct Batcher {
    devices: BTreeMap<u32, Column>,
    samples: usize,
    bytes: usize,
}

#[derive(Debug, Default)]
struct Column {
    samples: Vec<Sample>,
    /// One bit per point that is in `samples`.
    seen: Vec<u64>,
}

/// The two clocks at the time a batch is closed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Now {
    pub(crate) boot_ns: u64,
    pub(crate) wall_ms: Option<i64>,
}

impl Batcher {
    pub(crate) fn is_empty(&self) -> bool {
        self.samples == 0
    }

    /// Adds samples of a device; gives back the batches that became full on the way.
    pub(crate) fn add(&mut self, device: u32, samples: Vec<Sample>, now: Now) -> Vec<Vec<DeviceSamples>> {
        let mut full = Vec::new();
        for sample in samples {
            let sample = truthful(sample);
            let bytes = value_bytes(sample.value.as_ref());
            if self.holds(device, sample.point)
                || self.samples >= BATCH_SAMPLES
                || self.bytes + bytes > BATCH_BYTES
            {
                full.extend(self.take(now));
            }
            self.push(device, sample);
            self.bytes += bytes;
        }
        if self.samples >= BATCH_SAMPLES {
            full.extend(self.take(now));
        }
        full
    }

    /// Closes the batch; `None` when nothing is in it.
    pub(crate) fn take(&mut self, now: Now) -> Option<Vec<DeviceSamples>> {
        if self.is_empty() {
            return None;
        }
        self.samples = 0;
        self.bytes = 0;
        let devices = std::mem::take(&mut self.devices);
        Some(devices.into_iter().map(|(device, column)| pack(device, column.samples, now)).collect())
    }

    fn holds(&self, device: u32, point: u32) -> bool {
        let Some(column) = self.devices.get(&device) else { return false };
        column.seen.get(point as usize / 64).is_some_and(|word| word & (1 << (point % 64)) != 0)
    }

    fn push(&mut self, device: u32, sample: Sample) {
        let column = self.devices.entry(device).or_default();
        let word = sample.point as usize / 64;
        if column.seen.len() <= word {
            column.seen.resize(word + 1, 0);
        }
        column.seen[word] |= 1 << (sample.point % 64);
        column.samples.push(sample);
        self.samples += 1;
    }
}

fn pack(device: u32, mut samples: Vec<Sample>, now: Now) -> DeviceSamples {
    samples.sort_by_key(|sample| sample.boot_ns);
    let base = samples.first().map_or(now.boot_ns, |first| first.boot_ns);
    let age_ms = now.boot_ns.saturating_sub(base) / 1_000_000;
    let wall_ms = now.wall_ms.map(|wall| wall - age_ms as i64);
    sample::pack(device, &samples, wall_ms)
}

/// What cannot be told truthfully becomes a bad sample that says so.
fn truthful(sample: Sample) -> Sample {
    let reason = match &sample.value {
        Some(Value::Float(value)) if !value.is_finite() => format!("the value is {value}"),
        Some(value) if value_bytes(Some(value)) > VALUE_BYTES => {
            format!("a value of {} bytes, at most {VALUE_BYTES}", value_bytes(Some(value)))
        }
        _ => return sample,
    };
    Sample { value: None, quality: Quality::Bad(reason), ..sample }
}

fn value_bytes(value: Option<&Value>) -> usize {
    match value {
        Some(Value::Text(text) | Value::Json(text)) => text.len(),
        Some(Value::Bytes(bytes)) => bytes.len(),
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Now = Now { boot_ns: 9_000_000_000, wall_ms: Some(1_800_000_000_000) };

    fn good(point: u32, boot_ns: u64) -> Sample {
        Sample { point, value: Some(Value::Int(boot_ns as i64)), quality: Quality::Good, boot_ns }
    }

    fn unpacked(batches: Vec<Vec<DeviceSamples>>) -> Vec<Vec<(u32, Sample)>> {
        let unpack = |one: DeviceSamples| {
            let device = one.device;
            sample::unpack(one).unwrap().into_iter().map(move |sample| (device, sample))
        };
        batches.into_iter().map(|batch| batch.into_iter().flat_map(unpack).collect()).collect()
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_no_point_is_twice_in_a_batch(
            polls in proptest::collection::vec((0..4u32, proptest::collection::vec(0..200u32, 0..90)), 0..60),
        ) {
            let mut batcher = Batcher::default();
            let mut batches = Vec::new();
            let mut sent: Vec<(u32, u32, u64)> = Vec::new();
            let mut at = 0;
            for (device, points) in polls {
                let samples: Vec<Sample> = points.iter().map(|point| { at += 1_000; good(*point, at) }).collect();
                sent.extend(samples.iter().map(|sample| (device, sample.point, sample.boot_ns)));
                batches.extend(batcher.add(device, samples, NOW));
            }
            batches.extend(batcher.take(NOW));
            let batches = unpacked(batches);
            for batch in &batches {
                prop_assert!(batch.len() <= BATCH_SAMPLES);
                let mut places: Vec<_> = batch.iter().map(|(device, sample)| (*device, sample.point)).collect();
                places.sort_unstable();
                let before = places.len();
                places.dedup();
                prop_assert_eq!(places.len(), before);
            }
            for wanted in 0..4 {
                let out: Vec<_> = batches.iter().flatten().filter(|(device, _)| *device == wanted)
                    .map(|(device, sample)| (*device, sample.point, sample.boot_ns)).collect();
                let put: Vec<_> = sent.iter().copied().filter(|(device, ..)| *device == wanted).collect();
                prop_assert_eq!(out, put);
            }
        }
    }

    #[test]
    fn the_wall_time_is_that_of_the_first_sample() {
        let mut batcher = Batcher::default();
        batcher.add(1, vec![good(0, 8_500_000_000)], NOW);
        let batch = batcher.take(NOW).unwrap();
        assert_eq!(batch[0].wall_ms, Some(1_800_000_000_000 - 500));
        assert_eq!(batch[0].boot_ns, 8_500_000_000);
    }

    #[test]
    fn what_cannot_be_told_truthfully_turns_bad() {
        let mut batcher = Batcher::default();
        let nan = Sample { value: Some(Value::Float(f64::NAN)), ..good(0, 1) };
        let huge = Sample { value: Some(Value::Text("x".repeat(VALUE_BYTES + 1))), ..good(1, 1) };
        batcher.add(1, vec![nan, huge], NOW);
        let batch = unpacked(batcher.take(NOW).into_iter().collect()).remove(0);
        assert!(batch.iter().all(|(_, sample)| matches!(sample.quality, Quality::Bad(_))), "{batch:?}");
    }
}
