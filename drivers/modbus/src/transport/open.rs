//! Opens the way to a device.
//!
//! Always true: opening ends within [`OPEN_TIMEOUT`] or the connection's `timeout`, whichever is longer;
//! an error names what could not be opened; a datagram comes only from the device it was sent to.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use sagoo_driver_sdk::{Host, LineError};
use tokio::net::{TcpStream, UdpSocket, lookup_host};
use tokio::time::timeout;

use super::door::{self, Place};
use super::port::Port;
use super::tls::{self, Proof};
use super::way::Link;
use crate::connection::Transport;
use crate::connection::ends::{Endpoint, Listen};

/// Least wait for a connection: long enough for one lost packet to be sent again.
pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(3);

/// Knows the way.
#[derive(Debug)]
pub(super) struct Opener {
    transport: Transport,
    name: String,
    host: Option<Host>,
    /// Where a device that dials in is waited for.
    place: Option<Place>,
}

impl Opener {
    pub(super) fn new(transport: &Transport, host: Option<Host>) -> Self {
        let name = match transport {
            Transport::Tcp { endpoint, .. } | Transport::Udp(endpoint) => endpoint.to_string(),
            Transport::Tls(tls) => tls.endpoint.to_string(),
            Transport::Serial(serial) => serial.port.clone(),
            Transport::Listen(listen) => door::told(&listen.id),
        };
        Self { transport: transport.clone(), name, host, place: None }
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
            Transport::Tls(tls) => {
                let opening = async {
                    let proof = Proof::ask(tls, self.host.as_ref()).await?;
                    let stream = connect(&tls.endpoint, wait).await?;
                    tls::secure(stream, tls, &proof).await
                };
                let late = || in_time(&tls.endpoint, wait);
                timeout(wait, opening).await.map_err(|_| late())?.map(|stream| Link::Tls(Box::new(stream)))
            }
            Transport::Udp(endpoint) => timeout(wait, bind(endpoint))
                .await
                .map_err(|_| in_time(endpoint, wait))?
                .map(Link::Udp)
                .map_err(|error| cannot(endpoint, &error)),
            Transport::Serial(serial) => {
                Port::open(serial).map(|port| Link::Serial(Box::new(port))).map_err(LineError::Broken)
            }
            Transport::Listen(listen) => dialled(&mut self.place, listen, wait).await.map(Link::Dialled),
        }
    }

    /// Whether a newer way waits than the one that is open.
    pub(super) fn has_news(&self) -> bool {
        self.place.as_ref().is_some_and(Place::has_news)
    }

    /// The line is given up: nobody is waited for any more.
    pub(super) async fn close(&mut self) {
        if let Some(place) = self.place.take() {
            place.leave().await;
        }
    }
}

/// A device that has dialled in.
async fn dialled(place: &mut Option<Place>, listen: &Listen, wait: Duration) -> Result<TcpStream, LineError> {
    let address = listen.address;
    let place = match place {
        Some(place) => place,
        none => {
            let taken = Place::take(listen)
                .map_err(|error| LineError::Broken(format!("cannot listen at {address}: {error}")))?;
            none.insert(taken)
        }
    };
    place.wait(wait).await.ok_or_else(|| {
        let id = door::told(&listen.id);
        LineError::Broken(format!("no device has dialled in to {address} as {id} yet"))
    })
}

/// A socket for datagrams to and from one device.
async fn bind(endpoint: &Endpoint) -> io::Result<UdpSocket> {
    let to = (endpoint.host.as_str(), endpoint.port);
    let address = lookup_host(to).await?.next().ok_or(ErrorKind::NotFound)?;
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(address).await?;
    Ok(socket)
}

fn cannot(endpoint: &Endpoint, error: &io::Error) -> LineError {
    LineError::Broken(format!("cannot connect to {endpoint}: {error}"))
}

fn in_time(endpoint: &Endpoint, wait: Duration) -> LineError {
    LineError::Broken(format!("cannot connect to {endpoint}: no answer within {wait:?}"))
}

async fn connect(endpoint: &Endpoint, wait: Duration) -> Result<TcpStream, LineError> {
    let connecting = TcpStream::connect((endpoint.host.as_str(), endpoint.port));
    let stream = match timeout(wait, connecting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(cannot(endpoint, &error)),
        Err(_) => return Err(in_time(endpoint, wait)),
    };
    // Requests are small and waited for: none may be held back to be joined with the next one.
    stream.set_nodelay(true).map_err(|error| cannot(endpoint, &error))?;
    Ok(stream)
}
