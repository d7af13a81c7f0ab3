//! ASCII's frames: lines of hexadecimal digits ↔ frames with an LRC. Pure.
//!
//! ```text
//! ':' | unit, pdu of 1 to 253 bytes, lrc: two digits each | CR LF
//! ```
//!
//! Always true: any bytes are frames or a wait for more, never a panic; less than one frame waits; a
//! ':' begins anew, whatever came before it; a frame ends with its line feed, never by a timer.

use super::Frame;
use super::pdu::MOST_PDU_BYTES;

/// Longest line between ':' and CR: unit, PDU and LRC.
const MOST_DIGITS: usize = 2 * (MOST_PDU_BYTES + 2);
/// Characters of a frame beside its digits.
pub(crate) const FRAME_CHARACTERS: usize = 3;
const DIGITS: &[u8; 16] = b"0123456789ABCDEF";

/// The whole frame of a PDU.
pub(crate) fn frame(unit: u8, pdu: &[u8]) -> Vec<u8> {
    debug_assert!(pdu.len() <= MOST_PDU_BYTES, "the planner and the codec keep requests short");
    let mut frame = Vec::with_capacity(FRAME_CHARACTERS + 2 * (pdu.len() + 2));
    frame.push(b':');
    let sum = lrc([&[unit], pdu].concat().as_slice());
    for byte in [unit].iter().chain(pdu).chain([&sum]) {
        frame.extend([DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
    frame.extend(b"\r\n");
    frame
}

/// The sum that makes all bytes zero (Modbus over Serial Line V1.02, 6.2.1).
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_sub(*byte))
}

/// Cuts a stream into frames; a part of one waits for the rest.
#[derive(Debug, Default)]
pub(crate) struct Cutter {
    waiting: Vec<u8>,
    /// Digits of the line that has begun.
    line: Option<Vec<u8>>,
    /// Bytes were skipped since the last frame.
    skipped: bool,
}

impl Cutter {
    /// Bytes as they came. Call [`next`](Self::next) until it is `None` before pushing more.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Option<Frame> {
        let (mut done, mut frame) = (0, None);
        for byte in &self.waiting {
            done += 1;
            match (byte, &mut self.line) {
                (b':', line) => {
                    self.skipped |= line.is_some();
                    *line = Some(Vec::new());
                }
                (b'\n', line) => {
                    let Some(digits) = line.take() else { continue };
                    match read(&digits) {
                        Some((unit, pdu)) => {
                            frame = Some(Frame { unit, pdu, clean: !self.skipped });
                            self.skipped = false;
                            break;
                        }
                        None => self.skipped = true,
                    }
                }
                (b'\r', _) => {}
                (_, Some(digits)) if byte.is_ascii_hexdigit() && digits.len() < MOST_DIGITS => {
                    digits.push(*byte);
                }
                (_, line) => {
                    *line = None;
                    self.skipped = true;
                }
            }
        }
        self.waiting.drain(..done);
        frame
    }

    /// Forgets what waits.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// Unit and PDU of a line's digits, when their sum is right.
fn read(digits: &[u8]) -> Option<(u8, Vec<u8>)> {
    let (pairs, []) = digits.as_chunks::<2>() else { return None };
    let digit = |digit: u8| char::from(digit).to_digit(16).map(|value| value as u8);
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect();
    match bytes?.as_slice() {
        all @ [unit, pdu @ .., _] if !pdu.is_empty() && lrc(all) == 0 => Some((*unit, pdu.to_vec())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn cut(bytes: &[u8]) -> Vec<Frame> {
        let mut cutter = Cutter::default();
        cutter.push(bytes);
        std::iter::from_fn(|| cutter.next()).collect()
    }

    /// The request is the example of the standard (6.3), its sum reckoned by hand.
    #[test]
    fn a_frame_is_a_line_with_its_sum() {
        assert_eq!(frame(1, &[3, 0, 0x6B, 0, 3]), b":0103006B00038E\r\n");
        let expected = Frame { unit: 0xF7, pdu: vec![3, 2, 0xAB, 0xCD], clean: true };
        let lower = frame(0xF7, &[3, 2, 0xAB, 0xCD]).to_ascii_lowercase();
        assert_eq!(cut(&lower), [expected]);
    }

    #[test]
    fn a_colon_begins_anew_and_a_wrong_sum_is_no_frame() {
        let good = frame(7, &[3, 2, 0, 5]);
        let frames = cut(&[b"\0x:0103", &good[..], b":0703020006F3\r\n:07\r\n:0\r\n", &good].concat());
        let pdus: Vec<(&[u8], bool)> = frames.iter().map(|frame| (&frame.pdu[..], frame.clean)).collect();
        assert_eq!(pdus, [(&[3, 2, 0, 5][..], false), (&[3, 2, 0, 5], false)]);
    }

    fn frames() -> impl Strategy<Value = (u8, Vec<u8>)> {
        (any::<u8>(), vec(any::<u8>(), 1..=MOST_PDU_BYTES))
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_gives_the_same_frames(
            sent in vec(frames(), 1..5), noise in vec("[ -9;-~]{0,20}", 5), cut in 1..60usize
        ) {
            let mut bytes = Vec::new();
            for ((unit, pdu), noise) in sent.iter().zip(&noise) {
                bytes.extend(noise.as_bytes());
                bytes.extend(super::frame(*unit, pdu));
            }
            let (mut cutter, mut got) = (Cutter::default(), Vec::new());
            for part in bytes.chunks(cut) {
                cutter.push(part);
                while let Some(frame) = cutter.next() {
                    got.push((frame.unit, frame.pdu));
                }
                prop_assert!(cutter.waiting.is_empty());
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn a_broken_byte_is_never_another_frame(frame in frames(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = super::frame(frame.0, &frame.1);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            for got in cut(&bytes) {
                prop_assert_eq!((got.unit, got.pdu), frame.clone());
            }
        }
    }
}
