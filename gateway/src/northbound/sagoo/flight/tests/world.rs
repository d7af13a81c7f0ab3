//! A platform, a broker and a disk, simulated: they lose, repeat and reorder acknowledgements, go away, and die
//! of what would kill the real ones. Time is simulated.
//!
//! Always true: whatever a test is about, the world watches that one id has one message, that rows of a device
//! come in order and keep their distance, and that nothing is sent that would harm the platform.

mod platform;

use platform::rows_in;
use serde_json::Value as Json;

use super::*;
use crate::northbound::reader::Reader;
use crate::pipeline::boots::Boots;
use crate::pipeline::handle::{SaidAhead, Stored};
use crate::pipeline::record::{Context, encode};

/// What may go wrong.
#[derive(Debug, Clone)]
pub(super) struct Weather {
    pub(super) seed: u64,
    pub(super) lost_percent: u8,
    pub(super) doubled_percent: u8,
    /// The platform is away from, for: seconds.
    pub(super) away: Vec<(u64, u64)>,
    /// The broker is gone from, for: seconds.
    pub(super) broken: Vec<(u64, u64)>,
    /// Devices the platform comes to know only at this second.
    pub(super) late: BTreeMap<String, u64>,
    /// Rows that are never acknowledged.
    pub(super) poisoned: HashSet<(String, i64)>,
    /// Messages that are never acknowledged.
    pub(super) mute: BTreeSet<String>,
    /// Answers for these devices take this much longer.
    pub(super) slow: BTreeMap<String, Duration>,
    /// The disk cannot be read from, for: seconds.
    pub(super) unreadable: Vec<(u64, u64)>,
    /// Records that are damaged.
    pub(super) damaged: BTreeSet<u64>,
    /// The way there and the answer take a few milliseconds.
    pub(super) fast: bool,
    /// Each read from the disk takes a millisecond.
    pub(super) slow_disk: bool,
}

pub(super) fn fair() -> Weather {
    Weather {
        seed: 1,
        lost_percent: 0,
        doubled_percent: 0,
        away: Vec::new(),
        broken: Vec::new(),
        late: BTreeMap::new(),
        poisoned: HashSet::new(),
        mute: BTreeSet::new(),
        slow: BTreeMap::new(),
        unreadable: Vec::new(),
        damaged: BTreeSet::new(),
        fast: false,
        slow_disk: false,
    }
}

#[derive(Debug)]
enum Happening {
    Written(Class),
    Arrives(u64, Outgoing),
    Acknowledged(u64, Kind, String, String),
    Broken,
    Mended,
}

pub(super) struct World {
    pub(super) now: Instant,
    pub(super) start: Instant,
    pub(super) weather: Weather,
    rng: fastrand::Rng,
    pub(super) flight: Flight,
    pub(super) readers: PerClass<Reader>,
    /// Written so far; the rest comes at its time.
    records: PerClass<Vec<Stored>>,
    pub(super) heads: PerClass<u64>,
    agenda: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    pub(super) session: u64,
    pub(super) connected: bool,
    pub(super) online: HashSet<String>,
    /// Ids of what comes out of its order, because it was given up before.
    pub(super) letters: HashSet<String>,
    // What was seen.
    pub(super) bytes_of: HashMap<String, Outgoing>,
    pub(super) again: super::again::Again,
    last_row: HashMap<String, Instant>,
    last_set: HashMap<String, (Instant, BTreeSet<String>)>,
    newest: HashMap<String, i64>,
    newest_event: HashMap<String, i64>,
    /// Ids in the order they first went.
    pub(super) went: Vec<String>,
    /// When a number of a device arrived first.
    pub(super) arrived: HashMap<(String, i64), Instant>,
    pub(super) spacing: Duration,
    /// Numbers may be left out, and come after higher ones.
    pub(super) jumps: bool,
    pub(super) most_in_flight: usize,
    pub(super) settled: Vec<Settled>,
    pub(super) said_ahead: Vec<SaidAhead>,
    pub(super) packs_of_many: usize,
    pub(super) most_bytes: usize,
    pub(super) reads: u64,
}

