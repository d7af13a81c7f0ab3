//! What goes out now: messages to be sent again first, then the oldest rows that may go, then what
//! [`super::asking`] has to ask.
//!
//! Always true: nothing leaves but by [`Flight::poll`], and only as much as the link has room for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use super::peers::SELF;
use super::{
    Flight, Kind, LaneId, MAX_PACK_BYTES, MAX_ROW_BYTES, Message, Note, Outgoing, PATIENCE, Place, Plan,
    Platform, START_PATIENCE, State, Unit,
};
use crate::class::Class;
use crate::northbound::sagoo::payload::build;
use crate::northbound::sagoo::payload::clean::Losses;
use crate::northbound::sagoo::topic;
use crate::row::{GATEWAY, Row};

/// What may be done with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Judgement {
    /// All of it can go.
    Go,
    /// Not yet; look again then, or when something happens.
    Wait(Instant),
    /// Its rows go alone.
    Alone,
}

/// A message, and what is known of it.
pub(super) struct Built {
    pub(super) outgoing: Outgoing,
    pub(super) reply: (Kind, Arc<str>),
    pub(super) losses: Losses,
}

impl Flight {
    /// What to send now; the caller hands all of it to the link. `room`: how many messages that takes.
    pub fn poll(&mut self, now: Instant, room: usize) -> Plan {
        let mut plan = Plan { room, ..Plan::default() };
        self.expire(now);
        self.window.wanted(false);
        match self.platform {
            Platform::Down => return plan,
            Platform::Silent { ask_at } => self.ask_for_self(ask_at, now, &mut plan),
            Platform::Alive { since } => {
                let mut wanted = BTreeSet::new();
                self.send_again(now, &mut wanted, &mut plan);
                self.send_new(since, now, &mut wanted, &mut plan);
                self.ask(&wanted, now, &mut plan);
            }
        }
        for message in self.messages.values() {
            if let State::Wire { sent } = message.state {
                plan.wake_at(sent + self.options.ack_timeout);
            }
        }
        if let Some(sent) = self.probes.values().map(|probe| probe.sent).min() {
            plan.wake_at(sent + self.options.ack_timeout);
        }
        plan
    }

    /// Whether another message may be out beside these.
    pub(super) fn has_place(&mut self, on_wire: usize) -> bool {
        let free = on_wire < self.window.size();
        self.window.wanted(!free);
        free
    }

    fn send_again(&mut self, now: Instant, wanted: &mut BTreeSet<usize>, plan: &mut Plan) {
        let again: Vec<(Unit, Instant)> = self
            .messages
            .iter()
            .filter_map(|(unit, message)| match message.state {
                State::Again { at } => Some((*unit, at)),
                _ => None,
            })
            .collect();
        let mut on_wire = self.in_flight();
        for (unit, at) in again {
            let is_letter = self.messages.get(&unit).is_some_and(|message| message.letter.is_some());
            let ready_at = match is_letter {
                true => self.letter_at(unit, now, wanted),
                false => self.resend_at(unit, now, wanted),
            };
            let Some(ready_at) = ready_at else { continue };
            let at = ready_at.max(at);
            if at > now {
                plan.wake_at(at);
                continue;
            }
            if !self.has_place(on_wire) || !plan.has_room() {
                return;
            }
            let Some(members) = self.messages.get(&unit).map(|message| message.members.clone()) else {
                continue;
            };
            let Some(built) = self.build(unit, &members) else { continue };
            self.put_on_wire(unit, &members, built.reply, false, now);
            self.counts.resent_messages += 1;
            on_wire += 1;
            plan.push(built.outgoing);
        }
    }

    /// When a message may be sent again; `None`: some of its devices are not known yet, or it was split.
    fn resend_at(&mut self, unit: Unit, now: Instant, wanted: &mut BTreeSet<usize>) -> Option<Instant> {
        let mut at = now;
        let (mut unknown, mut refused) = (false, false);
        for (lane, _) in &self.messages.get(&unit)?.members {
            let queued = self.lanes[unit.class].front(*lane)?;
            if !self.peers.is_known(queued.peer, now) {
                unknown = true;
                refused |= self.peers.get(queued.peer).misses > 0;
                wanted.insert(queued.peer);
            }
            at = at.max(self.peers.ready_at(queued.peer, queued.set).unwrap_or(now));
        }
        if refused && unit.place.is_none() {
            self.split(unit);
        }
        (!unknown).then_some(at)
    }

