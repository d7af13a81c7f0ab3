//! The broker is away and comes back: how soon rows flow again, how fast the backlog goes out, and what the
//! live values beside it notice.
//!
//! Always true: every read is followed from its device to the messages that reach the platform.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::platform::{Endpoint, Platform, Timing};
use e2e::rig::{Broker, Listener};
use tempfile::TempDir;
use tokio::time::sleep;

use super::site::{FILTER, acknowledge};
use crate::Bench;
use crate::figures::{Figure, percentile};
use crate::gateway::{Gateway, Own};
use crate::modbus_tcp::ours;
use crate::plant::{Plant, Shape};
use crate::report::Table;

/// How long, of what.
#[derive(Clone, Copy)]
struct Size {
    devices: usize,
    registers: u16,
    calm: Duration,
    away: Duration,
    /// Reads of each device that wait when the broker is back after an hour.
    hour: u16,
}

const PERIOD: Duration = Duration::from_secs(1);
/// The hour goes by twenty times as fast.
const HURRY: Duration = Duration::from_millis(50);
const FULL: Size = Size {
    devices: 100,
    registers: 100,
    calm: Duration::from_secs(15),
    away: Duration::from_secs(20),
    hour: 3_600,
};
const QUICK: Size = Size { devices: 2, registers: 3, calm: PERIOD, away: PERIOD, hour: 20 };
const LOOK: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

/// What is measured, and how it is told.
struct Case {
    key: &'static str,
    title: &'static str,
    profile: &'static str,
    /// Not some seconds as they are, but an hour's reads.
    hour: bool,
}

const CASES: [Case; 3] = [
    Case { key: "ordered", title: "oldest first, 20 s", profile: "community", hour: false },
    Case { key: "live_first", title: "live first, 20 s", profile: "enterprise", hour: false },
    Case { key: "hour", title: "live first, an hour", profile: "enterprise", hour: true },
];

pub(super) fn note() -> String {
    format!(
        "Away: {} Modbus TCP devices of {} registers, read every {PERIOD:?}; mosquitto is killed and comes back after \
         {:?}. Latency is from the request at the device to the message at the platform. Oldest first is what the \
         community platform needs, four rows of a device a second at most, and the simulated platform is there to \
         judge each; live first is profile = \"enterprise\" to a plain broker, with a subscriber that does no more \
         than acknowledge. An hour: without a broker every device is read each {HURRY:?}, until {} reads of each \
         wait, and then each {PERIOD:?} again; it is drained as fast as that many seconds go out. Latency beside the \
         backlog is that of reads made while it went out, from its first row to its last.",
        FULL.devices, FULL.registers, FULL.away, FULL.hour
    )
}

pub(super) async fn measure(bench: &Bench) -> Result<Table> {
    let columns = [
        ("again", "back until the first row, ms"),
        ("drained", "drained, times real time"),
        ("before_p50", "latency before p50, ms"),
        ("before_p99", "p99, ms"),
        ("beside_p50", "latency beside the backlog p50, ms"),
        ("beside_p99", "p99, ms"),
        ("lost", "reads lost"),
        ("doubled", "rows twice"),
    ];
    let size = if bench.quick { QUICK } else { FULL };
    let mut table = Table::new("away", "The broker is away", &columns);
    for case in &CASES {
        bench.progress.say(&format!("gateway: the broker is away, {}", case.title));
        let seen = outage(bench, size, case).await?;
        table.row(case.key, case.title, seen.figures());
    }
    Ok(table)
}

/// Reads and rows of an outage.
struct Outage {
    /// Device and count → when it arrived first.
    arrived: HashMap<(usize, u64), Instant>,
    /// Read before the broker was back, and not arrived.
    owed: HashSet<(usize, u64)>,
    doubled: usize,
    plant: Plant,
    begun: Instant,
    /// All of them were heard of.
    calm: Instant,
    gone: Instant,
    back: Instant,
    /// How long the reads of the outage would have taken.
    worth: Duration,
}

/// Who gets the rows.
enum Peer {
    /// Judges each of them; so many were looked at.
    Platform(Platform, usize),
    /// Acknowledges them; ends with its broker.
    Subscriber(Listener),
}

impl Peer {
    /// When what arrived since the last look: topic and payload.
    fn fresh(&mut self) -> Vec<(Instant, String, Vec<u8>)> {
        match self {
            Self::Platform(platform, looked) => platform.look(|core| {
                let fresh = core.arrivals.iter().skip(std::mem::replace(looked, core.arrivals.len()));
                let first = fresh.filter(|arrival| !arrival.resent);
                first.map(|one| (one.at, one.message.topic.clone(), one.message.payload.clone())).collect()
            }),
            Self::Subscriber(listener) => {
                listener.heard().into_iter().map(|heard| (heard.at, heard.topic, heard.payload)).collect()
            }
        }
    }
}

