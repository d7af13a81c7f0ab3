//! Requests with a transaction each: Modbus TCP's framing.
//!
//! Always true:
//! - an answer counts only with the transaction and the unit of its request; any other is thrown away;
//! - every request has a transaction of its own, so an answer after its timeout meets no later request;
//! - a timeout of one request does not lose the answers of those sent with it, and lets nothing more
//!   be sent;
//! - bytes that are no Modbus TCP break a stream; a datagram of them is thrown away, and what a device
//!   that dialled in says in between is skipped.

use std::time::Duration;

use sagoo_driver_sdk::LineError;
use tokio::time::Instant;
use tracing::debug;

use super::turnarounds::Turnarounds;
use super::way::{self, Way};
use super::{Said, wire};
use crate::wire::mbap::{self, Frame, Frames, Garbage};
use crate::wire::{Mismatch, Request};

/// One side of a conversation by transactions.
#[derive(Debug, Default)]
pub(super) struct Numbered {
    frames: Frames,
    transaction: u16,
}

/// A request without an answer.
struct Pending {
    place: usize,
    transaction: u16,
    sent: Instant,
    deadline: Instant,
    /// What came instead of its answer.
    instead: String,
}

/// What is asked of one unit.
pub(super) struct Asked<'a> {
    pub(super) unit: u8,
    pub(super) requests: &'a [Request],
    /// Most of them without an answer at a time.
    pub(super) window: usize,
    pub(super) timeout: Duration,
}

impl Numbered {
    /// The way is a new one.
    pub(super) fn start(&mut self) {
        self.frames.clear();
    }

    /// Throws away what waits: answers that came too late. A part of one stays, so that the stream keeps
    /// its step.
    pub(super) fn drain(&mut self, way: &mut Way) -> Result<(), LineError> {
        let is_datagrams = way.is_datagrams();
        let mut drained = 0;
        while let Some(bytes) = way.waiting()? {
            drained += bytes.len();
            self.push(bytes, is_datagrams);
            way::check_flood(drained, way.name())?;
            while self.next(way, 0, &[])?.is_some() {}
        }
        Ok(())
    }

    fn push(&mut self, bytes: &[u8], is_datagram: bool) {
        // A datagram is a frame of its own: what is left of the one before is none.
        if is_datagram {
            self.frames.clear();
        }
        self.frames.push(bytes);
    }

    /// The next frame. What is none breaks a stream, and spoils a datagram; where a device has things of
    /// its own to say, only what is waited for is a frame.
    fn next(&mut self, way: &Way, unit: u8, pending: &[Pending]) -> Result<Option<Frame>, LineError> {
        if way.chatters() {
            let ours = |number: u16| pending.iter().any(|pending| pending.transaction == number);
            return Ok(self.frames.seek(|transaction, of| ours(transaction) && of == unit));
        }
        loop {
            match self.frames.next() {
                Ok(frame) => return Ok(frame),
                Err(_) if way.is_datagrams() => self.frames.clear(),
                Err(garbage) => return Err(wrong(way, garbage)),
            }
        }
    }

    /// Makes the requests and tells `heard` what became of each; the error of a line that broke goes to
    /// those that are left as well.
    pub(super) async fn exchange(
        &mut self,
        way: &mut Way,
        asked: Asked<'_>,
        measured: &mut Turnarounds,
        heard: &mut (dyn FnMut(usize, Result<Said, LineError>) + Send),
    ) {
        let mut pending: Vec<Pending> = Vec::with_capacity(asked.window);
        let mut next = 0;
        let is_datagrams = way.is_datagrams();
        let error = loop {
            if let Err(error) = self.fill(way, &asked, &mut pending, &mut next).await {
                break error;
            }
            let Some(deadline) = pending.first().map(|pending| pending.deadline) else { return };
            match way.receive(deadline).await {
                Ok(Some(bytes)) => self.push(bytes, is_datagrams),
                Ok(None) => {
                    let silence = give_up(way, &asked, &mut pending, heard);
                    for place in next..asked.requests.len() {
                        heard(place, Err(silence.clone()));
                    }
                    next = asked.requests.len();
                    continue;
                }
                Err(error) => break error,
            }
            if let Err(error) = self.hear(way, &asked, &mut pending, measured, heard) {
                break error;
            }
        };
        for place in pending.iter().map(|pending| pending.place).chain(next..asked.requests.len()) {
            heard(place, Err(error.clone()));
        }
    }

