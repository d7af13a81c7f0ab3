//! What carries requests and answers: one file for each way.
//!
//! Always true: only the own answer of a request comes back; every wait ends.

mod tcp;

#[cfg(test)]
pub(crate) use tcp::SILENT_LIMIT;
pub(crate) use tcp::{Endpoint, Failure, Said, Tcp};
