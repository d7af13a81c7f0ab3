//! What was taken from each driver process: its last batch, and what it said to have dropped.
//!
//! Always true: a process that is taken over by another gateway is counted on where the first one was
//! killed: nothing of it counts twice. What a batch suppressed is written down before its rows are; if
//! they then are not in the buffer, the batch comes again and the first count is taken back.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use prost::Message;
use sagoo_edge_buffer::Origin;

/// Driver processes remembered; the one that was silent longest is forgotten first.
const INSTANCES: usize = 16;
/// Processes of which it is remembered what they dropped of one device: while its line is handed over
/// the old one and the new one both say so, in turns.
const DROPPERS: usize = 2;

/// A driver process.
pub type Instance = [u8; 16];

/// What processes have dropped of a device: each one's place in [`Taken::kept`], and the total.
pub type Totals = Vec<(u32, u64)>;

/// See the module.
#[derive(Debug, Default)]
pub struct Taken {
    /// The one heard last is at the end.
    processes: VecDeque<Process>,
    /// Running totals of dropped samples per device, and the processes they are of, the one heard last
    /// at the end.
    dropped: HashMap<Arc<str>, Vec<(Instance, u64)>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Process {
    instance: Instance,
    /// Its last batch.
    seq: u64,
    /// That batch has rows, which are in the buffer or on their way there.
    rows: bool,
    /// Samples of that batch that were counted as suppressed.
    suppressed: Vec<(Arc<str>, u64)>,
}

/// Kept in the buffer's cursor. Devices are numbers in the list of accounts there.
#[derive(Clone, PartialEq, Message)]
pub struct KeptProcess {
    #[prost(bytes = "vec", tag = "1")]
    instance: Vec<u8>,
    #[prost(uint64, tag = "2")]
    seq: u64,
    #[prost(bool, tag = "3")]
    rows: bool,
    #[prost(uint32, repeated, tag = "4")]
    devices: Vec<u32>,
    #[prost(uint64, repeated, tag = "5")]
    suppressed: Vec<u64>,
}

impl Taken {
    /// The last batch taken from a process.
    pub fn last(&self, instance: &Instance) -> Option<u64> {
        self.processes.iter().find(|process| process.instance == *instance).map(|process| process.seq)
    }

    /// A batch is taken.
    pub fn take(&mut self, origin: Origin, rows: bool, suppressed: Vec<(Arc<str>, u64)>) {
        self.processes.retain(|process| process.instance != origin.instance);
        if self.processes.len() >= INSTANCES
            && let Some(gone) = self.processes.pop_front()
        {
            self.dropped.retain(|_, totals| {
                totals.retain(|(instance, _)| *instance != gone.instance);
                !totals.is_empty()
            });
        }
        self.processes.push_back(Process { instance: origin.instance, seq: origin.seq, rows, suppressed });
    }

    /// A batch was taken and its rows were dropped: they will never be in the buffer.
    pub fn refused(&mut self, origin: Origin) {
        let process = self.processes.iter_mut().find(|process| process.instance == origin.instance);
        if let Some(process) = process.filter(|process| process.seq == origin.seq) {
            process.rows = false;
        }
    }

    /// A process says how many samples of a device it has dropped in all; returns those that are new.
    pub fn dropped(&mut self, device: &Arc<str>, instance: Instance, total: u64) -> u64 {
        if self.last(&instance).is_none() {
            self.take(Origin { instance, seq: 0 }, false, Vec::new());
        }
        let totals = self.dropped.entry(device.clone()).or_default();
        let known = totals.iter().position(|(of, _)| *of == instance).map(|place| totals.remove(place));
        if totals.len() >= DROPPERS {
            totals.remove(0);
        }
        let before = known.map_or(0, |(_, before)| before);
        // a late word of a process says less than it said before
        totals.push((instance, total.max(before)));
        total.saturating_sub(before)
    }

    /// After a start: batches whose rows never reached the buffer were not taken. Returns what was
    /// counted for them.
    pub fn untake(&mut self, stored: impl Fn(&Instance) -> Option<u64>) -> Vec<(Arc<str>, u64)> {
        let mut counted = Vec::new();
        for process in self.processes.iter_mut().filter(|process| process.rows) {
            if stored(&process.instance) < Some(process.seq) {
                process.seq = process.seq.saturating_sub(1);
                process.rows = false;
                counted.append(&mut process.suppressed);
            }
        }
        counted
    }

    /// For the cursor; `number` gives a device's place among the accounts.
    pub fn kept(&self, number: impl Fn(&str) -> Option<u32>) -> Vec<KeptProcess> {
        let kept = self.processes.iter().map(|process| {
            let counted = process.suppressed.iter().filter_map(|(name, count)| Some((number(name)?, *count)));
            let (devices, suppressed) = counted.unzip();
            let instance = process.instance.to_vec();
            KeptProcess { instance, seq: process.seq, rows: process.rows, devices, suppressed }
        });
        kept.collect()
    }

