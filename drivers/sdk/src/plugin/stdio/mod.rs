//! What a plugin prints, on its way to a host that mirrors it (go-plugin's `GRPCStdio`).
//!
//! Always true: printing never fails and never waits for a host. While a host reads, up to
//! [`READ_BYTES`] wait for it, otherwise [`UNREAD_BYTES`]; beyond that the oldest is dropped and
//! counted. Whoever wants to be slowed down instead uses [`Output::send`]. One host reads at a
//! time: a second one supersedes the first and goes on where it was.

mod capture;

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sagoo_edge_proto::plugin::StdioData;
use sagoo_edge_proto::plugin::stdio_data::Channel;
use tokio::sync::Notify;
use tokio::time::timeout;
use tokio_stream::Stream;
use tonic::Status;
use tracing::warn;

pub(crate) use self::capture::Capture;

/// Most bytes kept while a host reads; one burst of prints may be this long.
pub const READ_BYTES: usize = 16 * 1024 * 1024;
/// Most bytes kept while no host reads.
pub const UNREAD_BYTES: usize = 256 * 1024;
/// Bytes waiting for a host that reads before [`Output::send`] waits, too.
const SEND_BYTES: usize = 1024 * 1024;
/// Bytes of one message to the host.
const CHUNK_BYTES: usize = 16 * 1024;

/// One of the two channels. What is written here reaches the host's stdout or stderr byte for byte.
///
/// As [`io::Write`] it takes everything at once and forgets the oldest when too much waits.
#[derive(Debug, Clone)]
pub struct Output {
    channel: Channel,
    store: Stdio,
}

impl Output {
    /// Hands bytes over; while a host reads, waits until it has taken most of what was there before.
    pub async fn send(&self, bytes: &[u8]) {
        for piece in bytes.chunks(CHUNK_BYTES) {
            self.store.room().await;
            self.store.push(self.channel, piece);
        }
    }
}

impl io::Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.store.push(self.channel, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What waits for a host; cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stdio(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// A lock and no message: writers are threads that must not wait, and the oldest may have to go.
    state: Mutex<State>,
    /// The host took something, or left.
    taken: Notify,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Channel, Vec<u8>)>,
    bytes: usize,
    dropped: u64,
    /// Which reader is the present one; each new one is the next number.
    reader: u64,
    reads: bool,
    waker: Option<Waker>,
    closed: bool,
}

impl Stdio {
    pub(crate) fn output(&self, channel: Channel) -> Output {
        Output { channel, store: self.clone() }
    }

    /// The stream for a host; the one before ends.
    pub(crate) fn read(&self) -> Reader {
        let mut state = self.state();
        state.reader += 1;
        state.reads = true;
        if let Some(superseded) = state.waker.take() {
            superseded.wake();
        }
        let dropped = std::mem::take(&mut state.dropped);
        let number = state.reader;
        drop(state);
        if dropped > 0 {
            warn!(bytes = dropped, "output was dropped while nobody read it");
        }
        Reader { number, stdio: self.clone() }
    }

    /// Nothing more will be printed: readers end when they have read the rest.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.closed = true;
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    /// Waits until the host has read everything, at most `limit`; not at all while none reads.
    pub(crate) async fn drained(&self, limit: Duration) {
        let _ = timeout(limit, self.until(|state| state.waiting.is_empty() || !state.reads)).await;
    }

    async fn room(&self) {
        self.until(|state| state.bytes < SEND_BYTES || !state.reads || state.closed).await;
    }

    async fn until(&self, reached: impl Fn(&State) -> bool) {
        loop {
            let taken = self.0.taken.notified();
            if reached(&self.state()) {
                return;
            }
            taken.await;
        }
    }

    fn push(&self, channel: Channel, bytes: &[u8]) {
        let mut state = self.state();
        if state.closed || bytes.is_empty() {
            return;
        }
        state.append(channel, bytes);
        let most = if state.reads { READ_BYTES } else { UNREAD_BYTES };
        while state.bytes > most {
            let Some((_, gone)) = state.waiting.pop_front() else { break };
            state.bytes -= gone.len();
            state.dropped += gone.len() as u64;
        }
        if let Some(waker) = state.waker.take() {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Every change below is complete in itself, so a panic elsewhere leaves nothing half done.
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn append(&mut self, channel: Channel, bytes: &[u8]) {
        self.bytes += bytes.len();
        let mut rest = bytes;
        if let Some((last, chunk)) = self.waiting.back_mut()
            && *last == channel
        {
            let (fits, more) = rest.split_at(rest.len().min(CHUNK_BYTES.saturating_sub(chunk.len())));
            chunk.extend_from_slice(fits);
            rest = more;
        }
        self.waiting.extend(rest.chunks(CHUNK_BYTES).map(|piece| (channel, piece.to_vec())));
    }
}

/// The stream one host reads.
#[derive(Debug)]
pub(crate) struct Reader {
    number: u64,
    stdio: Stdio,
}

impl Stream for Reader {
    type Item = Result<StdioData, Status>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let mut state = self.stdio.state();
        if state.reader != self.number {
            return Poll::Ready(None);
        }
        if let Some((channel, data)) = state.waiting.pop_front() {
            state.bytes -= data.len();
            drop(state);
            self.stdio.0.taken.notify_waiters();
            return Poll::Ready(Some(Ok(StdioData { channel: channel.into(), data })));
        }
        if state.closed {
            return Poll::Ready(None);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = self.stdio.state();
        if state.reader == self.number {
            state.reads = false;
            drop(state);
            self.stdio.0.taken.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests;
