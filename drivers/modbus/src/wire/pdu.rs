//! What is asked of a device and what it says: the part that is the same in every framing. Pure.
//!
//! ```text
//! read         function:u8 address:u16 count:u16      →  function:u8 bytes:u8 data…
//! write one    function:u8 address:u16 value:u16      →  the same again
//! write many   function:u8 address:u16 count:u16 bytes:u8 data…  →  function:u8 address:u16 count:u16
//! mask write   22 address:u16 and:u16 or:u16          →  the same again
//! read, write  23 address:u16 count:u16 write…        →  23 bytes:u8 data…
//! read file    20 bytes:u8 (6 file:u16 record:u16 count:u16)…  →  20 bytes:u8 (bytes:u8 6 data…)…
//! write file   21 bytes:u8 6 file:u16 record:u16 count:u16 data…  →  the same again
//! identify     43 14 code:u8 object:u8                →  43 14 code:u8 conformity:u8 more:u8 next:u8
//!                                                        count:u8 (object:u8 bytes:u8 data…)…
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
/// Bytes behind the byte count of function 20, in the request and in the answer: seven of a part in the
/// one, two and its data in the other.
pub(crate) const MOST_FILE_BYTES: usize = 0xF5;
/// The only kind of reference of functions 20 and 21.
const FILE_REFERENCE: u8 = 6;
/// Function 43 carries several things; this one is the identification.
const MEI_IDENTIFY: u8 = 14;

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
    /// Function 20; the parts together within [`MOST_FILE_BYTES`].
    ReadFile { parts: Vec<FilePart> },
    /// Function 21: registers of one file, two bytes each, at most 122.
    WriteFile { file: u16, record: u16, values: Vec<u8> },
    /// Function 22: the register becomes `(it & and) | (or & !and)`, done by the device in one piece.
    MaskWrite { address: u16, and: u16, or: u16 },
    /// Function 23: writes at most 121 registers, then reads `cells` at `read`, in one transaction.
    ReadWrite { address: u16, values: Vec<u8>, read: u16, cells: u16 },
    /// Function 43, MEI type 14: what the device says it is, from `object` on.
    Identify { scope: Scope, object: u8 },
}

/// Registers of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FilePart {
    pub(crate) file: u16,
    /// Its first register there, 0 to 9999 by the standard.
    pub(crate) record: u16,
    pub(crate) cells: u16,
}

/// How much of an identification is asked for (6.21 of the standard).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Vendor name, product code, revision: objects 0 to 2.
    Basic,
    /// Objects up to 0x7F.
    Regular,
    /// All of them.
    Extended,
    /// Just the object named.
    One,
}

impl Scope {
    /// All of them, the smallest first.
    pub(crate) const ALL: [Self; 4] = [Self::Basic, Self::Regular, Self::Extended, Self::One];

    fn code(self) -> u8 {
        match self {
            Self::Basic => 1,
            Self::Regular => 2,
            Self::Extended => 3,
            Self::One => 4,
        }
    }
}

impl Request {
    pub(crate) fn function(&self) -> u8 {
        match self {
            Self::Read { table: Table::Coil, .. } => 1,
            Self::Read { table: Table::Discrete, .. } => 2,
            // What is no table is never asked for so: it has functions of its own.
            Self::Read { table: Table::Holding | Table::File(_) | Table::Identity, .. } => 3,
            Self::Read { table: Table::Input, .. } => 4,
            Self::WriteCoil { .. } => 5,
            Self::WriteRegister { .. } => 6,
            Self::WriteCoils { .. } => 15,
            Self::WriteRegisters { .. } => 16,
            Self::ReadFile { .. } => 20,
            Self::WriteFile { .. } => 21,
            Self::MaskWrite { .. } => 22,
            Self::ReadWrite { .. } => 23,
            Self::Identify { .. } => 43,
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
            Self::ReadWrite { address, values, .. } => {
                pdu.extend(words([*address, values.len() as u16 / 2]));
                pdu.push(values.len() as u8);
                pdu.extend(values);
            }
            _ => {}
        }
        pdu
    }

