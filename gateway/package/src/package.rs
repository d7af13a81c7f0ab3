//! A package file: opened, its signature looked at, verified to the last byte, unpacked.
//!
//! Always true: an open package has the right file name, and its archive, manifest, info and schema
//! fit each other; [`Package::signed`] says who vouches for it. What is unpacked is what was signed, or
//! an error.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde_json::Value as Json;

use crate::arch::{Arch, HEADER};
use crate::command::Start;
use crate::digest::{self, Hasher};
use crate::error::Refused;
use crate::files;
use crate::info::{INFO, Info};
use crate::keys::{Distrust, KeyId, Trust};
use crate::limits::{MAX_INFO, MAX_KEY_FILE, MAX_MANIFEST, MAX_SCHEMA};
use crate::manifest::{ListedFile, MANIFEST, Manifest, SIGNATURE};
use crate::name;
use crate::zip::{Archive, ZipError};

/// The JSON Schema of the driver's part of the configuration.
pub(crate) const SCHEMA: &str = "schema.json";

/// A package file that is whole, as far as its directory goes.
#[derive(Debug)]
pub struct Package {
    path: PathBuf,
    archive: Archive,
    manifest: Manifest,
    manifest_bytes: Vec<u8>,
    signature: Option<Vec<u8>>,
    signed: Result<KeyId, Distrust>,
    info: Info,
    schema: Json,
}

impl Package {
    /// Opens a package and checks everything about it but the content of its files.
    pub fn open(path: &Path, trust: &Trust) -> Result<Self, Refused> {
        let package = Self::open_by_any_name(path, trust)?;
        let should = package.file_name();
        match path.file_name().is_some_and(|name| name.to_str() == Some(&should)) {
            true => Ok(package),
            false => Err(Refused::Misnamed { path: path.to_owned(), should }),
        }
    }

    pub(crate) fn open_by_any_name(path: &Path, trust: &Trust) -> Result<Self, Refused> {
        // a link to a package is as good as the package
        let real = fs::canonicalize(path).map_err(Refused::io(path))?;
        let file = files::open(&real).map_err(Refused::io(path))?;
        let archive = Archive::open(file).map_err(|error| zip(path, error))?;
        let read = |name: &str, most| {
            let entry = archive.entry(name).ok_or_else(|| {
                Refused::malformed(path, name)("is not in the archive, so it is no driver package".to_owned())
            })?;
            archive.read(entry, most).map_err(|error| zip(path, error))
        };
        let manifest_bytes = read(MANIFEST, MAX_MANIFEST)?;
        let signature = archive.entry(SIGNATURE).map(|_| read(SIGNATURE, MAX_KEY_FILE)).transpose()?;
        let signed = trust.verify(&manifest_bytes, signature.as_deref());
        let manifest = Manifest::parse(&manifest_bytes).map_err(Refused::malformed(path, MANIFEST))?;
        same_files(path, &archive, &manifest)?;
        let described = |name: &str, most| {
            let bytes = read(name, most)?;
            match manifest.file(name).is_some_and(|listed| listed.sha256 == digest::of(&bytes)) {
                true => Ok(bytes),
                false => Err(altered(path, name, "is not what its manifest says")),
            }
        };
        let info = Info::parse(&described(INFO, MAX_INFO)?).map_err(Refused::malformed(path, INFO))?;
        let schema = schema(&described(SCHEMA, MAX_SCHEMA)?).map_err(Refused::malformed(path, SCHEMA))?;
        fits(&info, &manifest).map_err(Refused::malformed(path, INFO))?;
        let path = path.to_owned();
        Ok(Self { path, archive, manifest, manifest_bytes, signature, signed, info, schema })
    }

    /// What it is, and its files.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Who the driver is.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The JSON Schema of the driver's part of the configuration.
    pub fn schema(&self) -> &Json {
        &self.schema
    }

    /// Who vouches for it, or why nobody does.
    pub fn signed(&self) -> Result<&KeyId, &Distrust> {
        self.signed.as_ref()
    }

