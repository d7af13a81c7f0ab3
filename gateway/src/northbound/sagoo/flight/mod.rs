//! Which row is sent when, sent again, settled or parked. Pure: time comes in, messages go out.
//!
//! ```text
//!            connected            gateway's probe answered
//!   Down ───────────────▶ Silent ───────────────────────────▶ Alive
//!    ▲                      │ ▲ only the gateway's probe,       │ rows, heartbeats, probes of devices
//!    │ disconnected         │ │ ½ s … 60 s apart                │
//!    └──────────────────────┴─┴─────────────────────────────────┘ a message timed out and nothing was
//!                                                                  answered since it was sent
//! ```
//!
//! A record goes as one pack on the gateway's topic when all its rows can go now; else each row goes
//! alone, on its device's own topic, where an unknown device is merely ignored (sagooiot.md R2). Ids
//! are made of the gateway's key, the record and the place in it (`gw-7`, `gw-7-0`; an event's `gw-e7-0`).
//!
//! Events go before telemetry: each class has its own records, lanes and order, and of what may go now the
//! events go first. Within a class a device's rows keep their order; an event overtakes older rows of its
//! device on purpose, because it says when it happened and is worth more than they are.
//!
//! A try counts only if the gateway's probe, sent after it timed out, was answered. A pack is sent
//! [`PACK_TRIES`] times and then split; a row alone is sent [`ROW_TRIES`] times and then parked: it is
//! given up, kept as a dead letter ([`crate::northbound::deadletter`]) and counted.
//!
//! A message sent again has its id and its bytes. But a row may go a second time in another form, and
//! so under another id, when the answer to the first was not heard:
//!
//! - a pack was split, because it was not answered often enough, or because one of its devices did not
//!   answer its probe after the platform or the broker had been away;
//! - it was sent before its turn (`drain = "live-first"`), was not answered, and goes again in its turn;
//! - the process ended in between, because the form a record went in is not stored. Records from
//!   before the start wait up to [`START_PATIENCE`] for the probes of all their devices, so that what
//!   went as a pack does again; unless one of them does not answer by then. What went row by row,
//!   because a device was unknown or kept its distance at the time, may go as a pack.
//!
//! Always true: the same id never stands for other bytes; rows of one device and class are settled in
//! order, and sent in order but for the newest where it goes before its turn; one of a device is un-acknowledged at a time;
//! nobody is in a pack who was not probed since acknowledgements last stopped; each device and record
//! of a class is settled once. [`lanes`] bounds the memory, [`ahead`] says the newest before its turn, [`merge`] passes over what a newer row stands for, [`peers`] keeps the distances, [`said`] hands them on, [`sending`] decides
//! what goes out, [`letters`] sends again what was given up, [`asking`] who is asked whether it is there, [`answers`] what an answer settles, [`silence`] what a missing answer means,
//! [`unit`] names the messages, [`window`] how many are out at a time, [`note`] is what people hear of it.

mod ahead;
mod answers;
mod asking;
mod lane;
mod lanes;
mod letters;
mod merge;
mod note;
mod peers;
mod plan;
mod queued;
mod said;
mod sending;
mod silence;
#[cfg(test)]
mod tests;
mod unit;
mod unsaid;
mod window;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lanes::Lanes;
pub use lanes::{LaneId, READ_AHEAD_BYTES, Reader};
use letters::Held;
pub use letters::{Letter, Returned};
pub use note::{Counts, GivenUp, Note};
use peers::Peers;
pub use plan::Plan;
use queued::{Offered, Place};
pub use said::Said;
use unit::Unit;
use window::Window;

use super::super::backoff::Backoff;
use crate::class::{Class, PerClass};
use crate::config::types::Drain;
use crate::pipeline::handle::{Fate, Resume, SaidAhead, Settled};
use crate::pipeline::record::RecordError;
use crate::row::{GATEWAY, Identity, Row};

