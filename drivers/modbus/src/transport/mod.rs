//! What carries requests and answers: one file for each way.
//!
//! - `wire`: the one type that the rest of the driver speaks to.
//!
//! Always true: only the own answer of a request comes back; every wait ends.

mod wire;

#[cfg(test)]
pub(crate) use wire::SILENT_LIMIT;
pub(crate) use wire::{Failure, Said, Wire};
