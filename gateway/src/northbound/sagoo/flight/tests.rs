//! The flight against a simulated platform that loses, repeats and reorders acknowledgements, goes
//! away, and dies of what would kill the real one. Time is simulated. [`drain`]: what waited, in each order.

mod drain;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use serde_json::Value as Json;

use super::letters::Unsendable;
use super::peers::SELF;
use super::{
    Flight, GivenUp, Kind, Letter, MAX_ROW_BYTES, Note, Options, Outgoing, READ_AHEAD_BYTES, ROW_TRIES,
    Returned, Unit, window,
};
use crate::class::{Class, PerClass};
use crate::config::types::Drain;
use crate::northbound::reader::Reader;
use crate::northbound::sagoo::topic;
use crate::pipeline::boots::Boots;
use crate::pipeline::handle::{Fate, Resume, Settled, Stored};
use crate::pipeline::record::{Context, encode};
use crate::row::{Cell, Event, GATEWAY, Identity, Row, Value};

const SPACING: Duration = Duration::from_millis(250);
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(10);

fn identity(device: &str) -> Identity {
    Identity { product_key: "p".into(), device_key: format!("{device}-k").as_str().into() }
}

/// `number` tells rows apart and shows their order; `width` is the size of the property set.
fn row(device: &str, number: i64, width: usize) -> Row {
    // k1 changes seldom: a row rebuilt on the wrong ground would show the wrong one.
    let value = |i: usize| if i == 1 { number / 3 } else { number };
    let cell = |i: usize| Cell {
        key: format!("k{i}").as_str().into(),
        value: Value::Int(value(i)),
        time_ms: value(i) * 1_000,
    };
    Row {
        device: device.into(),
        identity: identity(device),
        time_ms: number * 1_000,
        cells: (0..width).map(cell).collect(),
        event: None,
        samples: width as u32,
    }
}

/// An announcement of a device; `number` shows its order.
fn event(device: &str, number: i64) -> Row {
    let announced = Event { name: "trip".into(), value: format!("{{\"n\":{number}}}") };
    Row { event: Some(announced), samples: 1, ..row(device, number, 0) }
}

/// Where the pipeline puts it.
fn class_of(rows: &[Row]) -> Class {
    if rows.iter().all(|row| row.event.is_some()) { Class::Event } else { Class::Telemetry }
}

fn options(devices: &[String], budget: usize) -> Options {
    Options {
        gateway: identity(GATEWAY),
        devices: devices.iter().map(|device| (device.as_str().into(), identity(device))).collect(),
        resume: PerClass::default(),
        written_before: PerClass::default(),
        heartbeat: HEARTBEAT,
        ack_timeout: ACK_TIMEOUT,
        row_spacing: SPACING,
        drain: Drain::Ordered,
        read_ahead_bytes: budget,
        run: 7,
        said: super::Said::default(),
    }
}

/// What may go wrong.
#[derive(Debug, Clone)]
struct Weather {
    seed: u64,
    lost_percent: u8,
    doubled_percent: u8,
    /// The platform is away from, for: seconds.
    away: Vec<(u64, u64)>,
    /// The broker is gone from, for: seconds.
    broken: Vec<(u64, u64)>,
    /// Devices the platform comes to know only at this second.
    late: BTreeMap<String, u64>,
    /// Rows that are never acknowledged.
    poisoned: HashSet<(String, i64)>,
    /// Messages that are never acknowledged.
    mute: BTreeSet<String>,
    /// Answers for these devices take this much longer.
    slow: BTreeMap<String, Duration>,
    /// The disk cannot be read from, for: seconds.
    unreadable: Vec<(u64, u64)>,
    /// Records that are damaged.
    damaged: BTreeSet<u64>,
    /// The way there and the answer take a few milliseconds.
    fast: bool,
}

#[derive(Debug)]
enum Happening {
    Written(Class),
    Arrives(u64, Outgoing),
    Acknowledged(u64, Kind, String, String),
    Broken,
    Mended,
}

struct World {
    now: Instant,
    start: Instant,
    weather: Weather,
    rng: fastrand::Rng,
    flight: Flight,
    readers: PerClass<Reader>,
    /// Written so far; the rest comes at its time.
    records: PerClass<Vec<Stored>>,
    heads: PerClass<u64>,
    agenda: BTreeMap<(Instant, u64), Happening>,
    order: u64,
    session: u64,
    connected: bool,
    online: HashSet<String>,
    /// Ids of what comes out of its order, because it was given up before.
    letters: HashSet<String>,
    // What was seen.
    bytes_of: HashMap<String, Outgoing>,
    last_row: HashMap<String, Instant>,
    last_set: HashMap<String, (Instant, BTreeSet<String>)>,
    newest: HashMap<String, i64>,
    newest_event: HashMap<String, i64>,
    /// Ids in the order they first went.
    went: Vec<String>,
    /// When a number of a device arrived first.
    arrived: HashMap<(String, i64), Instant>,
    spacing: Duration,
    /// Numbers may be left out, and come after higher ones.
    jumps: bool,
    most_in_flight: usize,
    settled: Vec<Settled>,
    packs_of_many: usize,
    most_bytes: usize,
    reads: u64,
}

