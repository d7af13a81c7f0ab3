//! A device's side of the codec: the PDU of a request → what is asked, what is said → the PDU of an
//! answer. Pure.
//!
//! ```text
//! 1–4   address:u16 count:u16                          →  bytes:u8 data…
//! 5 6   address:u16 value:u16                          →  the same again
//! 15 16 address:u16 count:u16 bytes:u8 data…           →  address:u16 count:u16
//! 20    bytes:u8 (6:u8 file:u16 record:u16 count:u16)… →  bytes:u8 (bytes:u8 6:u8 data…)…
//! 21    bytes:u8 (6:u8 file:u16 record:u16 count:u16 data…)…  →  the same again
//! 22    address:u16 and:u16 or:u16                     →  the same again
//! 23    address:u16 count:u16 address:u16 count:u16 bytes:u8 data…  →  bytes:u8 data…
//! 43 14 code:u8 object:u8                              →  code:u8 level:u8 more:u8 next:u8 count:u8 (id len text)…
//! ```
//! Always true: any bytes are a request or a refusal, never a panic; written apart from the driver's
//! own side, so that each proves the other.

use std::collections::BTreeMap;

use crate::point::address::Table;
use crate::wire::Exception;
use crate::wire::pdu::{MOST_PDU_BYTES, REFUSAL};

/// Most of everything in one request, as the standard has it (Modbus Application Protocol V1.1b3, 6).
const MOST_BITS_READ: u16 = 2_000;
const MOST_BITS_WRITTEN: u16 = 1_968;
const MOST_REGISTERS_READ: u16 = 125;
const MOST_REGISTERS_WRITTEN: u16 = 123;
const MOST_REGISTERS_WRITTEN_AND_READ: u16 = 121;
/// Kind of a part of 20 and 21; there is no other.
const REFERENCE: u8 = 6;
/// The function, and the part of it that is identification.
const IDENTIFY: [u8; 2] = [0x2B, 0x0E];
/// First object that is neither basic nor regular identification.
const FIRST_EXTENDED: u8 = 0x80;
const FIRST_REGULAR: u8 = 0x03;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// 1 to 4.
    Read { table: Table, address: u16, cells: u16 },
    /// 5 and 15.
    WriteCoils { address: u16, coils: Vec<bool> },
    /// 6 and 16; two bytes each.
    WriteRegisters { address: u16, values: Vec<u8> },
    /// 22: `register & and | or & !and`.
    MaskRegister { address: u16, and: u16, or: u16 },
    /// 23: written first.
    WriteAndRead { write: u16, values: Vec<u8>, address: u16, cells: u16 },
    /// 20.
    ReadFile(Vec<Records>),
    /// 21; two bytes each.
    WriteFile(Vec<(Records, Vec<u8>)>),
    /// 43/14: one object, or all of a group from one on.
    Identify { group: u8, object: u8 },
}

/// A part of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Records {
    pub(crate) file: u16,
    pub(crate) first: u16,
    pub(crate) count: u16,
}

/// What a device says when it does not refuse.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told {
    /// Bits of 1 and 2.
    Bits(Vec<bool>),
    /// Registers of 3, 4 and 23, two bytes each.
    Registers(Vec<u8>),
    /// Every write.
    Written,
    /// The parts of 20.
    Files(Vec<Vec<u8>>),
    /// Who it is, object by object.
    Objects(BTreeMap<u8, Vec<u8>>),
}

