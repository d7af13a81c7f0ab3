//! A control group of its own for a plugin: memory and CPU time, where a subtree was delegated.
//!
//! ```text
//! <delegated>/              owned by us or marked as delegated; no process of its own in it
//!   gateway/                this process (systemd: Delegate=cpu memory, DelegateSubgroup=gateway)
//!   plugin-modbus-4711-0/   one plugin: memory.max, cpu.max
//! ```
//! Always true: nothing is done where nothing was delegated; a group is removed when its plugin has
//! ended, and takes what had run away from the plugin's process group with it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use rustix::fs::getxattr;
use rustix::process::geteuid;

use super::{Confinement, Lack};

const PREFIX: &str = "plugin-";
/// The processes of a group; who writes to it joins.
const LIST: &str = "cgroup.procs";
/// How systemd marks what it delegated.
const MARKS: [&str; 2] = ["user.delegate", "trusted.delegate"];
/// The period CPU time is counted in, the kernel's own default.
const PERIOD_US: u64 = 100_000;
/// A group whose last process has just been killed is in use a moment longer.
const REMOVE_TRIES: u32 = 50;
const REMOVE_PAUSE: Duration = Duration::from_millis(2);

/// The group of one plugin.
#[derive(Debug)]
pub(crate) struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    /// Makes one if a limit is asked for, with the list to join it; what cannot be limited is lacking.
    pub(super) fn for_plugin(
        socket_dir: &Path,
        confinement: &Confinement,
        lacks: &mut Vec<Lack>,
    ) -> Option<(Self, File)> {
        let limits = limits(confinement);
        if limits.is_empty() {
            return None;
        }
        let name = format!("{PREFIX}{}", socket_dir.file_name()?.to_str()?);
        let made = delegated().and_then(|base| Self::make(&base, &name, &limits, lacks));
        match made {
            Ok(group) => Some(group),
            Err(why) => {
                lacks.extend(limits.iter().map(|limit| Lack::new(limit.what, why.clone())));
                None
            }
        }
    }

    fn make(
        base: &Path,
        name: &str,
        limits: &[Limit],
        lacks: &mut Vec<Lack>,
    ) -> Result<(Self, File), String> {
        let dir = base.join(name);
        fs::create_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let group = Self { dir };
        let list = group.dir.join(LIST);
        let procs = match OpenOptions::new().write(true).open(&list) {
            Ok(procs) => procs,
            Err(error) => {
                group.remove();
                return Err(format!("{}: {error}", list.display()));
            }
        };
        for limit in limits {
            if let Err(error) = limit.set(base, &group.dir) {
                lacks.push(Lack::new(limit.what, error));
            }
        }
        Ok((group, procs))
    }

    /// What is lacking if that process is not in the group after all. (It joins by itself, and cannot
    /// say why not.)
    pub(crate) fn missed(dir: &Path, pid: u32, confinement: &Confinement) -> Vec<Lack> {
        let list = fs::read_to_string(dir.join(LIST)).unwrap_or_default();
        if list.lines().any(|line| line.trim().parse() == Ok(pid)) {
            return Vec::new();
        }
        let why =
            format!("the driver could not join {}; its service needs Delegate=cpu memory", dir.display());
        limits(confinement).iter().map(|limit| Lack::new(limit.what, why.clone())).collect()
    }

    /// The group of a plugin an earlier host started.
    pub(crate) fn adopt(dir: &Path) -> Option<Self> {
        let name = dir.file_name()?.to_str()?;
        let ours = name.starts_with(PREFIX) && dir.is_absolute() && dir.join(LIST).exists();
        ours.then(|| Self { dir: dir.to_owned() })
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends whoever is still in it, and removes it. May take a moment; not for the runtime's threads.
    pub(crate) fn remove(self) {
        // Linux 5.14; before, only the plugin's process group is killed
        let kill = OpenOptions::new().write(true).open(self.dir.join("cgroup.kill"));
        let _ = kill.and_then(|mut kill| kill.write_all(b"1"));
        for _ in 0..REMOVE_TRIES {
            match fs::remove_dir(&self.dir) {
                Err(error) if error.kind() == io::ErrorKind::ResourceBusy => sleep(REMOVE_PAUSE),
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::warn!(path = %self.dir.display(), %error, "control group of a plugin not removed");
                    return;
                }
                _ => return,
            }
        }
        tracing::warn!(path = %self.dir.display(), "control group of a plugin not removed, it is still in use");
    }
}

/// One limit of a group.
struct Limit {
    what: &'static str,
    controller: &'static str,
    file: &'static str,
    value: String,
}

impl Limit {
    fn set(&self, base: &Path, dir: &Path) -> Result<(), String> {
        let Self { controller, file, value, .. } = self;
        let known = fs::read_to_string(base.join("cgroup.controllers")).unwrap_or_default();
        if !known.split_whitespace().any(|name| name == *controller) {
            return Err(format!(
                "{} has no controller {controller}; add it to Delegate= of the service, and use cgroup v2 alone",
                base.display()
            ));
        }
        let write = |path: PathBuf, text: &str| {
            fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))
        };
        write(base.join("cgroup.subtree_control"), &format!("+{controller}"))?;
        write(dir.join(file), value)
    }
}

/// What a confinement asks for.
fn limits(confinement: &Confinement) -> Vec<Limit> {
    let memory = confinement.memory_max.map(|bytes| Limit {
        what: Lack::MEMORY,
        controller: "memory",
        file: "memory.max",
        value: bytes.to_string(),
    });
    let cpu = confinement.cpu_percent.map(|percent| Limit {
        what: Lack::CPU,
        controller: "cpu",
        file: "cpu.max",
        value: cpu_max(percent),
    });
    memory.into_iter().chain(cpu).collect()
}

