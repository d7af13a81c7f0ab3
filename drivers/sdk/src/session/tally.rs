//! Counters and device states, as heartbeats tell them.
//!
//! Always true: counters only rise while the process lives, and the totals count devices that left.

use std::time::Duration;

use sagoo_edge_proto::driver::{DeviceState, Heartbeat, LineState};

use crate::connection::NOT_READ_YET;
use crate::outbox::Dropped;

#[derive(Debug, Default)]
pub(crate) struct Tally {
    polls: u64,
    samples: u64,
    dropped: u64,
    /// By device number, which are dense.
    devices: Vec<Counts>,
    /// Numbers in the present configuration.
    present: Vec<u32>,
}

#[derive(Debug, Clone, Default)]
struct Counts {
    read: u64,
    dropped: u64,
    online: bool,
    reason: String,
}

impl Tally {
    /// The devices of a new configuration. One that is new says that nothing is known of it yet.
    pub(crate) fn configure(&mut self, present: Vec<u32>) {
        for number in &present {
            if !self.present.contains(number) {
                let counts = self.device(*number);
                counts.online = false;
                counts.reason = NOT_READ_YET.to_owned();
            }
        }
        self.present = present;
    }

    pub(crate) fn read(&mut self, device: u32, polls: u64, samples: u64) {
        self.polls += polls;
        self.samples += samples;
        self.device(device).read += samples;
    }

    pub(crate) fn state(&mut self, device: u32, online: bool, reason: String) {
        let counts = self.device(device);
        counts.online = online;
        counts.reason = reason;
    }

    pub(crate) fn dropped(&mut self, dropped: &[Dropped]) {
        for one in dropped {
            self.dropped += one.samples;
            self.device(one.device).dropped += one.samples;
        }
    }

    pub(crate) fn heartbeat(&self, unacked: usize, overdue: Duration, lines: Vec<LineState>) -> Heartbeat {
        let devices = self
            .present
            .iter()
            .filter_map(|number| Some((*number, self.devices.get(*number as usize)?)))
            .map(|(device, counts)| DeviceState {
                device,
                online: counts.online,
                reason: counts.reason.clone(),
                read: counts.read,
                dropped: counts.dropped,
            })
            .collect();
        Heartbeat {
            lines,
            overdue_ms: u64::try_from(overdue.as_millis()).unwrap_or(u64::MAX),
            polls: self.polls,
            samples: self.samples,
            dropped: self.dropped,
            unacked: unacked as u64,
            devices,
        }
    }

    fn device(&mut self, number: u32) -> &mut Counts {
        let place = number as usize;
        if self.devices.len() <= place {
            self.devices.resize(place + 1, Counts::default());
        }
        &mut self.devices[place]
    }
}
