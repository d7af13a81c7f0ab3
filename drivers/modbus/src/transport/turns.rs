//! Requests without a transaction, one after the other: the framings of serial lines.
//!
//! Always true:
//! - before a frame the line was silent for 3.5 characters, counted from the last byte seen or sent;
//! - an answer counts only with the unit, the function and the length (or the echo) of its request, and
//!   only while its unit owes none that looks alike ([`Debts`]);
//! - what else is on the line (noise, the echo of our own request, another master and what it is
//!   answered) is cut away by its check; where another master asks the unit that we wait for, no answer
//!   that could be its own is taken;
//! - a timeout counts from the computed end of the request to the first byte of the answer, which then has
//!   the time that its bytes take; an answer ends with its last byte.
//!
//! **Echo.** On a two-wire line an adapter may hear what it sends. The echo of a read is no answer, but
//! that of a single write looks exactly like its answer. So whether the line echoes is learned from a
//! request whose echo can be told, a settling read if need be, before the first such write; on a line
//! that echoes the first copy is never the answer. Where not a byte comes back, not even an echo does.
//! `echo = true` or `false` says it for good.

use std::time::Duration;

use sagoo_driver_sdk::{Deadline, LineError};
use tokio::time::Instant;
use tracing::debug;

use super::alarm::Alarm;
use super::cutter::Cutter;
use super::debts::{Debts, LONGEST_LATENESS, LONGEST_LATENESS_OF_A_PORT};
use super::turnarounds::Turnarounds;
use super::way::{self, Way};
use super::{Failure, Said, wire};
use crate::connection::{Connection, Transport};
use crate::wire::pdu::MOST_PDU_BYTES;
use crate::wire::rtu::MOST_FRAME_BYTES;
use crate::wire::{Answer, Frame, Mismatch, Request, is_request, length_of_answer};

/// Longest wait for a line to become silent, beside the time of the characters of two frames.
const LONGEST_NOISE: Duration = Duration::from_secs(1);
/// How much longer than its bytes take a frame may take to be sent: RTS by hand waits before and after.
const SENDING: Duration = Duration::from_secs(1);

/// One side of a conversation by turns.
#[derive(Debug)]
pub(super) struct Turns {
    cutter: Cutter,
    debts: Debts,
    /// Time of one character; nothing where a network hides it.
    character: Duration,
    silence: Duration,
    /// What the settings say about echoes.
    told: Option<bool>,
    /// Whether the line echoes, as far as is known.
    echoes: Option<bool>,
    /// When the line carried a byte last.
    busy: Instant,
}

/// What is waited for.
struct Asked<'a> {
    unit: u8,
    request: &'a Request,
    pdu: Vec<u8>,
    /// Its echo looks like its answer.
    mirrors: bool,
    echoed: bool,
    /// Bytes that came.
    bytes: usize,
    /// Another master asks the same unit for something that looks alike.
    tainted: bool,
    /// It only settles what is owed.
    settles: bool,
    /// A refusal that may be an older request's: it counts when nothing follows it.
    refused: Option<(Answer, usize)>,
    /// Its own unit and function, but nothing that can be used.
    nonsense: Option<String>,
    /// What else came.
    instead: Option<String>,
}

impl Turns {
    /// Nothing is known yet.
    pub(super) fn new(connection: &Connection) -> Self {
        let (character, silence, told) = match &connection.transport {
            Transport::Serial(serial) => (serial.mode.time_of(1), serial.mode.silence(), serial.echo),
            _ => (Duration::ZERO, Duration::ZERO, None),
        };
        let cutter = Cutter::of(connection.framing);
        let busy = Instant::now();
        let kept = match &connection.transport {
            Transport::Serial(_) => LONGEST_LATENESS_OF_A_PORT,
            _ => LONGEST_LATENESS,
        };
        let debts = Debts::new(connection.timeout, kept);
        Self { cutter, debts, character, silence, told, echoes: told, busy }
    }

    /// The way is a new one; what is owed is owed all the same.
    pub(super) fn start(&mut self) {
        self.cutter.clear();
        self.echoes = self.told;
        self.busy = Instant::now();
    }

    /// How long after its request an answer may come.
    #[cfg(test)]
    pub(super) fn expect_for(&mut self, lateness: Duration) {
        self.debts.lateness = lateness;
    }

    /// One request and its answer. What has to be settled before is asked first.
    pub(super) async fn exchange(
        &mut self,
        way: &mut Way,
        (unit, request): (u8, &Request),
        deadline: Option<Deadline>,
        patience: &mut Patience<'_>,
    ) -> Result<Said, Failure> {
        // A late answer that comes meanwhile settles itself.
        self.ready(way, deadline, patience.alarm).await?;
        let mut asked = Asked::new(unit, request);
        if self.debts.blur(unit, &asked.pdu) || asked.mirrors && self.echoes.is_none() {
            self.settle(way, &asked, patience).await?;
            self.ready(way, deadline, patience.alarm).await?;
        }
        self.ask(way, &mut asked, patience).await.map_err(Failure::Unanswered)
    }

