//! Taking over what runs: a plugin by its next host, and drivers by the next gateway after `kill -9`.
//!
//! Always true: a take-over counts only if the process is the one that ran before; next to it, in the
//! same round, stands what it replaces: a fresh start, and an orderly stop with a start.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagoo_edge_plugin_host::{Grace, Keep, Launch, Plugin, Reattach};
use sagoo_edge_proto::handshake::ORPHAN_GRACE_MS;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::Bench;
use crate::conditions::Conditions;
use crate::figures::{Figure, percentile};
use crate::gateway::{Gateway, Seen};
use crate::options::Part;
use crate::report::{Section, Table};

/// How long the plugin waits for its next host.
const ORPHAN_GRACE: &str = "60000";

/// How often, and with what.
#[derive(Debug, Clone, Copy)]
struct Size {
    plugins: usize,
    gateways: usize,
    devices: usize,
    period: Duration,
}

const FULL: Size = Size { plugins: 50, gateways: 10, devices: 10, period: Duration::from_millis(100) };
const QUICK: Size = Size { plugins: 2, gateways: 1, devices: 2, period: Duration::from_millis(100) };

/// Measures both.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let driver = bench.places.program("driver-modbus")?;
    let gateway = bench.places.program("sagoo-edge")?;
    let plugins = plugins(bench, &driver, size).await?;
    let gateways = gateways(bench, &gateway, &driver, size).await?;
    let notes = vec![
        format!("{} starts and take-overs of driver-modbus, in turns, AutoMTLS.", size.plugins),
        format!(
            "{} gateways with {} Modbus TCP devices, each read every {} ms on a connection of its own. The clock \
             starts with the signal that ends the gateway, the next one is started as soon as it is gone, and it \
             stops when status shows a value that was read after the signal: it is stored and acknowledged then. \
             The longest pause is that of the device that waited longest for its next poll.",
            size.gateways,
            size.devices,
            size.period.as_millis()
        ),
    ];
    Ok(bench.section(Part::Reattach, conditions, notes, vec![plugins, gateways]))
}

/// A plugin that is started, left, taken over and stopped.
async fn plugins(bench: &Bench, driver: &Path, size: Size) -> Result<Table> {
    let folder = TempDir::with_prefix("bench-").context("making a temporary directory")?;
    let (mut started, mut taken_over) = (Vec::new(), Vec::new());
    for round in 0..size.plugins {
        bench.progress.say(&format!("reattach: plugin {} of {}", round + 1, size.plugins));
        let keep = Keep { dir: folder.path().join(format!("kept-{round}")), note: String::new() };
        let launch = Launch {
            env: vec![(ORPHAN_GRACE_MS.into(), ORPHAN_GRACE.into())],
            keep: Some(keep.clone()),
            ..Launch::new("modbus", driver)
        };
        let began = Instant::now();
        let plugin = Plugin::start(launch).await?;
        started.push(millis(began.elapsed()));
        let pid = plugin.pid();
        plugin.detach();
        let began = Instant::now();
        let plugin = Plugin::reattach(&keep.dir, Reattach::default()).await?;
        taken_over.push(millis(began.elapsed()));
        ensure!(plugin.pid() == pid, "another process was taken over");
        let stopped = plugin.stop(Grace::default()).await;
        ensure!(!stopped.killed, "the plugin did not stop when asked to");
    }
    let columns = [
        ("reattach", "reattach, ms"),
        ("p95", "95 % within, ms"),
        ("start", "start, ms"),
        ("times_start", "as a multiple of a start"),
    ];
    let mut table = Table::new("plugin", "A running plugin taken over, until healthy", &columns);
    let mut sorted = taken_over.clone();
    sorted.sort_by(f64::total_cmp);
    let (started, taken_over) = (Figure::of("ms", started), Figure::of("ms", taken_over));
    let ratio = taken_over.as_ref().zip(started.as_ref()).and_then(|(own, start)| own.over(start));
    let p95 = Figure::of("ms", vec![percentile(&sorted, 95.0)]);
    let figures = [("reattach", taken_over), ("p95", p95), ("start", started), ("times_start", ratio)];
    table.row("modbus", "driver-modbus", figures);
    Ok(table)
}

