//! What a stored sample takes on disk and in time: a synthetic hour of telemetry is encoded as the
//! pipeline does it and appended to a real buffer, so frames, segment headers and full rows are counted.
//!
//! `cargo run --release -p sagoo-edge --example stored_size`; the seed is fixed, so only times differ;
//! they are of the CPU.

#[expect(dead_code, reason = "the pipeline uses more of it")]
#[path = "../src/pipeline/record/mod.rs"]
mod record;
#[expect(dead_code, reason = "the pipeline uses more of it")]
#[path = "../src/row.rs"]
mod row;

use std::error::Error;
use std::io::{Write, stdout};
use std::time::Duration;

use record::{Context, Decoder, encode};
use row::{Cell, Identity, Row, Value};
use rustix::time::{ClockId, clock_gettime};
use sagoo_edge_buffer::{Buffer, Options, Origin};

const READS: i64 = 3_600;
const CAP: u64 = 1 << 30;

/// How a point moves from one read to the next.
#[derive(Debug, Clone, Copy)]
enum Motion {
    /// A set point, a rating.
    Constant,
    /// A temperature, a voltage: tenths that go up or down by one in a third of the reads.
    Walk,
    /// The same, as a device with single floats has it.
    SingleWalk,
    /// Rises by up to 9.
    Counter,
    /// One of three words; another one in a hundredth of the reads.
    State,
    /// A flag; another one in a twentieth of the reads.
    Flag,
    /// All of its digits move, in single precision: 24 bits of noise.
    SingleNoise,
    /// In double precision: 52 bits of noise.
    DoubleNoise,
}
use Motion::{Constant, Counter, DoubleNoise, Flag, SingleNoise, SingleWalk, State, Walk};

const ALL: [Motion; 8] = [Constant, Walk, SingleWalk, Counter, State, Flag, SingleNoise, DoubleNoise];
/// A meter or drive of 20 points, in the order of its keys.
const TYPICAL: [Motion; 20] = [
    Walk,
    Walk,
    Walk,
    Counter,
    Counter,
    Constant,
    Constant,
    Walk,
    SingleWalk,
    SingleWalk,
    Walk,
    Walk,
    Constant,
    Constant,
    State,
    Flag,
    Flag,
    SingleNoise,
    Walk,
    Walk,
];

struct Case {
    name: &'static str,
    motions: Vec<Motion>,
    points: usize,
    /// Devices whose reads one batch of the driver carries.
    devices: usize,
    /// Only what changed is stored (`deadband = 0`).
    on_change: bool,
}

struct Figures {
    samples: u64,
    bytes: u64,
    frames: u64,
    encode: Duration,
    decode: Duration,
    rows: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    let typical = |name, points, devices, on_change| Case {
        name,
        motions: TYPICAL.to_vec(),
        points,
        devices,
        on_change,
    };
    let mut cases = vec![
        typical("typical, 10 x 100 points", 100, 10, false),
        typical("typical, 100 points", 100, 1, false),
        typical("typical, 10 points", 10, 1, false),
        typical("on change, 10 x 100 points", 100, 10, true),
        typical("on change, 100 points", 100, 1, true),
        typical("on change, 10 points", 10, 1, true),
    ];
    for motion in ALL {
        let name = format!("{motion:?} alone, 100 points").leak();
        cases.push(Case { name, motions: vec![motion], points: 100, devices: 1, on_change: false });
    }
    let mut out = stdout();
    writeln!(
        out,
        "| telemetry | samples per row | bytes per sample | of it frames | encode, ns per row | decode, ns per row |"
    )?;
    writeln!(out, "|---|--:|--:|--:|--:|--:|")?;
    for case in cases {
        let figures = measure(&case)?;
        let per_sample = |bytes: u64| bytes as f64 / figures.samples as f64;
        writeln!(
            out,
            "| {} | {:.1} | {:.2} | {:.2} | {} | {} |",
            case.name,
            figures.samples as f64 / f64::from(figures.rows),
            per_sample(figures.bytes),
            per_sample(figures.frames),
            (figures.encode / figures.rows).as_nanos(),
            (figures.decode / figures.rows).as_nanos(),
        )?;
    }
    Ok(())
}

