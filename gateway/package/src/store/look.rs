//! One installed driver, every byte of it looked at.
//!
//! Always true: what is reported is what was read just now, and everything that keeps somebody from
//! vouching for it is a [`Doubt`]; a folder that could not be started at all is a [`Broken`].

use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Installed;
use crate::arch::{Arch, HEADER};
use crate::command::Start;
use crate::digest::{Hasher, Sha256};
use crate::files;
use crate::info::{INFO, Info};
use crate::keys::{Distrust, KeyId, Trust};
use crate::limits::{MAX_FILES, MAX_INFO, MAX_KEY_FILE, MAX_MANIFEST, MAX_UNPACKED};
use crate::manifest::{ListedFile, MANIFEST, Manifest, SIGNATURE};
use crate::name::Version;
use crate::owner::Eyes;

const EXECUTABLE: u32 = 0o111;
const SET_ID: u32 = 0o6000;

/// Why nobody vouches for a driver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubt {
    /// Not signed by a trusted key.
    Unsigned(String),
    /// Not what was signed.
    Changed(String),
    /// Others may change it.
    Unsafe(String),
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unsigned(why) | Self::Changed(why) | Self::Unsafe(why) => f.write_str(why),
        }
    }
}

/// Why a driver cannot be started at all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Broken {
    /// A file cannot be read or makes no sense.
    Malformed(String),
    /// For another machine.
    WrongMachine(String),
    /// This machine lacks what it needs.
    Lacks(String),
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) | Self::Lacks(why) => f.write_str(why),
            Self::WrongMachine(arch) => write!(f, "it is for {arch}"),
        }
    }
}

/// An installed version, whether it may run or not.
#[derive(Debug, Clone)]
pub(crate) struct Looked {
    pub(crate) manifest: Manifest,
    pub(crate) info: Info,
    pub(crate) signed: Option<KeyId>,
    pub(crate) doubts: Vec<Doubt>,
    program: PathBuf,
    args: Vec<OsString>,
    native: bool,
    checksum: Sha256,
    fingerprint: Sha256,
    dir: PathBuf,
}

impl Looked {
    /// Whether every file is what the manifest says, whoever signed that.
    pub(crate) fn is_unchanged(&self) -> bool {
        !self.doubts.iter().any(|doubt| matches!(doubt, Doubt::Changed(_)))
    }

    pub(crate) fn into_installed(self) -> Installed {
        Installed {
            id: self.manifest.id,
            version: Some(self.manifest.version.to_string()),
            program: self.program,
            args: self.args,
            native: self.native,
            checksum: self.checksum,
            dir: self.dir,
            // a signature on something else than what is here vouches for nothing
            signed: self.signed.filter(|_| self.doubts.is_empty()),
            doubts: self.doubts,
            fingerprint: self.fingerprint,
        }
    }
}

/// Looks at the version of `id` in the folder `dir`.
pub(crate) fn package(
    dir: &Path,
    id: &str,
    version: &Version,
    (trust, eyes): (&Trust, Eyes),
) -> Result<Looked, Broken> {
    let (manifest_bytes, manifest) = manifest(dir, id, version)?;
    if manifest.arch != Arch::Any && Some(manifest.arch) != Arch::of_this_machine() {
        return Err(Broken::WrongMachine(manifest.arch.to_string()));
    }
    let mut fingerprint = Hasher::new();
    let signature = files::read(&dir.join(SIGNATURE), MAX_KEY_FILE);
    fingerprint.update(&manifest_bytes);
    fingerprint.update(signature.as_deref().unwrap_or_default());

    let mut doubts: Vec<Doubt> = eyes.doubt(dir).map(Doubt::Unsafe).into_iter().collect();
    let signed = match trust.verify(&manifest_bytes, signature.ok().as_deref()) {
        Ok(key) => Some(key),
        Err(distrust @ Distrust::Wrong(_)) => {
            doubts.push(Doubt::Changed(format!("{MANIFEST} was changed: {distrust}")));
            None
        }
        Err(distrust) => {
            doubts.push(Doubt::Unsigned(distrust.to_string()));
            None
        }
    };
    let found = walk(dir).map_err(|error| Broken::Malformed(error.to_string()))?;
    doubts.extend(differences(dir, (&manifest, eyes), &found, &mut fingerprint));

    let info = files::read(&dir.join(INFO), MAX_INFO).map_err(|error| error.to_string());
    let info = info.and_then(|bytes| Info::parse(&bytes));
    let info = info.map_err(|why| Broken::Malformed(format!("{INFO}: {why}")))?;
    let start = Start::of(&info, &manifest).map_err(|why| Broken::Malformed(format!("{INFO}: {why}")))?;
    let (program, args, native) = command(dir, &info, start)?;
    let checksum = checksum(&program).map_err(|error| at(&program, &error))?;
    let fingerprint = fingerprint.finish();
    let dir = dir.to_owned();
    Ok(Looked { manifest, info, signed, doubts, program, args, native, checksum, fingerprint, dir })
}

