//! Ten devices on a busy line, and what the nine are left with when one dies.
//!
//! Always true: rates are those of the requests on the wire, of what the period asks for.

use std::time::Duration;

use anyhow::Result;

use super::formula::Wire;
use super::turn::Turn;
use crate::Bench;
use crate::figures::Figure;
use crate::report::Table;

/// The line's speed.
const BAUD: u32 = 19_200;
/// Its devices.
const UNITS: u8 = 10;
/// The one that dies.
const DEAD: u8 = 4;
/// Registers of each.
const REGISTERS: u16 = 10;
/// Share of the wire that the polls take while all are alive.
const BUSY: f64 = 0.8;

/// What a reader has to know.
pub(super) fn note() -> String {
    format!(
        "One of ten: units of {REGISTERS} registers at {BAUD} baud take {:.0} % of the wire, timeout 300 ms; one \
         stops answering. The share is that of the requests to the other nine, of what the period asks for, from \
         the moment it dies.",
        BUSY * 1e2
    )
}

/// All alive, then one dead.
pub(super) async fn measure(bench: &Bench, length: Duration) -> Result<Table> {
    bench.progress.say("modbus-rtu: one of ten dead");
    let wire = Wire { baud: BAUD };
    let units: Vec<u8> = (1..=UNITS).collect();
    let turn = Turn::start(&bench.places, wire, &units)?;
    let period = Duration::from_millis(
        (wire.transaction(REGISTERS) * u32::from(UNITS)).div_f64(BUSY).as_millis() as u64,
    );
    let mut table = Table::new("dead", "Share of their rate that nine of ten keep", &[("share", "kept, %")]);
    for (key, title, dead) in [("alive", "all alive", 0), ("dead", "one dead", DEAD)] {
        let kill = |slave: &super::slave::Slave| slave.kill(dead);
        let (seen, took) = turn.drive_and(&[(0, REGISTERS)], period, length, kill).await?;
        let asked = seen.iter().filter(|one| one.unit != DEAD && one.answered.is_some()).count();
        let wanted = f64::from(UNITS - 1) * took.as_secs_f64() / period.as_secs_f64();
        table.row(key, title, [("share", Figure::of("%", vec![asked as f64 / wanted * 1e2]))]);
    }
    Ok(table)
}
