//! How long requests and answers are, by the bytes that have come of them. Pure.
//!
//! An RTU frame does not say where it ends; its function and its counts do.
//!
//! Always true: no length is longer than [`MOST_PDU_BYTES`]; what nobody knows has none.

use super::pdu::{MOST_PDU_BYTES, REFUSAL};

/// Bytes of the head of a device identification, the count of its objects included.
const IDENTITY_HEAD: usize = 7;

/// Tells `each` every length that a request which begins like this may have.
pub(super) fn of_request(pdu: &[u8], mut each: impl FnMut(usize)) {
    let counted = |at: usize| pdu.get(at).map(|count| at + 1 + usize::from(*count));
    let length = match pdu.first() {
        Some(1..=6 | 8) => Some(5),
        Some(7 | 11 | 12 | 17) => Some(1),
        Some(15 | 16) => counted(5),
        Some(20 | 21) => counted(1),
        Some(22) => Some(7),
        Some(23) => counted(9),
        Some(24) => Some(3),
        Some(43) => Some(4),
        _ => None,
    };
    if let Some(length) = length.filter(|length| *length <= MOST_PDU_BYTES) {
        each(length);
    }
}

/// The length of the answer to this request, where the request tells it; a refusal is always 2.
pub(crate) fn to(request: &[u8]) -> Option<usize> {
    let count = |at: usize| Some(usize::from(u16::from_be_bytes([*request.get(at)?, *request.get(at + 1)?])));
    let length = match request.first()? {
        1 | 2 => 2 + count(3)?.div_ceil(8),
        3 | 4 | 23 => 2 + 2 * count(3)?,
        5 | 6 | 8 | 15 | 16 => 5,
        20 => {
            let (groups, _) = request.get(2..)?.as_chunks::<7>();
            let records = |group: &[u8; 7]| 2 + 2 * usize::from(u16::from_be_bytes([group[5], group[6]]));
            2 + groups.iter().map(records).sum::<usize>()
        }
        21 | 22 => request.len(),
        _ => return None,
    };
    (length <= MOST_PDU_BYTES).then_some(length)
}

/// Tells `each` every length that an answer which begins like this may have.
pub(super) fn of_answer(pdu: &[u8], mut each: impl FnMut(usize)) {
    let length = match pdu {
        // A refusal of a function that somebody asks for, by a code that somebody gives.
        [function, 1..=11, ..] if matches!(function ^ REFUSAL, 1..=8 | 11 | 12 | 15..=17 | 20..=24 | 43) => {
            Some(2)
        }
        [1..=4 | 12 | 17 | 20 | 21 | 23, count, ..] => Some(2 + usize::from(*count)),
        [5 | 6 | 8 | 11 | 15 | 16, ..] => Some(5),
        [7, ..] => Some(2),
        [22, ..] => Some(7),
        [24, high, low, ..] => Some(3 + usize::from(u16::from_be_bytes([*high, *low]))),
        [43, ..] => return of_identity(pdu, each),
        _ => None,
    };
    if let Some(length) = length.filter(|length| *length <= MOST_PDU_BYTES) {
        each(length);
    }
}

/// Whether a PDU reads as a request and not as an answer as well.
pub(crate) fn is_request(pdu: &[u8]) -> bool {
    let (mut request, mut answer) = (false, false);
    of_request(pdu, |length| request |= length == pdu.len());
    of_answer(pdu, |length| answer |= length == pdu.len());
    request && !answer
}

/// Device identification: objects of `id length data…` up to their count. The standard's own example
/// of an answer in pieces counts the objects of all pieces in each, so it may end after any of them.
fn of_identity(pdu: &[u8], mut each: impl FnMut(usize)) {
    let Some(count) = pdu.get(IDENTITY_HEAD - 1) else { return };
    let mut end = IDENTITY_HEAD;
    each(end);
    for _ in 0..*count {
        let Some(length) = pdu.get(end + 1) else { return };
        end += 2 + usize::from(*length);
        if end > MOST_PDU_BYTES {
            return;
        }
        each(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(of: impl Fn(&[u8], &mut dyn FnMut(usize)), pdu: &[u8]) -> Vec<usize> {
        let mut lengths = Vec::new();
        of(pdu, &mut |length| lengths.push(length));
        lengths
    }

    fn request(pdu: &[u8]) -> Vec<usize> {
        all(|pdu, each| of_request(pdu, each), pdu)
    }

    fn answer(pdu: &[u8]) -> Vec<usize> {
        all(|pdu, each| of_answer(pdu, each), pdu)
    }

    #[test]
    fn the_examples_of_the_standard_have_their_lengths() {
        for (asked, answered) in [
            (&[3, 0, 0x6B, 0, 3][..], &[3, 6, 2, 0x2B, 0, 0, 0, 0x64][..]),
            (&[15, 0, 0x13, 0, 10, 2, 0xCD, 1], &[15, 0, 0x13, 0, 10]),
            (&[16, 0, 1, 0, 2, 4, 0, 10, 1, 2], &[16, 0, 1, 0, 2]),
            (&[22, 0, 4, 0, 0xF2, 0, 0x25], &[22, 0, 4, 0, 0xF2, 0, 0x25]),
            (&[23, 0, 3, 0, 2, 0, 14, 0, 1, 2, 0, 0xFF], &[23, 4, 0, 0xFE, 0x0A, 0xCD]),
            (&[20, 7, 6, 0, 4, 0, 1, 0, 2], &[20, 6, 5, 6, 0x0D, 0xFE, 0, 0x20]),
            (&[8, 0, 0, 0xA5, 0x37], &[8, 0, 0, 0xA5, 0x37]),
            (&[24, 4, 0xDE], &[24, 0, 6, 0, 2, 1, 0xB8, 0x12, 0x84]),
            (&[17], &[17, 3, 1, 2, 0xFF]),
            (&[43, 14, 1, 0], &[43, 14, 1, 1, 0, 0, 0]),
        ] {
            assert_eq!(request(asked), [asked.len()], "{asked:?}");
            assert_eq!(answer(answered), [answered.len()], "{answered:?}");
            if !matches!(asked[0], 17 | 24 | 43) {
                assert_eq!(to(asked), Some(answered.len()), "{asked:?}");
            }
        }
        assert_eq!(answer(&[0x83, 2]), [2]);
        assert_eq!(answer(&[43, 14, 1, 1, 0, 0, 2, 0, 3, 65, 66, 67, 1, 1, 68]), [7, 12, 15]);
    }

    #[test]
    fn what_is_unknown_or_too_long_has_no_length() {
        for pdu in [&[][..], &[3], &[3, 252], &[99, 1], &[0x83, 77], &[0xE3, 2], &[16, 0, 1, 0, 2]] {
            assert_eq!(answer(pdu).iter().filter(|length| **length != 5).count(), 0, "{pdu:?}");
        }
        assert!(request(&[16, 0, 0, 0, 0, 255]).is_empty() && request(&[99, 0]).is_empty());
    }
}