    /// Sends a write to everybody; the moment its last character has left.
    pub(super) async fn broadcast(
        &mut self,
        way: &mut Way,
        request: &Request,
        deadline: Deadline,
        alarm: &mut Alarm,
    ) -> Result<Instant, Failure> {
        self.ready(way, Some(deadline), alarm).await?;
        self.cutter.clear();
        let sent = self.send(way, 0, &request.pdu()).await.map_err(Failure::Unanswered)?;
        self.busy = sent;
        Ok(sent)
    }

    /// Makes a read whose answer and whose echo can be told from all that may come.
    async fn settle(
        &mut self,
        way: &mut Way,
        asked: &Asked<'_>,
        patience: &mut Patience<'_>,
    ) -> Result<(), Failure> {
        let Some(read) = self.debts.settling(asked.unit, &asked.pdu) else {
            let (unit, name) = (asked.unit, way.name());
            let told = format!("unit {unit} at {name} owes an earlier answer and is left alone for a while");
            return Err(Failure::NotSent(LineError::Postponed(told)));
        };
        debug!(way = way.name(), unit = asked.unit, "a read settles what is owed");
        let mut settling = Asked { settles: true, ..Asked::new(asked.unit, &read) };
        let is_owed = self.debts.blur(asked.unit, &asked.pdu);
        let said = self.ask(way, &mut settling, patience).await;
        if !is_owed && settling.bytes == 0 && matches!(said, Err(LineError::Silent(_))) {
            // An echo would have come, whoever is silent: perhaps the device knows no reads.
            self.echoes = Some(false);
            return Ok(());
        }
        if !matches!(said, Ok(Said::Answer(_))) {
            self.debts.stayed_silent(asked.unit);
        }
        match said.map_err(Failure::NotSent)? {
            Said::Answer(_) if asked.mirrors && self.echoes.is_none() => {
                let told = format!("noise on {} hides whether it echoes, nothing was written", way.name());
                Err(Failure::NotSent(LineError::Silent(told)))
            }
            Said::Answer(_) => Ok(()),
            Said::Nonsense(reason) => Err(Failure::NotSent(LineError::Silent(format!(
                "unit {} at {} owes an earlier answer and says something else: {reason}",
                asked.unit,
                way.name()
            )))),
        }
    }

    /// Waits until the line was silent for long enough.
    async fn ready(
        &mut self,
        way: &mut Way,
        deadline: Option<Deadline>,
        alarm: &mut Alarm,
    ) -> Result<(), Failure> {
        let expired = || deadline.is_some_and(Deadline::passed);
        let begin = Instant::now();
        loop {
            // The rest of a late command must not wait for the line once more.
            if expired() {
                return Err(Failure::Expired);
            }
            self.drain(way).map_err(Failure::NotSent)?;
            let free = self.busy + self.silence;
            let now = Instant::now();
            if now >= free {
                return Ok(());
            }
            if now.duration_since(begin) > LONGEST_NOISE + self.character * 2 * MOST_FRAME_BYTES as u32 {
                let told = format!("{} is never silent: noise, or another master", way.name());
                return Err(Failure::NotSent(LineError::Silent(told)));
            }
            alarm.wait(free).await;
        }
    }

    /// Takes what came while nothing is waited for: late answers, and what others say.
    pub(super) fn drain(&mut self, way: &mut Way) -> Result<(), LineError> {
        let mut drained = 0;
        while let Some(bytes) = way.waiting()? {
            drained += bytes.len();
            self.cutter.push(bytes);
            self.busy = Instant::now();
            way::check_flood(drained, way.name())?;
            while let Some(frame) = self.cutter.next() {
                if is_request(&frame.pdu) {
                    self.debts.owe(frame.unit, &frame.pdu);
                } else {
                    self.debts.pay(frame.unit, &frame.pdu);
                }
            }
        }
        Ok(())
    }

    /// Sends a frame; the moment its last character has left.
    async fn send(&mut self, way: &mut Way, unit: u8, pdu: &[u8]) -> Result<Instant, LineError> {
        let frame = self.cutter.frame(unit, pdu);
        let began = Instant::now();
        let wire_time = self.character * frame.len() as u32;
        let sent = way.send(&frame, wire_time + SENDING).await?;
        Ok(sent.max(began + wire_time))
    }

