//! Driver packages: folders packed by the real command line, keys made by the real minisign.
//!
//! Always true: a package is what `sagoo-edge driver pack` makes of a folder; nothing is written past it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use super::binary;

/// The real driver in a package, beside what may stand in front of it.
const PROGRAM: &str = "driver-modbus";
const SCRIPT: &str = "driver.py";

/// A key pair of minisign, without a password.
#[derive(Debug, Clone)]
pub struct SigningKey {
    secret: PathBuf,
    public: PathBuf,
}

impl SigningKey {
    /// Makes one, its files in `dir`.
    pub fn make(dir: &Path, name: &str) -> Self {
        let key = Self { secret: dir.join(format!("{name}.key")), public: dir.join(format!("{name}.pub")) };
        let mut command = Command::new("minisign");
        command.args(["-G", "-W", "-p"]).arg(&key.public).arg("-s").arg(&key.secret);
        let output = command.output().unwrap_or_else(|error| {
            panic!("minisign does not run ({error}); type: sudo apt-get install minisign")
        });
        assert!(output.status.success(), "minisign: {}", String::from_utf8_lossy(&output.stderr));
        key
    }

    /// Puts its public half among the trusted ones.
    pub fn trust_in(&self, trusted: &Path) {
        fs::create_dir_all(trusted).expect("the case's directory takes directories");
        let name = self.public.file_name().expect("it has one");
        fs::copy(&self.public, trusted.join(name)).expect("the case's directory takes files");
    }
}

/// What is wrong with a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// A second after its start it kills itself.
    Crashes,
    /// A second after its start it does nothing any more.
    Hangs,
}

/// Packs the real driver as this id and version into `dir`, faulty if asked for, and signs it if there is
/// a key.
pub fn pack(dir: &Path, id: &str, version: &str, fault: Fault, key: Option<&SigningKey>) -> PathBuf {
    let folder = dir.join(format!("{id}-{version}"));
    fs::create_dir_all(&folder).expect("the case's directory takes directories");
    let put = |name: &str, bytes: &[u8]| {
        let path = folder.join(name);
        fs::write(&path, bytes).expect("the case's directory takes files");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("it is our own file");
    };
    put(PROGRAM, &fs::read(binary(PROGRAM)).expect("it was built"));
    let signal = match fault {
        Fault::None => None,
        Fault::Crashes => Some("SIGKILL"),
        Fault::Hangs => Some("SIGSTOP"),
    };
    // What may happen only to one that is at work must not happen to one that is merely asked.
    let script = |signal: &str| {
        format!(
            "import os, signal, sys, time\n\
             here = os.path.dirname(os.path.abspath(__file__))\n\
             driver = os.getpid()\n\
             if os.fork() == 0:\n    os.closerange(0, 64)\n    time.sleep(1)\n    os.kill(driver, signal.{signal})\n    os._exit(0)\n\
             os.execv(os.path.join(here, '{PROGRAM}'), ['{PROGRAM}'])\n"
        )
    };
    if let Some(signal) = signal {
        put(SCRIPT, script(signal).as_bytes());
    }
    let (command, args) = if signal.is_some() { ("python3", vec![SCRIPT]) } else { (PROGRAM, Vec::new()) };
    let info = json!({
        "types": "driver", "handleType": "modbus", "name": id, "title": "Modbus", "version": version,
        "author": "e2e", "command": command, "args": args,
    });
    put("info.json", info.to_string().as_bytes());
    put("schema.json", b"{}");
    let mut command = Command::new(binary("sagoo-edge"));
    command.args(["driver", "pack", "--json", "--out"]).arg(dir).arg(&folder);
    match key {
        Some(key) => command.arg("--key").arg(&key.secret),
        None => command.arg("--unsigned"),
    };
    let output = command.output().expect("it was built");
    let told: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    let path = told["path"].as_str().map(PathBuf::from);
    path.unwrap_or_else(|| {
        panic!(
            "driver pack: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        )
    })
}
