//! The first half of a start: from a launch to a running process that a later host could end.
//!
//! ```text
//! program verified → directories → output → confinement → fork, confined, exec → record
//! ```
//! Always true: what was made is removed again if the process does not come to be.

use std::env;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use sagoo_edge_proto::mtls::Identity;
use tokio::sync::oneshot;

use crate::alive::Birth;
use crate::announce::FirstLine;
use crate::confine::{self, Bonds, Cgroup, Scene};
use crate::keep::{Facts, KeptDir, Protection, STDERR, STDOUT};
use crate::keeper::Remains;
use crate::plugin::Kept;
use crate::process::{Output, Process, SpawnError};
use crate::program::Program;
use crate::socket_dir::SocketDir;
use crate::{Lack, Launch, Security, StartFailure, Stdin, diagnosis, environment};

/// A process, and what the way to a connection with it needs.
pub(crate) struct Spawned {
    pub(crate) process: Process,
    pub(crate) identity: Option<Identity>,
    /// Where its sockets are, and ours for it.
    pub(crate) sockets: PathBuf,
    pub(crate) first_line: oneshot::Receiver<FirstLine>,
    pub(crate) lacks: Vec<Lack>,
    pub(crate) kept: Option<Kept>,
}

pub(crate) async fn spawn(launch: &Launch) -> Result<Spawned, StartFailure> {
    if launch.keep.is_some() && launch.multiplex {
        return Err(StartFailure::KeepMultiplexed);
    }
    if let Some(what) = diagnosis::no_program(&launch.program) {
        return Err(StartFailure::NotAProgram { what });
    }
    let program = Program::open(launch).await?;
    let identity = matches!(launch.security, Security::AutoMtls).then(Identity::generate).transpose()?;
    let (mut remains, sockets) = directories(launch).await?;
    let cert = identity.as_ref().map(Identity::cert_pem);
    let mut command = program.command(&sockets)?;
    command
        .args(&launch.args)
        .env_clear()
        .envs(environment::variables(env::vars_os(), launch, &sockets, cert))
        .stdin(match launch.stdin {
            Stdin::Null => Stdio::null(),
            Stdin::Inherit => Stdio::inherit(),
        });
    let output = match remains.kept.as_deref() {
        Some(record) => Output::fifos(record).map_err(|error| failure(launch, error))?,
        None => Output::pipes().map_err(StartFailure::Spawn)?,
    };
    let Bonds { mut steps, cgroup, mut lacks } = bonds(launch, &program, &sockets, remains.kept.as_deref())?;
    steps.new_session = launch.stdin == Stdin::Inherit;
    steps.arm(&mut command);
    let group = cgroup.as_ref().map(|cgroup| cgroup.dir().to_owned());
    remains.cgroup = cgroup;

    let record = remains.kept.clone();
    let spawned = Process::spawn(command, &launch.name, output, remains, &launch.mirror);
    program.started(&sockets);
    let (process, first_line, birth) = spawned.map_err(|error| failure(launch, SpawnError::System(error)))?;
    if let (Some(group), Some(confinement)) = (&group, &launch.confinement) {
        lacks.extend(Cgroup::missed(group, process.pid(), confinement));
    }
    let kept = match record {
        Some(dir) => {
            let birth = birth.map_err(StartFailure::Spawn)?;
            let mut facts = facts(launch, birth, identity.as_ref(), &sockets);
            facts.cgroup = group;
            facts.lacks = lacks.iter().map(|lack| (lack.what.to_owned(), lack.why.clone())).collect();
            dir.write(&facts)?;
            Some(Kept { dir, facts: facts.into() })
        }
        None => None,
    };
    Ok(Spawned { process, identity, sockets, first_line, lacks, kept })
}

/// The directories of a launch, which go with it, and the path of the one for sockets.
async fn directories(launch: &Launch) -> Result<(Remains, PathBuf), StartFailure> {
    let mut remains = Remains::default();
    if let Some(keep) = &launch.keep {
        remains.kept = Some(Arc::new(KeptDir::create(&keep.dir).await?));
    }
    let unusable = |(path, source)| StartFailure::SocketDir { path, source };
    let dir = SocketDir::create(launch.run_dir.as_deref(), &launch.name).map_err(unusable)?;
    let sockets = dir.path().to_owned();
    if let Some(record) = &remains.kept {
        dir.keep_for(record.path()).map_err(|source| unusable((sockets.clone(), source)))?;
    }
    remains.dir = Some(dir);
    Ok((remains, sockets))
}

/// What holds it, if anything is to.
fn bonds(
    launch: &Launch,
    program: &Program,
    sockets: &Path,
    record: Option<&KeptDir>,
) -> Result<Bonds, StartFailure> {
    let Some(confinement) = &launch.confinement else { return Ok(Bonds::default()) };
    let output =
        record.map_or_else(Vec::new, |record| [STDOUT, STDERR].map(|name| record.path().join(name)).to_vec());
    let scene = Scene { program: program.path(), opened: program.opened(), dir: sockets, output };
    confine::prepare(confinement, &scene).map_err(StartFailure::Spawn)
}

/// What is known of a plugin that has just been started: from here on a later host can end it.
fn facts(launch: &Launch, birth: Birth, identity: Option<&Identity>, sockets: &Path) -> Facts {
    let protection = match (&launch.security, identity) {
        (Security::AutoMtls, Some(identity)) => Protection::AutoMtls {
            cert_pem: identity.cert_pem().to_owned(),
            key_pem: identity.key_pem().to_owned(),
        },
        (Security::Own(_), _) => Protection::Own,
        (Security::AutoMtls | Security::Plain, _) => Protection::Plain,
    };
    let mut facts = Facts::new(launch.name.clone(), birth, protection, sockets.to_owned());
    facts.checksum = launch.checksum.map(|checksum| checksum.to_string());
    facts.note = launch.keep.as_ref().map_or_else(String::new, |keep| keep.note.clone());
    facts
}

fn failure(launch: &Launch, error: SpawnError) -> StartFailure {
    let program = &launch.program;
    let error = match error {
        SpawnError::System(error) => error,
        SpawnError::Keep(error) => return error.into(),
    };
    match error.kind() {
        io::ErrorKind::NotFound if program.exists() => {
            StartFailure::Interpreter { what: diagnosis::what_is(program) }
        }
        io::ErrorKind::NotFound => StartFailure::Missing,
        io::ErrorKind::PermissionDenied => StartFailure::NotExecutable {
            what: diagnosis::what_is(program),
            rights: diagnosis::rights(program),
        },
        _ if error.raw_os_error() == Some(rustix::io::Errno::NOEXEC.raw_os_error()) => {
            StartFailure::NotAProgram { what: diagnosis::what_is(program) }
        }
        _ => StartFailure::Spawn(error),
    }
}
