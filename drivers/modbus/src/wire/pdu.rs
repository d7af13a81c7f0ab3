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
mod tests;
