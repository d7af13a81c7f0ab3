//! From a driver's batch to a stored row; see `thread.rs`.

pub mod handle;
pub mod record;
pub mod snapshot;

pub use handle::Handle;
