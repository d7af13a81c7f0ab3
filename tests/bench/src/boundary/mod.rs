//! What crossing from one process to another costs: the round trip of a command, batches and samples
//! per second until the host has acknowledged them, and the CPU time of a million samples.
//!
//! Always true: every pair is started anew for each turn, with AutoMTLS as in production; the pairs take
//! turns within a round, and another one begins each round.

mod go;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use sagoo_edge_plugin_host::{Grace, Launch, Plugin};

use crate::Bench;
use crate::conditions::Conditions;
use crate::figures::{Figure, percentile, shown};
use crate::load::Load;
use crate::options::Part;
use crate::places::GoPair;
use crate::report::{Section, Table};
use crate::talk::{Calls, Carried, Talk};

/// What the CPU time is measured at.
const PACED_PER_SECOND: u32 = 200_000;

/// Who talks to whom.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Pair {
    Channel,
    Plain,
    Sdk,
    Mixed,
    Go,
}

impl Pair {
    const ALL: [Self; 5] = [Self::Channel, Self::Plain, Self::Sdk, Self::Mixed, Self::Go];

    fn key(self) -> &'static str {
        match self {
            Self::Channel => "channel",
            Self::Plain => "plain",
            Self::Sdk => "sdk",
            Self::Mixed => "mixed",
            Self::Go => "go",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Channel => "one process, a channel",
            Self::Plain => "our host, plain loop on our plugin side",
            Self::Sdk => "our host, driver on our SDK",
            Self::Mixed => "our host, Go plugin",
            Self::Go => "Go host, Go plugin",
        }
    }
}

/// How long and how often.
#[derive(Debug, Clone, Copy)]
struct Size {
    rounds: usize,
    calls: usize,
    warm_up: Duration,
    flat_out: Duration,
    paced: Duration,
}

const FULL: Size = Size {
    rounds: 5,
    calls: 3_000,
    warm_up: Duration::from_secs(1),
    flat_out: Duration::from_secs(4),
    paced: Duration::from_secs(10),
};
const QUICK: Size = Size {
    rounds: 1,
    calls: 20,
    warm_up: Duration::from_millis(50),
    flat_out: Duration::from_millis(200),
    paced: Duration::from_millis(200),
};

/// What one pair did in one round.
struct Turn {
    calls: Calls,
    flat_out: Carried,
    paced: Carried,
}

/// Measures all pairs in turns.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    bench.progress.say("boundary: building the Go pair");
    let go = bench.places.go_pair()?;
    let mut turns: BTreeMap<Pair, Vec<Turn>> = BTreeMap::new();
    for round in 0..size.rounds {
        for place in 0..Pair::ALL.len() {
            let pair = Pair::ALL[(round + place) % Pair::ALL.len()];
            bench.progress.say(&format!(
                "boundary: round {} of {}, {}",
                round + 1,
                size.rounds,
                pair.title()
            ));
            let turn = turn(bench, &go, pair, size).await.with_context(|| pair.title())?;
            turns.entry(pair).or_default().push(turn);
        }
    }
    let notes = vec![
        format!(
            "{} rounds; a round trip is the median and the 99th percentile of {} commands, one at a time; batches \
             hold 2 000 samples in some 8.5 kB. Flat out, a plain loop sends as long as no more than 256 batches \
             wait for their acknowledgement; the SDK never makes a device wait for the host, so it is asked for six \
             million samples a second: it skips polls it has no time for, and drops batches the host does not take. \
             The CPU time is that of both processes at {} samples a second.",
            size.rounds,
            shown(size.calls as f64),
            shown(PACED_PER_SECOND.into())
        ),
        "The plain loop is the Go plugin's loop, line by line. The SDK adds the schedule, a reading per sample, \
         batching, numbers and what it keeps for the next gateway."
            .to_owned(),
    ];
    let tables = vec![calls(&turns), carried(&turns), compared(&turns)];
    Ok(bench.section(Part::Boundary, conditions, notes, tables))
}

async fn turn(bench: &Bench, go: &GoPair, pair: Pair, size: Size) -> Result<Turn> {
    let paced = Load::paced(PACED_PER_SECOND);
    let program = match pair {
        Pair::Channel => None,
        Pair::Plain => Some(bench.places.own("driver-plain")?),
        Pair::Sdk => Some(bench.places.own("driver-synthetic")?),
        Pair::Mixed => Some(go.plugin.clone()),
        Pair::Go => {
            return Ok(Turn {
                calls: go::calls(go, size.calls).await?,
                flat_out: go::carry(go, Load::FLAT_OUT, size.warm_up, size.flat_out).await?,
                paced: go::carry(go, paced, size.warm_up, size.paced).await?,
            });
        }
    };
    let Some(program) = program else {
        return Ok(Turn {
            calls: Talk::over_channel(Load::IDLE).await?.calls(size.calls).await?,
            flat_out: Talk::over_channel(Load::FLAT_OUT)
                .await?
                .carry(size.warm_up, size.flat_out, None)
                .await?,
            paced: Talk::over_channel(paced).await?.carry(size.warm_up, size.paced, None).await?,
        });
    };
    let start = async || Plugin::start(Launch::new(pair.key(), &program)).await;
    let plugin = start().await?;
    let calls =
        Talk::over_session(plugin.channel(), Load::IDLE.configuration()).await?.calls(size.calls).await?;
    stop(plugin).await?;
    let mut carried = Vec::new();
    for (load, length) in [(Load::FLAT_OUT, size.flat_out), (paced, size.paced)] {
        let plugin = start().await?;
        let mut talk = Talk::over_session(plugin.channel(), load.configuration()).await?;
        carried.push(talk.carry(size.warm_up, length, Some(plugin.pid())).await?);
        drop(talk);
        stop(plugin).await?;
    }
    let [flat_out, paced] = carried[..] else { unreachable!("two loads give two results") };
    Ok(Turn { calls, flat_out, paced })
}

