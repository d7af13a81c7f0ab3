//! What this side accepts: connections on one id, or a plugin's main connections, with TLS done.
//!
//! Always true: a TLS handshake has its own task and at most [`TLS_TIMEOUT`], so a peer that says
//! nothing delays nobody; a socket goes when its listener or its broker is gone.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::codegen::tokio_stream::Stream;

use super::connection::Connection;
use super::mux;
use super::socket::Socket;

/// Longest TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// Most TLS handshakes at a time; more wait in the kernel's backlog.
const TLS_AT_A_TIME: usize = 16;
/// Connections taken but not served yet.
const ACCEPTED: usize = 8;
/// Pause after an error of `accept`, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepted connections, ready for a server (`serve_with_incoming`). Dropping it ends accepting.
#[derive(Debug)]
pub struct Listener {
    accepted: mpsc::Receiver<io::Result<Connection>>,
    _gone: DropGuard,
}

impl Stream for Listener {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.accepted.poll_recv(cx)
    }
}

impl Listener {
    /// Accepts on a socket of the caller's: a plugin's main one. Ends with `end`, too.
    pub fn of_socket(socket: UnixListener, tls: Option<Arc<ServerConfig>>, end: &CancellationToken) -> Self {
        Self::start(Source::Socket(Socket::of(socket)), tls, end.child_token())
    }

    pub(super) fn on(socket: Socket, tls: Option<Arc<ServerConfig>>, gone: CancellationToken) -> Self {
        Self::start(Source::Socket(socket), tls, gone)
    }

    pub(super) fn of_streams(
        streams: mpsc::Receiver<mux::Stream>,
        tls: Option<Arc<ServerConfig>>,
        gone: CancellationToken,
    ) -> Self {
        Self::start(Source::Streams(streams), tls, gone)
    }

    fn start(source: Source, tls: Option<Arc<ServerConfig>>, gone: CancellationToken) -> Self {
        let (sender, accepted) = mpsc::channel(ACCEPTED);
        let ended = gone.clone();
        tokio::spawn(async move {
            let secured = Secured { tls: tls.map(TlsAcceptor::from), accepted: sender };
            tokio::select! {
                () = ended.cancelled() => {}
                () = accept(source, secured) => {}
            }
        });
        Self { accepted, _gone: gone.drop_guard() }
    }
}

enum Source {
    Socket(Socket),
    Streams(mpsc::Receiver<mux::Stream>),
}

/// Accepts until there is nothing to accept from, or nobody serves any more.
async fn accept(mut source: Source, secured: Secured) {
    let places = Arc::new(Semaphore::new(TLS_AT_A_TIME));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let secured = secured.clone();
        match &mut source {
            Source::Socket(socket) => match socket.listener.accept().await {
                Ok((stream, _)) => drop(tokio::spawn(async move {
                    secured.deliver(stream).await;
                    drop(place);
                })),
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    sleep(ACCEPT_PAUSE).await;
                }
            },
            Source::Streams(streams) => match streams.recv().await {
                Some(stream) => drop(tokio::spawn(async move {
                    secured.deliver(stream).await;
                    drop(place);
                })),
                None => return,
            },
        }
    }
}

/// The way from a raw connection to the server.
#[derive(Clone)]
struct Secured {
    tls: Option<TlsAcceptor>,
    accepted: mpsc::Sender<io::Result<Connection>>,
}

impl Secured {
    async fn deliver(self, raw: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) {
        let connection = match &self.tls {
            None => Connection::new(raw),
            Some(tls) => match timeout(TLS_TIMEOUT, tls.accept(raw)).await {
                Ok(Ok(stream)) => Connection::new(stream),
                Ok(Err(error)) => return tracing::warn!(%error, "a peer was turned away by TLS"),
                Err(_) => return tracing::warn!("a peer did not finish its TLS handshake in time"),
            },
        };
        // Nobody serves any more: the peer sees its connection close.
        let _ = self.accepted.send(Ok(connection)).await;
    }
}
