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
mod tests {
    use proptest::prelude::*;

    use super::super::words::signal;
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sockets() -> Routes<u32> {
        attached(Way::Sockets)
    }

    fn one_connection() -> Routes<u32> {
        attached(Way::OneConnection)
    }

    fn attached(way: Way) -> Routes<u32> {
        let mut routes = Routes::new(way);
        routes.attach(Instant::now());
        routes
    }

    fn at(id: u32, network: &str, address: &str) -> ConnInfo {
        ConnInfo { service_id: id, network: network.into(), address: address.into(), knock: None }
    }

    /// All that is to do, in words.
    fn acts(routes: &mut Routes<u32>) -> Vec<String> {
        std::iter::from_fn(|| routes.effect())
            .map(|effect| match effect {
                Effect::Send(ConnInfo { service_id, address, knock: None, .. }) => {
                    format!("send {service_id} at {address}")
                }
                Effect::Send(ConnInfo { service_id, knock: Some(Knock { ack, error, .. }), .. }) => {
                    format!("send {} {service_id} {error}", if ack { "answer" } else { "knock" })
                }
                Effect::Connect(waiter, address) => format!("connect {waiter} to {address}"),
                Effect::Open(waiter) => format!("open for {waiter:?}"),
                Effect::Fail(waiter, error) => format!("fail {waiter}: {error}"),
            })
            .collect()
    }

    #[test]
    fn an_info_is_taken_once_whether_it_comes_before_the_dial_or_after() {
        let (mut routes, now) = (sockets(), Instant::now());
        routes.received(at(7, "unix", "/run/a"), now);
        routes.dial(7, 1, now + 4 * SECOND);
        assert_eq!(acts(&mut routes), ["connect 1 to unix|/run/a"]);
        routes.dial(7, 2, now + 4 * SECOND);
        assert_eq!(acts(&mut routes), [""; 0]);
        routes.received(at(7, "tcp", "127.0.0.1:80"), now + 8 * SECOND);
        assert_eq!(acts(&mut routes), ["connect 2 to tcp|127.0.0.1:80"]);
    }

    #[test]
    fn an_info_nobody_wants_is_kept_five_seconds_and_a_second_one_is_not() {
        let (mut routes, now) = (sockets(), Instant::now());
        routes.received(at(7, "unix", "/run/a"), now);
        routes.received(at(7, "unix", "/run/b"), now + SECOND);
        assert_eq!(routes.deadline(), Some(now + WAIT));
        routes.expire(now + WAIT);
        assert_eq!(routes.deadline(), None);
        routes.dial(7, 1, now + WAIT);
        routes.expire(now + WAIT + 4 * SECOND);
        assert_eq!(acts(&mut routes), [""; 0]);
        routes.expire(now + WAIT + WAIT);
        let said = acts(&mut routes);
        assert_eq!(
            said,
            ["fail 1: no connection info for id 7 within 5s; the other side must accept the id it named"]
        );
    }

    #[test]
    fn addresses_open_to_others_and_addresses_of_no_kind_are_refused() {
        for (network, address, refused) in [
            ("unix", "/run/a", None),
            ("tcp", "[::1]:80", None),
            ("tcp", "0.0.0.0:80", Some("open to others")),
            ("tcp", "192.168.1.7:80", Some("open to others")),
            ("tcp", "box.example:80", Some("only unix and tcp")),
            ("unix", "", Some("only unix and tcp")),
            ("unix", "run/a", Some("only unix and tcp")),
            ("pipe", "/run/a", Some("only unix and tcp")),
        ] {
            let mut routes = sockets();
            routes.received(at(1, network, address), Instant::now());
            routes.dial(1, 1, Instant::now());
            let said = acts(&mut routes).concat();
            assert!(said.contains(refused.unwrap_or("connect 1")), "{network} {address}: {said}");
        }
    }

    #[test]
    fn what_this_side_accepts_is_said_when_there_is_somebody_to_say_it_to() {
        let now = Instant::now();
        let mut routes: Routes<u32> = Routes::new(Way::Sockets);
        let socket = |name: &str| Some(Address::Unix(name.into()));
        routes.listen(1, socket("/run/a"), now).unwrap();
        assert_eq!(acts(&mut routes), [""; 0]);
        routes.attach(now);
        routes.listen(2, socket("/run/b"), now).unwrap();
        assert_eq!(acts(&mut routes), ["send 1 at /run/a", "send 2 at /run/b"]);
        assert!(matches!(routes.listen(2, socket("/run/c"), now), Err(BrokerError::InUse(2))));
        routes.unlisten(1);
        routes.detach(now);
        routes.attach(now);
        assert_eq!(acts(&mut routes), ["send 2 at /run/b"]);
    }

