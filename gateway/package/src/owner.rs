//! Who may change a file: what is trusted must not be changeable by somebody who is not.
//!
//! Always true: a place is safe when it and every folder above it belong to root or to the user whose
//! [`Eyes`] look, and nobody else may write there. A folder like `/tmp`, whose sticky bit keeps others'
//! hands off what is not theirs, is safe to be below.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid};

const GROUP_WRITES: u32 = 0o020;
const OTHERS_WRITE: u32 = 0o002;
const STICKY: u32 = 0o1000;

/// Whose files are trusted besides root's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Eyes {
    user: u32,
    group: u32,
}

impl Eyes {
    /// This process's user.
    pub(crate) fn own() -> Self {
        Self { user: geteuid().as_raw(), group: getegid().as_raw() }
    }

    /// The user a directory belongs to: the gateway's, when root looks after what the gateway runs.
    /// Only root looks with eyes of others.
    pub(crate) fn of_owner(dir: &Path) -> Self {
        match fs::metadata(dir) {
            Ok(meta) if geteuid().is_root() => Self { user: meta.uid(), group: meta.gid() },
            _ => Self::own(),
        }
    }

    /// Why `path` is not safe; `None`: it is.
    pub(crate) fn doubt(self, path: &Path) -> Option<String> {
        let real = match fs::canonicalize(path) {
            Ok(real) => real,
            Err(error) => return Some(format!("{}: {error}", path.display())),
        };
        real.ancestors().enumerate().find_map(|(above, place)| {
            let why = match fs::symlink_metadata(place) {
                Ok(meta) => self.judge(&Seen::of(&meta), above > 0).map(str::to_owned),
                Err(error) => Some(error.to_string()),
            };
            why.map(|why| format!("{} {why}", place.display()))
        })
    }

    /// Why a file itself is not safe, whatever is above it.
    pub(crate) fn doubt_of(self, meta: &Metadata) -> Option<&'static str> {
        self.judge(&Seen::of(meta), false)
    }

    fn judge(self, seen: &Seen, above: bool) -> Option<&'static str> {
        let sticky = above && seen.mode & STICKY != 0;
        let own_group = seen.group == 0 || seen.group == self.group;
        match () {
            () if seen.owner != 0 && seen.owner != self.user => Some("belongs to another user"),
            () if sticky => None,
            () if seen.mode & OTHERS_WRITE != 0 => Some("can be written by everyone"),
            () if seen.mode & GROUP_WRITES != 0 && !own_group => Some("can be written by another group"),
            () => None,
        }
    }
}

/// Who owns a place, and who may write there.
struct Seen {
    owner: u32,
    group: u32,
    mode: u32,
}

impl Seen {
    fn of(meta: &Metadata) -> Self {
        Self { owner: meta.uid(), group: meta.gid(), mode: meta.mode() }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn only_root_and_the_user_may_write() {
        let eyes = Eyes { user: 1000, group: 1000 };
        let judged = |owner, group, mode, above| eyes.judge(&Seen { owner, group, mode }, above);
        assert_eq!(judged(0, 0, 0o755, true), None);
        assert_eq!(judged(1000, 1000, 0o775, false), None, "a group of the user's own");
        assert_eq!(judged(0, 0, 0o1777, true), None, "/tmp");
        assert_eq!(judged(1001, 0, 0o755, true), Some("belongs to another user"));
        assert_eq!(
            judged(0, 0, 0o1777, false),
            Some("can be written by everyone"),
            "/tmp as the folder itself"
        );
        assert_eq!(judged(1000, 1000, 0o646, false), Some("can be written by everyone"));
        assert_eq!(judged(0, 50, 0o775, true), Some("can be written by another group"));
    }

    #[test]
    fn every_folder_above_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let (outer, inner) = (dir.path().join("outer"), dir.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        assert_eq!(Eyes::own().doubt(&inner), None);
        fs::set_permissions(&outer, fs::Permissions::from_mode(0o777)).unwrap();
        let why = Eyes::own().doubt(&inner).unwrap();
        assert!(why.contains("outer can be written by everyone"), "{why}");
        assert!(Eyes::own().doubt(&dir.path().join("nowhere")).unwrap().contains("nowhere"));
    }
}
