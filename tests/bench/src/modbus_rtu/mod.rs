//! The whole driver on serial lines as slow as real ones, beside what the wire could carry at best.
//!
//! Always true: times are those of the bytes on the line, taken by the line; the ceiling comes from
//! [`formula`] and not from the driver; what the line, its ptys and this machine add by themselves is
//! measured on the same line with a master that does nothing else.

mod formula;
mod reference;
mod share;
mod slave;
mod turn;

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use self::formula::{Run, Wire};
use self::turn::{Exchange, Turn, cycles};
use crate::Bench;
use crate::conditions::Conditions;
use crate::figures::{Figure, percentile};
use crate::options::Part;
use crate::report::{Section, Table};

/// How much of what.
#[derive(Debug, Clone, Copy)]
struct Size {
    bauds: &'static [u32],
    /// Wanted registers that follow each other.
    lengths: &'static [u16],
    /// Registers between them that nobody wants, with the column's key.
    gaps: &'static [(&'static str, u16)],
    /// Least time each is measured.
    least: Duration,
    /// Least time in which small transactions are counted.
    small: Duration,
    /// How long one of ten is dead.
    dead: Duration,
}

const FULL: Size = Size {
    bauds: &[9_600, 19_200, 38_400, 115_200],
    lengths: &[1, 10, 50, 125],
    gaps: &[("apart", APART), ("gap5", 5), ("gap20", 20), ("gap60", 60)],
    least: Duration::from_secs(2),
    small: Duration::from_secs(10),
    dead: Duration::from_secs(20),
};
const QUICK: Size = Size {
    bauds: &[115_200],
    lengths: &[1, 125],
    gaps: &[("apart", APART), ("gap20", 20)],
    least: Duration::ZERO,
    small: Duration::ZERO,
    dead: Duration::from_millis(1_500),
};

/// So far apart that nothing is read across.
const APART: u16 = 500;
/// Lengths up to this are small: what counts is the time added to each transaction.
const SMALL: u16 = 10;
/// Cycles that have to be seen, the first and the last one of which are not whole.
const CYCLES: u32 = 4;
/// A line that is idle for so long has no poll to make.
const IDLE: Duration = Duration::from_millis(100);
/// What a cycle is planned to leave free, so that one is told from the next.
const PAUSE: Duration = Duration::from_millis(300);

/// Efficiency, time added, and one dead of ten.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let columns = [
        ("apart", "no gap to bridge, %"),
        ("gap5", "gaps of 5, %"),
        ("gap20", "gaps of 20, %"),
        ("gap60", "gaps of 60, %"),
    ];
    let columns: Vec<_> =
        columns.into_iter().filter(|(key, _)| size.gaps.iter().any(|(gap, _)| gap == key)).collect();
    let mut efficiency = Table::new("efficiency", "Share of the wire's own ceiling", &columns);
    let mut added = Table::new("added", "Silence beyond t3.5 between an answer and the next request", &ADDED);
    for baud in size.bauds {
        let turn = Turn::start(&bench.places, Wire { baud: *baud }, &[])?;
        for length in size.lengths {
            bench.progress.say(&format!("modbus-rtu: {baud} baud, {length} registers"));
            let mut shares = Vec::new();
            for (key, gap) in size.gaps {
                let share = efficiency_of(&turn, &runs(*length, *gap), size.least).await?;
                shares.push((*key, Figure::of("%", share)));
            }
            let title = format!("{baud} baud, N = {length}");
            efficiency.row(format!("b{baud}n{length}"), title.clone(), shares);
            if *length <= SMALL {
                added.row(format!("b{baud}n{length}"), title, added_by(&turn, *length, size.small).await?);
            }
        }
    }
    let dead = share::measure(bench, size.dead).await?;
    Ok(bench.section(Part::ModbusRtu, conditions, notes(), vec![efficiency, added, dead]))
}

const ADDED: [(&str, &str); 6] = [
    ("driver_p50", "driver p50, ms"),
    ("driver_p99", "driver p99, ms"),
    ("line_p50", "line alone p50, ms"),
    ("line_p99", "line alone p99, ms"),
    ("added_p50", "added by us, p50, ms"),
    ("added_p99", "added by us, p99, ms"),
];

fn notes() -> Vec<String> {
    vec![
        "driver-modbus under the bench's host, one unit, one model, on pty pairs as slow as a line of 8E1; the \
         device answers as soon as it may. The ceiling is the least time in which the wanted registers can be \
         read, t = (13 + 2N) · bits / baud + 2 · t3.5 per request, over every way to cut them into requests. \
         Four runs of N wanted registers (eight for N ≤ 10) with gaps between them; efficiency is the ceiling \
         over the time of a cycle on the wire, so it also falls when the plan is not the best one."
            .to_owned(),
        "Line alone: a thread that does nothing but ask, read and watch the clock, on the same line. Added by us \
         is the driver's less the line's own, percentile by percentile."
            .to_owned(),
        share::note(),
    ]
}

/// Runs of so many wanted registers.
fn runs(length: u16, gap: u16) -> Vec<Run> {
    let count = if length <= SMALL { 8 } else { 4 };
    (0..count).map(|number| (number * (length + gap), length)).collect()
}

/// The share of the ceiling that each whole cycle reached, percent.
async fn efficiency_of(turn: &Turn, runs: &[Run], least: Duration) -> Result<Vec<f64>> {
    let best = turn.wire.best(runs);
    let period = best * 2 + PAUSE;
    let seen = turn.drive(runs, period, least.max(period * CYCLES)).await?;
    let cycles = whole(&seen);
    ensure!(!cycles.is_empty(), "no whole cycle was seen of {runs:?} at {} baud", turn.wire.baud);
    let share = |cycle: &&[Exchange]| -> Result<f64> {
        for (first, count) in runs {
            let covered = |one: &Exchange| one.first <= *first && first + count <= one.first + one.count;
            ensure!(cycle.iter().any(covered), "registers {first} … were not read in a cycle: {cycle:?}");
        }
        let (begin, end) = (cycle[0].begins, cycle[cycle.len() - 1].answered);
        let took = end.context("a cycle without its answers")? - begin + turn.wire.silence();
        Ok(best.as_secs_f64() / took.as_secs_f64() * 1e2)
    };
    cycles.iter().map(share).collect()
}

/// Cycles that were seen from their beginning to their end.
fn whole(seen: &[Exchange]) -> Vec<&[Exchange]> {
    let mut cycles = cycles(seen, IDLE);
    cycles.pop();
    cycles.into_iter().skip(1).collect()
}

/// What a transaction takes beyond the formula, by the driver and by the line alone.
async fn added_by(turn: &Turn, length: u16, least: Duration) -> Result<Vec<(&'static str, Option<Figure>)>> {
    let runs = runs(length, APART);
    let period = turn.wire.best(&runs) * 2 + PAUSE;
    let driver = turn.gaps_ms(&turn.drive(&runs, period, least.max(period * CYCLES)).await?);
    let line = turn.gaps_ms(&turn.refer(&runs, least / 2).await?);
    let at = |of: &[f64], percent| percentile(of, percent);
    let figure = |value: f64| Figure::of("ms", vec![value]);
    Ok(vec![
        ("driver_p50", figure(at(&driver, 50.0))),
        ("driver_p99", figure(at(&driver, 99.0))),
        ("line_p50", figure(at(&line, 50.0))),
        ("line_p99", figure(at(&line, 99.0))),
        ("added_p50", figure(at(&driver, 50.0) - at(&line, 50.0))),
        ("added_p99", figure(at(&driver, 99.0) - at(&line, 99.0))),
    ])
}
