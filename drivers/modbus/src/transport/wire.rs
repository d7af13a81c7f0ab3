//! The one type that the rest of the driver speaks to: requests go out, and only their own answers
//! come back, whatever carries them.
//!
//! Always true:
//! - a deadline is looked at when the line is ready, right before the first byte goes out;
//! - a line that broke is opened anew by the next request;
//! - every wait ends: [`OPEN_TIMEOUT`](super::open::OPEN_TIMEOUT) or the connection's `timeout`,
//!   whichever is longer, to open, `timeout` to answer.

use std::time::Duration;

use sagoo_driver_sdk::{Deadline, Host, LineError, Tap};
use tokio::time::Instant;
use tracing::debug;

use super::alarm::Alarm;
use super::numbered::{self, Numbered};
use super::open::Opener;
use super::turnarounds::Turnarounds;
use super::turns::{Patience, Turns};
use super::way::Way;
use super::{Failure, Said};
use crate::connection::{Connection, Framing};
use crate::wire::Request;

/// Unanswered requests in a row after which a network connection is opened anew: the far end may have
/// forgotten it without a word (a reboot, a router in between).
pub(crate) const SILENT_LIMIT: u32 = 3;
/// Pause after a broadcast, for the devices to do it (Modbus over Serial Line V1.02, 2.4.1: 100 to
/// 200 ms), unless the connection says how long its turnaround is.
pub(crate) const BROADCAST_PAUSE: Duration = Duration::from_millis(100);

/// A line to one or several devices, opened when needed.
#[derive(Debug)]
pub(crate) struct Wire {
    opener: Opener,
    tap: Tap,
    pub(crate) timeout: Duration,
    turnaround: Duration,
    in_flight: usize,
    /// The last exchange broke the line.
    broke: bool,
    way: Option<Way>,
    talk: Talk,
    silent_in_a_row: u32,
    /// When the next request may go out.
    free_at: Instant,
    alarm: Alarm,
    measured: Turnarounds,
}

/// How the two sides tell their requests apart.
#[derive(Debug)]
enum Talk {
    Numbered(Numbered),
    Turns(Turns),
}

impl Wire {
    /// Not open yet. `host` is asked for what the connection's settings only name.
    pub(crate) fn new(connection: &Connection, tap: Tap, host: Option<Host>) -> Self {
        let talk = match connection.framing {
            Framing::Tcp => Talk::Numbered(Numbered::default()),
            Framing::Rtu | Framing::Ascii => Talk::Turns(Turns::new(connection)),
        };
        Self {
            opener: Opener::new(&connection.transport, host),
            tap,
            timeout: connection.timeout,
            turnaround: connection.turnaround,
            in_flight: connection.in_flight(),
            broke: false,
            way: None,
            talk,
            silent_in_a_row: 0,
            free_at: Instant::now(),
            alarm: Alarm::default(),
            measured: Turnarounds::default(),
        }
    }

    /// Sends `request`, however late it is, and waits for its answer.
    pub(crate) async fn exchange(&mut self, unit: u8, request: &Request) -> Result<Said, LineError> {
        self.exchange_until(None, unit, request).await.map_err(Failure::into_error)
    }

    /// Sends `request` unless the line is ready for it only after `deadline`, and waits for its answer.
    pub(crate) async fn exchange_before(
        &mut self,
        deadline: Deadline,
        unit: u8,
        request: &Request,
    ) -> Result<Said, Failure> {
        self.exchange_until(Some(deadline), unit, request).await
    }

    /// Makes these requests of one unit, as many at a time as the connection allows, and tells `heard`
    /// what became of each as soon as it is known: its place in `requests`, in any order. After a silence
    /// nothing more is sent; that and a line that breaks is told for the rest as well.
    pub(crate) async fn exchange_many(
        &mut self,
        unit: u8,
        requests: &[Request],
        mut heard: impl FnMut(usize, Result<Said, LineError>) + Send,
    ) {
        if self.in_flight == 1 {
            for (place, request) in requests.iter().enumerate() {
                let said = self.exchange(unit, request).await;
                let error = said.as_ref().err().cloned();
                heard(place, said);
                if let Some(error) = error {
                    (place + 1..requests.len()).for_each(|place| heard(place, Err(error.clone())));
                    return;
                }
            }
            return;
        }
        match self.ready().await {
            Ok(way) => self.converse(way, unit, requests, &mut heard).await,
            Err(error) => (0..requests.len()).for_each(|place| heard(place, Err(error.clone()))),
        }
    }

    /// Sends a write to every unit at once and waits for nobody; only on a line that
    /// [`broadcasts`](Connection::broadcasts). What comes next waits until the devices have done it.
    pub(crate) async fn broadcast_before(
        &mut self,
        deadline: Deadline,
        request: &Request,
    ) -> Result<(), Failure> {
        if deadline.passed() {
            return Err(Failure::Expired);
        }
        let mut way = self.ready().await.map_err(Failure::NotSent)?;
        let outcome = match &mut self.talk {
            Talk::Turns(turns) => turns.broadcast(&mut way, request, deadline, &mut self.alarm).await,
            Talk::Numbered(_) => {
                let told = format!("{} has no broadcast, its framing is \"tcp\"", way.name());
                Err(Failure::NotSent(LineError::Silent(told)))
            }
        };
        match &outcome {
            Ok(sent) => {
                let pause = if self.turnaround.is_zero() { BROADCAST_PAUSE } else { self.turnaround };
                self.free_at = *sent + pause;
                self.way = Some(way);
            }
            Err(failure) if !failure.is_broken() => self.way = Some(way),
            Err(_) => {}
        }
        outcome.map(|_| ())
    }

