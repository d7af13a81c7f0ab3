//! The one file at the socket: a request goes out, and only its own answer comes back.
//!
//! Always true:
//! - an answer counts only with the transaction and the unit of the request; any other is thrown
//!   away and the wait goes on to the same deadline;
//! - every request has a transaction of its own, and what waits in the socket is drained before it
//!   is sent, so an answer that comes after its timeout never meets a later request;
//! - a deadline is looked at when the line is ready, right before the first byte goes out;
//! - bytes that are no Modbus TCP close the connection; the next request opens it anew;
//! - every wait ends: [`CONNECT_TIMEOUT`] or the connection's `timeout`, whichever is longer, to
//!   connect, `timeout` to answer.

use std::io;
use std::time::Duration;

use sagoo_driver_sdk::{Deadline, Host, LineError, Tap};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tracing::debug;

use crate::connection::ends::Endpoint;
use crate::connection::{Connection, Transport};
use crate::wire::mbap::{self, Frame, Frames, Garbage};
use crate::wire::{Answer, Mismatch, Request};

/// Least wait for a connection: long enough for one lost packet to be sent again.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Unanswered requests in a row after which the connection is opened anew: the far end may have
/// forgotten it without a word (a reboot, a router in between).
pub(crate) const SILENT_LIMIT: u32 = 3;
/// Bytes taken from the socket at a time; the longest frame has 260.
const READ_BYTES: usize = 512;

/// What a request came to when the line is well.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Said {
    /// The answer to it.
    Answer(Answer),
    /// Its transaction, unit and function, but not its length or echo: nothing in it may be used.
    Nonsense(String),
}

/// Why a request with a deadline has no answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The line was ready for it too late: nothing was sent.
    Expired,
    /// The line could not be opened: nothing was sent.
    NotSent(LineError),
    /// The device may have seen it.
    Unanswered(LineError),
}

/// A connection to one endpoint, opened when needed.
#[derive(Debug)]
pub(crate) struct Wire {
    endpoint: Endpoint,
    in_flight: usize,
    tap: Tap,
    pub(crate) timeout: Duration,
    turnaround: Duration,
    stream: Option<TcpStream>,
    frames: Frames,
    transaction: u16,
    silent_in_a_row: u32,
    /// When the next request may go out.
    free_at: Instant,
}

#[allow(dead_code, reason = "lines learn to keep several requests in flight and to broadcast")]
impl Wire {
    /// Not open yet. `host` is asked for what the connection's settings only name.
    pub(crate) fn new(connection: &Connection, tap: Tap, _host: Option<Host>) -> Self {
        let endpoint = match &connection.transport {
            Transport::Tcp { endpoint, .. } | Transport::Udp(endpoint) => endpoint.clone(),
            Transport::Tls(tls) => tls.endpoint.clone(),
            Transport::Serial(serial) => Endpoint { host: serial.port.clone(), port: 0 },
            Transport::Listen(listen) => {
                Endpoint { host: listen.address.ip().to_string(), port: listen.address.port() }
            }
        };
        Self {
            endpoint,
            in_flight: connection.in_flight(),
            tap,
            timeout: connection.timeout,
            turnaround: connection.turnaround,
            stream: None,
            frames: Frames::default(),
            transaction: 0,
            silent_in_a_row: 0,
            free_at: Instant::now(),
        }
    }

    /// Sends `request`, however late it is, and waits for its answer.
    pub(crate) async fn exchange(&mut self, unit: u8, request: &Request) -> Result<Said, LineError> {
        let stream = self.ready().await?;
        self.converse(stream, unit, request).await
    }

    /// Sends `request` unless the line is ready for it only after `deadline`, and waits for its answer.
    pub(crate) async fn exchange_before(
        &mut self,
        deadline: Deadline,
        unit: u8,
        request: &Request,
    ) -> Result<Said, Failure> {
        // The rest of a late command must not wait for the line once more.
        if deadline.passed() {
            return Err(Failure::Expired);
        }
        let stream = self.ready().await.map_err(Failure::NotSent)?;
        if deadline.passed() {
            self.stream = Some(stream);
            return Err(Failure::Expired);
        }
        self.converse(stream, unit, request).await.map_err(Failure::Unanswered)
    }

