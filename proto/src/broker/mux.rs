//! The one connection that carries all others: HashiCorp's yamux, host = client, plugin = server.
//!
//! Always true: one task moves all frames, and no stream can stall another; a stream is announced
//! to the other side the moment it is opened, not with its first byte.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt as _, TokioAsyncReadCompatExt as _};
use tokio_util::sync::CancellationToken;
use yamux::{Config, Connection, Mode};

use super::hub::{Dialed, Waiter};

/// Most streams inside the connection at a time; one more ends the connection.
pub(super) const MAX_STREAMS: usize = 128;
/// Most bytes received and not read yet, over all streams: yamux' own 256 KiB each, and some to grow.
const MAX_UNREAD_BYTES: usize = 64 << 20;
/// Requests for streams that wait for the task.
const OPENS: usize = 16;
/// Longest farewell.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// A stream inside the connection.
pub(super) type Stream = Compat<yamux::Stream>;

/// Which end of the connection this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// The one that connects.
    Host,
    /// The one that listens.
    Plugin,
}

/// A stream to be opened. Without somebody who waits, it is closed again.
pub(super) type Open = Option<(Waiter, oneshot::Sender<()>)>;

/// A way to open streams, and its other end for [`carry`].
pub(super) fn opener() -> (mpsc::Sender<Open>, mpsc::Receiver<Open>) {
    mpsc::channel(OPENS)
}

/// Moves frames until the connection ends or is to end. `inbound` gets each stream of the other side.
pub(super) async fn carry(
    io: impl AsyncRead + AsyncWrite + Send + Unpin,
    role: Role,
    mut opens: mpsc::Receiver<Open>,
    inbound: impl Fn(Stream),
    end: CancellationToken,
) -> Result<(), yamux::ConnectionError> {
    let mut config = Config::default();
    config.set_max_num_streams(MAX_STREAMS).set_max_connection_receive_window(Some(MAX_UNREAD_BYTES));
    let mode = match role {
        Role::Host => Mode::Client,
        Role::Plugin => Mode::Server,
    };
    let mut connection = Connection::new(io.compat(), config, mode);
    let mut waiting = None;
    let moving = poll_fn(|cx| {
        loop {
            if open_next(&mut connection, &mut opens, &mut waiting, cx)?.is_ready() {
                continue;
            }
            match connection.poll_next_inbound(cx) {
                Poll::Ready(Some(Ok(stream))) => inbound(stream.compat()),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
    });
    tokio::select! {
        ended = moving => ended,
        () = end.cancelled() => {
            let closing = poll_fn(|cx| connection.poll_close(cx));
            // The other side may be gone or stuck; the socket is closed either way.
            let _ = tokio::time::timeout(CLOSE_LIMIT, closing).await;
            Ok(())
        }
    }
}

/// Opens one stream, if one is wanted and can be opened.
fn open_next(
    connection: &mut Connection<Compat<impl AsyncRead + AsyncWrite + Unpin>>,
    opens: &mut mpsc::Receiver<Open>,
    waiting: &mut Option<Open>,
    cx: &mut Context<'_>,
) -> Result<Poll<()>, yamux::ConnectionError> {
    if waiting.is_none() {
        let Poll::Ready(Some(open)) = opens.poll_recv(cx) else { return Ok(Poll::Pending) };
        *waiting = Some(open);
    }
    let Poll::Ready(stream) = connection.poll_new_outbound(cx)? else { return Ok(Poll::Pending) };
    let mut stream = stream;
    // yamux announces a stream with its first frame, so one without content goes ahead. The
    // channel behind it is new and empty: this is ready at once.
    let _ = futures_util::AsyncWrite::poll_write(Pin::new(&mut stream), cx, &[]);
    if let Some((waiter, turn)) = waiting.take().expect("looked at above") {
        // Nobody waiting any more drops the stream, which closes it.
        let _ = waiter.send(Ok(Dialed::Stream(stream.compat(), turn)));
    }
    Ok(Poll::Ready(()))
}