/// Probes and heartbeats that may be un-acknowledged at a time.
pub const PROBE_WINDOW: usize = 32;
/// Largest pack; the rows of a larger record go alone.
pub const MAX_PACK_BYTES: usize = 256 * 1024;
/// Largest message with a row alone (EMQX takes 1 MB); a larger one is parked.
pub const MAX_ROW_BYTES: usize = 1_000_000;
/// Counted tries of a pack before it is split.
pub const PACK_TRIES: u32 = 2;
/// Counted tries of a row before it is parked.
pub const ROW_TRIES: u32 = 3;
/// First wait between two probes of the gateway's own key while nothing is answered, at most.
pub const SILENT_FIRST: Duration = Duration::from_secs(1);
/// Longest wait between them.
pub const SILENT_MOST: Duration = Duration::from_secs(60);
/// Each counted try after the first makes a message wait this much longer before it is sent again, beside
/// the time its answer and that of the gateway's probe took.
pub const RESEND_FIRST: Duration = Duration::from_secs(1);
/// Longest a row waits for the others of its record before it goes alone.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// Longest the records from before the start wait for the probes of all their devices.
pub const START_PATIENCE: Duration = Duration::from_secs(3);

/// What the flight must know.
#[derive(Debug, Clone)]
pub struct Options {
    /// The gateway's own keys.
    pub gateway: Identity,
    /// Configured devices.
    pub devices: Vec<(Arc<str>, Identity)>,
    /// Where it begins.
    pub resume: PerClass<Resume>,
    /// Records below are from before the start and may have been sent.
    pub written_before: PerClass<u64>,
    /// Longest time without anything that keeps a device online.
    pub heartbeat: Duration,
    /// How long an answer may take.
    pub ack_timeout: Duration,
    /// Least time between two rows of a device.
    pub row_spacing: Duration,
    /// In which order what waits is sent.
    pub drain: Drain,
    /// Bytes of rows kept in memory, [`READ_AHEAD_BYTES`] but in tests.
    pub read_ahead_bytes: usize,
    /// Tells the probes of this process from those of earlier ones.
    pub run: u64,
    /// By whoever spoke before, lately.
    pub said: Said,
}

/// A message for the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub topic: String,
    /// JSON.
    pub payload: String,
    /// Dropped if it could not be published before; `None`: it is worth something at any time.
    pub before: Option<Instant>,
}

/// What an acknowledgement came for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// property/post
    Property,
    /// pack/post
    Pack,
}

#[derive(Debug)]
struct Message {
    members: Vec<(LaneId, Place)>,
    reply: (Kind, Arc<str>),
    state: State,
    tries: u32,
    /// Its row is sent before its turn.
    ahead: bool,
    /// It has no members: it was given up before.
    letter: Option<Box<Held>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Sent, waiting.
    Wire { sent: Instant },
    /// Timed out; whether the platform lives is being asked.
    Doubt { since: Instant },
    /// To be sent again.
    Again { at: Instant },
}

#[derive(Debug, Clone, Copy)]
struct Probe {
    peer: usize,
    sent: Instant,
    /// The device was known when it was asked.
    was_known: bool,
    /// It did not answer the time before.
    refused: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Platform {
    Down,
    Silent { ask_at: Instant },
    Alive { since: Instant },
}

/// The state machine.
#[derive(Debug)]
pub struct Flight {
    options: Options,
    lanes: PerClass<Lanes>,
    peers: Peers,
    messages: BTreeMap<Unit, Message>,
    probes: BTreeMap<u64, Probe>,
    next_probe: u64,
    window: Window,
    platform: Platform,
    /// The silence has been told.
    told: bool,
    silent_backoff: Backoff,
    last_ack: Option<Instant>,
    rng: fastrand::Rng,
    settled: Vec<Settled>,
    said_ahead: Vec<SaidAhead>,
    returned: Vec<Returned>,
    notes: Vec<Note>,
    lossy: HashSet<Arc<str>>,
    counts: Counts,
}

impl Flight {
    /// Nothing read, nothing connected.
    pub fn new(options: Options, now: Instant) -> Self {
        let mut lanes = PerClass::new(|class| Lanes::new(class, options.read_ahead_bytes, options.drain));
        let mut peers = Peers::new(
            (GATEWAY.into(), options.gateway.clone()),
            options.heartbeat,
            options.row_spacing,
            options.said.clone(),
            now,
        );
        for (device, identity) in &options.devices {
            peers.add(device.clone(), identity.clone(), now);
        }
        for (class, lanes) in lanes.iter_mut() {
            let positions = &options.resume[class].positions;
            let devices = options.devices.iter().map(|(device, _)| device.clone());
            for device in std::iter::once(GATEWAY.into()).chain(devices) {
                let position = positions.get(&device).copied().unwrap_or(0);
                lanes.add(device, position);
            }
            for (device, position) in positions {
                lanes.add(device.clone(), *position);
            }
            for (device, ranges) in &options.resume[class].ahead {
                let lane = lanes.add(device.clone(), 0);
                lanes.ahead_mut(lane).was_said(ranges);
            }
        }
        Self {
            rng: fastrand::Rng::with_seed(options.run),
            options,
            lanes,
            peers,
            messages: BTreeMap::new(),
            probes: BTreeMap::new(),
            next_probe: 0,
            window: Window::default(),
            platform: Platform::Down,
            told: false,
            silent_backoff: Backoff::new(SILENT_FIRST, SILENT_MOST),
            last_ack: None,
            settled: Vec::new(),
            said_ahead: Vec::new(),
            returned: Vec::new(),
            notes: Vec::new(),
            lossy: HashSet::new(),
            counts: Counts::default(),
        }
    }