impl World {
    fn new(devices: &[String], records: Vec<(Duration, Vec<Row>)>, weather: Weather, budget: usize) -> Self {
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
            if class == Class::Telemetry && seq % 7 == 1 {
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
    fn run(&mut self, until: Duration, samples: u64) {
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
        Class::ALL.into_iter().for_each(|class| self.read(class));
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
        let soon = plan.more.then(|| self.now + Duration::from_millis(1));
        let retries = self.readers.iter().filter_map(|(_, reader)| reader.retry_at(self.now));
        let retry = retries.min().filter(|_| self.flight.is_alive());
        [plan.wake, soon, retry].into_iter().flatten().min()
    }

    fn read(&mut self, class: Class) {
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
            let damaged = |seq| class == Class::Telemetry && self.weather.damaged.contains(&seq);
            let there = |record: &&Stored| (from..head).contains(&record.seq) && !damaged(record.seq);
            let chunk = || {
                self.records[class].iter().skip(from as usize - 1).filter(there).take(3).cloned().collect()
            };
            let chunk = (!self.is_unreadable()).then(chunk);
            self.readers[class].arrived(who, from, head, chunk, self.now);
        }
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
                    self.flight.acknowledged(kind, &key, &id, self.now);
                    self.flight.acknowledged(kind, "somebody-else", &id, self.now);
                }
            }
        }
    }

    /// sagooiot.md §3.2: what the platform does with a message, its traps included.
    fn platform(&mut self, outgoing: &Outgoing) {
        let message: Json = serde_json::from_str(&outgoing.payload).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        let key = outgoing.topic.split('/').nth(3).unwrap().to_owned();
        if !self.knows(&key) {
            return;
        }
        let packed = outgoing.topic.ends_with("pack/post");
        let kind = if packed { Kind::Pack } else { Kind::Property };
        let subs = message["params"]["subDevices"].as_array().cloned().unwrap_or_default();
        self.packs_of_many += usize::from(subs.len() > 1);
        let mut poisoned = false;
        for sub in &subs {
            let sub_key = sub["identity"]["deviceKey"].as_str().unwrap();
            assert!(self.knows(sub_key), "CRASH: {sub_key} is unknown to the platform");
            let device = sub_key.strip_suffix("-k").unwrap().to_owned();
            if let Some(number) = sub["events"]["trip"]["value"]["n"].as_i64() {
                let newest = self.newest_event.entry(device.clone()).or_insert(number);
                assert!(
                    (*newest..=*newest + 1).contains(&number),
                    "{sub_key}: event {number} after {newest}"
                );
                *newest = number;
            }
            if let Some(number) = sub["properties"]["k0"]["value"].as_i64() {
                poisoned |= self.weather.poisoned.contains(&(device.clone(), number));
                if self.letters.contains(&id) {
                    continue;
                }
                let newest = self.newest.entry(device.clone()).or_insert(number);
                let whole = self.weather.damaged.is_empty();
                let next = if whole { *newest + 1 } else { number.max(*newest) };
                let in_order = number == *newest || number == next;
                assert!(in_order || self.jumps, "{sub_key}: {number} after {newest}");
                *newest = number.max(*newest);
                self.arrived.entry((device, number)).or_insert(self.now);
                let second = &sub["properties"]["k1"];
                let (value, time) = (second["value"].as_i64(), second["time"].as_i64());
                assert_eq!(value, time, "a value of another time");
                // what changed in a damaged record only is told as it was before
                assert!(value == Some(number / 3) || !whole, "{sub_key}: {value:?} at {number}");
            }
        }
        poisoned |= self.weather.mute.contains(&id);
        if poisoned || self.percent(self.weather.lost_percent) {
            return;
        }
        let copies = 1 + u8::from(self.percent(self.weather.doubled_percent));
        for _ in 0..copies {
            let device = key.strip_suffix("-k").unwrap_or(&key);
            let slow = self.weather.slow.get(device).copied().unwrap_or_default();
            let latency =
                Duration::from_millis(self.rng.u64(1..if self.weather.fast { 6 } else { 400 })) + slow;
            self.at(self.now + latency, Happening::Acknowledged(self.session, kind, key.clone(), id.clone()));
        }
    }
}

fn rows_in(outgoing: &Outgoing, message: &Json) -> Vec<(String, BTreeSet<String>)> {
    let keys = |properties: &Json| properties.as_object().unwrap().keys().cloned().collect();
    if outgoing.topic.ends_with("pack/post") {
        let subs = message["params"]["subDevices"].as_array().unwrap();
        subs.iter()
            .map(|sub| (sub["identity"]["deviceKey"].as_str().unwrap().to_owned(), keys(&sub["properties"])))
            .collect()
    } else {
        vec![("gateway-k".into(), keys(&message["params"]))]
    }
}

type Ends = BTreeMap<(Class, Arc<str>, u64), (u32, Fate)>;

fn key(settled: &Settled) -> (Class, Arc<str>, u64) {
    (settled.class, settled.device.clone(), settled.seq)
}