    async fn ask(
        &mut self,
        way: &mut Way,
        asked: &mut Asked<'_>,
        patience: &mut Patience<'_>,
    ) -> Result<Said, LineError> {
        self.cutter.want(asked.unit, &asked.pdu);
        let sent = self.send(way, asked.unit, &asked.pdu).await?;
        self.busy = sent;
        let mut deadline = sent + patience.timeout;
        let echo = if self.echoes == Some(true) { self.cutter.characters(asked.pdu.len()) } else { 0 };
        let said = loop {
            let said = self.hear(way, asked);
            if said.is_some() {
                break said;
            }
            match way.receive(deadline).await {
                Ok(Some(bytes)) => {
                    if (asked.bytes..asked.bytes + bytes.len()).contains(&echo) {
                        let length = length_of_answer(&asked.pdu).unwrap_or(MOST_PDU_BYTES);
                        deadline += self.character * self.cutter.characters(length) as u32;
                    }
                    asked.bytes += bytes.len();
                    self.cutter.push(bytes);
                    self.busy = self.busy.max(Instant::now());
                }
                Ok(None) => break asked.refused.take(),
                Err(error) => {
                    self.debts.owe(asked.unit, &asked.pdu);
                    return Err(error);
                }
            }
        };
        match (said, asked.nonsense.take()) {
            (Some((answer, characters)), _) => {
                let took = self.busy.saturating_duration_since(sent);
                let turnaround = took.saturating_sub(self.character * characters as u32);
                patience.measured.measure(asked.unit, turnaround);
                self.debts.settle(asked.unit, asked.request.function());
                if matches!(answer, Answer::Data(_)) {
                    self.debts.answered(asked.unit, asked.request);
                }
                Ok(Said::Answer(answer))
            }
            (None, nonsense) => {
                self.debts.owe(asked.unit, &asked.pdu);
                if asked.echoed && self.echoes.is_none() {
                    self.echoes = Some(true);
                }
                let instead = asked.instead.as_ref().map_or(String::new(), |it| format!(", but {it} came"));
                let silence = wire::silence(asked.unit, way.name(), patience.timeout) + &instead;
                nonsense.map(Said::Nonsense).ok_or(LineError::Silent(silence))
            }
        }
    }

    /// Files the frames that have come; the answer, and its characters on the line.
    fn hear(&mut self, way: &Way, asked: &mut Asked<'_>) -> Option<(Answer, usize)> {
        while let Some(frame) = self.cutter.next() {
            if frame.unit == asked.unit && frame.pdu == asked.pdu && !asked.echoed {
                let is_echo = !asked.mirrors || self.echoes == Some(true);
                asked.echoed = is_echo;
                if is_echo {
                    continue;
                }
            }
            match self.judge(&frame, asked) {
                Ok(refusal @ Answer::Refused(_))
                    if asked.settles && self.debts.blur(asked.unit, &asked.pdu) =>
                {
                    asked.refused = Some((refusal, self.cutter.characters(frame.pdu.len())));
                }
                Ok(answer) => {
                    // An echo that noise made unreadable is no silence: only a clean answer shows that.
                    if self.echoes.is_none() && (asked.echoed || frame.clean) {
                        self.echoes = Some(asked.echoed);
                    }
                    return Some((answer, self.cutter.characters(frame.pdu.len())));
                }
                Err(reason) => {
                    debug!(way = way.name(), unit = asked.unit, reason, "a frame was thrown away");
                    asked.instead = Some(reason);
                }
            }
        }
        None
    }

    /// Whether a frame is the answer; if not, what it is.
    fn judge(&mut self, frame: &Frame, asked: &mut Asked<'_>) -> Result<Answer, String> {
        if frame.unit != asked.unit {
            if is_request(&frame.pdu) {
                self.debts.owe(frame.unit, &frame.pdu);
                return Err(format!("a request of another master to unit {}", frame.unit));
            }
            self.debts.pay(frame.unit, &frame.pdu);
            return Err(format!("an answer of unit {} instead of {}", frame.unit, asked.unit));
        }
        let answer = asked.request.answer(&frame.pdu);
        match answer {
            Ok(_) if asked.tainted => Err("an answer that another master may have asked for".to_owned()),
            Ok(answer) => Ok(answer),
            Err(_) if is_request(&frame.pdu) && frame.pdu.first() == asked.pdu.first() => {
                asked.tainted = true;
                self.debts.owe(frame.unit, &frame.pdu);
                Err(format!("a request of another master to unit {}", frame.unit))
            }
            Err(mismatch @ Mismatch::Function { .. }) => Err(mismatch.to_string()),
            Err(mismatch) => {
                self.debts.pay(frame.unit, &frame.pdu);
                let reason = mismatch.to_string();
                asked.nonsense = Some(reason.clone());
                Err(reason)
            }
        }
    }
}

/// What a wire lends to a conversation.
pub(super) struct Patience<'a> {
    pub(super) timeout: Duration,
    pub(super) alarm: &'a mut Alarm,
    pub(super) measured: &'a mut Turnarounds,
}

impl<'a> Asked<'a> {
    fn new(unit: u8, request: &'a Request) -> Self {
        let pdu = request.pdu();
        let mirrors = request.answer(&pdu).is_ok();
        Self {
            unit,
            request,
            pdu,
            mirrors,
            echoed: false,
            bytes: 0,
            tainted: false,
            settles: false,
            refused: None,
            nonsense: None,
            instead: None,
        }
    }
}
