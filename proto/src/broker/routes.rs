//! The broker's rules, without a socket or a task: who waits for what, and what to send.
//!
//! ```text
//! a socket per connection          one connection for all
//! accept → Send(info)              knock in → expected, Send(ack); the next stream in is its own
//! info in → Connect, or kept 5 s   dial → Send(knock); ack in → Open
//! ```
//! Always true:
//! - nothing waits without a deadline, and every collection has a limit;
//! - each side numbers its ids itself, so the same id in both directions is two connections;
//! - every knock the other side granted is followed by exactly one stream, even if nobody wants it
//!   any more: a Go side gives the next stream, whatever it is, to the id it granted last;
//! - from a knock until its stream is heard from, no other stream is opened.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::error::BrokerError;
use super::words::{answer, checked, info, knock, shown};
use crate::handshake::Address;
use crate::plugin::ConnInfo;
use crate::plugin::conn_info::Knock;

/// Longest wait for a connection info or for the answer to a knock, and how long an info nobody
/// asked for is kept. Go's own limit.
pub(super) const WAIT: Duration = Duration::from_secs(5);
/// How long a knock waits for its listener. Shorter than [`WAIT`], so that the other side hears
/// why before it gives up.
const EARLY: Duration = Duration::from_secs(4);
/// Most ids accepted at a time.
pub(super) const MAX_LISTENERS: usize = 64;
/// Most dials waiting at a time.
pub(super) const MAX_DIALS: usize = 64;
/// Most infos or knocks kept for somebody who has not asked yet; further ones are dropped.
pub(super) const MAX_KEPT: usize = 64;

/// How connections are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Each through a socket of its own.
    Sockets,
    /// All inside one connection.
    OneConnection,
}

/// What the rules ask for.
#[derive(Debug)]
pub(super) enum Effect<W> {
    /// Say this on the broker's stream.
    Send(ConnInfo),
    /// Tell the one who waits where to connect.
    Connect(W, Address),
    /// Open a stream inside the one connection; without anybody who wants it, close it again.
    Open(Option<W>),
    /// Tell the one who waits that nothing will come.
    Fail(W, BrokerError),
}

/// The stream that carries infos and knocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    /// Not there yet, or broken: it may come.
    Awaited,
    Open,
    /// The other side does not know the service: it will not come.
    Unsupported,
}

#[derive(Debug)]
struct Waiting<W> {
    id: u32,
    waiter: W,
    until: Instant,
}

/// Whose turn it is to open a stream.
#[derive(Debug)]
enum Turn<W> {
    /// The knock is (to be) sent.
    Knocking(Waiting<W>),
    /// The stream is opened and not heard from yet.
    Opening { until: Instant },
}

/// The state. `W` is whatever waits for a connection; the rules only hand it back.
#[derive(Debug)]
pub(super) struct Routes<W> {
    way: Way,
    stream: Stream,
    /// What this side accepts, with the socket if it has one.
    listeners: BTreeMap<u32, Option<Address>>,
    /// Infos that arrived before anybody asked.
    kept: BTreeMap<u32, (ConnInfo, Instant)>,
    /// Dials that wait for an info, oldest first.
    waiting: Vec<Waiting<W>>,
    /// Dials that wait for their turn; no id is the main connection, which needs no knock.
    queue: VecDeque<(Option<u32>, W)>,
    turn: Option<Turn<W>>,
    /// Knocks that arrived before their listener.
    early: BTreeMap<u32, Instant>,
    /// Ids whose knock was granted and whose stream has not come yet.
    expected: VecDeque<(u32, Instant)>,
    effects: VecDeque<Effect<W>>,
}

impl<W> Routes<W> {
    pub(super) fn new(way: Way) -> Self {
        Self {
            way,
            stream: Stream::Awaited,
            listeners: BTreeMap::new(),
            kept: BTreeMap::new(),
            waiting: Vec::new(),
            queue: VecDeque::new(),
            turn: None,
            early: BTreeMap::new(),
            expected: VecDeque::new(),
            effects: VecDeque::new(),
        }
    }

    /// What to do next, in order.
    pub(super) fn effect(&mut self) -> Option<Effect<W>> {
        self.effects.pop_front()
    }

    /// A new stream to the other side; an earlier one is forgotten. All open listeners are said
    /// again: the other side may be a new process.
    pub(super) fn attach(&mut self, now: Instant) {
        if self.stream == Stream::Open {
            self.detach(now);
        }
        self.stream = Stream::Open;
        let infos = self.listeners.iter().filter_map(|(id, address)| Some(info(*id, address.as_ref()?)));
        self.effects.extend(infos.map(Effect::Send));
        if let Some(Turn::Knocking(dial)) = &mut self.turn {
            dial.until = now + WAIT;
            self.effects.push_back(Effect::Send(knock(dial.id)));
        }
    }

