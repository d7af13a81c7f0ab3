//! What must hold for any bytes: one function per decoder, called by the targets in `fuzz/`.
//!
//! Always true: no part of the driver; a function panics exactly when a promise is broken.

use crate::point::address::Table;
use crate::point::expression::Expression;
use crate::point::kind::{Kind, Type};
use crate::point::value::Codec;
use crate::wire::mbap::{self, Frames};
use crate::wire::pdu::{FilePart, Scope};
use crate::wire::{Answer, Request, ascii, rtu};

/// Frames of Modbus TCP: the same ones however the stream is cut, and each is written as it was read.
pub fn mbap(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else { return };
    let whole = frames(stream, stream.len().max(1));
    let cut = frames(stream, usize::from(*step).max(1));
    assert_eq!(whole, cut, "the stream means something else when it comes in pieces");
    let (taken, _) = whole;
    assert!(stream.starts_with(&taken), "a frame is read as something else than was sent");
}

/// The frames of a stream that comes in steps, as they are written, and whether garbage ended it.
fn frames(stream: &[u8], step: usize) -> (Vec<u8>, bool) {
    let (mut frames, mut taken) = (Frames::default(), Vec::new());
    for piece in stream.chunks(step) {
        frames.push(piece);
        loop {
            match frames.next() {
                Ok(Some(frame)) => taken.extend(mbap::frame(frame.transaction, frame.unit, &frame.pdu)),
                Ok(None) => break,
                Err(_) => return (taken, true),
            }
        }
    }
    (taken, false)
}

/// Frames of RTU: what comes out was sent, in its order and with its CRC, and little ever waits. A frame
/// is found again once noise in front of it is over: no more than the longest frame can be hidden by it.
pub fn rtu(bytes: &[u8]) {
    let Some(([step, unit, request @ ..], stream)) = bytes.split_first_chunk::<7>() else { return };
    let mut cutter = rtu::Cutter::default();
    cutter.want(*unit, request);
    let mut place = 0;
    for piece in stream.chunks(usize::from(*step).max(1)) {
        cutter.push(piece);
        while let Some(frame) = cutter.next() {
            place = found(stream, place, &rtu::frame(frame.unit, &frame.pdu));
        }
        assert!(cutter.waits() < 2 * rtu::MOST_FRAME_BYTES, "too much waits");
    }
    let good = rtu::frame(unit.wrapping_add(1), &[0x83, 2]);
    let noise = [0; 2 * rtu::MOST_FRAME_BYTES];
    // Twice, because one may be the beginning of what is waited for until more comes.
    cutter.push(&[&noise[..], &good, &noise, &good].concat());
    let after: Vec<_> = std::iter::from_fn(|| cutter.next()).collect();
    assert!(after.iter().any(|frame| frame.unit == good[0] && frame.pdu == [0x83, 2]), "it stays lost");
}

/// Frames of ASCII: the same ones however the stream is cut, each was sent, and a ':' begins anew.
pub fn ascii(bytes: &[u8]) {
    let Some((step, stream)) = bytes.split_first() else { return };
    // Carriage returns and the case of digits do not count.
    let plain = |bytes: &[u8]| -> Vec<u8> {
        bytes.iter().filter(|byte| **byte != b'\r').map(u8::to_ascii_uppercase).collect()
    };
    let (sent, good) = (plain(stream), ascii::frame(7, &[0x83, 2]));
    let mut cutter = ascii::Cutter::default();
    let mut place = 0;
    for piece in stream.chunks(usize::from(*step).max(1)) {
        cutter.push(piece);
        while let Some(frame) = cutter.next() {
            place = found(&sent, place, &plain(&ascii::frame(frame.unit, &frame.pdu)));
        }
    }
    cutter.push(&good);
    let frame = cutter.next().expect("it stays lost");
    assert_eq!((frame.unit, frame.pdu), (7, vec![0x83, 2]));
}

/// The end of `whole` in `bytes` past `place`: frames come out in their order and do not overlap.
fn found(bytes: &[u8], place: usize, whole: &[u8]) -> usize {
    let at = bytes[place..].windows(whole.len()).position(|window| window == whole);
    place + at.expect("only what was sent is a frame") + whole.len()
}

