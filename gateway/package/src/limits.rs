//! Every limit of a package, in one place.
//!
//! Always true: a limit is checked before the memory or the disk it protects is used. A package
//! beyond one of them is refused; none of them can be switched off.

/// Largest archive, in bytes.
pub const MAX_ARCHIVE: u64 = 256 << 20;
/// Most bytes of all files together, unpacked.
pub const MAX_UNPACKED: u64 = 512 << 20;
/// Most files.
pub const MAX_FILES: usize = 2000;
/// A file may unpack to this many times what it takes in the archive …
pub const MAX_RATIO: u64 = 200;
/// … once it is larger than this; small files of one letter are harmless.
pub const RATIO_FREE: u64 = 1 << 20;
/// Largest `manifest.json`, in bytes.
pub const MAX_MANIFEST: u64 = 1 << 20;
/// Largest `info.json`, in bytes.
pub const MAX_INFO: u64 = 256 << 10;
/// Largest config schema, in bytes.
pub const MAX_SCHEMA: u64 = 4 << 20;
/// Largest signature or key file, in bytes.
pub const MAX_KEY_FILE: u64 = 8 << 10;
/// Most trusted keys that are read.
pub const MAX_KEYS: usize = 256;
/// Longest id of a driver.
pub const MAX_ID: usize = 64;
/// Longest version.
pub const MAX_VERSION: usize = 64;
/// Longest path of a file in a package.
pub const MAX_PATH: usize = 200;
/// Most folders a file is deep.
pub const MAX_DEPTH: usize = 8;
/// Most arguments of a driver.
pub const MAX_ARGS: usize = 64;
/// Installed versions of one driver that are kept; the one in use and the one before always are.
pub const KEPT_VERSIONS: usize = 4;
/// Left free on the disk after an installation, in bytes.
pub const DISK_RESERVE: u64 = 16 << 20;
/// Memory a password-protected secret key may ask for, in bytes: what minisign itself asks for.
pub const MAX_KEY_MEMORY: u64 = 1 << 30;
