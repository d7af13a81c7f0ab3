//! The channel to a plugin: HTTP/2 over a unix socket or loopback TCP, plain or inside AutoMTLS.
//!
//! No keep-alive pings: a Go plugin ends a connection that pings more often than every 5 minutes,
//! and a dead process closes its socket anyway.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use sagoo_edge_proto::handshake::Address;
use sagoo_edge_proto::mtls::SERVER_NAME;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Longest a later reconnect may take; the first connection has the deadline of the start.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Anything bytes go through.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Connects now. The channel connects again by itself, to the same address and pinned peer, after
/// a loss.
pub(crate) async fn connect(
    address: Address,
    tls: Option<Arc<ClientConfig>>,
) -> Result<Channel, tonic::transport::Error> {
    let dial = service_fn(move |_| dial(address.clone(), tls.clone()));
    // The name is what `:authority` says; nothing resolves it.
    Endpoint::from_static("http://localhost")
        .connect_timeout(RECONNECT_TIMEOUT)
        .connect_with_connector(dial)
        .await
}

async fn dial(address: Address, tls: Option<Arc<ClientConfig>>) -> io::Result<TokioIo<Box<dyn Stream>>> {
    let raw: Box<dyn Stream> = match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    };
    let Some(tls) = tls else { return Ok(TokioIo::new(raw)) };
    let name = ServerName::try_from(SERVER_NAME).expect("localhost is a name");
    let stream = TlsConnector::from(tls).connect(name, raw).await?;
    Ok(TokioIo::new(Box::new(stream)))
}