/// Settled once per class, device and record, in order, with exactly these samples.
fn assert_settled(settled: &[Settled], expected: &Ends) {
    let mut last: HashMap<(Class, Arc<str>), u64> = HashMap::new();
    let mut seen = BTreeMap::new();
    for one in settled {
        let before = last.insert((one.class, one.device.clone()), one.seq);
        assert!(before.is_none_or(|before| before < one.seq), "{}: {} after {before:?}", one.device, one.seq);
        assert!(seen.insert(key(one), (one.samples, one.fate)).is_none());
    }
    assert_eq!(&seen, expected);
}

fn weather() -> impl Strategy<Value = Weather> {
    (
        any::<u64>(),
        0..25u8,
        0..20u8,
        proptest::collection::vec((1..60u64, 1..90u64), 0..2),
        proptest::collection::vec((1..40u64, 1..20u64), 0..2),
        proptest::option::of(1..90u64),
        proptest::collection::hash_set((0..4usize, 1..9i64), 0..2),
        proptest::collection::vec((1..60u64, 1..90u64), 0..2),
    )
        .prop_map(|(seed, lost_percent, doubled_percent, away, broken, late, poisoned, unreadable)| {
            Weather {
                seed,
                lost_percent,
                doubled_percent,
                away,
                broken,
                late: late.map(|since| ("d0".to_owned(), since)).into_iter().collect(),
                poisoned: poisoned
                    .into_iter()
                    .map(|(device, number)| (format!("d{device}"), number))
                    .collect(),
                mute: BTreeSet::new(),
                slow: BTreeMap::new(),
                unreadable,
                damaged: BTreeSet::new(),
                fast: false,
            }
        })
}

/// A record, and how long after the last one it is written.
#[derive(Debug, Clone, Copy)]
struct Told {
    /// Which devices are in it.
    devices: u8,
    gap_ms: u64,
    /// One point more.
    wider: bool,
    /// Its first device announces something instead.
    event: bool,
}

fn story() -> impl Strategy<Value = Vec<Told>> {
    let told = (1..16u8, 0..1_500u64, proptest::bool::weighted(0.1), proptest::bool::weighted(0.2));
    let told = told.prop_map(|(devices, gap_ms, wider, event)| Told { devices, gap_ms, wider, event });
    proptest::collection::vec(told, 1..60)
}

fn tell(story: &[Told]) -> Vec<(Duration, Vec<Row>)> {
    let mut at = Duration::ZERO;
    let (mut numbers, mut events) = ([0i64; 4], [0i64; 4]);
    let mut records = Vec::new();
    for Told { devices, gap_ms, wider, event: announces } in story {
        at += Duration::from_millis(*gap_ms);
        if *announces {
            let device = devices.trailing_zeros() as usize;
            events[device] += 1;
            records.push((at, vec![event(&format!("d{device}"), events[device])]));
            continue;
        }
        let mut rows = Vec::new();
        for (device, number) in numbers.iter_mut().enumerate().filter(|(i, _)| devices & (1 << i) != 0) {
            *number += 1;
            rows.push(row(&format!("d{device}"), *number, if *wider { 3 } else { 2 }));
        }
        records.push((at, rows));
    }
    records
}

/// What should become of each row, and which one it is.
fn expected(records: &[(Duration, Vec<Row>)], fate: impl Fn(&Row) -> Fate) -> Ends {
    let mut expected = BTreeMap::new();
    let mut heads = PerClass::new(|_| 0);
    for (_, rows) in records {
        let class = class_of(rows);
        heads[class] += 1;
        for row in rows {
            expected.insert((class, row.device.clone(), heads[class]), (row.samples, fate(row)));
        }
    }
    expected
}

proptest! {
    // three eighths of the usual number: a case is up to two hours of a platform
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 3 / 8, ..ProptestConfig::default() })]

    #[test]
    fn every_row_arrives_in_order_and_is_settled_once(
        mut weather in weather(), story in story(), small in any::<bool>(),
    ) {
        weather.poisoned.clear();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let expected = expected(&records, |_| Fate::Acknowledged);
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        // A small budget makes devices fall behind all the time.
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = World::new(&devices, records, weather, budget);
        world.run(Duration::from_secs(7_200), samples);
        let most = budget + 2 * 5 * 2 * 2_000;
        prop_assert!(world.most_bytes <= most, "{} bytes in memory", world.most_bytes);
        // A lossy line may look like a poisoned row; whatever was parked was settled all the same.
        let mut expected = expected;
        for one in world.settled.iter().filter(|one| one.fate == Fate::Parked) {
            prop_assert!(world.weather.lost_percent > 0, "an outage parks nothing");
            expected.get_mut(&key(one)).unwrap().1 = Fate::Parked;
        }
        assert_settled(&world.settled, &expected);
    }

    #[test]
    fn every_row_in_a_good_record_is_settled_once_whatever_is_damaged_before_it(
        mut weather in weather(), story in story(), small in any::<bool>(),
        damaged in proptest::collection::btree_set(1..60u64, 1..12),
    ) {
        weather.poisoned.clear();
        weather.lost_percent = 0;
        weather.damaged = damaged;
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let mut expected = expected(&records, |_| Fate::Acknowledged);
        expected.retain(|(class, _, seq), _| *class == Class::Event || !weather.damaged.contains(seq));
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = World::new(&devices, records, weather, budget);
        world.run(Duration::from_secs(7_200), samples);
        let mut told: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for note in world.flight.take_notes() {
            if let Note::Damaged { device, samples, .. } = note {
                *told.entry(device).or_default() += samples;
            }
        }
        let mut dropped: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for one in world.settled.iter().filter(|one| one.fate == Fate::Damaged) {
            *dropped.entry(one.device.clone()).or_default() += u64::from(one.samples);
            expected.get_mut(&key(one)).expect("of a good record").1 = Fate::Damaged;
        }
        prop_assert_eq!(told, dropped, "everything that is dropped is told");
        assert_settled(&world.settled, &expected);
    }

    #[test]
    fn a_poisoned_row_is_parked_alone(mut weather in weather(), story in story()) {
        weather.lost_percent = 0;
        weather.late.clear();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let poisoned = |row: &Row| match row.cells.first().map(|cell| &cell.value) {
            Some(Value::Int(number)) => weather.poisoned.contains(&(row.device.to_string(), *number)),
            _ => false,
        };
        let expected =
            expected(&records, |row| if poisoned(row) { Fate::Parked } else { Fate::Acknowledged });
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let mut world = World::new(&devices, records, weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(7_200), samples);
        assert_settled(&world.settled, &expected);
    }
}

