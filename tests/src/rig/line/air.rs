//! What is on the wire and when: the rules of a shared line, without a clock or a file of its own.
//!
//! Always true: pure; a byte occupies the line for one character and arrives when that is over; two
//! bytes on the line at once are both garbage; who hears bytes at another speed hears garbage.
//!
//! ```text
//! request  ─[b][b][b][b]─┐                    arrives in steps of a receive FIFO, its last byte
//!                        └ turnaround ─┐      exactly when its character ends
//! answer                  delay ───────┴[b][b][b]─
//! ```

use std::collections::VecDeque;
use std::ops::Range;
use std::time::{Duration, Instant};

/// Bytes a UART collects before it wakes anybody, while more are coming.
const FIFO: usize = 8;

/// Who put bytes on the line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// The one that asks.
    Master,
    /// A slave, by its place on the line.
    Slave(usize),
    /// Nobody who is connected: another master.
    Stranger,
    /// Disturbance where the master is; nobody else hears it.
    Noise,
}

/// How the line misbehaves; [`Manners::default`] is a line that does not.
#[derive(Debug, Clone, Default)]
pub struct Manners {
    /// Least silence between the end of a request and the answer, added by the line.
    pub turnaround: Duration,
    /// A slave's frames begin this much later, by chance within the range.
    pub delay: Range<Duration>,
    /// The master hears its own bytes, as on a two-wire adapter.
    pub echo: bool,
    /// Bytes directly before each frame of a slave, where the master is.
    pub noise_before: Vec<u8>,
    /// Bytes directly after each frame of a slave, where the master is, as far as it was written at once.
    pub noise_after: Vec<u8>,
    /// One byte of so many of the slaves' is garbled, by chance; 0 for none.
    pub garble_one_in: u32,
}

/// Bytes that passed without a pause.
#[derive(Debug, Clone)]
pub struct Passed {
    /// Who sent them.
    pub from: From,
    /// When the first one began.
    pub begins: Instant,
    /// When the last one ended.
    pub ends: Instant,
    /// As they were heard at the right speed.
    pub bytes: Vec<u8>,
    /// Some of them met others on the line.
    pub collided: bool,
}

/// Bytes that arrive now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Arrival {
    pub(super) from: From,
    pub(super) byte: u8,
    /// When its last bit was over.
    pub(super) due: Instant,
    /// The last one of its burst: nothing follows directly.
    pub(super) last: bool,
}

#[derive(Debug)]
struct Flight {
    from: From,
    byte: u8,
    begins: Instant,
    ends: Instant,
    collided: bool,
}

/// The line itself.
#[derive(Debug)]
pub(super) struct Air {
    character: Duration,
    pub(super) manners: Manners,
    rng: fastrand::Rng,
    /// By their ends.
    flights: VecDeque<Flight>,
    /// When the newest byte of each sender ends.
    busy: Vec<(From, Instant)>,
    /// When the newest byte of the master or a stranger ended: what a slave turns around from.
    asked: Option<Instant>,
    /// Slaves that have spoken since something was asked.
    answering: Vec<From>,
    pub(super) record: Vec<Passed>,
}

impl Air {
    pub(super) fn new(character: Duration) -> Self {
        Self {
            character,
            manners: Manners::default(),
            // The same chances in every run: a case that fails does so again.
            rng: fastrand::Rng::with_seed(4),
            flights: VecDeque::new(),
            busy: Vec::new(),
            asked: None,
            answering: Vec::new(),
            record: Vec::new(),
        }
    }

    /// Bytes that a sender gave to its UART at `now`.
    pub(super) fn send(&mut self, from: From, bytes: &[u8], now: Instant) {
        let mut at = now.max(self.free_from(from).unwrap_or(now));
        let slave = matches!(from, From::Slave(_));
        if slave && !self.answering.contains(&from) {
            self.answering.push(from);
            let turned = self.asked.map_or(now, |asked| asked + self.manners.turnaround);
            at = at.max(turned) + self.delay();
            at = self.put(From::Noise, &self.manners.noise_before.clone(), at);
        }
        if !slave {
            self.answering.clear();
        }
        at = self.put(from, bytes, at);
        if slave {
            self.put(From::Noise, &self.manners.noise_after.clone(), at);
        }
    }

    /// When a sender's last byte will be out, or the line's, for a stranger who waits for silence.
    fn free_from(&self, from: From) -> Option<Instant> {
        self.busy.iter().find(|(sender, _)| *sender == from).map(|(_, until)| *until)
    }

    /// When everything that is known to come will have passed.
    pub(super) fn quiet_from(&self) -> Option<Instant> {
        self.busy.iter().map(|(_, until)| *until).max()
    }

    fn delay(&mut self) -> Duration {
        let Range { start, end } = self.manners.delay;
        let spread = end.saturating_sub(start).as_micros();
        let by_chance = if spread == 0 { 0 } else { self.rng.u64(0..u64::try_from(spread).unwrap_or(1)) };
        start + Duration::from_micros(by_chance)
    }

    fn put(&mut self, from: From, bytes: &[u8], mut at: Instant) -> Instant {
        for &byte in bytes {
            let (begins, ends) = (at, at + self.character);
            let mut flight = Flight { from, byte, begins, ends, collided: false };
            for other in self.flights.iter_mut().filter(|other| other.from != from) {
                if other.begins < ends && begins < other.ends {
                    other.collided = true;
                    flight.collided = true;
                }
            }
            let garbles = self.manners.garble_one_in > 0 && matches!(from, From::Slave(_));
            if garbles && self.rng.u32(0..self.manners.garble_one_in) == 0 {
                flight.byte ^= 1 << self.rng.u8(0..8);
            }
            let place = self.flights.partition_point(|other| other.ends <= ends);
            self.flights.insert(place, flight);
            at = ends;
        }
        match self.busy.iter_mut().find(|(sender, _)| *sender == from) {
            Some((_, until)) => *until = at,
            None => self.busy.push((from, at)),
        }
        at
    }

