//! The way to a plugin: HTTP/2 over a unix socket or loopback TCP, plain or inside TLS, alone on
//! its connection or inside one that carries the brokered connections, too.
//!
//! No keep-alive pings: a Go plugin ends a connection that pings more often than every 5 minutes,
//! and a dead process closes its socket anyway.

use std::error::Error;
use std::future::Future;
use std::io;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use sagoo_edge_proto::broker::{Broker, Connection, Setup};
use sagoo_edge_proto::handshake::Address;
use sagoo_edge_proto::mtls::{self, SERVER_NAME};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

/// Longest a later reconnect may take; the first connection has the deadline of the start.
const RECONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Why there is no connection.
pub(crate) type ConnectError = Box<dyn Error + Send + Sync>;

/// Anything bytes go through.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// The channel to a plugin, and the broker beside it (or, multiplexed, beneath it).
#[derive(Debug)]
pub(crate) struct Wire {
    pub(crate) channel: Channel,
    pub(crate) broker: Broker,
}

/// Connects now. The channel connects again by itself, to the same address and pinned peer, after
/// a loss; multiplexed, as long as the one connection lives.
pub(crate) async fn connect(address: Address, setup: Setup, multiplex: bool) -> Result<Wire, ConnectError> {
    if multiplex {
        let broker = Broker::on_one_connection(setup, reach(address).await?);
        let main = broker.clone();
        let channel = channel(move || {
            let main = main.clone();
            async move { main.main().await }
        });
        return match channel.await {
            Ok(channel) => Ok(Wire { channel, broker }),
            Err(error) => {
                broker.close();
                Err(error.into())
            }
        };
    }
    let broker_setup = setup.clone();
    let channel = channel(move || dial(address.clone(), setup.clone())).await?;
    Ok(Wire { channel, broker: Broker::new(broker_setup) })
}

async fn channel<F>(dial: impl Fn() -> F + Send + Sync + 'static) -> Result<Channel, tonic::transport::Error>
where
    F: Future<Output = io::Result<Connection>> + Send + 'static,
{
    let connector = service_fn(move |_| {
        let dialing = dial();
        async move { dialing.await.map(TokioIo::new) }
    });
    // The name is what `:authority` says; nothing resolves it.
    Endpoint::from_static("http://localhost")
        .connect_timeout(RECONNECT_TIMEOUT)
        .connect_with_connector(connector)
        .await
}

async fn dial(address: Address, setup: Setup) -> io::Result<Connection> {
    let raw = reach(address).await?;
    let Some(tls) = setup.tls.and_then(|tls| tls.client) else { return Ok(Connection::new(raw)) };
    let name = ServerName::try_from(SERVER_NAME).expect("localhost is a name");
    let stream = TlsConnector::from(tls).connect(name, raw).await?;
    mtls::require_h2(stream.get_ref().1)?;
    Ok(Connection::new(stream))
}

async fn reach(address: Address) -> io::Result<Box<dyn Stream>> {
    Ok(match address {
        Address::Unix(path) => Box::new(UnixStream::connect(path).await?),
        Address::Tcp(address) => {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Box::new(stream)
        }
    })
}
