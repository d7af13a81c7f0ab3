//! `manifest.json`: every file of a package with its size and SHA-256. It is what is signed.
//!
//! ```text
//! { "format": 1, "id": "modbus", "version": "1.2.0", "arch": "x86_64",
//!   "files": [ { "path": "driver-modbus", "size": 4181256, "sha256": "9f…", "mode": "0755" }, … ] }
//! ```
//! Always true: a manifest that was read names each file once, by a path that stays inside, and
//! everything together is within the limits. Itself and its signature are not in it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::arch::Arch;
use crate::digest::{self, Sha256};
use crate::limits::{MAX_FILES, MAX_MANIFEST, MAX_UNPACKED};
use crate::name::{self, Version};

/// Its file name.
pub(crate) const MANIFEST: &str = "manifest.json";
/// The file name of its signature.
pub(crate) const SIGNATURE: &str = "manifest.json.minisig";
/// The only format there is.
const FORMAT: u64 = 1;
const EXECUTABLE: &str = "0755";
const READABLE: &str = "0644";

/// What a package is, and its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Id of the driver.
    pub id: String,
    /// Its version.
    pub version: Version,
    /// What it runs on.
    pub arch: Arch,
    /// Its files, the manifest and its signature left out.
    pub files: Vec<ListedFile>,
}

/// A file of a package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedFile {
    /// Where it is in the package.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Whether it may be executed; there are no other modes.
    pub executable: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    format: u64,
    id: String,
    version: String,
    arch: String,
    files: Vec<RawFile>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawFile {
    path: String,
    size: u64,
    sha256: String,
    mode: String,
}

#[derive(Deserialize)]
struct OnlyFormat {
    format: u64,
}

impl Manifest {
    /// Reads one; the mistake carries its place.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if bytes.len() as u64 > MAX_MANIFEST {
            return Err(format!("it has more than {MAX_MANIFEST} bytes"));
        }
        let OnlyFormat { format } = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if format != FORMAT {
            return Err(format!(
                "format {format}, and this gateway knows format {FORMAT} only: update the gateway"
            ));
        }
        let raw: Raw = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        if !name::is_id(&raw.id) {
            return Err(format!("id: {:?} cannot be a driver's id", raw.id));
        }
        let version = Version::parse(&raw.version).map_err(|why| format!("version: {why}"))?;
        let arch = Arch::parse(&raw.arch)
            .ok_or_else(|| format!("arch: {:?} is none of {}", raw.arch, Arch::names()))?;
        if raw.files.len() > MAX_FILES {
            return Err(format!("files: more than {MAX_FILES}"));
        }
        let files = raw.files.into_iter().enumerate();
        let files = files.map(|(at, file)| listed(file).map_err(|why| format!("files[{at}]: {why}")));
        let manifest = Self { id: raw.id, version, arch, files: files.collect::<Result<_, _>>()? };
        manifest.check_together()?;
        Ok(manifest)
    }

    /// As it is packed.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        let files = self.files.iter().map(|file| RawFile {
            path: file.path.clone(),
            size: file.size,
            sha256: digest::hex(&file.sha256),
            mode: if file.executable { EXECUTABLE } else { READABLE }.to_owned(),
        });
        let raw = Raw {
            format: FORMAT,
            id: self.id.clone(),
            version: self.version.to_string(),
            arch: self.arch.to_string(),
            files: files.collect(),
        };
        let mut json = serde_json::to_vec_pretty(&raw).expect("texts and numbers become JSON");
        json.push(b'\n');
        json
    }

    /// Bytes of all files together.
    pub fn size(&self) -> u64 {
        self.files.iter().map(|file| file.size).sum()
    }

    /// The file at `path`.
    pub fn file(&self, path: &str) -> Option<&ListedFile> {
        self.files.iter().find(|file| file.path == path)
    }

    /// What no file is wrong about alone.
    pub(crate) fn check_together(&self) -> Result<(), String> {
        let total = self.files.iter().try_fold(0_u64, |total, file| total.checked_add(file.size));
        if total.is_none_or(|total| total > MAX_UNPACKED) {
            return Err(format!("files: more than {MAX_UNPACKED} bytes together"));
        }
        different(self.files.iter().map(|file| file.path.as_str()))
    }
}

/// Whether paths are different files, on a file system that ignores case too.
pub(crate) fn different<'p>(paths: impl Iterator<Item = &'p str>) -> Result<(), String> {
    let (mut files, mut folders) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        let lower = path.to_ascii_lowercase();
        let ends = lower.match_indices('/').map(|(at, _)| lower[..at].to_owned());
        folders.extend(ends);
        if !files.insert(lower) {
            return Err(format!("{path:?} is there twice, perhaps in other case"));
        }
    }
    match files.intersection(&folders).next() {
        Some(path) => Err(format!("{path:?} is a file and a folder")),
        None => Ok(()),
    }
}

