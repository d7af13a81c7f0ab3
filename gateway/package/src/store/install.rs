//! Installing: a package becomes a version in a directory, and then the version in use.
//!
//! ```text
//! <id>/.installing-<version>-<pid>  unpacked, every byte verified and on the disk
//!   → renamed to <id>/<version>     whole from the first moment it has this name
//!   → <id>/current replaced         in use
//! ```
//! Always true: whenever it is cut short, by an error, `kill -9` or a power cut, the version in use
//! before is in use still, or the new one is; what was left is swept by the next installation.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with, statvfs};

use super::layout::{self, Current, Home};
use super::resolve::Candidate;
use super::{Store, look};
use crate::command::Start;
use crate::error::Refused;
use crate::files;
use crate::keys::KeyId;
use crate::limits::{DISK_RESERVE, KEPT_VERSIONS};
use crate::lock::Lock;
use crate::name::{self, Version};
use crate::package::Package;

/// Begins the name of a folder that is being unpacked.
const INSTALLING: &str = ".installing-";
/// Begins the name of a folder that is being deleted.
pub(super) const REMOVED: &str = ".removed-";

/// How to install.
#[derive(Debug, Clone, Copy, Default)]
pub struct Install<'a> {
    /// Where; the first of the store's directories if it is not said.
    pub dir: Option<&'a Path>,
    /// Also when a newer version is in use.
    pub allow_downgrade: bool,
    /// Also when this version was put aside after it failed.
    pub retry: bool,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Id of the driver.
    pub id: String,
    /// The version that is in use now.
    pub version: String,
    /// Its folder.
    pub path: PathBuf,
    /// What was in use before, if that was a version.
    pub before: Option<String>,
    /// Whether it was in use already, and nothing had to be done.
    pub already: bool,
    /// Who vouches for it.
    pub signed: Option<KeyId>,
    /// What keeps it from running, or will surprise somebody.
    pub warnings: Vec<String>,
}

