//! Ten devices behind one connection, and what the nine are left with when one dies.
//!
//! Always true: the rate is that of reads at the devices, so a late message costs nobody anything; it is
//! compared with what the period asks for.

use std::time::{Duration, Instant};

use anyhow::Result;
use tokio::time::sleep;

use super::REGISTERS;
use super::site::{Field, Site, Whose};
use crate::Bench;
use crate::figures::Figure;
use crate::plant::{Plant, Shape};
use crate::report::Table;

/// Devices behind the connection.
const DEVICES: usize = 10;
/// The one that dies.
const DEAD: usize = 4;

/// What a reader has to know.
pub(super) fn note(length: Duration) -> String {
    format!(
        "One of ten: ten units behind one port, timeout 1 s; unit {} stops answering. The share is that of the \
         reads of the other nine, of what the period asks for: in the {length:?} before, in the {length:?} from \
         the moment it dies, and in the {length:?} after those.",
        DEAD + 1
    )
}

/// Both, one after the other.
pub(super) async fn measure(bench: &Bench, period: Duration, length: Duration) -> Result<Table> {
    let columns = [
        ("before", "all alive, %"),
        ("dying", "from its death, %"),
        ("dead", "once it is known to be dead, %"),
    ];
    let mut table = Table::new("dead", "Share of their rate that nine of ten keep", &columns);
    for (whose, key, title) in
        [(Whose::Ours, "ours", "Sagoo Edge"), (Whose::ThingsBoards, "thingsboard", "ThingsBoard's gateway")]
    {
        bench.progress.say(&format!("thingsboard: {whose:?}, one of {DEVICES} dead"));
        let field = Field { shape: Shape::Together(DEVICES), registers: REGISTERS, period };
        let site = Site::start(&bench.places, whose, field).await?;
        let mut shares = Vec::new();
        for (key, dead) in [("before", false), ("dying", true), ("dead", true)] {
            site.plant.set_dead(DEAD, dead);
            let from = Instant::now();
            sleep(length).await;
            let share = kept(&site.plant, period, from, Instant::now());
            shares.push((key, Figure::of("%", vec![share * 1e2])));
        }
        site.stop().await?;
        table.row(key, title, shares);
    }
    Ok(table)
}

/// Reads of the nine between these moments, as a share of those the period asks for.
fn kept(plant: &Plant, period: Duration, from: Instant, to: Instant) -> f64 {
    let reads = |device: usize| plant.reads(device).iter().filter(|at| (from..to).contains(*at)).count();
    let all: usize = (0..DEVICES).filter(|device| *device != DEAD).map(reads).sum();
    all as f64 / ((DEVICES - 1) as f64 * (to - from).as_secs_f64() / period.as_secs_f64())
}
