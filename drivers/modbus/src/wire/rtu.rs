//! RTU's frames: a stream without borders ↔ frames with a CRC. Pure.
//!
//! ```text
//! unit:u8 | pdu, 1 to 253 bytes | crc:u16, low byte first
//! ```
//!
//! Nothing in the stream says where a frame begins or ends, so each place is tried with every length
//! that its function allows, and the CRC decides. The frame that is waited for goes first: while its
//! head has come and its end has not, nothing inside it is tried, for one in 65 536 of such tries would
//! look like a frame by chance.
//!
//! Always true: any bytes are frames or a wait for more, never a panic; less than two frames wait; noise
//! before a frame costs nothing but itself; a frame ends with its last byte, never by a timer.

use super::pdu::MOST_PDU_BYTES;
use super::{Frame, length};

/// Bytes around a PDU.
pub(crate) const FRAME_BYTES: usize = 3;
/// Longest frame.
pub(crate) const MOST_FRAME_BYTES: usize = MOST_PDU_BYTES + FRAME_BYTES;

/// The whole frame of a PDU.
pub(crate) fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    debug_assert!(pdu.len() <= MOST_PDU_BYTES, "the planner and the codec keep requests short");
    let mut frame = Vec::with_capacity(FRAME_BYTES + pdu.len());
    frame.push(unit);
    frame.extend(pdu);
    frame.extend(crc(&frame).to_le_bytes());
    frame
}

/// CRC-16 of Modbus over Serial Line V1.02, 6.2.2.
pub(crate) fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |crc, byte| crc >> 8 ^ TABLE[usize::from(crc as u8 ^ byte)])
}

const TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let (mut crc, mut bit) = (byte as u16, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
            bit += 1;
        }
        table[byte] = crc;
        byte += 1;
    }
    table
};

/// Cuts a stream into frames; a part of one waits for the rest.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    waiting: Vec<u8>,
    /// Frames that end up to here were tried.
    tried: usize,
    /// Bytes were skipped since the last frame.
    skipped: bool,
    wanted: Option<Wanted>,
}

/// The request whose answer is waited for.
#[derive(Debug)]
struct Wanted {
    request: Vec<u8>,
    /// Length of the answer's PDU, where the request tells it.
    answer: Option<usize>,
}

/// What begins at a place.
enum Begins {
    /// A frame up to here.
    Frame(usize),
    /// Perhaps what is waited for: more has to come.
    Wanted,
    Nothing,
}

impl Cutter {
    /// From now on the answer to this request is waited for.
    pub(crate) fn want(&mut self, unit: u8, pdu: &[u8]) {
        self.wanted = Some(Wanted { request: frame(unit, pdu), answer: length::to(pdu) });
        self.tried = 0;
    }

    /// Bytes as they came. Call [`next`](Self::next) until it is `None` before pushing more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        for start in 0..self.waiting.len() {
            match self.begins(start) {
                Begins::Nothing => {}
                Begins::Wanted => {
                    self.forget(start.saturating_sub(MOST_FRAME_BYTES));
                    return None;
                }
                Begins::Frame(end) => {
                    let frame = Frame {
                        unit: self.waiting[start],
                        pdu: self.waiting[start + 1..end - 2].to_vec(),
                        clean: start == 0 && !self.skipped,
                    };
                    self.waiting.drain(..end);
                    (self.tried, self.skipped) = (0, false);
                    return Some(frame);
                }
            }
        }
        self.tried = self.waiting.len();
        self.forget(self.waiting.len().saturating_sub(MOST_FRAME_BYTES));
        None
    }

    /// Skips the first bytes: every frame that may begin in them would have ended.
    fn forget(&mut self, hopeless: usize) {
        self.waiting.drain(..hopeless);
        self.tried = self.tried.saturating_sub(hopeless);
        self.skipped |= hopeless > 0;
    }

    /// Forgets what waits, and what is waited for.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Bytes that wait.
    pub(crate) fn waits(&self) -> usize {
        self.waiting.len()
    }

    fn begins(&self, start: usize) -> Begins {
        let rest = &self.waiting[start..];
        if let Some(wanted) = &self.wanted {
            match wanted.begins(rest) {
                Begins::Frame(length) => return Begins::Frame(start + length),
                Begins::Wanted => return Begins::Wanted,
                Begins::Nothing => {}
            }
        }
        let mut found = None;
        let mut try_one = |pdu: usize| {
            let end = start + FRAME_BYTES + pdu;
            if found.is_none() && end > self.tried && is_frame(self.waiting.get(start..end)) {
                found = Some(end);
            }
        };
        length::of_answer(&rest[1..], &mut try_one);
        length::of_request(&rest[1..], &mut try_one);
        found.map_or(Begins::Nothing, Begins::Frame)
    }
}

impl Wanted {
    fn begins(&self, rest: &[u8]) -> Begins {
        if rest.len() < self.request.len() && self.request.starts_with(rest) {
            return Begins::Wanted;
        }
        if rest.starts_with(&self.request) {
            return Begins::Frame(self.request.len());
        }
        if !self.request.starts_with(&rest[..rest.len().min(2)]) {
            return Begins::Nothing;
        }
        let Some(answer) = self.answer else { return Begins::Nothing };
        let mut length = None;
        length::of_answer(&rest[1..], |known| length = Some(known));
        match length {
            Some(length) if length != answer => Begins::Nothing,
            Some(_) | None if rest.len() < FRAME_BYTES + answer => Begins::Wanted,
            Some(_) | None if is_frame(rest.get(..FRAME_BYTES + answer)) => {
                Begins::Frame(FRAME_BYTES + answer)
            }
            Some(_) | None => Begins::Nothing,
        }
    }
}

fn is_frame(bytes: Option<&[u8]>) -> bool {
    let Some((body, sum)) = bytes.and_then(<[u8]>::split_last_chunk::<2>) else { return false };
    crc(body) == u16::from_le_bytes(*sum)
}

#[cfg(test)]
mod tests;