/// How a gateway ended, and what the next one did.
#[derive(Debug, Default)]
struct Ways {
    first_ms: Vec<f64>,
    all_ms: Vec<f64>,
    pause_ms: Vec<f64>,
}

async fn gateways(bench: &Bench, program: &Path, driver: &Path, size: Size) -> Result<Table> {
    let mut gateway = Gateway::new(program, driver, size.devices, size.period).await?;
    gateway.start()?;
    let (mut killed, mut stopped) = (Ways::default(), Ways::default());
    for round in 0..size.gateways {
        bench.progress.say(&format!("reattach: gateway {} of {}", round + 1, size.gateways));
        let before = ready(&mut gateway, size.period).await?;
        let after = killed.next(&mut gateway, size.period, true).await?;
        ensure!(
            after.driver == before.driver,
            "the driver was not taken over: its process is {:?} and was {:?}\n{}",
            after.driver,
            before.driver,
            gateway.tail()
        );
        ready(&mut gateway, size.period).await?;
        stopped.next(&mut gateway, size.period, false).await?;
    }
    gateway.stop().await?;
    let columns = [
        ("first", "first device stored again, ms"),
        ("all", "all devices, ms"),
        ("pause", "longest pause of a device, ms"),
        ("times_stop", "first, as a multiple of an orderly stop"),
    ];
    let title = "From the end of a gateway to what the next one has stored";
    let mut table = Table::new("gateway", title, &columns);
    let first = |ways: &Ways| Figure::of("ms", ways.first_ms.clone());
    let times_stop = first(&killed).zip(first(&stopped)).and_then(|(kill, stop)| kill.over(&stop));
    let killed = killed.figures().into_iter().chain([("times_stop", times_stop)]);
    table.row("kill", "kill -9, driver taken over", killed);
    table.row("stop", "orderly stop, driver started anew", stopped.figures());
    Ok(table)
}

/// Every device is read, and has been for some periods.
async fn ready(gateway: &mut Gateway, period: Duration) -> Result<Seen> {
    let all = |_: &Gateway, seen: &Seen| seen.driver.is_some() && seen.counts.iter().all(Option::is_some);
    gateway.until("every device has a value", all).await?;
    sleep(period * 5).await;
    gateway.look().await
}

impl Ways {
    async fn next(&mut self, gateway: &mut Gateway, period: Duration, kill: bool) -> Result<Seen> {
        let began = Instant::now();
        let counts: Vec<u64> = gateway.devices.iter().map(|device| device.count() as u64).collect();
        if kill {
            gateway.kill().await?
        } else {
            gateway.stop().await?
        }
        gateway.start()?;
        let newer = |seen: &Seen| {
            let news =
                seen.counts.iter().zip(&counts).filter(|(seen, before)| seen.is_some_and(|n| n > **before));
            news.count()
        };
        gateway.until("a value read after the end is stored", |_, seen| newer(seen) > 0).await?;
        self.first_ms.push(millis(began.elapsed()));
        let all = |_: &Gateway, seen: &Seen| seen.driver.is_some() && newer(seen) == counts.len();
        let seen = gateway.until("a value of every device is stored", all).await?;
        self.all_ms.push(millis(began.elapsed()));
        sleep(period).await;
        let pauses = gateway.devices.iter().map(|device| device.longest_pause(began, Instant::now()));
        self.pause_ms.push(millis(pauses.max().unwrap_or_default()));
        Ok(seen)
    }

    fn figures(self) -> [(&'static str, Option<Figure>); 3] {
        let Self { first_ms, all_ms, pause_ms } = self;
        [("first", first_ms), ("all", all_ms), ("pause", pause_ms)]
            .map(|(key, rounds)| (key, Figure::of("ms", rounds)))
    }
}

fn millis(took: Duration) -> f64 {
    took.as_secs_f64() * 1e3
}
