//! The framings without transactions, for those who do not care which.
//!
//! Always true: it decides nothing; `wire` does.

use crate::connection::Framing;
use crate::wire::{Frame, ascii, rtu};

/// Cuts the stream into frames.
#[derive(Debug)]
pub(super) enum Cutter {
    Rtu(rtu::Cutter),
    Ascii(ascii::Cutter),
}

impl Cutter {
    pub(super) fn of(framing: Framing) -> Self {
        match framing {
            Framing::Ascii => Self::Ascii(ascii::Cutter::default()),
            Framing::Rtu | Framing::Tcp => Self::Rtu(rtu::Cutter::default()),
        }
    }

    pub(super) fn frame(&self, unit: u8, pdu: &[u8]) -> Vec<u8> {
        match self {
            Self::Rtu(_) => rtu::frame(unit, pdu),
            Self::Ascii(_) => ascii::frame(unit, pdu),
        }
    }

    /// Characters of the frame of so long a PDU.
    pub(super) fn characters(&self, pdu: usize) -> usize {
        match self {
            Self::Rtu(_) => pdu + rtu::FRAME_BYTES,
            Self::Ascii(_) => 2 * (pdu + 2) + ascii::FRAME_CHARACTERS,
        }
    }

    /// Forgets what waits; from now on the answer to this request is waited for.
    pub(super) fn want(&mut self, unit: u8, pdu: &[u8]) {
        self.clear();
        if let Self::Rtu(cutter) = self {
            cutter.want(unit, pdu);
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Rtu(cutter) => cutter.push(bytes),
            Self::Ascii(cutter) => cutter.push(bytes),
        }
    }

    pub(super) fn next(&mut self) -> Option<Frame> {
        match self {
            Self::Rtu(cutter) => cutter.next(),
            Self::Ascii(cutter) => cutter.next(),
        }
    }

    pub(super) fn clear(&mut self) {
        match self {
            Self::Rtu(cutter) => cutter.clear(),
            Self::Ascii(cutter) => cutter.clear(),
        }
    }
}