    /// What most writes are confirmed by: all of the request but the values of several cells.
    fn head(&self) -> Vec<u8> {
        let mut head = vec![self.function()];
        match self {
            Self::Read { address, cells, .. } => head.extend(words([*address, *cells])),
            Self::WriteCoil { address, on } => head.extend(words([*address, if *on { 0xFF00 } else { 0 }])),
            Self::WriteRegister { address, value } => {
                head.extend(address.to_be_bytes());
                head.extend(value);
            }
            Self::WriteCoils { address, coils } => head.extend(words([*address, coils.len() as u16])),
            Self::WriteRegisters { address, values } => {
                head.extend(words([*address, values.len() as u16 / 2]));
            }
            Self::ReadFile { parts } => {
                head.push((parts.len() * 7) as u8);
                for part in parts {
                    head.push(FILE_REFERENCE);
                    head.extend(words([part.file, part.record, part.cells]));
                }
            }
            Self::WriteFile { file, record, values } => {
                head.extend([(7 + values.len()) as u8, FILE_REFERENCE]);
                head.extend(words([*file, *record, values.len() as u16 / 2]));
                head.extend(values);
            }
            Self::MaskWrite { address, and, or } => head.extend(words([*address, *and, *or])),
            Self::ReadWrite { read, cells, .. } => head.extend(words([*read, *cells])),
            Self::Identify { scope, object } => head.extend([MEI_IDENTIFY, scope.code(), *object]),
        }
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
        match self {
            Self::Read { table, cells, .. } if table.is_bits() => data(rest, usize::from(*cells).div_ceil(8)),
            Self::Read { cells, .. } | Self::ReadWrite { cells, .. } => data(rest, usize::from(*cells) * 2),
            Self::ReadFile { parts } => file_data(rest, parts),
            Self::Identify { scope, object } => identity(rest, *scope, *object),
            _ if pdu == self.head() => Ok(Answer::Written),
            _ => Err(Mismatch::Malformed("a confirmation of something else than was written")),
        }
    }
}

fn words<const N: usize>(words: [u16; N]) -> impl Iterator<Item = u8> {
    words.into_iter().flat_map(u16::to_be_bytes)
}

/// `bytes:u8 data…`
fn data(rest: &[u8], bytes: usize) -> Result<Answer, Mismatch> {
    match rest {
        [count, data @ ..] if usize::from(*count) == bytes && data.len() == bytes => {
            Ok(Answer::Data(data.to_vec()))
        }
        _ => Err(Mismatch::Length { asked: bytes, answered: rest.len().saturating_sub(1) }),
    }
}

/// `bytes:u8 (bytes:u8 6 data…)…`: the data of all parts, one after the other.
fn file_data(rest: &[u8], parts: &[FilePart]) -> Result<Answer, Mismatch> {
    let asked: usize = parts.iter().map(|part| 2 + usize::from(part.cells) * 2).sum();
    let wrong = Mismatch::Length { asked, answered: rest.len().saturating_sub(1) };
    let Some((count, mut left)) = rest.split_first() else { return Err(wrong) };
    if usize::from(*count) != asked || left.len() != asked {
        return Err(wrong);
    }
    let mut data = Vec::with_capacity(asked);
    for part in parts {
        let bytes = usize::from(part.cells) * 2;
        match left.split_at_checked(2 + bytes) {
            Some(([length, FILE_REFERENCE, of_part @ ..], after)) if usize::from(*length) == bytes + 1 => {
                data.extend(of_part);
                left = after;
            }
            _ => return Err(Mismatch::Malformed("parts of a file that are not the ones asked for")),
        }
    }
    Ok(Answer::Data(data))
}

/// An identification. One that goes on does so behind what it told, so that asking on ends.
fn identity(rest: &[u8], scope: Scope, object: u8) -> Result<Answer, Mismatch> {
    const MALFORMED: Mismatch = Mismatch::Malformed("an identification that contradicts itself");
    let [MEI_IDENTIFY, code, _conformity, more, next, count, told @ ..] = rest else {
        return Err(MALFORMED);
    };
    // A device that knows less may answer for what it knows.
    let fits = if scope == Scope::One { *code == scope.code() } else { (1..=scope.code()).contains(code) };
    if !fits {
        return Err(Mismatch::Malformed("an identification of another scope than was asked for"));
    }
    // The standard's own example of an answer in two pieces counts the objects of both in each.
    let mut left = told;
    let mut objects = Vec::new();
    while let Some((id, after)) = left.split_first() {
        let (length, after) = after.split_first().ok_or(MALFORMED)?;
        let (text, after) = after.split_at_checked((*length).into()).ok_or(MALFORMED)?;
        objects.push((*id, text.to_vec()));
        left = after;
    }
    if objects.len() > usize::from(*count) {
        return Err(MALFORMED);
    }
    if scope == Scope::One && !matches!(objects[..], [(id, _)] if id == object) {
        return Err(Mismatch::Malformed("an identification of another object than was asked for"));
    }
    let next = (*more == 0xFF && scope != Scope::One).then_some(*next);
    if next.is_some_and(|next| next <= objects.iter().map(|(id, _)| *id).fold(object, u8::max)) {
        return Err(Mismatch::Malformed("an identification that goes round in circles"));
    }
    Ok(Answer::Identity { objects, next })
}