impl Asked {
    /// Reads the PDU of a request.
    pub(crate) fn parse(pdu: &[u8]) -> Result<Self, Exception> {
        let (function, rest) = pdu.split_first().ok_or(Exception::ILLEGAL_FUNCTION)?;
        let table = match function {
            1 => Table::Coil,
            2 => Table::Discrete,
            4 => Table::Input,
            _ => Table::Holding,
        };
        let parsed = match function {
            1..=4 => read(table, rest),
            5 => match *rest {
                [a, b, on @ (0 | 0xFF), 0] => {
                    Some(Self::WriteCoils { address: u16::from_be_bytes([a, b]), coils: vec![on != 0] })
                }
                _ => None,
            },
            6 => match *rest {
                [a, b, high, low] => Some(Self::WriteRegisters {
                    address: u16::from_be_bytes([a, b]),
                    values: vec![high, low],
                }),
                _ => None,
            },
            15 => write_coils(rest),
            16 => write_registers(rest, MOST_REGISTERS_WRITTEN)
                .map(|(address, values)| Self::WriteRegisters { address, values }),
            20 => read_file(rest),
            21 => write_file(rest),
            22 => match *rest {
                [a, b, c, d, e, f] => Some(Self::MaskRegister {
                    address: u16::from_be_bytes([a, b]),
                    and: u16::from_be_bytes([c, d]),
                    or: u16::from_be_bytes([e, f]),
                }),
                _ => None,
            },
            23 => write_and_read(rest),
            0x2B => match *rest {
                [kind, group @ 1..=4, object] if kind == IDENTIFY[1] => {
                    Some(Self::Identify { group, object })
                }
                [kind, ..] if kind != IDENTIFY[1] => return Err(Exception::ILLEGAL_FUNCTION),
                _ => None,
            },
            _ => return Err(Exception::ILLEGAL_FUNCTION),
        };
        parsed.ok_or(Exception::ILLEGAL_DATA_VALUE)
    }

    /// Whether it changes something: what may be broadcast.
    pub(crate) fn writes(&self) -> bool {
        match self {
            Self::WriteCoils { .. }
            | Self::WriteRegisters { .. }
            | Self::MaskRegister { .. }
            | Self::WriteFile(_) => true,
            Self::Read { .. } | Self::WriteAndRead { .. } | Self::ReadFile(_) | Self::Identify { .. } => {
                false
            }
        }
    }
}

/// The PDU of the answer to the request `pdu`.
pub(crate) fn answer(pdu: &[u8], said: Result<Told, Exception>) -> Vec<u8> {
    let function = pdu.first().copied().unwrap_or_default();
    let refused = |exception: Exception| vec![function | REFUSAL, exception.0];
    let counted = |data: Vec<u8>| {
        // Requests are limited so that every answer fits.
        let mut answer = vec![function, data.len() as u8];
        answer.extend(data);
        answer
    };
    match said {
        Err(exception) => refused(exception),
        Ok(Told::Bits(bits)) => {
            let pack = |eight: &[bool]| eight.iter().rev().fold(0, |byte, on| byte << 1 | u8::from(*on));
            counted(bits.chunks(8).map(pack).collect())
        }
        Ok(Told::Registers(data)) => counted(data),
        Ok(Told::Written) => match function {
            15 | 16 => pdu.iter().take(5).copied().collect(),
            _ => pdu.to_vec(),
        },
        Ok(Told::Files(parts)) => {
            let part = |part: Vec<u8>| [vec![part.len() as u8 + 1, REFERENCE], part].concat();
            counted(parts.into_iter().flat_map(part).collect())
        }
        Ok(Told::Objects(objects)) => identity(pdu, &objects).unwrap_or_else(refused),
    }
}

fn read(table: Table, rest: &[u8]) -> Option<Asked> {
    let (address, cells) = two(rest)?;
    let most = if table.is_bits() { MOST_BITS_READ } else { MOST_REGISTERS_READ };
    (1..=most).contains(&cells).then_some(Asked::Read { table, address, cells })
}

fn two(rest: &[u8]) -> Option<(u16, u16)> {
    match *rest {
        [a, b, c, d] => Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]))),
        _ => None,
    }
}

fn write_coils(rest: &[u8]) -> Option<Asked> {
    let (head, counted) = rest.split_at_checked(4)?;
    let (address, count) = two(head)?;
    let data = behind_its_length(counted)?;
    let fits = (1..=MOST_BITS_WRITTEN).contains(&count) && data.len() == usize::from(count).div_ceil(8);
    let coil = |place: usize| data[place / 8] >> (place % 8) & 1 == 1;
    fits.then(|| Asked::WriteCoils { address, coils: (0..usize::from(count)).map(coil).collect() })
}

