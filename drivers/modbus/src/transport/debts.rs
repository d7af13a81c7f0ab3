//! Answers that are still owed: a line without transactions must not take a late one for the next. Pure.
//!
//! An answer to a read says neither what was read nor when it was asked for. So when a request had no
//! answer, its answer may come at any time later, and look just like the one to the next request of the
//! same function. A device answers in order, though: once it has answered something newer that looks
//! different, nothing older can come any more. Where the next request would look like an old one, a
//! *settling read* is made first: one that the unit has answered before, else fewer of the cells that are
//! wanted, else what the device calls itself; of a length that nothing owed has.
//!
//! A device that answers none of those is not asked for ever: nothing is expected later than
//! [`LONGEST_LATENESS`] (on a serial port [`LONGEST_LATENESS_OF_A_PORT`]) or [`TIMEOUTS_LATE`] timeouts after its
//! request, whichever is longer. After
//! [`MOST_SILENT`] settling reads without an answer only its name is asked for, which prolongs nothing. That
//! may be repeated: whichever of its answers comes, what was asked before the first one is settled.
//! Where not even a name could be told from one that is owed, the unit is left alone until nothing is
//! expected any more; its polls are postponed meanwhile, which is no silence.
//!
//! Always true: no answer is filed under a request while its unit owes one of the same function; at most
//! [`MOST`] answers are owed by a unit, the oldest goes first; a settling read touches only cells that
//! were asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::point::address::Table;
use crate::wire::{REFUSAL, Request, Scope, length_of_answer};

/// Most answers that a unit can owe at a time: what was asked longer ago has been followed by so many
/// timeouts that it is lost.
const MOST: usize = 8;
/// How long after its request an answer may still come: far longer than a gateway or a modem keeps one.
pub(super) const LONGEST_LATENESS: Duration = Duration::from_secs(10);
/// The same where nothing that keeps answers is between us and the device.
pub(super) const LONGEST_LATENESS_OF_A_PORT: Duration = Duration::from_secs(1);
/// Where the connection waits long, its late answers are later, too.
const TIMEOUTS_LATE: u32 = 10;
/// Function of an identification.
const IDENTIFY: u8 = 43;
/// Settling reads of cells in a row that a unit may leave unanswered.
const MOST_SILENT: u32 = 2;
/// Reads that are remembered because a unit has answered them, each of another length.
const MOST_ANSWERED: usize = 4;

/// What an answer looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Shape {
    function: u8,
    /// Bytes of its PDU; `None`: any number.
    length: Option<usize>,
}

/// An answer that may still come.
#[derive(Debug, Clone, Copy)]
struct Owed {
    shape: Shape,
    /// After this it does not come any more.
    until: Instant,
}

/// What is known of a unit.
#[derive(Debug, Default)]
struct Unit {
    owed: Vec<Owed>,
    /// Settling reads in a row without an answer.
    silent: u32,
    /// Reads that it has answered, the newest last.
    answered: Vec<Request>,
}

/// What every unit owes.
#[derive(Debug)]
pub(super) struct Debts {
    units: BTreeMap<u8, Unit>,
    /// How long after its request an answer may come.
    pub(super) lateness: Duration,
}

impl Debts {
    /// Nothing is owed; a request is waited for this long, and nothing is kept for longer than `kept`.
    pub(super) fn new(timeout: Duration, kept: Duration) -> Self {
        Self { units: BTreeMap::new(), lateness: kept.max(timeout * TIMEOUTS_LATE) }
    }

    /// A request of this PDU had no answer yet, whoever sent it.
    pub(super) fn owe(&mut self, unit: u8, request: &[u8]) {
        let Some(shape) = Shape::of_answer_to(request) else { return };
        let until = Instant::now() + self.lateness;
        let owed = &mut self.units.entry(unit).or_default().owed;
        if shape.function == IDENTIFY
            && let Some(first) = owed.iter_mut().find(|owed| owed.shape == shape)
        {
            first.until = until;
            return;
        }
        owed.push(Owed { shape, until });
        if owed.len() > MOST {
            owed.remove(0);
        }
    }

    /// This came from a unit unasked: an answer that was owed, or nothing of ours.
    pub(super) fn pay(&mut self, unit: u8, answer: &[u8]) {
        let Some(unit) = self.units.get_mut(&unit) else { return };
        let paid = |Owed { shape, .. }: &Owed| match answer.first() {
            // It stands for several: another may still come.
            _ if shape.function == IDENTIFY => false,
            Some(function) if function & REFUSAL != 0 => *function == shape.function | REFUSAL,
            function => function == Some(&shape.function) && shape.fits(answer.len()),
        };
        // What is older may be another master's: it stays.
        if let Some(place) = unit.owed.iter().position(paid) {
            unit.owed.remove(place);
            unit.silent = 0;
        }
    }