/// What a device said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The cells: two bytes a register, or bits packed from the lowest one up.
    Data(Vec<u8>),
    /// Confirmed with the right echo.
    Written,
    /// Objects with their numbers and bytes, and where to ask on when there are more.
    Identity { objects: Vec<(u8, Vec<u8>)>, next: Option<u8> },
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
    pub(crate) const DEVICE_FAILURE: Self = Self(4);
    pub(crate) const ACKNOWLEDGE: Self = Self(5);
    pub(crate) const GATEWAY_TARGET_SILENT: Self = Self(11);
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            // Nobody says so: it stands for what is left out because nothing was said.
            0 => return f.write_str("no answer"),
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

    /// 6.14 to 6.17 and 6.21.
    #[test]
    fn the_rarer_examples_of_the_standard_are_spoken() {
        let part = |file, record| FilePart { file, record, cells: 2 };
        let read_write = Request::ReadWrite { address: 14, values: [0, 0xFF].repeat(3), read: 3, cells: 6 };
        let read_back = [0, 0xFE, 0x0A, 0xCD, 0, 1, 0, 3, 0, 0x0D, 0, 0xFF];
        for (request, asked, answered, answer) in [
            (
                Request::ReadFile { parts: vec![part(4, 1), part(3, 9)] },
                vec![20, 14, 6, 0, 4, 0, 1, 0, 2, 6, 0, 3, 0, 9, 0, 2],
                vec![20, 12, 5, 6, 0x0D, 0xFE, 0, 0x20, 5, 6, 0x33, 0xCD, 0, 0x40],
                Answer::Data(vec![0x0D, 0xFE, 0, 0x20, 0x33, 0xCD, 0, 0x40]),
            ),
            (
                Request::WriteFile { file: 4, record: 7, values: vec![6, 0xAF, 4, 0xBE, 0x10, 0x0D] },
                vec![21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
                vec![21, 13, 6, 0, 4, 0, 7, 0, 3, 6, 0xAF, 4, 0xBE, 0x10, 0x0D],
                Answer::Written,
            ),
            (
                Request::MaskWrite { address: 4, and: 0xF2, or: 0x25 },
                vec![22, 0, 4, 0, 0xF2, 0, 0x25],
                vec![22, 0, 4, 0, 0xF2, 0, 0x25],
                Answer::Written,
            ),
            (
                read_write,
                vec![23, 0, 3, 0, 6, 0, 14, 0, 3, 6, 0, 0xFF, 0, 0xFF, 0, 0xFF],
                [&[23, 12], &read_back[..]].concat(),
                Answer::Data(read_back.to_vec()),
            ),
        ] {
            assert_eq!(request.pdu(), asked);
            assert_eq!(request.answer(&answered), Ok(answer));
            assert_eq!(request.answer(&[asked[0] | 0x80, 2]), Ok(Answer::Refused(Exception(2))));
            assert!(request.answer(&answered[..answered.len() - 1]).is_err(), "cut short");
            assert!(request.answer(&[&answered[..], &[0]].concat()).is_err(), "one byte more");
        }
    }

    fn told(code: u8, more: u8, next: u8, count: u8, objects: &[(u8, &str)]) -> Vec<u8> {
        let mut pdu = vec![43, 14, code, 1, more, next, count];
        for (id, text) in objects {
            pdu.extend([*id, text.len() as u8]);
            pdu.extend(text.bytes());
        }
        pdu
    }

    fn identity(next: Option<u8>, objects: &[(u8, &str)]) -> Result<Answer, Mismatch> {
        let objects = objects.iter().map(|(id, text)| (*id, text.as_bytes().to_vec())).collect();
        Ok(Answer::Identity { objects, next })
    }

    /// 6.21, in one piece and in two; and what would make an asker go on for ever.
    #[test]
    fn a_device_says_who_it_is_and_where_that_goes_on() {
        let asked = Request::Identify { scope: Scope::Basic, object: 0 };
        assert_eq!(asked.pdu(), [43, 14, 1, 0]);
        let all = [(0, "Company identification"), (1, "Product code XX"), (2, "V2.11")];
        assert_eq!(asked.answer(&told(1, 0, 0, 3, &all)), identity(None, &all));
        assert_eq!(asked.answer(&told(1, 0xFF, 2, 3, &all[..2])), identity(Some(2), &all[..2]));
        let rest = Request::Identify { scope: Scope::Basic, object: 2 };
        assert_eq!(rest.pdu(), [43, 14, 1, 2]);
        assert_eq!(rest.answer(&told(1, 0, 0, 3, &all[2..])), identity(None, &all[2..]));
        assert_eq!(rest.answer(&[0xAB, 2]), Ok(Answer::Refused(Exception(2))));
        let one = Request::Identify { scope: Scope::One, object: 2 };
        assert_eq!(one.pdu(), [43, 14, 4, 2]);
        assert_eq!(one.answer(&told(4, 0, 0, 1, &all[2..])), identity(None, &all[2..]));
        assert!(one.answer(&told(4, 0, 0, 1, &all[..1])).is_err(), "another object");
        assert!(asked.answer(&told(1, 0xFF, 1, 3, &all[..2])).is_err(), "it would go round");
        assert!(rest.answer(&told(1, 0xFF, 2, 0, &[])).is_err(), "it would stand still");
        assert!(asked.answer(&told(2, 0, 0, 3, &all)).is_err(), "more than was asked for");
        assert!(asked.answer(&told(1, 0, 0, 2, &all)).is_err(), "more than it counts");
        let extended = Request::Identify { scope: Scope::Extended, object: 0 };
        assert_eq!(extended.answer(&told(1, 0, 0, 3, &all)), identity(None, &all), "all it knows");
        let whole = told(1, 0, 0, 3, &all);
        assert!(asked.answer(&whole[..whole.len() - 1]).is_err() && asked.answer(&whole[..8]).is_err());
        assert!(asked.answer(&[&[43, 13], &whole[2..]].concat()).is_err(), "another kind of function 43");
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
            vec((any::<u16>(), any::<u16>(), 1..9u16), 1..4).prop_map(|parts| Request::ReadFile {
                parts: parts
                    .into_iter()
                    .map(|(file, record, cells)| FilePart { file, record, cells })
                    .collect()
            }),
            (any::<u16>(), any::<u16>(), any::<u16>()).prop_map(|(address, and, or)| Request::MaskWrite {
                address,
                and,
                or
            }),
            (any::<u16>(), 1..9u16).prop_map(|(read, cells)| Request::ReadWrite {
                address: 1,
                values: vec![0, 1],
                read,
                cells
            }),
            (any::<u8>(), prop_oneof![Just(Scope::Basic), Just(Scope::Extended), Just(Scope::One)])
                .prop_map(|(object, scope)| Request::Identify { scope, object }),
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
                    let bytes = match &request {
                        Request::Read { table, cells, .. } if table.is_bits() => cells.div_ceil(8),
                        Request::Read { cells, .. } | Request::ReadWrite { cells, .. } => cells * 2,
                        Request::ReadFile { parts } => parts.iter().map(|part| part.cells * 2).sum(),
                        other => panic!("data for {other:?}"),
                    };
                    prop_assert_eq!(data.len(), usize::from(bytes));
                    prop_assert_eq!(pdu[0], request.function());
                }
                Ok(Answer::Written) => prop_assert_eq!(pdu, request.head()),
                Ok(Answer::Identity { objects, next }) => {
                    let bytes: usize = objects.iter().map(|(_, text)| 2 + text.len()).sum();
                    prop_assert_eq!(pdu.len(), 7 + bytes);
                    prop_assert!(next.is_none_or(|next| objects.iter().all(|(id, _)| *id < next)));
                }
                Ok(Answer::Refused(_)) => prop_assert_eq!((pdu[0], pdu.len()), (request.function() | 0x80, 2)),
                Err(_) => {}
            }
        }
    }
}
