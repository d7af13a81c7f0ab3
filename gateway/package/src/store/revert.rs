//! Back to the version before, when a new one failed.
//!
//! Always true: a version is put aside only when another one that may run takes its place; it stays
//! on the disk, marked, until somebody removes it or installs it again on purpose. Where no mark can be
//! written it is put aside as long as this process lives.

use std::fs;
use std::io;
use std::time::SystemTime;

use super::layout::{Current, Home};
use super::resolve::{Candidate, ResolveError, homes};
use super::{Installed, Store};
use crate::lock::Lock;
use crate::name::Version;

/// Why there is no way back. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum RevertError {
    /// Nothing takes its place.
    #[error("driver {id}: no other version can take the place of {version}: {why}")]
    NothingBefore {
        /// Driver id.
        id: String,
        /// The version that failed.
        version: String,
        /// Why not.
        why: Box<ResolveError>,
    },
    /// The version is none.
    #[error("driver {id}: {why}")]
    NoVersion {
        /// Driver id.
        id: String,
        /// What is wrong with it.
        why: String,
    },
}

/// A version that is put aside in this process only.
#[derive(Debug)]
pub(super) struct Aside {
    id: String,
    version: Version,
    why: String,
    /// When `current` had been written at that time; written anew, somebody chose again.
    chosen: Option<SystemTime>,
}

impl Store {
    /// Puts `bad_version` aside with the reason, and goes back to the version before it: the one that
    /// was in use then, or else the newest older one, or else what another directory has. The answer is
    /// what is in use now. If nothing can take its place, nothing is changed.
    pub fn revert(&self, id: &str, bad_version: &str, why: &str) -> Result<Installed, RevertError> {
        let bad =
            Version::parse(bad_version).map_err(|why| RevertError::NoVersion { id: id.to_owned(), why })?;
        let mut aside = self.bad(id);
        aside.insert(bad.clone(), why.to_owned());
        // what is next may be unable to run, too
        let (next, installed) = loop {
            let candidates = self.candidates(id, &aside).map_err(|why| stuck(id, &bad, why))?;
            let Some(next) = candidates.into_iter().next() else {
                return Err(stuck(id, &bad, self.missing(id)));
            };
            match (self.look(&next, id), &next) {
                (Ok(installed), _) => break (next, installed),
                (Err(_), Candidate::Package(_, version)) => {
                    drop(aside.insert(version.clone(), String::new()))
                }
                (Err(why), Candidate::Bare(_)) => return Err(stuck(id, &bad, why)),
            }
        };
        // the mark comes first: after it the version is not chosen any more, whatever `current` says
        if let Err(error) = self.mark(id, &bad, why) {
            let (driver, version) = (id, bad.to_string());
            tracing::warn!(driver, version, %error, "a bad version is remembered until this process ends only");
            self.remember(id, &bad, why);
        }
        if let Err(error) = self.choose(id, &bad, &next) {
            tracing::debug!(driver = id, %error, "current names a version that was put aside");
        }
        Ok(installed)
    }

    /// Marks the version where it is, or else in any directory that can be written to.
    fn mark(&self, id: &str, bad: &Version, why: &str) -> io::Result<()> {
        let there = |home: &Home| home.version_dir(bad).is_dir();
        let (mut all, rest): (Vec<Home>, Vec<Home>) = homes(&self.dirs, id).partition(there);
        all.extend(rest);
        let mut failed = io::Error::other("drivers.dirs names no directory");
        for home in &all {
            match Lock::take(home.dir()).and_then(|_lock| home.mark_bad(bad, why)) {
                Ok(()) => return Ok(()),
                Err(error) => failed = io::Error::other(format!("{}: {error}", home.0.display())),
            }
        }
        Err(failed)
    }

    /// Writes down what takes its place.
    fn choose(&self, id: &str, bad: &Version, next: &Candidate) -> io::Result<()> {
        for home in homes(&self.dirs, id) {
            if home.current()?.is_none_or(|current| current.version != *bad) {
                continue;
            }
            let _lock = Lock::take(home.dir())?;
            match next {
                Candidate::Package(other, version) if *other == home => {
                    home.set_current(&Current { version: version.clone(), before: None })?;
                }
                _ => home.unset_current()?,
            }
        }
        Ok(())
    }

    fn remember(&self, id: &str, version: &Version, why: &str) {
        let (id, version, why) = (id.to_owned(), version.clone(), why.to_owned());
        let chosen = self.chosen(&id);
        let mut aside = self.aside.lock().expect("nobody panics while holding it");
        aside.retain(|known| known.id != id || known.version != version);
        aside.push(Aside { id, version, why, chosen });
    }

    /// What is put aside in this process only, as long as nobody chose anew.
    pub(super) fn remembered(&self, id: &str) -> impl Iterator<Item = (Version, String)> + use<> {
        let chosen = self.chosen(id);
        let aside = self.aside.lock().expect("nobody panics while holding it");
        let known = aside.iter().filter(|known| known.id == id && known.chosen == chosen);
        known.map(|known| (known.version.clone(), known.why.clone())).collect::<Vec<_>>().into_iter()
    }

    /// When a version was chosen last.
    fn chosen(&self, id: &str) -> Option<SystemTime> {
        let written = |home: Home| fs::metadata(home.current_file()).and_then(|meta| meta.modified()).ok();
        homes(&self.dirs, id).filter_map(written).max()
    }
}

fn stuck(id: &str, version: &Version, why: ResolveError) -> RevertError {
    RevertError::NothingBefore { id: id.to_owned(), version: version.to_string(), why: Box::new(why) }
}
