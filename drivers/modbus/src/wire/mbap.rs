//! Modbus TCP's frames: a stream ↔ transactions. Pure.
//!
//! ```text
//! transaction:u16  protocol:u16 = 0  length:u16 = 1 + pdu  unit:u8  | pdu, 1 to 253 bytes
//! ```
//!
//! Always true: any bytes are frames, a wait for more, or an error, never a panic.

use super::pdu::MOST_PDU_BYTES;

/// Bytes before the PDU, the unit included.
const HEADER_BYTES: usize = 7;

/// The whole frame of a PDU.
pub(crate) fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    debug_assert!(pdu.len() <= MOST_PDU_BYTES, "the planner and the codec keep requests short");
    let mut frame = Vec::with_capacity(HEADER_BYTES + pdu.len());
    frame.extend(transaction.to_be_bytes());
    frame.extend([0, 0]);
    frame.extend((pdu.len() as u16 + 1).to_be_bytes());
    frame.push(unit);
    frame.extend(pdu);
    frame
}

/// A whole frame from the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) transaction: u16,
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
}

/// The stream is not Modbus TCP any more; only a new connection helps.
#[derive(Debug, thiserror::Error, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Garbage {
    /// The two bytes that are always zero are not.
    #[error("protocol id {0} where 0 belongs")]
    Protocol(u16),
    /// No frame is that long.
    #[error("a frame of {0} bytes, 2 to 254 are possible")]
    Length(u16),
}

/// Cuts a stream into frames; a part of one waits for the rest.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    waiting: Vec<u8>,
}

impl Frames {
    /// Bytes as they came. Call [`next`](Self::next) until it is `None` before pushing more: so
    /// less than one frame ever waits here.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        self.waiting.extend_from_slice(bytes);
    }

    /// The next whole frame.
    pub(crate) fn next(&mut self) -> Result<Option<Frame>, Garbage> {
        let [t0, t1, p0, p1, l0, l1, ..] = *self.waiting.as_slice() else {
            return Ok(None);
        };
        let protocol = u16::from_be_bytes([p0, p1]);
        if protocol != 0 {
            return Err(Garbage::Protocol(protocol));
        }
        let length = u16::from_be_bytes([l0, l1]);
        if !(2..=MOST_PDU_BYTES + 1).contains(&usize::from(length)) {
            return Err(Garbage::Length(length));
        }
        let end = HEADER_BYTES - 1 + usize::from(length);
        if self.waiting.len() < end {
            return Ok(None);
        }
        let frame = Frame {
            transaction: u16::from_be_bytes([t0, t1]),
            unit: self.waiting[HEADER_BYTES - 1],
            pdu: self.waiting[HEADER_BYTES..end].to_vec(),
        };
        self.waiting.drain(..end);
        Ok(Some(frame))
    }

    /// The next whole frame of a transaction and a unit that are wanted, in a stream that carries other
    /// things as well; all else is skipped.
    pub(crate) fn seek(&mut self, wanted: impl Fn(u16, u8) -> bool) -> Option<Frame> {
        while let [t0, t1, p0, p1, l0, l1, unit, ..] = *self.waiting {
            let is_one = [p0, p1] == [0, 0] && wanted(u16::from_be_bytes([t0, t1]), unit);
            let length = usize::from(u16::from_be_bytes([l0, l1]));
            if is_one && (2..=MOST_PDU_BYTES + 1).contains(&length) {
                return self.next().ok().flatten();
            }
            self.waiting.remove(0);
        }
        None
    }

    /// Forgets everything: the stream is a new one.
    pub(crate) fn clear(&mut self) {
        self.waiting.clear();
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_frame_is_its_header_and_its_pdu() {
        assert_eq!(frame(0x1501, 0xFF, &[4, 0, 0x6B, 0, 1]), [0x15, 1, 0, 0, 0, 6, 0xFF, 4, 0, 0x6B, 0, 1]);
    }

    #[test]
    fn garbage_is_told_from_a_frame_that_is_not_whole_yet() {
        let mut frames = Frames::default();
        frames.push(&[0, 1, 0, 0, 0]);
        assert_eq!(frames.next(), Ok(None));
        frames.push(&[255]);
        assert_eq!(frames.next(), Err(Garbage::Length(255)));
        frames.clear();
        frames.push(b"HTTP/1.1 400 Bad Request");
        assert!(matches!(frames.next(), Err(Garbage::Protocol(_))));
        frames.clear();
        frames.push(&[0, 1, 0, 0, 0, 1, 7]);
        assert_eq!(frames.next(), Err(Garbage::Length(1)));
    }

    #[test]
    fn a_wanted_frame_is_found_among_chatter() {
        let wanted = frame(2, 7, &[3, 2, 0, 9]);
        let mut frames = Frames::default();
        for byte in [b"ping\0\x01\0\0".as_slice(), &frame(1, 7, &[3, 2, 0, 8]), &wanted, b"pong"].concat() {
            frames.push(&[byte]);
            if let Some(found) = frames.seek(|transaction, unit| (transaction, unit) == (2, 7)) {
                assert_eq!(frame(found.transaction, found.unit, &found.pdu), wanted);
                return;
            }
        }
        panic!("it was not found");
    }

    fn frames() -> impl Strategy<Value = Frame> {
        (any::<u16>(), any::<u8>(), vec(any::<u8>(), 1..=MOST_PDU_BYTES))
            .prop_map(|(transaction, unit, pdu)| Frame { transaction, unit, pdu })
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_gives_the_same_frames(sent in vec(frames(), 1..6), cut in 1..40usize) {
            let mut bytes = Vec::new();
            for frame in &sent {
                bytes.extend(super::frame(frame.transaction, frame.unit, &frame.pdu));
            }
            let (mut frames, mut got) = (Frames::default(), Vec::new());
            for part in bytes.chunks(cut) {
                frames.push(part);
                while let Some(frame) = frames.next().unwrap() {
                    got.push(frame);
                }
            }
            prop_assert_eq!(got, sent);
        }

        #[test]
        fn any_bytes_are_frames_a_wait_or_an_error(bytes in vec(any::<u8>(), 0..600), zero in any::<bool>()) {
            let mut bytes = bytes;
            if zero && bytes.len() > 4 {
                bytes[2..5].fill(0);
            }
            let mut frames = Frames::default();
            frames.push(&bytes);
            while let Ok(Some(frame)) = frames.next() {
                prop_assert!((1..=MOST_PDU_BYTES).contains(&frame.pdu.len()));
            }
        }
    }
}