/// Why a package is not installed. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum InstallError {
    /// The package is not taken.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// A newer version is in use.
    #[error(
        "{id} {version} is older than {current}, which is in use; --allow-downgrade installs it all the same"
    )]
    Downgrade {
        /// Driver id.
        id: String,
        /// Of the package.
        version: String,
        /// In use.
        current: String,
    },
    /// The version is there and different.
    #[error(
        "{id} {version} is in {path} already, with other content; give what you changed a new version, or remove it first: sagoo-edge driver remove {id} --version {version}"
    )]
    Differs {
        /// Driver id.
        id: String,
        /// Its version.
        version: String,
        /// Where it is.
        path: PathBuf,
    },
    /// The version failed here before.
    #[error("{id} {version} was put aside: {why}; install a newer version, or this one again with --retry")]
    PutAside {
        /// Driver id.
        id: String,
        /// Its version.
        version: String,
        /// Why it was.
        why: String,
    },
    /// The disk is full.
    #[error(
        "{path}: {free} bytes are free and {needed} are needed; make room, for example: sagoo-edge driver list"
    )]
    NoSpace {
        /// Where.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that are needed.
        needed: u64,
    },
    /// No directory to install into.
    #[error("drivers.dirs names no directory; say where with --dir")]
    Nowhere,
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Store {
    /// Installs a package and puts it to use; `progress` is told how many bytes are unpacked.
    pub fn install(
        &self,
        package: &Package,
        how: Install<'_>,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Outcome, InstallError> {
        let id = &package.manifest().id;
        let version = &package.manifest().version;
        let dir = how.dir.or(self.dirs.first().map(PathBuf::as_path)).ok_or(InstallError::Nowhere)?;
        package.require_signature(&self.trust(), self.allows_unsigned(id))?;
        package.require_this_machine()?;
        self.may_replace(package, &how)?;

        let home = Home::of(dir, id);
        let _lock = Lock::take(dir).map_err(io_at(dir))?;
        sweep(dir);
        let current = home.current().ok().flatten();
        let already = current.as_ref().is_some_and(|current| current.version == *version);
        let unpacked = match self.there(&home, package)? {
            true => {
                // what is there is as it should be; a damaged copy of it is told all the same
                package.verify(progress)?;
                false
            }
            false => {
                place(&home, package, progress)?;
                true
            }
        };
        home.unmark_bad(version).map_err(io_at(&home.0))?;
        if !already {
            let before = current.map(|current| current.version);
            let current = Current { version: version.clone(), before };
            home.set_current(&current).map_err(io_at(&home.current_file()))?;
            prune(&home, &current);
        }
        let path = home.version_dir(version);
        Ok(Outcome {
            id: id.clone(),
            version: version.to_string(),
            before: home.current().ok().flatten().and_then(|current| current.before).map(|v| v.to_string()),
            already: already && !unpacked,
            signed: package.signed().ok().cloned(),
            warnings: self.warnings(dir, package, &path),
            path,
        })
    }

    /// Whether the version may take the place of what is in use.
    fn may_replace(&self, package: &Package, how: &Install<'_>) -> Result<(), InstallError> {
        let (id, version) = (package.manifest().id.clone(), &package.manifest().version);
        let bad = self.bad(&id);
        if let Some(why) = bad.get(version).filter(|_| !how.retry) {
            return Err(InstallError::PutAside { id, version: version.to_string(), why: why.clone() });
        }
        // a `current` that cannot be read is no reason not to mend it
        let in_use = self.candidates(&id, &bad).unwrap_or_default().into_iter().next();
        match in_use {
            Some(Candidate::Package(_, current)) if current > *version && !how.allow_downgrade => {
                Err(InstallError::Downgrade {
                    id,
                    version: version.to_string(),
                    current: current.to_string(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Whether the version is there as it should be; other content under the same version is refused.
    fn there(&self, home: &Home, package: &Package) -> Result<bool, InstallError> {
        let (id, version) = (&package.manifest().id, &package.manifest().version);
        let path = home.version_dir(version);
        if !path.is_dir() {
            return Ok(false);
        }
        match look::manifest(&path, id, version) {
            Ok((bytes, _)) if package.is_manifest(&bytes) => {
                let looked = look::package(&path, id, version, (&self.trust(), self.eyes(home.dir())));
                Ok(looked.is_ok_and(|looked| looked.is_unchanged()))
            }
            Ok(_) => Err(InstallError::Differs { id: id.clone(), version: version.to_string(), path }),
            // a folder without a manifest that can be read is the wreck of something, and replaced
            Err(_) => Ok(false),
        }
    }

    fn warnings(&self, dir: &Path, package: &Package, path: &Path) -> Vec<String> {
        let (id, mut warnings) = (&package.manifest().id, Vec::new());
        if !self.dirs.iter().any(|known| known == dir) {
            warnings
                .push(format!("{} is not in drivers.dirs: the gateway does not look there", dir.display()));
        }
        for earlier in self.dirs.iter().take_while(|known| *known != dir) {
            let home = Home::of(earlier, id);
            if home.current_file().is_file() || earlier.join(name::bare(id)).is_file() {
                warnings.push(format!("the driver in {} goes before it", earlier.display()));
            }
        }
        if let Ok(Start::Interpreted { interpreter, .. }) = Start::of(package.info(), package.manifest()) {
            warnings
                .extend(Start::interpreter(interpreter).err().map(|why| format!("it will not run: {why}")));
        }
        warnings.extend(self.eyes(dir).doubt(path).map(|why| format!("it will not run: {why}")));
        warnings
    }
}

/// Unpacks beside, and then gives the folder its name.
fn place(home: &Home, package: &Package, progress: &mut dyn FnMut(u64)) -> Result<(), InstallError> {
    files::folder(&home.0).map_err(io_at(&home.0))?;
    let stat = statvfs(&home.0).map_err(|errno| io_at(&home.0)(errno.into()))?;
    room(&home.0, stat.f_bavail * stat.f_frsize, package.manifest().size())?;
    let version = &package.manifest().version;
    let (path, beside) =
        (home.version_dir(version), home.0.join(format!("{INSTALLING}{version}-{}", std::process::id())));
    let placed = files::folder(&beside)
        .map_err(io_at(&beside))
        .and_then(|()| package.unpack(&beside, progress).map_err(InstallError::from))
        .and_then(|()| swap(&beside, &path).map_err(io_at(&path)))
        .and_then(|()| files::sync_dir(&home.0).map_err(io_at(&home.0)));
    // gone when all went well, the changed one that was there before, or what was unpacked so far
    let _ = fs::remove_dir_all(&beside);
    if placed.is_err() {
        let _ = fs::remove_dir(&home.0); // only if it is empty, so nothing was ever installed
    }
    placed
}

/// Whether what is unpacked fits on the disk.
fn room(path: &Path, free: u64, size: u64) -> Result<(), InstallError> {
    let needed = size + DISK_RESERVE;
    match free < needed {
        true => Err(InstallError::NoSpace { path: path.to_owned(), free, needed }),
        false => Ok(()),
    }
}

/// Gives `beside` its name, in one step also where there is a folder already.
fn swap(beside: &Path, path: &Path) -> io::Result<()> {
    let flags = if path.exists() { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
    Ok(renameat_with(CWD, beside, CWD, path, flags)?)
}

/// Removes what installations and removals that were cut short left behind. The lock is held, so
/// nobody is at it now.
pub(super) fn sweep(dir: &Path) {
    let homes = layout::names(dir).into_iter().filter(|name| name::is_id(name)).map(|name| dir.join(name));
    for place in homes.chain([dir.to_owned()]) {
        for name in layout::names(&place) {
            let path = place.join(&name);
            let left = [INSTALLING, REMOVED].iter().any(|begin| name.starts_with(begin));
            let removed = match left {
                true => fs::remove_dir_all(&path),
                false if name.starts_with(".current.") => fs::remove_file(&path),
                false => continue,
            };
            if let Err(error) = removed {
                tracing::warn!(path = %path.display(), %error, "what an installation left behind stays");
            }
        }
        if place != dir {
            let _ = fs::remove_dir(&place); // only if it is empty
        }
    }
}

/// Keeps the versions in use now and before, and the newest others up to the limit.
fn prune(home: &Home, current: &Current) {
    let keep = |version: &Version| *version == current.version || current.before.as_ref() == Some(version);
    let (kept, others): (Vec<Version>, Vec<Version>) = home.versions().into_iter().partition(keep);
    for version in others.iter().skip(KEPT_VERSIONS.saturating_sub(kept.len())) {
        let path = home.version_dir(version);
        let aside = home.0.join(format!("{REMOVED}{version}"));
        // renamed first, so that a version is there as a whole or not at all
        if let Err(error) = fs::rename(&path, &aside).and_then(|()| fs::remove_dir_all(&aside)) {
            tracing::warn!(path = %path.display(), %error, "an old version stays");
        }
    }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> InstallError + use<> {
    let path = path.to_owned();
    move |source| InstallError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_without_room_is_told_before_anything_is_unpacked() {
        assert!(room(Path::new("/d"), DISK_RESERVE + 10, 10).is_ok());
        let full = room(Path::new("/d"), DISK_RESERVE + 9, 10).unwrap_err().to_string();
        assert!(full.starts_with("/d: 16777225 bytes are free and 16777226 are needed; make room"), "{full}");
    }
}
