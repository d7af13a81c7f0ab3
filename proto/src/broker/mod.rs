//! go-plugin's broker: further connections between a host and its plugin, by number, either way.
//!
//! ```text
//! A: id = next_id(); serve(id, services)     A → B, inside any message of their own: "call me at id"
//! B: dial(id) → a channel to those services
//! ```
//! The two sides meet over one stream ([`Broker::attach`], [`Broker::service`]) that says where an
//! id listens, or, when all connections are inside one ([`Broker::on_one_connection`]), that the
//! next stream belongs to an id. Both sides of both ways speak to go-plugin's own.
//!
//! Always true: every wait and every collection has a limit; a stream that breaks may be replaced
//! by a new one: listeners stay and are said again, dials that wait fail at once; with TLS, each
//! connection in either direction proves both sides with the certificates of the main one; sockets
//! are private to this user and removed at the end.
//!
//! In reading order: `routes` (the rules, pure), `words` (what is said), `hub` (the task that owns
//! them), `link` (the stream), `listener`, `socket` and `connection` (what is accepted), `mux` (the
//! one connection), `error`.

mod connection;
mod error;
mod hub;
mod link;
mod listener;
mod mux;
mod routes;
mod socket;
#[cfg(test)]
mod tests;
mod words;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, ServerConfig};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Router;
use tonic::transport::{Channel, Endpoint};
use tower::service_fn;

pub use self::connection::Connection;
pub use self::error::BrokerError;
pub use self::link::{Attached, BrokerService, Outgoing, Pump};
pub use self::listener::Listener;
pub use self::socket::is_elsewhere;

use self::hub::{Ask, Dialed, Door, Hub, Link, WAITING_STREAMS, Waiter};
use self::mux::Role;
use self::routes::Way;
use self::socket::Socket;
use crate::handshake::Address;
use crate::mtls::{self, SERVER_NAME};

/// The most one message of the broker's stream may hold; an address is far smaller.
pub const MAX_INFO_BYTES: usize = 16 << 10;
/// Longest way from an address to a connection that is ready, TLS included.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// Longest wait for calls that are under way when a service stops.
const SERVE_GRACE: Duration = Duration::from_millis(500);
/// Requests that wait for the hub; callers wait for a place.
const ASKS: usize = 64;
/// Messages that wait for the other side to read; one more and the stream counts as broken.
const OUTGOING: usize = 256;

/// How brokered connections are made.
#[derive(Debug, Clone, Default)]
pub struct Setup {
    /// Where the sockets of this side are made. The directory must be private and its path short.
    pub sockets: PathBuf,
    /// Where sockets of the other side must be; anywhere, if not given. A host gives the plugin's
    /// own directory, so that a plugin cannot make it connect to somebody else's socket.
    pub peer_sockets: Option<PathBuf>,
    /// TLS of the main connection, which brokered ones share.
    pub tls: Option<Tls>,
}

/// TLS in both directions: either side may listen.
#[derive(Debug, Clone, Default)]
pub struct Tls {
    /// For connections this side makes. Without it, it can make none.
    pub client: Option<Arc<ClientConfig>>,
    /// For connections this side accepts. Without it, it can accept none.
    pub server: Option<Arc<ServerConfig>>,
}

/// One side's broker; clones are the same one. It lives until it is closed.
#[derive(Debug, Clone)]
pub struct Broker {
    shared: Arc<Shared>,
    asks: mpsc::Sender<Ask>,
    /// The other side's streams inside the one connection. As long as the most there may be, so
    /// that none is lost on the way and the next taken for it.
    streams: mpsc::Sender<mux::Stream>,
    closed: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    setup: Setup,
    way: Way,
    last_id: AtomicU32,
    links: AtomicU64,
}

impl Broker {
    /// A broker whose connections have sockets of their own: go-plugin's normal mode, either side.
    pub fn new(setup: Setup) -> Self {
        Self::start(setup, Way::Sockets, None, None)
    }

    /// The host's broker when `raw` carries all connections: the main one ([`Self::main`]) first,
    /// then brokered ones in either direction.
    pub fn on_one_connection(
        setup: Setup,
        raw: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    ) -> Self {
        let (opener, opens) = mux::opener();
        let broker = Self::start(setup, Way::OneConnection, None, Some(opener));
        let carrying = broker.clone();
        tokio::spawn(async move {
            if let Err(error) = carrying.carry_as(raw, Role::Host, opens).await {
                tracing::debug!(%error, "the connection that carries all others ended");
            }
        });
        broker
    }

    /// The plugin's broker when one connection carries all ([`Self::carry`]). The listener yields
    /// the host's main connections, with TLS done.
    pub fn for_one_connection(setup: Setup) -> (Self, Listener) {
        let (main, streams) = mpsc::channel(WAITING_STREAMS);
        let server = setup.tls.as_ref().and_then(|tls| tls.server.clone());
        let broker = Self::start(setup, Way::OneConnection, Some(main), None);
        let listener = Listener::of_streams(streams, server, broker.closed.child_token());
        (broker, listener)
    }