impl World {
    pub(super) fn new(
        devices: &[String],
        records: Vec<(Duration, Vec<Row>)>,
        weather: Weather,
        budget: usize,
    ) -> Self {
        let start = Instant::now();
        let mut flight = Flight::new(options(devices, budget), start);
        let online: HashSet<String> = devices.iter().cloned().collect();
        flight.set_online(&online);
        let mut world = Self {
            now: start,
            start,
            rng: fastrand::Rng::with_seed(weather.seed),
            flight,
            readers: {
                // They draw their own dice from the thread's.
                fastrand::seed(weather.seed);
                readers()
            },
            records: PerClass::default(),
            heads: PerClass::new(|_| 1),
            agenda: BTreeMap::new(),
            order: 0,
            session: 0,
            connected: false,
            online,
            letters: HashSet::new(),
            bytes_of: HashMap::new(),
            again: super::again::Again::default(),
            last_row: HashMap::new(),
            last_set: HashMap::new(),
            newest: HashMap::new(),
            newest_event: HashMap::new(),
            went: Vec::new(),
            arrived: HashMap::new(),
            spacing: SPACING,
            jumps: false,
            most_in_flight: 0,
            settled: Vec::new(),
            said_ahead: Vec::new(),
            packs_of_many: 0,
            most_bytes: 0,
            reads: 0,
            weather,
        };
        let mut context = Context::default();
        for (at, rows) in records {
            let class = class_of(&rows);
            let written = &mut world.records[class];
            let seq = written.len() as u64 + 1;
            if begins(class, seq) == seq {
                context.clear();
            }
            let none = Context::default();
            let before = if class == Class::Telemetry { &context } else { &none };
            written.push(Stored { seq, payload: encode(&rows, before) });
            if class == Class::Telemetry {
                context.remember(&rows);
            }
            world.at(start + at, Happening::Written(class));
        }
        world.at(start, Happening::Mended);
        for (from, length) in world.weather.broken.clone() {
            world.at(start + Duration::from_secs(from), Happening::Broken);
            world.at(start + Duration::from_secs(from + length), Happening::Mended);
        }
        world
    }

    fn at(&mut self, at: Instant, happening: Happening) {
        self.order += 1;
        self.agenda.insert((at, self.order), happening);
    }

    fn percent(&mut self, percent: u8) -> bool {
        self.rng.u8(0..100) < percent
    }

    fn second(&self) -> u64 {
        (self.now - self.start).as_secs()
    }

    fn is_away(&self) -> bool {
        self.weather.away.iter().any(|(from, length)| (*from..from + length).contains(&self.second()))
    }

    fn is_unreadable(&self) -> bool {
        self.weather.unreadable.iter().any(|(from, length)| (*from..from + length).contains(&self.second()))
    }

    fn knows(&self, key: &str) -> bool {
        let device = key.strip_suffix("-k").unwrap_or(key);
        self.weather.late.get(device).is_none_or(|since| self.second() >= *since)
    }

    /// Runs until this moment, or until all of `samples` are settled.
    pub(super) fn run(&mut self, until: Duration, samples: u64) {
        let end = self.start + until;
        let (mut rushed, mut before) = (0, (0, 0));
        while self.now < end && self.settled_samples() < samples {
            let wake = self.turn();
            let next = self.agenda.first_key_value().map(|((at, _), _)| *at);
            let at = [wake, next].into_iter().flatten().min().unwrap_or(end).min(end);
            // A record that is broken up is looked at again at once, and so are its rows; not more.
            let progress = (self.settled.len(), self.reads);
            rushed = if at <= self.now && next != Some(at) && progress == before { rushed + 1 } else { 0 };
            before = progress;
            assert!(rushed < 8, "asks again and again without waiting: a busy loop");
            self.now = at.max(self.now);
            while let Some(due) = self.agenda.first_entry().filter(|due| due.key().0 <= self.now) {
                let happening = due.remove();
                self.happen(happening);
            }
        }
        self.turn();
    }

    fn settled_samples(&self) -> u64 {
        self.settled.iter().map(|settled| u64::from(settled.samples)).sum()
    }

