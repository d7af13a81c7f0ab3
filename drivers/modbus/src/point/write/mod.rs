//! Whether a point may be written, and how: a value → the request that writes it, and what to compare.
//!
//! ```text
//! coil      5, or 15 for a list                     holding   6 for one register, 16 for more
//! bits      22: the device changes them itself      file      21
//! ```
//!
//! Where the device does not know 5 or 6, 15 or 16 is tried: nothing was executed. `function` forces one,
//! 23 writes and reads back in one transaction. `via = "read-modify-write"` is for bits of a device without
//! function 22: what something else writes into the same register in between is lost.
//!
//! Always true: a write never touches bits that are not the point's own; what a rule does not allow or
//! what does not fit is refused before anything is sent.

pub(crate) mod rule;

use std::borrow::Cow;

use sagoo_driver_sdk::{Outcome, Value};

use self::rule::Way;
use crate::point::Point;
use crate::point::address::Table;
use crate::wire::Request;
use crate::wire::pdu::FilePart;

/// A value on its way to a device.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Write {
    pub(crate) sending: Sending,
    /// What is sent to read back, where that is wanted.
    pub(crate) read_back: Option<Request>,
    /// What the point reads when it is done.
    wanted: Value,
}

/// What has to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Sending {
    /// `second` when the device does not know the function of `first`.
    Ready { first: Request, second: Option<Request> },
    /// Once it is known what the registers hold.
    AfterReading(Merge),
}

/// Bits to put into registers.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Merge {
    /// What reads the registers.
    pub(crate) read: Request,
    address: u16,
    bits: Vec<u8>,
    mask: Vec<u8>,
}

impl Merge {
    /// The request that writes the bits among those that are there now.
    pub(crate) fn with(&self, now: &[u8]) -> Request {
        let merged = now.iter().zip(&self.mask).zip(&self.bits);
        let values: Vec<u8> = merged.map(|((now, mask), bits)| now & !mask | bits).collect();
        match values[..] {
            [high, low] => Request::WriteRegister { address: self.address, value: [high, low] },
            _ => Request::WriteRegisters { address: self.address, values },
        }
    }
}

impl Write {
    /// What to broadcast: only what needs no answer.
    pub(crate) fn broadcast(&self) -> Result<&Request, String> {
        match &self.sending {
            Sending::Ready { first: Request::ReadWrite { .. }, .. } | Sending::AfterReading(_) => {
                Err("cannot be broadcast: it takes an answer".to_owned())
            }
            Sending::Ready { first, .. } => Ok(first),
        }
    }

    /// What to add to the refusal of an unknown function.
    pub(crate) fn remedy(&self) -> Option<&'static str> {
        match &self.sending {
            Sending::Ready { first: Request::MaskWrite { .. }, .. } => Some(
                "the device cannot change some bits of a register itself; where nothing else writes that \
                 register, write = { via = \"read-modify-write\" } does",
            ),
            Sending::Ready { first: Request::ReadWrite { .. }, .. } => {
                Some("write = { verify = true } without function reads back by itself")
            }
            _ => None,
        }
    }

    /// What became of it by what the point's cells held afterwards; `data` is as a device tells them.
    pub(crate) fn outcome(&self, point: &Point, data: &[u8]) -> Outcome {
        match point.codec.decode(&point.cells_of(data)) {
            Ok(value) if value == self.wanted => Outcome::Applied(Some(value)),
            Ok(value) => Outcome::Differs(value),
            Err(reason) => Outcome::Unknown(format!("confirmed, but cannot be read back: {reason}")),
        }
    }
}

impl Point {
    /// How `value` is written here, when it may be and fits.
    pub(crate) fn to_write(&self, value: &Value) -> Result<Write, String> {
        let rule = self.write.ok_or("may not be written, its model has no write")?;
        rule.allows(value)?;
        let bytes = self.codec.encode(value)?;
        let wanted = self.codec.decode(&bytes)?;
        let read_back = rule.verify.then(|| self.read_request());
        Ok(Write { sending: self.sending(rule.way, bytes), read_back, wanted })
    }

    /// What reads just this point's cells.
    pub(crate) fn read_request(&self) -> Request {
        let (address, cells) = (self.address, self.codec.cells());
        match self.table {
            Table::File(file) => Request::ReadFile { parts: vec![FilePart { file, record: address, cells }] },
            table => Request::Read { table, address, cells },
        }
    }

