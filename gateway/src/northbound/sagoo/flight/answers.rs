//! What an acknowledgement settles.
//!
//! Always true: it counts only for what it names, on the topic of the form it was sent in; repeated,
//! unknown and misplaced ones change nothing.

use std::time::Instant;

use super::peers::SELF;
use super::{Flight, Kind, Platform, SILENT_FIRST, State, Unit};
use crate::pipeline::handle::{Fate, SaidAhead};

impl Flight {
    /// The platform acknowledged. Repeated, unknown and misplaced acknowledgements change nothing.
    pub fn acknowledged(&mut self, kind: Kind, device_key: &str, id: &str, now: Instant) {
        let ours = id.strip_prefix(&*self.options.gateway.device_key).and_then(|id| id.strip_prefix('-'));
        let Some(rest) = ours else { return };
        if let Some(number) = rest.strip_prefix('p') {
            let number = number.strip_prefix(&self.run()).and_then(|number| number.parse().ok());
            if let (Some(number), Kind::Pack) = (number, kind) {
                self.probe_answered(number, device_key, now);
            }
        } else if let Some(unit) = Unit::parse(rest) {
            self.unit_answered(unit, kind, device_key, now);
        }
    }

    fn probe_answered(&mut self, number: u64, device_key: &str, now: Instant) {
        let Some(probe) = self.probes.get(&number).copied() else { return };
        if *self.peers.get(probe.peer).identity.device_key != *device_key {
            return;
        }
        self.probes.remove(&number);
        self.last_ack = Some(now);
        self.counts.answered_probes += 1;
        self.peers.probe_answered(probe.peer, now);
        if probe.peer == SELF {
            self.platform_lives(probe.sent, now);
        }
    }

    fn unit_answered(&mut self, unit: Unit, kind: Kind, device_key: &str, now: Instant) {
        match self.messages.get(&unit) {
            Some(message) if message.reply.0 == kind && *message.reply.1 == *device_key => {}
            _ => return,
        }
        let Some(message) = self.messages.remove(&unit) else { return };
        self.last_ack = Some(now);
        self.counts.acknowledged_messages += 1;
        if let State::Wire { sent } = message.state {
            self.window.answered(now.saturating_duration_since(sent));
        }
        if unit.place.is_none() {
            self.lanes[unit.class].break_up(unit.seq);
        }
        if let Some(letter) = message.letter {
            self.return_letter(*letter, true, now);
        }
        // the same for all of a pack, so that they can go on together
        let times = 0.5 + self.rng.f64();
        for (lane, place) in message.members {
            if let Some(peer) =
                self.lanes[unit.class].sendable(lane, unit.seq, place).map(|queued| queued.peer)
            {
                self.peers.row_answered(peer, now);
                self.peers.get_mut(peer).alone &= unit.place.is_none();
            }
            if message.ahead {
                let (class, lanes) = (unit.class, &mut self.lanes[unit.class]);
                let (range, device) = (lanes.ahead_answered(lane), lanes.device(lane).clone());
                self.said_ahead.extend(range.map(|range| SaidAhead { class, device, range }));
            } else {
                self.lanes[unit.class].rest(lane, times, now);
                self.settle(unit.class, lane, Fate::Acknowledged, now);
            }
        }
        if let Platform::Silent { ask_at } = &mut self.platform {
            *ask_at = (*ask_at).min(now + SILENT_FIRST);
        }
    }
}
