//! How far the records are settled: the `cursor` file.
//!
//! Always true: the slot known to be on flash, and the one on its way there, are never overwritten, so
//! that a cut at any moment leaves a good one; the file has its full length from the start, so that
//! moving on needs no space on a full disk; without a good slot reading begins at the oldest
//! record: doubles, never loss. On a disk that takes no data the file is read, and the cursor goes on in
//! memory until it can be opened for writing.
//!
//! ```text
//! cursor          three slots of 68 KiB, used in turn; the good one of the highest generation counts.
//!                 Three and not two: one safe, one being synced, one to write meanwhile.
//!
//! slot            0  magic        8  "SagooCur"
//!                 8  version      4  1
//!                12  len          4  of the detail, <= 64 KiB
//!                16  generation   8  rises with every write
//!                24  floor        8
//!                32  crc          4  crc-32 of bytes 0 to 31 and the detail
//!                36  detail     len  opaque
//! ```

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::Error;
use crate::format::{u32_at, u64_at};
use crate::segment::FILE_MODE;

/// Largest detail of a cursor.
pub const MAX_DETAIL: usize = 64 << 10;
const MAGIC: [u8; 8] = *b"SagooCur";
const VERSION: u32 = 1;
const HEAD: usize = 36;
const CRC_AT: usize = 32;
const SLOTS: u64 = 3;
/// A multiple of the page, so that writing one slot never touches another's page.
const SLOT_BYTES: u64 = 68 << 10;
/// Length of the file.
pub(crate) const FILE_BYTES: u64 = SLOTS * SLOT_BYTES;
const _: () = assert!(HEAD + MAX_DETAIL <= SLOT_BYTES as usize);

/// How far the records are settled.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cursor {
    /// Every record below is done with and may be removed.
    pub floor: u64,
    /// The owner's, opaque here; at most 64 KiB.
    pub detail: Vec<u8>,
}

/// A written slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Slot {
    index: u64,
    generation: u64,
}

/// What a sync was asked to make safe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(Slot);

#[derive(Debug)]
pub(crate) struct CursorFile {
    path: PathBuf,
    /// Open for writing, or why the disk does not let us.
    file: Result<Arc<File>, Errno>,
    cursor: Cursor,
    newest: Option<Slot>,
    /// Known to be on flash.
    safe: Option<Slot>,
    /// Being synced.
    syncing: Option<Slot>,
    /// Highest generation given out.
    generation: u64,
    len: u64,
    /// The newest cursor is not in the file.
    unwritten: bool,
    /// The file holds what is not synced.
    unsynced: bool,
}

impl CursorFile {
    /// Opens or creates the file, or reads it where that is `refused`; the flag says whether one was there,
    /// the cursor whether it was good.
    pub(crate) fn open(path: PathBuf, refused: Option<Errno>) -> Result<(Self, bool, Option<Cursor>), Error> {
        let existed = path.exists();
        let mut this = Self {
            path,
            file: Err(refused.unwrap_or(Errno::ROFS)),
            cursor: Cursor::default(),
            newest: None,
            safe: None,
            syncing: None,
            generation: 0,
            len: 0,
            unwritten: false,
            unsynced: true,
        };
        let opened = if refused.is_some() { this.as_it_is() } else { this.for_writing() };
        let found = match opened {
            Err(error) => match error.refusal() {
                Some(errno) => {
                    this.file = Err(errno);
                    this.as_it_is()?
                }
                None => return Err(error),
            },
            Ok(found) => found,
        };
        this.unwritten = found.is_none();
        this.cursor = found.clone().unwrap_or_default();
        this.begin();
        Ok((this, existed, found))
    }

    /// Opens for writing what was only read.
    pub(crate) fn reopen(&mut self) -> Result<(), Error> {
        if self.file.is_err() {
            self.for_writing()?;
            self.begin();
        }
        Ok(())
    }

    /// Why the disk does not let us write.
    pub(crate) fn refused(&self) -> Option<Errno> {
        self.file.as_ref().err().copied()
    }

    /// What is in the file, if there is one.
    fn as_it_is(&mut self) -> Result<Option<Cursor>, Error> {
        let file = match File::open(&self.path).map_err(Error::open(&self.path)) {
            // rows that were settled come again, which is better than none
            Err(error) if error.is_loss() => return Ok(None),
            opened => opened?,
        };
        self.len = file.metadata().map_err(Error::open(&self.path))?.len();
        Ok(newest_slot(&file).map(|(_, cursor)| cursor))
    }

