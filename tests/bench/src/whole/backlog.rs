//! A gateway that was killed with much in its store: how soon it is there again, and what it takes.
//!
//! Always true: it is killed with its driver, and nothing had left the store.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use e2e::rig::{Broker, Listener};
use tempfile::TempDir;
use tokio::time::sleep;

use super::site::{FILTER, Numbers, acknowledge, first, values};
use crate::figures::Figure;
use crate::gateway::{Gateway, Own};
use crate::report::Table;
use crate::{Bench, disk, memory};

const MIB: f64 = 1_048_576.0;
/// So many numbers fill it soon.
const LOAD: Numbers = Numbers { devices: 500, width: 400, period: Duration::from_millis(200), slow: false };
const QUICK_LOAD: Numbers =
    Numbers { devices: 4, width: 10, period: Duration::from_millis(200), slow: false };
const FULL: f64 = 500.0 * MIB;
const QUICK: f64 = 1_000.0;
/// What did not come together by then is little enough to be told.
const PATIENCE: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(200);

pub(super) fn note() -> String {
    "Backlog: a synthetic driver fills the store while the broker is away, until 500 MiB lie there; gateway and \
     driver are killed, the broker is back, and the gateway is started again."
        .to_owned()
}

pub(super) async fn measure(bench: &Bench) -> Result<Table> {
    bench.progress.say("gateway: a store is filled");
    let (load, wanted) = if bench.quick { (QUICK_LOAD, QUICK) } else { (LOAD, FULL) };
    let dir = TempDir::with_prefix("bench-broker-").context("making a temporary directory")?;
    let mut broker = Broker::start(dir.path());
    broker.kill();
    let (program, driver) = (bench.places.program("sagoo-edge")?, bench.places.own("driver-synthetic")?);
    let own = Own { buffer: "max_size = \"2GiB\"".to_owned(), ..Own::local(broker.port) };
    let mut gateway = Gateway::prepare(&program, &driver, &own, &load.toml())?;
    gateway.start()?;
    let began = Instant::now();
    while (disk::lying(&gateway.buffer()) as f64) < wanted && began.elapsed() < PATIENCE {
        sleep(LOOK).await;
    }
    let filling = memory::resident(gateway.pid().context("it runs")?)?;
    gateway.kill_all().await?;
    let lying = disk::lying(&gateway.buffer()) as f64;
    ensure!(lying > 0.0, "nothing was stored\n{}", gateway.tail());
    broker.restart();
    let listener = Listener::start(broker.port, &[FILTER], acknowledge);
    bench.progress.say("gateway: it is started with a backlog");
    let began = Instant::now();
    gateway.start()?;
    let answers = async {
        while gateway.ledgers(&["waiting"]).await.is_err() && began.elapsed() < SOON {
            sleep(Duration::from_millis(1)).await;
        }
        began.elapsed()
    };
    let answers = answers.await;
    let out = first(&listener, "a row", SOON, |heard| values(&heard.payload) > 1).await? - began;
    let rss = memory::resident(gateway.pid().context("it runs")?)?;
    gateway.kill_all().await?;
    let columns = [
        ("lying", "in the store, MiB"),
        ("answers", "start until status answers, ms"),
        ("out", "start until the first row published, ms"),
        ("filling", "RSS while it fills, MiB"),
        ("rss", "RSS at the first row, MiB"),
    ];
    let mut table = Table::new("backlog", "Killed with a full store", &columns);
    let one = |unit, value: f64| Figure::of(unit, vec![value]);
    table.row(
        "killed",
        "gateway",
        [
            ("lying", one("MiB", lying / MIB)),
            ("answers", one("ms", answers.as_secs_f64() * 1e3)),
            ("out", one("ms", out.as_secs_f64() * 1e3)),
            ("filling", one("MiB", filling)),
            ("rss", one("MiB", rss)),
        ],
    );
    Ok(table)
}