    /// The stream broke. Whoever waits for something on it hears so at once.
    pub(super) fn detach(&mut self, now: Instant) {
        self.stream = Stream::Awaited;
        self.give_up(now, BrokerError::Lost);
    }

    /// The other side has no broker, and will not have one.
    pub(super) fn unsupported(&mut self, now: Instant) {
        self.stream = Stream::Unsupported;
        self.give_up(now, |_| BrokerError::Unsupported);
    }

    fn give_up(&mut self, now: Instant, why: impl Fn(u32) -> BrokerError) {
        self.kept.clear();
        self.early.clear();
        for dial in self.waiting.drain(..) {
            self.effects.push_back(Effect::Fail(dial.waiter, why(dial.id)));
        }
        for (id, waiter) in std::mem::take(&mut self.queue) {
            match id {
                Some(id) => self.effects.push_back(Effect::Fail(waiter, why(id))),
                None => self.queue.push_back((None, waiter)),
            }
        }
        if let Some(dial) = self.take_knocking(|_| true) {
            self.effects.push_back(Effect::Fail(dial.waiter, why(dial.id)));
        }
        self.next_turn(now);
    }

    /// Accepts an id from now on; `address` is its socket.
    pub(super) fn listen(
        &mut self,
        id: u32,
        address: Option<Address>,
        now: Instant,
    ) -> Result<(), BrokerError> {
        if self.listeners.contains_key(&id) {
            return Err(BrokerError::InUse(id));
        }
        if self.listeners.len() >= MAX_LISTENERS {
            return Err(BrokerError::Full { what: "listeners", limit: MAX_LISTENERS });
        }
        if let Some(address) = &address
            && self.stream == Stream::Open
        {
            self.effects.push_back(Effect::Send(info(id, address)));
        }
        self.listeners.insert(id, address);
        if self.early.remove(&id).is_some() {
            self.grant(id, now);
        }
        Ok(())
    }

    /// Accepts an id no more.
    pub(super) fn unlisten(&mut self, id: u32) {
        self.listeners.remove(&id);
    }

    /// Somebody wants a connection to an id of the other side.
    pub(super) fn dial(&mut self, id: u32, waiter: W, now: Instant) {
        if self.stream == Stream::Unsupported {
            return self.effects.push_back(Effect::Fail(waiter, BrokerError::Unsupported));
        }
        if self.waiting.len() + self.queue.len() >= MAX_DIALS {
            let full = BrokerError::Full { what: "waiting dials", limit: MAX_DIALS };
            return self.effects.push_back(Effect::Fail(waiter, full));
        }
        match self.way {
            Way::OneConnection => {
                self.queue.push_back((Some(id), waiter));
                self.next_turn(now);
            }
            Way::Sockets => match self.kept.remove(&id) {
                Some((info, _)) => self.connect(waiter, info),
                None => self.waiting.push(Waiting { id, waiter, until: now + WAIT }),
            },
        }
    }

    /// Somebody wants the main connection, ahead of all that is brokered on it.
    pub(super) fn dial_main(&mut self, waiter: W, now: Instant) {
        self.queue.push_front((None, waiter));
        self.next_turn(now);
    }

    /// The other side said something.
    pub(super) fn received(&mut self, info: ConnInfo, now: Instant) {
        let id = info.service_id;
        match (self.way, info.knock.as_ref()) {
            (Way::OneConnection, Some(Knock { knock: true, ack: false, .. })) => self.knocked(id, now),
            (Way::OneConnection, Some(Knock { knock: true, ack: true, error })) => {
                let error = shown(error);
                self.answered(id, error, now);
            }
            (Way::Sockets, None) => self.offered(info, now),
            // A word of the other way of connecting, or of a later version: it concerns nobody.
            _ => {}
        }
    }

    fn offered(&mut self, info: ConnInfo, now: Instant) {
        let id = info.service_id;
        if let Some(first) = self.waiting.iter().position(|dial| dial.id == id) {
            let dial = self.waiting.remove(first);
            self.connect(dial.waiter, info);
        } else if self.kept.len() < MAX_KEPT {
            // The first one counts, as in Go.
            self.kept.entry(id).or_insert((info, now + WAIT));
        }
    }

    fn connect(&mut self, waiter: W, info: ConnInfo) {
        let effect = match checked(info) {
            Ok(address) => Effect::Connect(waiter, address),
            Err(error) => Effect::Fail(waiter, error),
        };
        self.effects.push_back(effect);
    }

