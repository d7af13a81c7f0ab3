//! Which of what is installed a driver is, and whether it may run.
//!
//! Always true: what resolves is vouched for by a trusted key, byte for byte, or named in
//! `allow_unsigned`; a version that was put aside is not chosen.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::layout::{self, Current, Home};
use super::look::{self, Broken, Doubt};
use super::{Installed, Store};
use crate::arch::Arch;
use crate::name::{self, Version};

/// Why a driver cannot be started.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Not in any directory.
    #[error("driver {id}: no program driver-{id} and no package {id} in {dirs}; {remedy}")]
    Missing {
        /// Driver id.
        id: String,
        /// Where it was looked for.
        dirs: String,
        /// What to do.
        remedy: String,
    },
    /// Found, but nobody vouches for it.
    #[error(
        "driver {id}: {path}: {why}; install one signed by a key in {trusted_keys}, or name {id:?} in drivers.allow_unsigned to run it all the same"
    )]
    Unsigned {
        /// Driver id.
        id: String,
        /// Its program or folder.
        path: String,
        /// What is missing.
        why: String,
        /// Where keys are.
        trusted_keys: String,
    },
    /// Not what was signed.
    #[error(
        "driver {id}: {path}: {why} after it was signed; remove it and install it again, or name {id:?} in drivers.allow_unsigned to run it all the same"
    )]
    Changed {
        /// Driver id.
        id: String,
        /// Its folder.
        path: String,
        /// What differs.
        why: String,
    },
    /// Somebody who is not trusted may change it.
    #[error(
        "driver {id}: {path}: {why}; let it and every folder above belong to root or to the gateway's user, and take the right to write from others"
    )]
    Unsafe {
        /// Driver id.
        id: String,
        /// Its program or folder.
        path: String,
        /// Which place, and why.
        why: String,
    },
    /// Installed for another kind of machine.
    #[error("driver {id}: {path} is for {arch}, and this machine is {this}; install the package for {this}")]
    WrongMachine {
        /// Driver id.
        id: String,
        /// Its program or folder.
        path: String,
        /// What it is for.
        arch: String,
        /// What this is.
        this: String,
    },
    /// This machine lacks what it needs.
    #[error("driver {id}: {path}: {why}")]
    Lacks {
        /// Driver id.
        id: String,
        /// Its folder.
        path: String,
        /// What it needs, and the remedy.
        why: String,
    },
    /// It cannot be read, or makes no sense.
    #[error("driver {id}: {path}: {why}; remove it and install it again")]
    Broken {
        /// Driver id.
        id: String,
        /// Its program or folder.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Something that could be the driver.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Candidate {
    /// A version of a package.
    Package(Home, Version),
    /// A program alone.
    Bare(PathBuf),
}

impl Candidate {
    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Self::Package(home, version) => home.version_dir(version),
            Self::Bare(path) => path.clone(),
        }
    }
}

impl Store {
    /// The driver `id`, if it may run, verified just now.
    pub fn resolve(&self, id: &str) -> Result<Installed, ResolveError> {
        let candidates = self.candidates(id, &self.bad(id))?;
        match candidates.first() {
            Some(candidate) => self.look(candidate, id),
            None => Err(self.missing(id)),
        }
    }

    /// Ids of the drivers that are there, whether they may run or not.
    pub fn ids(&self) -> Vec<String> {
        let mut ids = Vec::new();
        for dir in &self.dirs {
            for name in layout::names(dir) {
                match name::id_of_bare(&name) {
                    Some(id) if dir.join(&name).is_file() => ids.push(id.to_owned()),
                    _ if name::is_id(&name) && is_home(&Home::of(dir, &name)) => ids.push(name),
                    _ => {}
                }
            }
        }
        ids.sort();
        ids.dedup();
        ids
    }

    /// What could be the driver, the best first: at most one of each directory. `bad` is left out.
    pub(crate) fn candidates(
        &self,
        id: &str,
        bad: &BTreeMap<Version, String>,
    ) -> Result<Vec<Candidate>, ResolveError> {
        let mut candidates = Vec::new();
        if !name::is_id(id) {
            return Ok(candidates);
        }
        for dir in &self.dirs {
            let home = Home::of(dir, id);
            let current = home.current().map_err(|error| ResolveError::Broken {
                id: id.to_owned(),
                path: home.current_file().display().to_string(),
                why: error.to_string(),
            })?;
            let version = current.and_then(|current| in_use(&home, &current, bad));
            let bare = dir.join(name::bare(id));
            match version {
                Some(version) => candidates.push(Candidate::Package(home, version)),
                None if bare.is_file() => candidates.push(Candidate::Bare(bare)),
                None => {}
            }
        }
        Ok(candidates)
    }

