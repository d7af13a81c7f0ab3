//! What became of every read of a stretch of time: when it was heard at the broker, or never.
//!
//! Always true: a read is known by its count, which register 0 carries; a value that another register
//! does not hold at that read counts as wrong, whoever filed it where.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use crate::plant::{self, Plant};

/// Values of one device at one read, as a message told them: address and value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) device: usize,
    pub(crate) values: Vec<(u16, u64)>,
}

/// What has been heard so far.
#[derive(Debug, Default)]
pub(super) struct Account {
    /// Device and count → when it was heard first.
    heard: HashMap<(usize, u64), Instant>,
    known: HashSet<usize>,
    points: u64,
    wrong: u64,
}

/// What a stretch came to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Stretch {
    /// From the request at the device to the message at a subscriber, sorted, ms.
    pub(super) latency_ms: Vec<f64>,
    /// Reads of it.
    pub(super) reads: usize,
    /// Reads never heard of.
    pub(super) lost: usize,
}

impl Account {
    /// Takes what a message told.
    pub(super) fn take(&mut self, at: Instant, row: &Row) {
        self.points += row.values.len() as u64;
        let Some((_, count)) = row.values.iter().find(|(address, _)| *address == 0) else { return };
        let wrong =
            |(address, value): &&(u16, u64)| u64::from(plant::value(row.device, *address, *count)) != *value;
        self.wrong += row.values.iter().filter(wrong).count() as u64;
        self.known.insert(row.device);
        self.heard.entry((row.device, *count)).or_insert(at);
    }

    /// Values heard.
    pub(super) fn points(&self) -> u64 {
        self.points
    }

    /// Values of them that were another's.
    pub(super) fn wrong(&self) -> u64 {
        self.wrong
    }

    /// Whether anything was heard of this device.
    pub(super) fn knows(&self, device: usize) -> bool {
        self.known.contains(&device)
    }

    /// What became of the reads between these two moments.
    pub(super) fn stretch(&self, plant: &Plant, from: Instant, to: Instant) -> Stretch {
        let mut stretch = Stretch { latency_ms: Vec::new(), reads: 0, lost: 0 };
        for device in 0..plant.len() {
            for (count, read) in (1..).zip(plant.reads(device)) {
                if !(from..to).contains(&read) {
                    continue;
                }
                stretch.reads += 1;
                match self.heard.get(&(device, count % plant::ROUND)) {
                    Some(at) => {
                        stretch.latency_ms.push(at.saturating_duration_since(read).as_secs_f64() * 1e3);
                    }
                    None => stretch.lost += 1,
                }
            }
        }
        stretch.latency_ms.sort_by(f64::total_cmp);
        stretch
    }
}

/// How far the time between two reads of a device was from the period, for each two between these
/// moments; sorted, ms.
pub(super) fn jitter_ms(plant: &Plant, period: Duration, from: Instant, to: Instant) -> Vec<f64> {
    let mut all = Vec::new();
    for device in 0..plant.len() {
        let reads: Vec<Instant> =
            plant.reads(device).into_iter().filter(|at| (from..to).contains(at)).collect();
        all.extend(reads.windows(2).map(|two| (two[1] - two[0]).abs_diff(period).as_secs_f64() * 1e3));
    }
    all.sort_by(f64::total_cmp);
    all
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpStream;

    use super::*;
    use crate::plant::Shape;

    #[test]
    fn a_read_is_heard_lost_or_filed_wrongly() {
        let plant = Plant::start(Shape::Apart(1)).unwrap();
        let from = Instant::now();
        let mut stream = TcpStream::connect(("127.0.0.1", plant.ports[0])).unwrap();
        for _ in 0..3 {
            stream.write_all(&[0, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 2]).unwrap();
            stream.read_exact(&mut [0; 13]).unwrap();
        }
        let to = Instant::now();
        let mut account = Account::default();
        let second = |count| u64::from(plant::value(0, 1, count));
        account.take(to, &Row { device: 0, values: vec![(0, 1), (1, second(1))] });
        account.take(to, &Row { device: 0, values: vec![(1, second(3)), (0, 3)] });
        assert_eq!((account.points(), account.wrong(), account.knows(0)), (4, 0, true));
        let stretch = account.stretch(&plant, from, to);
        assert_eq!((stretch.reads, stretch.lost, stretch.latency_ms.len()), (3, 1, 2));
        account.take(to, &Row { device: 0, values: vec![(0, 2), (1, second(3))] });
        assert_eq!((account.wrong(), account.stretch(&plant, from, to).lost), (1, 0));
        assert_eq!(jitter_ms(&plant, Duration::ZERO, from, to).len(), 2);
    }
}
