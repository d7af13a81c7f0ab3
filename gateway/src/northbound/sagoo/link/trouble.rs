//! Why there is no connection to the broker, in words that say what to do.
//!
//! Always true: equal troubles are one trouble, told once.

use std::io;

use rumqttc::{ConnectReturnCode, ConnectionError, StateError, TlsError};

/// A reason, for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    /// CONNACK 4.
    #[error("the broker refused user name or password")]
    Credentials,
    /// CONNACK 5.
    #[error("the broker does not allow this client to connect")]
    NotAuthorized,
    /// Other refusals.
    #[error("the broker refused the connection: {0}")]
    Refused(String),
    /// Handshake or certificate.
    #[error("TLS does not work: {0}")]
    Tls(String),
    /// No address for the name.
    #[error("the broker's name cannot be resolved: {0}")]
    Name(String),
    /// Nobody listens there.
    #[error("nobody accepts connections there: {0}")]
    NobodyThere(String),
    /// No answer.
    #[error("the broker does not answer in time")]
    Timeout,
    /// It worked, or nearly, and then ended.
    #[error("the connection was closed: {0}")]
    Closed(String),
    /// SUBACK missing.
    #[error("the broker does not answer subscriptions")]
    Subscribe,
    /// PUBACK missing, and later ones are there.
    #[error("the broker does not confirm a message, but others that came after it")]
    Unconfirmed,
    /// A file of ours.
    #[error("{path}: {error}")]
    File {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// The system trusts nobody.
    #[error("the system has no certificates to trust")]
    NoRoots,
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl Trouble {
    /// What a person can do.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Credentials => "check sagoo.username and the file of sagoo.password",
            Self::NotAuthorized => {
                "check sagoo.username, the file of sagoo.password, sagoo.client_id and the broker's access rules"
            }
            Self::Refused(_) => "look into the broker's log",
            Self::Tls(_) => {
                "check sagoo.ca, sagoo.client_certificate, the name in the broker's certificate and the box's clock"
            }
            Self::Name(_) => "check the host in sagoo.broker and the box's DNS",
            Self::NobodyThere(_) => "check host and port in sagoo.broker and whether the broker runs",
            Self::Timeout => {
                "check the network, a firewall, and whether the port speaks MQTT with or without TLS as sagoo.broker says"
            }
            Self::Closed(_) => {
                "if it happens again, check whether another client uses the same sagoo.client_id, and whether sagoo.broker should say mqtts"
            }
            Self::Unconfirmed => {
                "the broker or something before it loses messages; look into the broker's log"
            }
            Self::Subscribe => "look into the broker's log",
            Self::File { .. } => {
                "make the file readable for the gateway's user, or correct its path in [sagoo]"
            }
            Self::NoRoots => "install the package ca-certificates, or name a file in sagoo.ca",
            Self::Other(_) => "look into the broker's log",
        }
    }
}

/// Sorts the library's errors.
pub(super) fn explain(error: ConnectionError) -> Trouble {
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::BadUserNamePassword => Trouble::Credentials,
            ConnectReturnCode::NotAuthorized => Trouble::NotAuthorized,
            other => Trouble::Refused(format!("{other:?}")),
        },
        ConnectionError::Tls(TlsError::Io(error)) if !is_tls(&error) => io_trouble(&error),
        ConnectionError::Tls(error) => Trouble::Tls(error.to_string()),
        ConnectionError::Io(error) => io_trouble(&error),
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => Trouble::Timeout,
        ConnectionError::MqttState(StateError::Io(error)) => io_trouble(&error),
        ConnectionError::MqttState(StateError::AwaitPingResp) => Trouble::Timeout,
        ConnectionError::MqttState(StateError::CollisionTimeout) => Trouble::Unconfirmed,
        ConnectionError::MqttState(error) => Trouble::Closed(error.to_string()),
        ConnectionError::NotConnAck(_) => Trouble::Refused("it does not speak MQTT 3.1.1".to_owned()),
        other => Trouble::Other(other.to_string()),
    }
}

/// tokio-rustls wraps handshake failures in `InvalidData`.
fn is_tls(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData
}

fn io_trouble(error: &io::Error) -> Trouble {
    match error.kind() {
        io::ErrorKind::ConnectionRefused
        | io::ErrorKind::HostUnreachable
        | io::ErrorKind::NetworkUnreachable => Trouble::NobodyThere(error.to_string()),
        io::ErrorKind::TimedOut => Trouble::Timeout,
        io::ErrorKind::InvalidData => Trouble::Tls(error.to_string()),
        io::ErrorKind::ConnectionReset
        | io::ErrorKind::ConnectionAborted
        | io::ErrorKind::BrokenPipe
        | io::ErrorKind::UnexpectedEof => Trouble::Closed(error.to_string()),
        // getaddrinfo's failures come without a kind or errno of their own.
        _ if error.raw_os_error().is_none() => Trouble::Name(error.to_string()),
        _ => Trouble::Other(error.to_string()),
    }
}