    /// Versions that were put aside, in whichever directory that was noted, or in none.
    pub(crate) fn bad(&self, id: &str) -> BTreeMap<Version, String> {
        match name::is_id(id) {
            true => self.remembered(id).chain(homes(&self.dirs, id).flat_map(|home| home.bad())).collect(),
            false => BTreeMap::new(),
        }
    }

    /// Looks at a candidate, and decides whether it may run.
    pub(crate) fn look(&self, candidate: &Candidate, id: &str) -> Result<Installed, ResolveError> {
        let looked = match candidate {
            Candidate::Bare(path) => look::bare(path, id, self.eyes(path.parent().unwrap_or(path))),
            Candidate::Package(home, version) => {
                let eyes = self.eyes(home.dir());
                let looked = look::package(&home.version_dir(version), id, version, (&self.trust(), eyes));
                looked.map(|mut looked| {
                    // whoever may write there chooses an old version with a known hole
                    looked.doubts.extend(eyes.doubt(&home.current_file()).map(Doubt::Unsafe));
                    looked.into_installed()
                })
            }
        };
        let path = candidate.path().display().to_string();
        let installed = looked.map_err(|broken| refusal(id, path.clone(), broken))?;
        match installed.doubts.first() {
            Some(doubt) if !self.allows_unsigned(id) => Err(self.distrust(id, path, doubt)),
            _ => Ok(installed),
        }
    }

    fn distrust(&self, id: &str, path: String, doubt: &Doubt) -> ResolveError {
        let id = id.to_owned();
        match doubt.clone() {
            Doubt::Unsigned(why) => {
                let trusted_keys = self.trusted_keys.display().to_string();
                ResolveError::Unsigned { id, path, why, trusted_keys }
            }
            Doubt::Changed(why) => ResolveError::Changed { id, path, why },
            Doubt::Unsafe(why) => ResolveError::Unsafe { id, path, why },
        }
    }

    pub(super) fn missing(&self, id: &str) -> ResolveError {
        let aside = self.bad(id).into_iter().next_back();
        let aside = aside.map(|(version, why)| {
            format!("version {version} was put aside ({why}); install another version of it")
        });
        let near = || did_you_mean(id, &self.ids());
        let remedy = aside
            .or_else(near)
            .unwrap_or_else(|| "install it there or add its directory to drivers.dirs".to_owned());
        ResolveError::Missing { id: id.to_owned(), dirs: self.listed_dirs(), remedy }
    }
}

/// The version in use: the current one, or what takes its place when that was put aside. A current
/// version without its folder is shown as broken, and not passed over in silence.
pub(super) fn in_use(home: &Home, current: &Current, bad: &BTreeMap<Version, String>) -> Option<Version> {
    if !bad.contains_key(&current.version) {
        return Some(current.version.clone());
    }
    let others = home.versions();
    let older = others.iter().filter(|version| **version < current.version);
    let mut next = current.before.iter().chain(older);
    next.find(|version| !bad.contains_key(version) && others.contains(version)).cloned()
}

fn is_home(home: &Home) -> bool {
    home.current_file().is_file() || !home.versions().is_empty()
}

fn refusal(id: &str, path: String, broken: Broken) -> ResolveError {
    let id = id.to_owned();
    match broken {
        Broken::Malformed(why) => ResolveError::Broken { id, path, why },
        Broken::Lacks(why) => ResolveError::Lacks { id, path, why },
        Broken::WrongMachine(arch) => {
            let this = Arch::of_this_machine().map_or_else(|| "unknown".to_owned(), |this| this.to_string());
            ResolveError::WrongMachine { id, path, arch, this }
        }
    }
}

fn did_you_mean(id: &str, installed: &[String]) -> Option<String> {
    let others = installed.iter().filter(|known| *known != id);
    let near = others.map(|known| (strsim::osa_distance(id, known), known)).min()?;
    (near.0 <= (id.len() / 3).max(1)).then(|| format!("did you mean {:?}?", near.1))
}

/// Where a driver's home in a directory is.
pub(crate) fn homes<'d>(dirs: &'d [PathBuf], id: &'d str) -> impl Iterator<Item = Home> + 'd {
    dirs.iter().map(move |dir: &'d PathBuf| Home::of(Path::new(dir), id))
}
