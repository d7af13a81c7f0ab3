//! Which process a number means, and whether that one still lives.
//!
//! A number alone says nothing: the kernel gives it to somebody else later. Number, start time and
//! boot together name one process for ever. Always true: a signal sent from here reaches the
//! process that was meant, members of its group, or nobody.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::pidfd::Pidfd;

/// Random, and another one after every boot.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// Where `stat` has the start time, counted from the state behind the name (field 22 of the manual).
const START_TIME: usize = 19;
/// How often the members of a group are looked for again, because one may have made another.
const MEMBER_ROUNDS: usize = 10;

/// Names one process for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Birth {
    /// Its number.
    pub pid: u32,
    /// When it was started, in clock ticks since the boot.
    pub started_ticks: u64,
    /// Which boot.
    pub boot_id: String,
}

/// Why a process is not there.
#[derive(Debug, thiserror::Error)]
pub enum Fate {
    /// Nothing outlives the system.
    #[error("the system has been restarted since")]
    Rebooted,
    /// Its number is free, or somebody else's.
    #[error("its process has ended")]
    Ended,
    /// The system does not tell.
    #[error("cannot look for its process: {0}; this needs /proc and Linux 5.3")]
    Unknown(#[source] io::Error),
}

impl Birth {
    /// Of a process that exists and cannot vanish meanwhile: a child not yet waited for.
    pub(crate) fn of(pid: u32) -> io::Result<Self> {
        let stat = Stat::read(pid)?;
        Ok(Self { pid, started_ticks: stat.started_ticks, boot_id: boot_id()? })
    }

    /// The process, if it lives. It is opened first and looked at then: one that has the recorded
    /// start time afterwards had the number all the time.
    pub(crate) fn find(&self) -> Result<Living, Fate> {
        if boot_id().map_err(Fate::Unknown)? != self.boot_id {
            return Err(Fate::Rebooted);
        }
        let number = i32::try_from(self.pid).ok().filter(|_| self.pid > 1 && self.pid != process::id());
        let pid = number.and_then(Pid::from_raw).ok_or(Fate::Ended)?;
        let pidfd = match Pidfd::open(pid) {
            Ok(pidfd) => pidfd,
            Err(Errno::SRCH | Errno::INVAL) => return Err(Fate::Ended),
            Err(error) => return Err(Fate::Unknown(error.into())),
        };
        match Stat::read(self.pid) {
            Ok(stat) if stat.started_ticks == self.started_ticks && !stat.is_dead() => {
                Ok(Living { pid, pidfd })
            }
            Ok(_) => Err(Fate::Ended),
            Err(error) if is_gone(&error) => Err(Fate::Ended),
            Err(error) => Err(Fate::Unknown(error)),
        }
    }
}

/// A process that lived when it was found. The descriptor goes on meaning it after its end.
#[derive(Debug)]
pub(crate) struct Living {
    pub(crate) pid: Pid,
    pub(crate) pidfd: Pidfd,
}

impl Living {
    /// Kills it and its group, of which it is the leader: while it lives, nobody else can have that
    /// number. What it left behind is told by its `TMPDIR`, which only its own family has.
    pub(crate) fn kill_group(&self, tmp_dir: &Path) {
        if !self.pidfd.has_ended() {
            let _ = kill_process_group(self.pid, Signal::KILL);
        }
        kill_members(self.pid, tmp_dir);
    }
}

/// Kills everybody in the group of a leader that is gone, told from strangers by the directory that
/// was made for that one launch.
pub(crate) fn kill_members(group: Pid, tmp_dir: &Path) {
    for _ in 0..MEMBER_ROUNDS {
        let mut found = false;
        for pid in numbers() {
            let is_member =
                |pid| Stat::read(pid).is_ok_and(|stat| stat.group == Some(group) && !stat.is_dead());
            if !is_member(pid) || !has_tmp_dir(pid, tmp_dir) {
                continue;
            }
            let Ok(birth) = Birth::of(pid) else { continue };
            // found and looked at once more: the number may have changed hands since
            let Ok(member) = birth.find() else { continue };
            if is_member(pid) && has_tmp_dir(pid, tmp_dir) && !member.pidfd.has_ended() {
                member.pidfd.signal(Signal::KILL);
                found = true;
            }
        }
        if !found {
            return;
        }
    }
}

/// Whether any process was given this directory as its own.
pub(crate) fn is_in_use(tmp_dir: &Path) -> bool {
    numbers().any(|pid| has_tmp_dir(pid, tmp_dir) && Stat::read(pid).is_ok_and(|stat| !stat.is_dead()))
}

/// The directories that living processes were given as their own, each with the group of one that has it.
pub(crate) fn tmp_dirs() -> Vec<(Pid, PathBuf)> {
    let mut found = Vec::new();
    for pid in numbers() {
        let Ok(stat) = Stat::read(pid) else { continue };
        if let Some(group) = stat.group.filter(|_| !stat.is_dead()) {
            found.extend(tmp_dirs_in(&environment(pid)).map(|dir| (group, dir.to_owned())));
        }
    }
    found
}

fn has_tmp_dir(pid: u32, dir: &Path) -> bool {
    tmp_dirs_in(&environment(pid)).any(|own| own == dir)
}

fn environment(pid: u32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn tmp_dirs_in(environment: &[u8]) -> impl Iterator<Item = &Path> {
    let own = environment.split(|&byte| byte == 0).filter_map(|entry| entry.strip_prefix(b"TMPDIR="));
    own.map(|dir| Path::new(OsStr::from_bytes(dir)))
}

/// The numbers of all processes.
fn numbers() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn boot_id() -> io::Result<String> {
    let text = fs::read_to_string(BOOT_ID)
        .map_err(|error| io::Error::new(error.kind(), format!("{BOOT_ID}: {error}")))?;
    Ok(text.trim().to_owned())
}

fn is_gone(error: &io::Error) -> bool {
    // the second when it goes while its file is being read
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::SRCH.raw_os_error())
}

/// What `/proc/<pid>/stat` tells.
struct Stat {
    state: u8,
    /// None: the kernel says -1 of a process that is half gone, and 0 of its own threads.
    group: Option<Pid>,
    started_ticks: u64,
}

impl Stat {
    fn read(pid: u32) -> io::Result<Self> {
        let text = fs::read(format!("/proc/{pid}/stat"))?;
        Self::parse(&text).ok_or_else(|| {
            io::Error::new(io::ErrorKind::InvalidData, format!("/proc/{pid}/stat has no start time"))
        })
    }

