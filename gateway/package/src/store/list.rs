//! What is installed, for people.
//!
//! Always true: every byte that is reported as signed was looked at just now.

use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use super::layout::Home;
use super::look::{self, Broken, Looked};
use super::{Doubt, Store, resolve};
use crate::digest;
use crate::files;
use crate::info::Info;
use crate::keys::KeyId;
use crate::limits::MAX_SCHEMA;
use crate::manifest::Manifest;
use crate::name::{self, Version};
use crate::owner::Eyes;
use crate::package::SCHEMA;

/// A driver in one of the directories.
#[derive(Debug, Clone)]
pub struct Listed {
    /// Id of the driver.
    pub id: String,
    /// The directory.
    pub dir: PathBuf,
    /// Whether this is the one a gateway runs; another directory may go before.
    pub in_use: bool,
    /// A program alone has one without a version; the newest first.
    pub versions: Vec<ListedVersion>,
}

/// One version of a driver.
#[derive(Debug, Clone)]
pub struct ListedVersion {
    /// Its version; `None`: a program alone.
    pub version: Option<String>,
    /// Its folder or program.
    pub path: PathBuf,
    /// Whether it is what its directory has to offer: `current` names it, or it takes the place of what
    /// was put aside.
    pub current: bool,
    /// Why it was put aside, if it was.
    pub put_aside: Option<String>,
    /// Who vouches for it.
    pub signed: Option<KeyId>,
    /// Why nobody does.
    pub doubts: Vec<Doubt>,
    /// Why it cannot be started at all.
    pub broken: Option<String>,
    /// Who the driver is; a program alone does not say.
    pub info: Option<Info>,
    /// Its files.
    pub manifest: Option<Manifest>,
}

impl ListedVersion {
    /// The JSON Schema of its part of the configuration, as long as it is the one of the manifest or
    /// nobody vouches for the rest either.
    pub fn schema(&self) -> Option<Json> {
        let bytes = files::read(&self.path.join(SCHEMA), MAX_SCHEMA).ok()?;
        let listed = self.manifest.as_ref()?.file(SCHEMA)?;
        let same = listed.sha256 == digest::of(&bytes) || self.signed.is_none();
        serde_json::from_slice(&bytes).ok().filter(|_| same)
    }
}

impl Store {
    /// Everything in the directories; with `only`, of one driver.
    pub fn list(&self, only: Option<&str>) -> Vec<Listed> {
        let ids = match only {
            Some(id) => vec![id.to_owned()],
            None => self.ids(),
        };
        let trust = self.trust();
        let mut listed = Vec::new();
        for id in ids.iter().filter(|id| name::is_id(id)) {
            let bad = self.bad(id);
            let used =
                self.candidates(id, &bad).unwrap_or_default().into_iter().next().map(|used| used.path());
            for dir in &self.dirs {
                let home = Home::of(dir, id);
                let current = home.current().ok().flatten();
                let current = current.and_then(|current| resolve::in_use(&home, &current, &bad));
                let version = |version: Version| {
                    let path = home.version_dir(&version);
                    let looked = look::package(&path, id, &version, (&trust, self.eyes(dir)));
                    ListedVersion {
                        current: current.as_ref() == Some(&version),
                        put_aside: bad.get(&version).cloned(),
                        ..seen(path, Some(version.to_string()), looked)
                    }
                };
                let mut versions: Vec<ListedVersion> = home.versions().into_iter().map(version).collect();
                let bare = dir.join(name::bare(id));
                if bare.is_file() {
                    let alone = seen_bare(&bare, id, self.eyes(dir));
                    versions.push(ListedVersion { current: current.is_none(), ..alone });
                }
                if versions.is_empty() {
                    continue;
                }
                let in_use = used.as_ref().is_some_and(|used| versions.iter().any(|v| v.path == *used));
                listed.push(Listed { id: id.clone(), dir: dir.clone(), in_use, versions });
            }
        }
        listed
    }
}

fn seen(path: PathBuf, version: Option<String>, looked: Result<Looked, Broken>) -> ListedVersion {
    let nothing = nothing_of(path, version);
    match looked {
        Err(broken) => ListedVersion { broken: Some(broken.to_string()), ..nothing },
        Ok(looked) => {
            let (info, manifest) = (Some(looked.info.clone()), Some(looked.manifest.clone()));
            let installed = looked.into_installed();
            ListedVersion { signed: installed.signed, doubts: installed.doubts, info, manifest, ..nothing }
        }
    }
}

fn seen_bare(path: &Path, id: &str, eyes: Eyes) -> ListedVersion {
    let nothing = nothing_of(path.to_owned(), None);
    match look::bare(path, id, eyes) {
        Err(broken) => ListedVersion { broken: Some(broken.to_string()), ..nothing },
        Ok(installed) => ListedVersion { doubts: installed.doubts, ..nothing },
    }
}

fn nothing_of(path: PathBuf, version: Option<String>) -> ListedVersion {
    ListedVersion {
        version,
        path,
        current: false,
        put_aside: None,
        signed: None,
        doubts: Vec::new(),
        broken: None,
        info: None,
        manifest: None,
    }
}
