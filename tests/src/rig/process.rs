//! A child process whose output goes to a file, and which ends with its value.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::LOOK;

/// Lines shown of a log when a case fails.
const TAIL: usize = 60;

/// A running process.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
    exit: Option<ExitStatus>,
}

impl Process {
    /// Starts it; what it says is appended to `log`, unless the command has a stdout of its own.
    pub fn spawn(name: &str, command: &mut Command, log: &Path) -> Self {
        let open = || File::options().create(true).append(true).open(log);
        let file = open().unwrap_or_else(|error| panic!("log {}: {error}", log.display()));
        let errors = file.try_clone().expect("a fresh file can be shared");
        let child = command
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} ({:?}): {error}", command.get_program()));
        Self { name: name.to_owned(), child, log: log.to_owned(), exit: None }
    }

    /// Starts it with stdin and stdout as pipes; only stderr goes to `log`.
    pub fn spawn_piped(name: &str, command: &mut Command, log: &Path) -> Self {
        let file = File::create(log).unwrap_or_else(|error| panic!("log {}: {error}", log.display()));
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(file)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} ({:?}): {error}", command.get_program()));
        Self { name: name.to_owned(), child, log: log.to_owned(), exit: None }
    }

    pub(super) fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, if it has.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        if self.exit.is_none() {
            self.exit =
                self.child.try_wait().unwrap_or_else(|error| panic!("wait for {}: {error}", self.name));
        }
        self.exit
    }

    /// Sends a signal; a process that has ended already ignores it.
    pub fn signal(&mut self, signal: Signal) {
        if self.exited().is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, signal).unwrap_or_else(|error| panic!("signal to {}: {error}", self.name));
        }
    }

    /// Waits for its end.
    #[track_caller]
    pub fn await_exit(&mut self, within: Duration) -> ExitStatus {
        let deadline = Instant::now() + within;
        loop {
            if let Some(exit) = self.exited() {
                return exit;
            }
            assert!(Instant::now() < deadline, "{} still runs after {within:?}\n{}", self.name, self.tail());
            std::thread::sleep(LOOK);
        }
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        if self.exited().is_none() {
            // It may have ended between the two lines.
            let _ = self.child.kill();
            self.exit = self.child.wait().ok();
        }
    }

    /// All it has said.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// The end of what it has said, for a failing case.
    pub fn tail(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().collect();
        let from = lines.len().saturating_sub(TAIL);
        format!(
            "--- {} (pid {}, exit {}) ---\n{}\n",
            self.name,
            self.pid(),
            self.ending(),
            lines[from..].join("\n")
        )
    }

    fn ending(&self) -> String {
        match self.exit {
            None => "running".to_owned(),
            Some(exit) => exit.signal().map_or(exit.to_string(), |signal| format!("signal {signal}")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