    /// Rows of a record, as decoded. One that cannot be rebuilt is settled in its turn.
    pub fn offer(
        &mut self,
        (class, reader, seq): (Class, Reader, u64),
        rows: Vec<Result<Row, RecordError>>,
        now: Instant,
    ) {
        let whole = rows.iter().all(Result::is_ok);
        let mut offered = Vec::with_capacity(rows.len());
        for (row, place) in rows.into_iter().zip(0..) {
            let row = match row {
                Ok(row) => Some(Offered::Row(row)),
                Err(error) => error.damaged().cloned().map(Offered::Damaged),
            };
            offered.extend(row.map(|row| (place, row)));
        }
        let peers = &mut self.peers;
        self.lanes[class]
            .offer((reader, seq, whole), offered, now, |row| peers.of(&row.device, &row.identity, now));
    }

    /// The lanes' side of reading again; see [`lanes`].
    pub fn lanes(&mut self, class: Class) -> &mut Lanes {
        &mut self.lanes[class]
    }

    /// The broker is there; whether the platform is, is asked first.
    pub fn connected(&mut self, now: Instant) {
        self.silent_backoff.reset();
        self.platform = Platform::Silent { ask_at: now };
    }

    /// Everything in flight goes back and will be sent again, same ids, same bytes.
    pub fn disconnected(&mut self, now: Instant) {
        self.platform = Platform::Down;
        self.peers.disconnected(now);
        self.stop_hurrying();
        self.window.disconnected();
        self.probes.clear();
        for message in self.messages.values_mut() {
            message.state = State::Again { at: now };
        }
    }

    /// Which devices answer; only they get heartbeats.
    pub fn set_online(&mut self, online: &HashSet<String>) {
        self.peers.set_online(online);
    }

    fn settle(&mut self, class: Class, lane: LaneId, fate: Fate, now: Instant) {
        self.settled.extend(self.lanes[class].pop(lane, fate, now));
    }

    fn run(&self) -> String {
        format!("{:x}-", self.options.run)
    }

    /// What became of rows since the last call.
    pub fn take_settled(&mut self) -> Vec<Settled> {
        std::mem::take(&mut self.settled)
    }

    /// What was answered before its turn since the last call.
    pub fn take_said_ahead(&mut self) -> Vec<SaidAhead> {
        std::mem::take(&mut self.said_ahead)
    }

    /// What people should hear of since the last call.
    pub fn take_notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }

    /// Keys of rows that are not configured (any more); their replies must be subscribed to.
    pub fn take_foreign_keys(&mut self) -> Vec<Arc<str>> {
        self.peers.foreign()
    }

    /// What was said lately, for whoever speaks next.
    pub fn said(&self, now: Instant) -> Said {
        self.peers.said(now)
    }

    /// Device keys the platform answered for.
    pub fn known_keys(&self, now: Instant) -> Vec<String> {
        self.peers.known_keys(now)
    }

    /// Sums since the start.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Messages with rows that are sent and not acknowledged.
    pub fn in_flight(&self) -> usize {
        self.messages.values().filter(|message| matches!(message.state, State::Wire { .. })).count()
    }

    /// The platform answers, so rows are wanted.
    pub fn is_alive(&self) -> bool {
        matches!(self.platform, Platform::Alive { .. })
    }
}