async fn outage(bench: &Bench, size: Size, case: &Case) -> Result<Outage> {
    let dir = TempDir::with_prefix("bench-broker-").context("making a temporary directory")?;
    let mut broker = Broker::start(dir.path());
    let plant = Plant::start(Shape::Apart(size.devices))?;
    let known = ours::known(size.devices, size.registers);
    let port = broker.port;
    let mut peer = match case.profile {
        "community" => Peer::Platform(Platform::start(Endpoint::local(port), Timing::default(), known), 0),
        _ => Peer::Subscriber(Listener::start(port, &[FILTER], acknowledge)),
    };
    let toml = ours::field_toml(&plant, size.registers, PERIOD);
    let (program, driver) = (bench.places.program("sagoo-edge")?, bench.places.program("driver-modbus")?);
    let own = Own { sagoo: format!("profile = \"{}\"", case.profile), ..Own::local(broker.port) };
    let mut gateway = Gateway::prepare(&program, &driver, &own, &toml)?;
    gateway.start()?;
    let mut seen = Outage {
        arrived: HashMap::new(),
        owed: HashSet::new(),
        doubled: 0,
        plant,
        begun: Instant::now(),
        calm: Instant::now(),
        gone: Instant::now(),
        back: Instant::now(),
        worth: size.away,
    };
    let began = Instant::now();
    while !(0..size.devices).all(|device| seen.arrived.contains_key(&(device, 2))) {
        ensure!(began.elapsed() < PATIENCE, "not every device was heard of\n{}", gateway.tail());
        sleep(LOOK).await;
        seen.look(&mut peer);
    }
    seen.calm = Instant::now();
    sleep(size.calm).await;
    broker.kill();
    (seen.begun, seen.gone) = (began, Instant::now());
    match case.hour {
        true => seen.worth = seen.hurry(&mut gateway, size).await?,
        false => sleep(size.away).await,
    }
    // a subscriber ends with its broker, and what it heard with it
    seen.look(&mut peer);
    broker.restart();
    seen.back = Instant::now();
    seen.owe();
    if let Peer::Subscriber(listener) = &mut peer {
        *listener = Listener::start(port, &[FILTER], acknowledge);
    }
    while !seen.owed.is_empty() && seen.back.elapsed() < PATIENCE + 10 * size.away.max(seen.worth / 20) {
        sleep(LOOK).await;
        seen.look(&mut peer);
    }
    // What is read beside the last of the backlog is heard of, too.
    sleep(size.calm).await;
    seen.look(&mut peer);
    gateway.stop().await?;
    Ok(seen)
}

impl Outage {
    /// An hour's reads in less time; returns how long they would have taken.
    async fn hurry(&self, gateway: &mut Gateway, size: Size) -> Result<Duration> {
        let reads = |outage: &Self| (0..size.devices).map(|device| outage.plant.reads(device).len()).min();
        let before = reads(self).unwrap_or_default();
        gateway.configure(&ours::field_toml(&self.plant, size.registers, HURRY)).await?;
        let began = Instant::now();
        let enough = before + usize::from(size.hour);
        while reads(self).unwrap_or_default() < enough {
            ensure!(began.elapsed() < PATIENCE + 2 * u32::from(size.hour) * HURRY, "{}", gateway.tail());
            sleep(10 * LOOK).await;
        }
        gateway.configure(&ours::field_toml(&self.plant, size.registers, PERIOD)).await?;
        Ok(u32::from(size.hour) * PERIOD)
    }

    /// What has arrived since the last look.
    fn look(&mut self, peer: &mut Peer) {
        for (at, topic, payload) in peer.fresh() {
            for read in ours::counts(&topic, &payload) {
                self.owed.remove(&read);
                match self.arrived.entry(read) {
                    Entry::Occupied(_) => self.doubled += 1,
                    Entry::Vacant(first) => drop(first.insert(at)),
                }
            }
        }
    }

    /// Reads between these moments, with their arrival.
    fn reads(&self, from: Instant, to: Instant) -> Vec<(Instant, Option<Instant>)> {
        let of_device =
            |device| (1..).zip(self.plant.reads(device)).map(move |(count, read)| (device, count, read));
        let all = (0..self.plant.len()).flat_map(of_device);
        let within = all.filter(|(_, _, read)| (from..to).contains(read));
        within.map(|(device, count, read)| (read, self.arrived.get(&(device, count)).copied())).collect()
    }

    fn owe(&mut self) {
        let within = |(_, read): &(u64, Instant)| (self.begun..self.back).contains(read);
        let of_device = |device| {
            let counted = (1..).zip(self.plant.reads(device)).filter(within);
            counted.map(move |(count, _)| (device, count))
        };
        let all = (0..self.plant.len()).flat_map(of_device);
        self.owed = all.filter(|read| !self.arrived.contains_key(read)).collect();
    }

    fn latencies(&self, from: Instant, to: Instant) -> Vec<f64> {
        let known = self.reads(from, to).into_iter().filter_map(|(read, arrived)| Some(arrived? - read));
        let mut all: Vec<f64> = known.map(|latency| latency.as_secs_f64() * 1e3).collect();
        all.sort_by(f64::total_cmp);
        all
    }

    fn figures(&self) -> Vec<(&'static str, Option<Figure>)> {
        let again = self.arrived.values().filter(|at| **at > self.back).min();
        let last = self.reads(self.gone, self.back).into_iter().filter_map(|(_, arrived)| arrived).max();
        let last = last.unwrap_or(self.back).max(self.back);
        // What is read before the platform answers again belongs to the backlog.
        let here = again.copied().unwrap_or(last);
        let (before, beside) = (self.latencies(self.calm, self.gone), self.latencies(here, last));
        let one = |unit, value: f64| Figure::of(unit, vec![value]);
        let at = |sorted: &[f64], percent| (!sorted.is_empty()).then(|| percentile(sorted, percent));
        let ms = |value: Option<f64>| value.and_then(|value| one("ms", value));
        vec![
            ("again", ms(again.map(|at| (*at - self.back).as_secs_f64() * 1e3))),
            ("drained", one("×", self.worth.as_secs_f64() / (last - self.back).as_secs_f64())),
            ("before_p50", ms(at(&before, 50.0))),
            ("before_p99", ms(at(&before, 99.0))),
            ("beside_p50", ms(at(&beside, 50.0))),
            ("beside_p99", ms(at(&beside, 99.0))),
            ("lost", one("reads", self.owed.len() as f64)),
            ("doubled", one("rows", self.doubled as f64)),
        ]
    }
}
