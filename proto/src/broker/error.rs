//! Why a brokered connection did not come about: what happened, to which id, and what to do.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// A brokered connection that was not made. The broker itself goes on, except after [`Self::Closed`].
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// The plugin has ended, or is being stopped.
    #[error("broker is closed: one of the two sides is ending; start the plugin again")]
    Closed,
    /// The other side answered that it knows no broker.
    #[error("the other side has no broker service; serve go-plugin's GRPCBroker there")]
    Unsupported,
    /// The stream that carries the connection infos broke while somebody waited for one.
    #[error("broker stream broke while waiting for connection {0}; ask the other side for a new id")]
    Lost(u32),
    /// Nobody said where the id listens.
    #[error("no connection info for id {id} within {limit:?}; the other side must accept the id it named")]
    NoInfo {
        /// The id that was dialled.
        id: u32,
        /// How long we waited.
        limit: Duration,
    },
    /// Nobody answered the knock.
    #[error(
        "no answer to the knock for id {id} within {limit:?}; the other side must accept the id it named"
    )]
    NoAnswer {
        /// The id that was dialled.
        id: u32,
        /// How long we waited.
        limit: Duration,
    },
    /// The other side answered the knock with an error.
    #[error("the other side refused connection {id}: {reason:?}; it must accept the id it named")]
    Refused {
        /// The id that was dialled.
        id: u32,
        /// Its words.
        reason: String,
    },
    /// The id already has a listener on this side.
    #[error("id {0} is accepted already; take a new one from next_id")]
    InUse(u32),
    /// A limit of the broker.
    #[error("broker already holds {limit} {what}; close some of them first")]
    Full {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The other side named an address nothing can connect to.
    #[error("the other side listens for id {id} on {network:?} {address:?}; only unix and tcp are known")]
    Address {
        /// The id that was dialled.
        id: u32,
        /// Its words.
        network: String,
        /// Its words.
        address: String,
    },
    /// The other side listens for the whole network.
    #[error(
        "the other side listens for id {id} on {address}, open to others; \
         it must listen on a unix socket or a loopback address"
    )]
    NotLoopback {
        /// The id that was dialled.
        id: u32,
        /// The address.
        address: std::net::SocketAddr,
    },
    /// The other side named a socket that is not its own.
    #[error(
        "the other side listens for id {id} at {path}, outside its own directory {dir}; it must listen there"
    )]
    Elsewhere {
        /// The id that was dialled.
        id: u32,
        /// Its words.
        path: PathBuf,
        /// Where it may listen.
        dir: PathBuf,
    },
    /// Our own socket could not be made.
    #[error("socket {path} for a brokered connection: {source}; the directory must be short and writable")]
    Socket {
        /// The socket.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The address does not answer, or not as it should.
    #[error("cannot connect to id {id} at {address}: {source}; the other side must listen before it says so")]
    Connect {
        /// The id that was dialled.
        id: u32,
        /// Where.
        address: String,
        /// Why not.
        source: io::Error,
    },
    /// A connection stands, gRPC does not.
    #[error(
        "connection {id} does not speak gRPC: {source}; the other side must serve gRPC on the id it accepts"
    )]
    Grpc {
        /// The id that was dialled.
        id: u32,
        /// Why not.
        source: tonic::transport::Error,
    },
    /// The caller's own TLS has no configuration for this direction.
    #[error("TLS of this plugin has no configuration to {0} brokered connections; give one, or use AutoMTLS")]
    NoTls(&'static str),
    /// The one connection that carries all others is not there (any more).
    #[error("the connection that carries all others is gone; start the plugin again")]
    NoSession,
}