    fn send_new(
        &mut self,
        alive_since: Instant,
        now: Instant,
        wanted: &mut BTreeSet<usize>,
        plan: &mut Plan,
    ) {
        for class in Class::ALL {
            for lane in 0..self.lanes[class].len() {
                if self.settle_the_unsaid(class, lane, now) && self.lanes[class].is_behind(lane) {
                    // there is room to read more
                    plan.wake_at(now);
                }
            }
            // one class after the other: a device whose event goes now is busy for its rows
            self.send_new_of(class, alive_since, now, wanted, plan);
        }
    }

    fn send_new_of(
        &mut self,
        class: Class,
        alive_since: Instant,
        now: Instant,
        wanted: &mut BTreeSet<usize>,
        plan: &mut Plan,
    ) {
        let (mut ahead, mut candidates) = (Vec::new(), BTreeMap::new());
        let mut judged: BTreeMap<u64, Judgement> = BTreeMap::new();
        for lane in 0..self.lanes[class].len() {
            let hurry = self.may_hurry(class, lane, now, wanted, plan);
            let lanes = &self.lanes[class];
            let rests = lanes.rests_until(lane).filter(|until| *until > now);
            if hurry && (!lanes.ahead_had_its_turn(lane) || lanes.front(lane).is_none() || rests.is_some()) {
                ahead.push(lane);
                continue;
            }
            if let Some(until) = rests {
                plan.wake_at(until);
                continue;
            }
            let Some(front) = lanes.front(lane).filter(|_| lanes.may_speak(lane)) else { continue };
            if self.peers.get(front.peer).busy {
                continue;
            }
            let (seq, place) = (front.seq, front.place);
            if let Some(members) = lanes.whole(seq) {
                let judgement = match judged.get(&seq) {
                    Some(judgement) => *judgement,
                    None => {
                        let until = self.patience((class, lane, seq), alive_since, now);
                        self.judge((class, seq), members, until, now, wanted)
                    }
                };
                judged.insert(seq, judgement);
                match judgement {
                    Judgement::Go => {
                        candidates.insert(Unit { class, seq, place: None }, lane);
                        continue;
                    }
                    Judgement::Wait(at) => {
                        plan.wake_at(at);
                        continue;
                    }
                    Judgement::Alone => self.lanes[class].break_up(seq),
                }
            }
            let Some(front) = self.lanes[class].front(lane) else { continue };
            if !self.peers.is_known(front.peer, now) {
                wanted.insert(front.peer);
                continue;
            }
            match self.peers.ready_at(front.peer, front.set) {
                Some(at) if at > now => plan.wake_at(at),
                _ => {
                    candidates.insert(Unit { class, seq, place: Some(place) }, lane);
                }
            }
        }
        self.send_ahead(class, ahead, now, plan);
        self.send_candidates(candidates, now, plan);
    }

    /// How long the record waits for all its devices.
    fn patience(
        &self,
        (class, lane, seq): (Class, LaneId, u64),
        alive_since: Instant,
        now: Instant,
    ) -> Instant {
        let until = self.lanes[class].front_since(lane).unwrap_or(now).max(alive_since) + PATIENCE;
        // It may have been sent as a pack before the restart, and shall be one again.
        let old = seq < self.options.written_before[class];
        if old { until.max(alive_since + START_PATIENCE) } else { until }
    }

    fn judge(
        &self,
        (class, seq): (Class, u64),
        members: &[(LaneId, Place)],
        until: Instant,
        now: Instant,
        wanted: &mut BTreeSet<usize>,
    ) -> Judgement {
        let mut peers = BTreeSet::new();
        let mut ready_at = now;
        let mut waiting = false;
        for (lane, place) in members {
            let Some(queued) = self.lanes[class].front_if(*lane, seq, *place) else {
                let earlier = self.lanes[class].front(*lane);
                if earlier.is_none_or(|earlier| self.holds_up(class, earlier, now)) {
                    return Judgement::Alone;
                }
                waiting = true;
                continue;
            };
            let peer = self.peers.get(queued.peer);
            if self.lanes[class].hurries(*lane)
                || peer.alone
                || queued.row.device.as_ref() == GATEWAY
                || !peers.insert(queued.peer)
            {
                return Judgement::Alone;
            }
            if !self.peers.is_known(queued.peer, now) {
                wanted.insert(queued.peer);
                if peer.misses > 0 {
                    return Judgement::Alone;
                }
                waiting = true;
            }
            waiting |= peer.busy;
            let rests = self.lanes[class].rests_until(*lane);
            ready_at = ready_at.max(self.peers.ready_at(queued.peer, queued.set).max(rests).unwrap_or(now));
        }
        match (waiting, ready_at > now) {
            (false, false) => Judgement::Go,
            _ if now >= until => Judgement::Alone,
            (false, true) => Judgement::Wait(ready_at.min(until)),
            (true, _) => Judgement::Wait(until),
        }
    }
}

