//! What README and CONTRIBUTING tell people to type, typed.
//!
//! Always true: every line of every `sh` block is either run here or by the gate; a line that is
//! neither fails. The configuration is README's own, with the addresses of this machine put in.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use e2e::rig::{Broker, ModbusDevice, Process, binary, eventually};
use rustix::process::Signal;

/// For anything the gateway has to do first.
const SOON: Duration = Duration::from_secs(20);
/// What the device's first register holds; README reads it in tenths.
const VOLTAGE: u16 = 2_304;
/// What README's `write` writes.
const LIMIT: u16 = 16;
/// Where README's commands find the gateway.
const PROGRAM: &str = "target/debug/sagoo-edge";

#[test]
fn the_first_site_of_the_readme_works_as_it_is_written() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let broker = Broker::start(dir.path());
    let device = ModbusDevice::start(dir.path(), "meter", &[]);
    device.set(0, &[VOLTAGE]);
    write_configuration(dir.path(), broker.port, device.port);

    let (mut gateway, mut done) = (None, Vec::new());
    for line in commands("README.md").iter().filter_map(|line| line.strip_prefix(PROGRAM)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let mut command = Command::new(binary("sagoo-edge"));
        command.args(&words).current_dir(dir.path());
        match words[0] {
            "run" => gateway = Some(Process::spawn("sagoo-edge", &mut command, &dir.path().join("run.log"))),
            _ => eventually(&format!("`sagoo-edge{line}` succeeds"), SOON, || succeeds(&mut command)),
        }
        done.push(words[0].to_owned());
    }
    let expected = [
        "check",
        "explain",
        "run",
        "status",
        "ledger",
        "read",
        "write",
        "probe",
        "scan",
        "capture",
        "invoke",
        "deadletter",
        "reload",
        "driver",
        "driver",
    ];
    assert_eq!(done, expected, "the commands of README");
    assert_eq!(device.register(0), LIMIT, "the limit the README writes");

    let mut gateway = gateway.expect("README runs it");
    gateway.signal(Signal::TERM);
    assert!(gateway.await_exit(SOON).success(), "{}", gateway.tail());
}

#[test]
fn every_command_of_the_documents_is_run_here_or_by_the_gate() {
    let gate = read("deploy/check.sh");
    for line in ["README.md", "CONTRIBUTING.md"].iter().flat_map(|document| commands(document)) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let run = match words[0] {
            PROGRAM => true, // by the case above
            "deploy/demo.sh" => gate.contains("deploy/demo.sh --seconds"),
            "deploy/check.sh" => words[1..].iter().all(|word| gate.contains(&format!("\n  {word} "))),
            // the gate gives it more options and runs every target
            "RUSTC_BOOTSTRAP=1" => {
                words[1..3] == ["target/tools/bin/cargo-fuzz", "fuzz"] && gate.contains("\n  fuzz ")
            }
            "cargo" => gate.contains(&line.replace("cargo build", "cargo build --locked")),
            _ => false,
        };
        assert!(run, "neither a case nor the gate runs `{line}`");
    }
}

fn succeeds(command: &mut Command) -> Result<(), String> {
    let output = command.output().expect("sagoo-edge runs");
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

fn write_configuration(dir: &Path, broker: u16, device: u16) {
    let programs = binary("driver-modbus").parent().expect("a program is in a folder").display().to_string();
    let mut toml = block("README.md", "toml").pop().expect("README has a configuration");
    let lines = toml.lines().count();
    assert!(lines <= 10, "README promises ten lines, and these are {lines}");
    for (theirs, ours) in [
        ("broker.example:1883", format!("127.0.0.1:{broker}")),
        ("host = \"192.168.1.40\", port = 502", format!("host = \"127.0.0.1\", port = {device}")),
        ("../target/debug", programs),
    ] {
        assert!(toml.contains(theirs), "README's configuration has no {theirs} any more");
        toml = toml.replace(theirs, &ours);
    }
    fs::create_dir(dir.join("first")).expect("a fresh directory");
    fs::write(dir.join("first/gateway.toml"), toml).expect("a fresh directory");
}

/// The lines of a document's `sh` blocks, comments left out.
fn commands(document: &str) -> Vec<String> {
    let text = block(document, "sh").concat();
    let bare = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
    let commands: Vec<String> = text.lines().map(bare).filter(|line| !line.is_empty()).collect();
    assert!(!commands.is_empty(), "{document} has no commands");
    commands
}

/// The contents of a document's fenced blocks of one language.
fn block(document: &str, language: &str) -> Vec<String> {
    let text = read(document);
    let opening = format!("```{language}\n");
    let blocks = text.split(&opening).skip(1);
    blocks.map(|rest| rest.split("```").next().expect("a closed block").to_owned()).collect()
}

fn read(path: &str) -> String {
    let path: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
