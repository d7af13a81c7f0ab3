//! Dead letters: rows the platform never answered, kept until somebody sends them again or drops them.
//!
//! ```text
//! flight gives a row up ─▶ kept here ─▶ settled as parked        in this order: a kill in between makes a
//!                            │ ▲                                 double under the same id, never a loss
//!        send (somebody asks)▼ │ not answered again
//!                          flight ─ answered ─▶ parked becomes acknowledged in the ledger, and it is gone
//! ```
//! Each letter is a file of its own ([`file`]); the index of all is in the small state (sled), and in
//! memory. Without the small state the index is read from the files, and that a letter was to be sent
//! is forgotten with the process. [`desk`] serves the command line and the flight.
//!
//! Always true: at most [`MAX_LETTERS`] and [`MAX_BYTES`] are kept, the oldest goes first, counted and
//! said; a letter has the id and the bytes of the message that was not answered; telemetry never waits
//! for a letter that cannot be kept, its row is named in the log instead.

pub mod desk;
mod file;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use desk::{ASKS, Ask, Desk};
pub use file::FileError;

use crate::northbound::sagoo::flight::GivenUp;
use crate::state;
use crate::status::DeadLetterStatus;

/// Letters kept; the oldest goes.
pub const MAX_LETTERS: usize = 1_000;
/// Bytes of all their messages together; the oldest goes.
pub const MAX_BYTES: u64 = 8 * 1024 * 1024;
/// Longest id; a device key and some numbers are far shorter.
const MAX_ID_BYTES: usize = 200;
/// Of the index in the small state.
const SPACE: &str = "deadletters";

/// What is known of a letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Rises from letter to letter.
    pub number: u64,
    /// Name in the configuration.
    pub device: String,
    /// Where it goes.
    pub topic: String,
    /// Samples it accounts for in the ledger.
    pub samples: u32,
    /// Counted tries until it was given up; 0: it is too large to be sent.
    pub tries: u32,
    /// When that was, Unix milliseconds by the gateway's clock.
    pub since_ms: i64,
    /// Of the message.
    pub bytes: u64,
    /// Of the message.
    pub crc: u32,
    /// Somebody asked for it to be sent again.
    #[serde(default)]
    pub wanted: bool,
}

/// Why a row is not kept.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Its id is no name for a file.
    #[error("{0:?} is no name for a file")]
    Id(String),
    /// It alone is more than all may be.
    #[error("its {0} bytes are more than the {MAX_BYTES} for all dead letters together")]
    TooLarge(u64),
    /// The disk says no.
    #[error("{0}")]
    File(#[from] FileError),
}

/// All of them.
#[derive(Debug)]
pub struct DeadLetters {
    dir: PathBuf,
    state: state::Handle,
    entries: BTreeMap<String, Entry>,
    numbers: u64,
    status: DeadLetterStatus,
}

impl DeadLetters {
    /// Finds what earlier processes kept in `dir`.
    pub async fn open(dir: PathBuf, state: state::Handle) -> Self {
        let status = DeadLetterStatus::default();
        let mut letters = Self { dir, state, entries: BTreeMap::new(), numbers: 0, status };
        letters.recall().await;
        letters.numbers = letters.entries.values().map(|entry| entry.number).max().unwrap_or(0);
        letters
    }

    /// The files say what is there, the index what is known of them; each makes up for the other.
    async fn recall(&mut self) {
        let there = match self.blocking(file::list).await {
            Ok(there) => there,
            Err(error) => return self.in_trouble(&error.to_string()),
        };
        let indexed = self.state.scan(SPACE).await;
        if let Err(error) = &indexed {
            tracing::warn!(%error, "the index of dead letters is read from the letters themselves");
        }
        let known = indexed.unwrap_or_default().into_iter().map(|(id, entry)| {
            (String::from_utf8_lossy(&id).into_owned(), serde_json::from_slice::<Entry>(&entry).ok())
        });
        let mut known: BTreeMap<String, Option<Entry>> = known.collect();
        for id in there {
            match known.remove(&id).flatten() {
                Some(entry) => drop(self.entries.insert(id, entry)),
                None => self.index_anew(id).await,
            }
        }
        for id in known.into_keys() {
            tracing::error!(id, "a dead letter is gone from the disk");
            let _ = self.state.delete(SPACE, id.as_bytes()).await;
        }
    }

    async fn index_anew(&mut self, id: String) {
        let of = id.clone();
        match self.blocking(move |dir| file::read_entry(dir, &of)).await {
            Ok(entry) => self.put(id, entry).await,
            Err(error) => tracing::error!(%error, "a dead letter cannot be read and is left where it is"),
        }
    }

