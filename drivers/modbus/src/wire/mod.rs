//! Requests and answers as bytes. Pure.
//!
//! - `pdu`: what is asked and said, the same in every framing;
//! - `length`: how long that is, by its first bytes;
//! - `mbap`, `rtu`, `ascii`: the frames around it.
//!
//! The codec is ours because this is where the crates at hand are lenient: rmodbus 0.13 checks neither
//! length nor echo and takes any foreign function for an exception, tokio-modbus 0.17 drops a call at
//! the first answer that is not its own.

pub(crate) mod ascii;
mod length;
pub(crate) mod mbap;
pub(crate) mod pdu;
pub(crate) mod rtu;

pub(crate) use length::{is_request, to as length_of_answer};
pub(crate) use pdu::{Answer, Exception, Mismatch, REFUSAL, Request, Scope};

/// A frame whose check was right: an answer, a request of somebody or an echo of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) unit: u8,
    pub(crate) pdu: Vec<u8>,
    /// Nothing was skipped before it.
    pub(crate) clean: bool,
}
