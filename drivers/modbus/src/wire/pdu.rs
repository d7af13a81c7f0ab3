//! What is asked of a device and what it says: the part that is the same in every framing. Pure.
//!
//! ```text
//! read         function:u8 address:u16 count:u16      →  function:u8 bytes:u8 data…
//! write one    function:u8 address:u16 value:u16      →  the same again
//! write many   function:u8 address:u16 count:u16 bytes:u8 data…  →  function:u8 address:u16 count:u16
//! refusal                                             →  function|0x80:u8 code:u8
//! ```
//!
//! Always true: any bytes are an answer or a mismatch, never a panic; an answer counts only if its
//! function, its length and its echo are the ones the request asks for.

use std::fmt;

use crate::point::address::Table;

/// Longest PDU (Modbus Application Protocol V1.1b3, 4.1).
pub(crate) const MOST_PDU_BYTES: usize = 253;
/// Marks a refusal.
pub(crate) const REFUSAL: u8 = 0x80;

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// Functions 1 to 4.
    Read { table: Table, address: u16, cells: u16 },
    /// Function 5.
    WriteCoil { address: u16, on: bool },
    /// Function 6.
    WriteRegister { address: u16, value: [u8; 2] },
    /// Function 15; one byte per coil here, packed on the wire.
    WriteCoils { address: u16, coils: Vec<bool> },
    /// Function 16; at most 123 registers, two bytes each.
    WriteRegisters { address: u16, values: Vec<u8> },
}

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Self::Read { table: Table::Coil, .. } => 1,
            Self::Read { table: Table::Discrete, .. } => 2,
            Self::Read { table: Table::Holding, .. } => 3,
            Self::Read { table: Table::Input, .. } => 4,
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
        }
    }

    /// The PDU.
    pub(crate) fn pdu(&self) -> Vec<u8> {
        let mut pdu = self.head();
        match self {
            Self::WriteCoils { coils, .. } => {
                pdu.push(coils.len().div_ceil(8) as u8);
                let pack = |eight: &[bool]| eight.iter().rev().fold(0, |byte, on| byte << 1 | u8::from(*on));
                pdu.extend(coils.chunks(8).map(pack));
            }
            Self::WriteRegisters { values, .. } => {
                pdu.push(values.len() as u8);
                pdu.extend(values);
            }
            Self::Read { .. } | Self::WriteCoil { .. } | Self::WriteRegister { .. } => {}
        }
        pdu
    }

    /// Function, address and the two bytes after it; every write is confirmed by just these.
    fn head(&self) -> Vec<u8> {
        let (address, two) = match self {
            Self::Read { address, cells, .. } => (address, cells.to_be_bytes()),
            Self::WriteCoil { address, on } => (address, [if *on { 0xFF } else { 0 }, 0]),
            Self::WriteRegister { address, value } => (address, *value),
            Self::WriteCoils { address, coils } => (address, (coils.len() as u16).to_be_bytes()),
            Self::WriteRegisters { address, values } => (address, (values.len() as u16 / 2).to_be_bytes()),
        };
        let mut head = vec![self.function()];
        head.extend(address.to_be_bytes());
        head.extend(two);
        head
    }

    /// Reads the PDU of an answer that has our transaction and unit.
    pub(crate) fn answer(&self, pdu: &[u8]) -> Result<Answer, Mismatch> {
        let function = self.function();
        match pdu {
            [first, code] if *first == function | REFUSAL => Ok(Answer::Refused(Exception(*code))),
            [first, ..] if *first == function | REFUSAL => {
                Err(Mismatch::Malformed("a refusal of the wrong length"))
            }
            [first, rest @ ..] if *first == function => self.accepted(pdu, rest),
            [first, ..] => Err(Mismatch::Function { asked: function, answered: *first }),
            [] => Err(Mismatch::Malformed("an empty answer")),
        }
    }

    fn accepted(&self, pdu: &[u8], rest: &[u8]) -> Result<Answer, Mismatch> {
        let Self::Read { table, cells, .. } = self else {
            if pdu == self.head() {
                return Ok(Answer::Written);
            }
            return Err(Mismatch::Malformed("a confirmation of something else than was written"));
        };
        let cells = usize::from(*cells);
        let bytes = if table.is_bits() { cells.div_ceil(8) } else { cells * 2 };
        match rest {
            [count, data @ ..] if usize::from(*count) == bytes && data.len() == bytes => {
                Ok(Answer::Data(data.to_vec()))
            }
            _ => Err(Mismatch::Length { asked: bytes, answered: rest.len().saturating_sub(1) }),
        }
    }
}

/// What a device said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The cells: two bytes a register, or bits packed from the lowest one up.
    Data(Vec<u8>),
    /// Confirmed with the right echo.
    Written,
    /// The device is well and says no.
    Refused(Exception),
}

/// An answer to our transaction and unit that cannot be the answer to our request.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub(crate) enum Mismatch {
    /// Not our function: perhaps an answer to something else.
    #[error("an answer to function {answered} where {asked} was asked")]
    Function { asked: u8, answered: u8 },
    /// Our function, another amount.
    #[error("an answer of {answered} bytes where {asked} were asked for")]
    Length { asked: usize, answered: usize },
    /// Our function, no sense.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A refusal, by the code of the standard (Modbus Application Protocol V1.1b3, 7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exception(pub(crate) u8);

