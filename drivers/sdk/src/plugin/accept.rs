//! Takes connections of the gateway, with TLS when it asked for it.
//!
//! Always true: connections are taken as long as the process lives (a host may come back); a TLS
//! handshake has its own task and at most [`TLS_TIMEOUT`], so a peer that says nothing delays nobody.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixListener;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;
use tracing::{debug, warn};

/// Longest TLS handshake.
const TLS_TIMEOUT: Duration = Duration::from_secs(5);
/// Most TLS handshakes at a time; more wait in the kernel's backlog.
const TLS_AT_A_TIME: usize = 16;
/// Connections taken but not served yet.
pub(crate) const ACCEPTED: usize = 8;
/// Pause after an error of `accept`, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until nobody serves any more.
pub(crate) async fn accept(
    listener: UnixListener,
    tls: Option<Arc<ServerConfig>>,
    accepted: mpsc::Sender<io::Result<Connection>>,
) {
    let tls = tls.map(TlsAcceptor::from);
    let places = Arc::new(Semaphore::new(TLS_AT_A_TIME));
    loop {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(tls) = tls.clone() else {
            if accepted.send(Ok(Connection(Box::pin(stream)))).await.is_err() {
                return;
            }
            continue;
        };
        let accepted = accepted.clone();
        tokio::spawn(async move {
            match timeout(TLS_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => drop(accepted.send(Ok(Connection(Box::pin(stream)))).await),
                Ok(Err(error)) => warn!(%error, "a peer was turned away by TLS"),
                Err(_) => debug!("a peer did not finish its TLS handshake in time"),
            }
            drop(place);
        });
    }
}

trait Duplex: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Duplex for T {}

/// One connection, plain or TLS.
pub(crate) struct Connection(Pin<Box<dyn Duplex>>);

impl Connected for Connection {
    type ConnectInfo = ();

    fn connect_info(&self) -> Self::ConnectInfo {}
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.as_mut().poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.0.as_mut().poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }
}
