//! Small durable values in `sled`: drivers' key-value stores, command ids, what status remembers.
//!
//! Always true: never payload; a value is at most [`MAX_VALUE`]; a panic inside `sled` is an error
//! here; damage costs this state at most, and the damaged files are kept once for whoever wants to
//! look. If it cannot be opened at all, the caller goes on without it.
//!
//! ```text
//! <dir>/lock            held by flock while open, empty
//! <dir>/db/             sled's own files
//! <dir>/ballast         space for opening on a full disk
//! <dir>/db.new/, db.old/ while the files are rewritten
//! <dir>/quarantine-<t>/ what sled could not open at unix time t; one is kept
//! ```

mod ballast;
mod durable;
mod open;
mod rewrite;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

pub use open::StateRecovery;
pub use rewrite::MAX_DB_BYTES;

use crate::lock::Lock;

/// Largest value: above, `sled` would write to files it never syncs.
pub const MAX_VALUE: usize = 4 << 10;
/// Longest key.
pub const MAX_KEY: usize = 512;
/// Longest name of a space.
pub const MAX_SPACE: usize = u8::MAX as usize;
/// Pairs a scan returns at most.
pub const MAX_SCAN: usize = 16 << 10;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Why a small value could not be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another process owns the directory.
    #[error("state {dir} is in use by another process; stop that gateway or give this one its own directory")]
    Locked {
        /// The state's directory.
        dir: PathBuf,
    },
    /// The directory cannot be used: permissions, a full or read-only disk.
    #[error("open state {path}: {source}; free space and check that the disk is mounted writable")]
    Open {
        /// Which file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Key, space or value is longer than allowed.
    #[error("{what} of {len} bytes is too long, the limit is {max}")]
    TooLong {
        /// `key`, `space` or `value`.
        what: &'static str,
        /// Its length.
        len: usize,
        /// The limit.
        max: usize,
    },
    /// A space holds more than a scan returns.
    #[error("space {space} holds more than {max} values")]
    TooMany {
        /// Which.
        space: String,
        /// The limit.
        max: usize,
    },
    /// `sled` could not do it; a restart recovers what can be recovered.
    #[error("state {dir}: {reason}")]
    Broken {
        /// The state's directory.
        dir: PathBuf,
        /// What `sled` said.
        reason: String,
    },
}

/// Small durable values, in spaces. One owner, calls block.
#[derive(Debug)]
pub struct State {
    // before the lock, so that it is closed while the directory is still ours; none: it could not be
    // opened again after it was rewritten
    db: Option<sled::Db>,
    dir: PathBuf,
    /// Size of its files above which they are rewritten.
    rewrite_above: u64,
    _lock: Lock,
}

impl State {
    /// Keeps a value; durable after [`Self::flush`].
    pub fn put(&self, space: &str, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        limit("value", value.len(), MAX_VALUE)?;
        let key = full_key(space, key)?;
        self.guard(|db| db.insert(key, value).map(|_| ()))
    }

    /// The value, if there is one.
    pub fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let key = full_key(space, key)?;
        self.guard(|db| Ok(db.get(key)?.map(|value| value.to_vec())))
    }

    /// Forgets a value.
    pub fn delete(&self, space: &str, key: &[u8]) -> Result<(), StateError> {
        let key = full_key(space, key)?;
        self.guard(|db| db.remove(key).map(|_| ()))
    }

    /// Everything in a space, by key; more than [`MAX_SCAN`] pairs are an error.
    pub fn scan(&self, space: &str) -> Result<Vec<Pair>, StateError> {
        let prefix = full_key(space, &[])?;
        let pairs = self.guard(|db| {
            let pair =
                |(key, value): (sled::IVec, sled::IVec)| (key[prefix.len()..].to_vec(), value.to_vec());
            db.scan_prefix(&prefix)
                .take(MAX_SCAN + 1)
                .map(|entry| entry.map(pair))
                .collect::<Result<Vec<_>, _>>()
        })?;
        if pairs.len() > MAX_SCAN {
            return Err(StateError::TooMany { space: space.to_owned(), max: MAX_SCAN });
        }
        Ok(pairs)
    }

    /// Blocks until everything so far is on flash.
    pub fn flush(&self) -> Result<(), StateError> {
        self.guard(|db| db.flush().map(|_| ()))
    }

    /// `sled` panics on some damage; that must not reach the gateway.
    fn guard<T>(&self, work: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, StateError> {
        let broken = |reason: String| StateError::Broken { dir: self.dir.clone(), reason };
        let Some(db) = &self.db else { return Err(broken("it is closed".to_owned())) };
        match catch_unwind(AssertUnwindSafe(|| work(db))) {
            Ok(result) => result.map_err(|error| broken(error.to_string())),
            Err(panic) => Err(broken(open::panic_text(&*panic))),
        }
    }
}

/// Space and key as one: length and name of the space, then the key.
fn full_key(space: &str, key: &[u8]) -> Result<Vec<u8>, StateError> {
    limit("space", space.len(), MAX_SPACE)?;
    limit("key", key.len(), MAX_KEY)?;
    let mut full = Vec::with_capacity(1 + space.len() + key.len());
    full.push(space.len() as u8);
    full.extend(space.as_bytes());
    full.extend(key);
    Ok(full)
}

fn limit(what: &'static str, len: usize, max: usize) -> Result<(), StateError> {
    if len > max { Err(StateError::TooLong { what, len, max }) } else { Ok(()) }
}

#[cfg(test)]
mod tests;