    /// Most requests that wait for their answers at a time.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// How long this unit took lately from the end of a request to the first byte of its answer;
    /// `None` before its first answer.
    pub(crate) fn turnaround_of(&self, unit: u8) -> Option<Duration> {
        self.measured.of(unit)
    }

    /// Closes the line at a frame boundary. One that has just broken is only given back to be opened
    /// anew: a device that dials in meanwhile is still let in.
    pub(crate) async fn close(&mut self) {
        if let Some(way) = self.way.take() {
            way.close(self.timeout).await;
        }
        if !std::mem::take(&mut self.broke) {
            self.opener.close().await;
        }
    }

    /// Nobody is told that the line broke, so nobody gives it back: who closes it means it.
    pub(crate) fn forget_break(&mut self) {
        self.broke = false;
    }

    /// Answers come no later than this after their requests.
    #[cfg(test)]
    pub(crate) fn expect_for(&mut self, lateness: Duration) {
        let Talk::Turns(turns) = &mut self.talk else { panic!("transactions are never taken for others") };
        turns.expect_for(lateness);
    }

    /// Waits until bytes, or the end of the stream, wait in the socket.
    #[cfg(test)]
    pub(crate) async fn something_waits(&self) {
        self.way.as_ref().expect("the test opened it").something_waits().await;
    }

    /// Waits until a device has dialled in anew.
    #[cfg(test)]
    pub(crate) async fn news(&self) {
        while !self.opener.has_news() {
            tokio::task::yield_now().await;
        }
    }

    async fn exchange_until(
        &mut self,
        deadline: Option<Deadline>,
        unit: u8,
        request: &Request,
    ) -> Result<Said, Failure> {
        let expired = || deadline.is_some_and(Deadline::passed);
        // The rest of a late command must not wait for the line once more.
        if expired() {
            return Err(Failure::Expired);
        }
        let mut way = self.ready().await.map_err(Failure::NotSent)?;
        if expired() {
            self.way = Some(way);
            return Err(Failure::Expired);
        }
        let Talk::Turns(turns) = &mut self.talk else {
            let mut outcome = None;
            self.converse(way, unit, std::slice::from_ref(request), &mut |_, said| outcome = Some(said))
                .await;
            return outcome.expect("one request has one outcome").map_err(Failure::Unanswered);
        };
        let mut patience =
            Patience { timeout: self.timeout, alarm: &mut self.alarm, measured: &mut self.measured };
        let outcome = turns.exchange(&mut way, (unit, request), deadline, &mut patience).await;
        if matches!(outcome, Err(Failure::NotSent(LineError::Postponed(_)))) {
            // Nothing was sent: no silence of the line.
            self.way = Some(way);
            return outcome;
        }
        if outcome != Err(Failure::Expired) {
            self.free_at = Instant::now() + self.turnaround;
        }
        let error = match &outcome {
            Err(Failure::NotSent(error) | Failure::Unanswered(error)) => Some(error),
            Ok(_) | Err(Failure::Expired) => None,
        };
        self.keep(way, error);
        outcome
    }

    /// Requests with transactions; the way is kept when it can be used again.
    async fn converse(
        &mut self,
        mut way: Way,
        unit: u8,
        requests: &[Request],
        heard: &mut (dyn FnMut(usize, Result<Said, LineError>) + Send),
    ) {
        let Talk::Numbered(numbered) = &mut self.talk else { return };
        let asked = numbered::Asked { unit, requests, window: self.in_flight, timeout: self.timeout };
        let mut last = None;
        let mut watch = |place: usize, said: Result<Said, LineError>| {
            last = said.as_ref().err().cloned();
            heard(place, said);
        };
        numbered.exchange(&mut way, asked, &mut self.measured, &mut watch).await;
        self.free_at = Instant::now() + self.turnaround;
        self.keep(way, last.as_ref());
    }

    /// Keeps a way that can be used again.
    fn keep(&mut self, way: Way, error: Option<&LineError>) {
        match error {
            None => {
                self.silent_in_a_row = 0;
                self.way = Some(way);
            }
            Some(LineError::Postponed(_)) => self.way = Some(way),
            Some(LineError::Silent(_)) => {
                self.silent_in_a_row += 1;
                if self.silent_in_a_row < SILENT_LIMIT || !way.forgets() {
                    self.way = Some(way);
                } else {
                    self.silent_in_a_row = 0;
                    debug!(way = way.name(), "a connection is opened anew after a long silence");
                }
            }
            Some(LineError::Broken(_)) => {
                self.silent_in_a_row = 0;
                self.broke = true;
            }
        }
    }

    /// Waits until a request may go out on a line without old bytes; opens it when needed.
    async fn ready(&mut self) -> Result<Way, LineError> {
        self.alarm.wait(self.free_at).await;
        // Closed at the other end meanwhile: the request goes out on a new connection.
        // So is it when the device has dialled in anew.
        if let Some(mut way) = self.way.take()
            && !self.opener.has_news()
            && self.talk.drain(&mut way).is_ok()
        {
            return Ok(way);
        }
        let opened = self.opener.open(self.timeout).await;
        self.broke = opened.is_err();
        let link = opened?;
        self.talk.start();
        Ok(Way::new(link, self.opener.name(), &self.tap))
    }
}

impl Talk {
    fn start(&mut self) {
        match self {
            Self::Numbered(numbered) => numbered.start(),
            Self::Turns(turns) => turns.start(),
        }
    }

    fn drain(&mut self, way: &mut Way) -> Result<(), LineError> {
        match self {
            Self::Numbered(numbered) => numbered.drain(way),
            Self::Turns(turns) => turns.drain(way),
        }
    }
}

/// What is said of a unit that did not answer.
pub(super) fn silence(unit: u8, name: &str, within: Duration) -> String {
    format!("unit {unit} at {name} did not answer within {within:?}")
}
