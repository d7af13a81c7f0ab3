//! What is decided about one driver's processes: pure policy, without a process in sight.
//!
//! ```text
//! events → Life → acts          at most three at work: the active one has the lines, the standby is
//!   (supervisor carries out)    configured without any, the successor takes them over line by line
//! ```
//! Always true: a line is given to a process only when no other living one may have it open; every
//! wait has a limit; nothing here knows what a line is.
//!
//! In reading order: `words` are what goes in and out; [`seat`] is one process as it is known here; `decide` is what follows from how
//! things are; `lines` who may open what; `update` the way from one version to the next; `fall` what
//! happens when one ends; [`patience`] and [`pulse`] count failures and heartbeats.

mod decide;
mod fall;
mod lines;
pub mod patience;
pub mod pulse;
pub mod seat;
#[cfg(test)]
mod tests;
mod update;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use tokio::time::Instant;

use self::patience::{Patience, Pause};
use self::seat::{Seat, Stage};
use self::update::Update;
pub use self::words::{Act, Errors, Fault, Given, How, Known, News, Number, Place, Role, Shown, Wanted};
use super::Parting;
use super::kind::{Fingerprint, Kind};

/// See the module.
#[derive(Debug)]
pub struct Life {
    given: Given,
    wanted: Wanted,
    looking: bool,
    /// When there was nothing to run the last time it was looked for.
    nothing_at: Instant,
    asking: bool,
    seats: BTreeMap<Number, Seat>,
    active: Option<Number>,
    standby: Option<Number>,
    update: Update,
    /// Of the active one.
    patience: Patience,
    pause: Option<Pause>,
    /// Of the standby.
    standby_patience: Patience,
    standby_pause: Option<Pause>,
    /// Attempts at the present update that ended before they began.
    tries: u32,
    update_pause: Option<Instant>,
    refused: Option<Kind>,
    bad: Option<Kind>,
    parting: Option<Parting>,
    /// When what follows was decided last.
    decided: Instant,
    numbers: Number,
    restarts: u32,
    last_error: String,
    last_lines: Vec<String>,
    said: String,
    acts: Vec<Act>,
}

impl Life {
    /// A driver of which nothing is known but the configuration.
    pub fn new(now: Instant, given: Given) -> Self {
        Self {
            decided: now,
            wanted: Wanted::Unknown,
            looking: false,
            nothing_at: now,
            asking: false,
            seats: BTreeMap::new(),
            active: None,
            standby: None,
            update: Update::None,
            patience: Patience::default(),
            pause: None,
            standby_patience: Patience::default(),
            standby_pause: None,
            tries: 0,
            update_pause: None,
            refused: None,
            bad: given.bad.clone(),
            parting: None,
            numbers: 0,
            restarts: given.restarts,
            last_error: String::new(),
            last_lines: Vec::new(),
            said: String::new(),
            acts: Vec::new(),
            given,
        }
    }

    /// A process that is running already is taken over. It may have lines open.
    pub fn adopt(&mut self, now: Instant, kind: Kind, role: Role) -> Number {
        let number = self.next_number();
        let mut seat = Seat::new(kind, now);
        seat.adopted = true;
        if role != Role::Standby {
            seat.may.clone_from(&self.given.lines);
        }
        match role {
            Role::Active if self.active.is_none() => self.active = Some(number),
            Role::Standby if self.standby.is_none() => self.standby = Some(number),
            _ => seat.retiring = true,
        }
        self.seats.insert(number, seat);
        number
    }

    /// What is installed may have changed.
    pub fn look_again(&mut self) {
        self.looking = true;
        self.acts.push(Act::Look);
    }

    /// Somebody wants a fresh process: what is at work ends as it should, and the next one begins at once,
    /// after many failures, too.
    pub fn reboot(&mut self) {
        tracing::info!(driver = %self.given.id, "driver is told to begin anew");
        (self.patience, self.pause) = Default::default();
        if let Some(active) = self.active {
            self.end(active, How::Stop);
        }
    }

    /// The round ends.
    pub fn part(&mut self, parting: Parting) {
        self.parting = Some(parting);
    }

    /// The round has ended, and every process with it.
    pub fn is_over(&self) -> bool {
        self.parting.is_some() && self.seats.is_empty()
    }