    fn turn(&mut self) -> Option<Instant> {
        let mut reads_on = false;
        Class::ALL.into_iter().for_each(|class| reads_on |= self.read(class));
        let bytes = Class::ALL.map(|class| self.flight.lanes(class).bytes());
        self.most_bytes = self.most_bytes.max(bytes.iter().sum());
        let room = self.rng.usize(0..40);
        let plan = self.flight.poll(self.now, room);
        assert!(plan.send.len() <= room);
        self.most_in_flight = self.most_in_flight.max(self.flight.in_flight());
        assert!(self.most_in_flight <= window::MOST);
        assert!(self.connected || plan.send.is_empty(), "sent without a broker");
        for outgoing in plan.send {
            self.sent(outgoing);
        }
        self.settled.extend(self.flight.take_settled());
        self.said_ahead.extend(self.flight.take_said_ahead());
        let soon = (plan.more || reads_on).then(|| self.now + Duration::from_millis(1));
        let retries = self.readers.iter().filter_map(|(_, reader)| reader.retry_at(self.now));
        let retry = retries.min().filter(|_| self.flight.is_alive());
        [plan.wake, soon, retry].into_iter().flatten().min()
    }

    /// `true`: more is to be read in a moment.
    fn read(&mut self, class: Class) -> bool {
        let head = self.heads[class];
        while self.flight.is_alive() {
            let busy = self.readers[class].feed(&mut self.flight, self.now);
            let Some((who, from)) = self.readers[class].wants(head, &mut self.flight, self.now) else {
                if busy {
                    continue;
                }
                break;
            };
            self.reads += 1;
            let from = from.unwrap_or_else(|| begins(class, head));
            let damaged = |seq| class == Class::Telemetry && self.weather.damaged.contains(&seq);
            let there = |record: &&Stored| (from..head).contains(&record.seq) && !damaged(record.seq);
            let chunk = || {
                self.records[class].iter().skip(from as usize - 1).filter(there).take(3).cloned().collect()
            };
            let chunk = (!self.is_unreadable()).then(chunk);
            self.readers[class].arrived(who, from, head, chunk, self.now);
            if self.weather.slow_disk {
                return true;
            }
        }
        false
    }

    fn sent(&mut self, outgoing: Outgoing) {
        let message: Json = serde_json::from_str(&outgoing.payload).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        if !id.contains("-p7-") {
            if !self.bytes_of.contains_key(&id) {
                self.went.push(id.clone());
            }
            let bytes = self.bytes_of.entry(id.clone()).or_insert_with(|| outgoing.clone());
            assert_eq!(*bytes, outgoing, "one id, two messages");
            self.again.sent(&id, self.session, self.now);
        }
        let latency = Duration::from_millis(self.rng.u64(1..if self.weather.fast { 6 } else { 50 }));
        self.at(self.now + latency, Happening::Arrives(self.session, outgoing));
    }

    /// As the platform sees it. Announcements without properties are not stored, so their empty set is none.
    fn spacing(&mut self, key: &str, set: BTreeSet<String>) {
        if let Some(before) = self.last_row.insert(key.to_owned(), self.now) {
            let apart = self.now - before;
            assert!(apart >= self.spacing, "{key}: two rows {apart:?} apart");
        }
        if set.is_empty() {
            return;
        }
        if let Some((at, last)) = self.last_set.insert(key.to_owned(), (self.now, set.clone())) {
            let apart = self.now - at;
            assert!(last == set || apart >= Duration::from_secs(1), "{key}: two sets {apart:?} apart");
        }
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Written(class) => self.heads[class] += 1,
            Happening::Broken => {
                self.connected = false;
                self.session += 1;
                self.flight.disconnected(self.now);
            }
            Happening::Mended => {
                self.connected = true;
                self.flight.connected(self.now);
            }
            Happening::Arrives(session, outgoing) => {
                if session != self.session {
                    return;
                }
                let message: Json = serde_json::from_str(&outgoing.payload).unwrap();
                if !message["id"].as_str().unwrap().contains("-p7-") {
                    for (key, set) in rows_in(&outgoing, &message) {
                        self.spacing(&key, set);
                    }
                }
                if !self.is_away() {
                    self.platform(&outgoing);
                }
            }
            Happening::Acknowledged(session, kind, key, id) => {
                if session == self.session {
                    self.again.heard(&id);
                    self.flight.acknowledged(kind, &key, &id, self.now);
                    self.flight.acknowledged(kind, "somebody-else", &id, self.now);
                }
            }
        }
    }
}

/// The first record of the segment that this one is in.
fn begins(class: Class, seq: u64) -> u64 {
    match class {
        Class::Telemetry => seq - (seq - 1) % 7,
        Class::Event => seq,
    }
}

/// One per class, of rows whose times are known.
pub(super) fn readers() -> PerClass<Reader> {
    let boots = tokio::sync::watch::channel(Boots::default()).1;
    PerClass::new(|class| Reader::new(class, 1, boots.clone()))
}