fn listed(raw: RawFile) -> Result<ListedFile, String> {
    let RawFile { path, size, sha256, mode } = raw;
    if let Some(wrong) = name::wrong_path(&path) {
        return Err(format!("path: {path:?} {wrong}"));
    }
    if [MANIFEST, SIGNATURE].iter().any(|own| own.eq_ignore_ascii_case(&path)) {
        return Err(format!("path: {path:?} cannot list itself"));
    }
    let sha256: Sha256 =
        digest::from_hex(&sha256).ok_or("sha256: expected 64 lower-case hex digits".to_owned())?;
    let executable = match mode.as_str() {
        EXECUTABLE => true,
        READABLE => false,
        other => return Err(format!("mode: {other:?} is neither {READABLE:?} nor {EXECUTABLE:?}")),
    };
    Ok(ListedFile { path, size, sha256, executable })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn manifest() -> Manifest {
        let file = |path: &str, executable| ListedFile {
            path: path.to_owned(),
            size: 3,
            sha256: digest::of(b"abc"),
            executable,
        };
        Manifest {
            id: "modbus".into(),
            version: Version::parse("1.2.0").unwrap(),
            arch: Arch::X86_64,
            files: vec![file("driver-modbus", true), file("info.json", false), file("lib/a.py", false)],
        }
    }

    #[test]
    fn what_is_packed_is_read_again() {
        assert_eq!(Manifest::parse(&manifest().to_json()), Ok(manifest()));
    }

    /// What is replaced in a good manifest, by what, and the message.
    #[test]
    fn each_mistake_is_told_with_its_place() {
        let good = String::from_utf8(manifest().to_json()).unwrap();
        for (from, to, message) in [
            ("\"format\": 1", "\"format\": 2", "update the gateway"),
            ("\"format\": 1", "\"format\": \"1\"", "invalid type: string"),
            ("\"format\": 1", "\"format\": 1, \"extra\": 0", "unknown field `extra`"),
            ("\"id\": \"modbus\"", "\"id\": \"../x\"", "id: \"../x\""),
            ("1.2.0", "1.2", "version: \"1.2\" is no version"),
            ("x86_64", "pdp11", "arch: \"pdp11\" is none of x86_64"),
            ("driver-modbus\"", "../driver\"", "files[0]: path: \"../driver\" leaves its folder"),
            ("info.json", "DRIVER-modbus", "is there twice"),
            ("driver-modbus\"", "lib\"", "\"lib\" is a file and a folder"),
            ("info.json", "Manifest.JSON", "files[1]: path: \"Manifest.JSON\" cannot list itself"),
            ("0755", "4755", "files[0]: mode: \"4755\""),
            ("\"size\": 3", "\"size\": -3", "invalid value"),
            ("\"size\": 3", "\"size\": 18446744073709551615", "bytes together"),
            ("\"sha256\": \"ba", "\"sha256\": \"BA", "files[0]: sha256"),
        ] {
            assert!(good.contains(from), "{from}");
            let error = Manifest::parse(good.replacen(from, to, 1).as_bytes()).unwrap_err();
            assert!(error.contains(message), "{to}: {error}");
        }
    }

    #[test]
    fn more_files_than_allowed_are_refused() {
        let file = manifest().files.remove(1);
        let files = (0..=MAX_FILES).map(|n| ListedFile { path: format!("f{n}"), ..file.clone() }).collect();
        let many = Manifest { files, ..manifest() };
        assert!(Manifest::parse(&many.to_json()).unwrap_err().contains("more than 2000"));
    }

    proptest! {
        #[test]
        fn damaged_bytes_are_refused_or_read_as_something_within_the_limits(
            at in any::<prop::sample::Index>(), with in any::<u8>(), cut in any::<prop::sample::Index>(),
        ) {
            let mut json = manifest().to_json();
            let (at, cut) = (at.index(json.len()), cut.index(json.len()));
            json[at] = with;
            for bytes in [&json[..], &json[..cut]] {
                if let Ok(read) = Manifest::parse(bytes) {
                    prop_assert!(read.files.iter().all(|file| name::wrong_path(&file.path).is_none()));
                    prop_assert!(read.size() <= MAX_UNPACKED);
                }
            }
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Manifest::parse(&bytes);
        }
    }
}