/// A plugin that has to be killed would take its time in somebody else's turn.
async fn stop(plugin: Plugin) -> Result<()> {
    let stopped = plugin.stop(Grace::default()).await;
    ensure!(!stopped.killed, "the plugin did not stop when asked to");
    Ok(())
}

type Turns = BTreeMap<Pair, Vec<Turn>>;

fn figure(
    turns: &Turns,
    pair: Pair,
    unit: &'static str,
    of: impl Fn(&Turn) -> Option<f64>,
) -> Option<Figure> {
    Figure::of(unit, turns.get(&pair)?.iter().filter_map(of).collect())
}

fn trip(sorted: &[f64], percent: f64) -> Option<f64> {
    (!sorted.is_empty()).then(|| percentile(sorted, percent))
}

/// Microseconds of a command over the session, and of a call of its own.
fn calls(turns: &Turns) -> Table {
    let columns = [
        ("command_p50", "command p50, µs"),
        ("command_p99", "command p99, µs"),
        ("call_p50", "unary call p50, µs"),
        ("call_p99", "unary call p99, µs"),
    ];
    let mut table = Table::new("round_trip", "Round trip", &columns);
    for pair in Pair::ALL {
        let us = |of: &dyn Fn(&Turn) -> Option<f64>| figure(turns, pair, "µs", of);
        let figures = [
            ("command_p50", us(&|turn| trip(&turn.calls.command_us, 50.0))),
            ("command_p99", us(&|turn| trip(&turn.calls.command_us, 99.0))),
            ("call_p50", us(&|turn| trip(&turn.calls.call_us, 50.0))),
            ("call_p99", us(&|turn| trip(&turn.calls.call_us, 99.0))),
        ];
        table.row(pair.key(), pair.title(), figures);
    }
    table
}

/// How much goes, and what it costs.
fn carried(turns: &Turns) -> Table {
    let columns = [
        ("samples_per_s", "samples/s, flat out"),
        ("batches_per_s", "batches/s, flat out"),
        ("dropped", "dropped by the driver, % of batches"),
        ("paced_per_s", "samples/s, paced"),
        ("cpu_s", "paced, CPU s per million samples"),
        ("host_cpu_s", "of it the host"),
        ("plugin_cpu_s", "the plugin"),
    ];
    let mut table = Table::new("carried", "Samples", &columns);
    for pair in Pair::ALL {
        let rate = |of: &dyn Fn(&Turn) -> Option<f64>| figure(turns, pair, "1/s", of);
        let cpu = |of: &dyn Fn(&Carried) -> f64| figure(turns, pair, "s", |turn| Some(of(&turn.paced)));
        let apart = |figure: Option<Figure>| figure.filter(|_| pair != Pair::Channel);
        let dropped = |turn: &Turn| {
            let all = turn.flat_out.batches + turn.flat_out.missing;
            Some(turn.flat_out.missing as f64 * 100.0 / all.max(1) as f64)
        };
        let figures = [
            ("samples_per_s", rate(&|turn| Some(turn.flat_out.samples as f64 / turn.flat_out.seconds))),
            ("batches_per_s", rate(&|turn| Some(turn.flat_out.batches as f64 / turn.flat_out.seconds))),
            ("dropped", figure(turns, pair, "%", dropped)),
            ("paced_per_s", rate(&|turn| Some(turn.paced.samples as f64 / turn.paced.seconds))),
            ("cpu_s", cpu(&|paced| per_million(paced, paced.host_cpu_s + paced.plugin_cpu_s))),
            ("host_cpu_s", apart(cpu(&|paced| per_million(paced, paced.host_cpu_s)))),
            ("plugin_cpu_s", apart(cpu(&|paced| per_million(paced, paced.plugin_cpu_s)))),
        ];
        table.row(pair.key(), pair.title(), figures);
    }
    table
}

fn per_million(paced: &Carried, cpu_s: f64) -> f64 {
    cpu_s * 1e6 / paced.samples.max(1) as f64
}

/// Everything as a multiple of the Go pair, round by round.
fn compared(turns: &Turns) -> Table {
    let columns = [
        ("command_p50", "command p50"),
        ("call_p50", "unary call p50"),
        ("samples_per_s", "samples/s"),
        ("cpu_s", "CPU per sample"),
    ];
    let (calls, carried) = (calls(turns), carried(turns));
    let mut table = Table::new("times_go", "As a multiple of the Go host with the Go plugin", &columns);
    for pair in Pair::ALL.into_iter().filter(|pair| *pair != Pair::Go) {
        let figures = columns.map(|(column, _)| {
            let of =
                |pair: Pair| calls.figure(pair.key(), column).or_else(|| carried.figure(pair.key(), column));
            (column, of(pair).zip(of(Pair::Go)).and_then(|(own, go)| own.over(go)))
        });
        table.row(pair.key(), pair.title(), figures);
    }
    table
}