fn fair() -> Weather {
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
    }
}

fn every_second(devices: &[&str], seconds: i64) -> Vec<(Duration, Vec<Row>)> {
    let rows = |n: i64| devices.iter().map(|device| row(device, n, 2)).collect();
    (1..=seconds).map(|n| (Duration::from_secs(n as u64), rows(n))).collect()
}

fn names(devices: &[&str]) -> Vec<String> {
    devices.iter().map(|device| (*device).to_owned()).collect()
}

#[test]
fn devices_of_one_record_share_a_pack_on_the_gateways_topic() {
    let mut world = World::new(&names(&["a", "b"]), every_second(&["a", "b"], 10), fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), 40);
    assert_eq!((world.packs_of_many, world.flight.counts().sent_messages), (10, 10));
    assert!(world.bytes_of.values().all(|outgoing| outgoing.topic == topic::pack_post(&identity(GATEWAY))));
    assert_eq!(world.flight.counts().sent_samples, 40);
}

#[test]
fn an_unknown_device_is_probed_with_growing_pauses_and_keeps_nobody_waiting() {
    let mut weather = fair();
    weather.late.insert("x".into(), u64::MAX);
    let mut world = World::new(&names(&["a", "x"]), every_second(&["a", "x"], 600), weather, 3_000);
    world.run(Duration::from_secs(700), u64::MAX);
    assert_eq!(world.settled.len(), 600, "all of a and nothing of x");
    assert!(world.settled.iter().all(|one| &*one.device == "a"));
    let notes = world.flight.take_notes();
    assert_eq!(notes.iter().filter(|note| **note == Note::Unknown("x-k".into())).count(), 1);
    let misses = world.flight.peers.get(2).misses;
    assert!((6..20).contains(&misses), "{misses} probes in 700 s");
}

#[test]
fn a_device_enabled_late_gets_all_its_rows_in_order() {
    let mut weather = fair();
    weather.late.insert("x".into(), 300);
    let mut world = World::new(&names(&["a", "x"]), every_second(&["a", "x"], 400), weather, 3_000);
    world.run(Duration::from_secs(1_500), 2 * 2 * 400);
    assert_eq!(world.settled.len(), 800);
}

#[test]
fn while_the_platform_is_silent_only_the_gateways_probe_is_sent() {
    let mut weather = fair();
    weather.away.push((10, 600));
    let mut world =
        World::new(&names(&["a", "b"]), every_second(&["a", "b"], 300), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), u64::MAX);
    let before = world.bytes_of.len();
    assert!(!world.flight.is_alive());
    let resent = world.flight.counts().resent_messages;
    let probes = world.flight.next_probe;
    world.run(Duration::from_secs(600), u64::MAX);
    assert_eq!((world.bytes_of.len(), world.flight.counts().resent_messages), (before, resent));
    let asked = world.flight.next_probe - probes;
    assert!((8..30).contains(&asked), "{asked} probes in 580 s");
    world.run(Duration::from_secs(2_000), 2 * 2 * 300);
    assert_eq!(world.settled.len(), 600);
    assert!(world.settled.iter().all(|one| one.fate == Fate::Acknowledged), "an outage parks nothing");
}

/// What is said of the platform as a whole.
fn said_of_the_platform(world: &mut World) -> Vec<Note> {
    let of_it = |note: &Note| matches!(note, Note::Answering | Note::Unanswered(_) | Note::Silent);
    world.flight.take_notes().into_iter().filter(of_it).collect()
}

