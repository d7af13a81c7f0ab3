//! The thread that owns the small durable state (sled): drivers' key-value stores, command ids and
//! latest values.
//!
//! Always true: its failing never stops telemetry; without it, everything answers with an error
//! that says so, status says why, and it is opened again when it is next asked for and some time has
//! passed.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use sagoo_edge_buffer::state::{State, StateError as Fault};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout_at;

/// Requests waiting; a full queue makes callers wait.
const QUEUE: usize = 64;
/// How long after it could not be opened it may be tried again.
const REOPEN_AFTER: Duration = Duration::from_secs(30);
/// Changes after which it is looked whether its files have grown too large.
const TEND_EVERY: u32 = 256;
/// How long after a change all changes so far are made durable; without a change nothing wakes.
const FLUSH_AFTER: Duration = Duration::from_millis(500);
/// Keys one driver may keep.
pub const MAX_KEYS: usize = 1024;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
enum Ask {
    Get { space: String, key: Vec<u8>, reply: oneshot::Sender<Answer<Option<Vec<u8>>>> },
    Put { space: String, key: Vec<u8>, value: Vec<u8>, reply: oneshot::Sender<Answer<()>> },
    Save { space: String, pairs: Vec<Pair>, reply: oneshot::Sender<Answer<()>> },
    Delete { space: String, key: Vec<u8>, reply: oneshot::Sender<Answer<()>> },
    Scan { space: String, reply: oneshot::Sender<Answer<Vec<Pair>>> },
}

type Answer<T> = Result<T, StateError>;

/// Why a small value could not be kept.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct StateError(String);

/// The door.
#[derive(Debug, Clone)]
pub struct Handle {
    queue: mpsc::Sender<Ask>,
    trouble: watch::Receiver<String>,
}

/// Starts the thread; it ends, flushed, when the last handle is dropped.
pub fn start(dir: PathBuf) -> (Handle, thread::JoinHandle<()>) {
    let (queue, mut asks) = mpsc::channel(QUEUE);
    let (say, trouble) = watch::channel(String::new());
    let thread = thread::Builder::new()
        .name("state".to_owned())
        .spawn(move || {
            let mut owner =
                Owner { state: open(&dir), dir, tried: Instant::now(), changes: 0, flush_at: None, say };
            owner.say_trouble();
            let timer = runtime::Builder::new_current_thread().enable_time().build();
            timer.expect("a timer needs only memory").block_on(owner.serve(&mut asks));
        })
        .expect("a thread can be started at start-up");
    (Handle { queue, trouble }, thread)
}

fn open(dir: &Path) -> Result<State, StateError> {
    match State::open(dir) {
        Ok((state, recovery)) => {
            tracing::debug!(dir = %dir.display(), ?recovery, "small state opened");
            Ok(state)
        }
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "small state cannot be opened; telemetry goes on without it");
            Err(unavailable(&error))
        }
    }
}

fn unavailable(error: &Fault) -> StateError {
    StateError(format!("small state is not available: {error}"))
}

struct Owner {
    dir: PathBuf,
    state: Result<State, StateError>,
    tried: Instant,
    /// Since its files were last looked at.
    changes: u32,
    /// When the changes that are not durable yet are to be; `None`: all are.
    flush_at: Option<Instant>,
    say: watch::Sender<String>,
}

