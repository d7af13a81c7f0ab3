//! A capture as devices: each recorded request is answered as it was. Pure.
//!
//! Always true: to one request what was recorded for it is said in order, and then around again, a
//! silence included; a request that was never recorded is refused or not answered, as it was chosen.

use std::collections::BTreeMap;

use super::capture::{Capture, Exchange};
use super::framing::{Incoming, frame};
use super::request;
use super::timing::{Part, Timing};
use crate::connection::Framing;
use crate::wire::Exception;

/// What is said to a request that was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unrecorded {
    /// An illegal address.
    Refused,
    /// Nothing.
    Silent,
}

/// The devices of a capture.
#[derive(Debug)]
pub(crate) struct Replay {
    recorded_in: Framing,
    unrecorded: Unrecorded,
    turns: BTreeMap<(u8, Vec<u8>), Turns>,
}

#[derive(Debug, Default)]
struct Turns {
    said: Vec<Exchange>,
    next: usize,
}

impl Replay {
    pub(crate) fn new(capture: Capture, unrecorded: Unrecorded) -> Self {
        let mut turns: BTreeMap<_, Turns> = BTreeMap::new();
        for exchange in capture.exchanges {
            turns.entry((exchange.unit, exchange.pdu.clone())).or_default().said.push(exchange);
        }
        Self { recorded_in: capture.framing, unrecorded, turns }
    }

    /// Units that were asked.
    pub(crate) fn units(&self) -> Vec<u8> {
        let mut units: Vec<u8> = self.turns.keys().map(|(unit, _)| *unit).collect();
        units.dedup();
        units
    }

    /// What is said and when. A line rate takes the place of the recorded times.
    pub(crate) fn hear(&mut self, request: &Incoming, framing: Framing, timing: &Timing) -> Vec<Part> {
        let Some(turns) = self.turns.get_mut(&(request.unit, request.pdu.clone())) else {
            return match self.unrecorded {
                Unrecorded::Silent => Vec::new(),
                Unrecorded::Refused => {
                    let refused = request::answer(&request.pdu, Err(Exception::ILLEGAL_DATA_ADDRESS));
                    timing.parts(framing, request.wire_bytes, frame(framing, request, &refused))
                }
            };
        };
        let exchange = &turns.said[turns.next];
        turns.next = (turns.next + 1) % turns.said.len();
        let bytes = match &exchange.answer {
            Some(pdu) => frame(framing, request, pdu),
            // Noise is noise only where it was heard.
            None if framing == self.recorded_in => {
                exchange.parts.iter().flat_map(|(_, bytes)| bytes.clone()).collect()
            }
            None => Vec::new(),
        };
        if bytes.is_empty() {
            return Vec::new();
        }
        if timing.rate.is_some() {
            return timing.parts(framing, request.wire_bytes, bytes);
        }
        as_recorded(exchange, bytes)
    }
}

/// In the recorded pieces where they fit, otherwise at once when the last of them came.
fn as_recorded(exchange: &Exchange, bytes: Vec<u8>) -> Vec<Part> {
    let recorded: usize = exchange.parts.iter().map(|(_, part)| part.len()).sum();
    if recorded != bytes.len() {
        return exchange.parts.last().map(|(at, _)| (*at, bytes)).into_iter().collect();
    }
    let mut rest = bytes.as_slice();
    let piece = |(at, part): &Part| {
        let (piece, left) = rest.split_at(part.len());
        rest = left;
        (*at, piece.to_vec())
    };
    exchange.parts.iter().map(piece).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const CAPTURE: &str = "# sagoo-edge capture 1 modbus serial rtu 9600-8E1\n\
        0.000000 > 01 03 00 00 00 01 84 0A\n0.020000 < 01 03 02\n0.025000 < 00 07 F9 86\n\
        1.000000 > 01 03 00 00 00 01 84 0A\n\
        2.000000 > 01 03 00 00 00 01 84 0A\n2.010000 < FF 00 13\n";

    fn ask(unit: u8, address: u8) -> Incoming {
        Incoming { transaction: 9, unit, pdu: vec![3, 0, address, 0, 1], wire_bytes: 8 }
    }

    fn replay(unrecorded: Unrecorded) -> Replay {
        Replay::new(Capture::parse("c", CAPTURE).unwrap(), unrecorded)
    }

    #[test]
    fn what_was_recorded_is_said_in_order_and_around_again() {
        let mut replay = replay(Unrecorded::Refused);
        let timing = Timing::default();
        let ms = Duration::from_millis;
        let whole = vec![(ms(20), vec![1, 3, 2]), (ms(25), vec![0, 7, 0xF9, 0x86])];
        let noise = vec![(ms(10), vec![0xFF, 0, 0x13])];
        for said in [whole.clone(), vec![], noise, whole, vec![]] {
            assert_eq!(replay.hear(&ask(1, 0), Framing::Rtu, &timing), said);
        }
        assert_eq!(replay.units(), [1]);
    }

    #[test]
    fn another_framing_says_the_same_at_the_same_time() {
        let mut replay = replay(Unrecorded::Refused);
        let timing = Timing::default();
        let said = vec![(Duration::from_millis(25), vec![0, 9, 0, 0, 0, 5, 1, 3, 2, 0, 7])];
        assert_eq!(replay.hear(&ask(1, 0), Framing::Tcp, &timing), said);
        for _ in 0..2 {
            assert_eq!(replay.hear(&ask(1, 0), Framing::Tcp, &timing), []);
        }
    }

    #[test]
    fn what_was_never_recorded_is_refused_or_not_answered() {
        let timing = Timing::default();
        assert_eq!(replay(Unrecorded::Silent).hear(&ask(2, 0), Framing::Tcp, &timing), []);
        let refused = vec![(Duration::ZERO, vec![0, 9, 0, 0, 0, 3, 1, 0x83, 2])];
        assert_eq!(replay(Unrecorded::Refused).hear(&ask(1, 1), Framing::Tcp, &timing), refused);
    }
}