#[test]
fn one_lost_answer_is_no_silent_platform_even_if_it_is_the_only_one_there_was() {
    let unanswered = |id: &str| vec![Note::Answering, Note::Unanswered(id.to_owned()), Note::Answering];
    // the answer to a row of the only device, or to a heartbeat of a gateway without any
    for (devices, away, id) in [(vec!["a"], (13, 1), "gateway-k-13-0"), (vec![], (9, 3), "gateway-k-p7-1")] {
        let weather = Weather { away: vec![away], ..fair() };
        let mut world = World::new(&names(&devices), every_second(&devices, 30), weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(60), u64::MAX);
        assert_eq!(said_of_the_platform(&mut world), unanswered(id));
    }
}

#[test]
fn a_platform_is_silent_when_it_was_asked_and_did_not_answer() {
    let weather = Weather { away: vec![(13, 100)], ..fair() };
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 30), weather, READ_AHEAD_BYTES);
    let unanswered = Note::Unanswered("gateway-k-13-0".to_owned());
    world.run(Duration::from_secs(20), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Answering, unanswered]);
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Silent, Note::Answering], "each once");
    // for the gateway itself, while its device is answered: two of its heartbeats are as good as asking
    let mute = (2..200).map(|number| format!("gateway-k-p7-{number}")).collect();
    let weather = Weather { mute, ..fair() };
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 60), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Answering, Note::Silent]);
}

#[test]
fn after_a_broken_connection_rows_go_on_within_a_second() {
    let mut weather = fair();
    weather.broken.push((10, 20));
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 60), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    let before = world.settled.len();
    world.run(Duration::from_secs(32), u64::MAX);
    assert!(world.settled.len() > before, "nothing settled within 2 s after 20 s without broker");
    world.run(Duration::from_secs(120), 120);
    assert_eq!(world.settled.len(), 60);
}

#[test]
fn heartbeats_go_to_the_gateway_and_to_devices_that_answer() {
    let mut world = World::new(&names(&["a", "b"]), Vec::new(), fair(), READ_AHEAD_BYTES);
    world.online.remove("b");
    world.flight.set_online(&world.online.clone());
    world.run(Duration::from_secs(61), u64::MAX);
    let sent = |peer| world.flight.peers.get(peer).identity.device_key.to_string();
    assert_eq!(sent(2), "b-k");
    assert!(
        !world.flight.peers.is_known(2, world.now),
        "b is offline and has nothing to send: it is not asked"
    );
    let probes = world.flight.next_probe;
    assert!((12..=16).contains(&probes), "{probes} probes and heartbeats in a minute");
}