    fn knocked(&mut self, id: u32, now: Instant) {
        if self.listeners.contains_key(&id) {
            self.grant(id, now);
        } else if self.early.len() < MAX_KEPT {
            self.early.entry(id).or_insert(now + EARLY);
        }
    }

    fn grant(&mut self, id: u32, now: Instant) {
        if self.expected.len() >= MAX_KEPT {
            let full = BrokerError::Full { what: "granted knocks", limit: MAX_KEPT };
            return self.effects.push_back(Effect::Send(answer(id, &full.to_string())));
        }
        self.expected.push_back((id, now + WAIT));
        self.effects.push_back(Effect::Send(answer(id, "")));
    }

    fn answered(&mut self, id: u32, error: String, now: Instant) {
        let dial = self.take_knocking(|dial| dial.id == id);
        if error.is_empty() {
            let waiter = dial.map(|dial| {
                self.turn = Some(Turn::Opening { until: now + WAIT });
                dial.waiter
            });
            self.effects.push_back(Effect::Open(waiter));
        } else if let Some(dial) = dial {
            self.effects.push_back(Effect::Fail(dial.waiter, BrokerError::Refused { id, reason: error }));
            self.next_turn(now);
        }
    }

    /// Whose the stream is that just came in; nobody's means the main server's.
    pub(super) fn stream_in(&mut self, now: Instant) -> Option<u32> {
        self.expected.retain(|(_, until)| *until > now);
        self.expected.pop_front().map(|(id, _)| id)
    }

    /// The one connection is a new one: what was granted on the old one will not come.
    pub(super) fn new_session(&mut self) {
        self.expected.clear();
    }

    /// The stream opened last was heard from, or is gone.
    pub(super) fn turn_over(&mut self, now: Instant) {
        if let Some(Turn::Opening { .. }) = self.turn {
            self.turn = None;
            self.next_turn(now);
        }
    }

    fn take_knocking(&mut self, which: impl Fn(&Waiting<W>) -> bool) -> Option<Waiting<W>> {
        match self.turn.take() {
            Some(Turn::Knocking(dial)) if which(&dial) => Some(dial),
            other => {
                self.turn = other;
                None
            }
        }
    }

    fn next_turn(&mut self, now: Instant) {
        if self.turn.is_some() {
            return;
        }
        let Some((id, waiter)) = self.queue.pop_front() else { return };
        let until = now + WAIT;
        self.turn = Some(match id {
            None => {
                self.effects.push_back(Effect::Open(Some(waiter)));
                Turn::Opening { until }
            }
            Some(id) => {
                // Before the stream is there, the knock waits for it.
                if self.stream == Stream::Open {
                    self.effects.push_back(Effect::Send(knock(id)));
                }
                Turn::Knocking(Waiting { id, waiter, until })
            }
        });
    }

    /// When [`Self::expire`] has something to do.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let turn = self.turn.iter().map(|turn| match turn {
            Turn::Knocking(dial) => dial.until,
            Turn::Opening { until } => *until,
        });
        let kept = self.kept.values().map(|(_, until)| *until);
        let waiting = self.waiting.iter().map(|dial| dial.until);
        let expected = self.expected.iter().map(|(_, until)| *until);
        turn.chain(kept).chain(waiting).chain(expected).chain(self.early.values().copied()).min()
    }

    /// Ends every wait whose time is over.
    pub(super) fn expire(&mut self, now: Instant) {
        self.kept.retain(|_, (_, until)| *until > now);
        self.expected.retain(|(_, until)| *until > now);
        while let Some(late) = self.waiting.iter().position(|dial| dial.until <= now) {
            let Waiting { id, waiter, .. } = self.waiting.remove(late);
            self.effects.push_back(Effect::Fail(waiter, BrokerError::NoInfo { id, limit: WAIT }));
        }
        while let Some((&id, _)) = self.early.iter().find(|(_, until)| **until <= now) {
            self.early.remove(&id);
            self.effects.push_back(Effect::Send(answer(id, &format!("nobody accepts id {id}"))));
        }
        if let Some(Waiting { id, waiter, .. }) = self.take_knocking(|dial| dial.until <= now) {
            self.effects.push_back(Effect::Fail(waiter, BrokerError::NoAnswer { id, limit: WAIT }));
        }
        if matches!(self.turn, Some(Turn::Opening { until }) if until <= now) {
            self.turn = None;
        }
        self.next_turn(now);
    }
}

#[cfg(test)]
mod tests;
