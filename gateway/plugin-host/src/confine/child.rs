//! What a child does to itself between fork and exec.
//!
//! Always true: nothing here allocates, locks or waits: after the fork of a process with many
//! threads, whatever another thread held is held for ever. A step that fails ends the child, and
//! the start fails with the step's error: what can be held is held, or the plugin does not run.

use std::fs::File;
use std::io::{self, Write as _};

use landlock::RulesetCreated;
use rustix::process::{Resource, Rlimit, setrlimit, setsid};
use rustix::thread::{
    CapabilitySet, CapabilitySets, capabilities, set_capabilities, set_no_new_privs, set_thread_gid,
    set_thread_groups, set_thread_uid,
};
use tokio::process::Command;

use super::user::User;

/// What a driver may have use for: low ports, ping, priorities, memory that stays.
const CAPABILITIES: CapabilitySet = CapabilitySet::NET_BIND_SERVICE
    .union(CapabilitySet::NET_RAW)
    .union(CapabilitySet::SYS_NICE)
    .union(CapabilitySet::IPC_LOCK);
/// No core files: they would hold secrets, and fill the disk.
const NO_CORE: Rlimit = Rlimit { current: Some(0), maximum: Some(0) };
/// In a control group's list: whoever writes it.
const MYSELF: &[u8] = b"0";

/// Everything, prepared.
#[derive(Debug, Default)]
pub(crate) struct Steps {
    /// A session of its own, without a controlling terminal: so that a plugin that reads a terminal
    /// is not stopped for being in the background, and does not get the Ctrl-C meant for its host.
    pub(crate) new_session: bool,
    pub(crate) confined: Option<Confined>,
}

/// What holds a plugin.
#[derive(Debug)]
pub(crate) struct Confined {
    /// The list of its control group.
    pub(crate) cgroup: Option<File>,
    pub(crate) open_files: Rlimit,
    pub(crate) user: Option<User>,
    /// Taken when it is put on.
    pub(crate) ruleset: Option<RulesetCreated>,
}

impl Steps {
    /// Makes the next child of this command take them.
    #[allow(unsafe_code, reason = "only the child itself can take these steps, between fork and exec")]
    pub(crate) fn arm(mut self, command: &mut Command) {
        if !self.new_session {
            // a session brings a group with it, and who leads one already cannot open a session
            command.process_group(0);
            if self.confined.is_none() {
                return;
            }
        }
        // SAFETY: `take` makes system calls on what was prepared before the fork, and nothing else:
        // it neither allocates nor locks (rustix calls the kernel directly; of the Landlock crate
        // only `restrict_self` runs here, which is two system calls and the closing of a descriptor;
        // errors are plain numbers).
        unsafe {
            command.pre_exec(move || self.take());
        }
    }

    fn take(&mut self) -> io::Result<()> {
        if self.new_session {
            setsid()?;
        }
        match &mut self.confined {
            Some(confined) => confined.put_on(),
            None => Ok(()),
        }
    }
}

impl Confined {
    fn put_on(&mut self) -> io::Result<()> {
        // While it is still allowed to. The host looks afterwards whether it worked: a limit that
        // cannot be had is lacking, and no reason not to run.
        if let Some(cgroup) = &mut self.cgroup {
            let _ = cgroup.write(MYSELF);
        }
        setrlimit(Resource::Core, NO_CORE)?;
        setrlimit(Resource::Nofile, self.open_files)?;
        if let Some(user) = &self.user {
            // groups first, the user last: then there is no way back
            set_thread_groups(&user.groups)?;
            set_thread_gid(user.gid)?;
            set_thread_uid(user.uid)?;
        }
        let CapabilitySets { effective, permitted, inheritable } = capabilities(None)?;
        set_capabilities(
            None,
            CapabilitySets {
                effective: effective.intersection(CAPABILITIES),
                permitted: permitted.intersection(CAPABILITIES),
                inheritable: inheritable.intersection(CAPABILITIES),
            },
        )?;
        // from here on no program it runs can have more than it has, root or not
        set_no_new_privs(true)?;
        match self.ruleset.take().map(RulesetCreated::restrict_self) {
            Some(Err(_)) => Err(io::Error::last_os_error()),
            Some(Ok(_)) | None => Ok(()),
        }
    }
}
