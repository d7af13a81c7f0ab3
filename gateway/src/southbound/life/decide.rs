//! What follows from how things are. Called after everything that happened; asks for nothing twice.

use std::time::Duration;

use tokio::time::Instant;

use super::seat::{Seat, Stage};
use super::update::Update;
use super::{Act, How, Life, Number, Role, Wanted};
use crate::southbound::Parting;

/// How often files that are not there, or may not run, are looked for although nothing seems to change.
pub const LOOK_AGAIN: Duration = Duration::from_secs(60);

impl Life {
    /// What has to be done now.
    pub fn decide(&mut self, now: Instant) -> Vec<Act> {
        self.decided = now;
        self.hurry(now);
        match (self.parting, &self.wanted) {
            (Some(parting), _) => self.leave(parting),
            (None, Wanted::Unknown) => {
                if !self.looking {
                    self.look_again();
                }
                // who is here already goes on meanwhile
                self.retire(now);
                self.give_and_take(now);
            }
            (None, Wanted::Absent { .. }) => {
                self.end_all();
                // a file that could not be read, or was mended in its place, tells nobody
                if self.nothing_at + LOOK_AGAIN <= now && !self.looking {
                    self.look_again();
                }
            }
            (None, Wanted::Found { .. } | Wanted::Known(_)) => {
                self.retire(now);
                self.fill(now);
                self.renew(now);
                self.back_up(now);
                self.give_and_take(now);
            }
        }
        std::mem::take(&mut self.acts)
    }

    /// When to decide again although nothing happens.
    pub fn wake_at(&self) -> Option<Instant> {
        if self.parting.is_some() {
            return None;
        }
        let pauses = [self.pause, self.standby_pause].into_iter().flatten().map(|pause| pause.until);
        let answers = self.seats.values().filter_map(Self::answer_due);
        let nothing = matches!(self.wanted, Wanted::Absent { .. }).then(|| self.nothing_at + LOOK_AGAIN);
        let all = pauses
            .chain(nothing)
            .chain(answers)
            .chain(self.update_pause)
            .chain(self.update.due(self.decided));
        // what was due then is done, or waits for something to happen
        all.filter(|at| *at > self.decided).min()
    }

    /// The round ends: every process is stopped, or left as it is.
    fn leave(&mut self, parting: Parting) {
        if parting == Parting::Stop {
            return self.end_all();
        }
        // In the middle of an update the older one stays, and has its lines back in the next round.
        // Nobody waits for the others: who is kept late may not be kept at all.
        let numbers: Vec<Number> = self.seats.keys().copied().collect();
        for number in numbers {
            let stays = [self.active, self.standby].contains(&Some(number));
            let Some(seat) = self.seats.get(&number) else { continue };
            // one that was taken over could be left running before, and can be again; and one that
            // was not heard out is, by whoever comes next
            let keeps = seat.adopted && (stays || seat.retiring);
            let keeps = keeps || (stays && seat.keeps && seat.stage == Stage::Open);
            self.end(number, if keeps { How::Keep } else { How::Stop });
        }
    }

    fn end_all(&mut self) {
        self.update = Update::None;
        let all: Vec<Number> = self.seats.keys().copied().collect();
        for number in all {
            self.end(number, How::Stop);
        }
    }

    /// Those that were taken over only to be heard out have said everything when they say that their
    /// lines are released: what was read on them is stored then, however much that is.
    fn retire(&mut self, now: Instant) {
        let heard = self.seats.iter().filter(|(_, seat)| seat.retiring && seat.configured > 0);
        let heard: Vec<Number> = heard.map(|(number, _)| *number).collect();
        for number in heard {
            let clings = self.clings(now, number);
            let Some(seat) = self.seats.get_mut(&number) else { continue };
            if seat.may.is_empty() || clings {
                self.end(number, How::Stop);
            } else if seat.releasing.is_none() && seat.stage == Stage::Open {
                seat.releasing = Some((seat.may.clone(), now));
                self.acts.push(Act::Release(number, seat.may.clone()));
            }
        }
    }

    /// Somebody has to be at work.
    fn fill(&mut self, now: Instant) {
        if self.active.is_some() {
            return;
        }
        if let Some(standby) = self.standby.take() {
            tracing::warn!(driver = %self.given.id, "standby takes over");
            return self.promote(standby);
        }
        if let Some(successor) = self.update.successor() {
            self.said = "the old version ended during the update; the new one has everything".to_owned();
            tracing::warn!(driver = %self.given.id, "old version ended during the update, the new one takes over");
            self.update = Update::None;
            return self.promote(successor);
        }
        if self.pause.is_some_and(|pause| pause.until > now) {
            return;
        }
        match &self.wanted {
            Wanted::Found { .. } => self.ask(),
            Wanted::Known(known) => {
                let kind = known.kind.clone();
                self.active = Some(self.start(now, Role::Active, kind));
            }
            Wanted::Unknown | Wanted::Absent { .. } => {}
        }
    }

    fn promote(&mut self, number: Number) {
        self.active = Some(number);
        self.acts.push(Act::Role(number, Role::Active));
    }

    /// What rights do the files need? Asked once.
    pub(super) fn ask(&mut self) {
        if let Wanted::Found { fingerprint } = self.wanted
            && !self.asking
        {
            self.asking = true;
            self.acts.push(Act::Ask(fingerprint));
        }
    }

    /// A standby where one is wanted, of the same making as what is at work.
    fn back_up(&mut self, now: Instant) {
        let Wanted::Known(known) = &self.wanted else { return };
        let kind = known.kind.clone();
        if let Some(standby) = self.standby {
            let seat = self.seats.get(&standby).filter(|seat| seat.stage != Stage::Ending);
            // an update tells first whether the new files are any good
            let fits = seat.is_some_and(|seat| self.active_kind().is_none_or(|kind| seat.kind.is(kind)));
            if !self.given.standby || (!fits && !self.update.is_on()) {
                self.end(standby, How::Stop);
            }
            return;
        }
        let at_work = self.active.and_then(|number| self.seats.get(&number));
        let at_work = at_work.is_some_and(|seat| seat.is_settled() && seat.kind.is(&kind));
        // what crashes at work crashes as a standby's successor, too: no faster than a restart
        let rested = [self.standby_pause, self.pause].into_iter().flatten().all(|pause| pause.until <= now);
        if self.given.standby && at_work && rested && !self.update.is_on() {
            self.standby = Some(self.start(now, Role::Standby, kind));
        }
    }

    pub(super) fn start(&mut self, now: Instant, role: Role, kind: super::Kind) -> Number {
        let number = self.next_number();
        self.seats.insert(number, Seat::new(kind.clone(), now));
        self.acts.push(Act::Start(number, role, kind));
        number
    }

    pub(super) fn active_kind(&self) -> Option<&super::Kind> {
        self.active.and_then(|number| self.seats.get(&number)).map(|seat| &seat.kind)
    }
}