fn write_registers(rest: &[u8], most: u16) -> Option<(u16, Vec<u8>)> {
    let (head, counted) = rest.split_at_checked(4)?;
    let (address, count) = two(head)?;
    let data = behind_its_length(counted)?;
    ((1..=most).contains(&count) && data.len() == usize::from(count) * 2).then(|| (address, data.to_vec()))
}

fn write_and_read(rest: &[u8]) -> Option<Asked> {
    let (head, rest) = rest.split_at_checked(4)?;
    let (address, cells) = two(head)?;
    let (write, values) = write_registers(rest, MOST_REGISTERS_WRITTEN_AND_READ)?;
    (1..=MOST_REGISTERS_READ).contains(&cells).then_some(Asked::WriteAndRead {
        write,
        values,
        address,
        cells,
    })
}

/// All that is left, if its first byte says just that.
fn behind_its_length(counted: &[u8]) -> Option<&[u8]> {
    let (bytes, data) = counted.split_first()?;
    (usize::from(*bytes) == data.len()).then_some(data)
}

fn records(part: &[u8]) -> Option<(Records, &[u8])> {
    let (head, rest) = part.split_at_checked(7)?;
    let [REFERENCE, a, b, c, d, e, f] = *head else { return None };
    let records = Records {
        file: u16::from_be_bytes([a, b]),
        first: u16::from_be_bytes([c, d]),
        count: u16::from_be_bytes([e, f]),
    };
    (records.count > 0).then_some((records, rest))
}

fn read_file(rest: &[u8]) -> Option<Asked> {
    let mut left = behind_its_length(rest)?;
    let mut parts = Vec::new();
    let mut answered = 2;
    while !left.is_empty() {
        let (part, rest) = records(left)?;
        answered += 2 + usize::from(part.count) * 2;
        parts.push(part);
        left = rest;
    }
    (!parts.is_empty() && answered <= MOST_PDU_BYTES).then_some(Asked::ReadFile(parts))
}

fn write_file(rest: &[u8]) -> Option<Asked> {
    let mut left = behind_its_length(rest)?;
    let mut parts = Vec::new();
    while !left.is_empty() {
        let (part, rest) = records(left)?;
        let (data, rest) = rest.split_at_checked(usize::from(part.count) * 2)?;
        parts.push((part, data.to_vec()));
        left = rest;
    }
    (!parts.is_empty()).then_some(Asked::WriteFile(parts))
}

/// Objects from the asked one on, as many as fit; the last byte but three says where to go on.
fn identity(pdu: &[u8], objects: &BTreeMap<u8, Vec<u8>>) -> Result<Vec<u8>, Exception> {
    let [_, _, group, object] = *pdu else { return Err(Exception::ILLEGAL_DATA_VALUE) };
    let end = match group {
        1 => FIRST_REGULAR,
        2 => FIRST_EXTENDED,
        _ => u8::MAX,
    };
    let wanted: Vec<(&u8, &Vec<u8>)> = match group {
        4 => objects.get_key_value(&object).into_iter().collect(),
        // An object that is not there: from the beginning, as the standard has it.
        _ => {
            let first = if objects.contains_key(&object) && object < end { object } else { 0 };
            objects.range(first..end).collect()
        }
    };
    if wanted.is_empty() {
        return Err(Exception::ILLEGAL_DATA_ADDRESS);
    }
    // Every group by streams and one by one: 0x80, and as far as there are objects.
    let level = 0x80
        | objects.keys().next_back().map_or(1, |last| match *last {
            FIRST_EXTENDED.. => 3,
            FIRST_REGULAR.. => 2,
            _ => 1,
        });
    let mut answer = vec![IDENTIFY[0], IDENTIFY[1], group, level, 0, 0, 0];
    for (id, text) in wanted {
        if answer.len() + 2 + text.len() > MOST_PDU_BYTES {
            (answer[4], answer[5]) = (0xFF, *id);
            break;
        }
        answer.extend([*id, text.len() as u8]);
        answer.extend(text);
        answer[6] += 1;
    }
    Ok(answer)
}

#[cfg(test)]
mod tests;
