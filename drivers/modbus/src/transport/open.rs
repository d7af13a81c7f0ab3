//! Opens the way to a device.
//!
//! Always true: opening ends within [`OPEN_TIMEOUT`] or the connection's `timeout`, whichever is longer;
//! an error names what could not be opened.

use std::time::Duration;

use sagoo_driver_sdk::{Host, LineError};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::port::Port;
use super::way::Link;
use crate::connection::Transport;
use crate::connection::ends::Endpoint;

/// Least wait for a connection: long enough for one lost packet to be sent again.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// Knows the way.
#[derive(Debug)]
pub(super) struct Opener {
    transport: Transport,
    name: String,
}

impl Opener {
    pub(super) fn new(transport: &Transport, _host: Option<Host>) -> Self {
        let name = match transport {
            Transport::Tcp { endpoint, .. } | Transport::Udp(endpoint) => endpoint.to_string(),
            Transport::Tls(tls) => tls.endpoint.to_string(),
            Transport::Serial(serial) => serial.port.clone(),
            Transport::Listen(listen) => listen.address.to_string(),
        };
        Self { transport: transport.clone(), name }
    }

    /// Where the way leads.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Opens it.
    pub(super) async fn open(&mut self, patience: Duration) -> Result<Link, LineError> {
        let wait = OPEN_TIMEOUT.max(patience);
        match &self.transport {
            Transport::Tcp { endpoint, .. } => connect(endpoint, wait).await.map(Link::Tcp),
            Transport::Serial(serial) => {
                Port::open(serial).map(|port| Link::Serial(Box::new(port))).map_err(LineError::Broken)
            }
            _ => Err(LineError::Broken(format!("{} cannot be opened by this version", self.name))),
        }
    }

    /// The line is given up.
    pub(super) fn close(&mut self) {}
}

async fn connect(endpoint: &Endpoint, wait: Duration) -> Result<TcpStream, LineError> {
    let stream = match timeout(wait, TcpStream::connect((endpoint.host.as_str(), endpoint.port))).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(LineError::Broken(format!("cannot connect to {endpoint}: {error}"))),
        Err(_) => {
            return Err(LineError::Broken(format!(
                "cannot connect to {endpoint}: no answer within {wait:?}"
            )));
        }
    };
    // A request is one small packet: it must not wait for the acknowledgement of the last one.
    stream
        .set_nodelay(true)
        .map_err(|error| LineError::Broken(format!("cannot connect to {endpoint}: {error}")))?;
    Ok(stream)
}