    /// As it has to be called.
    pub fn file_name(&self) -> String {
        name::package(&self.manifest.id, &self.manifest.version, self.manifest.arch)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Refuses a package nobody vouches for. With `allow_unsigned` one that nobody signed, or somebody
    /// unknown, passes; a wrong signature never does.
    pub fn require_signature(&self, trust: &Trust, allow_unsigned: bool) -> Result<(), Refused> {
        let path = self.path.clone();
        match &self.signed {
            Ok(_) => Ok(()),
            Err(distrust @ Distrust::Wrong(_)) => Err(Refused::Forged { path, why: distrust.to_string() }),
            Err(_) if allow_unsigned => Ok(()),
            Err(distrust) => {
                let (id, keys) = (&self.manifest.id, trust.dir().display());
                let sign = match distrust {
                    Distrust::UnknownKey(_) => format!("put the public key of whoever signed it into {keys}"),
                    _ => "sign it with `sagoo-edge driver pack --key`".to_owned(),
                };
                let remedy = format!("{sign}, or name {id:?} in drivers.allow_unsigned");
                Err(Refused::Unsigned { path, why: distrust.to_string(), remedy })
            }
        }
    }

    /// Refuses a package that this machine cannot run.
    pub fn require_this_machine(&self) -> Result<(), Refused> {
        let this = Arch::of_this_machine();
        let arch = self.manifest.arch;
        match arch == Arch::Any || this == Some(arch) {
            true => Ok(()),
            false => Err(Refused::WrongMachine {
                path: self.path.clone(),
                why: format!("it is for {arch}"),
                this: this.map_or_else(|| std::env::consts::ARCH.to_owned(), |this| this.to_string()),
            }),
        }
    }

    /// Looks at every byte; `progress` is told how many there were so far.
    pub fn verify(&self, progress: &mut dyn FnMut(u64)) -> Result<(), Refused> {
        let mut done = 0;
        for listed in &self.manifest.files {
            self.file(listed, &mut |block| {
                done += block.len() as u64;
                progress(done);
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Unpacks it into the empty folder `dir`, down to the disk.
    pub(crate) fn unpack(&self, dir: &Path, progress: &mut dyn FnMut(u64)) -> Result<(), Refused> {
        let mut done = 0;
        let mut folders = BTreeSet::from([dir.to_owned()]);
        for listed in &self.manifest.files {
            let path = dir.join(&listed.path);
            let mut above: Vec<&Path> = path.ancestors().skip(1).take_while(|above| *above != dir).collect();
            while let Some(folder) = above.pop() {
                files::folder(folder).map_err(Refused::io(folder))?;
                folders.insert(folder.to_owned());
            }
            let mut file = create(&path, listed.executable).map_err(Refused::io(&path))?;
            self.file(listed, &mut |block| {
                done += block.len() as u64;
                progress(done);
                file.write_all(block)
            })?;
            file.sync_all().map_err(Refused::io(&path))?;
        }
        let signature = self.signature.as_deref().map(|bytes| (SIGNATURE, bytes));
        for (name, bytes) in [(MANIFEST, &self.manifest_bytes[..])].into_iter().chain(signature) {
            let path = dir.join(name);
            let written = create(&path, false).and_then(|mut file| {
                file.write_all(bytes)?;
                file.sync_all()
            });
            written.map_err(Refused::io(&path))?;
        }
        for folder in folders.iter().rev() {
            files::sync_dir(folder).map_err(Refused::io(folder))?;
        }
        Ok(())
    }

    /// Whether an installed package with this manifest is this one.
    pub(crate) fn is_manifest(&self, bytes: &[u8]) -> bool {
        self.manifest_bytes == bytes
    }

    /// The content of a file, and then whether it is what the manifest says.
    fn file(
        &self,
        listed: &ListedFile,
        sink: &mut dyn FnMut(&[u8]) -> io::Result<()>,
    ) -> Result<(), Refused> {
        let entry = self.archive.entry(&listed.path).expect("archive and manifest have the same files");
        let (mut hasher, mut header) = (Hasher::new(), Vec::new());
        let unpacked = self.archive.unpack(entry, &mut |block| {
            hasher.update(block);
            header.extend(block.iter().take(HEADER - header.len()));
            sink(block)
        });
        unpacked.map_err(|error| zip(&self.path, error))?;
        if entry.size != listed.size || hasher.finish() != listed.sha256 {
            return Err(altered(&self.path, &listed.path, "is not what its manifest says"));
        }
        let is_program = Start::of(&self.info, &self.manifest) == Ok(Start::Native(&listed.path));
        match is_program {
            true => {
                program(&header, self.manifest.arch).map_err(Refused::malformed(&self.path, &listed.path))
            }
            false => Ok(()),
        }
    }
}

/// Whether a program is one for the machine its package is for.
pub(crate) fn program(header: &[u8], arch: Arch) -> Result<(), String> {
    match Arch::of_program(header) {
        None => Err("is no program: a driver is an ELF file, or a script for a known interpreter".to_owned()),
        Some(Err(why)) => Err(format!("is {why}")),
        Some(Ok(of)) if of != arch => Err(format!("is a program for {of}, and the package says {arch}")),
        Some(Ok(_)) => Ok(()),
    }
}

/// Whether info and manifest are of the same driver, and it can be started.
pub(crate) fn fits(info: &Info, manifest: &Manifest) -> Result<(), String> {
    if info.id != manifest.id || info.version != manifest.version {
        return Err(format!(
            "it is of {} {}, and the manifest of {} {}",
            info.id, info.version, manifest.id, manifest.version
        ));
    }
    Start::of(info, manifest).map(drop)
}

/// A JSON Schema, as far as that matters here: an object.
pub(crate) fn schema(bytes: &[u8]) -> Result<Json, String> {
    let schema: Json = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match schema.is_object() {
        true => Ok(schema),
        false => Err("a JSON Schema is an object".to_owned()),
    }
}

fn same_files(path: &Path, archive: &Archive, manifest: &Manifest) -> Result<(), Refused> {
    let packed: BTreeSet<&str> = archive.entries().map(|entry| entry.name.as_str()).collect();
    let own = [MANIFEST, SIGNATURE];
    let listed: BTreeSet<&str> = manifest.files.iter().map(|file| file.path.as_str()).collect();
    if let Some(missing) = listed.difference(&packed).next() {
        return Err(altered(path, missing, "is in the manifest and not in the archive"));
    }
    match packed.difference(&listed).find(|name| !own.contains(name)) {
        Some(extra) => Err(altered(path, extra, "is in the archive and not in the manifest")),
        None => Ok(()),
    }
}

fn create(path: &Path, executable: bool) -> io::Result<File> {
    files::create(path, if executable { 0o755 } else { 0o644 })
}

fn altered(path: &Path, file: &str, why: &str) -> Refused {
    Refused::Altered { path: path.to_owned(), file: file.to_owned(), why: why.to_owned() }
}

fn zip(path: &Path, error: ZipError) -> Refused {
    let path = path.to_owned();
    match error {
        ZipError::Damaged(why) => Refused::Damaged { path, why },
        ZipError::Dangerous(why) => Refused::Dangerous { path, why },
        ZipError::Io(source) | ZipError::Sink(source) => Refused::Io { path, source },
    }
}
