//! The files of one driver in one directory.
//!
//! Always true: `current` is replaced as a whole; a version is a folder with a version's name.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::files;
use crate::limits::MAX_KEY_FILE;
use crate::name::Version;

/// Begins the line with the version before.
const BEFORE: &str = "before ";
const CURRENT: &str = "current";
const BAD: &str = "bad";

/// A driver's folder in one of the directories.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Home(pub(crate) PathBuf);

/// What `current` says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Current {
    /// In use.
    pub(crate) version: Version,
    /// In use before.
    pub(crate) before: Option<Version>,
}

impl Home {
    pub(crate) fn of(dir: &Path, id: &str) -> Self {
        Self(dir.join(id))
    }

    /// The directory it is in.
    pub(crate) fn dir(&self) -> &Path {
        self.0.parent().expect("a home is in a directory")
    }

    pub(crate) fn version_dir(&self, version: &Version) -> PathBuf {
        self.0.join(version.to_string())
    }

    pub(crate) fn current_file(&self) -> PathBuf {
        self.0.join(CURRENT)
    }

    /// `None`: no version is in use.
    pub(crate) fn current(&self) -> io::Result<Option<Current>> {
        let bytes = match files::read(&self.current_file(), MAX_KEY_FILE) {
            Ok(bytes) => bytes,
            Err(error) if [ErrorKind::NotFound, ErrorKind::NotADirectory].contains(&error.kind()) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        match std::str::from_utf8(&bytes).ok().and_then(Current::parse) {
            Some(current) => Ok(Some(current)),
            None => Err(io::Error::other("it names no version; install the driver again")),
        }
    }

    pub(crate) fn set_current(&self, current: &Current) -> io::Result<()> {
        files::replace(&self.current_file(), &current.to_text())
    }

    /// Takes the driver out of use; its files stay.
    pub(crate) fn unset_current(&self) -> io::Result<()> {
        match fs::remove_file(self.current_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => files::sync_dir(&self.0),
        }
    }

    /// Installed versions, the newest first.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> =
            names(&self.0).iter().filter_map(|n| Version::parse(n).ok()).collect();
        versions.sort_by(|a, b| b.cmp(a));
        versions
    }

    /// Versions that were put aside, and why.
    pub(crate) fn bad(&self) -> BTreeMap<Version, String> {
        let dir = self.0.join(BAD);
        let marks = names(&dir).into_iter().filter_map(|name| {
            let why = files::read(&dir.join(&name), MAX_KEY_FILE).unwrap_or_default();
            Some((Version::parse(&name).ok()?, String::from_utf8_lossy(&why).trim().to_owned()))
        });
        marks.collect()
    }

    pub(crate) fn mark_bad(&self, version: &Version, why: &str) -> io::Result<()> {
        let dir = self.0.join(BAD);
        files::folder(&self.0)?;
        files::folder(&dir)?;
        files::replace(&dir.join(version.to_string()), &format!("{why}\n"))?;
        files::sync_dir(&self.0)
    }

    pub(crate) fn unmark_bad(&self, version: &Version) -> io::Result<()> {
        match fs::remove_file(self.0.join(BAD).join(version.to_string())) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

impl Current {
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let version = Version::parse(lines.next()?).ok()?;
        let before = match lines.next() {
            None => None,
            Some(line) => Some(Version::parse(line.strip_prefix(BEFORE)?).ok()?),
        };
        lines.next().is_none().then_some(Self { version, before })
    }

    fn to_text(&self) -> String {
        let before = self.before.as_ref().map(|before| format!("{BEFORE}{before}\n"));
        format!("{}\n{}", self.version, before.unwrap_or_default())
    }
}

/// Names of what is in a folder; none when there is no such folder.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> Version {
        Version::parse(text).unwrap()
    }

    #[test]
    fn current_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        assert_eq!(home.current().unwrap(), None);
        for before in [None, Some(version("1.0.0-rc.1"))] {
            let current = Current { version: version("1.0.0"), before };
            home.set_current(&current).unwrap();
            assert_eq!(home.current().unwrap(), Some(current));
        }
        for wrong in ["", "x", "1.0.0\n2.0.0\n", "1.0.0\nbefore x\n", "1.0.0\nbefore 0.9.0\nmore\n"] {
            fs::write(home.current_file(), wrong).unwrap();
            assert!(home.current().is_err(), "{wrong:?}");
        }
        home.unset_current().unwrap();
        home.unset_current().unwrap();
        assert_eq!(home.current().unwrap(), None);
    }

    #[test]
    fn a_bad_version_is_marked_with_its_reason() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home(dir.path().to_owned());
        home.mark_bad(&version("2.0.0"), "it did not answer").unwrap();
        assert_eq!(home.bad(), BTreeMap::from([(version("2.0.0"), "it did not answer".to_owned())]));
        home.unmark_bad(&version("2.0.0")).unwrap();
        assert!(home.bad().is_empty());
    }

    #[test]
    fn versions_are_folders_with_such_a_name_the_newest_first() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["1.9.0", "1.10.0", ".installing-2.0.0-x", "bad", "latest"] {
            fs::create_dir(dir.path().join(name)).unwrap();
        }
        assert_eq!(Home(dir.path().to_owned()).versions(), [version("1.10.0"), version("1.9.0")]);
    }
}
