//! Packing: from a folder to a signed package.
//!
//! Always true: what was packed passes everything an installation checks; it has the name of its
//! content, and replaces an older file of that name as a whole.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::arch::{Arch, HEADER};
use crate::command::Start;
use crate::digest::Hasher;
use crate::error::Refused;
use crate::info::{INFO, Info};
use crate::keys::Trust;
use crate::limits::{MAX_FILES, MAX_INFO, MAX_SCHEMA, MAX_UNPACKED};
use crate::manifest::{ListedFile, MANIFEST, Manifest, SIGNATURE};
use crate::minisign;
use crate::package::{self, Package, SCHEMA};
use crate::zip::Writer;
use crate::{files, name};

pub use crate::minisign::secret::{KeyError, SecretKey};

const EXECUTABLE: u32 = 0o111;
/// What Python leaves behind, and no package needs.
const LEFT_BEHIND: &str = "__pycache__";

/// What to pack, and how.
#[derive(Clone, Copy)]
pub struct Pack<'a> {
    /// The folder with `info.json`, `schema.json` and the files.
    pub dir: &'a Path,
    /// Where the package is put.
    pub out: &'a Path,
    /// Who signs it; `None`: nobody, and it runs only where `allow_unsigned` names it.
    pub key: Option<&'a SecretKey>,
}

/// A package that was made.
#[derive(Debug)]
pub struct Packed {
    /// The package.
    pub path: PathBuf,
    /// What is in it.
    pub manifest: Manifest,
    /// Bytes of the package.
    pub size: u64,
    /// minisign's number of the key that signed it.
    pub signed: Option<String>,
    /// Hidden and left-behind files of the folder, which are not in it.
    pub left_out: Vec<String>,
}

