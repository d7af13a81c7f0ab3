//! Samples of devices that are not configured any more, which drivers still had to send.
//!
//! Always true: every sample is counted in one line of the log, and however many batches there are,
//! there is one line per [`LeftOut::say`]; nothing here grows with them.

use std::collections::BTreeSet;

/// Devices told apart between two lines.
const DEVICES: usize = 1000;

/// What was left out since it was said last.
#[derive(Debug, Default)]
pub struct LeftOut {
    devices: BTreeSet<String>,
    samples: u64,
}

impl LeftOut {
    /// Some more, of this device.
    pub fn add(&mut self, device: String, samples: u32) {
        self.samples += u64::from(samples);
        if self.devices.len() < DEVICES {
            self.devices.insert(device);
        }
    }

    /// Says how many there were, if there were any.
    pub fn say(&mut self) {
        if let Some((device, devices, samples)) = self.take() {
            tracing::warn!(
                device,
                devices,
                samples,
                "samples of a device that is not configured any more are left out"
            );
        }
    }

    /// One of the devices, how many they are, and how many samples.
    fn take(&mut self) -> Option<(String, usize, u64)> {
        let Self { devices, samples } = std::mem::take(self);
        let count = devices.len();
        Some((devices.into_iter().next()?, count, samples))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_sample_is_counted_and_said_once_whatever_number_of_batches_they_came_in() {
        let mut left_out = LeftOut::default();
        for batch in 0..30_000_u32 {
            left_out.add(format!("meter-{}", batch % 2_000), 3);
        }
        assert_eq!(left_out.take(), Some(("meter-0".to_owned(), DEVICES, 90_000)));
        assert_eq!(left_out.take(), None);
    }
}
