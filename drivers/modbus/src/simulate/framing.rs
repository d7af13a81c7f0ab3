//! A device's side of the framings: a stream ↔ requests. Pure; CRC and LRC are written apart from the
//! driver's, so that each proves the other.
//!
//! ```text
//! TCP    transaction:u16 0:u16 length:u16 unit:u8 pdu
//! RTU    unit:u8 pdu crc:u16, its low byte first
//! ASCII  ':' unit pdu lrc in hexadecimal, "\r\n"
//! ```
//! Always true: any bytes are requests, a wait for more, or skipped, never a panic; an answer goes
//! out in the framing, and with the transaction, of its request.

use crate::connection::Framing;
use crate::wire::mbap;
use crate::wire::pdu::MOST_PDU_BYTES;

/// Unit and CRC around a PDU.
const RTU_AROUND: usize = 3;
/// The shortest RTU frame: unit, function, CRC.
const SHORTEST_RTU: usize = 4;
const LONGEST_RTU: usize = MOST_PDU_BYTES + RTU_AROUND;
/// Two letters a byte, colon and line end.
const LONGEST_ASCII: usize = 2 * (MOST_PDU_BYTES + 2) + 3;

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// 0 where the framing has none.
    pub(crate) transaction: u16,
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
    /// How long it is on the wire.
    pub(crate) wire_bytes: usize,
}

/// The frame of the answer to a request.
pub(crate) fn frame(framing: Framing, request: &Incoming, pdu: &[u8]) -> Vec<u8> {
    let mut bytes = vec![request.unit];
    bytes.extend(pdu);
    match framing {
        Framing::Tcp => mbap::frame(request.transaction, request.unit, pdu),
        Framing::Rtu => {
            bytes.extend(crc(&bytes).to_le_bytes());
            bytes
        }
        Framing::Ascii => {
            bytes.push(lrc(&bytes));
            let letters: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
            format!(":{letters}\r\n").into_bytes()
        }
    }
}

/// Unit and PDU of a whole frame without a transaction; `None` when it is damaged.
pub(crate) fn unframe(framing: Framing, frame: &[u8]) -> Option<(u8, Vec<u8>)> {
    let bytes = match framing {
        Framing::Tcp => return None,
        Framing::Rtu => {
            let (bytes, check) = frame.split_at_checked(frame.len().checked_sub(2)?)?;
            (crc(bytes).to_le_bytes() == check).then(|| bytes.to_vec())?
        }
        Framing::Ascii => {
            let letters = frame.strip_prefix(b":")?.trim_ascii_end();
            let two = |two: &[u8]| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok();
            let mut bytes: Vec<u8> = letters.chunks(2).map(two).collect::<Option<_>>()?;
            let check = bytes.pop()?;
            (lrc(&bytes) == check && letters.len() % 2 == 0).then_some(bytes)?
        }
    };
    let (unit, pdu) = bytes.split_first()?;
    (!pdu.is_empty()).then(|| (*unit, pdu.to_vec()))
}

/// The stream cannot be cut into requests any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

/// Cuts a stream into requests.
#[derive(Debug)]
pub(crate) struct Cutter {
    framing: Framing,
    tcp: mbap::Frames,
    /// Of the other framings; less than one frame after [`next`](Self::next).
    waiting: Vec<u8>,
}

impl Cutter {
    pub(crate) fn new(framing: Framing) -> Self {
        Self { framing, tcp: mbap::Frames::default(), waiting: Vec::new() }
    }