/// Why a folder is not packed.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// The file system said no.
    #[error("{path}: {source}")]
    Io {
        /// What was to be read or written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something in the folder is not as it should be.
    #[error("{path}: {why}")]
    Source {
        /// The file.
        path: PathBuf,
        /// What is wrong, with its place.
        why: String,
    },
    /// It was packed, and an installation would refuse it.
    #[error("what was packed would not be installed: {0}")]
    Refused(#[from] Refused),
}

/// What is in the folder.
#[derive(Default)]
struct Source {
    files: Vec<(String, bool)>,
    size: u64,
    left_out: Vec<String>,
}

/// Packs a folder; `progress` is told how many bytes were packed, and of how many.
pub fn pack(how: Pack<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Packed, PackError> {
    let info = described(how.dir, INFO, MAX_INFO, Info::parse)?;
    described(how.dir, SCHEMA, MAX_SCHEMA, package::schema)?;
    let mut source = walk(how.dir)?;
    for (path, executable) in &mut source.files {
        *executable |= *path == info.command;
    }
    let mut manifest = Manifest {
        id: info.id.clone(),
        version: info.version.clone(),
        arch: machine(how.dir, &source)?,
        files: source.files.iter().map(|(path, executable)| empty(path, *executable)).collect(),
    };
    let wrong = |why| PackError::Source { path: how.dir.join(INFO), why };
    package::fits(&info, &manifest).map_err(wrong)?;
    program(how.dir, &info, &manifest)?;

    let name = name::package(&manifest.id, &manifest.version, manifest.arch);
    let (path, beside) = (how.out.join(&name), how.out.join(format!(".{name}.{}", std::process::id())));
    fs::create_dir_all(how.out).map_err(io_at(how.out))?;
    let packed = archive(how, &mut manifest, source.size, &beside, progress)
        .and_then(|signed| Ok((signed, fs::metadata(&beside).map_err(io_at(&beside))?.len())))
        .and_then(|done| fs::rename(&beside, &path).map_err(io_at(&path)).map(|()| done));
    if packed.is_err() {
        // nothing half-packed stays; that it cannot be removed matters less than why it was not packed
        let _ = fs::remove_file(&beside);
    }
    let (signed, size) = packed?;
    Ok(Packed { path, manifest, size, signed, left_out: source.left_out })
}

/// Writes the archive, completes the manifest with what was written, and checks the whole.
fn archive(
    how: Pack<'_>,
    manifest: &mut Manifest,
    total: u64,
    path: &Path,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Option<String>, PackError> {
    let file = File::options().write(true).create(true).truncate(true).open(path).map_err(io_at(path))?;
    let mut writer = Writer::new(file);
    let mut done = 0;
    for listed in &mut manifest.files {
        let from = how.dir.join(&listed.path);
        let (mut hasher, mut size) = (Hasher::new(), 0);
        let added = files::open(&from).and_then(|mut file| {
            writer.add(&listed.path, listed.executable, &mut file, &mut |block| {
                hasher.update(block);
                size += block.len() as u64;
                progress(done + size, total);
            })
        });
        added.map_err(io_at(&from))?;
        done += size;
        (listed.size, listed.sha256) = (size, hasher.finish());
    }
    manifest.check_together().map_err(|why| PackError::Source { path: how.dir.to_owned(), why })?;
    let bytes = manifest.to_json();
    let mut add = |name: &str, bytes: &[u8]| {
        writer.add(name, false, &mut io::Cursor::new(bytes), &mut |_| {}).map_err(io_at(path))
    };
    add(MANIFEST, &bytes)?;
    let mut trust = Trust::default();
    if let Some(key) = how.key {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let comment = format!("timestamp:{now}\tfile:{MANIFEST}\thashed");
        add(SIGNATURE, key.sign(&bytes, &comment).as_bytes())?;
        trust = Trust::only(key.public());
    }
    writer.finish().map_err(io_at(path))?;
    let package = Package::open_by_any_name(path, &trust)?;
    package.require_signature(&trust, how.key.is_none())?;
    package.verify(&mut |_| {})?;
    Ok(how.key.map(|key| minisign::number(key.public().number)))
}

/// One of the files every package has.
fn described<T>(
    dir: &Path,
    name: &str,
    most: u64,
    read: impl Fn(&[u8]) -> Result<T, String>,
) -> Result<T, PackError> {
    let path = dir.join(name);
    let bytes = files::read(&path, most).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => PackError::Source {
            path: path.clone(),
            why: "is missing; `sagoo-edge driver new` shows what belongs into a package".to_owned(),
        },
        _ => PackError::Io { path: path.clone(), source: error },
    })?;
    read(&bytes).map_err(|why| PackError::Source { path, why })
}

/// Everything in the folder, in order.
fn walk(dir: &Path) -> Result<Source, PackError> {
    let (mut source, mut waiting) = (Source::default(), vec![String::new()]);
    while let Some(below) = waiting.pop() {
        let here = dir.join(&below);
        for entry in fs::read_dir(&here).map_err(io_at(&here))? {
            let entry = entry.map_err(io_at(&here))?;
            let path = format!("{below}{}", entry.file_name().to_string_lossy());
            let meta = entry.metadata().map_err(io_at(&entry.path()))?;
            let wrong = |why: String| Err(PackError::Source { path: entry.path(), why });
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            if hidden || entry.file_name() == LEFT_BEHIND {
                source.left_out.push(path);
                continue;
            }
            if let Some(why) = name::wrong_path(&path) {
                return wrong(format!("its path {why}; rename it"));
            }
            if meta.is_dir() {
                waiting.push(path + "/");
            } else if !meta.is_file() {
                return wrong(
                    "a link, a device or the like cannot be packed; copy what it stands for".to_owned(),
                );
            } else if [MANIFEST, SIGNATURE].contains(&path.as_str()) {
                return wrong("is made by packing; remove it".to_owned());
            } else {
                source.size += meta.len();
                source.files.push((path, meta.mode() & EXECUTABLE != 0));
            }
            if source.files.len() > MAX_FILES || source.size > MAX_UNPACKED {
                return wrong(format!("the folder has more than {MAX_FILES} files or {MAX_UNPACKED} bytes"));
            }
        }
    }
    source.files.sort();
    source.left_out.sort();
    Ok(source)
}

/// The machine all programs and libraries in the folder are for; any, when there are none.
fn machine(dir: &Path, source: &Source) -> Result<Arch, PackError> {
    let mut found: BTreeSet<String> = BTreeSet::new();
    let mut arch = Arch::Any;
    for (path, _) in &source.files {
        if let Some(Ok(of)) = Arch::of_program(&header(&dir.join(path))?) {
            arch = of;
            found.insert(of.to_string());
        }
    }
    match found.len() {
        0 | 1 => Ok(arch),
        _ => Err(PackError::Source {
            path: dir.to_owned(),
            why: format!(
                "has programs for {}; make one package for each",
                found.into_iter().collect::<Vec<_>>().join(" and ")
            ),
        }),
    }
}

/// The first look at the program, so that a mistake is told before everything is packed.
fn program(dir: &Path, info: &Info, manifest: &Manifest) -> Result<(), PackError> {
    match Start::of(info, manifest) {
        Ok(Start::Native(path)) => {
            let path = dir.join(path);
            package::program(&header(&path)?, manifest.arch).map_err(|why| PackError::Source { path, why })
        }
        _ => Ok(()),
    }
}

fn header(path: &Path) -> Result<Vec<u8>, PackError> {
    let mut header = Vec::with_capacity(HEADER);
    let read = files::open(path)
        .and_then(|file| io::Read::read_to_end(&mut io::Read::take(file, HEADER as u64), &mut header));
    read.map_err(io_at(path))?;
    Ok(header)
}

fn empty(path: &str, executable: bool) -> ListedFile {
    ListedFile { path: path.to_owned(), size: 0, sha256: [0; 32], executable }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> PackError + use<> {
    let path = path.to_owned();
    move |source| PackError::Io { path, source }
}
