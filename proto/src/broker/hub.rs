//! The task that owns a broker's state: it feeds the rules and does what they ask.
//!
//! Always true: the task never waits for anybody but its own queue, so no peer and no caller can
//! hold up another; it ends when the broker is closed or the last handle is gone.

use std::collections::BTreeMap;
use std::future::pending;

use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::connection::Turn;
use super::error::BrokerError;
use super::mux;
use super::routes::{Effect, Routes, Way};
use crate::handshake::Address;
use crate::plugin::ConnInfo;

/// Streams taken for one listener and not served yet; one more is closed.
pub(super) const WAITING_STREAMS: usize = 8;

/// What a dial gets.
#[derive(Debug)]
pub(super) enum Dialed {
    /// Where to connect.
    At(Address),
    /// The connection itself, and the turn it was opened in.
    Stream(mux::Stream, Turn),
}

/// Somebody who waits for a connection.
pub(super) type Waiter = oneshot::Sender<Result<Dialed, BrokerError>>;

/// A listener, as the hub knows it.
#[derive(Debug)]
pub(super) struct Door {
    /// Cancelled when the listener is gone.
    pub(super) gone: CancellationToken,
    /// Its socket, when it has one.
    pub(super) address: Option<Address>,
    /// Where its streams go, when it has none.
    pub(super) streams: Option<mpsc::Sender<mux::Stream>>,
}

/// The stream to the other side.
#[derive(Debug)]
pub(super) struct Link {
    /// Later ones are higher.
    pub(super) generation: u64,
    pub(super) outgoing: mpsc::Sender<ConnInfo>,
    /// Cancelled when a later link takes its place.
    pub(super) replaced: CancellationToken,
}

/// What the hub is asked.
#[derive(Debug)]
pub(super) enum Ask {
    Listen { id: u32, door: Door, done: oneshot::Sender<Result<(), BrokerError>> },
    Dial { id: u32, waiter: Waiter },
    DialMain { waiter: Waiter },
    Attach(Link),
    Received { generation: u64, info: ConnInfo },
    Detached { generation: u64 },
    Unsupported,
    Session(mpsc::Sender<mux::Open>),
}

/// The state and its owner.
#[derive(Debug)]
pub(super) struct Hub {
    routes: Routes<Waiter>,
    link: Option<Link>,
    doors: BTreeMap<u32, Door>,
    session: Option<mpsc::Sender<mux::Open>>,
    /// Where streams go that nobody knocked for; on the host there are none.
    main: Option<mpsc::Sender<mux::Stream>>,
    /// Ends when the stream opened last is heard from or dropped.
    turn: Option<oneshot::Receiver<()>>,
}

impl Hub {
    pub(super) fn new(
        way: Way,
        main: Option<mpsc::Sender<mux::Stream>>,
        session: Option<mpsc::Sender<mux::Open>>,
    ) -> Self {
        let routes = Routes::new(way);
        Self { routes, link: None, doors: BTreeMap::new(), session, main, turn: None }
    }

    /// Runs until the broker is closed.
    pub(super) async fn run(
        mut self,
        mut asks: mpsc::Receiver<Ask>,
        mut streams: mpsc::Receiver<mux::Stream>,
        closed: CancellationToken,
    ) {
        loop {
            let deadline = self.routes.deadline();
            tokio::select! {
                () = closed.cancelled() => return,
                ask = asks.recv() => match ask {
                    Some(ask) => self.answer(ask),
                    None => return,
                },
                Some(stream) = streams.recv() => self.stream_in(stream, Instant::now()),
                () = over(self.turn.as_mut()) => {
                    self.turn = None;
                    self.routes.turn_over(Instant::now());
                }
                () = at(deadline) => self.routes.expire(Instant::now()),
            }
            self.act();
        }
    }