    /// When the next bytes arrive.
    pub(super) fn next(&self) -> Option<Instant> {
        let wakes = |at: usize| at + 1 == FIFO || self.ends_burst(at);
        (0..self.flights.len()).find(|at| wakes(*at)).map(|at| self.flights[at].ends)
    }

    /// Nothing follows this byte directly.
    fn ends_burst(&self, at: usize) -> bool {
        let flight = &self.flights[at];
        !self.flights.range(at + 1..).any(|next| next.from == flight.from && next.begins == flight.ends)
    }

    /// What has arrived by `now`.
    pub(super) fn arrived(&mut self, now: Instant) -> Vec<Arrival> {
        let mut arrivals = Vec::new();
        while let Some(wake) = self.next().filter(|due| *due <= now) {
            while self.flights.front().is_some_and(|flight| flight.ends <= wake) {
                arrivals.extend(self.land());
            }
        }
        arrivals
    }

    fn land(&mut self) -> Option<Arrival> {
        let last = !self.flights.is_empty() && self.ends_burst(0);
        let flight = self.flights.pop_front()?;
        let byte = if flight.collided { garbled(flight.byte) } else { flight.byte };
        if matches!(flight.from, From::Master | From::Stranger) {
            self.asked = Some(flight.ends);
        }
        self.note(&flight, byte);
        Some(Arrival { from: flight.from, byte, due: flight.ends, last })
    }

    fn note(&mut self, flight: &Flight, byte: u8) {
        let continued = self.record.iter_mut().rev().find(|passed| passed.from == flight.from);
        match continued {
            Some(passed) if passed.ends == flight.begins => {
                passed.ends = flight.ends;
                passed.bytes.push(byte);
                passed.collided |= flight.collided;
            }
            _ => self.record.push(Passed {
                from: flight.from,
                begins: flight.begins,
                ends: flight.ends,
                bytes: vec![byte],
                collided: flight.collided,
            }),
        }
    }
}

/// What is left of a byte that was heard at another speed or together with another one.
pub(super) fn garbled(byte: u8) -> u8 {
    byte.rotate_left(3) ^ 0x5A
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHARACTER: Duration = Duration::from_millis(1);

    fn bytes(arrivals: &[Arrival]) -> Vec<u8> {
        arrivals.iter().map(|arrival| arrival.byte).collect()
    }

    #[test]
    fn bytes_arrive_in_steps_of_the_fifo_and_the_last_one_at_its_end() {
        let (mut air, start) = (Air::new(CHARACTER), Instant::now());
        air.send(From::Master, &[7; 10], start);
        assert_eq!(air.next(), Some(start + CHARACTER * 8));
        assert!(air.arrived(start + CHARACTER * 7).is_empty());
        assert_eq!(air.arrived(start + CHARACTER * 8).len(), 8);
        assert_eq!(air.next(), Some(start + CHARACTER * 10));
        let arrivals = air.arrived(start + CHARACTER * 10);
        assert_eq!(arrivals.iter().map(|arrival| arrival.last).collect::<Vec<_>>(), [false, true]);
        assert_eq!((air.next(), air.record.len()), (None, 1));
    }

    #[test]
    fn a_slave_turns_around_and_is_delayed_once_per_request() {
        let (mut air, start) = (Air::new(CHARACTER), Instant::now());
        air.manners.turnaround = CHARACTER * 5;
        air.manners.delay = CHARACTER * 2..CHARACTER * 2;
        air.send(From::Master, &[1, 2], start);
        air.arrived(start + CHARACTER * 2);
        air.send(From::Slave(0), &[3], start + CHARACTER * 3);
        assert_eq!(air.next(), Some(start + CHARACTER * 10), "2 of the request, 5 + 2 of silence, 1");
        air.send(From::Slave(0), &[4], start + CHARACTER * 4);
        let arrivals = air.arrived(start + CHARACTER * 11);
        assert_eq!(bytes(&arrivals), [3, 4], "written in two pieces, and still one frame");
    }

    #[test]
    fn two_that_speak_at_once_are_both_garbage() {
        let (mut air, start) = (Air::new(CHARACTER), Instant::now());
        air.send(From::Slave(0), &[1, 2], start);
        air.send(From::Master, &[9], start + CHARACTER * 3 / 2);
        air.arrived(start + CHARACTER * 5);
        let heard: Vec<_> = air.record.iter().map(|passed| (passed.bytes.clone(), passed.collided)).collect();
        assert_eq!(heard, [(vec![1, garbled(2)], true), (vec![garbled(9)], true)]);
    }

    #[test]
    fn noise_sits_directly_before_and_after_an_answer() {
        let (mut air, start) = (Air::new(CHARACTER), Instant::now());
        air.manners.noise_before = vec![0xFF];
        air.manners.noise_after = vec![0x00];
        air.send(From::Master, &[1], start);
        air.arrived(start + CHARACTER);
        air.send(From::Slave(0), &[3], start + CHARACTER);
        assert_eq!(bytes(&air.arrived(start + CHARACTER * 4)), [0xFF, 3, 0]);
    }
}