    /// Makes these requests of one unit, as many at a time as the connection allows, and tells `heard`
    /// what became of each as soon as it is known: its place in `requests`, in any order. When the line
    /// breaks, the rest is told the same error.
    pub(crate) async fn exchange_many(
        &mut self,
        unit: u8,
        requests: &[Request],
        mut heard: impl FnMut(usize, Result<Said, LineError>) + Send,
    ) {
        for (place, request) in requests.iter().enumerate() {
            heard(place, self.exchange(unit, request).await);
        }
    }

    /// Sends a write to every unit at once and waits for nobody; only on a line that
    /// [`broadcasts`](Connection::broadcasts).
    pub(crate) async fn broadcast_before(
        &mut self,
        _deadline: Deadline,
        _request: &Request,
    ) -> Result<(), Failure> {
        let told = format!("{} has no broadcast", self.endpoint);
        Err(Failure::NotSent(LineError::Broken(told)))
    }

    /// Most requests that wait for their answers at a time.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How long this unit took lately from the end of a request to the first byte of its answer;
    /// `None` before its first answer.
    pub(crate) fn turnaround_of(&self, _unit: u8) -> Option<Duration> {
        None
    }

    /// Waits until a request may go out on a line without old bytes; opens it when needed.
    async fn ready(&mut self) -> Result<TcpStream, LineError> {
        if !self.turnaround.is_zero() {
            sleep_until(self.free_at).await;
        }
        self.drain();
        match self.stream.take() {
            Some(stream) => Ok(stream),
            None => self.connect().await,
        }
    }

    /// One request and its answer; the stream is kept when it can be used again.
    async fn converse(
        &mut self,
        mut stream: TcpStream,
        unit: u8,
        request: &Request,
    ) -> Result<Said, LineError> {
        self.transaction = self.transaction.wrapping_add(1);
        let deadline = Instant::now() + self.timeout;
        let outcome = self.ask(&mut stream, unit, request, deadline).await;
        self.free_at = Instant::now() + self.turnaround;
        match &outcome {
            Ok(_) => {
                self.silent_in_a_row = 0;
                self.stream = Some(stream);
            }
            Err(LineError::Silent(_)) => {
                self.silent_in_a_row += 1;
                if self.silent_in_a_row < SILENT_LIMIT {
                    self.stream = Some(stream);
                } else {
                    self.silent_in_a_row = 0;
                    debug!(endpoint = %self.endpoint, "connection is opened anew after a long silence");
                }
            }
            Err(LineError::Broken(_)) => self.silent_in_a_row = 0,
        }
        outcome
    }

    /// Closes the connection.
    pub(crate) async fn close(&mut self) {
        self.frames.clear();
        if let Some(mut stream) = self.stream.take() {
            // Nothing is outstanding that could be lost; a peer that is gone already is no news.
            let _ = timeout(self.timeout, stream.shutdown()).await;
        }
    }

    /// Waits until bytes, or the end of the stream, wait in the socket.
    #[cfg(test)]
    pub(crate) async fn something_waits(&self) {
        self.stream.as_ref().expect("the test opened it").readable().await.expect("a living runtime");
    }

    async fn connect(&mut self) -> Result<TcpStream, LineError> {
        self.frames.clear();
        let wait = CONNECT_TIMEOUT.max(self.timeout);
        let address = (self.endpoint.host.as_str(), self.endpoint.port);
        let stream = match timeout(wait, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => {
                return Err(LineError::Broken(format!("cannot connect to {}: {error}", self.endpoint)));
            }
            Err(_) => {
                return Err(LineError::Broken(format!(
                    "cannot connect to {}: no answer within {wait:?}",
                    self.endpoint
                )));
            }
        };
        // Requests are small and waited for: none may be held back to be joined with the next one.
        stream.set_nodelay(true).map_err(|error| self.broken("set up", &error))?;
        Ok(stream)
    }

