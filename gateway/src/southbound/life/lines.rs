//! Who may open which line.
//!
//! Always true: a line is given only when no other living process may have it open; a line that was
//! asked back counts as open until its process says it is closed, or is gone.

use std::time::Duration;

use tokio::time::Instant;

use super::seat::{Lines, Seat, Stage};
use super::{Act, How, Life, Number};

/// What a process gets to release a line; requests on slow lines take their time.
pub const RELEASE_LIMIT: Duration = Duration::from_secs(15);
/// What a process gets to take a configuration.
pub const CONFIGURE_LIMIT: Duration = Duration::from_secs(30);

impl Life {
    /// When a process has to have answered what it was told.
    pub(super) fn answer_due(seat: &Seat) -> Option<Instant> {
        let released = seat.releasing.as_ref().map(|(_, since)| *since + RELEASE_LIMIT);
        let configured = (seat.configured < seat.turn).then(|| seat.told + CONFIGURE_LIMIT);
        let open = seat.stage == Stage::Open;
        released.into_iter().chain(configured).filter(|_| open).min()
    }

    /// One that never takes its configuration never works.
    pub(super) fn hurry(&mut self, now: Instant) {
        let late = self.seats.iter().filter(|(_, seat)| {
            seat.stage == Stage::Open && seat.configured < seat.turn && seat.told + CONFIGURE_LIMIT <= now
        });
        let late: Vec<Number> = late.map(|(number, _)| *number).collect();
        for number in late {
            let limit = CONFIGURE_LIMIT.as_secs();
            self.cut_off(number, &format!("it did not take its configuration within {limit} s"));
        }
    }

    /// Lines are asked back where they are not to be, and given where they are free.
    pub(super) fn give_and_take(&mut self, now: Instant) {
        let numbers: Vec<Number> = self.seats.keys().copied().collect();
        for number in &numbers {
            self.take_back(now, *number);
        }
        for number in numbers {
            self.give(now, number);
        }
    }

    /// The lines a process is to have in the end.
    fn desired(&self, number: Number) -> Lines {
        let moved = self.update.moved();
        if self.seats.get(&number).is_none_or(|seat| seat.retiring) {
            Lines::new()
        } else if self.active == Some(number) {
            self.given.lines.difference(&moved).cloned().collect()
        } else if self.update.successor() == Some(number) {
            moved
        } else {
            Lines::new()
        }
    }

    fn take_back(&mut self, now: Instant, number: Number) {
        let desired = self.desired(number);
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.stage == Stage::Open) else { return };
        let back: Lines = seat.given.difference(&desired).cloned().collect();
        if back.is_empty() {
            return;
        }
        seat.given.retain(|line| desired.contains(line));
        match &mut seat.releasing {
            Some((releasing, _)) => releasing.extend(back.iter().cloned()),
            None => seat.releasing = Some((back.clone(), now)),
        }
        self.acts.push(Act::Release(number, back));
    }

    fn give(&mut self, now: Instant, number: Number) {
        let mut free = self.desired(number);
        for (_, other) in self.seats.iter().filter(|(other, _)| **other != number) {
            free.retain(|line| !other.may.contains(line));
        }
        let Some(seat) = self.seats.get_mut(&number).filter(|seat| seat.stage == Stage::Open) else { return };
        // a Configure ends what it was asked before, so that must be wanted
        let in_between = seat
            .releasing
            .as_ref()
            .is_some_and(|(releasing, _)| releasing.iter().any(|line| !free.contains(line)));
        if in_between || (seat.turn > 0 && free.is_subset(&seat.given)) {
            return;
        }
        seat.releasing = None;
        seat.may.extend(free.iter().cloned());
        seat.given = free;
        (seat.turn, seat.told, seat.beats) = (seat.turn + 1, now, 0);
        let hold = self.given.lines.difference(&seat.given).cloned().collect();
        self.acts.push(Act::Configure(number, seat.turn, hold));
    }

    /// Whether a process takes too long to give a line back.
    pub(super) fn clings(&self, now: Instant, number: Number) -> bool {
        let releasing = self.seats.get(&number).and_then(|seat| seat.releasing.as_ref());
        releasing.is_some_and(|(_, since)| *since + RELEASE_LIMIT <= now)
    }

    /// It is of no use any more: its lines are taken with it.
    pub(super) fn cut_off(&mut self, number: Number, fault: &str) {
        if let Some(seat) = self.seats.get_mut(&number) {
            seat.fault = Some(fault.to_owned());
        }
        self.end(number, How::Kill);
    }
}
