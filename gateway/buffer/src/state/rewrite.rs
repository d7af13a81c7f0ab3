//! What keeps `sled` small: its log grows with every change, and is given back only by starting anew.
//!
//! Always true: the values are in one complete directory at every moment. The new one is complete and
//! synced before the old one is moved away, so whoever finds no `db` takes `db.new`; what is left of
//! either beside a `db` is of no use.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::{State, StateError, open};

/// The database is rewritten when its files take more than this, and more than twice what they took
/// after it was last rewritten.
pub const MAX_DB_BYTES: u64 = 16 << 20;

impl State {
    /// Keeps the files small and the reserve there. Looks at a few names; now and then, when the files
    /// have grown, it writes all values anew, which blocks for as long.
    pub fn tend(&mut self) -> Result<(), StateError> {
        super::ballast::take(&self.dir);
        let files = self.dir.join("db");
        let size = size(&files);
        // what sled puts there it never syncs; values are too small for that, together perhaps not
        let strays = fs::read_dir(files.join("blobs")).is_ok_and(|mut entries| entries.next().is_some());
        if size <= self.rewrite_above && !strays {
            return Ok(());
        }
        self.rewrite()?;
        let after = self::size(&files);
        self.rewrite_above = MAX_DB_BYTES.max(after.saturating_mul(2));
        tracing::info!(dir = %self.dir.display(), before = size, after, "small state was rewritten");
        Ok(())
    }

    fn rewrite(&mut self) -> Result<(), StateError> {
        let fresh = self.dir.join("db.new");
        remove(&fresh).map_err(open::disk(&fresh))?;
        let copied = self.guard(|db| {
            let copy = open::config(&fresh).open()?;
            for pair in db.iter() {
                let (key, value) = pair?;
                copy.insert(key, value)?;
            }
            copy.flush().map(|_| ())
        });
        if copied.is_err() {
            let _ = remove(&fresh);
            return copied;
        }
        let files = self.dir.join("db");
        // closed before its files are moved; without it every call is an error that says so
        self.db = None;
        let swapped = sync(&fresh).and_then(|()| swap(&self.dir));
        self.db = Some(open::reopen(&files)?);
        swapped.map_err(open::disk(&files))
    }
}

fn swap(dir: &Path) -> io::Result<()> {
    let (files, fresh, old) = (dir.join("db"), dir.join("db.new"), dir.join("db.old"));
    fs::rename(&files, &old)?;
    if let Err(error) = fs::rename(&fresh, &files) {
        fs::rename(&old, &files)?;
        return Err(error);
    }
    File::open(dir)?.sync_all()?;
    remove(&old)
}

/// What a rewrite left that did not get to its end.
pub(super) fn finish(dir: &Path) -> io::Result<()> {
    let (files, fresh) = (dir.join("db"), dir.join("db.new"));
    if !files.exists() && fresh.exists() {
        fs::rename(&fresh, &files)?;
        File::open(dir)?.sync_all()?;
    }
    remove(&fresh)?;
    remove(&dir.join("db.old"))
}

/// Its files, and their names.
fn sync(files: &Path) -> io::Result<()> {
    for entry in fs::read_dir(files)? {
        File::open(entry?.path())?.sync_all()?;
    }
    File::open(files)?.sync_all()
}

fn size(files: &Path) -> u64 {
    let entries = fs::read_dir(files).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| meta.is_file())
        .map(|meta| meta.len())
        .sum()
}

fn remove(files: &Path) -> io::Result<()> {
    match fs::remove_dir_all(files) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}
