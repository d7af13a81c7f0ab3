//! What a driver may ask of the platform it runs on: context, a small durable store, secrets.
//!
//! Always true: at most [`CALLS`] calls wait at a time and each is answered or given up within
//! [`CALL_TIMEOUT`]; without an open session a call fails at once.

use std::time::Duration;

pub use sagoo_edge_proto::driver::Context;
use sagoo_edge_proto::driver::{
    ContextRequest, KvDelete, KvGet, KvPut, SecretGet, host_call::Call, host_reply::Reply,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

/// Most calls waiting for the gateway.
pub const CALLS: usize = 32;
/// Longest wait for one answer.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Largest value the gateway keeps for a driver.
pub const KV_VALUE_BYTES: usize = 4 * 1024;

/// The way to ask the gateway; cheap to clone.
#[derive(Debug, Clone)]
pub struct Host {
    calls: mpsc::Sender<Asked>,
}

/// A call on its way to the session.
#[derive(Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) reply: oneshot::Sender<Result<Option<Reply>, HostError>>,
}

/// Why the gateway gave no answer.
#[derive(Debug, thiserror::Error, Clone, PartialEq, Eq)]
pub enum HostError {
    /// No gateway is connected; ask again when polls run.
    #[error("no gateway is connected")]
    NoSession,
    /// Too many calls are waiting.
    #[error("{CALLS} calls to the gateway are waiting already")]
    Busy,
    /// No answer in time.
    #[error("the gateway did not answer within {CALL_TIMEOUT:?}")]
    Timeout,
    /// The value does not fit.
    #[error("a value of {0} bytes, at most {KV_VALUE_BYTES} are kept")]
    TooLarge(usize),
    /// The gateway said no.
    #[error("{0}")]
    Refused(String),
    /// The gateway answered something else than was asked.
    #[error("the gateway answered something else than was asked")]
    Confused,
}

impl Host {
    pub(crate) fn new() -> (Self, mpsc::Receiver<Asked>) {
        let (calls, asked) = mpsc::channel(CALLS);
        (Self { calls }, asked)
    }

    /// Identity of the gateway, board, state of the clock.
    pub async fn context(&self) -> Result<Context, HostError> {
        match self.ask(Call::Context(ContextRequest {})).await? {
            Some(Reply::Context(context)) => Ok(context),
            _ => Err(HostError::Confused),
        }
    }

    /// A value this driver kept earlier.
    pub async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, HostError> {
        match self.ask(Call::KvGet(KvGet { key: key.to_owned() })).await? {
            Some(Reply::Kv(kv)) => Ok(kv.value),
            _ => Err(HostError::Confused),
        }
    }

    /// Keeps a value across restarts of driver and gateway.
    pub async fn put(&self, key: &str, value: Vec<u8>) -> Result<(), HostError> {
        if value.len() > KV_VALUE_BYTES {
            return Err(HostError::TooLarge(value.len()));
        }
        self.ask(Call::KvPut(KvPut { key: key.to_owned(), value })).await.map(|_| ())
    }

    /// Forgets a value.
    pub async fn delete(&self, key: &str) -> Result<(), HostError> {
        self.ask(Call::KvDelete(KvDelete { key: key.to_owned() })).await.map(|_| ())
    }

    /// A secret the configuration gives this driver, by name.
    pub async fn secret(&self, name: &str) -> Result<Vec<u8>, HostError> {
        match self.ask(Call::Secret(SecretGet { name: name.to_owned() })).await? {
            Some(Reply::Secret(secret)) => Ok(secret),
            _ => Err(HostError::Confused),
        }
    }

    async fn ask(&self, call: Call) -> Result<Option<Reply>, HostError> {
        let (reply, answer) = oneshot::channel();
        self.calls.try_send(Asked { call, reply }).map_err(|e| match e {
            mpsc::error::TrySendError::Full(_) => HostError::Busy,
            mpsc::error::TrySendError::Closed(_) => HostError::NoSession,
        })?;
        match timeout(CALL_TIMEOUT, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(_)) => Err(HostError::NoSession),
            Err(_) => Err(HostError::Timeout),
        }
    }
}
