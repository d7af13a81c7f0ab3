//! Frames among noise, echoes and other people's frames.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn cut(cutter: &mut Cutter, bytes: &[u8], size: usize) -> Vec<Frame> {
    let mut frames = Vec::new();
    for part in bytes.chunks(size) {
        cutter.push(part);
        while let Some(frame) = cutter.next() {
            frames.push(frame);
        }
        assert!(cutter.waiting.len() < 2 * MOST_FRAME_BYTES, "{} bytes wait", cutter.waiting.len());
    }
    frames
}

fn wanting(unit: u8, request: &[u8]) -> Cutter {
    let mut cutter = Cutter::default();
    cutter.want(unit, request);
    cutter
}

/// A read of this many holding registers and its answer.
fn read(address: u16, registers: &[u16]) -> (Vec<u8>, Vec<u8>) {
    let request = [&[3][..], &address.to_be_bytes(), &(registers.len() as u16).to_be_bytes()].concat();
    let mut answer = vec![3, registers.len() as u8 * 2];
    answer.extend(registers.iter().flat_map(|register| register.to_be_bytes()));
    (request, answer)
}

#[test]
fn a_frame_is_its_unit_its_pdu_and_a_crc() {
    // Modbus over Serial Line V1.02, 6.2.2: 02 07 has the CRC 0x1241, sent as 41 12.
    assert_eq!(frame(2, &[7]), [2, 7, 0x41, 0x12]);
    assert_eq!(crc(b"123456789"), 0x4B37);
}

#[test]
fn an_answer_is_whole_with_its_last_byte_and_not_before() {
    let (request, answer) = read(0x10, &[1, 2, 3]);
    let bytes = frame(9, &answer);
    let mut cutter = wanting(9, &request);
    for (place, byte) in bytes.iter().enumerate() {
        cutter.push(&[*byte]);
        let frame = cutter.next();
        assert_eq!(frame.is_some(), place + 1 == bytes.len(), "{place}");
    }
    assert!(cutter.waiting.is_empty());
}

#[test]
fn an_echo_comes_out_as_a_frame_of_its_own() {
    for request in [vec![3, 0, 1, 0, 2], vec![6, 0, 1, 0, 2], vec![16, 0, 1, 0, 2, 4, 1, 2, 3, 4]] {
        let answer = if request[0] == 3 { vec![3, 4, 0, 1, 0, 2] } else { request[..5].to_vec() };
        let bytes = [frame(9, &request), frame(9, &answer)].concat();
        for size in [1, 3, 100] {
            let frames = cut(&mut wanting(9, &request), &bytes, size);
            let pdus: Vec<_> = frames.iter().map(|frame| frame.pdu.clone()).collect();
            assert_eq!(pdus, [request.clone(), answer.clone()]);
            assert!(frames.iter().all(|frame| frame.clean));
        }
    }
}

#[test]
fn half_an_answer_before_the_whole_one_is_skipped() {
    let (request, answer) = read(0, &[7, 8, 9]);
    let whole = frame(1, &answer);
    for half in 1..whole.len() {
        let bytes = [&whole[..half], &whole].concat();
        let frames = cut(&mut wanting(1, &request), &bytes, 4);
        assert!(frames.iter().any(|frame| frame.unit == 1 && frame.pdu == answer), "{half}");
    }
}

/// Function, and a PDU of it as a master or a device would send it.
fn foreign() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (1..=6u8, any::<[u8; 4]>()).prop_map(|(function, rest)| [&[function][..], &rest].concat()),
        (1..=4u8, vec(any::<u8>(), 0..=250)).prop_map(|(function, data)| [
            &[function, data.len() as u8][..],
            &data
        ]
        .concat()),
        (any::<[u8; 4]>(), vec(any::<u8>(), 1..=246)).prop_map(|(head, data)| [
            &[16][..],
            &head,
            &[data.len() as u8],
            &data
        ]
        .concat()),
        (1..=6u8, 1..=11u8).prop_map(|(function, code)| vec![function | 0x80, code]),
        any::<[u8; 6]>().prop_map(|rest| [&[22][..], &rest].concat()),
    ]
}

proptest! {
    #[test]
    fn an_answer_is_found_whatever_came_before_it(
        registers in vec(any::<u16>(), 1..=125),
        unit in 1..=247u8,
        noise in vec(any::<u8>(), 0..20),
        others in vec((1..=247u8, foreign()), 0..3),
        size in 1..40usize,
    ) {
        let (request, answer) = read(5, &registers);
        let mut bytes = noise.clone();
        for (unit, pdu) in &others {
            bytes.extend(frame(*unit, pdu));
        }
        bytes.extend(frame(unit, &answer));
        let frames = cut(&mut wanting(unit, &request), &bytes, size);
        // One try in 65 536 is a frame by chance, and may hide the answer; nothing else may.
        let sent = |frame: &Frame| others.contains(&(frame.unit, frame.pdu.clone())) || frame.pdu == answer;
        let last = frames.last();
        prop_assert!(
            last.is_some_and(|frame| frame.unit == unit && frame.pdu == answer) || !frames.iter().all(sent),
            "{frames:?}"
        );
    }

    #[test]
    fn foreign_frames_come_out_one_by_one(sent in vec((1..=247u8, foreign()), 1..6), size in 1..300usize) {
        let bytes: Vec<u8> = sent.iter().flat_map(|(unit, pdu)| frame(*unit, pdu)).collect();
        let got = cut(&mut Cutter::default(), &bytes, size);
        let got: Vec<_> = got.into_iter().map(|frame| (frame.unit, frame.pdu)).collect();
        // One try in 65 536 is a frame by chance.
        prop_assert!(got == sent || !got.iter().all(|frame| sent.contains(frame)), "{got:?}");
    }

    #[test]
    fn a_broken_byte_loses_the_frame_and_makes_no_other_answer(
        registers in vec(any::<u16>(), 1..=125), at in any::<prop::sample::Index>(), flip in 1..=255u8
    ) {
        let (request, answer) = read(5, &registers);
        let mut bytes = frame(7, &answer);
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        for got in cut(&mut wanting(7, &request), &bytes, 16) {
            prop_assert!(got.unit != 7 || got.pdu != answer);
        }
    }

    #[test]
    fn any_bytes_are_frames_or_a_wait(bytes in vec(any::<u8>(), 0..2000), size in 1..300usize) {
        let frames = cut(&mut wanting(3, &[3, 0, 0, 0, 10]), &bytes, size);
        for got in frames {
            let whole = frame(got.unit, &got.pdu);
            prop_assert!(bytes.windows(whole.len()).any(|window| window == whole));
        }
    }
}
