//! The rules of a confined plugin in the kernel's Landlock.
//!
//! Always true: what no rule allows is refused; the record of a plugin and those of others are in
//! no folder a rule allows. Rules are about files, not names: a file that is replaced by another one
//! of the same name is not the file that was allowed, while everything in an allowed folder is.

use std::fs;
use std::io;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, Scope, make_bitflags,
};

use super::{Confinement, Lack, Scene};

/// The newest the rules were tested with.
const TESTED: ABI = ABI::V7;

/// The system's programs and libraries, and its own certificates and zones (below `/usr/share`).
const PROGRAMS: [&str; 7] = ["/usr", "/lib", "/lib32", "/lib64", "/libx32", "/bin", "/sbin"];
/// What describes the system and holds no secret. `/proc` as a whole, because the entry of a process
/// that is still to be started has no file yet; what is secret of other processes in there (memory,
/// environment, open files) the kernel refuses to whoever is confined.
const DESCRIPTIONS: [&str; 3] = ["/proc", "/sys", "/run/udev"];
/// Of `/etc` only what libraries need: it is full of secrets otherwise.
const ETC: [&str; 22] = [
    "ca-certificates",
    "gai.conf",
    "group",
    "host.conf",
    "hosts",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "ld.so.preload",
    "localtime",
    "machine-id",
    "nsswitch.conf",
    "os-release",
    "passwd",
    "pki/tls/certs",
    "protocols",
    "resolv.conf",
    "services",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "timezone",
];
/// Interpreters have folders named after their version there.
const ETC_PREFIX: &str = "python3";
/// Who writes `/etc/resolv.conf` puts a new file in its place, in a folder of its own below this.
const RUN: &str = "/run";
const DEV: &str = "/dev";
/// Names are asked for over TCP when the answer is long.
const DNS_PORT: u16 = 53;

/// Reading and running.
const READ: BitFlags<AccessFs> = make_bitflags!(AccessFs::{ReadFile | ReadDir | Execute});
/// Opening a device and talking to it; making one is not in it.
const TALK: BitFlags<AccessFs> =
    make_bitflags!(AccessFs::{ReadFile | ReadDir | WriteFile | Truncate | IoctlDev});
/// A folder of one's own: everything but running what was put there, and devices.
const OWN: BitFlags<AccessFs> = make_bitflags!(AccessFs::{
    ReadFile | ReadDir | WriteFile | Truncate | RemoveDir | RemoveFile | MakeDir | MakeReg | MakeSock
    | MakeFifo | MakeSym | Refer
});

/// Builds the rules; on a kernel that knows none of it they are empty.
pub(super) fn ruleset(
    confinement: &Confinement,
    scene: &Scene<'_>,
    lacks: &mut Vec<Lack>,
) -> io::Result<RulesetCreated> {
    lacks.extend(lacking(confinement));
    build(confinement, scene).map_err(|error| io::Error::other(format!("confinement: {error}")))
}