    #[test]
    fn a_stream_that_breaks_fails_who_waits_at_once_and_a_new_one_serves_the_next() {
        let (mut routes, now) = (sockets(), Instant::now());
        routes.dial(7, 1, now);
        routes.detach(now);
        assert!(acts(&mut routes).concat().starts_with("fail 1: broker stream broke"));
        routes.dial(7, 2, now);
        routes.attach(now);
        routes.received(at(7, "unix", "/run/a"), now);
        assert_eq!(acts(&mut routes), ["connect 2 to unix|/run/a"]);
        routes.dial(8, 3, now);
        routes.unsupported(now);
        routes.dial(9, 4, now);
        let said = acts(&mut routes);
        assert!(said.len() == 2 && said.iter().all(|said| said.contains("no broker service")), "{said:?}");
    }

    #[test]
    fn knocks_are_one_after_the_other_and_each_granted_one_is_followed_by_one_stream() {
        let (mut routes, now) = (one_connection(), Instant::now());
        routes.dial(1, 11, now);
        routes.dial(2, 12, now);
        assert_eq!(acts(&mut routes), ["send knock 1 "]);
        routes.received(answer(1, ""), now);
        assert_eq!(acts(&mut routes), ["open for Some(11)"]);
        routes.dial_main(13, now);
        assert_eq!(acts(&mut routes), [""; 0]);
        routes.turn_over(now);
        assert_eq!(acts(&mut routes), ["open for Some(13)"]);
        routes.turn_over(now);
        assert_eq!(acts(&mut routes), ["send knock 2 "]);
        routes.expire(now + WAIT);
        let said =
            "fail 12: no answer to the knock for id 2 within 5s; the other side must accept the id it named";
        assert_eq!(acts(&mut routes), [said]);
        // too late, but the other side now waits for a stream
        routes.received(answer(2, ""), now + WAIT + SECOND);
        assert_eq!(acts(&mut routes), ["open for None"]);
        routes.dial(3, 14, now);
        routes.received(answer(3, "no listener for id 3"), now);
        let said = acts(&mut routes);
        assert_eq!(said[0], "send knock 3 ");
        assert!(
            said[1].starts_with("fail 14: the other side refused connection 3: \"no listener"),
            "{said:?}"
        );
    }

    #[test]
    fn a_stream_nobody_hears_from_holds_up_the_next_one_for_five_seconds_only() {
        let (mut routes, now) = (one_connection(), Instant::now());
        routes.dial_main(1, now);
        routes.dial(2, 2, now);
        assert_eq!(acts(&mut routes), ["open for Some(1)"]);
        assert_eq!(routes.deadline(), Some(now + WAIT));
        routes.expire(now + WAIT);
        assert_eq!(acts(&mut routes), ["send knock 2 "]);
    }

    #[test]
    fn a_knock_waits_for_its_listener_and_is_answered_before_the_other_side_gives_up() {
        let (mut routes, now) = (one_connection(), Instant::now());
        routes.received(knock(1), now);
        routes.received(knock(2), now);
        assert_eq!(acts(&mut routes), [""; 0]);
        routes.listen(2, None, now + SECOND).unwrap();
        assert_eq!(acts(&mut routes), ["send answer 2 "]);
        assert_eq!(routes.deadline(), Some(now + EARLY));
        routes.expire(now + EARLY);
        assert_eq!(acts(&mut routes), ["send answer 1 nobody accepts id 1"]);
        assert_eq!(routes.stream_in(now + EARLY), Some(2));
        assert_eq!(routes.stream_in(now + EARLY), None);
    }

    #[test]
    fn a_grant_without_its_stream_is_over_after_five_seconds() {
        let (mut routes, now) = (one_connection(), Instant::now());
        routes.listen(1, None, now).unwrap();
        routes.listen(2, None, now).unwrap();
        routes.received(knock(1), now);
        routes.received(knock(2), now + SECOND);
        assert_eq!(routes.stream_in(now + WAIT), Some(2));
        routes.received(knock(1), now);
        routes.new_session();
        assert_eq!(routes.stream_in(now), None);
    }