    /// Throws away what waits in the socket: answers that came too late. Closes what is closed at
    /// the other end, so that the request goes out on a new connection.
    fn drain(&mut self) {
        let Some(stream) = &self.stream else { return };
        let mut bytes = [0; READ_BYTES];
        loop {
            let well = match stream.try_read(&mut bytes) {
                Ok(0) => false,
                Ok(count) => {
                    self.tap.received(&bytes[..count]);
                    self.frames.push(&bytes[..count]);
                    discard(&mut self.frames).is_ok()
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => false,
            };
            if !well {
                self.stream = None;
                return;
            }
        }
    }

    async fn ask(
        &mut self,
        stream: &mut TcpStream,
        unit: u8,
        request: &Request,
        deadline: Instant,
    ) -> Result<Said, LineError> {
        let frame = mbap::frame(self.transaction, unit, &request.pdu());
        match timeout_at(deadline, stream.write_all(&frame)).await {
            Ok(Ok(())) => self.tap.sent(&frame),
            Ok(Err(error)) => return Err(self.broken("write to", &error)),
            Err(_) => return Err(LineError::Broken(format!("{} takes no more bytes", self.endpoint))),
        }
        let mut thrown_away = String::new();
        let mut bytes = [0; READ_BYTES];
        loop {
            while let Some(frame) = self.frames.next().map_err(|garbage| self.garbage(garbage))? {
                match self.judge(&frame, unit, request) {
                    Ok(said) => return Ok(said),
                    Err(reason) => {
                        debug!(endpoint = %self.endpoint, unit, reason, "an answer was thrown away");
                        thrown_away = format!(", but {reason} came");
                    }
                }
            }
            match timeout_at(deadline, stream.read(&mut bytes)).await {
                Ok(Ok(0)) => {
                    return Err(LineError::Broken(format!("{} closed the connection", self.endpoint)));
                }
                Ok(Ok(count)) => {
                    self.tap.received(&bytes[..count]);
                    self.frames.push(&bytes[..count]);
                }
                Ok(Err(error)) => return Err(self.broken("read from", &error)),
                Err(_) => {
                    let (endpoint, within) = (&self.endpoint, self.timeout);
                    let told =
                        format!("unit {unit} at {endpoint} did not answer within {within:?}{thrown_away}");
                    return Err(LineError::Silent(told));
                }
            }
        }
    }

    /// Whether a frame is the answer; if not, what it is.
    fn judge(&self, frame: &Frame, unit: u8, request: &Request) -> Result<Said, String> {
        if frame.transaction != self.transaction {
            return Err(format!(
                "an answer to transaction {} instead of {}",
                frame.transaction, self.transaction
            ));
        }
        if frame.unit != unit {
            return Err(format!("an answer of unit {} instead of {unit}", frame.unit));
        }
        match request.answer(&frame.pdu) {
            Ok(answer) => Ok(Said::Answer(answer)),
            Err(mismatch @ Mismatch::Function { .. }) => Err(mismatch.to_string()),
            Err(mismatch) => Ok(Said::Nonsense(mismatch.to_string())),
        }
    }

    fn broken(&self, doing: &str, error: &io::Error) -> LineError {
        LineError::Broken(format!("cannot {doing} {}: {error}", self.endpoint))
    }

    fn garbage(&self, garbage: Garbage) -> LineError {
        LineError::Broken(format!("{} does not speak Modbus TCP: {garbage}", self.endpoint))
    }
}

/// Takes all whole frames out; a part of one stays, so that the stream keeps its step.
fn discard(frames: &mut Frames) -> Result<(), Garbage> {
    while frames.next()?.is_some() {}
    Ok(())
}