    fn for_writing(&mut self) -> Result<Option<Cursor>, Error> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(&self.path).map_err(Error::open(&self.path))?;
        self.len = file.metadata().map_err(Error::open(&self.path))?.len();
        let (newest, found) = newest_slot(&file).unzip();
        self.newest = newest;
        // What an earlier process wrote may be in the page cache only. Without knowing it safe, the second
        // write from here on would overwrite it, and a cut before the next sync leave none.
        self.safe = newest.filter(|_| file.sync_data().is_ok());
        self.generation = newest.map_or(0, |slot| slot.generation);
        self.file = Ok(Arc::new(file));
        Ok(found)
    }

    /// Its length is right and the cursor is in it, if that can be.
    fn begin(&mut self) {
        if let Ok(file) = &self.file
            && self.len > FILE_BYTES
            && file.set_len(FILE_BYTES).is_ok()
        {
            self.len = FILE_BYTES;
        }
        // A full or read-only disk is no reason not to start: the next sync tries again.
        let _ = self.fill();
        let _ = self.write_if_unwritten();
    }

    fn file(&self) -> Result<&Arc<File>, Error> {
        self.file.as_ref().map_err(|errno| Error::open(&self.path)((*errno).into()))
    }

    pub(crate) fn get(&self) -> &Cursor {
        &self.cursor
    }

    /// Length of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// What it takes of the cap: its full length also while a full disk keeps the file shorter, so that
    /// it can be brought to that length whenever the disk has room again.
    pub(crate) fn reserved(&self) -> u64 {
        self.len.max(FILE_BYTES)
    }

    /// Takes the cursor, whether or not it can be written now.
    pub(crate) fn set(&mut self, cursor: Cursor) -> Result<(), Error> {
        self.cursor = cursor;
        self.unwritten = true;
        self.write_if_unwritten()
    }

    pub(crate) fn write_if_unwritten(&mut self) -> Result<(), Error> {
        if !self.unwritten {
            return Ok(());
        }
        self.fill()?;
        let file = self.file()?.clone();
        let index = self.free_slot();
        let slot = Slot { index, generation: self.generation + 1 };
        self.generation = slot.generation;
        let bytes = encode(&self.cursor, slot.generation);
        file.write_all_at(&bytes, index * SLOT_BYTES).map_err(Error::write(&self.path))?;
        self.newest = Some(slot);
        self.unwritten = false;
        self.unsynced = true;
        Ok(())
    }

    /// A slot that is neither safe nor on its way there; the newest only if no other is left.
    fn free_slot(&self) -> u64 {
        let kept = |slot: Option<Slot>, index| slot.is_some_and(|slot| slot.index == index);
        let free = |index: &u64| !kept(self.safe, *index) && !kept(self.syncing, *index);
        let older = (0..SLOTS).filter(free).find(|index| !kept(self.newest, *index));
        older.or_else(|| (0..SLOTS).find(free)).expect("two of three slots are kept at most")
    }

    /// Brings the file to its full length with real blocks.
    fn fill(&mut self) -> Result<(), Error> {
        let file = self.file()?;
        if self.len < FILE_BYTES {
            let missing = vec![0; (FILE_BYTES - self.len) as usize];
            let filled = file.write_all_at(&missing, self.len);
            if filled.is_err() {
                // back to what is accounted for
                let _ = file.set_len(self.len);
            }
            filled.map_err(Error::write(&self.path))?;
            self.len = FILE_BYTES;
        }
        Ok(())
    }

    /// As a disk that was full when the file was made leaves it.
    #[cfg(test)]
    pub(crate) fn shorten(&mut self) {
        self.file().unwrap().set_len(0).unwrap();
        (self.len, self.newest, self.unwritten) = (0, None, true);
    }

    /// A sync has something to do, and can.
    pub(crate) fn is_dirty(&self) -> bool {
        self.file.is_ok() && (self.unwritten || self.unsynced)
    }

    /// What a sync has to make safe: to be told to [`Self::end_sync`].
    pub(crate) fn begin_sync(&mut self) -> Option<(Mark, Arc<File>, &Path)> {
        if !self.unsynced {
            return None;
        }
        let (slot, file) = (self.newest?, self.file.as_ref().ok()?);
        self.unsynced = false;
        self.syncing = Some(slot);
        Some((Mark(slot), file.clone(), &self.path))
    }

    pub(crate) fn end_sync(&mut self, Mark(slot): Mark, ok: bool) {
        if self.syncing == Some(slot) {
            self.syncing = None;
        }
        if ok {
            // a result that comes late says nothing about what its slot holds now
            let newer = self.safe.is_none_or(|safe| safe.generation < slot.generation);
            self.safe = if newer { Some(slot) } else { self.safe };
        } else {
            // The kernel may take the pages for clean now: write afresh, elsewhere.
            self.safe = self.safe.filter(|safe| *safe != slot);
            self.unwritten = true;
        }
    }
}