    /// Bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self.framing {
            Framing::Tcp => self.tcp.push(bytes),
            Framing::Rtu | Framing::Ascii => self.waiting.extend_from_slice(bytes),
        }
    }

    /// The line was silent for longer than inside of a frame: what waits is none.
    pub(crate) fn silence(&mut self) {
        self.waiting.clear();
    }

    /// Whether a part of a frame waits for the rest, which a silence would end.
    pub(crate) fn is_inside(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// The next whole request.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Lost> {
        match self.framing {
            Framing::Tcp => {
                let frame = self.tcp.next().map_err(|_| Lost)?;
                Ok(frame.map(|frame| Incoming {
                    transaction: frame.transaction,
                    unit: frame.unit,
                    wire_bytes: frame.pdu.len() + 7,
                    pdu: frame.pdu,
                }))
            }
            Framing::Rtu => Ok(self.next_rtu()),
            Framing::Ascii => Ok(self.next_ascii()),
        }
    }

    /// Damaged bytes are left out one by one until a CRC fits.
    fn next_rtu(&mut self) -> Option<Incoming> {
        loop {
            let have = self.waiting.len().min(LONGEST_RTU);
            let (found, is_whole) = match rtu_length(&self.waiting)? {
                Length::Is(length) if length > LONGEST_RTU => (None, true),
                Length::Is(length) if have < length => return None,
                Length::Is(length) => {
                    (Some(length).filter(|length| crc(&self.waiting[..*length]) == 0), true)
                }
                Length::Unknown => (shortest_with_a_crc(&self.waiting[..have]), have == LONGEST_RTU),
            };
            if let Some(length) = found {
                let frame: Vec<u8> = self.waiting.drain(..length).collect();
                let pdu = frame[1..length - 2].to_vec();
                return Some(Incoming { transaction: 0, unit: frame[0], pdu, wire_bytes: length });
            }
            if !is_whole {
                return None;
            }
            self.waiting.remove(0);
        }
    }

    fn next_ascii(&mut self) -> Option<Incoming> {
        loop {
            let start = self.waiting.iter().rposition(|byte| *byte == b':');
            let end = self.waiting.iter().position(|byte| *byte == b'\n');
            match (start, end) {
                (_, Some(end)) => {
                    let line: Vec<u8> = self.waiting.drain(..=end).collect();
                    // Whatever came before the last colon of a line is noise.
                    let colon = line.iter().rposition(|byte| *byte == b':').unwrap_or_default();
                    if let Some((unit, pdu)) = unframe(Framing::Ascii, &line[colon..]) {
                        return Some(Incoming { transaction: 0, unit, pdu, wire_bytes: line.len() - colon });
                    }
                }
                (Some(start), None) if self.waiting.len() - start <= LONGEST_ASCII => return None,
                (_, None) => {
                    self.waiting.clear();
                    return None;
                }
            }
        }
    }
}

/// A frame with its own CRC behind it has the CRC 0.
fn shortest_with_a_crc(bytes: &[u8]) -> Option<usize> {
    let mut sum = crc(&[]);
    (1..=bytes.len()).find(|length| {
        sum = crc_with(sum, bytes[length - 1]);
        sum == 0 && *length >= SHORTEST_RTU
    })
}

enum Length {
    Is(usize),
    /// A function nobody knows: the CRC says where it ends.
    Unknown,
}

/// How long the RTU request is that begins so; `None`: too little to say.
fn rtu_length(bytes: &[u8]) -> Option<Length> {
    if bytes.len() < SHORTEST_RTU {
        return None;
    }
    let counted =
        |at: usize, around: usize| bytes.get(at).map(|count| Length::Is(around + usize::from(*count)));
    match bytes[1] {
        1..=6 | 8 => Some(Length::Is(8)),
        7 | 11 | 12 | 17 => Some(Length::Is(4)),
        // What is longer than any frame is none; then the CRC decides.
        15 | 16 => counted(6, 9),
        20 | 21 => counted(2, 5),
        22 => Some(Length::Is(10)),
        23 => counted(10, 13),
        24 => Some(Length::Is(6)),
        0x2B if bytes[2] == 0x0E => Some(Length::Is(7)),
        _ => Some(Length::Unknown),
    }
}

/// Of Modbus over Serial Line V1.02, 6.2.2, bit by bit.
fn crc(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xFFFF, |sum, byte| crc_with(sum, *byte))
}

fn crc_with(sum: u16, byte: u8) -> u16 {
    (0..8).fold(sum ^ u16::from(byte), |sum, _| if sum & 1 == 1 { sum >> 1 ^ 0xA001 } else { sum >> 1 })
}

