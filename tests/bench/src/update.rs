//! The longest pause between two polls of each device while its driver is replaced under a running
//! gateway.
//!
//! Always true: the devices themselves take the time; next to the pause of the update stands the longest
//! one of a calm stretch right before it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use crate::Bench;
use crate::conditions::Conditions;
use crate::field::{Device, TICK, Timer};
use crate::figures::Figure;
use crate::gateway::{Gateway, Seen};
use crate::options::Part;
use crate::report::{Section, Table};

/// How often, and with what.
#[derive(Debug, Clone, Copy)]
struct Size {
    updates: u8,
    devices: usize,
    periods: &'static [(&'static str, &'static str, Duration)],
    /// How long nothing happens before an update, and is looked at after it.
    calm: Duration,
    /// Whether each update is looked at until the gateway is content with it and stops the old process.
    to_the_end: bool,
}

const FULL: Size = Size {
    updates: 5,
    devices: 5,
    periods: &[
        ("every_100ms", "Devices read every 100 ms", Duration::from_millis(100)),
        ("every_1s", "Devices read every second", Duration::from_secs(1)),
    ],
    calm: Duration::from_secs(5),
    to_the_end: true,
};
const QUICK: Size = Size {
    updates: 1,
    devices: 2,
    periods: &[("every_100ms", "Devices read every 100 ms", Duration::from_millis(100))],
    calm: Duration::from_millis(300),
    to_the_end: false,
};

/// Poll periods after which something is taken to run evenly.
const POLLS: u32 = 3;

/// Replaces the driver so many times.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let driver = bench.places.program("driver-modbus")?;
    let gateway = bench.places.program("sagoo-edge")?;
    let mut tables = Vec::new();
    for period in size.periods {
        tables.push(updates(bench, &gateway, &driver, size, *period).await?);
    }
    let notes = vec![format!(
        "{} updates of driver-modbus with {} Modbus TCP devices, each on a connection of its own. A pause is the \
         time between two requests that arrived at the device: the longest one from the moment the new file was \
         in its place until the new process had every device for {POLLS} poll periods; then until {:?} after the \
         gateway had watched it, was content and stopped the old process; and, to compare, in the {:?} before. \
         The timer shows pauses that were the machine's own.",
        size.updates, size.devices, size.calm, size.calm
    )];
    Ok(bench.section(Part::Update, conditions, notes, tables))
}

/// Longest pauses of one device, or of the timer, in milliseconds; one per update.
#[derive(Debug, Clone, Default)]
struct Pauses {
    calm: Vec<f64>,
    moving: Vec<f64>,
    after: Vec<f64>,
}

/// The moments of one update.
#[derive(Debug, Clone, Copy)]
struct Moments {
    calm: Instant,
    installed: Instant,
    moved: Instant,
    ended: Instant,
}

/// What was measured at one poll period.
struct Measured {
    period: Duration,
    devices: Vec<Pauses>,
    timer: Pauses,
    served_ms: Vec<f64>,
}

async fn updates(
    bench: &Bench,
    program: &Path,
    driver: &Path,
    size: Size,
    (key, title, period): (&'static str, &'static str, Duration),
) -> Result<Table> {
    let mut gateway = Gateway::new(program, driver, size.devices, period).await?;
    gateway.start()?;
    let timer = Timer::start();
    let mut measured = Measured {
        period,
        devices: vec![Pauses::default(); size.devices],
        timer: Pauses::default(),
        served_ms: Vec::new(),
    };
    for version in 1..=size.updates {
        bench.progress.say(&format!("update: {title}, {version} of {}", size.updates));
        let moments = update(&mut gateway, driver, size, period, version).await?;
        let pauses = gateway.devices.iter().zip(&mut measured.devices);
        pauses.for_each(|(device, pauses)| pauses.add(moments, |from, to| device.longest_pause(from, to)));
        measured.timer.add(moments, |from, to| timer.longest_pause(from, to));
        let served = moments.moved.saturating_duration_since(moments.installed);
        measured.served_ms.push(served.saturating_sub(period * POLLS).as_secs_f64() * 1e3);
    }
    gateway.stop().await?;
    Ok(table(key, title, &measured))
}

