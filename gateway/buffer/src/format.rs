//! What the buffer writes: segment files of framed records. Pure functions, no file is touched here.
//!
//! Always true: every byte but the payload's meaning is described here; numbers are little endian;
//! a frame can be told from garbage without its neighbours.
//!
//! ```text
//! <dir>/lock                              held by flock while open, empty
//! <dir>/cursor                            drawn in cursor.rs
//! <dir>/<first_seq, 20 digits>.seg
//! <dir>/damaged/<first_seq>-<offset>.bin  bytes that made no sense, for whoever wants to look
//!
//! segment file    header, then frames until the end of the file
//!
//! header          0  magic        8  "SagooSeg"
//!                 8  version      2  1
//!                10  origins      2  n <= 64
//!                12  reserved     4  0
//!                16  first_seq    8  as in the file name: the first record's number
//!                24  prev_first   8  first_seq of the segment before, 0 if there was none;
//!                32  prev_next    8  one past its last record's number;
//!                40  prev_len     8  and its length: an old segment that still has it need not be
//!                                    scanned at open
//!                48  n times      32 instance 16, its last number 8, the record that carried it 8
//!                 .  crc          4  crc-32 of all before
//!
//! frame           0  magic        4  "Rec1"
//!                 4  len          4  of the payload, <= 1 MiB
//!                 8  seq          8  rises within a segment; by more than one only where records were lost
//!                16  flags        2  bit 0: has an origin; the others are 0
//!                18  check        2  low half of the crc-32 of the 18 bytes before: finds the next
//!                                    frame after damage without adding up a payload per candidate
//!                20  crc          4  crc-32 of bytes 0 to 17, origin and payload
//!                24  origin      24  instance 16, number 8; only with flag bit 0
//!                 .  payload    len  opaque
//! ```

/// Segments begin with this.
const SEGMENT_MAGIC: [u8; 8] = *b"SagooSeg";
/// The one version there is.
const VERSION: u16 = 1;
const HEADER_FIXED: usize = 48;
const ORIGIN_ENTRY: usize = 32;
const CRC: usize = 4;
/// Senders whose last number is remembered.
pub const MAX_ORIGINS: usize = 64;
/// Longest segment header.
pub const SEGMENT_HEADER_MAX: usize = HEADER_FIXED + MAX_ORIGINS * ORIGIN_ENTRY + CRC;

/// Frames begin with this.
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"Rec1";
/// Bytes of a frame before origin and payload.
pub(crate) const FRAME_HEAD: usize = 24;
const CHECKED: usize = 18;
const ORIGIN: usize = 24;
const HAS_ORIGIN: u16 = 1;
/// The most a frame adds to its payload.
pub const FRAME_OVERHEAD_MAX: usize = FRAME_HEAD + ORIGIN;

/// Who sent a record, and as which of theirs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// The sender: random per process.
    pub instance: [u8; 16],
    /// Its number; rises.
    pub seq: u64,
}

/// The last number taken from a sender, and the record that carried it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LastOfOrigin {
    pub(crate) origin: Origin,
    pub(crate) at: u64,
}

/// The segment before, as its successor's header remembers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Previous {
    pub(crate) first_seq: u64,
    pub(crate) next_seq: u64,
    pub(crate) len: u64,
}

/// What a segment header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) first_seq: u64,
    pub(crate) previous: Option<Previous>,
    pub(crate) origins: Vec<LastOfOrigin>,
}

impl SegmentHeader {
    /// Length on disk with so many origins.
    pub(crate) fn len_with(origins: usize) -> usize {
        HEADER_FIXED + origins.min(MAX_ORIGINS) * ORIGIN_ENTRY + CRC
    }

    /// Whether a file of these bytes is the beginning of a header and no more.
    pub(crate) fn is_cut(bytes: &[u8]) -> bool {
        let magic = bytes.len().min(SEGMENT_MAGIC.len());
        let whole = u16_at(bytes, 10).map_or(HEADER_FIXED, |count| Self::len_with(count.into()));
        bytes[..magic] == SEGMENT_MAGIC[..magic] && bytes.len() < whole
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        let count = self.origins.len().min(MAX_ORIGINS);
        let previous = self.previous.unwrap_or(Previous { first_seq: 0, next_seq: 0, len: 0 });
        out.extend(SEGMENT_MAGIC);
        out.extend(VERSION.to_le_bytes());
        out.extend((count as u16).to_le_bytes());
        out.extend([0; 4]);
        for number in [self.first_seq, previous.first_seq, previous.next_seq, previous.len] {
            out.extend(number.to_le_bytes());
        }
        for last in &self.origins[..count] {
            out.extend(last.origin.instance);
            out.extend(last.origin.seq.to_le_bytes());
            out.extend(last.at.to_le_bytes());
        }
        let crc = crc32fast::hash(&out[start..]);
        out.extend(crc.to_le_bytes());
    }

    /// The header at the beginning of `bytes` and its length, if it is whole and right.
    pub(crate) fn decode(bytes: &[u8]) -> Option<(Self, usize)> {
        if bytes.get(..8)? != SEGMENT_MAGIC || u16_at(bytes, 8)? != VERSION {
            return None;
        }
        let count = usize::from(u16_at(bytes, 10)?);
        if count > MAX_ORIGINS {
            return None;
        }
        let len = Self::len_with(count);
        let body = bytes.get(..len - CRC)?;
        if u32_at(bytes, len - CRC)? != crc32fast::hash(body) {
            return None;
        }
        let previous =
            Previous { first_seq: u64_at(body, 24)?, next_seq: u64_at(body, 32)?, len: u64_at(body, 40)? };
        let entry = |bytes: &[u8]| {
            let origin = Origin { instance: bytes[..16].try_into().ok()?, seq: u64_at(bytes, 16)? };
            Some(LastOfOrigin { origin, at: u64_at(bytes, 24)? })
        };
        let origins = body[HEADER_FIXED..].chunks_exact(ORIGIN_ENTRY).map(entry).collect::<Option<_>>()?;
        let previous = (previous.first_seq != 0).then_some(previous);
        Some((Self { first_seq: u64_at(body, 16)?, previous, origins }, len))
    }
}

