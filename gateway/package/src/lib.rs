//! Driver packages: archive, manifest, signature, and where they are installed.
//!
//! Mechanism, no policy: whose keys are trusted and which drivers run without a signature is the
//! caller's word. Always true: nothing here ever executes what is in a package, and a package is
//! installed as a whole or not at all. In reading order:
//!
//! - [`limits`]: every limit, in one place.
//! - [`name`]: ids, versions, file names and paths that are safe.
//! - [`arch`]: which machine a program is for.
//! - `digest`: SHA-256.
//! - [`manifest`]: the files of a package; what is signed.
//! - [`info`]: who the driver is, in the platform's words.
//! - `minisign`: keys and signatures.
//! - [`keys`]: whose signatures are trusted.
//! - `owner`: who may change a file.
//! - `files`: reading up to a limit, replacing as a whole.
//! - `command`: how a driver is started.
//! - `lock`: one at a time changes what is installed.
//! - `zip`: archives, small and strict.
//! - [`error`]: why a package is refused.
//! - [`package`]: a package file, verified and unpacked.
//! - [`mod@pack`]: how one is made.
//! - [`store`]: where drivers are installed, and which of them may run.

pub mod arch;
mod command;
pub mod digest;
pub mod error;
mod files;
pub mod info;
pub mod keys;
pub mod limits;
mod lock;
pub mod manifest;
mod minisign;
pub mod name;
mod owner;
pub mod pack;
pub mod package;
pub mod store;
mod zip;

pub use arch::Arch;
pub use error::Refused;
pub use keys::{KeyId, Trust};
pub use package::Package;
pub use store::{Doubt, Installed, ResolveError, RevertError, Store};