    /// Sends as many requests as may be without an answer.
    async fn fill(
        &mut self,
        way: &mut Way,
        asked: &Asked<'_>,
        pending: &mut Vec<Pending>,
        next: &mut usize,
    ) -> Result<(), LineError> {
        while pending.len() < asked.window
            && let Some(request) = asked.requests.get(*next)
        {
            self.transaction = self.transaction.wrapping_add(1);
            let frame = mbap::frame(self.transaction, asked.unit, &request.pdu());
            let sent = way.send(&frame, asked.timeout).await?;
            let (transaction, deadline) = (self.transaction, sent + asked.timeout);
            pending.push(Pending { place: *next, transaction, sent, deadline, instead: String::new() });
            *next += 1;
        }
        Ok(())
    }

    /// Files the frames that have come.
    fn hear(
        &mut self,
        way: &Way,
        asked: &Asked<'_>,
        pending: &mut Vec<Pending>,
        measured: &mut Turnarounds,
        heard: &mut (dyn FnMut(usize, Result<Said, LineError>) + Send),
    ) -> Result<(), LineError> {
        while let Some(frame) = self.next(way, asked.unit, pending)? {
            let place = pending.iter().position(|pending| pending.transaction == frame.transaction);
            let said = match place {
                Some(place) => judge(&frame, asked.unit, &asked.requests[pending[place].place]),
                None => {
                    let first = pending.first().map_or(self.transaction, |pending| pending.transaction);
                    let (transaction, unit) = (frame.transaction, asked.unit);
                    debug!(way = way.name(), unit, transaction, "a late answer was thrown away");
                    Err(format!("an answer to transaction {transaction} instead of {first}"))
                }
            };
            match (said, place) {
                (Ok(said), Some(place)) => {
                    let answered = pending.remove(place);
                    measured.measure(asked.unit, answered.sent.elapsed());
                    heard(answered.place, Ok(said));
                }
                (Ok(_), None) => {}
                (Err(reason), place) => {
                    debug!(way = way.name(), unit = asked.unit, reason, "an answer was thrown away");
                    if let Some(pending) = pending.get_mut(place.unwrap_or(0)) {
                        pending.instead = format!(", but {reason} came");
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells those whose time is up; the others go on waiting.
fn give_up(
    way: &Way,
    asked: &Asked<'_>,
    pending: &mut Vec<Pending>,
    heard: &mut (dyn FnMut(usize, Result<Said, LineError>) + Send),
) -> LineError {
    let now = Instant::now();
    let mut told = LineError::Silent(wire::silence(asked.unit, way.name(), asked.timeout));
    pending.retain(|pending| {
        if pending.deadline > now {
            return true;
        }
        let reason = wire::silence(asked.unit, way.name(), asked.timeout) + &pending.instead;
        told = LineError::Silent(reason);
        heard(pending.place, Err(told.clone()));
        false
    });
    told
}

/// Whether a frame of a request's transaction is its answer; if not, what it is.
fn judge(frame: &Frame, unit: u8, request: &Request) -> Result<Said, String> {
    if frame.unit != unit {
        return Err(format!("an answer of unit {} instead of {unit}", frame.unit));
    }
    match request.answer(&frame.pdu) {
        Ok(answer) => Ok(Said::Answer(answer)),
        Err(mismatch @ Mismatch::Function { .. }) => Err(mismatch.to_string()),
        Err(mismatch) => Ok(Said::Nonsense(mismatch.to_string())),
    }
}

fn wrong(way: &Way, garbage: Garbage) -> LineError {
    LineError::Broken(format!("{} does not speak Modbus TCP: {garbage}", way.name()))
}
