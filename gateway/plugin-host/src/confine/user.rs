//! The user a plugin runs as, where this process may choose.
//!
//! Always true: a user is taken only if the plugin can then live: its own directory is given to it,
//! and the way there is open. Users and groups are those of `/etc/passwd` and `/etc/group`; other
//! sources of users are not asked.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::fs::{Gid, Uid, chown};
use rustix::process::geteuid;
use rustix::thread::{CapabilitySet, capabilities};

const PASSWD: &str = "/etc/passwd";
const GROUP: &str = "/etc/group";
/// Needed to change users, to hand over a directory, and to go on using what is in it and end the
/// plugin afterwards.
const NEEDED: CapabilitySet = CapabilitySet::SETUID
    .union(CapabilitySet::SETGID)
    .union(CapabilitySet::CHOWN)
    .union(CapabilitySet::DAC_OVERRIDE)
    .union(CapabilitySet::KILL);
/// Searching a directory, for everybody.
const SEARCH: u32 = 0o011;

/// Numbers of a user and its groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct User {
    pub(crate) uid: Uid,
    pub(crate) gid: Gid,
    pub(crate) groups: Vec<Gid>,
}

impl User {
    /// The user of this name, if we may become it; why not otherwise.
    pub(super) fn find(name: &str) -> Result<Self, String> {
        let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
        let (passwd, group) = (read(PASSWD)?, read(GROUP)?);
        let user = Self::parse(name, &passwd, &group)
            .ok_or_else(|| format!("there is no user {name:?} in {PASSWD}; add it"))?;
        if user.uid == geteuid() {
            return Err(format!("{name:?} is the user of the gateway itself; name another"));
        }
        let has = capabilities(None).map(|sets| sets.effective).unwrap_or(CapabilitySet::empty());
        if !has.contains(NEEDED) {
            return Err(format!(
                "the gateway may not start programs as {name:?}; start it as root, or with CAP_SETUID, CAP_SETGID, \
                 CAP_CHOWN, CAP_DAC_OVERRIDE and CAP_KILL"
            ));
        }
        Ok(user)
    }

    fn parse(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let entry = passwd.lines().find(|line| line.split(':').next() == Some(name))?;
        let mut numbers = entry.split(':').skip(2).map(|number| number.parse::<u32>().ok());
        let (uid, gid) = (numbers.next()??, numbers.next()??);
        let others = group.lines().filter_map(|line| {
            let fields: Vec<&str> = line.split(':').collect();
            let is_in = fields.get(3)?.split(',').any(|member| member == name);
            is_in.then(|| fields[2].parse::<u32>().ok())?
        });
        let mut groups: Vec<u32> = others.chain([gid]).collect();
        groups.sort_unstable();
        groups.dedup();
        let groups = groups.into_iter().map(Gid::from_raw).collect();
        Some(Self { uid: Uid::from_raw(uid), gid: Gid::from_raw(gid), groups })
    }

    /// Gives it the directory of its plugin, if it can get there.
    pub(super) fn owns(self, dir: &Path) -> Result<Self, String> {
        let parent = dir.parent().unwrap_or(dir);
        self.open_way(parent)?;
        if let Some(closed) = parent.ancestors().find(|folder| !self.may_search(folder)) {
            return Err(format!("its user cannot search {}; run chmod a+x on it", closed.display()));
        }
        chown(dir, Some(self.uid), Some(self.gid)).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(self)
    }

    /// The directory of all plugins is ours to open; it shows nothing but names of directories.
    fn open_way(&self, parent: &Path) -> Result<(), String> {
        let failed = |error: std::io::Error| format!("{}: {error}", parent.display());
        let metadata = fs::metadata(parent).map_err(failed)?;
        if self.may_search(parent) || metadata.uid() != geteuid().as_raw() {
            return Ok(());
        }
        let mode = metadata.permissions().mode() | SEARCH;
        fs::set_permissions(parent, fs::Permissions::from_mode(mode)).map_err(failed)
    }

    fn may_search(&self, folder: &Path) -> bool {
        let Ok(metadata) = fs::metadata(folder) else { return false };
        let class = if metadata.uid() == self.uid.as_raw() {
            0o100
        } else if self.groups.iter().any(|group| group.as_raw() == metadata.gid()) {
            0o010
        } else {
            0o001
        };
        metadata.permissions().mode() & class != 0
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_user_has_all_its_groups_once() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ndriver:x:990:991::/nonexistent:/bin/false\nbroken:x\n";
        let group =
            "root:x:0:\ndialout:x:20:operator,driver\ngpio:x:993:driver\ndriver:x:991:driver\nbroken\n";
        let user = User::parse("driver", passwd, group).unwrap();
        assert_eq!((user.uid.as_raw(), user.gid.as_raw()), (990, 991));
        assert_eq!(user.groups, [20, 991, 993].map(Gid::from_raw));
        assert_eq!(User::parse("broken", passwd, group), None);
        assert_eq!(User::parse("driv", passwd, group), None);
    }

    proptest! {
        #[test]
        fn no_files_make_it_panic(passwd in "(d|[:,\n0-9])*", group in "(d|[:,\n0-9])*") {
            let _ = User::parse("d", &passwd, &group);
        }
    }
}