impl Owner {
    async fn serve(&mut self, asks: &mut mpsc::Receiver<Ask>) {
        loop {
            let asked = match self.flush_at {
                Some(at) => timeout_at(at.into(), asks.recv()).await,
                None => Ok(asks.recv().await),
            };
            match asked {
                Ok(Some(ask)) => self.answer(ask),
                Ok(None) => return self.flush(),
                Err(_) => {}
            }
            // Looked at after each answer, so that asks without a pause put nothing off.
            if self.flush_at.is_some_and(|at| at <= Instant::now()) {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if self.flush_at.take().is_some() {
            // said where it happens
            let _ = self.with(|state| state.flush());
        }
    }

    fn answer(&mut self, ask: Ask) {
        if self.state.is_err() && self.tried.elapsed() > REOPEN_AFTER {
            self.tried = Instant::now();
            self.state = open(&self.dir);
            self.say_trouble();
        }
        match ask {
            Ask::Get { space, key, reply } => {
                let _ = reply.send(self.with(|state| state.get(&space, &key)));
            }
            Ask::Put { space, key, value, reply } => {
                let is_full = self.with(|state| {
                    Ok(state.get(&space, &key)?.is_none() && state.scan(&space)?.len() >= MAX_KEYS)
                });
                let _ = reply.send(match is_full {
                    Ok(false) => self.with(|state| state.put(&space, &key, &value)),
                    Ok(true) => {
                        Err(StateError(format!("{space} holds {MAX_KEYS} keys already; delete some")))
                    }
                    Err(error) => Err(error),
                });
                self.changed(1);
            }
            Ask::Save { space, pairs, reply } => {
                let put = |state: &mut State| {
                    pairs.iter().try_for_each(|(key, value)| state.put(&space, key, value))
                };
                let _ = reply.send(self.with(put));
                self.changed(pairs.len() as u32);
            }
            Ask::Delete { space, key, reply } => {
                let _ = reply.send(self.with(|state| state.delete(&space, &key)));
                self.changed(1);
            }
            Ask::Scan { space, reply } => {
                let _ = reply.send(self.with(|state| state.scan(&space)));
            }
        }
    }

    /// What is broken is closed: opening it again recovers what can be recovered.
    fn with<T>(&mut self, work: impl FnOnce(&mut State) -> Result<T, Fault>) -> Answer<T> {
        let state = self.state.as_mut().map_err(|error| error.clone())?;
        work(state).map_err(|error| match error {
            Fault::Broken { .. } | Fault::Open { .. } => {
                tracing::error!(dir = %self.dir.display(), %error, "small state is broken; telemetry goes on without it");
                let said = unavailable(&error);
                self.state = Err(said.clone());
                self.tried = Instant::now();
                self.say_trouble();
                said
            }
            _ => StateError(error.to_string()),
        })
    }

    fn changed(&mut self, values: u32) {
        self.flush_at.get_or_insert_with(|| Instant::now() + FLUSH_AFTER);
        self.changes = self.changes.saturating_add(values);
        if self.changes >= TEND_EVERY {
            self.changes = 0;
            // said where it happens
            let _ = self.with(State::tend);
        }
    }

    fn say_trouble(&self) {
        let trouble = self.state.as_ref().err().map(|error| error.0.clone()).unwrap_or_default();
        self.say.send_if_modified(|said| {
            let is_news = *said != trouble;
            *said = trouble;
            is_news
        });
    }
}

impl Handle {
    /// Why it is not available; empty when all is well.
    pub fn trouble(&self) -> watch::Receiver<String> {
        self.trouble.clone()
    }

    /// The value, if there is one.
    pub async fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let (space, key) = (space.to_owned(), key.to_vec());
        self.ask(|reply| Ask::Get { space, key, reply }).await
    }

    /// Keeps a value; durable [`FLUSH_AFTER`] later.
    pub async fn put(&self, space: &str, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let (space, key, value) = (space.to_owned(), key.to_vec(), value.to_vec());
        self.ask(|reply| Ask::Put { space, key, value, reply }).await
    }

    /// Keeps many values of the gateway's own, whose number is bounded by what the configuration may hold.
    pub async fn save(&self, space: &str, pairs: Vec<Pair>) -> Result<(), StateError> {
        let space = space.to_owned();
        self.ask(|reply| Ask::Save { space, pairs, reply }).await
    }

    /// Forgets a value.
    pub async fn delete(&self, space: &str, key: &[u8]) -> Result<(), StateError> {
        let (space, key) = (space.to_owned(), key.to_vec());
        self.ask(|reply| Ask::Delete { space, key, reply }).await
    }

    /// Everything in a space.
    pub async fn scan(&self, space: &str) -> Result<Vec<Pair>, StateError> {
        let space = space.to_owned();
        self.ask(|reply| Ask::Scan { space, reply }).await
    }

    async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Answer<T>>) -> Ask) -> Answer<T> {
        let gone = || StateError("small state has ended".to_owned());
        let (reply, answer) = oneshot::channel();
        self.queue.send(make(reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn without_small_state_everything_is_answered_and_status_can_say_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state");
        let (first, first_thread) = start(path.clone());
        first.put("kv", b"key", b"value").await.unwrap();
        assert_eq!(*first.trouble().borrow(), "");
        // the same directory, and so locked
        let (second, second_thread) = start(path);
        let error = second.get("kv", b"key").await.unwrap_err();
        assert!(error.to_string().contains("in use by another process"), "{error}");
        assert_eq!(*second.trouble().borrow(), error.to_string());
        for (handle, thread) in [(first, first_thread), (second, second_thread)] {
            drop(handle);
            thread.join().unwrap();
        }
    }

    #[tokio::test]
    async fn a_value_is_on_the_disk_soon_after_it_was_put_though_nobody_stops() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, thread) = start(dir.path().join("state"));
        handle.put("kv", b"key", b"value").await.unwrap();
        // As a kill leaves it: what is in files, and nothing else.
        let is_there = || {
            let copy = tempfile::tempdir().unwrap();
            std::fs::create_dir(copy.path().join("db")).unwrap();
            for file in std::fs::read_dir(dir.path().join("state/db")).unwrap() {
                let file = file.unwrap();
                if file.file_type().unwrap().is_file() {
                    std::fs::copy(file.path(), copy.path().join("db").join(file.file_name())).unwrap();
                }
            }
            let (state, _) = State::open(copy.path()).unwrap();
            state.get("kv", b"key").unwrap().as_deref() == Some(b"value")
        };
        let begin = Instant::now();
        while !is_there() {
            assert!(begin.elapsed() < FLUSH_AFTER * 40, "it stays in memory");
            tokio::task::yield_now().await;
        }
        drop(handle);
        thread.join().unwrap();
    }

    #[tokio::test]
    async fn many_changes_do_not_make_its_files_grow_without_end() {
        let dir = tempfile::tempdir().unwrap();
        let (handle, thread) = start(dir.path().to_owned());
        for n in 0..12_000u32 {
            handle.put("kv", &(n % 50).to_be_bytes(), &vec![n as u8; 4_000]).await.unwrap();
        }
        assert_eq!(handle.scan("kv").await.unwrap().len(), 50);
        drop(handle);
        thread.join().unwrap();
        let files = std::fs::read_dir(dir.path().join("db")).unwrap();
        let bytes: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
        assert!(bytes < 24 << 20, "{bytes} bytes");
    }
}