fn cpu_max(percent: u32) -> String {
    format!("{} {PERIOD_US}", u64::from(percent) * PERIOD_US / 100)
}

/// The group that was delegated to us: the parent of our own.
fn delegated() -> Result<PathBuf, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    let own = own_group(&read("/proc/self/cgroup")?, &read("/proc/self/mountinfo")?)
        .ok_or("this system has no cgroup v2; start it with systemd.unified_cgroup_hierarchy=1")?;
    let parent = own.parent().filter(|parent| is_delegated(parent));
    parent.map(Path::to_owned).ok_or_else(|| {
        format!(
            "no control group was delegated to the gateway ({}); its service needs Delegate=cpu memory and \
             DelegateSubgroup=gateway",
            own.display()
        )
    })
}

/// Where the group of a process is mounted.
fn own_group(cgroup: &str, mountinfo: &str) -> Option<PathBuf> {
    let group = Path::new(cgroup.lines().find_map(|line| line.strip_prefix("0::"))?);
    mountinfo.lines().find_map(|line| {
        let (mount, kind) = line.split_once(" - ")?;
        let fields: Vec<&str> = mount.split(' ').collect();
        let (root, at) = (fields.get(3)?, fields.get(4)?);
        let below = kind.starts_with("cgroup2 ").then(|| group.strip_prefix(root).ok())??;
        Some(Path::new(at).join(below))
    })
}

fn is_delegated(dir: &Path) -> bool {
    let marked = MARKS.iter().any(|mark| {
        let mut value = [0; 8];
        getxattr(dir, *mark, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    });
    let own = geteuid();
    marked || (!own.is_root() && fs::metadata(dir).is_ok_and(|metadata| metadata.uid() == own.as_raw()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn asked() -> Vec<Limit> {
        let confinement =
            Confinement { memory_max: Some(1 << 20), cpu_percent: Some(150), ..Confinement::default() };
        limits(&confinement)
    }

    /// The kernel makes the files of a group with its directory; here it is done for one name.
    fn base() -> tempfile::TempDir {
        let base = tempfile::tempdir().unwrap();
        fs::write(base.path().join("cgroup.controllers"), "cpuset cpu io\n").unwrap();
        base
    }

    #[test]
    fn limits_are_written_where_the_controller_is_and_lacking_where_not() {
        let base = base();
        let dir = base.path().join("plugin-d-1-0");
        fs::create_dir(&dir).unwrap();
        let (cannot, can): (Vec<_>, Vec<_>) = asked()
            .into_iter()
            .map(|limit| (limit.what, limit.set(base.path(), &dir)))
            .partition(|set| set.1.is_err());
        assert_eq!(can, [(Lack::CPU, Ok(()))]);
        assert_eq!(fs::read_to_string(dir.join("cpu.max")).unwrap(), "150000 100000");
        assert_eq!(fs::read_to_string(base.path().join("cgroup.subtree_control")).unwrap(), "+cpu");
        assert_eq!(cannot[0].0, Lack::MEMORY);
        let why = cannot[0].1.clone().unwrap_err();
        assert!(why.contains("no controller memory"), "{why}");
        assert!(!dir.join("memory.max").exists());
    }

    #[test]
    fn a_group_nobody_can_join_is_removed_and_lacking() {
        let base = base();
        let why = Cgroup::make(base.path(), "plugin-d-1-0", &asked(), &mut Vec::new()).unwrap_err();
        assert!(why.contains("plugin-d-1-0/cgroup.procs"), "{why}");
        assert!(!base.path().join("plugin-d-1-0").exists());
    }

    #[test]
    fn a_process_that_did_not_join_is_told() {
        let base = base();
        fs::write(base.path().join(LIST), "12\n7\n").unwrap();
        let confinement = Confinement { memory_max: Some(1), ..Confinement::default() };
        assert_eq!(Cgroup::missed(base.path(), 7, &confinement), []);
        assert_eq!(Cgroup::missed(base.path(), 2, &confinement)[0].what, Lack::MEMORY);
    }

    #[test]
    fn our_group_is_found_below_its_mount() {
        let mounts = "25 30 0:23 / /sys rw - sysfs sysfs rw\n\
                      35 25 0:30 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n";
        let own = own_group("1:cpu:/x\n0::/system.slice/sagoo-edge.service/gateway\n", mounts).unwrap();
        assert_eq!(own, Path::new("/sys/fs/cgroup/system.slice/sagoo-edge.service/gateway"));
        let inside = "35 25 0:30 /system.slice /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";
        assert_eq!(own_group("0::/system.slice/a/b\n", inside).unwrap(), Path::new("/sys/fs/cgroup/a/b"));
        assert_eq!(own_group("1:cpu:/x\n", mounts), None);
        assert_eq!(own_group("0::/x\n", ""), None);
    }

    #[test]
    fn only_a_group_that_looks_like_ours_is_taken_over() {
        let base = tempfile::tempdir().unwrap();
        for name in ["plugin-d-1-0", "system.slice"] {
            fs::create_dir(base.path().join(name)).unwrap();
        }
        assert!(Cgroup::adopt(&base.path().join("plugin-d-1-0")).is_none(), "it is no control group");
        for name in ["plugin-d-1-0", "system.slice"] {
            fs::write(base.path().join(name).join("cgroup.procs"), "").unwrap();
        }
        assert!(Cgroup::adopt(&base.path().join("plugin-d-1-0")).is_some());
        assert!(Cgroup::adopt(&base.path().join("system.slice")).is_none());
    }

    proptest! {
        #[test]
        fn no_files_make_it_panic(cgroup in "(0::|[/a\n])*", mounts in "( - |cgroup2|[ /a0\n])*") {
            let _ = own_group(&cgroup, &mounts);
        }
    }
}
