//! A device's side of the framings: a stream ↔ requests. Pure.
//!
//! Always true: any bytes are requests, a wait for more, or skipped, never a panic; an answer goes
//! out in the framing, and with the transaction, of its request.

use crate::wire::mbap;

/// How requests are framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// Modbus TCP.
    Tcp,
}

impl Framing {
    /// Every one, with its word.
    pub(crate) const WORDS: [(&'static str, Self); 1] = [("tcp", Self::Tcp)];

    /// Whether several units hear every request, so that one which is not asked says nothing.
    pub(crate) fn is_a_bus(self) -> bool {
        match self {
            Self::Tcp => false,
        }
    }

    /// The frame of an answer.
    pub(crate) fn frame(self, request: &Incoming, pdu: &[u8]) -> Vec<u8> {
        match self {
            Self::Tcp => mbap::frame(request.transaction, request.unit, pdu),
        }
    }
}

/// A whole request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Incoming {
    /// 0 where the framing has none.
    pub(crate) transaction: u16,
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
}

/// The stream cannot be cut into requests any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lost;

/// Cuts a stream into requests.
#[derive(Debug)]
pub(crate) enum Cutter {
    Tcp(mbap::Frames),
}

impl Cutter {
    pub(crate) fn new(framing: Framing) -> Self {
        match framing {
            Framing::Tcp => Self::Tcp(mbap::Frames::default()),
        }
    }

    /// Bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        match self {
            Self::Tcp(frames) => frames.push(bytes),
        }
    }

    /// The next whole request.
    pub(crate) fn next(&mut self) -> Result<Option<Incoming>, Lost> {
        match self {
            Self::Tcp(frames) => {
                let frame = frames.next().map_err(|_| Lost)?;
                Ok(frame.map(|frame| Incoming {
                    transaction: frame.transaction,
                    unit: frame.unit,
                    pdu: frame.pdu,
                }))
            }
        }
    }
}
