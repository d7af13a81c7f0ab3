//! One small value that is replaced as a whole, where nothing else may stand between it and the disk.
//!
//! Always true: the value before the newest one is not touched, so that a write that is cut leaves a good
//! one; the file has its full length from the start, so that a full disk takes the next value; a value
//! that is damaged is not there; on a disk that takes no data the value is read, and the file opened for
//! writing with the next write that can.
//!
//! ```text
//! file     two slots of 4 KiB, written in turn; the good one of the highest generation counts
//!
//! slot     0  generation  8
//!          8  len         4
//!         12  crc         4  crc-32 of generation, len and value
//!         16  value     len  opaque
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::error::{Error, refusal};
use crate::format::{u32_at, u64_at};
use crate::segment::FILE_MODE;

const SLOT_BYTES: usize = 4096;
const SLOTS: u64 = 2;
const HEAD: usize = 16;
/// Largest value.
pub const MAX_VALUE: usize = SLOT_BYTES - HEAD;

/// See the module.
#[derive(Debug)]
pub struct Slots {
    path: PathBuf,
    /// Open for writing; `None`: the disk did not let us.
    file: Option<File>,
    generation: u64,
}

impl Slots {
    /// Opens or creates the file; also gives the value in it, if there is a good one.
    pub fn open(path: &Path) -> Result<(Self, Option<Vec<u8>>), Error> {
        let mut slots = Self { path: path.to_owned(), file: None, generation: 0 };
        let value = match slots.for_writing() {
            Ok(value) => value,
            // where not even its directory could be made it is missing
            Err(error) if refusal(&error).is_some() || error.kind() == io::ErrorKind::NotFound => {
                let newest = File::open(path).ok().and_then(|file| newest_slot(&file));
                slots.generation = newest.as_ref().map_or(0, |newest| newest.0);
                newest.map(|newest| newest.1)
            }
            Err(error) => return Err(Error::open(path)(error)),
        };
        Ok((slots, value))
    }

    fn for_writing(&mut self) -> io::Result<Option<Vec<u8>>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(&self.path)?;
        let (generation, value) = newest_slot(&file).unzip();
        if value.is_none() {
            // a full disk is no reason not to start: what it has no room for, the next write will say
            let _ = file.write_all_at(&[0; SLOT_BYTES * SLOTS as usize], 0);
        }
        self.generation = generation.unwrap_or(self.generation);
        self.file = Some(file);
        Ok(value)
    }

    /// Replaces the value; what `synced` is written survives a power cut from then on.
    pub fn write(&mut self, value: &[u8], synced: bool) -> Result<(), Error> {
        if value.len() > MAX_VALUE {
            return Err(Error::DetailTooLarge { len: value.len(), max: MAX_VALUE });
        }
        if self.file.is_none() {
            self.for_writing().map_err(Error::open(&self.path))?;
        }
        let file = self.file.as_ref().expect("it is open now");
        let generation = self.generation + 1;
        let mut bytes = Vec::with_capacity(SLOT_BYTES);
        bytes.extend(generation.to_le_bytes());
        bytes.extend((value.len() as u32).to_le_bytes());
        bytes.extend(checksum(&bytes, value).to_le_bytes());
        bytes.extend(value);
        let at = (generation % SLOTS) * SLOT_BYTES as u64;
        file.write_all_at(&bytes, at).map_err(Error::write(&self.path))?;
        self.generation = generation;
        if synced {
            file.sync_data().map_err(Error::sync(&self.path))?;
        }
        Ok(())
    }
}

/// The good one of the highest generation: that, and its value.
fn newest_slot(file: &File) -> Option<(u64, Vec<u8>)> {
    (0..SLOTS).filter_map(|index| read_slot(file, index)).max_by_key(|slot| slot.0)
}

fn read_slot(file: &File, index: u64) -> Option<(u64, Vec<u8>)> {
    let at = index * SLOT_BYTES as u64;
    let mut head = [0; HEAD];
    file.read_exact_at(&mut head, at).ok()?;
    let (generation, len) = (u64_at(&head, 0)?, u32_at(&head, 8)? as usize);
    // in a file that was never written all is 0, and so is the checksum of nothing
    if generation == 0 || generation % SLOTS != index || len > MAX_VALUE {
        return None;
    }
    let mut value = vec![0; len];
    file.read_exact_at(&mut value, at + HEAD as u64).ok()?;
    (checksum(&head[..12], &value) == u32_at(&head, 12)?).then_some((generation, value))
}

fn checksum(head: &[u8], value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(head);
    crc.update(value);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(path: &Path) -> Option<Vec<u8>> {
        Slots::open(path).unwrap().1
    }

    #[test]
    fn a_write_that_is_cut_or_damaged_anywhere_leaves_the_value_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        let (mut slots, none) = Slots::open(&path).unwrap();
        assert_eq!(none, None);
        let length = std::fs::metadata(&path).unwrap().len();
        slots.write(b"first", true).unwrap();
        let before = std::fs::read(&path).unwrap();
        slots.write(b"second", false).unwrap();
        let after = std::fs::read(&path).unwrap();
        assert_eq!((value(&path), after.len() as u64), (Some(b"second".to_vec()), length));
        let changed: Vec<usize> = (0..after.len()).filter(|at| before[*at] != after[*at]).collect();
        for at in &changed {
            let mut cut = before.clone();
            cut[..*at].copy_from_slice(&after[..*at]);
            std::fs::write(&path, &cut).unwrap();
            assert_eq!(value(&path), Some(b"first".to_vec()), "cut at {at}");
            let mut flipped = after.clone();
            flipped[*at] ^= 0x10;
            std::fs::write(&path, &flipped).unwrap();
            assert_eq!(value(&path), Some(b"first".to_vec()), "flipped at {at}");
        }
        assert!(changed.len() > HEAD / 2);
    }

    #[test]
    fn it_goes_on_after_a_start_and_a_value_that_does_not_fit_changes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("value");
        for round in 0..5u8 {
            let (mut slots, before) = Slots::open(&path).unwrap();
            assert_eq!(before, round.checked_sub(1).map(|before| vec![before; MAX_VALUE]));
            assert!(slots.write(&[0; MAX_VALUE + 1], false).is_err());
            slots.write(&[round; MAX_VALUE], false).unwrap();
        }
    }
}