    #[test]
    fn everything_has_a_limit() {
        let (mut routes, now) = (sockets(), Instant::now());
        for id in 0..100 {
            let listening = routes.listen(id, None, now);
            assert_eq!(listening.is_ok(), id < MAX_LISTENERS as u32);
            routes.dial(id, id, now);
            routes.received(at(1_000 + id, "unix", "/run/a"), now);
        }
        assert!(acts(&mut routes).iter().all(|said| said.contains("already holds 64 waiting dials")));
        assert_eq!((routes.waiting.len(), routes.kept.len()), (MAX_DIALS, MAX_KEPT));
        let mut routes = one_connection();
        routes.listen(0, None, now).unwrap();
        for id in 0..100 {
            routes.received(knock(id), now);
            routes.received(knock(0), now);
        }
        assert_eq!((routes.expected.len(), routes.early.len()), (MAX_KEPT, MAX_KEPT));
        assert!(acts(&mut routes).last().unwrap().contains("already holds 64 granted knocks"));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Attach,
        Detach,
        Listen(u32),
        Unlisten(u32),
        Dial(u32),
        DialMain,
        Received(ConnInfo),
        StreamIn,
        TurnOver,
        Later(u64),
    }

    fn step() -> impl Strategy<Value = Step> {
        let id = 0..4_u32;
        prop_oneof![
            Just(Step::Attach),
            Just(Step::Detach),
            id.clone().prop_map(Step::Listen),
            id.clone().prop_map(Step::Unlisten),
            id.clone().prop_map(Step::Dial),
            id.clone().prop_map(Step::Dial),
            Just(Step::DialMain),
            id.clone().prop_map(|id| Step::Received(at(id, "unix", "/run/a"))),
            (id, any::<(bool, bool)>(), "(|no)").prop_map(|(id, (knock, ack), error)| Step::Received(
                signal(id, Knock { knock, ack, error })
            )),
            Just(Step::StreamIn),
            Just(Step::TurnOver),
            (0..3_000_u64).prop_map(Step::Later),
        ]
    }

    proptest! {
        #[test]
        fn whoever_dials_hears_exactly_once_and_never_later_than_its_turn(
            one in any::<bool>(),
            steps in proptest::collection::vec(step(), 0..120),
        ) {
            let way = if one { Way::OneConnection } else { Way::Sockets };
            let mut routes = Routes::new(way);
            let mut now = Instant::now();
            let mut heard: Vec<u32> = Vec::new();
            let (mut opened, mut granted, mut mains) = (0, 0, 0);
            let mut look = |routes: &mut Routes<usize>, heard: &mut Vec<u32>| {
                while let Some(effect) = routes.effect() {
                    match effect {
                        Effect::Connect(waiter, _) | Effect::Fail(waiter, _) => heard[waiter] += 1,
                        Effect::Open(Some(waiter)) => { opened += 1; heard[waiter] += 1; }
                        Effect::Open(None) => opened += 1,
                        Effect::Send(_) => {}
                    }
                }
            };
            for step in steps {
                match step {
                    Step::Attach => routes.attach(now),
                    Step::Detach => routes.detach(now),
                    Step::Listen(id) => drop(routes.listen(id, None, now)),
                    Step::Unlisten(id) => routes.unlisten(id),
                    Step::Dial(id) => {
                        heard.push(0);
                        routes.dial(id, heard.len() - 1, now);
                    }
                    Step::DialMain if one => {
                        heard.push(0);
                        mains += 1;
                        routes.dial_main(heard.len() - 1, now);
                    }
                    Step::DialMain => {}
                    Step::Received(info) => {
                        let grant = |knock: &Knock| knock.knock && knock.ack && knock.error.is_empty();
                        granted += usize::from(one && info.knock.as_ref().is_some_and(grant));
                        routes.received(info, now);
                    }
                    Step::StreamIn => drop(routes.stream_in(now)),
                    Step::TurnOver => routes.turn_over(now),
                    Step::Later(ms) => {
                        now += Duration::from_millis(ms);
                        if routes.deadline().is_some_and(|deadline| deadline <= now) {
                            routes.expire(now);
                        }
                    }
                }
                look(&mut routes, &mut heard);
            }
            while let Some(deadline) = routes.deadline() {
                now = now.max(deadline);
                routes.expire(now);
                look(&mut routes, &mut heard);
            }
            prop_assert!(heard.iter().all(|&times| times == 1), "{heard:?}");
            prop_assert_eq!(opened, granted + mains);
        }
    }
}