    fn answer(&mut self, ask: Ask) {
        let now = Instant::now();
        match ask {
            Ask::Listen { id, door, done } => {
                self.forget_closed_doors();
                let listening = self.routes.listen(id, door.address.clone(), now);
                if listening.is_ok() {
                    self.doors.insert(id, door);
                }
                // One that waits no more has dropped its listener, which is seen the next time.
                let _ = done.send(listening);
            }
            Ask::Dial { id, waiter } => self.routes.dial(id, waiter, now),
            Ask::DialMain { waiter } => self.routes.dial_main(waiter, now),
            Ask::Attach(link) => self.attach(link, now),
            Ask::Received { generation, info } if self.is_linked(generation) => {
                self.forget_closed_doors();
                self.routes.received(info, now);
            }
            Ask::Detached { generation } if self.is_linked(generation) => self.unlink(now),
            Ask::Received { .. } | Ask::Detached { .. } => {}
            Ask::Unsupported => {
                self.link = None;
                self.routes.unsupported(now);
            }
            Ask::Session(opener) => {
                self.session = Some(opener);
                self.routes.new_session();
            }
        }
    }

    fn is_linked(&self, generation: u64) -> bool {
        self.link.as_ref().is_some_and(|link| link.generation == generation)
    }

    fn attach(&mut self, link: Link, now: Instant) {
        if self.link.as_ref().is_some_and(|known| known.generation > link.generation) {
            link.replaced.cancel();
            return;
        }
        if let Some(earlier) = self.link.replace(link) {
            earlier.replaced.cancel();
        }
        self.forget_closed_doors();
        self.routes.attach(now);
    }

    fn unlink(&mut self, now: Instant) {
        if let Some(link) = self.link.take() {
            link.replaced.cancel();
        }
        self.routes.detach(now);
    }

    fn forget_closed_doors(&mut self) {
        let Self { doors, routes, .. } = self;
        doors.retain(|id, door| {
            let open = !door.gone.is_cancelled();
            if !open {
                routes.unlisten(*id);
            }
            open
        });
    }

    fn stream_in(&mut self, stream: mux::Stream, now: Instant) {
        let id = self.routes.stream_in(now);
        let target = match id {
            Some(id) => self.doors.get(&id).and_then(|door| door.streams.as_ref()),
            None => self.main.as_ref(),
        };
        let taken = target.map(|target| target.try_send(stream));
        if !matches!(taken, Some(Ok(()))) {
            tracing::warn!(id, "a connection nobody takes was closed");
        }
    }

    fn act(&mut self) {
        while let Some(effect) = self.routes.effect() {
            match effect {
                Effect::Send(info) => {
                    let sent = self.link.as_ref().map(|link| link.outgoing.try_send(info));
                    // A peer that does not read, or is gone: this stream is of no use any more.
                    if matches!(sent, Some(Err(_))) {
                        self.unlink(Instant::now());
                    }
                }
                Effect::Connect(waiter, address) => drop(waiter.send(Ok(Dialed::At(address)))),
                Effect::Fail(waiter, error) => drop(waiter.send(Err(error))),
                Effect::Open(waiter) => self.open(waiter),
            }
        }
    }

    fn open(&mut self, waiter: Option<Waiter>) {
        let open = waiter.map(|waiter| {
            let (turn, over) = oneshot::channel();
            self.turn = Some(over);
            (waiter, turn)
        });
        let Some(session) = &self.session else { return fail(open) };
        if let Err(unsent) = session.try_send(open) {
            let (mpsc::error::TrySendError::Full(open) | mpsc::error::TrySendError::Closed(open)) = unsent;
            fail(open);
        }
    }
}

fn fail(open: mux::Open) {
    if let Some((waiter, _turn)) = open {
        let _ = waiter.send(Err(BrokerError::NoSession));
    }
}

/// Comes back when the turn is given back.
async fn over(turn: Option<&mut oneshot::Receiver<()>>) {
    match turn {
        // Dropped is the normal end of it.
        Some(turn) => drop(turn.await),
        None => pending().await,
    }
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
