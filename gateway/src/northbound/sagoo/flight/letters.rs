//! Rows that were given up and are tried again because somebody asked for it.
//!
//! Always true: such a letter is sent under its own id with its own bytes, by the rules of rows: only to
//! a device that is known, one un-acknowledged at a time, at its distance to the rows before it; while it
//! has its turn the rows of its device wait. After [`ROW_TRIES`](super::ROW_TRIES) counted tries it is
//! returned as it came.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::{Flight, Kind, Message, Outgoing, State, Unit, peers};
use crate::northbound::sagoo::topic;

/// A row that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Of its message.
    pub id: String,
    /// Name in the configuration.
    pub device: Arc<str>,
    /// Where it goes.
    pub topic: String,
    /// Samples it accounts for.
    pub samples: u32,
    /// As it was sent.
    pub payload: String,
}

/// A letter that has had its tries, or was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Returned {
    /// Of its message.
    pub id: String,
    /// Name in the configuration.
    pub device: Arc<str>,
    /// Samples it accounts for.
    pub samples: u32,
    /// The platform has it.
    pub answered: bool,
}

/// Why a letter cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unsendable {
    /// Answers come with our own key in front.
    #[error("it was given up by a gateway with another device key; no answer would be known for its own")]
    Foreign,
    /// The broker would end the connection.
    #[error("it is too large for one message")]
    TooLarge,
    /// The row itself is in flight.
    #[error("its row is on its way already")]
    InFlight,
}

/// A letter in flight.
#[derive(Debug)]
pub(super) struct Held {
    letter: Letter,
    peer: usize,
    set: Option<u64>,
    /// It is its device's turn.
    has_turn: bool,
}

impl Held {
    pub(super) fn outgoing(&self) -> Outgoing {
        Outgoing { topic: self.letter.topic.clone(), payload: self.letter.payload.clone(), before: None }
    }

    pub(super) fn peer(&self) -> usize {
        self.peer
    }

    pub(super) fn set(&self) -> Option<u64> {
        self.set
    }
}

impl Flight {
    /// Takes a letter; it comes back by [`Flight::take_returned`].
    pub fn send_letter(&mut self, letter: Letter, now: Instant) -> Result<(), Unsendable> {
        let unit = self.unit_of(&letter.id).ok_or(Unsendable::Foreign)?;
        let (identity, kind) = match topic::parse_post(&letter.topic) {
            Some((identity, true)) => (identity, Kind::Pack),
            Some((identity, false)) => (identity, Kind::Property),
            None => return Err(Unsendable::Foreign),
        };
        if letter.payload.len() > super::MAX_ROW_BYTES {
            return Err(Unsendable::TooLarge);
        }
        if self.messages.contains_key(&unit) {
            return Err(Unsendable::InFlight);
        }
        let peer = self.peers.of(&letter.device, &identity, now);
        let set = peers::set_of_message(&letter.payload);
        let held = Box::new(Held { letter, peer, set, has_turn: false });
        let message = Message {
            members: Vec::new(),
            reply: (kind, identity.device_key),
            state: State::Again { at: now },
            tries: 0,
            ahead: false,
            letter: Some(held),
        };
        self.messages.insert(unit, message);
        Ok(())
    }

    /// Somebody does not want it sent any more. `false`: too late, it is on the wire.
    pub fn take_back(&mut self, id: &str) -> bool {
        let Some(unit) = self.unit_of(id) else { return true };
        match self.messages.get(&unit) {
            Some(Message { letter: Some(_), state: State::Again { .. }, .. }) => {}
            Some(Message { letter: Some(_), .. }) => return false,
            _ => return true,
        }
        if let Some(held) = self.messages.remove(&unit).and_then(|message| message.letter)
            && held.has_turn
        {
            self.peers.get_mut(held.peer).busy = false;
        }
        true
    }

    /// When a letter may be sent; `None`: its device is not known, or another row has its turn.
    pub(super) fn letter_at(
        &mut self,
        unit: Unit,
        now: Instant,
        wanted: &mut BTreeSet<usize>,
    ) -> Option<Instant> {
        let held = self.messages.get_mut(&unit)?.letter.as_mut()?;
        if !self.peers.is_known(held.peer, now) {
            wanted.insert(held.peer);
            return None;
        }
        if !held.has_turn {
            let peer = self.peers.get_mut(held.peer);
            if peer.busy {
                return None;
            }
            // else a row of another set would come before it again and again
            peer.busy = true;
            held.has_turn = true;
        }
        Some(self.peers.ready_at(held.peer, held.set).unwrap_or(now))
    }

    /// It is answered, or has had its tries.
    pub(super) fn return_letter(&mut self, held: Held, answered: bool, now: Instant) {
        match answered {
            true => self.peers.row_answered(held.peer, now),
            false => self.peers.get_mut(held.peer).busy = false,
        }
        let Letter { id, device, samples, .. } = held.letter;
        self.returned.push(Returned { id, device, samples, answered });
    }

    /// Letters that are answered or have had their tries, since the last call.
    pub fn take_returned(&mut self) -> Vec<Returned> {
        std::mem::take(&mut self.returned)
    }

    fn unit_of(&self, id: &str) -> Option<Unit> {
        let rest = id.strip_prefix(&*self.options.gateway.device_key)?.strip_prefix('-')?;
        Unit::parse(rest)
    }
}