/// The first bytes of a frame, believable but not yet checked against its payload.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameHead {
    pub(crate) seq: u64,
    len: usize,
    has_origin: bool,
    crc: u32,
    /// Of the bytes that `check` covers: where the sum over the whole frame goes on.
    begun: u32,
}

impl FrameHead {
    /// The head at the beginning of `bytes`; the frame is at most `max_payload` and its overhead long.
    pub(crate) fn decode(bytes: &[u8], max_payload: usize) -> Option<Self> {
        let head = bytes.get(..FRAME_HEAD)?;
        if head[..4] != FRAME_MAGIC {
            return None;
        }
        let begun = crc32fast::hash(&head[..CHECKED]);
        if u16_at(head, CHECKED)? != begun as u16 {
            return None;
        }
        let len = u32_at(head, 4)? as usize;
        let flags = u16_at(head, 16)?;
        if len > max_payload || flags & !HAS_ORIGIN != 0 {
            return None;
        }
        let (seq, crc) = (u64_at(head, 8)?, u32_at(head, 20)?);
        Some(Self { seq, len, has_origin: flags & HAS_ORIGIN != 0, crc, begun })
    }

    /// Length of the whole frame.
    pub(crate) fn frame_len(&self) -> usize {
        frame_len(self.has_origin, self.len)
    }

    /// Length of the payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.len
    }

    /// Origin and payload of the whole `frame`, if the checksum is right.
    pub(crate) fn open<'a>(&self, frame: &'a [u8]) -> Option<(Option<Origin>, &'a [u8])> {
        let rest = frame.get(FRAME_HEAD..self.frame_len())?;
        let mut crc = crc32fast::Hasher::new_with_initial(self.begun);
        crc.update(rest);
        if crc.finalize() != self.crc {
            return None;
        }
        let (origin, payload) = rest.split_at(if self.has_origin { ORIGIN } else { 0 });
        if !self.has_origin {
            return Some((None, payload));
        }
        let origin = Origin { instance: origin[..16].try_into().ok()?, seq: u64_at(origin, 16)? };
        Some((Some(origin), payload))
    }
}

/// Length of a frame.
pub(crate) fn frame_len(has_origin: bool, payload: usize) -> usize {
    FRAME_HEAD + if has_origin { ORIGIN } else { 0 } + payload
}

/// Appends one frame to `out`.
pub(crate) fn encode_frame(seq: u64, origin: Option<Origin>, payload: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.reserve(frame_len(origin.is_some(), payload.len()));
    out.extend(FRAME_MAGIC);
    out.extend((payload.len() as u32).to_le_bytes());
    out.extend(seq.to_le_bytes());
    out.extend(if origin.is_some() { HAS_ORIGIN } else { 0 }.to_le_bytes());
    let begun = crc32fast::hash(&out[start..]);
    out.extend((begun as u16).to_le_bytes());
    out.extend([0; CRC]);
    if let Some(origin) = origin {
        out.extend(origin.instance);
        out.extend(origin.seq.to_le_bytes());
    }
    out.extend(payload);
    let mut crc = crc32fast::Hasher::new_with_initial(begun);
    crc.update(&out[start + FRAME_HEAD..]);
    out[start + CHECKED + 2..start + FRAME_HEAD].copy_from_slice(&crc.finalize().to_le_bytes());
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        let last = |n: u8| LastOfOrigin { origin: Origin { instance: [n; 16], seq: n.into() }, at: 9 };
        SegmentHeader {
            first_seq: 7,
            previous: Some(Previous { first_seq: 3, next_seq: 7, len: 900 }),
            origins: (0..5).map(last).collect(),
        }
    }

    #[test]
    fn a_header_is_read_as_written_and_no_flipped_bit_goes_unseen() {
        let mut bytes = Vec::new();
        header().encode(&mut bytes);
        assert_eq!(SegmentHeader::decode(&bytes), Some((header(), bytes.len())));
        assert_eq!(bytes.len(), SegmentHeader::len_with(5));
        for bit in 0..bytes.len() * 8 {
            // the reserved bytes are under the checksum as well
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bytes), None, "bit {bit}");
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }

    #[test]
    fn a_frame_is_read_as_written_and_no_flipped_bit_goes_unseen() {
        for origin in [None, Some(Origin { instance: [5; 16], seq: 77 })] {
            let mut bytes = Vec::new();
            encode_frame(42, origin, b"payload", &mut bytes);
            let open = |bytes: &[u8]| {
                let head = FrameHead::decode(bytes, 1 << 20)?;
                let (origin, payload) = head.open(bytes)?;
                Some((head.seq, origin, payload.to_vec()))
            };
            assert_eq!(open(&bytes), Some((42, origin, b"payload".to_vec())));
            for bit in 0..bytes.len() * 8 {
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(open(&bytes), None, "bit {bit}");
                bytes[bit / 8] ^= 1 << (bit % 8);
            }
        }
    }
}
