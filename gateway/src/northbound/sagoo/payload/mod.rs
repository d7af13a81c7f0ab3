//! Messages of the platform. [`build`] writes, [`parse`] reads, [`clean`] decides what a value may be.
//!
//! Always true of what is built (sagooiot.md §4.7): it is JSON without a backslash, a single quote or a
//! null; every `time` is an integer literal in seconds; `properties` and `events` are objects at every
//! level; the same rows and id give the same bytes.
//!
//! Integers beyond ±2^53 are sent as they are; the platform passes numbers through f64 and keeps the
//! nearest it can hold (sagooiot.md §4.5). Where that is another number, it is said once per device
//! ([`clean::Losses`]).

pub mod build;
pub mod clean;
pub mod parse;

#[cfg(test)]
mod tests;
