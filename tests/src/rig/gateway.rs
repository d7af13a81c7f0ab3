//! The real gateway binary: start, ask, stop, kill, start again on the same directories.
//!
//! Always true: it is asked only through its own command line with `--json`, as a person would; its
//! log is shown when a case fails.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;

use super::clock::Clock;
use super::mount::Mount;
use super::{Process, binary, eventually, ledger};

/// Longest wait until the gateway answers.
const READY: Duration = Duration::from_secs(15);
/// Longest orderly stop (issue 2: 5 s), and what a busy machine adds.
const STOP: Duration = Duration::from_secs(8);

/// What the command line said.
#[derive(Debug, Clone)]
pub struct Told {
    /// Exit status; -1 after a signal.
    pub code: i32,
    /// What `--json` printed; null when it printed no JSON.
    pub json: Json,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

impl Told {
    pub(super) fn by(command: &mut Command) -> Self {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        Self {
            code: output.status.code().unwrap_or(-1),
            json: serde_json::from_str(&out).unwrap_or(Json::Null),
            out,
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

/// The gateway; ends with its value.
#[derive(Debug)]
pub struct Gateway {
    dir: PathBuf,
    process: Option<Process>,
    mount: Option<Mount>,
    clock: Option<Clock>,
}

impl Gateway {
    /// A gateway that lives in `dir`, not started. Its drivers directory gets driver-modbus.
    pub fn new(dir: &Path) -> Self {
        let gateway = Self { dir: dir.to_owned(), process: None, mount: None, clock: None };
        fs::create_dir_all(gateway.config_dir().join("conf.d"))
            .expect("the case's directory takes directories");
        fs::create_dir_all(gateway.drivers_dir()).expect("the case's directory takes directories");
        let driver = gateway.drivers_dir().join("driver-modbus");
        // A copy of its own tells this case's driver processes from those of its neighbours.
        let copied = fs::copy(binary("driver-modbus"), &driver);
        copied.unwrap_or_else(|error| panic!("copy driver-modbus to {}: {error}", driver.display()));
        gateway
    }

    /// Where `gateway.toml` and `conf.d` are.
    pub fn config_dir(&self) -> PathBuf {
        self.dir.join("config")
    }

    /// Where drivers are looked for.
    pub fn drivers_dir(&self) -> PathBuf {
        self.dir.join("drivers")
    }

    /// Where the keys are that it trusts.
    pub fn trusted_keys(&self) -> PathBuf {
        self.dir.join("trusted-keys")
    }

    /// Takes the program away that every site has; its drivers come from packages then.
    pub fn only_packages(&self) {
        fs::remove_file(self.drivers_dir().join("driver-modbus")).expect("the rig put it there");
    }

    /// `sagoo-edge driver …`, which needs no running gateway.
    pub fn packages(&self, words: &[&str]) -> Told {
        let mut command = Command::new(binary("sagoo-edge"));
        command.arg("driver").args(words).arg("--json").arg("--config").arg(self.config_dir());
        Told::by(&mut command)
    }

    /// `sagoo-edge driver install`, which must do.
    #[track_caller]
    pub fn install(&self, package: &Path) {
        let told = self.packages(&["install", &package.to_string_lossy()]);
        assert_eq!(told.code, 0, "install {}: {}{}", package.display(), told.out, told.err);
    }

    /// Where it keeps what lives as long as its processes: the drivers' sockets.
    pub fn run_dir(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// The command line's door.
    pub fn socket(&self) -> PathBuf {
        self.dir.join("control.sock")
    }

    /// Writes a configuration file, path relative to the configuration directory.
    pub fn configure(&self, file: &str, toml: &str) {
        let path = self.config_dir().join(file);
        fs::write(&path, toml).unwrap_or_else(|error| panic!("write {}: {error}", path.display()));
    }

    /// The clock of its box is wrong by so many seconds, from its next start on, or from now on where it
    /// was set before.
    pub fn set_clock(&mut self, wrong_s: i64) {
        self.clock.get_or_insert_with(|| Clock::new(&self.dir)).set(wrong_s);
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub fn start(&mut self) {
        self.spawn();
        eventually("the gateway answers its command line", READY, || {
            let process = self.process.as_mut().expect("just started");
            if let Some(exit) = process.exited() {
                panic!("the gateway ended with {exit} at its start\n{}", process.tail());
            }
            let told = self.command(&["status"]);
            (told.code == 0 && told.json.is_object()).then_some(()).ok_or(told.out + &told.err)
        });
    }

    /// Starts it and does not wait.
    pub fn spawn(&mut self) {
        assert!(self.process.is_none(), "the gateway runs already");
        let program = binary("sagoo-edge");
        let mount = self.mount.as_ref().map(|mount| mount.run(&program));
        let mut command = mount.unwrap_or_else(|| Command::new(program));
        command.arg("run").arg("--config").arg(self.config_dir()).current_dir(&self.dir);
        command.env("TMPDIR", self.run_dir());
        if let Some(clock) = &self.clock {
            command.envs(clock.variables());
        }
        self.process = Some(Process::spawn("sagoo-edge", &mut command, &self.dir.join("gateway.log")));
    }

    /// From its next start on it finds this place read-only, until [`Gateway::may_write`].
    pub fn may_only_read(&mut self, place: &Path) {
        self.mount = Some(Mount::read_only(place));
    }

    /// It may write again there, now and after its next start.
    #[track_caller]
    pub fn may_write(&mut self) {
        let pid = self.pid().expect("the gateway runs");
        self.mount.take().expect("a place was read-only").let_write(pid);
    }

    /// From its next start on this place is a filesystem of this size in memory, which nobody else sees.
    pub(super) fn mount(&mut self, place: &Path, size: &'static str) {
        self.mount = Some(Mount::memory(place, size));
    }

    /// A path as the running gateway sees it.
    #[track_caller]
    pub fn sees(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.pid().expect("the gateway runs")));
        root.join(path.strip_prefix("/").expect("a case's paths begin at the root"))
    }

    /// Runs a subcommand with `--json` against this gateway's configuration.
    pub fn command(&self, words: &[&str]) -> Told {
        Self::typed("--config", &self.config_dir(), words)
    }

    /// Runs a subcommand with `--json` against the gateway behind this socket.
    pub fn command_at(&self, socket: &Path, words: &[&str]) -> Told {
        Self::typed("--socket", socket, words)
    }

    fn typed(option: &str, path: &Path, words: &[&str]) -> Told {
        let mut command = Command::new(binary("sagoo-edge"));
        let (name, rest) = words.split_first().expect("a subcommand");
        command.arg(name).arg(option).arg(path).arg("--json").args(rest);
        Told::by(&mut command)
    }

    /// `sagoo-edge status --json`, whose ledgers must balance at any moment.
    #[track_caller]
    pub fn status(&self) -> Json {
        let told = self.command(&["status"]);
        assert_eq!(told.code, 0, "status: {}\n{}", told.err, self.tail());
        let unbalanced = ledger::unbalanced(&told.json);
        assert!(unbalanced.is_empty(), "{}\n{}", unbalanced.join("\n"), self.tail());
        told.json
    }

    /// `status.devices`, the one of this name.
    #[track_caller]
    pub fn device(&self, name: &str) -> Json {
        entry(&self.status()["devices"], "name", name)
    }

    /// `status.drivers`, the one of this id.
    #[track_caller]
    pub fn driver(&self, id: &str) -> Json {
        entry(&self.status()["drivers"], "id", id)
    }

    /// `sagoo-edge read DEVICE POINT`.
    pub fn read(&self, device: &str, point: &str) -> Told {
        self.command(&["read", device, point])
    }

    /// `sagoo-edge write DEVICE POINT VALUE`.
    pub fn write(&self, device: &str, point: &str, value: &str) -> Told {
        self.command(&["write", device, point, value])
    }

    /// `sagoo-edge reload`.
    pub fn reload(&self) -> Told {
        self.command(&["reload"])
    }

    /// SIGHUP as a service manager sends it.
    #[track_caller]
    pub fn hang_up(&mut self) {
        self.process.as_mut().expect("the gateway runs").signal(Signal::HUP);
    }

    /// `sagoo-edge handover`, after which the process is gone.
    #[track_caller]
    pub fn hand_over(&mut self) -> Told {
        let told = self.command(&["handover"]);
        let mut process = self.process.take().expect("the gateway runs");
        assert_eq!(told.code, 0, "handover: {}{}\n{}", told.out, told.err, process.tail());
        let exit = process.exited().expect("handover returns when the gateway is gone");
        assert_eq!(exit.code(), Some(0), "{}", process.tail());
        told
    }

    /// SIGTERM as a service manager sends it, and waits for the orderly end.
    #[track_caller]
    pub fn stop(&mut self) {
        self.end_with(Signal::TERM);
    }

    /// SIGINT as Ctrl-C sends it, and waits for the orderly end.
    #[track_caller]
    pub fn interrupt(&mut self) {
        self.end_with(Signal::INT);
    }

    #[track_caller]
    fn end_with(&mut self, signal: Signal) {
        let mut process = self.process.take().expect("the gateway runs");
        process.signal(signal);
        let exit = process.await_exit(STOP);
        assert_eq!(exit.code(), Some(0), "after {signal:?}\n{}", process.tail());
    }

    /// SIGKILL.
    pub fn kill_nine(&mut self) {
        self.process = None;
    }

    /// Waits for the end of one that is expected to end by itself.
    #[track_caller]
    pub fn await_exit(&mut self) -> ExitStatus {
        self.process.take().expect("the gateway was started").await_exit(STOP)
    }

    /// Whether it was started and has not ended.
    pub fn runs(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.exited().is_none())
    }

    /// Process id, while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Process::pid)
    }

    /// Process ids of this gateway's drivers, zombies left out: programs in its drivers directory, and
    /// interpreters that run one.
    pub fn driver_pids(&self) -> Vec<u32> {
        let drivers = self.drivers_dir();
        let is_ours = |pid: &u32| {
            let is_program =
                fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.starts_with(&drivers));
            let arguments = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let mut arguments = arguments.split(|byte| *byte == 0).map(OsStr::from_bytes);
            let is_argument = arguments.any(|argument| Path::new(argument).starts_with(&drivers));
            is_program || (is_argument && Some(*pid) != self.pid())
        };
        let processes = fs::read_dir("/proc").expect("Linux has /proc");
        let pids = processes.flatten().filter_map(|entry| entry.file_name().to_string_lossy().parse().ok());
        pids.filter(is_ours).collect()
    }