    /// Keeps a row; one that is kept already, to the byte, stays as it is.
    pub async fn keep(&mut self, row: &GivenUp, since_ms: i64) -> Result<(), KeepError> {
        let bytes = row.message.len() as u64;
        let crc = crc32fast::hash(row.message.as_bytes());
        if !is_file_name(&row.id) {
            return Err(KeepError::Id(row.id.clone()));
        }
        if bytes > MAX_BYTES {
            return Err(KeepError::TooLarge(bytes));
        }
        match self.entries.get(&row.id) {
            Some(entry) if (entry.bytes, entry.crc) == (bytes, crc) => return Ok(()),
            // another buffer began to count anew under the same key
            Some(_) => self.evict(&row.id.clone()).await,
            None => {}
        }
        self.make_room(bytes).await;
        self.numbers += 1;
        let (device, topic) = (row.device.to_string(), row.topic.clone());
        let (number, samples, tries) = (self.numbers, row.samples, row.tries);
        let entry = Entry { number, device, topic, samples, tries, since_ms, bytes, crc, wanted: false };
        let (id, message, kept) = (row.id.clone(), row.message.clone(), entry.clone());
        let written = self.blocking(move |dir| file::write(dir, &id, &kept, &message)).await;
        if let Err(error) = &written {
            self.in_trouble(&error.to_string());
        }
        written?;
        self.status.trouble.clear();
        self.put(row.id.clone(), entry).await;
        Ok(())
    }

    async fn make_room(&mut self, bytes: u64) {
        while self.entries.len() >= MAX_LETTERS || self.bytes() + bytes > MAX_BYTES {
            let oldest = self.entries.iter().min_by_key(|(_, entry)| entry.number);
            let Some(oldest) = oldest.map(|(id, _)| id.clone()) else { return };
            self.evict(&oldest).await;
        }
    }

    async fn evict(&mut self, id: &str) {
        self.status.evicted += 1;
        if let Some(entry) = self.forget(id).await {
            tracing::error!(
                id,
                device = entry.device,
                samples = entry.samples,
                "a dead letter is dropped to make room for a newer one"
            );
        }
    }

    /// What is known of all, oldest first.
    pub fn all(&self) -> Vec<(&str, &Entry)> {
        let mut all: Vec<_> = self.entries.iter().map(|(id, entry)| (id.as_str(), entry)).collect();
        all.sort_by_key(|(_, entry)| entry.number);
        all
    }

    /// What is known of one.
    pub fn get(&self, id: &str) -> Option<&Entry> {
        self.entries.get(id)
    }

    /// Its message.
    pub async fn message(&self, id: &str) -> Result<String, FileError> {
        let id = id.to_owned();
        self.blocking(move |dir| file::read(dir, &id)).await.map(|(_, message)| message)
    }

    /// Whether it is to be sent again.
    pub async fn want(&mut self, id: &str, wanted: bool) {
        if let Some(entry) = self.entries.get(id).filter(|entry| entry.wanted != wanted).cloned() {
            self.put(id.to_owned(), Entry { wanted, ..entry }).await;
        }
    }

    /// Somebody wants it gone.
    pub async fn drop_letter(&mut self, id: &str) -> Option<Entry> {
        let entry = self.forget(id).await?;
        self.status.dropped += 1;
        Some(entry)
    }

    /// The platform has answered it.
    pub async fn acknowledged(&mut self, id: &str) {
        self.status.acknowledged += u64::from(self.forget(id).await.is_some());
    }

    /// For people.
    pub fn status(&self) -> DeadLetterStatus {
        DeadLetterStatus {
            letters: self.entries.len() as u64,
            bytes: self.bytes(),
            sending: self.entries.values().filter(|entry| entry.wanted).count() as u64,
            ..self.status.clone()
        }
    }

    fn bytes(&self) -> u64 {
        self.entries.values().map(|entry| entry.bytes).sum()
    }

    async fn put(&mut self, id: String, entry: Entry) {
        let value = serde_json::to_vec(&entry).expect("numbers and texts are JSON");
        if let Err(error) = self.state.put(SPACE, id.as_bytes(), &value).await {
            tracing::warn!(id, %error, "a dead letter is kept, but not indexed");
        }
        self.entries.insert(id, entry);
    }

    /// A file that cannot be removed comes back at the next start; better twice than never.
    async fn forget(&mut self, id: &str) -> Option<Entry> {
        let entry = self.entries.remove(id)?;
        let of = id.to_owned();
        if let Err(error) = self.blocking(move |dir| file::remove(dir, &of)).await {
            self.in_trouble(&error.to_string());
        }
        if let Err(error) = self.state.delete(SPACE, id.as_bytes()).await {
            tracing::warn!(id, %error, "a dead letter is gone, but not from the index");
        }
        Some(entry)
    }

    fn in_trouble(&mut self, error: &str) {
        tracing::error!(
            error,
            remedy = "free space, and check that the disk is mounted writable",
            "dead letters cannot be kept as they should"
        );
        self.status.trouble = error.to_owned();
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Path) -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, FileError> {
        let dir = self.dir.clone();
        tokio::task::spawn_blocking(move || work(&dir)).await.expect("file work does not panic")
    }
}

/// Ids are made of a device key and numbers; whatever else they may become, they stay in the directory.
fn is_file_name(id: &str) -> bool {
    let fits = (1..=MAX_ID_BYTES).contains(&id.len());
    fits && id.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}
