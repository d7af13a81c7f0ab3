//! Requests and answers as bytes. Pure.
//!
//! - `pdu`: what is asked and said, the same in every framing;
//! - `mbap`: the frames of Modbus TCP.
//!
//! The codec is ours because this is where the crates at hand are lenient: rmodbus 0.13 checks neither
//! length nor echo and takes any foreign function for an exception, tokio-modbus 0.17 drops a call at
//! the first answer that is not its own.

pub(crate) mod mbap;
pub(crate) mod pdu;

pub(crate) use pdu::{Answer, Exception, Mismatch, Request};
