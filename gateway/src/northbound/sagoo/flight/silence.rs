//! What a missing answer means, and what an answer after it proves.
//!
//! ```text
//! message timed out ─▶ Doubt ─ gateway's probe, sent later, answered ─▶ the try counts
//!                                   ├─ pack, 2 tries ─▶ split: each row alone
//!                                   ├─ row, 3 tries  ─▶ given up: kept as a dead letter, parked
//!                                   └─ else          ─▶ sent again, same id and bytes
//!
//! nothing answered since it was sent ─▶ Silent ─ gateway's probe ─ answered ─▶ it was one lost answer
//!                                                                └ not      ─▶ "does not answer"
//! ```
//!
//! Always true: while the platform is silent no try counts, so a platform that is away never costs a row;
//! it is not said to be away before it was asked.

use std::time::Instant;

use super::peers::SELF;
use super::queued::Queued;
use super::sending::Built;
use super::{
    Flight, GivenUp, LaneId, Note, Outgoing, PACK_TRIES, Place, Platform, RESEND_FIRST, ROW_TRIES, State,
    Unit,
};
use crate::class::Class;
use crate::pipeline::handle::Fate;

impl Flight {
    /// Whether a message waits for the proof that the platform lives.
    pub(super) fn doubting(&self) -> bool {
        self.messages.values().any(|message| matches!(message.state, State::Doubt { .. }))
    }

    /// Times out what was not answered.
    pub(super) fn expire(&mut self, now: Instant) {
        let timeout = self.options.ack_timeout;
        let late = |sent: Instant| now.saturating_duration_since(sent) >= timeout;
        let mut unanswered: Option<String> = None;
        let mut ahead = Vec::new();
        for (unit, message) in &mut self.messages {
            if let State::Wire { sent } = message.state
                && late(sent)
            {
                message.state = State::Doubt { since: now };
                ahead.extend(message.ahead.then_some(*unit));
                self.window.timed_out(sent, now);
                if self.last_ack.is_none_or(|at| at < sent) {
                    unanswered.get_or_insert_with(|| unit.id(&self.options.gateway.device_key));
                }
            }
        }
        ahead.into_iter().for_each(|unit| self.give_up_ahead(unit));
        let overdue: Vec<u64> =
            self.probes.iter().filter(|(_, probe)| late(probe.sent)).map(|(number, _)| *number).collect();
        for number in overdue {
            if self.probe_missed(number, now) {
                unanswered.get_or_insert_with(|| self.probe_id(number));
            }
        }
        if let Some(id) = unanswered.filter(|_| self.is_alive()) {
            self.fall_silent(id, now);
        }
    }

    /// `true`: nothing was answered since it was sent, though something should have been.
    fn probe_missed(&mut self, number: u64, now: Instant) -> bool {
        let Some(probe) = self.probes.remove(&number) else { return false };
        let nothing_since = self.last_ack.is_none_or(|at| at < probe.sent);
        if probe.peer == SELF {
            return self.own_probe_missed(nothing_since, now);
        }
        if probe.was_known && nothing_since {
            return true;
        }
        self.peers.probe_missed(probe.peer, now, &mut self.rng);
        if self.peers.get(probe.peer).misses == 1 {
            self.notes.push(Note::Unknown(self.peers.get(probe.peer).identity.device_key.clone()));
        }
        false
    }

    /// While others are answered one lost answer of the gateway's own proves nothing; two do.
    fn own_probe_missed(&mut self, nothing_since: bool, now: Instant) -> bool {
        let own = self.peers.get_mut(SELF);
        own.probe = None;
        own.probe_at = now;
        own.misses += 1;
        let misses = own.misses;
        if !self.is_alive() {
            self.tell_silence();
            return false;
        }
        nothing_since || misses > 1
    }

    /// Only the gateway's probe is sent from now on; whatever was known may have been forgotten. Said is what
    /// is known: that this message is not answered. The gateway itself was asked already if it missed two.
    fn fall_silent(&mut self, unanswered: String, now: Instant) {
        let was_asked = self.peers.get(SELF).misses > 1;
        self.platform = Platform::Silent { ask_at: now };
        self.silent_backoff.reset();
        self.peers.forget(now);
        self.probes.clear();
        match was_asked {
            true => self.tell_silence(),
            false => self.notes.push(Note::Unanswered(unanswered)),
        }
    }

    fn tell_silence(&mut self) {
        if !self.told {
            self.told = true;
            self.notes.push(Note::Silent);
        }
    }