    /// Its cells as its codec takes them, from the answer to its own request.
    pub(crate) fn cells_of<'d>(&self, data: &'d [u8]) -> Cow<'d, [u8]> {
        if !self.table.is_bits() {
            return data.into();
        }
        let bit = |cell: usize| data.get(cell / 8).map_or(0, |byte| byte >> (cell % 8) & 1);
        (0..usize::from(self.codec.cells())).map(bit).collect::<Vec<u8>>().into()
    }

    fn sending(&self, way: Way, bytes: Vec<u8>) -> Sending {
        let address = self.address;
        if let Some(mask) = self.codec.mask() {
            if way == Way::Merge {
                return Sending::AfterReading(Merge {
                    read: self.read_request(),
                    address,
                    bits: bytes,
                    mask,
                });
            }
            return Sending::Ready { first: masked(address, &bytes, &mask), second: None };
        }
        let several = |bytes: &[u8]| match self.table {
            Table::Coil => {
                Request::WriteCoils { address, coils: bytes.iter().map(|byte| *byte != 0).collect() }
            }
            Table::File(file) => Request::WriteFile { file, record: address, values: bytes.to_vec() },
            _ => Request::WriteRegisters { address, values: bytes.to_vec() },
        };
        let single = match (self.table, &bytes[..]) {
            (Table::Coil, [on]) => Some(Request::WriteCoil { address, on: *on != 0 }),
            (Table::Holding, [high, low]) => Some(Request::WriteRegister { address, value: [*high, *low] }),
            _ => None,
        };
        match (way, single) {
            (Way::Function(5 | 6), Some(first)) => Sending::Ready { first, second: None },
            (Way::Function(23), _) => {
                let first =
                    Request::ReadWrite { address, read: address, cells: self.codec.cells(), values: bytes };
                Sending::Ready { first, second: None }
            }
            (Way::Fitting, Some(first)) => Sending::Ready { first, second: Some(several(&bytes)) },
            _ => Sending::Ready { first: several(&bytes), second: None },
        }
    }
}

/// Function 22 for the one register that has these bits.
fn masked(address: u16, bytes: &[u8], mask: &[u8]) -> Request {
    let word = |bytes: &[u8]| u16::from_be_bytes([bytes[0], bytes[1]]);
    let mut registers = (address..=u16::MAX).zip(bytes.chunks_exact(2).zip(mask.chunks_exact(2)));
    let found = registers.find(|(_, (_, mask))| word(mask) != 0);
    // A part has bits, and they are all in one register: checked with the settings.
    let (address, and, or) =
        found.map_or((address, u16::MAX, 0), |(at, (bits, mask))| (at, !word(mask), word(bits)));
    Request::MaskWrite { address, and, or }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tests::device;

    fn point(text: &str) -> Point {
        device("", &format!("p = {{ {text} }}")).points[0].clone()
    }

    #[test]
    fn only_what_needs_no_answer_is_broadcast() {
        let write = |text: &str| point(text).to_write(&Value::Int(1)).unwrap();
        assert!(write("at = \"holding:1\", type = \"u16\", write = { verify = true }").broadcast().is_ok());
        assert!(write("at = \"holding:1\", type = \"bits[1]\", write = true").broadcast().is_ok());
        for text in [
            "at = \"holding:1\", type = \"u16\", write = { function = 23 }",
            "at = \"holding:1\", type = \"bits[1]\", write = { via = \"read-modify-write\" }",
        ] {
            assert_eq!(write(text).broadcast(), Err("cannot be broadcast: it takes an answer".to_owned()));
        }
    }

    proptest! {
        #[test]
        fn bits_that_are_not_its_own_stay(
            now in any::<u32>(), first in 0..32u8, more in 0..32u8, order in 0..4usize, value in any::<u32>(),
        ) {
            let last = (first + more).min(31);
            let order = ["ABCD", "CDAB", "BADC", "DCBA"][order];
            let text = format!(
                "at = \"holding:7\", type = \"bits[{first}..{last}] of u32\", order = \"{order}\", \
                 write = {{ via = \"read-modify-write\" }}"
            );
            let point = point(&text);
            let mask = (u32::MAX >> (31 - (last - first))) << first;
            let value = (value & mask) >> first;
            let Sending::AfterReading(merge) = point.to_write(&Value::Uint(value.into())).unwrap().sending else {
                panic!("it has to be read before");
            };
            let wire = point.codec.order.spread(now.into());
            let Request::WriteRegisters { address: 7, values } = merge.with(&wire) else { panic!("two registers") };
            prop_assert_eq!(point.codec.order.gather(&values), u64::from(now & !mask | value << first));
        }
    }
}