#[test]
fn the_gateways_own_properties_go_by_property_post_and_its_events_by_pack() {
    let event = Some(Event { name: "rowParked".into(), value: "{}".into() });
    let announced = Row { event, samples: 0, ..row(GATEWAY, 2, 0) };
    let records =
        vec![(Duration::from_secs(1), vec![row(GATEWAY, 1, 2)]), (Duration::from_secs(3), vec![announced])];
    let mut world = World::new(&[], records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    assert_eq!(world.settled.len(), 2);
    assert_eq!(world.bytes_of["gateway-k-1-0"].topic, topic::property_post(&identity(GATEWAY)));
    assert_eq!(world.bytes_of["gateway-k-e1-0"].topic, topic::pack_post(&identity(GATEWAY)));
}

#[test]
fn an_event_stored_behind_ten_thousand_waiting_rows_leaves_first() {
    let mut records: Vec<_> = (1..=10_000).map(|n| (Duration::ZERO, vec![row("a", n, 2)])).collect();
    records.push((Duration::from_secs(60), vec![event("a", 1)]));
    let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    let before = world.went.len();
    assert!((100..300).contains(&before), "{before} rows left in a minute, the others wait");
    world.run(Duration::from_secs(62), u64::MAX);
    let place = world.went.iter().position(|id| id == "gateway-k-e1-0").expect("it left within two seconds");
    assert!(place <= before + 1, "{} rows left before it", place - before);
    assert_eq!(world.settled.iter().filter(|one| one.class == Class::Event).count(), 1);
}

#[test]
fn a_flood_of_events_of_one_device_keeps_no_other_device_waiting() {
    let mut records: Vec<_> = (1..=1_000).map(|n| (Duration::ZERO, vec![event("a", n)])).collect();
    records.extend(every_second(&["a", "b"], 30));
    let mut world = World::new(&names(&["a", "b"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(40), u64::MAX);
    let settled = |class, device: &str| {
        world.settled.iter().filter(|one| (one.class, &*one.device) == (class, device)).count()
    };
    assert_eq!(settled(Class::Telemetry, "b"), 30);
    assert_eq!(settled(Class::Telemetry, "a"), 0, "its own rows wait for its events");
    assert!(settled(Class::Event, "a") >= 60);
}

#[test]
fn two_events_of_one_name_are_both_told() {
    let twice = vec![event("a", 0), event("a", 1)];
    let mut world =
        World::new(&names(&["a"]), vec![(Duration::from_secs(1), twice)], fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    assert!(world.bytes_of["gateway-k-e1-0"].payload.contains("\"n\":0"));
    assert!(world.bytes_of["gateway-k-e1-1"].payload.contains("\"n\":1"));
    assert_eq!(world.settled.len(), 1, "one account for the record");
    assert_eq!(world.settled[0].samples, 2);
}

#[test]
fn a_row_with_nothing_to_say_is_settled_without_a_message() {
    let mut world = World::new(
        &names(&["a"]),
        vec![(Duration::from_secs(1), vec![row("a", 1, 0)])],
        fair(),
        READ_AHEAD_BYTES,
    );
    world.run(Duration::from_secs(5), u64::MAX);
    assert_eq!((world.settled.len(), world.bytes_of.len()), (1, 0));
}

#[test]
fn settled_rows_are_not_sent_again_after_a_restart() {
    let mut options = options(&names(&["a", "b"]), READ_AHEAD_BYTES);
    let positions = HashMap::from([("a".into(), 3), ("b".into(), 2)]);
    options.resume.telemetry = Resume { from: 1, positions };
    let mut world = World::new(&names(&["a", "b"]), every_second(&["a", "b"], 4), fair(), READ_AHEAD_BYTES);
    world.flight = Flight::new(options, world.start);
    world.run(Duration::from_secs(20), 10);
    let ids: BTreeSet<&str> = world.bytes_of.keys().map(String::as_str).collect();
    assert_eq!(ids, BTreeSet::from(["gateway-k-2-1", "gateway-k-3", "gateway-k-4"]));
}

#[test]
fn a_restart_sends_the_same_bytes_under_the_same_ids() {
    let devices = names(&["a", "b"]);
    let run = || {
        let mut world = World::new(&devices, every_second(&["a", "b"], 5), fair(), READ_AHEAD_BYTES);
        world.run(Duration::from_secs(20), 20);
        world.bytes_of
    };
    let first = run();
    assert_eq!(first.len(), 5);
    assert_eq!(first, run());
}

#[test]
fn records_from_before_the_start_wait_for_slow_probes_so_that_packs_stay_packs() {
    let ids_after = |written_before, slow_ms| {
        let mut weather = fair();
        weather.slow.insert("b".into(), Duration::from_millis(slow_ms));
        let rows = every_second(&["a", "b"], 3);
        let records = rows.into_iter().map(|(_, rows)| (Duration::ZERO, rows)).collect();
        let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
        world.flight = Flight::new(
            Options {
                written_before: PerClass::new(|_| written_before),
                ..options(&names(&["a", "b"]), READ_AHEAD_BYTES)
            },
            world.start,
        );
        world.run(Duration::from_secs(30), 12);
        world.bytes_of.into_keys().collect::<BTreeSet<_>>()
    };
    let packs = ["gateway-k-1", "gateway-k-2", "gateway-k-3"].map(str::to_owned);
    assert_eq!(ids_after(4, 2_000), BTreeSet::from(packs));
    assert!(ids_after(1, 2_000).contains("gateway-k-1-0"), "what is new does not wait that long");
    assert!(ids_after(4, 4_000).contains("gateway-k-1-0"), "nor does anything wait for ever");
}

#[test]
fn an_old_backlog_does_not_wait_row_by_row_behind_an_unknown_device() {
    let mut weather = fair();
    weather.late.insert("x".into(), u64::MAX);
    let records = every_second(&["a", "x"], 100).into_iter().map(|(_, rows)| (Duration::ZERO, rows));
    let mut world = World::new(&names(&["a", "x"]), records.collect(), weather, READ_AHEAD_BYTES);
    world.flight = Flight::new(
        Options { written_before: PerClass::new(|_| 101), ..options(&names(&["a", "x"]), READ_AHEAD_BYTES) },
        world.start,
    );
    world.run(Duration::from_secs(60), 200);
    assert_eq!(world.settled.len(), 100, "all of a within a minute");
}

#[test]
fn a_row_that_is_given_up_is_handed_on_whole() {
    let mut weather = fair();
    weather.mute.insert("gateway-k-e1-0".to_owned());
    let value = format!("{{\"t\":\"{}\"}}", "电".repeat(1_000));
    let poisoned = Row { event: Some(Event { name: "e".into(), value }), samples: 2, ..row("a", 1, 0) };
    let records = vec![(Duration::from_secs(1), vec![poisoned])];
    let mut world = World::new(&names(&["a"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(300), 2);
    let notes = world.flight.take_notes();
    let given_up = notes.into_iter().find_map(|note| match note {
        Note::GivenUp(row) => Some(row),
        _ => None,
    });
    let sent = world.bytes_of["gateway-k-e1-0"].clone();
    assert!(sent.payload.len() > 1_000, "longer than any value of a point");
    let expected = GivenUp {
        id: "gateway-k-e1-0".to_owned(),
        device: "a".into(),
        topic: sent.topic,
        samples: 2,
        tries: ROW_TRIES,
        message: sent.payload,
    };
    assert_eq!(given_up, Some(expected), "whole, and as it was sent");
}

#[test]
fn rows_of_a_device_that_is_not_configured_any_more_are_still_sent() {
    let mut world = World::new(&names(&["a"]), every_second(&["gone"], 3), fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), 6);
    assert_eq!(world.settled.len(), 3);
    assert_eq!(world.flight.take_foreign_keys(), ["gone-k".into()]);
}

#[test]
fn rows_after_a_damaged_record_go_on_and_those_that_need_it_are_settled_as_damaged() {
    // Every seventh record begins a segment, and the first two of it have full rows.
    let seqs = |world: &World, fate| -> BTreeSet<u64> {
        world.settled.iter().filter(|one| one.fate == fate).map(|one| one.seq).collect()
    };
    let run = |damaged: &[u64]| {
        let mut weather = fair();
        weather.damaged.extend(damaged);
        let mut world = World::new(&names(&["a"]), every_second(&["a"], 14), weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(60), 28 - 2 * damaged.len() as u64);
        world
    };
    for lost in [1, 2, 3] {
        let inside = run(&[lost]);
        assert_eq!(seqs(&inside, Fate::Acknowledged), (1..=14).filter(|seq| *seq != lost).collect());
    }
    let mut first = run(&[1, 2]);
    assert_eq!(seqs(&first, Fate::Damaged), (3..=7).collect());
    assert_eq!(seqs(&first, Fate::Acknowledged), (8..=14).collect());
    assert!(!first.bytes_of.contains_key("gateway-k-3-0"), "a row that cannot be rebuilt was sent");
    let notes = first.flight.take_notes();
    let told: u64 =
        notes.iter().map(|note| if let Note::Damaged { samples, .. } = note { *samples } else { 0 }).sum();
    assert_eq!(told, 10);
}

#[test]
fn a_disk_that_cannot_be_read_is_tried_again_with_growing_pauses_and_costs_nothing() {
    let mut weather = fair();
    weather.unreadable.push((5, 100));
    let records = every_second(&["a", "b"], 60);
    let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(5), u64::MAX);
    let before = world.reads;
    world.run(Duration::from_secs(104), u64::MAX);
    let tried = world.reads - before;
    assert!((5..=12).contains(&tried), "{tried} tries in 100 s");
    world.run(Duration::from_secs(300), 240);
    assert_eq!(world.settled.len(), 120);
    assert!(world.settled.iter().all(|one| one.fate == Fate::Acknowledged));
}

#[test]
fn many_unknown_devices_do_not_keep_those_after_them_from_being_asked() {
    let mut weather = fair();
    let unknown: Vec<String> = (0..600).map(|n| format!("u{n}")).collect();
    weather.late = unknown.iter().map(|device| (device.clone(), u64::MAX)).collect();
    let devices: Vec<String> = unknown.iter().cloned().chain(["good".to_owned()]).collect();
    let everybody = |n: i64| devices.iter().map(|device| row(device, n, 2)).collect();
    let records = vec![(Duration::from_secs(1), everybody(1)), (Duration::from_secs(200), everybody(2))];
    let mut world = World::new(&devices, records, weather, READ_AHEAD_BYTES);
    // not a multiple of the time an answer may take, so that a beat falls due while others are waited for
    let heartbeat = Duration::from_secs(7);
    world.flight = Flight::new(Options { heartbeat, ..options(&devices, READ_AHEAD_BYTES) }, world.start);
    world.flight.set_online(&world.online);
    world.run(Duration::from_secs(120), u64::MAX);
    let good = world.settled.iter().filter(|one| &*one.device == "good").count();
    assert_eq!(good, 1, "the last of many was never asked");
    let good = world.flight.peers.len() - 1;
    for second in 121..=400 {
        world.run(Duration::from_secs(second), u64::MAX);
        for known in [SELF, good] {
            let late =
                world.now.saturating_duration_since(world.flight.peers.beat_at(known, world.now).unwrap());
            assert!(late < Duration::from_secs(1), "a heartbeat is {late:?} late at {second} s");
        }
    }
    let misses = (SELF + 1..good).map(|peer| world.flight.peers.get(peer).misses);
    let (least, most) = (misses.clone().min().unwrap(), misses.max().unwrap());
    assert!(least > 1 && most <= least + 1, "asked between {least} and {most} times");
}

#[test]
fn the_key_a_device_had_before_gets_its_rows_but_no_heartbeats() {
    let mut old = row("a", 1, 2);
    old.identity = identity("before");
    let records = vec![(Duration::from_secs(1), vec![old]), (Duration::from_secs(3), vec![row("a", 2, 2)])];
    let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), 4);
    assert_eq!(world.settled.len(), 2);
    let foreign = world.flight.peers.len() - 1;
    assert_eq!(&*world.flight.peers.get(foreign).identity.device_key, "before-k");
    world.flight.set_online(&world.online.clone());
    let beat_at = |peer| world.flight.peers.beat_at(peer, world.now);
    assert!(beat_at(1).is_some());
    assert_eq!(beat_at(foreign), None);
}

#[test]
fn two_rows_keep_the_distance_of_two_sets_if_a_value_of_one_cannot_be_said() {
    let too_long = format!("[{}]", "1,".repeat(200).trim_end_matches(','));
    for odd in [Value::Float(f64::NAN), Value::Json(too_long)] {
        let (whole, mut partly) = (row("a", 1, 3), row("a", 2, 3));
        partly.cells[2].value = odd.clone();
        let records = vec![(Duration::from_secs(1), vec![whole]), (Duration::from_secs(1), vec![partly])];
        let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
        // the world watches the distance of what is said
        world.run(Duration::from_secs(10), 6);
        assert_eq!(world.settled.len(), 2);
        assert!(!world.bytes_of["gateway-k-2-0"].payload.contains("k2"), "{odd:?} was said");
    }
}

#[test]
fn ids_parse_back() {
    for unit in [
        Unit { class: Class::Telemetry, seq: 7, place: None },
        Unit { class: Class::Event, seq: 7, place: None },
        Unit { class: Class::Telemetry, seq: u64::MAX, place: Some(3) },
        Unit { class: Class::Event, seq: 1, place: Some(0) },
    ] {
        let id = unit.id("gw-0001");
        assert_eq!(Unit::parse(id.strip_prefix("gw-0001-").unwrap()), Some(unit));
    }
    for odd in ["", "-", "1-", "x", "1-2-3", "-1", "1-4294967296", "e", "e-1", "1-e1", "ee1"] {
        assert_eq!(Unit::parse(odd), None, "{odd}");
    }
}

/// A wider row of `a` is given up, and asked for again after a while; narrow ones come all the time.
fn world_with_a_letter(rows: i64) -> (World, Letter) {
    let mut weather = fair();
    weather.poisoned.insert(("a".into(), 1));
    let mut records = every_second(&["a", "b"], rows);
    records[0].1[0] = row("a", 1, 3);
    let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    let given_up = world.flight.take_notes().into_iter().find_map(|note| match note {
        Note::GivenUp(row) => Some(row),
        _ => None,
    });
    let GivenUp { id, device, topic, samples, message, .. } = given_up.expect("it was never answered");
    world.letters.insert(id.clone());
    (world, Letter { id, device, topic, samples, payload: message })
}

#[test]
fn a_letter_is_sent_with_its_id_and_bytes_between_the_rows_of_its_device_and_answered() {
    let (mut world, letter) = world_with_a_letter(120);
    world.weather.poisoned.clear();
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    assert_eq!(world.flight.send_letter(letter.clone(), world.now), Err(Unsendable::InFlight));
    // the world watches the distances, the sets, and that one id has one message
    world.run(Duration::from_secs(80), u64::MAX);
    let Letter { id, device, samples, .. } = letter;
    assert_eq!(world.flight.take_returned(), [Returned { id, device, samples, answered: true }]);
    let before = world.settled.len();
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(world.settled.len(), 240, "the rows went on after {before}");
}

#[test]
fn a_letter_that_is_not_answered_again_comes_back_and_its_device_goes_on() {
    let (mut world, letter) = world_with_a_letter(120);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    world.run(Duration::from_secs(240), u64::MAX);
    let Letter { id, device, samples, .. } = letter.clone();
    assert_eq!(world.flight.take_returned(), [Returned { id, device, samples, answered: false }]);
    assert_eq!(world.settled.len(), 240);
    world.weather.poisoned.clear();
    world.flight.send_letter(letter, world.now).unwrap();
    world.run(Duration::from_secs(300), u64::MAX);
    assert!(world.flight.take_returned()[0].answered, "as often as somebody asks");
}

#[test]
fn a_letter_waits_for_the_platform_and_for_its_device() {
    let (mut world, letter) = world_with_a_letter(3);
    world.weather.poisoned.clear();
    world.weather.away = vec![(60, 60)];
    world.weather.late.insert("a".into(), 200);
    // with others answered it would be tried in vain; it is not tried at all
    world.run(Duration::from_secs(90), u64::MAX);
    let sent = world.flight.counts().resent_messages;
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    world.run(Duration::from_secs(199), u64::MAX);
    assert_eq!((world.flight.counts().resent_messages, world.flight.take_returned()), (sent, vec![]));
    world.run(Duration::from_secs(600), u64::MAX);
    assert!(world.flight.take_returned()[0].answered);
}

#[test]
fn a_letter_can_be_taken_back_until_it_is_on_the_wire() {
    let (mut world, letter) = world_with_a_letter(120);
    assert!(world.flight.take_back(&letter.id), "it is not there");
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    assert!(world.flight.take_back(&letter.id));
    world.run(Duration::from_secs(70), u64::MAX);
    assert_eq!(world.flight.take_returned(), []);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    while world.flight.counts().resent_messages < 4 {
        let next = world.now - world.start + Duration::from_millis(20);
        world.run(next, u64::MAX);
    }
    assert!(!world.flight.take_back(&letter.id), "its answer may be on its way");
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(world.settled.len(), 240, "nobody waits behind one that was taken back");
}

#[test]
fn what_could_not_be_answered_is_not_sent() {
    let (mut world, letter) = world_with_a_letter(1);
    for (odd, why) in [
        (Letter { id: "other-1-0".into(), ..letter.clone() }, Unsendable::Foreign),
        (Letter { topic: "/sys/x".into(), ..letter.clone() }, Unsendable::Foreign),
        (Letter { payload: "x".repeat(MAX_ROW_BYTES + 1), ..letter }, Unsendable::TooLarge),
    ] {
        assert_eq!(world.flight.send_letter(odd, world.now), Err(why));
    }
}

/// One per class, of rows whose times are known.
fn readers() -> PerClass<Reader> {
    let boots = tokio::sync::watch::channel(Boots::default()).1;
    PerClass::new(|class| Reader::new(class, 1, boots.clone()))
}
