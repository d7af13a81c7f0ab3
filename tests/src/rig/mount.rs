//! A place that the gateway alone sees in another way.
//!
//! Always true: it is gone with the gateway's processes, in whatever way they end.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::gateway::Told;

/// See the module.
#[derive(Debug)]
pub(super) struct Mount {
    place: PathBuf,
    script: &'static str,
    how: &'static str,
}

impl Mount {
    /// A filesystem in memory of this size.
    pub(super) fn memory(place: &Path, size: &'static str) -> Self {
        /// Directory, size, program and arguments.
        const SCRIPT: &str = r#"mount -t tmpfs -o size="$1" tmpfs "$0" && shift && exec "$@""#;
        fs::create_dir_all(place).expect("the case's directory takes directories");
        Self { place: place.to_owned(), script: SCRIPT, how: size }
    }

    /// What is there for everybody, but read-only.
    pub(super) fn read_only(place: &Path) -> Self {
        /// Directory, how it is mounted, program and arguments.
        const SCRIPT: &str =
            r#"mount --bind "$0" "$0" && mount -o "remount,bind,$1" "$0" && shift && exec "$@""#;
        Self { place: place.to_owned(), script: SCRIPT, how: "ro" }
    }

    /// Runs a program that sees it; arguments may be added.
    pub(super) fn run(&self, program: &Path) -> Command {
        let mut command = Command::new("unshare");
        if !rustix::process::geteuid().is_root() {
            command.arg("--map-root-user");
        }
        command.args(["--mount", "sh", "-c", self.script]).arg(&self.place).arg(self.how).arg(program);
        command
    }

    /// The process may write there, from now on.
    #[track_caller]
    pub(super) fn let_write(&self, pid: u32) {
        let mut command = Command::new("nsenter");
        if !rustix::process::geteuid().is_root() {
            command.args(["--user", "--preserve-credentials"]);
        }
        command.arg("--target").arg(pid.to_string());
        command.args(["--mount", "mount", "-o", "remount,bind,rw"]).arg(&self.place);
        let told = Told::by(&mut command);
        assert_eq!(told.code, 0, "{command:?}: {}{}", told.out, told.err);
    }
}
