//! Numbers, texts and small codes as bytes, and back.
//!
//! Always true: nothing is allocated for a length that the input cannot hold; bytes that end too early
//! or say something impossible are an error.

use super::Malformed;

/// Seven bits a byte, the lowest first; the high bit says that more follow.
pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// A number whose sign is its lowest bit, so that small ones are short on both sides of zero.
pub(super) fn put_signed(out: &mut Vec<u8>, number: i64) {
    put_number(out, ((number << 1) ^ (number >> 63)) as u64);
}

/// Bytes that [`put_signed`] takes for it.
pub(super) fn signed_len(number: i64) -> u32 {
    let bits = 64 - (((number << 1) ^ (number >> 63)) as u64 | 1).leading_zeros();
    bits.div_ceil(7)
}

/// Its length, and then itself.
pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Codes of `width` bits each (1, 2 or 4, or 0 for none at all), the first in the lowest bits.
pub(super) fn put_codes(out: &mut Vec<u8>, codes: impl Iterator<Item = u8>, width: usize) {
    if width == 0 {
        return;
    }
    let mut used = 8;
    for code in codes {
        if used == 8 {
            out.push(0);
            used = 0;
        }
        if let Some(last) = out.last_mut() {
            *last |= code << used;
        }
        used += width;
    }
}

/// What is left to read.
#[derive(Debug)]
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl<'a> Input<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(len).ok_or(Malformed("it ends too early"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn byte(&mut self) -> Result<u8, Malformed> {
        self.take(1).map(|bytes| bytes[0])
    }

    pub(super) fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| Malformed("it ends too early"))
    }

    pub(super) fn number(&mut self) -> Result<u64, Malformed> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if (bits << shift) >> shift != bits {
                break;
            }
            number |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Malformed("a number is too large"))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Malformed> {
        let number = self.number()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    /// A count of things; how many fit is for the caller to see.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        usize::try_from(self.number()?).map_err(|_| Malformed("a number is too large"))
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.count()?;
        self.take(len)
    }

    pub(super) fn text(&mut self) -> Result<&'a str, Malformed> {
        text(self.bytes()?)
    }

    /// The other side of [`put_codes`].
    pub(super) fn codes(
        &mut self,
        count: usize,
        width: usize,
    ) -> Result<impl Iterator<Item = u8> + use<'a>, Malformed> {
        let bits = count.checked_mul(width).ok_or(Malformed("a number is too large"))?;
        let bytes = self.take(bits.div_ceil(8))?;
        let mask = ((1u16 << width) - 1) as u8;
        Ok((0..count).map(move |i| {
            let bit = i * width;
            bytes.get(bit / 8).map_or(0, |byte| (byte >> (bit % 8)) & mask)
        }))
    }
}

pub(super) fn text(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| Malformed("a text is not UTF-8"))
}