    /// A unit has answered what was asked last: all that is older will not come any more.
    pub(super) fn settle(&mut self, unit: u8, function: u8) {
        if let Some(unit) = self.units.get_mut(&unit) {
            // One name may have come for another: that may still come.
            unit.owed.retain(|owed| function == IDENTIFY && owed.shape.function == IDENTIFY);
            unit.silent = 0;
        }
    }

    /// A unit has this, and can be asked for it again.
    pub(super) fn answered(&mut self, unit: u8, read: &Request) {
        if !matches!(read, Request::Read { .. }) {
            return;
        }
        let answered = &mut self.units.entry(unit).or_default().answered;
        if answered.last() == Some(read) {
            return;
        }
        let shape = Shape::of_answer_to(&read.pdu());
        answered.retain(|known| Shape::of_answer_to(&known.pdu()) != shape);
        answered.push(read.clone());
        if answered.len() > MOST_ANSWERED {
            answered.remove(0);
        }
    }

    /// A settling read had no answer.
    pub(super) fn stayed_silent(&mut self, unit: u8) {
        self.units.entry(unit).or_default().silent += 1;
    }

    /// Whether the answer to this request could not be told from one that is owed.
    pub(super) fn blur(&mut self, unit: u8, request: &[u8]) -> bool {
        let Some(unit) = self.units.get_mut(&unit) else { return false };
        let now = Instant::now();
        unit.owed.retain(|owed| owed.until > now);
        if unit.owed.is_empty() {
            unit.silent = 0;
        }
        let function = request.first();
        unit.owed.iter().any(|owed| Some(&owed.shape.function) == function)
    }

    /// A read whose answer looks like nothing owed, and not like the one to `request` either; `None`
    /// when there is none.
    pub(super) fn settling(&self, unit: u8, request: &[u8]) -> Option<Request> {
        let none = Unit::default();
        let unit = self.units.get(&unit).unwrap_or(&none);
        let own = Shape::of_answer_to(request);
        let is_new = |read: &Request| {
            let shape = Shape::of_answer_to(&read.pdu());
            shape != own && unit.owed.iter().all(|owed| Some(owed.shape) != shape)
        };
        let answered = unit.answered.iter().rev().cloned();
        let name = Request::Identify { scope: Scope::One, object: 0 };
        let cells = answered.chain(within(request)).find(is_new).filter(|_| unit.silent < MOST_SILENT);
        let mut since = unit.owed.iter().skip_while(|owed| owed.shape.function != IDENTIFY);
        let names = request.first() != Some(&IDENTIFY) && since.all(|owed| owed.shape.function == IDENTIFY);
        cells.or(names.then_some(name))
    }
}