    /// `pid (name) state parent group …`; the name may hold anything, brackets too.
    fn parse(text: &[u8]) -> Option<Self> {
        let name_end = text.iter().rposition(|&byte| byte == b')')?;
        let rest = std::str::from_utf8(text.get(name_end + 1..)?).ok()?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let group: i32 = fields.get(2)?.parse().ok()?;
        Some(Self {
            state: *fields.first()?.as_bytes().first()?,
            group: Some(group).filter(|group| *group > 0).and_then(Pid::from_raw),
            started_ticks: fields.get(START_TIME)?.parse().ok()?,
        })
    }

    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X' | b'x')
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use proptest::prelude::*;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("1000").spawn().unwrap()
    }

    #[test]
    fn a_process_is_found_until_it_ends_and_not_after() {
        let mut child = sleeper();
        let birth = Birth::of(child.id()).unwrap();
        let living = birth.find().unwrap();
        assert!(!living.pidfd.has_ended());
        living.pidfd.signal(Signal::KILL);
        child.wait().unwrap();
        assert!(living.pidfd.has_ended());
        assert!(matches!(birth.find(), Err(Fate::Ended)));
        // it reaches nobody
        living.pidfd.signal(Signal::KILL);
    }

    #[test]
    fn a_process_of_the_same_number_is_not_taken_for_it() {
        let mut child = sleeper();
        let birth = Birth::of(child.id()).unwrap();
        let later = Birth { started_ticks: birth.started_ticks + 1, ..birth.clone() };
        assert!(matches!(later.find(), Err(Fate::Ended)));
        let before_boot = Birth { boot_id: "another".into(), ..birth };
        assert!(matches!(before_boot.find(), Err(Fate::Rebooted)));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn neither_this_process_nor_the_first_is_ever_found() {
        for pid in [process::id(), 0, 1, u32::MAX] {
            let birth =
                Birth::of(pid).unwrap_or(Birth { pid, started_ticks: 0, boot_id: boot_id().unwrap() });
            assert!(matches!(birth.find(), Err(Fate::Ended)), "{pid}");
        }
    }

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let zeros = "0 ".repeat(START_TIME - 3);
        let stat = Stat::parse(format!("7 (a) R (b) S 1 7 {zeros}4711 0\n").as_bytes()).unwrap();
        assert_eq!((stat.state, stat.group, stat.started_ticks), (b'S', Pid::from_raw(7), 4711));
    }

    #[test]
    fn a_process_that_is_half_gone_has_no_group() {
        let zeros = "0 ".repeat(START_TIME - 3);
        for group in ["-1", "0"] {
            let stat = Stat::parse(format!("7 (a) X 0 {group} {zeros}4711 0\n").as_bytes()).unwrap();
            assert_eq!((stat.group, stat.started_ticks, stat.is_dead()), (None, 4711, true));
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Stat::parse(&text);
        }
    }
}