/// The sum of all bytes and it is 0.
fn lrc(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    const ALL: [Framing; 3] = [Framing::Tcp, Framing::Rtu, Framing::Ascii];

    /// Requests that a device knows the end of.
    fn pdus() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            (1..=6u8, any::<[u8; 4]>()).prop_map(|(function, rest)| [vec![function], rest.to_vec()].concat()),
            (any::<[u8; 4]>(), vec(any::<u8>(), 0..240)).prop_map(|(head, data)| [
                vec![16],
                head.to_vec(),
                vec![data.len() as u8],
                data
            ]
            .concat()),
            vec(any::<u8>(), 0..240).prop_map(|data| [vec![20, data.len() as u8], data].concat()),
            any::<[u8; 6]>().prop_map(|rest| [vec![22], rest.to_vec()].concat()),
            (any::<[u8; 8]>(), vec(any::<u8>(), 0..240)).prop_map(|(head, data)| [
                vec![23],
                head.to_vec(),
                vec![data.len() as u8],
                data
            ]
            .concat()),
            any::<[u8; 2]>().prop_map(|rest| [vec![0x2B, 0x0E], rest.to_vec()].concat()),
        ]
    }

    fn cut(framing: Framing, stream: &[u8], step: usize) -> Vec<(u8, Vec<u8>)> {
        let (mut cutter, mut got) = (Cutter::new(framing), Vec::new());
        for part in stream.chunks(step.max(1)) {
            cutter.push(part);
            while let Ok(Some(request)) = cutter.next() {
                got.push((request.unit, request.pdu));
            }
        }
        got
    }

    proptest! {
        #[test]
        fn a_stream_cut_anywhere_gives_the_same_requests(sent in vec((any::<u8>(), pdus()), 1..5), step in 1..40usize) {
            for framing in ALL {
                let bytes: Vec<u8> = sent.iter().flat_map(|(unit, pdu)| {
                    frame(framing, &Incoming { transaction: 7, unit: *unit, pdu: vec![], wire_bytes: 0 }, pdu)
                }).collect();
                prop_assert_eq!(&cut(framing, &bytes, step), &sent, "{:?}", framing);
            }
        }

        #[test]
        fn a_request_is_found_again_behind_noise(noise in vec(any::<u8>(), 0..12), pdu in pdus()) {
            let request = Incoming { transaction: 0, unit: 9, pdu: vec![], wire_bytes: 0 };
            let mut cutter = Cutter::new(Framing::Rtu);
            cutter.push(&noise);
            let _ = cutter.next();
            cutter.silence();
            cutter.push(&frame(Framing::Rtu, &request, &pdu));
            prop_assert_eq!(cutter.next().unwrap().map(|request| request.pdu), Some(pdu.clone()));
            let line = [noise.iter().filter(|byte| **byte != b'\n').copied().collect(), frame(Framing::Ascii, &request, &pdu)].concat();
            prop_assert_eq!(cut(Framing::Ascii, &line, 7), vec![(9, pdu)]);
        }

        #[test]
        fn any_bytes_are_requests_or_a_wait(bytes in vec(any::<u8>(), 0..900), step in 1..300usize) {
            for framing in ALL {
                cut(framing, &bytes, step);
            }
            let mut cutter = Cutter::new(Framing::Rtu);
            cutter.push(&bytes);
            while let Ok(Some(_)) = cutter.next() {}
            prop_assert!(cutter.waiting.len() <= LONGEST_RTU);
        }
    }

    /// Of Modbus over Serial Line V1.02, 6.2.2, and the example of 2.5.2.1.
    #[test]
    fn the_examples_of_the_standard_hold() {
        assert_eq!(crc(&[2, 7]), 0x1241);
        let request = Incoming { transaction: 0, unit: 17, pdu: vec![], wire_bytes: 0 };
        assert_eq!(frame(Framing::Ascii, &request, &[3, 0, 0x6B, 0, 3]), b":1103006B00037E\r\n");
        assert_eq!(unframe(Framing::Ascii, b":1103006B00037E\r\n"), Some((17, vec![3, 0, 0x6B, 0, 3])));
        assert_eq!(unframe(Framing::Ascii, b":1103006B00037F\r\n"), None);
    }

    #[test]
    fn an_unknown_function_ends_with_its_crc() {
        let request = Incoming { transaction: 0, unit: 4, pdu: vec![], wire_bytes: 0 };
        let bytes = frame(Framing::Rtu, &request, &[0x41, 1, 2, 3, 4, 5]);
        assert_eq!(cut(Framing::Rtu, &bytes, 3), [(4, vec![0x41, 1, 2, 3, 4, 5])]);
    }
}
