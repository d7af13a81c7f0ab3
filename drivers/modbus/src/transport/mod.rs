//! What carries requests and answers.
//!
//! In reading order:
//! - `wire`: the one type that the rest of the driver speaks to;
//! - `numbered`, `turns`: who may speak and whose answer it is, with transactions and without; `debts`
//!   remembers answers that may still come, `turnarounds` how long units take, `cutter` is one of the
//!   framings of `turns`;
//! - `open`: opens the way; `way`: bytes out and in, whatever carries them; `port` is a serial port,
//!   `rs485` the kernel's help with turning its line around, `tls` Modbus/TCP Security, `door` where
//!   devices dial in;
//! - `alarm`: waits that are shorter than a millisecond.
//!
//! Always true: only the own answer of a request comes back; every wait ends.

mod alarm;
mod cutter;
mod debts;
mod door;
mod numbered;
mod open;
mod port;
mod rs485;
mod tls;
mod turnarounds;
mod turns;
mod way;
mod wire;

use sagoo_driver_sdk::LineError;

#[cfg(test)]
pub(crate) use self::door::GREETINGS;
pub(crate) use self::port::open_stream;
pub(crate) use self::wire::Wire;
#[cfg(test)]
pub(crate) use self::wire::{BROADCAST_PAUSE, SILENT_LIMIT};
use crate::wire::Answer;

/// What a request came to when the line is well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The answer to it.
    Answer(Answer),
    /// Its transaction, unit and function, but not its length or echo: nothing in it may be used.
    Nonsense(String),
}

/// Why a request with a deadline has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The line was ready for it too late: nothing was sent.
    Expired,
    /// The line could not be opened or made ready: nothing was sent.
    NotSent(LineError),
    /// The device may have seen it.
    Unanswered(LineError),
}

impl Failure {
    fn is_broken(&self) -> bool {
        matches!(self, Self::NotSent(LineError::Broken(_)) | Self::Unanswered(LineError::Broken(_)))
    }

    /// Of a request without a deadline.
    fn into_error(self) -> LineError {
        match self {
            Self::NotSent(error) | Self::Unanswered(error) => error,
            Self::Expired => LineError::Silent("too late".to_owned()),
        }
    }
}
