//! Where drivers are installed, and which of them may run.
//!
//! ```text
//! <dir>/driver-<id>                     a program alone, for developers: nobody vouches for it
//! <dir>/<id>/<version>/…                a package, as it was packed, manifest and signature with it
//! <dir>/<id>/current                    "1.2.0\nbefore 1.1.0\n": the version in use, and the one before it
//! <dir>/<id>/bad/<version>              why a version was put aside; it is not chosen again by itself
//! <dir>/.lock, .installing-*, .removed-*
//! ```
//! Always true: of several directories the first that has the driver holds; `current` is replaced as
//! a whole, so a version is in use or it is not; a driver runs only after every byte of it was looked
//! at, at this very start; discovery is never execution; what root installs belongs to the owner of the
//! directory.
//!
//! In reading order: `layout` (the files above), `look` (one installed version, verified),
//! `resolve` (which one, and may it run), `revert`, `install`, `remove`, `list`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use crate::keys::{KeyId, Trust};
use crate::owner::Eyes;

mod install;
mod layout;
mod list;
mod look;
mod remove;
mod resolve;
mod revert;

pub use install::{Install, InstallError, Outcome};
pub use list::{Listed, ListedVersion};
pub use look::Doubt;
pub use remove::{RELEASE_WAIT, RemoveError, Removed};
pub use resolve::ResolveError;
pub use revert::RevertError;

/// The directories of drivers, and who is trusted.
#[derive(Debug)]
pub struct Store {
    dirs: Vec<PathBuf>,
    trusted_keys: PathBuf,
    allow_unsigned: Vec<String>,
    /// Warnings about key files that were said, so that each is said once. Locked for a moment only:
    /// a store is looked into by several tasks, and none of them is its owner.
    said: Mutex<BTreeSet<String>>,
    /// Whether the owner of a directory is trusted in it, and not only this process's user.
    for_owners: bool,
    /// Versions that were put aside where nothing can be written. Locked for a moment only, like above.
    aside: Mutex<Vec<revert::Aside>>,
}

/// A driver that may run: every byte was verified just now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Installed {
    /// Id of the driver.
    pub id: String,
    /// Its version; a program alone has none.
    pub version: Option<String>,
    /// What is started: its own program, or an interpreter.
    pub program: PathBuf,
    /// With these arguments.
    pub args: Vec<OsString>,
    /// Whether it is a program of its own, which can be started from a verified file descriptor.
    pub native: bool,
    /// SHA-256 of `program`.
    pub checksum: [u8; 32],
    /// Its own folder; a program alone has the one it is in.
    pub dir: PathBuf,
    /// Who vouches for it. `None`: nobody, and it runs because `allow_unsigned` names it.
    pub signed: Option<KeyId>,
    /// Why nobody vouches for it; empty when somebody does.
    pub doubts: Vec<Doubt>,
    /// Changes whenever anything of it changes.
    pub fingerprint: [u8; 32],
}

impl Store {
    /// Looks nowhere yet.
    pub fn new(dirs: Vec<PathBuf>, trusted_keys: PathBuf, allow_unsigned: Vec<String>) -> Self {
        let (said, aside) = (Mutex::default(), Mutex::default());
        Self { dirs, trusted_keys, allow_unsigned, said, for_owners: false, aside }
    }

    /// For root, who looks after what the gateway's user runs: a directory's owner is trusted in it.
    pub fn for_owners(self) -> Self {
        Self { for_owners: true, ..self }
    }

    /// The directories, in the order they are searched.
    pub fn dirs(&self) -> &[PathBuf] {
        &self.dirs
    }

    /// The keys that are trusted now. What is wrong with key files is said once in the log.
    pub fn trust(&self) -> Trust {
        let trust = Trust::read(&self.trusted_keys);
        let mut said = self.said.lock().expect("nobody panics while holding it");
        for warning in trust.warnings() {
            if said.insert(warning.clone()) {
                tracing::warn!(error = %warning, "a trusted key is left out");
            }
        }
        trust
    }

    /// Whose files are trusted in a directory.
    fn eyes(&self, dir: &Path) -> Eyes {
        if self.for_owners { Eyes::of_owner(dir) } else { Eyes::own() }
    }

    fn allows_unsigned(&self, id: &str) -> bool {
        self.allow_unsigned.iter().any(|allowed| allowed == id)
    }

    fn listed_dirs(&self) -> String {
        let dirs: Vec<String> =
            self.dirs.iter().map(|dir: &PathBuf| Path::display(dir).to_string()).collect();
        dirs.join(", ")
    }
}
