//! Ten devices, each read every second: what the gateway uses, and how soon the first value is out.
//!
//! Always true: a start is of a gateway that has nothing yet, with its driver.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::rig::{Broker, Listener};
use tempfile::TempDir;
use tokio::time::sleep;

use super::site::{FILTER, acknowledge, first};
use crate::figures::Figure;
use crate::gateway::{Gateway, Own};
use crate::report::Table;
use crate::{Bench, cpu, memory};

const DEVICES: usize = 10;
const PERIOD: Duration = Duration::from_secs(1);
const STARTS: usize = 10;
const STRETCHES: usize = 3;
const STRETCH: Duration = Duration::from_secs(30);
/// What starting brought with it is over by then.
const CALM: Duration = Duration::from_secs(10);
const QUICK: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) fn note() -> String {
    format!(
        "Idle: {DEVICES} Modbus TCP devices of one register on connections of their own, read every {PERIOD:?}; the \
         median of stretches of {STRETCH:?}. A wake-up is a voluntary change of context of any thread. A start is \
         from the start of the process, without anything on disk, to the first value at a subscriber."
    )
}

pub(super) async fn measure(bench: &Bench) -> Result<Table> {
    let (starts, stretches, stretch, calm) = match bench.quick {
        true => (1, 1, QUICK, Duration::ZERO),
        false => (STARTS, STRETCHES, STRETCH, CALM),
    };
    let dir = TempDir::with_prefix("bench-broker-").context("making a temporary directory")?;
    let broker = Broker::start(dir.path());
    let (program, driver) = (bench.places.program("sagoo-edge")?, bench.places.program("driver-modbus")?);
    let mut out_ms = Vec::new();
    let (mut of_gateway, mut of_driver) = (Vec::new(), Vec::new());
    for round in 1..=starts {
        bench.progress.say(&format!("gateway: start {round} of {starts}"));
        let listener = Listener::start(broker.port, &[FILTER], acknowledge);
        let own = Own::local(broker.port);
        let mut gateway = Gateway::with_devices(&program, &driver, &own, DEVICES, PERIOD).await?;
        let began = Instant::now();
        gateway.start()?;
        let is_value = |payload: &[u8]| payload.windows(7).any(|window| window == br#""count""#);
        let out = first(&listener, "a value", PATIENCE, |heard| is_value(&heard.payload)).await?;
        out_ms.push((out - began).as_secs_f64() * 1e3);
        if round == starts {
            sleep(calm).await;
            for number in 1..=stretches {
                bench.progress.say(&format!("gateway: idle, {number} of {stretches}"));
                let pids = [gateway.pid(), gateway.driver_pid()].map(|pid| pid.context("it runs"));
                let [pid, driver] = pids;
                let (pid, driver) = (pid?, driver?);
                let before = [Used::by(pid)?, Used::by(driver)?];
                let began = Instant::now();
                sleep(stretch).await;
                let seconds = began.elapsed().as_secs_f64();
                of_gateway.push(Used::by(pid)?.since(&before[0], seconds));
                of_driver.push(Used::by(driver)?.since(&before[1], seconds));
            }
        }
        gateway.stop().await?;
    }
    let columns = [
        ("cpu", "CPU, % of a core"),
        ("wake_ups", "wake-ups/s"),
        ("rss", "RSS, MiB"),
        ("start", "start to the first value published, ms"),
    ];
    let mut table = Table::new("idle", "Ten devices at one second", &columns);
    let start = [("start", Figure::of("ms", out_ms))];
    table.row("gateway", "gateway", figures(&of_gateway).into_iter().chain(start));
    table.row("driver", "driver-modbus", figures(&of_driver));
    Ok(table)
}

/// What a process has used since its start, or in a stretch.
struct Used {
    cpu: f64,
    wake_ups: f64,
    rss: f64,
}

impl Used {
    fn by(pid: u32) -> Result<Self> {
        Ok(Self { cpu: cpu::used(pid)?, wake_ups: cpu::wake_ups(pid)? as f64, rss: memory::resident(pid)? })
    }

    fn since(&self, before: &Self, seconds: f64) -> Self {
        let cpu = (self.cpu - before.cpu) / seconds * 1e2;
        Self { cpu, wake_ups: (self.wake_ups - before.wake_ups) / seconds, rss: self.rss }
    }
}

fn figures(stretches: &[Used]) -> [(&'static str, Option<Figure>); 3] {
    let of = |unit, value: fn(&Used) -> f64| Figure::of(unit, stretches.iter().map(value).collect());
    [
        ("cpu", of("%", |used| used.cpu)),
        ("wake_ups", of("1/s", |used| used.wake_ups)),
        ("rss", of("MiB", |used| used.rss)),
    ]
}