/// Reads of the first cells that a request is about, the shortest first.
fn within(request: &[u8]) -> impl Iterator<Item = Request> {
    let (table, address, most) = match request {
        [function @ (1..=4 | 15 | 16 | 23), high, low, more, less, ..] => {
            let table = match function {
                1 | 15 => Table::Coil,
                2 => Table::Discrete,
                4 => Table::Input,
                _ => Table::Holding,
            };
            (table, [*high, *low], u16::from_be_bytes([*more, *less]))
        }
        [5, high, low, ..] => (Table::Coil, [*high, *low], 1),
        [6 | 22, high, low, ..] => (Table::Holding, [*high, *low], 1),
        _ => (Table::Holding, [0, 0], 0),
    };
    // Bits come in bytes, and each has to have another number of them.
    let step = if table.is_bits() { 8 } else { 1 };
    // Of more lengths than can be owed one is always new.
    (1..=most).step_by(step).take(MOST + 2).map(move |cells| Request::Read {
        table,
        address: u16::from_be_bytes(address),
        cells,
    })
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
        request(address, cells).pdu()
    }

    fn request(address: u16, cells: u16) -> Request {
        Request::Read { table: Table::Holding, address, cells }
    }

    fn debts() -> Debts {
        Debts::new(Duration::from_millis(1), LONGEST_LATENESS)
    }

    fn settling(debts: &Debts, request: &[u8]) -> Vec<u8> {
        debts.settling(7, request).unwrap().pdu()
    }

    #[test]
    fn a_request_that_looks_like_an_owed_one_has_to_wait_until_it_is_settled() {
        let mut debts = debts();
        assert!(!debts.blur(7, &read(1, 1)));
        debts.owe(7, &read(1, 1));
        assert!(debts.blur(7, &read(2, 1)) && debts.blur(7, &read(2, 9)), "a refusal has no length");
        assert!(!debts.blur(8, &read(2, 1)) && !debts.blur(7, &[4, 0, 2, 0, 1]));
        assert_eq!(settling(&debts, &read(2, 9)), read(2, 2));
        assert_eq!(settling(&debts, &[5, 0, 9, 0xFF, 0]), [1, 0, 9, 0, 1], "coils are read as coils");
        debts.settle(7, 3);
        assert!(!debts.blur(7, &read(2, 1)));
    }

    #[test]
    fn what_was_answered_before_settles_first_and_no_foreign_cell_is_touched() {
        let mut debts = debts();
        debts.owe(7, &read(1, 1));
        assert_eq!(settling(&debts, &read(2, 1)), [43, 14, 4, 0], "one cell has no part");
        for cells in 1..9 {
            debts.answered(7, &request(40, cells));
            debts.answered(7, &request(50, cells));
        }
        assert_eq!(debts.units[&7].answered, [5, 6, 7, 8].map(|cells| request(50, cells)));
        assert_eq!(settling(&debts, &read(2, 1)), read(50, 8));
        debts.owe(7, &read(3, 8));
        assert_eq!(settling(&debts, &read(2, 7)), read(50, 6));
    }

    #[test]
    fn a_unit_that_answers_no_settling_read_is_asked_for_its_name_until_nothing_is_expected() {
        let mut debts = Debts { lateness: Duration::from_millis(30), ..debts() };
        debts.owe(7, &read(1, 9));
        for _ in 0..MOST_SILENT {
            assert_eq!(settling(&debts, &read(1, 9))[0], 3);
            debts.stayed_silent(7);
        }
        for _ in 0..MOST * 2 {
            assert_eq!(settling(&debts, &read(1, 9))[0], IDENTIFY);
            debts.owe(7, &[IDENTIFY, 14, 4, 0]);
        }
        assert!(debts.blur(7, &read(1, 9)), "names push nothing out");
        while debts.blur(7, &read(1, 9)) {
            std::thread::yield_now();
        }
        debts.owe(7, &[IDENTIFY, 14, 4, 0]);
        debts.pay(7, &[IDENTIFY | REFUSAL, 1]);
        // Something was asked behind the name: its late answer would settle too much.
        debts.owe(7, &read(1, 1));
        assert_eq!(debts.settling(7, &read(1, 1)), None);
        debts.settle(7, IDENTIFY);
        assert!(!debts.blur(7, &read(1, 1)) && debts.blur(7, &[IDENTIFY, 14, 4, 0]));
    }

    #[test]
    fn an_answer_is_expected_for_ten_timeouts_and_ten_seconds_at_least() {
        assert_eq!(debts().lateness, Duration::from_secs(10));
        assert_eq!(Debts::new(Duration::from_secs(3), LONGEST_LATENESS).lateness, Duration::from_secs(30));
    }

    #[test]
    fn a_late_answer_pays_for_itself_alone() {
        let mut debts = debts();
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
        fn a_settling_read_looks_like_nothing_owed_and_stays_within_what_is_wanted(
            cells in vec(1..12u16, 0..12), wanted in 1..24u16, table in 1..=4u8, address in 0..u16::MAX - 24
        ) {
            let request = |cells: u16| {
                [&[table][..], &address.to_be_bytes(), &cells.to_be_bytes()].concat()
            };
            let mut debts = debts();
            for cells in &cells {
                debts.owe(7, &request(*cells));
            }
            let settling = settling(&debts, &request(wanted));
            let length = length_of_answer(&settling);
            prop_assert!(wanted < 12 || table < 3 || settling[0] == table, "of so many one is new");
            if settling[0] == table {
                prop_assert_eq!(&settling[1..3], &request(wanted)[1..3]);
                prop_assert!(u16::from_be_bytes([settling[3], settling[4]]) < wanted);
                prop_assert_ne!(length, length_of_answer(&request(wanted)));
            }
            let owed = debts.units.remove(&7).unwrap_or_default().owed;
            let is_new = |owed: &Owed| (owed.shape.function, owed.shape.length) != (settling[0], length);
            prop_assert!(owed.len() <= MOST && owed.iter().all(is_new));
        }
    }
}