    /// What a device's processes have dropped in all.
    pub fn kept_dropped(&self, device: &str) -> Totals {
        let totals = self.dropped.get(device).into_iter().flatten();
        let place = |of: &Instance| self.processes.iter().position(|process| process.instance == *of);
        totals.filter_map(|(of, total)| Some((place(of)? as u32, *total))).collect()
    }

    /// From a cursor: the processes, the accounts' devices in their order, and of each what
    /// [`Taken::kept_dropped`] said.
    pub fn restore(kept: Vec<KeptProcess>, accounts: &[(Arc<str>, Totals)]) -> Self {
        let device = |number: &u32| accounts.get(*number as usize).map(|(name, _)| name.clone());
        let processes = kept.into_iter().filter_map(|kept| {
            let suppressed = kept.devices.iter().zip(kept.suppressed);
            Some(Process {
                instance: kept.instance.try_into().ok()?,
                seq: kept.seq,
                rows: kept.rows,
                suppressed: suppressed.filter_map(|(number, count)| Some((device(number)?, count))).collect(),
            })
        });
        let processes: VecDeque<Process> = processes.collect();
        let dropped = accounts.iter().map(|(name, totals)| {
            let of = |(place, total): &(u32, u64)| Some((processes.get(*place as usize)?.instance, *total));
            (name.clone(), totals.iter().filter_map(of).take(DROPPERS).collect::<Vec<_>>())
        });
        let dropped = dropped.filter(|(_, totals)| !totals.is_empty()).collect();
        Self { processes, dropped }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Instance = [1; 16];
    const B: Instance = [2; 16];

    fn again(taken: &Taken) -> Taken {
        let names: Vec<Arc<str>> = vec!["x".into(), "y".into()];
        let number = |name: &str| names.iter().position(|known| **known == *name).map(|n| n as u32);
        let kept = taken.kept(number);
        let accounts: Vec<_> = names.iter().map(|name| (name.clone(), taken.kept_dropped(name))).collect();
        Taken::restore(kept, &accounts)
    }

    #[test]
    fn a_batch_whose_rows_are_missing_was_not_taken_and_what_it_counted_is_given_back() {
        let mut taken = Taken::default();
        taken.take(Origin { instance: A, seq: 7 }, true, vec![("y".into(), 3)]);
        taken.take(Origin { instance: B, seq: 9 }, false, vec![("x".into(), 5)]);
        let mut kept = again(&taken);
        assert_eq!((kept.last(&A), kept.last(&B)), (Some(7), Some(9)));
        assert_eq!(kept.untake(|_| Some(6)), [("y".into(), 3)]);
        assert_eq!((kept.last(&A), kept.last(&B)), (Some(6), Some(9)), "one without rows needs none");
        assert_eq!(again(&taken).untake(|_| Some(7)), [], "its rows are there");
    }

    #[test]
    fn what_a_process_dropped_counts_once_whoever_listens() {
        let mut taken = Taken::default();
        assert_eq!(taken.dropped(&"x".into(), A, 10), 10);
        assert_eq!(taken.dropped(&"x".into(), A, 10), 0);
        let mut kept = again(&taken);
        assert_eq!(kept.dropped(&"x".into(), A, 12), 2, "the gateway was killed, the process lives");
        assert_eq!(kept.dropped(&"x".into(), B, 4), 4, "another process counts from nothing");
    }

    #[test]
    fn two_processes_that_say_in_turns_what_they_dropped_are_not_taken_for_each_other() {
        let mut taken = Taken::default();
        let device: Arc<str> = "x".into();
        assert_eq!((taken.dropped(&device, A, 10), taken.dropped(&device, B, 4)), (10, 4));
        for _ in 0..3 {
            assert_eq!((taken.dropped(&device, A, 10), taken.dropped(&device, B, 4)), (0, 0));
            taken = again(&taken);
        }
        assert_eq!(taken.dropped(&device, A, 12), 2, "it has its line back");
        assert_eq!(taken.dropped(&device, [3; 16], 1), 1);
        assert_eq!(taken.dropped[&device].len(), DROPPERS, "a third one is not there beside the two");
    }

    #[test]
    fn processes_that_are_gone_are_forgotten_in_their_order() {
        let mut taken = Taken::default();
        taken.dropped(&"x".into(), [0; 16], 5);
        for number in 1..=INSTANCES as u8 {
            taken.take(Origin { instance: [number; 16], seq: 1 }, false, Vec::new());
        }
        assert_eq!((taken.last(&[0; 16]), taken.last(&[1; 16])), (None, Some(1)));
        assert_eq!(taken.kept_dropped("x"), []);
    }
}
