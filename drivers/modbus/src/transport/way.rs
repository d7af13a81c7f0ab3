//! The open way to a device: bytes go out and come in, whatever carries them.
//!
//! Always true: every wait has an end; what passes is told to the tap; an error names the way.

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use sagoo_driver_sdk::{LineError, Tap};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::client::TlsStream;

use super::port::Port;

/// Bytes taken at a time; the longest frame is ASCII's with 513.
const READ_BYTES: usize = 600;

/// Most bytes that are thrown away at once: as much as a socket keeps.
const MOST_DRAINED_BYTES: usize = 1 << 20;
/// `EIO` of Linux.
const EIO: i32 = 5;

/// What carries bytes.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
    Udp(UdpSocket),
    Serial(Box<Port>),
    /// The device came to us, and says things of its own in between.
    Dialled(TcpStream),
}

/// An open link.
#[derive(Debug)]
pub(super) struct Way {
    link: Link,
    name: String,
    tap: Tap,
    bytes: Box<[u8; READ_BYTES]>,
}

impl Way {
    pub(super) fn new(link: Link, name: &str, tap: &Tap) -> Self {
        Self { link, name: name.to_owned(), tap: tap.clone(), bytes: Box::new([0; READ_BYTES]) }
    }

    /// Where it leads.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Whether bytes come in datagrams, each a frame of its own.
    pub(super) fn is_datagrams(&self) -> bool {
        matches!(self.link, Link::Udp(_))
    }

    /// Whether bytes come between the frames that are nobody's answer.
    pub(super) fn chatters(&self) -> bool {
        matches!(self.link, Link::Dialled(_))
    }

    /// Whether the far end may forget the way without a word, or its name lead elsewhere by now, so that
    /// opening it anew helps.
    pub(super) fn forgets(&self) -> bool {
        matches!(self.link, Link::Tcp(_) | Link::Tls(_) | Link::Udp(_))
    }

    /// Gives these bytes away; the moment from which on the device can have them all.
    pub(super) async fn send(&mut self, bytes: &[u8], within: Duration) -> Result<Instant, LineError> {
        let sending = async {
            match &mut self.link {
                Link::Tcp(stream) | Link::Dialled(stream) => stream.write_all(bytes).await.map(now),
                Link::Tls(stream) => match stream.write_all(bytes).await {
                    Ok(()) => stream.flush().await.map(now),
                    Err(error) => Err(error),
                },
                Link::Udp(socket) => socket.send(bytes).await.map(now),
                Link::Serial(port) => port.send(bytes).await,
            }
        };
        let sent = match timeout(within, sending).await {
            Ok(sent) => sent.map_err(|error| self.broken("write to", &error))?,
            Err(_) => return Err(LineError::Broken(format!("{} takes no more bytes", self.name))),
        };
        self.tap.sent(bytes);
        Ok(sent)
    }

    /// The next bytes; none at the deadline.
    pub(super) async fn receive(&mut self, deadline: Instant) -> Result<Option<&[u8]>, LineError> {
        let bytes = &mut self.bytes[..];
        let receiving = async {
            match &mut self.link {
                Link::Tcp(stream) | Link::Dialled(stream) => stream.read(bytes).await,
                Link::Tls(stream) => stream.read(bytes).await,
                Link::Udp(socket) => socket.recv(bytes).await,
                Link::Serial(port) => port.read(bytes).await,
            }
        };
        let received = timeout_at(deadline, receiving).await.ok();
        self.received(received)
    }

    /// Bytes that came already; none when none wait.
    pub(super) fn waiting(&mut self) -> Result<Option<&[u8]>, LineError> {
        let bytes = &mut self.bytes[..];
        let received = match &mut self.link {
            Link::Tcp(stream) | Link::Dialled(stream) => stream.try_read(bytes),
            Link::Tls(stream) => read_now(stream, bytes),
            Link::Udp(socket) => socket.try_recv(bytes),
            Link::Serial(port) => port.try_read(bytes),
        };
        let waits = !matches!(&received, Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.received(waits.then_some(received))
    }

    fn received(&mut self, received: Option<io::Result<usize>>) -> Result<Option<&[u8]>, LineError> {
        match received {
            None => Ok(None),
            // An empty datagram is no end.
            Some(Ok(0)) if !self.is_datagrams() => Err(LineError::Broken(self.ended())),
            Some(Ok(count)) => {
                self.tap.received(&self.bytes[..count]);
                Ok(Some(&self.bytes[..count]))
            }
            Some(Err(error)) => Err(self.broken("read from", &error)),
        }
    }

    /// Gives the way up.
    pub(super) async fn close(mut self, within: Duration) {
        match &mut self.link {
            // Nothing is outstanding that could be lost; a peer that is gone already is no news.
            Link::Tcp(stream) | Link::Dialled(stream) => drop(timeout(within, stream.shutdown()).await),
            Link::Tls(stream) => drop(timeout(within, stream.shutdown()).await),
            Link::Udp(_) | Link::Serial(_) => {}
        }
    }

    /// Waits until bytes, or the end of the stream, wait in the socket.
    #[cfg(test)]
    pub(super) async fn something_waits(&self) {
        match &self.link {
            Link::Tcp(stream) | Link::Dialled(stream) => {
                stream.readable().await.expect("a living runtime");
            }
            Link::Tls(stream) => stream.get_ref().0.readable().await.expect("a living runtime"),
            Link::Udp(socket) => socket.readable().await.expect("a living runtime"),
            Link::Serial(port) => port.something_waits().await,
        }
    }

    fn ended(&self) -> String {
        match &self.link {
            Link::Serial(_) => self.unplugged(),
            Link::Dialled(_) => format!("{} has hung up; it has to dial in again", self.name),
            Link::Tcp(_) | Link::Tls(_) | Link::Udp(_) => format!("{} closed the connection", self.name),
        }
    }

    fn broken(&self, doing: &str, error: &io::Error) -> LineError {
        match &self.link {
            // EIO is what a port says whose adapter has gone.
            Link::Serial(_) if error.raw_os_error() == Some(EIO) => LineError::Broken(self.unplugged()),
            _ => LineError::Broken(format!("cannot {doing} {}: {error}", self.name)),
        }
    }

    fn unplugged(&self) -> String {
        format!("{} has gone; it is opened again when its adapter is plugged in", self.name)
    }
}

/// Whether whoever is at the other end has been sending for so long that a drain would not end.
pub(super) fn check_flood(drained: usize, name: &str) -> Result<(), LineError> {
    if drained <= MOST_DRAINED_BYTES {
        return Ok(());
    }
    Err(LineError::Broken(format!("{name} sends without being asked and does not stop")))
}

/// What has come by now; a stream that has nothing would block. Whoever reads next waits anew.
fn read_now(stream: &mut (impl AsyncRead + Unpin), bytes: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(bytes);
    match Pin::new(stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut buffer) {
        Poll::Ready(read) => read.map(|()| buffer.filled().len()),
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

/// The moment something was done.
fn now<T>(_: T) -> Instant {
    Instant::now()
}