fn measure(case: &Case) -> Result<Figures, Box<dyn Error>> {
    let dir = tempfile::tempdir()?;
    let (mut buffer, _) = Buffer::open(Options::new(dir.path().to_owned(), CAP))?;
    let empty = buffer.stats().bytes;
    let mut rng = fastrand::Rng::with_seed(7);
    let mut rows: Vec<Row> = (0..case.devices).map(|device| first(case, device)).collect();
    let (mut context, mut decoder) = (Context::default(), Decoder::default());
    let mut figures =
        Figures { samples: 0, bytes: 0, frames: 0, encode: Duration::ZERO, decode: Duration::ZERO, rows: 0 };
    let mut payloads = 0;
    for read in 0..READS {
        for row in &mut rows {
            step(case, row, read, &mut rng);
        }
        let stored: Vec<Row> = rows.iter().filter(|row| row.samples > 0).cloned().collect();
        if stored.is_empty() {
            continue;
        }
        let start = cpu_time();
        let mut payload = encode(&stored, &context);
        if buffer.starts_segment(payload.len()) {
            context.clear();
            payload = encode(&stored, &context);
        }
        context.remember(&stored);
        figures.encode += cpu_time() - start;
        buffer.append(Some(Origin { instance: [7; 16], seq: read as u64 + 1 }), &payload)?;
        let start = cpu_time();
        let decoded = decoder.decode(&payload)?;
        figures.decode += cpu_time() - start;
        let decoded: Result<Vec<Row>, _> = decoded.into_iter().collect();
        assert_eq!(decoded?, stored);
        payloads += payload.len() as u64;
        figures.rows += stored.len() as u32;
        figures.samples += stored.iter().map(|row| u64::from(row.samples)).sum::<u64>();
    }
    figures.bytes = buffer.stats().bytes - empty;
    figures.frames = figures.bytes - payloads;
    Ok(figures)
}

/// Of this thread, so that what else runs on the machine does not count.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn first(case: &Case, device: usize) -> Row {
    let cells = (0..case.points).map(|i| Cell {
        key: format!("register-{i:03}").into(),
        value: match case.motions[i % case.motions.len()] {
            Constant => Value::Float([50.0, 400.0, 0.95, 1_250.0][i % 4]),
            Walk => Value::Float((2_000 + 37 * i) as f64 / 10.0),
            SingleWalk => single((200 + 7 * i) as f32 / 10.0),
            Counter => Value::Uint(1_000_000 + 7_919 * i as u64),
            State => Value::Text("running".to_owned()),
            Flag => Value::Bool(false),
            SingleNoise | DoubleNoise => Value::Float(0.0),
        },
        time_ms: 0,
    });
    Row {
        device: format!("meter-{device:02}").into(),
        identity: Identity {
            product_key: "meter".into(),
            device_key: format!("hall3-meter-{device:02}").into(),
        },
        time_ms: 0,
        cells: cells.collect(),
        event: None,
        samples: 0,
    }
}

/// The next read of a device, a second later.
fn step(case: &Case, row: &mut Row, read: i64, rng: &mut fastrand::Rng) {
    row.time_ms = 1_790_000_000_000 + read * 1_000 + rng.i64(0..5);
    row.samples = 0;
    for (i, cell) in row.cells.iter_mut().enumerate() {
        let motion = case.motions[i % case.motions.len()];
        let value = next(motion, &cell.value, rng);
        if case.on_change && read > 0 && value == cell.value {
            continue;
        }
        (cell.value, cell.time_ms) = (value, row.time_ms);
        row.samples += 1;
    }
}

fn next(motion: Motion, value: &Value, rng: &mut fastrand::Rng) -> Value {
    let tenths = |number: f64, rng: &mut fastrand::Rng| {
        (number * 10.0).round() + [0.0, 0.0, 0.0, 0.0, 1.0, -1.0][rng.usize(0..6)]
    };
    match (motion, value) {
        (Walk, Value::Float(number)) => Value::Float(tenths(*number, rng) / 10.0),
        (SingleWalk, Value::Float(number)) => single(tenths(*number, rng) as f32 / 10.0),
        (Counter, Value::Uint(count)) => Value::Uint(count + rng.u64(0..10)),
        (State, _) if rng.u8(0..100) == 0 => {
            Value::Text(["running", "standby", "fault"][rng.usize(0..3)].to_owned())
        }
        (Flag, Value::Bool(on)) => Value::Bool(*on ^ (rng.u8(0..20) == 0)),
        (SingleNoise, _) => single(rng.f32() * 400.0),
        (DoubleNoise, _) => Value::Float(rng.f64() * 400.0),
        _ => value.clone(),
    }
}

fn single(number: f32) -> Value {
    Value::Float(number.into())
}