impl Exception {
    pub(crate) const ILLEGAL_FUNCTION: Self = Self(1);
    pub(crate) const ILLEGAL_DATA_ADDRESS: Self = Self(2);
    pub(crate) const ILLEGAL_DATA_VALUE: Self = Self(3);
    pub(crate) const ACKNOWLEDGE: Self = Self(5);
    pub(crate) const GATEWAY_PATH_UNAVAILABLE: Self = Self(10);
    pub(crate) const GATEWAY_TARGET_SILENT: Self = Self(11);
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            1 => "illegal function",
            2 => "illegal data address",
            3 => "illegal data value",
            4 => "server device failure",
            5 => "acknowledge",
            6 => "server device busy",
            7 => "negative acknowledge",
            8 => "memory parity error",
            10 => "gateway path unavailable",
            11 => "gateway target device failed to respond",
            _ => "not in the standard",
        };
        write!(f, "{name} (exception {})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn read(table: Table, cells: u16) -> Request {
        Request::Read { table, address: 0x6B, cells }
    }

    /// The examples of Modbus Application Protocol V1.1b3, 6.1 to 6.12.
    #[test]
    fn the_examples_of_the_standard_are_spoken() {
        for (request, asked, answered, answer) in [
            (
                Request::Read { table: Table::Coil, address: 0x13, cells: 19 },
                vec![1, 0, 0x13, 0, 0x13],
                vec![1, 3, 0xCD, 0x6B, 0x05],
                Answer::Data(vec![0xCD, 0x6B, 0x05]),
            ),
            (
                read(Table::Holding, 3),
                vec![3, 0, 0x6B, 0, 3],
                vec![3, 6, 2, 0x2B, 0, 0, 0, 0x64],
                Answer::Data(vec![2, 0x2B, 0, 0, 0, 0x64]),
            ),
            (
                Request::WriteCoil { address: 0xAC, on: true },
                vec![5, 0, 0xAC, 0xFF, 0],
                vec![5, 0, 0xAC, 0xFF, 0],
                Answer::Written,
            ),
            (
                Request::WriteRegister { address: 1, value: [0, 3] },
                vec![6, 0, 1, 0, 3],
                vec![6, 0, 1, 0, 3],
                Answer::Written,
            ),
            (
                Request::WriteCoils {
                    address: 0x13,
                    coils: [1, 0, 1, 1, 0, 0, 1, 1, 1, 0].map(|bit| bit == 1).to_vec(),
                },
                vec![15, 0, 0x13, 0, 10, 2, 0xCD, 1],
                vec![15, 0, 0x13, 0, 10],
                Answer::Written,
            ),
            (
                Request::WriteRegisters { address: 1, values: vec![0, 10, 1, 2] },
                vec![16, 0, 1, 0, 2, 4, 0, 10, 1, 2],
                vec![16, 0, 1, 0, 2],
                Answer::Written,
            ),
        ] {
            assert_eq!(request.pdu(), asked);
            assert_eq!(request.answer(&answered), Ok(answer));
            assert_eq!(request.answer(&[asked[0] | 0x80, 2]), Ok(Answer::Refused(Exception(2))));
        }
        assert_eq!(Exception(2).to_string(), "illegal data address (exception 2)");
    }

    #[test]
    fn an_answer_to_something_else_is_no_answer() {
        let asked = read(Table::Holding, 2);
        assert_eq!(asked.answer(&[4, 4, 0, 1, 0, 2]), Err(Mismatch::Function { asked: 3, answered: 4 }));
        assert_eq!(asked.answer(&[0x84, 2]), Err(Mismatch::Function { asked: 3, answered: 0x84 }));
        assert_eq!(asked.answer(&[3, 2, 0, 1]), Err(Mismatch::Length { asked: 4, answered: 2 }));
        assert!(asked.answer(&[3, 4, 0, 1]).is_err(), "fewer bytes than it says");
        assert!(asked.answer(&[3, 2, 0, 1, 0, 2]).is_err(), "more bytes than it says");
        assert!(
            asked.answer(&[0x83]).is_err()
                && asked.answer(&[0x83, 2, 2]).is_err()
                && asked.answer(&[]).is_err()
        );
        let written = Request::WriteRegister { address: 7, value: [1, 2] };
        assert!(written.answer(&[6, 0, 7, 1, 3]).is_err(), "another value");
        assert!(written.answer(&[6, 0, 8, 1, 2]).is_err(), "another register");
    }

    fn request() -> impl Strategy<Value = Request> {
        let table =
            prop_oneof![Just(Table::Coil), Just(Table::Discrete), Just(Table::Input), Just(Table::Holding)];
        prop_oneof![
            (table, any::<u16>(), 1..=125u16).prop_map(|(table, address, cells)| Request::Read {
                table,
                address,
                cells
            }),
            (any::<u16>(), any::<bool>()).prop_map(|(address, on)| Request::WriteCoil { address, on }),
            (any::<u16>(), any::<[u8; 2]>())
                .prop_map(|(address, value)| Request::WriteRegister { address, value }),
            (any::<u16>(), vec(any::<bool>(), 1..50))
                .prop_map(|(address, coils)| Request::WriteCoils { address, coils }),
        ]
    }

    proptest! {
        #[test]
        fn any_answer_is_taken_only_if_it_fits(request in request(), pdu in vec(any::<u8>(), 0..260), own in any::<bool>()) {
            let mut pdu = pdu;
            if own && !pdu.is_empty() {
                pdu[0] = request.function();
            }
            match request.answer(&pdu) {
                Ok(Answer::Data(data)) => {
                    let Request::Read { table, cells, .. } = &request else { panic!("data for a write") };
                    let bytes = if table.is_bits() { cells.div_ceil(8) } else { cells * 2 };
                    prop_assert_eq!(data.len(), usize::from(bytes));
                    prop_assert_eq!(pdu[0], request.function());
                }
                Ok(Answer::Written) => prop_assert_eq!(pdu, request.head()),
                Ok(Answer::Refused(_)) => prop_assert_eq!((pdu[0], pdu.len()), (request.function() | 0x80, 2)),
                Err(_) => {}
            }
        }
    }
}