    /// The gateway's probe of `sent` was answered: what timed out before it was tried in earnest.
    pub(super) fn platform_lives(&mut self, sent: Instant, now: Instant) {
        if !self.is_alive() {
            self.lanes.iter_mut().for_each(|(_, lanes)| lanes.stop_hurrying());
            self.platform = Platform::Alive { since: now };
            // of what was asked meanwhile no answer is missed
            self.probes.clear();
            self.peers.platform_answered(now);
            self.told = false;
            self.notes.push(Note::Answering);
        }
        let doubtful: Vec<Unit> = self
            .messages
            .iter()
            .filter(|(_, message)| matches!(message.state, State::Doubt { since } if since <= sent))
            .map(|(unit, _)| *unit)
            .collect();
        for unit in doubtful {
            self.count_try(unit, now);
        }
    }

    /// What was sent before its turn and not answered is sent in its turn, where tries count.
    fn give_up_ahead(&mut self, unit: Unit) {
        let Some(message) = self.messages.remove(&unit) else { return };
        for (lane, place) in message.members {
            if let Some(peer) =
                self.lanes[unit.class].sendable(lane, unit.seq, place).map(|queued| queued.peer)
            {
                self.peers.get_mut(peer).busy = false;
            }
            self.lanes[unit.class].ahead_failed(lane);
        }
    }

    /// The connection is lost, and with it the answers to what went before its turn; nothing more does until
    /// the platform answers again.
    pub(super) fn stop_hurrying(&mut self) {
        let ahead = self.messages.iter().filter(|(_, message)| message.ahead);
        let ahead: Vec<Unit> = ahead.map(|(unit, _)| *unit).collect();
        ahead.into_iter().for_each(|unit| self.give_up_ahead(unit));
        self.lanes.iter_mut().for_each(|(_, lanes)| lanes.stop_hurrying());
    }

    fn count_try(&mut self, unit: Unit, now: Instant) {
        let Some(message) = self.messages.get_mut(&unit) else { return };
        message.tries += 1;
        let tries = message.tries;
        message.state = State::Again { at: now + RESEND_FIRST * (tries - 1) };
        match unit.place {
            None if tries >= PACK_TRIES => self.split(unit),
            Some(_) if tries >= ROW_TRIES => {
                let Some(message) = self.messages.remove(&unit) else { return };
                match (message.letter, message.members.first()) {
                    (Some(letter), _) => self.return_letter(*letter, false, now),
                    (None, Some((lane, _))) => self.park(unit, *lane, tries, now),
                    (None, None) => {}
                }
            }
            _ => {}
        }
    }

    /// The rows of a pack go alone, and so do later ones of these devices until one of them was answered.
    pub(super) fn split(&mut self, unit: Unit) {
        self.lanes[unit.class].break_up(unit.seq);
        let Some(message) = self.messages.remove(&unit) else { return };
        for (lane, _) in message.members {
            if let Some(queued) = self.lanes[unit.class].front(lane) {
                let peer = self.peers.get_mut(queued.peer);
                peer.busy = false;
                peer.alone = true;
            }
        }
    }

    /// Gives up the front row of a lane.
    pub(super) fn park(&mut self, unit: Unit, lane: LaneId, tries: u32, now: Instant) {
        let Some(queued) = self.lanes[unit.class].front(lane) else { return };
        let (device, peer) = (queued.row.device.clone(), queued.peer);
        let (samples, members) = (queued.row.samples, [(lane, queued.place)]);
        if let Some(Built { outgoing: Outgoing { topic, payload: message, .. }, .. }) =
            self.build(unit, &members)
        {
            let id = unit.id(&self.options.gateway.device_key);
            self.notes.push(Note::GivenUp(GivenUp { id, device, topic, samples, tries, message }));
        }
        self.peers.get_mut(peer).busy = false;
        self.settle(unit.class, lane, Fate::Parked, now);
    }

    /// Nobody should wait behind this row: its message was not answered in time, or its device not at all.
    pub(super) fn holds_up(&self, class: Class, queued: &Queued, now: Instant) -> bool {
        let refused = !self.peers.is_known(queued.peer, now) && self.peers.get(queued.peer).misses > 0;
        refused || self.in_trouble(class, queued.seq, queued.place)
    }

    /// Its message was not answered in time.
    fn in_trouble(&self, class: Class, seq: u64, place: Place) -> bool {
        let units = [None, Some(place)].map(|place| Unit { class, seq, place });
        units
            .iter()
            .filter_map(|unit| self.messages.get(unit))
            .any(|message| message.tries > 0 || !matches!(message.state, State::Wire { .. }))
    }
}