    /// Puts a program into the drivers directory, at once as it will be; one that runs is not touched.
    pub fn put_driver(&self, id: &str, program: &[u8]) {
        let (path, fresh) = (self.drivers_dir().join(format!("driver-{id}")), self.dir.join("fresh"));
        fs::write(&fresh, program).expect("the case's directory takes files");
        fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("it is our own file");
        fs::rename(&fresh, &path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    /// The real driver's program.
    pub fn real_driver() -> Vec<u8> {
        fs::read(binary("driver-modbus")).expect("it was built")
    }

    /// The process of this driver that is at work, as status has it.
    #[track_caller]
    pub fn pid_of(&self, id: &str) -> u32 {
        let driver = self.driver(id);
        let pid = driver["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
        pid.unwrap_or_else(|| panic!("driver {id} does not run: {driver:#}"))
    }

    /// Its one driver process.
    #[track_caller]
    pub fn driver_pid(&self) -> u32 {
        let pids = self.driver_pids();
        let [pid] = pids[..] else { panic!("one driver process, not {pids:?}\n{}", self.tail()) };
        pid
    }

    /// SIGKILL for its one driver process; returns the id it had.
    #[track_caller]
    pub fn kill_driver(&self) -> u32 {
        let pid = self.driver_pid();
        signal(pid, Signal::KILL);
        pid
    }

    /// What is in its run directory besides empty directories.
    pub fn left_behind(&self) -> Vec<PathBuf> {
        files_below(&self.run_dir())
    }

    /// All it has said, over all its starts.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("gateway.log")).unwrap_or_default()
    }

    /// The end of what it has said, for a failing case.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let from = lines.len().saturating_sub(80);
        format!("--- sagoo-edge ---\n{}\n", lines[from..].join("\n"))
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.process = None;
        // A gateway that was killed cannot end its drivers; what is left of this case's own is ended.
        self.driver_pids().into_iter().for_each(|pid| signal(pid, Signal::KILL));
    }
}

fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            true => found.extend(files_below(&entry.path())),
            false => found.push(entry.path()),
        }
    }
    found
}

/// To a process that is no child of ours.
pub fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may end by itself at the same moment.
        let _ = kill_process(pid, signal);
    }
}

#[track_caller]
fn entry(list: &Json, key: &str, name: &str) -> Json {
    let found = list.as_array().into_iter().flatten().find(|entry| entry[key] == name);
    found.unwrap_or_else(|| panic!("no {key} {name:?} in {list:#}")).clone()
}
