//! Configuration.
pub mod types;
pub use types::Config;