    fn start(
        setup: Setup,
        way: Way,
        main: Option<mpsc::Sender<mux::Stream>>,
        session: Option<mpsc::Sender<mux::Open>>,
    ) -> Self {
        let (asks, asked) = mpsc::channel(ASKS);
        let (streams, came) = mpsc::channel(mux::MAX_STREAMS);
        let closed = CancellationToken::new();
        tokio::spawn(Hub::new(way, main, session).run(asked, came, closed.clone()));
        let shared = Shared { setup, way, last_id: AtomicU32::new(0), links: AtomicU64::new(0) };
        Self { shared: Arc::new(shared), asks, streams, closed }
    }

    /// An id nobody on this side has used. It wraps after 2³² of them, as Go's.
    pub fn next_id(&self) -> u32 {
        self.shared.last_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
    }

    /// Accepts connections on an id of this side, until the listener is dropped. With TLS, what it
    /// yields has proved to be the other side.
    pub async fn accept(&self, id: u32) -> Result<Listener, BrokerError> {
        let setup = &self.shared.setup;
        let server = match &setup.tls {
            None => None,
            Some(Tls { server: Some(server), .. }) => Some(server.clone()),
            Some(_) => return Err(BrokerError::NoTls("accept")),
        };
        let gone = self.closed.child_token();
        match self.shared.way {
            Way::Sockets => {
                let (socket, path) = Socket::bind(&setup.sockets)?;
                let listener = Listener::on(socket, server, gone.clone());
                self.listen(id, Door { gone, address: Some(Address::Unix(path)), streams: None }).await?;
                Ok(listener)
            }
            Way::OneConnection => {
                let (sender, streams) = mpsc::channel(WAITING_STREAMS);
                let listener = Listener::of_streams(streams, server, gone.clone());
                self.listen(id, Door { gone, address: None, streams: Some(sender) }).await?;
                Ok(listener)
            }
        }
    }

    async fn listen(&self, id: u32, door: Door) -> Result<(), BrokerError> {
        let (done, listening) = oneshot::channel();
        self.ask(Ask::Listen { id, door, done }).await?;
        listening.await.map_err(|_| BrokerError::Closed)?
    }

    /// Serves gRPC on an id of this side until the value returned is dropped or stopped.
    pub async fn serve(&self, id: u32, services: Router) -> Result<Serving, BrokerError> {
        let listener = self.accept(id).await?;
        let stop = self.closed.child_token();
        let server = services.serve_with_incoming_shutdown(listener, stop.clone().cancelled_owned());
        let task = tokio::spawn(async move {
            if let Err(error) = server.await {
                tracing::warn!(id, %error, "a brokered service ended");
            }
        });
        Ok(Serving { stop, task })
    }

    /// Connects to an id of the other side. The channel connects again by itself after a loss, as
    /// long as the other side accepts the id.
    pub async fn dial(&self, id: u32) -> Result<Channel, BrokerError> {
        let dialed = self.asked(|waiter| Ask::Dial { id, waiter }).await?;
        let again = match &dialed {
            Dialed::At(address) => Again::At(address.clone()),
            Dialed::Stream(..) => Again::Knock(self.clone()),
        };
        let shared = Arc::clone(&self.shared);
        let mut first = Some(again.finish(id, dialed, &shared.setup).await?);
        let connector = service_fn(move |_| {
            let (first, again, shared) = (first.take(), again.clone(), Arc::clone(&shared));
            async move {
                let connection = match first {
                    Some(connection) => connection,
                    None => again.connect(id, &shared.setup).await.map_err(io::Error::other)?,
                };
                Ok::<_, io::Error>(TokioIo::new(connection))
            }
        });
        // The name is what `:authority` says; nothing resolves it.
        Endpoint::from_static("http://localhost")
            .connect_timeout(CONNECT_LIMIT)
            .connect_with_connector(connector)
            .await
            .map_err(|source| BrokerError::Grpc { id, source })
    }

    /// The host's main connection inside the one that carries all, with TLS done.
    pub async fn main(&self) -> io::Result<Connection> {
        let dialed = self.asked(|waiter| Ask::DialMain { waiter }).await.map_err(io::Error::other)?;
        connect(dialed, self.shared.setup.tls.clone()).await
    }

    async fn asked(&self, ask: impl FnOnce(Waiter) -> Ask) -> Result<Dialed, BrokerError> {
        let (waiter, dialed) = oneshot::channel();
        self.ask(ask(waiter)).await?;
        dialed.await.map_err(|_| BrokerError::Closed)?
    }

    async fn ask(&self, ask: Ask) -> Result<(), BrokerError> {
        if self.closed.is_cancelled() {
            return Err(BrokerError::Closed);
        }
        self.asks.send(ask).await.map_err(|_| BrokerError::Closed)
    }

