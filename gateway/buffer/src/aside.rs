//! Damaged bytes, kept for whoever wants to look at them: `<dir>/damaged/`.
//!
//! Always true: at most [`MAX_FILES`] files and a named share of the cap; the oldest go first; nothing
//! here can fail an operation.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::segment::FILE_MODE;

/// Files kept.
const MAX_FILES: usize = 16;

#[derive(Debug)]
pub(crate) struct Aside {
    dir: PathBuf,
    max_bytes: u64,
    /// Oldest first, with lengths.
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl Aside {
    /// Counts what is there; too much of it is removed.
    pub(crate) fn open(dir: PathBuf, max_bytes: u64) -> Self {
        let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
        let entry = |entry: fs::DirEntry| {
            let meta = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((meta.modified().ok(), entry.path(), meta.len()))
        };
        let mut found: Vec<_> = entries.filter_map(entry).collect();
        found.sort();
        let files: VecDeque<_> = found.into_iter().map(|(_, path, len)| (path, len)).collect();
        let bytes = files.iter().map(|(_, len)| len).sum();
        let mut this = Self { dir, max_bytes, files, bytes };
        this.trim(0, 0);
        this
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Copies `len` bytes at `offset` of a segment, as many as fit into `room`, and says where to.
    pub(crate) fn save(
        &mut self,
        segment: u64,
        file: &File,
        offset: u64,
        len: u64,
        room: u64,
    ) -> Option<PathBuf> {
        let path = self.dir.join(format!("{segment:020}-{offset}.bin"));
        if self.files.iter().any(|(known, _)| *known == path) {
            return Some(path);
        }
        let len = len.min(room).min(self.max_bytes);
        self.trim(len, 1);
        if len == 0 || self.bytes + len > self.max_bytes || self.files.len() >= MAX_FILES {
            return None;
        }
        match self.copy(&path, file, offset, len) {
            Ok(()) => {
                self.bytes += len;
                self.files.push_back((path.clone(), len));
                Some(path)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "damaged bytes are not set aside");
                let _ = fs::remove_file(&path);
                None
            }
        }
    }

    fn copy(&self, path: &Path, file: &File, offset: u64, len: u64) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.dir)?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(FILE_MODE).open(path)?.write_all(&bytes)
    }

    /// Removes the oldest until `bytes` more in `files` more fit.
    fn trim(&mut self, bytes: u64, files: usize) {
        while self.bytes + bytes > self.max_bytes || self.files.len() + files > MAX_FILES {
            let Some((path, len)) = self.files.pop_front() else { return };
            if fs::remove_file(&path).is_err() && path.exists() {
                self.files.push_front((path, len));
                return;
            }
            self.bytes -= len;
        }
    }
}
