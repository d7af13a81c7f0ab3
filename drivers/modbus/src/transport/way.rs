//! The open way to a device: bytes go out and come in, whatever carries them.
//!
//! Always true: every wait has an end; what passes is told to the tap; an error names the way.

use std::io::{self, ErrorKind};
use std::time::Duration;

use sagoo_driver_sdk::{LineError, Tap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::port::Port;

/// Bytes taken at a time; the longest frame is ASCII's with 513.
const READ_BYTES: usize = 600;

/// `EIO` of Linux.
const EIO: i32 = 5;

/// What carries bytes.
#[derive(Debug)]
pub(super) enum Link {
    Tcp(TcpStream),
    Serial(Box<Port>),
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

    /// Gives these bytes away; the moment from which on the device can have them all.
    pub(super) async fn send(&mut self, bytes: &[u8], within: Duration) -> Result<Instant, LineError> {
        let sending = async {
            match &mut self.link {
                Link::Tcp(stream) => stream.write_all(bytes).await.map(|()| Instant::now()),
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
                Link::Tcp(stream) => stream.read(bytes).await,
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
            Link::Tcp(stream) => stream.try_read(bytes),
            Link::Serial(port) => port.try_read(bytes),
        };
        let waits = !matches!(&received, Err(error) if error.kind() == ErrorKind::WouldBlock);
        self.received(waits.then_some(received))
    }

    fn received(&mut self, received: Option<io::Result<usize>>) -> Result<Option<&[u8]>, LineError> {
        match received {
            None => Ok(None),
            Some(Ok(0)) => Err(LineError::Broken(self.ended())),
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
            Link::Tcp(stream) => drop(timeout(within, stream.shutdown()).await),
            Link::Serial(_) => {}
        }
    }

    /// Waits until bytes, or the end of the stream, wait in the socket.
    #[cfg(test)]
    pub(super) async fn something_waits(&self) {
        match &self.link {
            Link::Tcp(stream) => stream.readable().await.expect("a living runtime"),
            Link::Serial(port) => port.something_waits().await,
        }
    }

    fn ended(&self) -> String {
        match &self.link {
            Link::Tcp(_) => format!("{} closed the connection", self.name),
            Link::Serial(_) => self.unplugged(),
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