/// Answers: one that counts has the function and the amount that was asked for.
pub fn pdu(bytes: &[u8]) {
    let [kind, high, low, size, answer @ ..] = bytes else { return };
    let (address, cells) = (u16::from_be_bytes([*high, *low]), u16::from(*size).clamp(1, 123));
    let file = |registers: u16| FilePart { file: address, record: u16::from(*size), cells: registers };
    let request = match kind % 13 {
        0 => Request::Read { table: Table::Coil, address, cells },
        1 => Request::Read { table: Table::Discrete, address, cells },
        2 => Request::Read { table: Table::Holding, address, cells },
        3 => Request::Read { table: Table::Input, address, cells },
        4 => Request::WriteCoil { address, on: size % 2 == 1 },
        5 => Request::WriteRegister { address, value: [*kind, *size] },
        6 => Request::WriteCoils { address, coils: vec![*high % 2 == 1; usize::from(cells)] },
        7 => Request::WriteRegisters { address, values: vec![*low; usize::from(cells) * 2] },
        8 => Request::ReadFile { parts: (0..=size % 8).map(|part| file(1 + u16::from(part))).collect() },
        9 => Request::WriteFile {
            file: address,
            record: 1,
            values: vec![*low; usize::from(cells.min(122)) * 2],
        },
        10 => Request::MaskWrite { address, and: cells, or: u16::from(*size) },
        11 => Request::ReadWrite {
            address,
            values: vec![*high; 2 * (1 + usize::from(*size) % 121)],
            read: 0,
            cells,
        },
        _ => Request::Identify { scope: Scope::ALL[usize::from(*high % 4)], object: *low },
    };
    assert!(request.pdu().len() <= 253, "a request that fits no frame");
    match request.answer(answer) {
        Ok(Answer::Data(data)) => {
            let bytes = match request {
                Request::Read { table, cells, .. } if table.is_bits() => cells.div_ceil(8),
                Request::Read { cells, .. } | Request::ReadWrite { cells, .. } => cells * 2,
                Request::ReadFile { parts } => parts.iter().map(|part| part.cells * 2).sum(),
                _ => panic!("a write is answered with data"),
            };
            assert_eq!(data.len(), usize::from(bytes));
        }
        Ok(Answer::Written) => assert!(request.pdu().starts_with(answer), "the echo is another one"),
        Ok(Answer::Identity { objects, next }) => {
            let told: usize = objects.iter().map(|(_, text)| 2 + text.len()).sum();
            assert_eq!(answer.len(), 7 + told);
            assert!(next.is_none_or(|next| objects.iter().all(|(id, _)| *id < next)), "it never ends");
        }
        Ok(Answer::Refused(_)) => assert_eq!(answer[0], request.function() | 0x80),
        Err(_) => {}
    }
}

/// Expressions: any text is one or has its mistake in a column of it, and any number gives a finite one.
pub fn expression(bytes: &[u8]) {
    let Some((x, text)) = bytes.split_first_chunk::<8>() else { return };
    let Ok(text) = std::str::from_utf8(text) else { return };
    match Expression::parse(text) {
        Ok(expression) => {
            if let Ok(value) = expression.of(f64::from_be_bytes(*x)) {
                assert!(value.is_finite());
            }
        }
        Err(wrong) => assert!((1..=text.chars().count() + 1).contains(&wrong.column)),
    }
}

/// Points: any type in any order reads any registers as a value or a reason, and what it reads and can
/// write again reads the same.
pub fn point(bytes: &[u8]) {
    let mut parts = bytes.splitn(3, |byte| *byte == b'\n');
    let words = [parts.next(), parts.next()].map(|part| std::str::from_utf8(part.unwrap_or_default()));
    let ([Ok(word), Ok(letters)], Some(wire)) = (words, parts.next()) else { return };
    let Some(codec) = Codec::of_words(word, letters) else { return };
    assert_eq!(Type::parse(&codec.this().to_string()), Ok(codec.this()), "a type has another name");
    let Ok(value) = codec.decode(wire) else { return };
    // The text of a list may miss the last bit of a float; a clock in summer is written an hour earlier.
    if let Ok(again) = codec.encode(&value)
        && codec.count.is_none()
        && !matches!(codec.kind, Kind::Time(_))
    {
        assert_eq!(codec.decode(&again).as_ref(), Ok(&value), "what is written reads as something else");
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        // `fuzz/` tries millions.
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn any_bytes_keep_the_promises(
            bytes in vec(prop_oneof![any::<u8>(), 0..8u8, Just(b':'), Just(b'\n'), Just(b'0')], 0..900)
        ) {
            super::mbap(&bytes);
            super::rtu(&bytes);
            super::ascii(&bytes);
            super::pdu(&bytes);
            super::expression(&bytes);
            super::point(&bytes);
        }

        #[test]
        fn any_registers_of_any_type_keep_them(
            word in "(bool|[ui](16|32|64)|f(16|32|64)|bcd(4|8|16))(\\[[0-9]\\])?|[ui]8\\.(high|low)|\
                     bits\\[[0-9]{1,2}(\\.\\.[0-9]{1,2})?\\]( of u(32|64))?|string\\[[0-9]{1,2}\\]|\
                     time\\[(unix32|unix64|unix64ms|ymdhms|bytes|bcd|s7|cp56)\\]",
            order in "AB|BA|A\\.|\\.A|ABCD|CDAB|BADC|DCBA|ABCDEFGH|GHEFCDAB|BCDAFGHE",
            wire in vec(prop_oneof![any::<u8>(), 0..32u8, b' '..=b'~'], 40),
        ) {
            for bytes in 0..=wire.len() {
                super::point(&[word.as_bytes(), b"\n", order.as_bytes(), b"\n", &wire[..bytes]].concat());
            }
        }

        #[test]
        fn any_formula_keeps_them(text in "[x0-9.+*/%^<>=!&|(), -]{0,40}|(if|min|max|bit|round|abs)\\((x|[0-9]|,| |\\)|\\(){0,20}", x in any::<f64>()) {
            super::expression(&[&x.to_be_bytes()[..], text.as_bytes()].concat());
        }
    }
}