fn build(confinement: &Confinement, scene: &Scene<'_>) -> Result<RulesetCreated, RulesetError> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(TESTED))?
        .scope(Scope::from_all(TESTED))?;
    if confinement.connect_tcp.is_some() {
        ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
    }
    if confinement.listen_tcp.is_some() {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
    }
    let mut ruleset = ruleset.create()?;
    for path in PROGRAMS.iter().map(Path::new) {
        ruleset = allow(ruleset, path, READ)?;
    }
    for path in DESCRIPTIONS.iter().map(PathBuf::from).chain(etc()).chain(resolver()) {
        ruleset = allow(ruleset, &path, READ & !AccessFs::Execute)?;
    }
    ruleset = allow(ruleset, Path::new(DEV), TALK)?;
    ruleset = allow(ruleset, scene.dir, OWN)?;
    ruleset = match scene.opened {
        Some(file) => allow_open(ruleset, file, READ)?,
        None => allow(ruleset, scene.program, READ)?,
    };
    for path in &scene.output {
        ruleset = allow(ruleset, path, AccessFs::WriteFile.into())?;
    }
    for path in &confinement.read {
        ruleset = allow_named(ruleset, path, READ)?;
    }
    for path in &confinement.write {
        ruleset = allow_named(ruleset, path, OWN | AccessFs::IoctlDev)?;
    }
    for port in confinement.connect_tcp.iter().flatten().chain([&DNS_PORT]) {
        if confinement.connect_tcp.is_some() {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    for port in confinement.listen_tcp.iter().flatten() {
        ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
    }
    Ok(ruleset)
}

/// What is not there needs no rule.
fn allow(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    match PathFd::new(path) {
        Ok(fd) => allow_open(ruleset, fd, access),
        Err(_) => Ok(ruleset),
    }
}

/// What the caller named and is not there may be missed later.
fn allow_named(
    ruleset: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    if !path.exists() {
        tracing::warn!(path = %path.display(), "what a driver may reach is not there, it will not reach it later either");
    }
    allow(ruleset, path, access)
}

fn allow_open(
    ruleset: RulesetCreated,
    file: impl AsFd,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, RulesetError> {
    ruleset.add_rule(PathBeneath::new(file, access))
}

fn etc() -> Vec<PathBuf> {
    let etc = Path::new("/etc");
    let interpreters = fs::read_dir(etc).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_one =
        |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(ETC_PREFIX));
    ETC.iter().map(|name| etc.join(name)).chain(interpreters.filter(is_one)).collect()
}

/// The folder `/etc/resolv.conf` really lives in, if that is a service's own.
fn resolver() -> Option<PathBuf> {
    let folder = fs::canonicalize("/etc/resolv.conf").ok()?.parent()?.to_owned();
    (folder.starts_with(RUN) && folder != Path::new(RUN)).then_some(folder)
}

/// What this kernel does not know.
fn lacking(confinement: &Confinement) -> Vec<Lack> {
    let files = knows(|ruleset| ruleset.handle_access(AccessFs::ReadFile));
    if !files {
        let why = "this kernel has no Landlock; Linux 5.13 with CONFIG_SECURITY_LANDLOCK and \"landlock\" in lsm= has";
        let tcp = confinement.connect_tcp.is_some() || confinement.listen_tcp.is_some();
        let what = [Lack::FILES, Lack::SIGNALS].into_iter().chain(tcp.then_some(Lack::TCP));
        return what.map(|what| Lack::new(what, why)).collect();
    }
    let mut lacks = Vec::new();
    if !knows(|ruleset| ruleset.handle_access(AccessFs::Truncate)) {
        lacks.push(Lack::new(Lack::TRUNCATING, "this kernel's Landlock cannot; Linux 6.2 can"));
    }
    let tcp = confinement.connect_tcp.is_some() || confinement.listen_tcp.is_some();
    if tcp && !knows(|ruleset| ruleset.handle_access(AccessNet::ConnectTcp)) {
        lacks.push(Lack::new(Lack::TCP, "this kernel's Landlock cannot; Linux 6.7 can"));
    }
    if !knows(|ruleset| ruleset.scope(Scope::Signal)) {
        lacks.push(Lack::new(Lack::SIGNALS, "this kernel's Landlock cannot; Linux 6.12 can"));
    }
    lacks
}

fn knows(ask: impl FnOnce(Ruleset) -> Result<Ruleset, RulesetError>) -> bool {
    ask(Ruleset::default().set_compatibility(CompatLevel::HardRequirement)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_folder_that_is_always_there_holds_secrets() {
        let readable: Vec<PathBuf> = DESCRIPTIONS.iter().map(PathBuf::from).chain(etc()).collect();
        for secret in [
            "/etc/shadow",
            "/etc/sagoo-edge/secrets",
            "/etc/ssl/private",
            "/run/sagoo-edge/drivers",
            "/var",
            "/home",
            "/root",
            "/tmp",
        ] {
            assert!(!readable.iter().any(|folder| Path::new(secret).starts_with(folder)), "{secret}");
        }
    }
}
