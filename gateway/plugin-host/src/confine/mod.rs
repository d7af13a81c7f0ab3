//! What a plugin may reach, and what the kernel or the installation lacks to hold it there.
//!
//! ```text
//! always              no new privileges, no core files, a limit of open files, no capability a
//!                     driver has no use for
//! Landlock            files and folders, TCP ports, signals and abstract sockets
//! an own user         if this process may choose one
//! a control group     memory and CPU time, if one was delegated to us
//! ```
//! Always true: everything is prepared before the fork and takes effect before the program runs
//! ([`child`]); what is lacking is named in a [`Lack`] and nothing fails because of it. No kernel of
//! today limits UDP, and none before 7.1 limits sockets in the file system: a driver can open any
//! its user may, so what listens there must look who calls.

mod cgroup;
mod child;
mod rules;
mod user;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::process::{Resource, Rlimit, getrlimit};

pub(crate) use cgroup::Cgroup;
use child::Steps;
use user::User;

/// What a plugin may reach. Its own temporary directory, the system's programs and libraries,
/// `/dev`, `/proc` (not other processes' secrets) and `/sys` for reading are always there;
/// everything else has to be named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Confinement {
    /// Files and folders it may read and run, besides the program itself; a script is named here.
    pub read: Vec<PathBuf>,
    /// Files and folders it may change.
    pub write: Vec<PathBuf>,
    /// TCP ports it may connect to, besides that of DNS; `None`: any.
    pub connect_tcp: Option<Vec<u16>>,
    /// TCP ports it may listen on; `None`: any.
    pub listen_tcp: Option<Vec<u16>>,
    /// Most files it may have open.
    pub open_files: u64,
    /// The user it runs as, if this process may choose; `None`: this process' own.
    pub user: Option<String>,
    /// Most memory it may use, in bytes.
    pub memory_max: Option<u64>,
    /// Most CPU time it may use, in percent of one core.
    pub cpu_percent: Option<u32>,
}

/// Open files of a plugin whose caller says nothing.
const OPEN_FILES: u64 = 1024;

impl Default for Confinement {
    /// Nothing beyond what is always there, and no TCP at all.
    fn default() -> Self {
        Self {
            read: Vec::new(),
            write: Vec::new(),
            connect_tcp: Some(Vec::new()),
            listen_tcp: Some(Vec::new()),
            open_files: OPEN_FILES,
            user: None,
            memory_max: None,
            cpu_percent: None,
        }
    }
}

/// Something the kernel or the installation lacks, and what was not done because of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lack {
    /// What a plugin is not held by: one of the constants.
    pub what: &'static str,
    /// Why not, and what would help.
    pub why: String,
}

impl Lack {
    /// It may read and change any file its user may.
    pub const FILES: &'static str = "files";
    /// It may cut files it may not write.
    pub const TRUNCATING: &'static str = "truncating files";
    /// It may connect and listen anywhere.
    pub const TCP: &'static str = "TCP ports";
    /// It may signal any process of its user, and speak to abstract sockets.
    pub const SIGNALS: &'static str = "signals and abstract sockets";
    /// It runs as the gateway does.
    pub const USER: &'static str = "own user";
    /// It may use all the memory there is.
    pub const MEMORY: &'static str = "memory limit";
    /// It may use all the time there is.
    pub const CPU: &'static str = "CPU limit";

    const ALL: [&'static str; 7] =
        [Self::FILES, Self::TRUNCATING, Self::TCP, Self::SIGNALS, Self::USER, Self::MEMORY, Self::CPU];

    pub(crate) fn new(what: &'static str, why: impl Into<String>) -> Self {
        Self { what, why: why.into() }
    }

    /// One that an earlier host found.
    pub(crate) fn recorded(what: &str, why: &str) -> Option<Self> {
        let what = Self::ALL.into_iter().find(|known| *known == what)?;
        Some(Self::new(what, why))
    }
}

/// What a confinement concerns of one launch.
pub(crate) struct Scene<'a> {
    /// What is run.
    pub(crate) program: &'a Path,
    /// The file itself, if it was opened.
    pub(crate) opened: Option<&'a File>,
    /// The plugin's own directory.
    pub(crate) dir: &'a Path,
    /// Where its output goes, if that is a file that can be opened again by name.
    pub(crate) output: Vec<PathBuf>,
}

/// A confinement, ready to be put on.
#[derive(Debug, Default)]
pub(crate) struct Bonds {
    pub(crate) steps: Steps,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) lacks: Vec<Lack>,
}

/// Prepares everything. Fails only where the system is short of something.
pub(crate) fn prepare(confinement: &Confinement, scene: &Scene<'_>) -> io::Result<Bonds> {
    let mut lacks = Vec::new();
    let ruleset = rules::ruleset(confinement, scene, &mut lacks)?;
    let user = confinement.user.as_deref().and_then(|name| {
        let user = User::find(name).and_then(|user| user.owns(scene.dir));
        user.map_err(|why| lacks.push(Lack::new(Lack::USER, why))).ok()
    });
    let (cgroup, procs) = Cgroup::for_plugin(scene.dir, confinement, &mut lacks).unzip();
    // who may not raise it again must not be asked to
    let most = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
    let open_files = Some(confinement.open_files.min(most));
    let steps = Steps {
        new_session: false,
        confined: Some(child::Confined {
            cgroup: procs,
            open_files: Rlimit { current: open_files, maximum: open_files },
            user,
            ruleset: Some(ruleset),
        }),
    };
    Ok(Bonds { steps, cgroup, lacks })
}
