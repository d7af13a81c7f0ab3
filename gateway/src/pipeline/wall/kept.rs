//! What is kept of the clock, in the file `clock` beside the buffer.
//!
//! Always true: a decision is synced before a row goes out with it; a disk that does not take it is said,
//! and stops nothing. Without the file a boot that was decided is decided anew.

use std::path::Path;

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
pub struct File(Option<Slots>);

impl File {
    /// Opens it in the buffer's directory; what cannot be opened or read is said, and begins afresh.
    pub fn open(dir: &Path) -> (Self, Kept) {
        match Slots::open(&dir.join("clock")) {
            Ok((slots, value)) => {
                let kept = value.and_then(|value| Kept::decode(&*value).ok());
                (Self(Some(slots)), kept.unwrap_or_default())
            }
            Err(error) => {
                say(&error);
                (Self(None), Kept::default())
            }
        }
    }

    /// Keeps it.
    pub fn keep(&mut self, kept: &Kept, synced: bool) {
        if let Some(slots) = &mut self.0
            && let Err(error) = slots.write(&kept.encode_to_vec(), synced)
        {
            say(&error);
        }
    }
}

fn say(error: &Error) {
    tracing::error!(%error, "what is known of the clock cannot be kept; rows sent again after a restart may carry another time");
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
}