    /// Something has happened.
    pub fn hear(&mut self, now: Instant, news: News) {
        match news {
            News::Looked(found) => self.looked(now, found),
            News::Asked(fingerprint, answer) => self.asked(now, fingerprint, answer),
            News::Opened { number, keeps } => {
                if let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.stage == Stage::Starting) {
                    seat.stage = Stage::Open;
                    seat.keeps = keeps;
                    seat.pulse = pulse::Pulse::new(now);
                }
            }
            News::Configured { number, turn, errors } => {
                if let Some(seat) = self.seats.get_mut(&number) {
                    seat.configured = seat.configured.max(turn);
                    seat.errors = errors;
                }
            }
            News::Released(number, lines) => {
                if let Some(seat) = self.seats.get_mut(&number) {
                    seat.released(&lines);
                }
            }
            News::Beat { number, polls, overdue, online } => self.beat(now, number, polls, overdue, online),
            News::Ended { number, why, unborn, last_lines } => {
                self.ended(now, number, why, unborn, last_lines);
            }
        }
    }

    /// Who has this line now; the others are not to be asked anything about it.
    pub fn place(&self, line: &str) -> Place {
        let open = |seat: &Seat| seat.stage == Stage::Open;
        let has = self.seats.iter().find(|(_, seat)| open(seat) && seat.given.contains(line));
        if let Some((number, _)) = has {
            return Place::At(*number);
        }
        let soon = self.active.into_iter().chain(self.update.successor());
        match soon.filter_map(|number| self.seats.get(&number)).any(open) {
            true => Place::OnItsWay,
            false => Place::Nowhere,
        }
    }

    /// What people are shown.
    pub fn shown(&self) -> Shown {
        let standby = self.standby.and_then(|number| Some((number, self.seats.get(&number)?)));
        let word = |seat: &Seat| match seat.is_settled() {
            true => "ready",
            false => "starting",
        };
        Shown {
            state: self.state(),
            active: self.active,
            standby: standby.map(|(number, seat)| (number, word(seat))),
            restarts: self.restarts,
            last_error: self.last_error.clone(),
            last_lines: self.last_lines.clone(),
            update: self.said.clone(),
        }
    }

    fn state(&self) -> &'static str {
        if self.parting.is_some() {
            return "stopped";
        }
        let active = self.active.and_then(|number| self.seats.get(&number));
        match (&self.wanted, active) {
            (Wanted::Absent { state, .. }, _) => state,
            (_, Some(seat)) if seat.configured > 0 && self.update.is_on() => "updating",
            (_, Some(seat)) if seat.configured > 0 => "running",
            (_, Some(_)) if self.restarts > self.given.restarts => "restarting",
            (_, Some(_)) => "starting",
            (_, None) => match self.pause {
                Some(pause) if pause.quarantined => "quarantined",
                Some(_) => "restarting",
                None => "starting",
            },
        }
    }

    fn next_number(&mut self) -> Number {
        self.numbers += 1;
        self.numbers
    }

    fn looked(&mut self, now: Instant, found: Result<Fingerprint, (&'static str, String)>) {
        self.looking = false;
        let now_there = match found {
            Ok(fingerprint) => {
                let same = match &self.wanted {
                    Wanted::Found { fingerprint: before } => *before == fingerprint,
                    Wanted::Known(known) => known.kind.fingerprint == fingerprint,
                    Wanted::Unknown | Wanted::Absent { .. } => false,
                };
                if same {
                    return;
                }
                Wanted::Found { fingerprint }
            }
            Err((state, why)) => {
                self.nothing_at = now;
                Wanted::Absent { state, why }
            }
        };
        if self.wanted == now_there {
            return;
        }
        if let Wanted::Absent { state, why } = &now_there {
            tracing::error!(driver = %self.given.id, state, error = %why, "driver is down");
            self.last_error.clone_from(why);
        }
        let gone_back = matches!(&now_there, Wanted::Found { fingerprint }
            if self.active_kind().is_some_and(|kind| kind.fingerprint == *fingerprint));
        if !gone_back && !self.update.is_on() {
            self.said.clear();
        }
        self.wanted = now_there;
        self.asking = false;
        self.reconsider();
        // other files, another chance
        (self.patience, self.pause) = Default::default();
        (self.standby_patience, self.standby_pause) = Default::default();
        (self.tries, self.update_pause, self.refused) = Default::default();
    }

    fn beat(
        &mut self,
        now: Instant,
        number: Number,
        polls: u64,
        overdue: Duration,
        online: BTreeSet<String>,
    ) {
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.stage == Stage::Open) else { return };
        seat.answered.extend(online.iter().cloned());
        seat.online = online;
        seat.beats += 1;
        if seat.pulse.beat(now, polls, overdue) {
            let limit = pulse::OVERDUE.as_secs();
            let fault = format!(
                "it talks but does no work: {} s overdue, no poll finished for {limit} s",
                overdue.as_secs()
            );
            tracing::warn!(driver = %self.given.id, error = fault, "driver stands still");
            seat.fault = Some(fault);
            self.end(number, How::Stop);
        }
    }

    /// Tells a process to end, once.
    fn end(&mut self, number: Number, how: How) {
        let Some(seat) = self.seats.get_mut(&number) else { return };
        if seat.stage != Stage::Ending {
            seat.stage = Stage::Ending;
            self.acts.push(Act::End(number, how));
        }
    }

    fn asked(&mut self, now: Instant, fingerprint: Fingerprint, answer: Result<Known, Fault>) {
        if !matches!(&self.wanted, Wanted::Found { fingerprint: wanted } if *wanted == fingerprint) {
            return;
        }
        self.asking = false;
        match answer {
            Ok(known) => {
                self.wanted = Wanted::Known(known);
                self.reconsider();
            }
            Err(fault) if self.active.is_some() => self.not_tried(now, &fault.why),
            Err(Fault { why, last_lines }) => self.failed(now, Duration::ZERO, why, last_lines),
        }
    }
}