impl Flight {
    /// Oldest first, so that nobody waits for ever when the window is small.
    fn send_candidates(&mut self, candidates: BTreeMap<Unit, LaneId>, now: Instant, plan: &mut Plan) {
        let mut on_wire = self.in_flight();
        for (unit, lane) in candidates {
            let members = match unit.place {
                None => self.lanes[unit.class].whole(unit.seq).unwrap_or_default().to_vec(),
                Some(place) => vec![(lane, place)],
            };
            let busy = |(lane, _): &(LaneId, Place)| {
                self.lanes[unit.class].front(*lane).is_none_or(|queued| self.peers.get(queued.peer).busy)
            };
            if members.is_empty() || members.iter().any(busy) {
                continue;
            }
            if !self.has_place(on_wire) || !plan.has_room() {
                return;
            }
            let Some(built) = self.build(unit, &members) else { continue };
            if unit.place.is_none() && built.outgoing.payload.len() > MAX_PACK_BYTES {
                self.lanes[unit.class].break_up(unit.seq);
                plan.wake_at(now);
                continue;
            }
            if built.outgoing.payload.len() > MAX_ROW_BYTES {
                self.park(unit, lane, 0, now);
                plan.wake_at(now);
                continue;
            }
            self.put_on_wire(unit, &members, built.reply, false, now);
            self.say(&members, unit, built.losses, built.outgoing, plan);
            on_wire += 1;
        }
    }

    /// The first time.
    pub(super) fn say(
        &mut self,
        members: &[(LaneId, Place)],
        unit: Unit,
        losses: Losses,
        outgoing: Outgoing,
        plan: &mut Plan,
    ) {
        let rows = members
            .iter()
            .filter_map(|(lane, place)| self.lanes[unit.class].sendable(*lane, unit.seq, *place));
        let first = rows.clone().next().map(|queued| queued.row.identity.device_key.clone());
        self.counts.sent_samples += rows.map(|queued| u64::from(queued.row.samples)).sum::<u64>();
        self.counts.sent_messages += 1;
        if let Some(key) = first.filter(|_| losses.any())
            && self.lossy.insert(key.clone())
        {
            self.notes.push(Note::Lossy(key, losses));
        }
        plan.push(outgoing);
    }

    /// The message of a unit; depends on its rows and the gateway's keys alone.
    pub(super) fn build(&self, unit: Unit, members: &[(LaneId, Place)]) -> Option<Built> {
        let message = self.messages.get(&unit);
        if let Some((message, letter)) = message.and_then(|message| Some((message, message.letter.as_ref()?)))
        {
            let (outgoing, reply) = (letter.outgoing(), message.reply.clone());
            return Some(Built { outgoing, reply, losses: Losses::default() });
        }
        let gateway = &self.options.gateway;
        let id = unit.id(&gateway.device_key);
        let rows: Vec<&Row> = members
            .iter()
            .filter_map(|(lane, place)| self.lanes[unit.class].sendable(*lane, unit.seq, *place))
            .map(|queued| &*queued.row)
            .collect();
        let own = unit.place.and_then(|_| rows.first()).copied();
        let identity = own.map_or(gateway, |row| &row.identity);
        let report = own.filter(|row| *row.device == *GATEWAY && row.event.is_none());
        if let Some((payload, losses)) = report.and_then(|row| build::property_post(&id, row)) {
            let outgoing = Outgoing { topic: topic::property_post(identity), payload, before: None };
            return Some(Built { outgoing, reply: (Kind::Property, identity.device_key.clone()), losses });
        }
        let (payload, losses) = build::pack_post(&id, &rows);
        let outgoing = Outgoing { topic: topic::pack_post(identity), payload, before: None };
        (!rows.is_empty()).then(|| Built {
            outgoing,
            reply: (Kind::Pack, identity.device_key.clone()),
            losses,
        })
    }

    pub(super) fn put_on_wire(
        &mut self,
        unit: Unit,
        members: &[(LaneId, Place)],
        reply: (Kind, Arc<str>),
        ahead: bool,
        now: Instant,
    ) {
        for (lane, place) in members {
            if let Some(queued) = self.lanes[unit.class].sendable(*lane, unit.seq, *place) {
                self.peers.row_sent(queued.peer, queued.set, now);
            }
            self.lanes[unit.class].takes_turn(*lane, ahead);
        }
        if unit.place.is_none() {
            self.peers.touched(SELF, now);
        }
        let state = State::Wire { sent: now };
        let message = self.messages.entry(unit).or_insert(Message {
            members: members.to_vec(),
            reply,
            state,
            tries: 0,
            ahead,
            letter: None,
        });
        message.state = state;
        if let Some(letter) = &message.letter {
            self.peers.row_sent(letter.peer(), letter.set(), now);
        }
    }
}
