//! The keys whose signatures are trusted: a folder of `*.pub` files, as `minisign -G` writes them.
//!
//! Always true: a file that holds no key, or that others may change, is named in a warning and left
//! out; the others count.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::files;
use crate::limits::{MAX_KEY_FILE, MAX_KEYS};
use crate::minisign::public::PublicKey;
use crate::minisign::signature::Signature;
use crate::minisign::{self, KeyNumber};
use crate::owner::Eyes;

/// Whose signature it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyId {
    /// Name of the key's file, without `.pub`.
    pub name: String,
    /// minisign's number of it.
    pub number: String,
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.number)
    }
}

/// Why a signature does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// There is none.
    #[error("not signed")]
    Missing,
    /// It is no signature.
    #[error("its signature cannot be read: {0}")]
    Malformed(String),
    /// It is by somebody unknown.
    #[error("signed by key {0}, which is not trusted")]
    UnknownKey(String),
    /// It is not what that key signed.
    #[error("its signature by {0} is wrong")]
    Wrong(KeyId),
}

/// The trusted keys, read once; by default there are none.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    dir: PathBuf,
    keys: Vec<(KeyId, PublicKey)>,
    /// What is wrong with files that were left out.
    warnings: Vec<String>,
}

impl Trust {
    /// Reads the keys in `dir`; a folder that is not there holds none.
    pub fn read(dir: &Path) -> Self {
        let mut trust = Self { dir: dir.to_owned(), keys: Vec::new(), warnings: Vec::new() };
        let mut paths = match key_files(dir) {
            Ok(paths) => paths,
            Err(error) => {
                trust.warnings.push(format!("{}: {error}", dir.display()));
                return trust;
            }
        };
        paths.sort();
        if paths.len() > MAX_KEYS {
            trust
                .warnings
                .push(format!("{}: more than {MAX_KEYS} keys, the rest is left out", dir.display()));
        }
        for path in paths.iter().take(MAX_KEYS) {
            match key(path) {
                Ok(key) => trust.keys.push(key),
                Err(why) => trust.warnings.push(format!("{}: left out: {why}", path.display())),
            }
        }
        trust
    }

    /// Where the keys are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Keys that count.
    pub fn keys(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(|(id, _)| id)
    }

    /// What is wrong with files that were left out, one line each.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Who signed `message`, according to the signature file `signature`.
    pub fn verify(&self, message: &[u8], signature: Option<&[u8]>) -> Result<KeyId, Distrust> {
        let text = signature.ok_or(Distrust::Missing)?;
        let text = std::str::from_utf8(text).map_err(|_| Distrust::Malformed("it is no text".to_owned()))?;
        let signature = Signature::parse(text).map_err(Distrust::Malformed)?;
        // two keys may carry the same number, by chance or by intention
        let mut wrong = None;
        for (id, key) in self.keys.iter().filter(|(_, key)| key.number == signature.key) {
            if key.verify(message, &signature) {
                return Ok(id.clone());
            }
            wrong = Some(Distrust::Wrong(id.clone()));
        }
        Err(wrong.unwrap_or_else(|| Distrust::UnknownKey(minisign::number(signature.key))))
    }

    /// Keys as if they had been read, for what has just been signed.
    pub(crate) fn only(public: PublicKey) -> Self {
        let id = KeyId { name: "own".to_owned(), number: minisign::number(public.number) };
        Self { dir: PathBuf::new(), keys: vec![(id, public)], warnings: Vec::new() }
    }
}

fn key_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let paths = entries.map(|entry| entry.map(|entry| entry.path()));
    let ours = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "pub");
    paths.filter(|path| path.as_ref().map_or(true, ours)).collect()
}

fn key(path: &Path) -> Result<(KeyId, PublicKey), String> {
    if let Some(doubt) = Eyes::own().doubt(path) {
        return Err(doubt);
    }
    let bytes = files::read(path, MAX_KEY_FILE).map_err(|error| error.to_string())?;
    let text = std::str::from_utf8(&bytes).map_err(|_| "it is no text".to_owned())?;
    let key = PublicKey::parse(text).map_err(|why| {
        format!("no public key of minisign: {why}; copy the .pub file that minisign -G wrote")
    })?;
    let number: KeyNumber = key.number;
    let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    Ok((KeyId { name, number: minisign::number(number) }, key))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::minisign::secret::SecretKey;

    #[test]
    fn a_bad_key_file_is_named_and_the_others_count() {
        let dir = tempfile::tempdir().unwrap();
        let secret = SecretKey::generate();
        fs::write(dir.path().join("alice.pub"), secret.public().to_text()).unwrap();
        fs::write(dir.path().join("broken.pub"), "untrusted comment: x\nRWQ\n").unwrap();
        fs::write(dir.path().join("huge.pub"), vec![b'x'; 1 << 20]).unwrap();
        fs::write(dir.path().join("binary.pub"), [0xff; 60]).unwrap();
        fs::write(dir.path().join("README"), "not a key").unwrap();
        let open = dir.path().join("open.pub");
        fs::write(&open, SecretKey::generate().public().to_text()).unwrap();
        fs::set_permissions(&open, fs::Permissions::from_mode(0o666)).unwrap();
        let trust = Trust::read(dir.path());
        let warned = trust.warnings().join("\n");
        assert_eq!(trust.warnings().len(), 4, "{warned}");
        for name in ["broken.pub", "huge.pub", "binary.pub", "open.pub can be written by everyone"] {
            assert!(warned.contains(name), "{warned}");
        }
        let signature = secret.sign(b"m", "timestamp:1");
        let by = trust.verify(b"m", Some(signature.as_bytes())).unwrap();
        assert_eq!(by.to_string(), format!("alice ({})", minisign::number(secret.public().number)));
        assert_eq!(trust.verify(b"n", Some(signature.as_bytes())), Err(Distrust::Wrong(by)));
    }

    #[test]
    fn a_key_with_a_borrowed_number_takes_nothing_from_the_right_one() {
        let dir = tempfile::tempdir().unwrap();
        let (right, other) = (SecretKey::from_seed([1; 32], [9; 8]), SecretKey::from_seed([2; 32], [9; 8]));
        fs::write(dir.path().join("a.pub"), other.public().to_text()).unwrap();
        fs::write(dir.path().join("b.pub"), right.public().to_text()).unwrap();
        let signature = right.sign(b"m", "timestamp:1");
        assert_eq!(Trust::read(dir.path()).verify(b"m", Some(signature.as_bytes())).unwrap().name, "b");
    }

    #[test]
    fn without_keys_nothing_is_trusted() {
        let trust = Trust::read(Path::new("/nowhere/at/all"));
        assert!(trust.warnings().is_empty() && trust.keys().next().is_none());
        let signature = SecretKey::from_seed([1; 32], [0; 8]).sign(b"m", "timestamp:1");
        let refused = trust.verify(b"m", Some(signature.as_bytes())).unwrap_err();
        assert_eq!(refused.to_string(), "signed by key 0000000000000000, which is not trusted");
        assert_eq!(trust.verify(b"m", None), Err(Distrust::Missing));
        assert!(matches!(trust.verify(b"m", Some(b"\xff")), Err(Distrust::Malformed(_))));
    }
}
