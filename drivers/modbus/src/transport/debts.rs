//! Answers that are still owed: a line without transactions must not take a late one for the next. Pure.
//!
//! An answer to a read says neither what was read nor when it was asked for. So when a request had no
//! answer, its answer may come at any time later, and look just like the one to the next request of the
//! same function. A device answers in order, though: once it has answered something newer that looks
//! different, nothing older can come any more. Where the next request would look like an old one, a
//! *settling read* is made first: a few cells, where the request is at home, of a length that nothing
//! owed has.
//!
//! Always true: no answer is filed under a request while its unit owes one of the same function; at most
//! [`MOST`] answers are owed by a unit, the oldest goes first.

use std::collections::BTreeMap;

use crate::point::address::Table;
use crate::wire::{REFUSAL, Request, length_of_answer};

/// Most answers that a unit can owe at a time: what was asked longer ago has been followed by so many
/// timeouts that it is lost.
const MOST: usize = 8;

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    function: u8,
    /// Bytes of its PDU; `None`: any number.
    length: Option<usize>,
}

/// What every unit owes.
#[derive(Debug, Default)]
pub(super) struct Debts {
    units: BTreeMap<u8, Vec<Shape>>,
}

impl Debts {
    /// A request of this PDU had no answer yet, whoever sent it.
    pub(super) fn owe(&mut self, unit: u8, request: &[u8]) {
        let Some(shape) = Shape::of_answer_to(request) else { return };
        let owed = self.units.entry(unit).or_default();
        owed.push(shape);
        if owed.len() > MOST {
            owed.remove(0);
        }
    }

    /// This came from a unit unasked: an answer that was owed, or nothing of ours.
    pub(super) fn pay(&mut self, unit: u8, answer: &[u8]) {
        let Some(owed) = self.units.get_mut(&unit) else { return };
        let paid = |shape: &Shape| match answer.first() {
            Some(function) if function & REFUSAL != 0 => *function == shape.function | REFUSAL,
            function => function == Some(&shape.function) && shape.fits(answer.len()),
        };
        // What is older may be another master's: it stays.
        if let Some(place) = owed.iter().position(paid) {
            owed.remove(place);
        }
        if owed.is_empty() {
            self.units.remove(&unit);
        }
    }

    /// A unit has answered what was asked last: all that is older will not come any more.
    pub(super) fn settle(&mut self, unit: u8) {
        self.units.remove(&unit);
    }

    /// Whether the answer to this request could not be told from one that is owed.
    pub(super) fn blur(&self, unit: u8, request: &[u8]) -> bool {
        let function = request.first();
        self.units.get(&unit).is_some_and(|owed| owed.iter().any(|shape| Some(&shape.function) == function))
    }

    /// A read whose answer looks like nothing owed, and not like the one to `request` either.
    pub(super) fn settling(&self, unit: u8, request: &[u8]) -> Request {
        let at = match request {
            [1..=6 | 15 | 16 | 22 | 23, high, low, ..] => u16::from_be_bytes([*high, *low]),
            _ => 0,
        };
        let table = match request.first() {
            Some(1 | 5 | 15) => Table::Coil,
            Some(2) => Table::Discrete,
            Some(4) => Table::Input,
            _ => Table::Holding,
        };
        let owed = self.units.get(&unit).map_or(&[][..], Vec::as_slice);
        let own = Shape::of_answer_to(request);
        let candidate = |many: u16| {
            // Bits come in bytes, and each has to have another number of them.
            let cells = if table.is_bits() { many * 8 - 7 } else { many };
            Request::Read { table, address: at.min(u16::MAX - cells + 1), cells }
        };
        let is_new = |read: &Request| {
            let shape = Shape::of_answer_to(&read.pdu());
            shape != own && shape.is_none_or(|shape| !owed.contains(&shape))
        };
        // Of more lengths than can be owed one is always new.
        (1..=MOST as u16 + 1).map(candidate).find(is_new).unwrap_or_else(|| candidate(MOST as u16 + 2))
    }
}

impl Shape {
    fn of_answer_to(request: &[u8]) -> Option<Self> {
        request.first().map(|function| Self { function: *function, length: length_of_answer(request) })
    }

    fn fits(self, length: usize) -> bool {
        self.length.is_none_or(|own| own == length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(address: u16, cells: u16) -> Vec<u8> {
        Request::Read { table: Table::Holding, address, cells }.pdu()
    }

    #[test]
    fn a_request_that_looks_like_an_owed_one_has_to_wait_until_it_is_settled() {
        let mut debts = Debts::default();
        assert!(!debts.blur(7, &read(1, 1)));
        debts.owe(7, &read(1, 1));
        assert!(debts.blur(7, &read(2, 1)) && debts.blur(7, &read(2, 9)), "a refusal has no length");
        assert!(!debts.blur(8, &read(2, 1)) && !debts.blur(7, &[4, 0, 2, 0, 1]));
        assert_eq!(debts.settling(7, &read(2, 1)).pdu(), read(2, 2));
        assert_eq!(debts.settling(7, &read(0xFFFF, 1)).pdu(), read(0xFFFE, 2));
        assert_eq!(debts.settling(7, &[5, 0, 9, 0xFF, 0]).pdu(), [1, 0, 9, 0, 1], "coils are read as coils");
        debts.settle(7);
        assert!(!debts.blur(7, &read(2, 1)));
    }

    #[test]
    fn a_late_answer_pays_for_itself_alone() {
        let mut debts = Debts::default();
        debts.owe(7, &read(1, 1));
        debts.owe(7, &read(1, 2));
        debts.owe(7, &[16, 0, 1, 0, 1, 2, 0, 9]);
        debts.pay(7, &[3, 6, 0, 1, 0, 2, 0, 3]);
        assert!(debts.blur(7, &read(1, 2)), "nobody waited for three registers");
        debts.pay(7, &[3, 4, 0, 1, 0, 2]);
        assert!(debts.blur(7, &read(1, 2)), "one register is owed as before");
        debts.pay(7, &[0x83, 2]);
        assert!(!debts.blur(7, &read(1, 1)) && debts.blur(7, &[16, 0, 5]));
        debts.pay(7, &[0x90, 4]);
        assert!(!debts.blur(7, &[16, 0, 5]));
    }

    proptest! {
        #[test]
        fn a_settling_read_looks_like_nothing_owed(
            cells in vec(1..12u16, 0..12), wanted in 1..12u16, table in 1..=4u8, address in any::<u16>()
        ) {
            let request = |cells: u16| {
                [&[table][..], &address.to_be_bytes(), &cells.to_be_bytes()].concat()
            };
            let mut debts = Debts::default();
            for cells in &cells {
                debts.owe(7, &request(*cells));
            }
            let settling = debts.settling(7, &request(wanted)).pdu();
            let length = length_of_answer(&settling);
            prop_assert_eq!(settling[0], table);
            prop_assert_ne!(length, length_of_answer(&request(wanted)));
            let owed = debts.units.get(&7).cloned().unwrap_or_default();
            prop_assert!(owed.len() <= MOST && owed.iter().all(|shape| shape.length != length));
        }
    }
}
