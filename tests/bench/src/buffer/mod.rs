//! The buffer alone: beside a plain append-and-fsync file as the limit, and beside mosquitto's persistent
//! queue as what people use instead.
//!
//! Always true: the same records to the same disk in turns, not always the same one first, so that a noisy
//! disk is noisy to all.

mod engine;

use std::time::Duration;

use anyhow::{Context as _, Result};
use e2e::rig::Queue;
use tempfile::TempDir;

use self::engine::{MIB, RECORD, Turn, records};
use crate::conditions::Conditions;
use crate::figures::Figure;
use crate::options::Part;
use crate::report::{Section, Table};
use crate::{Bench, disk, memory};

/// How much.
struct Size {
    rounds: usize,
    volume: u64,
    backlog: u64,
    queue_rounds: usize,
    queued: u64,
}

const FULL: Size =
    Size { rounds: 7, volume: 256 * MIB, backlog: 500 * MIB, queue_rounds: 3, queued: 64 * MIB };
const QUICK: Size = Size { rounds: 1, volume: MIB, backlog: MIB, queue_rounds: 1, queued: MIB / 4 };

/// All of it.
pub async fn measure(bench: &Bench) -> Result<Section> {
    let conditions = Conditions::now();
    let size = if bench.quick { QUICK } else { FULL };
    let dir = TempDir::with_prefix_in("bench-buffer-", &bench.places.out).context("making a folder")?;
    let notes = vec![
        format!(
            "Records of {RECORD} bytes, what a batch of 25 to 75 samples took uncompressed; {} MiB a round, {} \
             rounds in turns, synced every 100 ms by both. Opened with {} MiB in it.",
            size.volume / MIB,
            size.rounds,
            size.backlog / MIB
        ),
        format!(
            "mosquitto keeps {} MiB of the same records for a QoS 1 subscriber that is away, over a connection on \
             the loopback and saved every second, which it does by writing all it holds: once here, because it is filled within a second, and \
             again every second in an outage. It never syncs what it saves.",
            size.queued / MIB
        ),
    ];
    // Its work is for the disk and not for this thread's runtime, which has nothing else to do.
    let tables = tokio::task::block_in_place(|| {
        Ok::<_, anyhow::Error>(vec![
            beside_a_file(bench, &size, &dir)?,
            beside_mosquitto(bench, &size, &dir)?,
        ])
    })?;
    Ok(bench.section(Part::Buffer, conditions, notes, tables))
}

fn beside_a_file(bench: &Bench, size: &Size, dir: &TempDir) -> Result<Table> {
    let columns = [
        ("in", "records/s in"),
        ("out", "records/s out"),
        ("times_in", "in, as a multiple of the file"),
        ("times_out", "out, as a multiple of the file"),
        ("written", "bytes written per byte stored"),
        ("open", "open with a backlog, ms"),
    ];
    let (mut file, mut store, mut open) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..size.rounds {
        bench.progress.say(&format!("buffer: round {} of {}", round + 1, size.rounds));
        for turn in 0..2 {
            match (round + turn) % 2 {
                0 => file.push(engine::plain(dir.path(), size.volume)?),
                _ => store.push(engine::store(dir.path(), size.volume)?),
            }
        }
        open.push(engine::open(dir.path(), size.backlog)?.as_secs_f64() * 1e3);
    }
    let of = |turns: &[Turn], unit, value: fn(&Turn) -> f64| {
        Figure::of(unit, turns.iter().map(value).collect::<Vec<_>>())
    };
    let figures = |turns: &[Turn]| {
        [
            ("in", of(turns, "1/s", |turn| turn.into_per_s)),
            ("out", of(turns, "1/s", |turn| turn.out_per_s)),
            ("written", of(turns, "×", |turn| turn.written)),
        ]
    };
    let times = |value: fn(&Turn) -> f64| of(&store, "1/s", value)?.over(&of(&file, "1/s", value)?);
    let mut table = Table::new("file", "The buffer beside a plain file", &columns);
    table.row("file", "plain file", figures(&file));
    let more = [
        ("times_in", times(|turn| turn.into_per_s)),
        ("times_out", times(|turn| turn.out_per_s)),
        ("open", Figure::of("ms", open)),
    ];
    table.row("buffer", "buffer", figures(&store).into_iter().chain(more));
    Ok(table)
}

/// By then mosquitto has saved what it holds, once.
const SAVED: Duration = Duration::from_secs(3);

fn beside_mosquitto(bench: &Bench, size: &Size, dir: &TempDir) -> Result<Table> {
    let columns = [
        ("in", "records/s in"),
        ("out", "records/s out"),
        ("written", "bytes written per byte stored"),
        ("rss", "RSS when all is in it, MiB"),
        ("start", "start with all in it, ms"),
    ];
    let mut all: [Vec<f64>; 5] = Default::default();
    for round in 0..size.queue_rounds {
        bench.progress.say(&format!("buffer: mosquitto, round {} of {}", round + 1, size.queue_rounds));
        let folder = dir.path().join(format!("queue-{round}"));
        std::fs::create_dir(&folder).context("making a folder")?;
        let mut queue = Queue::start(&folder);
        let records: Vec<Vec<u8>> = records(size.queued).collect();
        let count = records.len() as f64;
        let before = disk::written(queue.pid())?;
        let filled = queue.fill(records);
        let rss = memory::resident(queue.pid())?;
        // faster filled than saved
        std::thread::sleep(SAVED);
        let written = disk::written(queue.pid())? - before;
        let start = queue.restart();
        let emptied = queue.empty(count as usize);
        let round = [
            count / filled.as_secs_f64(),
            count / emptied.as_secs_f64(),
            written as f64 / (count * RECORD as f64),
            rss,
            start.as_secs_f64() * 1e3,
        ];
        all.iter_mut().zip(round).for_each(|(all, value)| all.push(value));
    }
    let mut table = Table::new("queue", "What people use instead", &columns);
    let [into, out, written, rss, start] = all;
    let figures = [
        ("in", Figure::of("1/s", into)),
        ("out", Figure::of("1/s", out)),
        ("written", Figure::of("×", written)),
        ("rss", Figure::of("MiB", rss)),
        ("start", Figure::of("ms", start)),
    ];
    table.row("mosquitto", "mosquitto's persistent queue", figures);
    Ok(table)
}