/// One update, from a calm stretch to a calm stretch.
async fn update(
    gateway: &mut Gateway,
    driver: &Path,
    size: Size,
    period: Duration,
    version: u8,
) -> Result<Moments> {
    let all = |_: &Gateway, seen: &Seen| seen.driver.is_some() && seen.counts.iter().all(Option::is_some);
    let before = gateway.until("every device has a value", all).await?;
    // What its start brought with it is over by then.
    sleep(period * POLLS).await;
    let calm = Instant::now();
    sleep(size.calm).await;
    let open: Vec<usize> = gateway.devices.iter().map(Device::connections).collect();
    gateway.install(driver, version)?;
    let installed = Instant::now();
    let has_all = |gateway: &Gateway, _: &Seen| {
        gateway.devices.iter().zip(&open).all(|(device, before)| device.connections() > *before)
    };
    gateway.until("the new driver has every device", has_all).await?;
    sleep(period * POLLS).await;
    let moved = Instant::now();
    if size.to_the_end {
        let another = |_: &Gateway, seen: &Seen| seen.driver.is_some() && seen.driver != before.driver;
        gateway.until("the old driver is stopped", another).await?;
    }
    sleep(size.calm.max(period * POLLS)).await;
    Ok(Moments { calm, installed, moved, ended: Instant::now() })
}

impl Pauses {
    fn add(&mut self, moments: Moments, longest: impl Fn(Instant, Instant) -> Duration) {
        let Moments { calm, installed, moved, ended } = moments;
        let millis = |from, to| longest(from, to).as_secs_f64() * 1e3;
        self.calm.push(millis(calm, installed));
        self.moving.push(millis(installed, moved));
        self.after.push(millis(moved, ended));
    }

    /// The worst of all, update by update.
    fn worst(all: &[Self]) -> Self {
        let most = |of: fn(&Self) -> &Vec<f64>| -> Vec<f64> {
            let updates = all.first().map_or(0, |one| of(one).len());
            (0..updates).map(|update| all.iter().map(|one| of(one)[update]).fold(0.0, f64::max)).collect()
        };
        Self { calm: most(|one| &one.calm), moving: most(|one| &one.moving), after: most(|one| &one.after) }
    }

    fn figures(&self) -> [(&'static str, Option<Figure>); 3] {
        [("pause", &self.moving), ("after", &self.after), ("calm", &self.calm)]
            .map(|(key, rounds)| (key, Figure::of("ms", rounds.clone())))
    }
}

fn table(key: &'static str, title: &'static str, measured: &Measured) -> Table {
    let columns = [
        ("pause", "longest pause while it moves, ms"),
        ("periods", "in poll periods"),
        ("after", "afterwards, ms"),
        ("calm", "before, ms"),
        ("served", "file in place until the new process has every device, ms"),
    ];
    let period_ms = measured.period.as_secs_f64() * 1e3;
    let periods = |pauses: &Pauses| {
        let periods = pauses.moving.iter().map(|pause| pause / period_ms).collect();
        [("periods", Figure::of("×", periods))]
    };
    let mut table = Table::new(key, title, &columns);
    for (number, device) in measured.devices.iter().enumerate() {
        let figures = device.figures().into_iter().chain(periods(device));
        table.row(format!("d{number}"), format!("device {number}"), figures);
    }
    let worst = Pauses::worst(&measured.devices);
    let served = [("served", Figure::of("ms", measured.served_ms.clone()))];
    let figures = worst.figures().into_iter().chain(periods(&worst)).chain(served);
    table.row("worst", "the worst of them", figures);
    table.row("timer", format!("a timer of the bench, every {TICK:?}"), measured.timer.figures());
    table
}
