//! One dead letter in one file.
//!
//! ```text
//! <dir>/<id>        a line of JSON ([`Entry`]), and after it the message, byte for byte as it was sent
//! <dir>/<id>.new    being written; removed at the next start
//! ```
//! Always true: a file under its own name is whole and on flash; everything here blocks.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use super::Entry;

/// Only the owner: letters carry what devices said.
const DIRECTORY_MODE: u32 = 0o700;
/// Of a file that is being written.
const NEW: &str = "new";
/// A line of an entry is far shorter; a file without an end of line so far is no letter.
const MAX_ENTRY_BYTES: u64 = 4 * 1024;

/// Why a letter cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The disk says no.
    #[error("dead letter {}: {source}", path.display())]
    Io {
        /// The letter's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is damaged.
    #[error("dead letter {} is damaged: {why}", path.display())]
    Damaged {
        /// The letter's file.
        path: PathBuf,
        /// How.
        why: String,
    },
}

/// Ids of the letters that are there. What was being written when the gateway ended is removed: its row
/// was not settled, so that it comes again.
pub fn list(dir: &Path) -> Result<Vec<String>, FileError> {
    let failed = |source| FileError::Io { path: dir.to_owned(), source };
    let files = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        files => files.map_err(failed)?,
    };
    let mut ids = Vec::new();
    for file in files {
        let path = file.map_err(failed)?.path();
        if path.extension() == Some(OsStr::new(NEW)) {
            // of no use to anybody; a disk that does not let it go is no reason to forget the others
            if let Err(error) = remove_file(&path) {
                tracing::warn!(%error, "a dead letter that was being written is left behind");
            }
        } else if let Some(id) = path.file_name().and_then(OsStr::to_str) {
            ids.push(id.to_owned());
        }
    }
    Ok(ids)
}

/// Returns when the letter is on flash.
pub fn write(dir: &Path, id: &str, entry: &Entry, message: &str) -> Result<(), FileError> {
    let path = dir.join(id);
    let written = || {
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(dir)?;
        let new = dir.join(format!("{id}.{NEW}"));
        let mut file = File::create(&new)?;
        let mut line = serde_json::to_vec(entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.write_all(message.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, &path)?;
        File::open(dir)?.sync_all()
    };
    written().map_err(|source| FileError::Io { path: path.clone(), source })
}

/// A letter and what is known of it.
pub fn read(dir: &Path, id: &str) -> Result<(Entry, String), FileError> {
    let path = dir.join(id);
    let whole = fs::read_to_string(&path).map_err(|source| FileError::Io { path: path.clone(), source })?;
    let (entry, message) = whole.split_once('\n').unwrap_or_default();
    let entry = parse(&path, entry)?;
    if entry.crc != crc32fast::hash(message.as_bytes()) {
        return Err(FileError::Damaged { path, why: "its message is not what was written".to_owned() });
    }
    Ok((entry, message.to_owned()))
}

/// What a letter says of itself.
pub fn read_entry(dir: &Path, id: &str) -> Result<Entry, FileError> {
    let path = dir.join(id);
    let mut start = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(MAX_ENTRY_BYTES).read_to_end(&mut start));
    read.map_err(|source| FileError::Io { path: path.clone(), source })?;
    let line = start.split(|byte| *byte == b'\n').next().unwrap_or_default();
    parse(&path, &String::from_utf8_lossy(line))
}

fn parse(path: &Path, entry: &str) -> Result<Entry, FileError> {
    serde_json::from_str(entry)
        .map_err(|error| FileError::Damaged { path: path.to_owned(), why: error.to_string() })
}

/// It is gone, also if it was before.
pub fn remove(dir: &Path, id: &str) -> Result<(), FileError> {
    remove_file(&dir.join(id))
}

fn remove_file(path: &Path) -> Result<(), FileError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => {
            Err(FileError::Io { path: path.to_owned(), source })
        }
        _ => Ok(()),
    }
}
