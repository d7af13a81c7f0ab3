//! What is kept of the clock, in the file `clock` beside the buffer.
//!
//! Always true: a decision is synced before a row goes out with it; a disk that does not take it is said
//! once, and stops nothing: it is to be tried again. Without the file a boot that was decided is decided anew.

use std::path::{Path, PathBuf};

use prost::Message;
use sagoo_edge_buffer::{Error, Slots};

use crate::pipeline::boots::Boots;

/// See the module.
#[derive(Clone, PartialEq, Message)]
pub struct Kept {
    /// The kernel's id of the last boot.
    #[prost(string, tag = "1")]
    pub boot_id: String,
    /// Its number; 0: there was none.
    #[prost(uint32, tag = "2")]
    pub boot: u32,
    /// Its clock was trusted once.
    #[prost(bool, tag = "3")]
    pub certain: bool,
    /// Newest wall time known.
    #[prost(sint64, tag = "4")]
    pub last_ms: i64,
    /// Boots that are decided.
    #[prost(uint32, repeated, tag = "5")]
    decided: Vec<u32>,
    /// Their starts, Unix milliseconds.
    #[prost(sint64, repeated, tag = "6")]
    starts_ms: Vec<i64>,
}

impl Kept {
    pub(super) fn new(boot_id: &str, boot: u32, certain: bool, last_ms: i64, boots: &Boots) -> Self {
        let (decided, starts_ms) = boots.iter().unzip();
        Self { boot_id: boot_id.to_owned(), boot, certain, last_ms, decided, starts_ms }
    }

    pub(super) fn starts(&self) -> impl Iterator<Item = (u32, i64)> {
        self.decided.iter().copied().zip(self.starts_ms.iter().copied())
    }
}

/// Where it is kept.
#[derive(Debug)]
pub struct File {
    path: PathBuf,
    /// `None`: to be opened again.
    slots: Option<Slots>,
    /// The disk did not take what was to be kept last.
    refused: bool,
}

impl File {
    /// Opens it in the buffer's directory; what cannot be opened or read is said, and begins afresh.
    pub fn open(dir: &Path) -> (Self, Kept) {
        let path = dir.join("clock");
        match Slots::open(&path) {
            Ok((slots, value)) => {
                let kept = value.and_then(|value| Kept::decode(&*value).ok());
                (Self { path, slots: Some(slots), refused: false }, kept.unwrap_or_default())
            }
            Err(error) => {
                say(&error);
                (Self { path, slots: None, refused: true }, Kept::default())
            }
        }
    }

    /// Keeps it.
    pub fn keep(&mut self, kept: &Kept, synced: bool) {
        match self.write(kept, synced) {
            Ok(()) => {
                if std::mem::take(&mut self.refused) {
                    tracing::info!("what is known of the clock is kept again");
                }
            }
            Err(error) => {
                self.slots = None;
                if !std::mem::replace(&mut self.refused, true) {
                    say(&error);
                }
            }
        }
    }

    /// Whether what was to be kept last is not.
    pub fn is_refused(&self) -> bool {
        self.refused
    }

    fn write(&mut self, kept: &Kept, synced: bool) -> Result<(), Error> {
        let slots = match &mut self.slots {
            Some(slots) => slots,
            closed => closed.insert(Slots::open(&self.path)?.0),
        };
        slots.write(&kept.encode_to_vec(), synced)
    }
}

fn say(error: &Error) {
    tracing::error!(%error, "what is known of the clock cannot be kept and is tried again; until then rows sent again after a restart may carry another time");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::boots::MAX_BOOTS;

    #[test]
    fn the_most_that_is_kept_fits_the_file_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut boots = Boots::default();
        for boot in 0..MAX_BOOTS as u32 {
            boots.fix(u32::MAX - boot, i64::MAX);
        }
        let kept = Kept::new(&"x".repeat(36), u32::MAX, true, i64::MAX, &boots);
        let (mut file, before) = File::open(dir.path());
        assert_eq!(before, Kept::default());
        file.keep(&kept, true);
        assert_eq!(File::open(dir.path()).1, kept);
    }

    #[test]
    fn what_a_disk_did_not_take_is_kept_when_it_takes_it() {
        let dir = tempfile::tempdir().unwrap();
        let kept = Kept::new("boot", 1, true, 7, &Boots::new([(1, 5)]));
        let (missing, full) = (dir.path().join("missing"), dir.path().join("full"));
        std::fs::create_dir(&full).unwrap();
        std::os::unix::fs::symlink("/dev/full", full.join("clock")).unwrap();
        for place in [&missing, &full] {
            let (mut file, _) = File::open(place);
            for _ in 0..2 {
                file.keep(&kept, true);
                assert!(file.is_refused(), "{place:?}");
            }
            if place == &full {
                std::fs::remove_file(full.join("clock")).unwrap();
            } else {
                std::fs::create_dir(&missing).unwrap();
            }
            file.keep(&kept, true);
            assert!(!file.is_refused(), "{place:?}");
            assert_eq!(File::open(place).1, kept);
        }
    }
}
