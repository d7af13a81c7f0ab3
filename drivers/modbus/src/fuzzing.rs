//! What must hold for any bytes: one function per decoder, called by the targets in `fuzz/`.
//!
//! Always true: no part of the driver; a function panics exactly when a promise is broken.

use crate::point::address::Table;
use crate::wire::mbap::{self, Frames};
use crate::wire::{Answer, Request};

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

/// Answers: one that counts has the function and the amount that was asked for.
pub fn pdu(bytes: &[u8]) {
    let [kind, high, low, size, answer @ ..] = bytes else { return };
    let (address, cells) = (u16::from_be_bytes([*high, *low]), u16::from(*size).clamp(1, 123));
    let request = match kind % 8 {
        0 => Request::Read { table: Table::Coil, address, cells },
        1 => Request::Read { table: Table::Discrete, address, cells },
        2 => Request::Read { table: Table::Holding, address, cells },
        3 => Request::Read { table: Table::Input, address, cells },
        4 => Request::WriteCoil { address, on: size % 2 == 1 },
        5 => Request::WriteRegister { address, value: [*kind, *size] },
        6 => Request::WriteCoils { address, coils: vec![*high % 2 == 1; usize::from(cells)] },
        _ => Request::WriteRegisters { address, values: vec![*low; usize::from(cells) * 2] },
    };
    assert!(request.pdu().len() <= 253, "a request that fits no frame");
    match request.answer(answer) {
        Ok(Answer::Data(data)) => {
            let Request::Read { table, cells, .. } = request else { panic!("a write is answered with data") };
            let cells = usize::from(cells);
            assert_eq!(data.len(), if table.is_bits() { cells.div_ceil(8) } else { cells * 2 });
        }
        Ok(Answer::Written) => assert_eq!(answer, &request.pdu()[..5], "the echo is another one"),
        Ok(Answer::Refused(_)) => assert_eq!(answer[0], request.function() | 0x80),
        Err(_) => {}
    }
}