    /// This side's end of a new stream; an earlier one ends.
    pub async fn attach(&self) -> Result<Attached, BrokerError> {
        let generation = self.shared.links.fetch_add(1, Ordering::Relaxed);
        let (sender, outgoing) = mpsc::channel(OUTGOING);
        let replaced = CancellationToken::new();
        self.ask(Ask::Attach(Link { generation, outgoing: sender, replaced: replaced.clone() })).await?;
        let pump = Pump { asks: self.asks.clone(), generation, replaced };
        Ok(Attached { outgoing: Outgoing(outgoing), pump })
    }

    /// The other side answered that it has no broker: whoever dials hears so at once.
    pub async fn unsupported(&self) {
        // A closed broker needs no telling.
        let _ = self.ask(Ask::Unsupported).await;
    }

    /// Plugin, one connection for all: carries them on `raw` until it ends. One after the other may
    /// be carried, never two at a time.
    pub async fn carry(&self, raw: impl AsyncRead + AsyncWrite + Send + Unpin) -> io::Result<()> {
        let (opener, opens) = mux::opener();
        self.ask(Ask::Session(opener)).await.map_err(io::Error::other)?;
        self.carry_as(raw, Role::Plugin, opens).await
    }

    async fn carry_as(
        &self,
        raw: impl AsyncRead + AsyncWrite + Send + Unpin,
        role: Role,
        opens: mpsc::Receiver<mux::Open>,
    ) -> io::Result<()> {
        // The task that moves frames must not wait, and need not: see `streams`.
        let inbound = |stream| drop(self.streams.try_send(stream));
        mux::carry(raw, role, opens, inbound, self.closed.clone()).await.map_err(io::Error::other)
    }

    /// Ends everything: listeners, services, dials that wait, the stream, the one connection.
    pub fn close(&self) {
        self.closed.cancel();
    }
}

/// A service on an id. Dropping it takes no new connections and lets calls that are under way
/// finish in their own time.
#[derive(Debug)]
#[must_use = "dropping it ends the service"]
pub struct Serving {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Serving {
    /// Ends it, and waits for calls that are under way, at most half a second.
    pub async fn stop(mut self) {
        self.stop.cancel();
        if timeout(SERVE_GRACE, &mut self.task).await.is_err() {
            tracing::debug!("calls were still under way when a brokered service stopped");
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a dialled channel connects after a loss.
#[derive(Clone)]
enum Again {
    /// To the same address.
    At(Address),
    /// By knocking again.
    Knock(Broker),
}

impl Again {
    async fn connect(&self, id: u32, setup: &Setup) -> Result<Connection, BrokerError> {
        let dialed = match self {
            Self::At(address) => Dialed::At(address.clone()),
            Self::Knock(broker) => broker.asked(|waiter| Ask::Dial { id, waiter }).await?,
        };
        self.finish(id, dialed, setup).await
    }

    async fn finish(&self, id: u32, dialed: Dialed, setup: &Setup) -> Result<Connection, BrokerError> {
        if let (Dialed::At(Address::Unix(path)), Some(dir)) = (&dialed, &setup.peer_sockets)
            && is_elsewhere(path, dir)
        {
            return Err(BrokerError::Elsewhere { id, path: path.clone(), dir: dir.clone() });
        }
        let connected = connect(dialed, setup.tls.clone()).await;
        connected.map_err(|source| BrokerError::Connect { id, address: self.to_string(), source })
    }
}

impl std::fmt::Display for Again {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::At(Address::Unix(path)) => write!(f, "{}", path.display()),
            Self::At(Address::Tcp(address)) => write!(f, "{address}"),
            Self::Knock(_) => f.write_str("the connection that carries all others"),
        }
    }
}

async fn connect(dialed: Dialed, tls: Option<Tls>) -> io::Result<Connection> {
    let connecting = async {
        match dialed {
            Dialed::At(Address::Unix(path)) => secure(UnixStream::connect(path).await?, tls).await,
            Dialed::At(Address::Tcp(address)) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                secure(stream, tls).await
            }
            Dialed::Stream(stream, turn) => secure(Connection::with_turn(stream, turn), tls).await,
        }
    };
    timeout(CONNECT_LIMIT, connecting).await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

async fn secure(
    raw: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    tls: Option<Tls>,
) -> io::Result<Connection> {
    let Some(tls) = tls else { return Ok(Connection::new(raw)) };
    let client = tls.client.ok_or_else(|| io::Error::other(BrokerError::NoTls("make")))?;
    let name = ServerName::try_from(SERVER_NAME).expect("localhost is a name");
    let stream = TlsConnector::from(client).connect(name, raw).await?;
    mtls::require_h2(stream.get_ref().1)?;
    Ok(Connection::new(stream))
}
