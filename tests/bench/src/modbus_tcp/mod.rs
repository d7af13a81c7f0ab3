//! Modbus TCP from the devices to a broker: what it costs, how evenly devices are read, how long a value
//! takes, and the same of ThingsBoard's gateway.
//!
//! Always true: every value changes at every read, so nothing can be left out; times are taken by the
//! devices and by a subscriber of the broker, in one process; what is compared takes turns in one run.

mod account;
mod dead;
mod flat_out;
pub(crate) mod ours;
mod site;
mod thingsboard;

use std::time::Duration;

use anyhow::Result;

use self::account::jitter_ms;
use self::site::{Field, Measured, Site, Whose};
use crate::Bench;
use crate::conditions::Conditions;
use crate::figures::{Figure, percentile};
use crate::options::Part;
use crate::plant::Shape;
use crate::report::{Section, Table};

/// Registers of every device.
const REGISTERS: u16 = 100;

/// How much, how often.
#[derive(Debug, Clone, Copy)]
struct Size {
    devices: &'static [usize],
    compared: usize,
    period: Duration,
    stretches: usize,
    stretch: Duration,
    /// What starting brought with it is over by then.
    calm: Duration,
    /// How long one of ten is dead.
    dead: Duration,
}

const FULL: Size = Size {
    devices: &[1, 10, 100, 500],
    compared: 100,
    period: Duration::from_secs(1),
    stretches: 3,
    stretch: Duration::from_secs(20),
    calm: Duration::from_secs(5),
    dead: Duration::from_secs(30),
};
const QUICK: Size = Size {
    devices: &[1, 3],
    compared: 3,
    // Rows of a device are 250 ms apart on their way to the platform.
    period: Duration::from_millis(300),
    stretches: 1,
    stretch: Duration::from_secs(1),
    calm: Duration::ZERO,
    dead: Duration::from_secs(1),
};

/// From one device to many, and one as fast as it goes.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let mut table = Table::new("devices", "From the devices to the broker", &COLUMNS);
    for devices in size.devices {
        bench.progress.say(&format!("modbus-tcp: {devices} devices"));
        let stretches = stretches(bench, Whose::Ours, size, *devices).await?;
        let title = if *devices == 1 { "1 device".to_owned() } else { format!("{devices} devices") };
        table.row(format!("d{devices}"), title, figures(&stretches));
    }
    let notes = vec![
        format!(
            "Devices of {REGISTERS} registers, each behind a port of its own, read every {:?}; every register \
             changes at every read. {} stretches of {:?} each, in one start of the gateway: mosquitto, a simulated \
             platform that acknowledges, the store, the driver behind AutoMTLS. Jitter is how far the time between \
             two reads of a device, taken at the device, was from the period. Latency is from the request at the \
             device to the message at a subscriber of the broker. Reads are merged where two of one device came \
             closer than the 250 ms that rows of it must be apart; the ledger counts them, start and end included.",
            size.period, size.stretches, size.stretch
        ),
        "The cores are shared with what is not counted: the devices, mosquitto, the platform, the subscriber."
            .to_owned(),
        flat_out::note(),
    ];
    let flat_out = flat_out::measure(bench, size.period).await?;
    Ok(bench.section(Part::ModbusTcp, conditions, notes, vec![table, flat_out]))
}

/// Beside ThingsBoard's gateway.
pub async fn beside_thingsboard(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let mut all: [Vec<Stretch>; 2] = [Vec::new(), Vec::new()];
    let once = Size { stretches: 1, ..size };
    for round in 1..=size.stretches {
        for (whose, of) in [Whose::Ours, Whose::ThingsBoards].into_iter().zip(&mut all) {
            bench.progress.say(&format!("thingsboard: {whose:?}, round {round} of {}", size.stretches));
            of.extend(stretches(bench, whose, once, size.compared).await?);
        }
    }
    let [ours, theirs] = &all;
    let mut table = Table::new("compared", "From the devices to the broker", &COMPARED);
    table.row("ours", "Sagoo Edge", figures(ours));
    table.row("thingsboard", "ThingsBoard's gateway", figures(theirs));
    let theirs: Vec<_> = figures(theirs).into_iter().collect();
    let ratio = |(key, own): (&'static str, Option<Figure>)| {
        let other = theirs.iter().find(|(name, _)| *name == key).and_then(|(_, figure)| figure.as_ref());
        (key, own.zip(other).and_then(|(own, other)| own.over(other)))
    };
    table.row("ratio", "ours as a multiple of theirs", figures(ours).into_iter().map(ratio));
    let dead = dead::measure(bench, size.period, size.dead).await?;
    let notes = vec![
        format!(
            "{} devices of {REGISTERS} registers, each behind a port of its own, read every {:?}; every register \
             changes at every read; {} rounds, each a start of its own, measured for {:?} in turns. ThingsBoard's \
             gateway {} with its most favourable settings: one request per device, memory storage, no statistics, \
             no attributes, nothing logged but warnings, no limits from its platform. Ours has its store on disk, \
             the driver behind AutoMTLS, and a platform that acknowledges.",
            size.compared,
            size.period,
            size.stretches,
            size.stretch,
            thingsboard::VERSION
        ),
        dead::note(size.dead),
    ];
    Ok(bench.section(Part::ThingsBoard, conditions, notes, vec![table, dead]))
}

