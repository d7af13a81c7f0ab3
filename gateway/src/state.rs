//! The thread that owns the small durable state (sled): drivers' key-value stores and command ids.
//!
//! Always true: its failing never stops telemetry; without it, everything answers with an error
//! that says so.

use std::path::PathBuf;
use std::thread;

use sagoo_edge_buffer::state::State;
use tokio::sync::{mpsc, oneshot};

/// Requests waiting; a full queue makes callers wait.
const QUEUE: usize = 64;
/// Keys one driver may keep.
pub const MAX_KEYS: usize = 1024;

/// Key and value.
pub type Pair = (Vec<u8>, Vec<u8>);

#[derive(Debug)]
enum Ask {
    Get { space: String, key: Vec<u8>, reply: oneshot::Sender<Answer<Option<Vec<u8>>>> },
    Put { space: String, key: Vec<u8>, value: Vec<u8>, reply: oneshot::Sender<Answer<()>> },
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
}

/// Starts the thread; it ends, flushed, when the last handle is dropped.
pub fn start(dir: PathBuf) -> (Handle, thread::JoinHandle<()>) {
    let (queue, mut asks) = mpsc::channel(QUEUE);
    let thread = thread::Builder::new()
        .name("state".to_owned())
        .spawn(move || {
            let mut state = open(dir);
            while let Some(ask) = asks.blocking_recv() {
                answer(&mut state, ask);
            }
            if let Ok(state) = &mut state
                && let Err(error) = state.flush()
            {
                tracing::warn!(%error, "small state is not flushed");
            }
        })
        .expect("a thread can be started at start-up");
    (Handle { queue }, thread)
}

fn open(dir: PathBuf) -> Result<State, StateError> {
    match State::open(&dir) {
        Ok((state, recovery)) => {
            tracing::debug!(dir = %dir.display(), ?recovery, "small state opened");
            Ok(state)
        }
        Err(error) => {
            tracing::error!(dir = %dir.display(), %error, "small state cannot be opened; telemetry goes on without it");
            Err(StateError(format!("small state is not available: {error}")))
        }
    }
}

fn answer(state: &mut Result<State, StateError>, ask: Ask) {
    let said = |error: sagoo_edge_buffer::state::StateError| StateError(error.to_string());
    let open = || state.as_ref().map_err(Clone::clone);
    match ask {
        Ask::Get { space, key, reply } => {
            let _ = reply.send(open().and_then(|state| state.get(&space, &key).map_err(said)));
        }
        Ask::Put { space, key, value, reply } => {
            let _ = reply.send(open().and_then(|state| {
                let known = state.get(&space, &key).map_err(said)?.is_some();
                if !known && state.scan(&space).map_err(said)?.len() >= MAX_KEYS {
                    return Err(StateError(format!("{space} holds {MAX_KEYS} keys already; delete some")));
                }
                state.put(&space, &key, &value).map_err(said)
            }));
        }
        Ask::Delete { space, key, reply } => {
            let _ = reply.send(open().and_then(|state| state.delete(&space, &key).map_err(said)));
        }
        Ask::Scan { space, reply } => {
            let _ = reply.send(open().and_then(|state| state.scan(&space).map_err(said)));
        }
    }
}

impl Handle {
    /// The value, if there is one.
    pub async fn get(&self, space: &str, key: &[u8]) -> Result<Option<Vec<u8>>, StateError> {
        let (space, key) = (space.to_owned(), key.to_vec());
        self.ask(|reply| Ask::Get { space, key, reply }).await
    }

    /// Keeps a value; durable with the next flush of the store (500 ms).
    pub async fn put(&self, space: &str, key: &[u8], value: &[u8]) -> Result<(), StateError> {
        let (space, key, value) = (space.to_owned(), key.to_vec(), value.to_vec());
        self.ask(|reply| Ask::Put { space, key, value, reply }).await
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
