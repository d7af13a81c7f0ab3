//! The most it carries: more and more numbers through driver, gateway and store to a broker and somebody who
//! acknowledges.
//!
//! Always true: a load is carried when what arrives is what was offered and nothing more waits at the end
//! than at the beginning.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use e2e::rig::{Broker, Listener};
use tempfile::TempDir;
use tokio::time::sleep;

use super::site::{FILTER, Numbers, acknowledge, values};
use crate::figures::Figure;
use crate::gateway::{Gateway, Own};
use crate::report::Table;
use crate::{Bench, cpu, memory};

/// As many as a configuration may have, nearly.
const DEVICES: usize = 500;
const PERIOD: Duration = Duration::from_secs(1);
/// Points of every device.
const WIDTHS: [usize; 5] = [20, 100, 200, 400, 800];
const STRETCH: Duration = Duration::from_secs(15);
const CALM: Duration = Duration::from_secs(10);
const LOOK: Duration = Duration::from_millis(10);

pub(super) fn note() -> String {
    format!(
        "Carried: {DEVICES} devices of a synthetic driver on the SDK, every point another value every {PERIOD:?}, \
         profile = \"enterprise\", to mosquitto and a subscriber that acknowledges everything by its id; one stretch of {STRETCH:?} per load. \
         Broker, subscriber and driver run on the same cores."
    )
}

pub(super) async fn measure(bench: &Bench) -> Result<Table> {
    let columns = [
        ("offered", "points/s offered"),
        ("stored", "points/s stored"),
        ("heard", "points/s at the subscriber"),
        ("waiting", "waiting more at the end, points"),
        ("lost", "dropped by the driver or the full buffer, points"),
        ("gateway_cpu", "CPU gateway, % of a core"),
        ("driver_cpu", "CPU driver, %"),
        ("rss", "RSS gateway, MiB"),
    ];
    let mut table = Table::new("carries", "The most it carries", &columns);
    let loads = match bench.quick {
        true => vec![(Numbers { devices: 4, width: 20, period: PERIOD, slow: false }, PERIOD, PERIOD)],
        false => WIDTHS
            .map(|width| (Numbers { devices: DEVICES, width, period: PERIOD, slow: false }, STRETCH, CALM))
            .into(),
    };
    for (load, stretch, calm) in loads {
        let offered = (load.devices * load.width) as f64 / load.period.as_secs_f64();
        bench.progress.say(&format!("gateway: {offered} points/s"));
        let figures = carry(bench, load, stretch, calm).await?;
        let figures = figures.into_iter().map(|(key, unit, value)| (key, Figure::of(unit, vec![value])));
        let offered_figure = ("offered", Figure::of("1/s", vec![offered]));
        table.row(format!("p{offered}"), format!("{} × {}", load.devices, load.width), {
            std::iter::once(offered_figure).chain(figures)
        });
    }
    Ok(table)
}

async fn carry(
    bench: &Bench,
    load: Numbers,
    stretch: Duration,
    calm: Duration,
) -> Result<[(&'static str, &'static str, f64); 7]> {
    let dir = TempDir::with_prefix("bench-broker-").context("making a temporary directory")?;
    let broker = Broker::start(dir.path());
    let listener = Listener::start(broker.port, &[FILTER], acknowledge);
    let (program, driver) = (bench.places.program("sagoo-edge")?, bench.places.own("driver-synthetic")?);
    let own = Own { sagoo: "profile = \"enterprise\"".to_owned(), ..Own::local(broker.port) };
    let mut gateway = Gateway::prepare(&program, &driver, &own, &load.toml())?;
    gateway.start()?;
    gateway.until("the driver runs", |_, seen| seen.driver.is_some()).await?;
    let heard = |for_so_long: Duration| {
        let listener = &listener;
        async move {
            let (began, mut count) = (Instant::now(), 0);
            while began.elapsed() < for_so_long {
                sleep(LOOK.min(for_so_long)).await;
                count += listener.heard().iter().map(|heard| values(&heard.payload)).sum::<usize>();
            }
            count
        }
    };
    heard(calm).await;
    let (pid, driver) = (gateway.pid().context("it runs")?, gateway.driver_pid().context("it runs")?);
    let ledgers = gateway.ledgers(&["stored", "waiting", "dropped_by_driver", "evicted"]).await?;
    let (began, used) = (Instant::now(), [cpu::used(pid)?, cpu::used(driver)?]);
    let count = heard(stretch).await;
    let after = gateway.ledgers(&["stored", "waiting", "dropped_by_driver", "evicted"]).await?;
    let (seconds, more) = (began.elapsed().as_secs_f64(), [cpu::used(pid)?, cpu::used(driver)?]);
    let rss = memory::resident(pid)?;
    gateway.kill_all().await?;
    let grown = |place: usize| after[place] as f64 - ledgers[place] as f64;
    Ok([
        ("stored", "1/s", grown(0) / seconds),
        ("heard", "1/s", count as f64 / seconds),
        ("waiting", "points", grown(1)),
        ("lost", "points", grown(2) + grown(3)),
        ("gateway_cpu", "%", (more[0] - used[0]) / seconds * 1e2),
        ("driver_cpu", "%", (more[1] - used[1]) / seconds * 1e2),
        ("rss", "MiB", rss),
    ])
}