fn encode(cursor: &Cursor, generation: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD + cursor.detail.len());
    bytes.extend(MAGIC);
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend((cursor.detail.len() as u32).to_le_bytes());
    bytes.extend(generation.to_le_bytes());
    bytes.extend(cursor.floor.to_le_bytes());
    let crc = checksum(&bytes, &cursor.detail);
    bytes.extend(crc.to_le_bytes());
    bytes.extend(&cursor.detail);
    bytes
}

fn checksum(head: &[u8], detail: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(detail);
    crc.finalize()
}

/// The good one of the highest generation.
fn newest_slot(file: &File) -> Option<(Slot, Cursor)> {
    (0..SLOTS).filter_map(|index| read_slot(file, index)).max_by_key(|(slot, _)| slot.generation)
}

fn read_slot(file: &File, index: u64) -> Option<(Slot, Cursor)> {
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, index * SLOT_BYTES).ok()?;
    let len = u32_at(&head, 12)? as usize;
    if head[..8] != MAGIC || u32_at(&head, 8)? != VERSION || len > MAX_DETAIL {
        return None;
    }
    let mut detail = vec![0; len];
    file.read_exact_at(&mut detail, index * SLOT_BYTES + HEAD as u64).ok()?;
    if checksum(&head[..CRC_AT], &detail) != u32_at(&head, CRC_AT)? {
        return None;
    }
    let slot = Slot { index, generation: u64_at(&head, 16)? };
    Some((slot, Cursor { floor: u64_at(&head, 24)?, detail }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> (tempfile::TempDir, CursorFile) {
        let dir = tempfile::tempdir().unwrap();
        let (file, existed, found) = CursorFile::open(dir.path().join("cursor"), None).unwrap();
        assert!(!existed && found.is_none());
        (dir, file)
    }

    fn cursor(floor: u64) -> Cursor {
        Cursor { floor, detail: vec![floor as u8; 5000] }
    }

    fn reopened(dir: &tempfile::TempDir) -> Option<Cursor> {
        CursorFile::open(dir.path().join("cursor"), None).unwrap().2
    }

    #[test]
    fn the_safe_slot_and_the_one_being_synced_are_never_overwritten() {
        let (dir, mut file) = file();
        file.set(cursor(1)).unwrap();
        let (mark, ..) = file.begin_sync().unwrap();
        file.end_sync(mark, true);
        file.set(cursor(2)).unwrap();
        let (mark, ..) = file.begin_sync().unwrap();
        for floor in 3..20 {
            file.set(cursor(floor)).unwrap();
            let written = file.newest.unwrap();
            assert_ne!(written.index, file.safe.unwrap().index);
            assert_ne!(written.index, mark.0.index);
            // as if the write had been cut short
            let at = written.index * SLOT_BYTES + 100;
            let damaged = [0xAA; 1];
            let mut was = [0; 1];
            let there = file.file().unwrap().clone();
            there.read_exact_at(&mut was, at).unwrap();
            there.write_all_at(&damaged, at).unwrap();
            assert_eq!(reopened(&dir), Some(cursor(2)));
            there.write_all_at(&was, at).unwrap();
            assert_eq!(reopened(&dir), Some(cursor(floor)));
        }
        file.end_sync(mark, true);
        assert_eq!(file.safe.unwrap(), mark.0);
    }

    #[test]
    fn what_was_found_at_a_start_is_not_overwritten_before_another_is_safe() {
        let (dir, mut file) = file();
        file.set(cursor(1)).unwrap();
        drop(file);
        let (mut file, ..) = CursorFile::open(dir.path().join("cursor"), None).unwrap();
        let found = file.newest.unwrap().index;
        for floor in 2..9 {
            file.set(cursor(floor)).unwrap();
            assert_ne!(file.newest.unwrap().index, found);
        }
    }

    #[test]
    fn a_failed_sync_is_not_believed_later() {
        let (_dir, mut file) = file();
        file.set(cursor(1)).unwrap();
        let (mark, ..) = file.begin_sync().unwrap();
        file.end_sync(mark, false);
        assert!(file.is_dirty());
        file.write_if_unwritten().unwrap();
        assert_ne!(file.newest.unwrap(), mark.0);
        assert!(file.begin_sync().is_some());
    }

    #[test]
    fn the_file_has_its_full_length_from_the_start() {
        let (dir, file) = file();
        assert_eq!(std::fs::metadata(dir.path().join("cursor")).unwrap().len(), FILE_BYTES);
        assert_eq!(file.len(), FILE_BYTES);
    }
}