/// Looks at a program alone, for which nobody can vouch.
pub(crate) fn bare(path: &Path, id: &str, eyes: Eyes) -> Result<Installed, Broken> {
    let mut file = files::open(path).or_else(|error| match fs::canonicalize(path) {
        // a developer's link to what has just been built
        Ok(real) if real != path => files::open(&real),
        _ => Err(error),
    });
    let file = file.as_mut().map_err(|error| at(path, error))?;
    let mut header = Vec::new();
    let (_, checksum) = files::hash(file, |block| {
        header.extend(block.iter().take(HEADER - header.len().min(HEADER)));
        Ok(())
    })
    .map_err(|error| at(path, &error))?;
    let machine = Arch::of_program(&header);
    if let Some(Ok(arch)) = machine
        && Some(arch) != Arch::of_this_machine()
    {
        return Err(Broken::WrongMachine(arch.to_string()));
    }
    let mut doubts = vec![Doubt::Unsigned("not signed".to_owned())];
    doubts.extend(eyes.doubt(path).map(Doubt::Unsafe));
    Ok(Installed {
        id: id.to_owned(),
        version: None,
        program: path.to_owned(),
        args: Vec::new(),
        native: machine.is_some(),
        checksum,
        dir: path.parent().map(Path::to_owned).unwrap_or_default(),
        signed: None,
        doubts,
        fingerprint: checksum,
    })
}

/// The manifest, if it is the one of this folder.
pub(crate) fn manifest(dir: &Path, id: &str, version: &Version) -> Result<(Vec<u8>, Manifest), Broken> {
    let malformed = |why: String| Broken::Malformed(format!("{MANIFEST}: {why}"));
    let bytes =
        files::read(&dir.join(MANIFEST), MAX_MANIFEST).map_err(|error| malformed(error.to_string()))?;
    let manifest = Manifest::parse(&bytes).map_err(malformed)?;
    match manifest.id == id && manifest.version == *version {
        true => Ok((bytes, manifest)),
        false => Err(malformed(format!(
            "it is of {} {}, and its folder is of {id} {version}",
            manifest.id, manifest.version
        ))),
    }
}

fn command(dir: &Path, info: &Info, start: Start<'_>) -> Result<(PathBuf, Vec<OsString>, bool), Broken> {
    let given = info.args.iter().map(OsString::from);
    match start {
        Start::Native(program) => Ok((dir.join(program), given.collect(), true)),
        Start::Interpreted { interpreter, script } => {
            let program = Start::interpreter(interpreter).map_err(Broken::Lacks)?;
            let before = Start::before_script(interpreter).iter().map(OsString::from);
            let script = dir.join(script).into_os_string();
            Ok((program, before.chain([script]).chain(given.skip(1)).collect(), false))
        }
    }
}

fn checksum(program: &Path) -> io::Result<Sha256> {
    // an interpreter is often a link to the version in use
    let mut file = files::open(&fs::canonicalize(program)?)?;
    Ok(files::hash(&mut file, |_| Ok(()))?.1)
}

fn at(path: &Path, error: &io::Error) -> Broken {
    Broken::Malformed(format!("{}: {error}", path.display()))
}

/// A file of the folder that is none of the two about the others.
struct Found {
    path: String,
    meta: Metadata,
}

/// Everything in the folder that is no folder. More than a package can hold is cut off, which makes
/// it a changed one.
fn walk(dir: &Path) -> io::Result<Vec<Found>> {
    let (mut found, mut waiting) = (Vec::new(), vec![String::new()]);
    while let Some(below) = waiting.pop() {
        for entry in fs::read_dir(dir.join(&below))? {
            let entry = entry?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            let meta = entry.metadata()?;
            match meta.is_dir() {
                true => waiting.push(path + "/"),
                false if path == MANIFEST || path == SIGNATURE => {}
                false => found.push(Found { path, meta }),
            }
            if found.len() + waiting.len() > 2 * MAX_FILES {
                return Ok(found);
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(found)
}

/// How the folder differs from its manifest, and who may change it.
fn differences(
    dir: &Path,
    (manifest, eyes): (&Manifest, Eyes),
    found: &[Found],
    fingerprint: &mut Hasher,
) -> Vec<Doubt> {
    let mut doubts = Vec::new();
    for file in found {
        let doubt = eyes.doubt_of(&file.meta).map(|why| Doubt::Unsafe(format!("{} {why}", file.path)));
        // the mode of a link says nothing, and there is to be none
        doubts.extend(doubt.filter(|_| file.meta.is_file()));
        let listed = manifest.file(&file.path);
        let (why, sha256) = difference(dir, listed, file);
        doubts.extend(why.map(|why| Doubt::Changed(format!("{} {why}", file.path))));
        fingerprint.update(file.path.as_bytes());
        let mode = file.meta.mode();
        fingerprint.update(&[0, u8::from(mode & EXECUTABLE != 0), u8::from(mode & SET_ID != 0)]);
        fingerprint.update(&sha256.unwrap_or_default());
    }
    let missing = manifest.files.iter().filter(|listed| !found.iter().any(|file| file.path == listed.path));
    doubts.extend(missing.map(|listed| Doubt::Changed(format!("{} is missing", listed.path))));
    doubts
}

fn difference(dir: &Path, listed: Option<&ListedFile>, file: &Found) -> (Option<String>, Option<Sha256>) {
    if !file.meta.is_file() {
        return (Some("is not a plain file".to_owned()), None);
    }
    if file.meta.len() > MAX_UNPACKED {
        return (Some("is larger than a package can be".to_owned()), None);
    }
    let hashed = files::open(&dir.join(&file.path)).and_then(|mut open| files::hash(&mut open, |_| Ok(())));
    let (size, sha256) = match hashed {
        Ok(hashed) => hashed,
        Err(error) => return (Some(format!("cannot be read: {error}")), None),
    };
    let mode = file.meta.mode();
    let why = match listed {
        None => Some("does not belong to the package"),
        Some(listed) if listed.size != size || listed.sha256 != sha256 => Some("was changed"),
        Some(listed) if listed.executable != (mode & EXECUTABLE != 0) => Some("was made executable or not"),
        Some(_) if mode & SET_ID != 0 => Some("runs as another user"),
        Some(_) => None,
    };
    (why.map(str::to_owned), Some(sha256))
}