const COLUMNS: [(&str, &str); 11] = [
    ("points_per_s", "points/s at the broker"),
    ("gateway_cpu", "CPU gateway, % of a core"),
    ("driver_cpu", "CPU driver, %"),
    ("gateway_rss", "RSS gateway, MiB"),
    ("driver_rss", "RSS driver, MiB"),
    ("jitter_p50", "jitter p50, ms"),
    ("jitter_p99", "jitter p99, ms"),
    ("latency_p50", "latency p50, ms"),
    ("latency_p99", "latency p99, ms"),
    ("lost", "reads not heard of"),
    ("merged", "reads merged, in all"),
];
const COMPARED: [(&str, &str); 9] = [
    ("points_per_s", "points/s at the broker"),
    ("cpu", "CPU, % of a core"),
    ("rss", "RSS, MiB"),
    ("jitter_p50", "jitter p50, ms"),
    ("jitter_p99", "jitter p99, ms"),
    ("latency_p50", "latency p50, ms"),
    ("latency_p99", "latency p99, ms"),
    ("lost", "reads not heard of"),
    ("merged", "reads merged, in all"),
];

/// What a stretch came to, with the jitter seen in it.
#[derive(Debug, Clone)]
struct Stretch {
    measured: Measured,
    jitter_ms: Vec<f64>,
    /// Reads since the start that a newer one of the same device took along, if that is told.
    merged: Option<f64>,
}

async fn stretches(bench: &Bench, whose: Whose, size: Size, devices: usize) -> Result<Vec<Stretch>> {
    let field = Field { shape: Shape::Apart(devices), registers: REGISTERS, period: size.period };
    let mut site = Site::start(&bench.places, whose, field).await?;
    tokio::time::sleep(size.calm).await;
    let mut all = Vec::new();
    for _ in 0..size.stretches {
        let measured = site.measure(size.stretch).await?;
        let jitter_ms = jitter_ms(&site.plant, size.period, measured.from, measured.to);
        all.push(Stretch { measured, jitter_ms, merged: None });
    }
    anyhow::ensure!(site.wrong() == 0, "{whose:?}: {} values were filed wrongly", site.wrong());
    // Only now: a look at its status is work, too.
    let merged = site.merged().await?.map(|samples| samples as f64 / f64::from(REGISTERS));
    if let Some(last) = all.last_mut() {
        last.merged = merged;
    }
    site.stop().await?;
    Ok(all)
}

/// Every figure there is, by its column's key.
fn figures(stretches: &[Stretch]) -> Vec<(&'static str, Option<Figure>)> {
    let of = |unit, value: &dyn Fn(&Stretch) -> Option<f64>| {
        Figure::of(unit, stretches.iter().filter_map(value).collect())
    };
    let at = |sorted: &[f64], percent| (!sorted.is_empty()).then(|| percentile(sorted, percent));
    vec![
        ("points_per_s", of("1/s", &|one| Some(one.measured.points_per_s))),
        ("cpu", of("%", &|one| Some(one.measured.cpu.iter().sum()))),
        ("gateway_cpu", of("%", &|one| one.measured.cpu.first().copied())),
        ("driver_cpu", of("%", &|one| one.measured.cpu.get(1).copied())),
        ("rss", of("MiB", &|one| Some(one.measured.memory.iter().sum()))),
        ("gateway_rss", of("MiB", &|one| one.measured.memory.first().copied())),
        ("driver_rss", of("MiB", &|one| one.measured.memory.get(1).copied())),
        ("jitter_p50", of("ms", &|one| at(&one.jitter_ms, 50.0))),
        ("jitter_p99", of("ms", &|one| at(&one.jitter_ms, 99.0))),
        ("latency_p50", of("ms", &|one| at(&one.measured.stretch.latency_ms, 50.0))),
        ("latency_p99", of("ms", &|one| at(&one.measured.stretch.latency_ms, 99.0))),
        ("lost", of("reads", &|one| Some(one.measured.stretch.lost as f64))),
        ("merged", of("reads", &|one| one.merged)),
    ]
}
