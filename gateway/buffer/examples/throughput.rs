//! Speed of the buffer next to a plain append-and-fsync file, as ratios: in, out, and opening a backlog.
//!
//! Both write the same records to the same disk in turns, both sync every 100 ms, and the medians of the
//! rounds are compared. What is read is handed over in batches of 64 KiB, as the forwarder takes it;
//! with batches of a mebibyte one measures how the allocator returns memory. Run with `--release`; an argument names the directory.

use std::env;
use std::error::Error;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sagoo_edge_buffer::{Buffer, Cursor, Options, Origin};

const MIB: u64 = 1 << 20;
/// Written per round.
const VOLUME: u64 = 256 * MIB;
/// Mean of what a batch of 25 to 75 samples takes.
const RECORD: usize = 2080;
const ROUNDS: usize = 7;
const SYNC_EVERY: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 << 10;
const BACKLOG: u64 = 500 * MIB;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    let dir = env::args_os().nth(1).map_or_else(env::temp_dir, PathBuf::from);
    let dir = dir.join(format!("buffer-throughput-{}", std::process::id()));
    fs::create_dir_all(&dir)?;
    let result = compare(&dir).and_then(|()| open_backlog(&dir));
    fs::remove_dir_all(&dir)?;
    result
}

fn compare(dir: &Path) -> Outcome<()> {
    let payloads: Vec<Vec<u8>> = (0..64u8).map(|n| vec![n.wrapping_mul(37); RECORD]).collect();
    let (mut plain_in, mut plain_out, mut store_in, mut store_out) = (vec![], vec![], vec![], vec![]);
    for round in 0..ROUNDS {
        // in turns, and not always the same one first, so that a noisy disk is noisy to both
        for turn in 0..2 {
            let (written, read) =
                if (round + turn) % 2 == 0 { plain(dir, &payloads)? } else { store(dir, &payloads)? };
            let plain_turn = (round + turn) % 2 == 0;
            if plain_turn { &mut plain_in } else { &mut store_in }.push(written);
            if plain_turn { &mut plain_out } else { &mut store_out }.push(read);
        }
    }
    say("in ", median(store_in), median(plain_in))?;
    say("out", median(store_out), median(plain_out))
}

/// A file of lengths and records: MB/s in and out.
fn plain(dir: &Path, payloads: &[Vec<u8>]) -> Outcome<(f64, f64)> {
    let path = dir.join("plain");
    let mut file = File::create(&path)?;
    let mut bytes = Vec::new();
    let start = Instant::now();
    let mut synced = start;
    for n in 0..VOLUME as usize / RECORD {
        let payload = &payloads[n % payloads.len()];
        bytes.clear();
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        file.write_all(&bytes)?;
        if synced.elapsed() >= SYNC_EVERY {
            file.sync_data()?;
            synced = Instant::now();
        }
    }
    file.sync_data()?;
    let written = start.elapsed();
    let start = Instant::now();
    let mut file = std::io::BufReader::with_capacity(256 << 10, File::open(&path)?);
    let (mut len, mut total, mut batch) = ([0; 4], 0, Vec::new());
    while file.read_exact(&mut len).is_ok() {
        let mut payload = vec![0; u32::from_le_bytes(len) as usize];
        file.read_exact(&mut payload)?;
        total += payload.len();
        batch.push(payload);
        if batch.len() * RECORD >= READ_BYTES {
            batch.clear();
        }
    }
    let read = start.elapsed();
    fs::remove_file(path)?;
    Ok((speed(VOLUME, written), speed(total as u64, read)))
}

fn store(dir: &Path, payloads: &[Vec<u8>]) -> Outcome<(f64, f64)> {
    let dir = dir.join("store");
    let (mut buffer, _) = Buffer::open(Options::new(dir.clone(), 2 * VOLUME))?;
    let start = Instant::now();
    let mut synced = start;
    for n in 0..VOLUME as usize / RECORD {
        let origin = Origin { instance: [1; 16], seq: n as u64 };
        buffer.append(Some(origin), &payloads[n % payloads.len()])?;
        if synced.elapsed() >= SYNC_EVERY {
            buffer.sync()?;
            synced = Instant::now();
        }
    }
    buffer.sync()?;
    let written = start.elapsed();
    let start = Instant::now();
    let (mut from, mut total) = (0, 0);
    loop {
        let records = buffer.read(from, READ_BYTES)?;
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        total += records.iter().map(|record| record.payload.len()).sum::<usize>();
    }
    let read = start.elapsed();
    drop(buffer);
    fs::remove_dir_all(dir)?;
    Ok((speed(VOLUME, written), speed(total as u64, read)))
}

fn open_backlog(dir: &Path) -> Outcome<()> {
    let dir = dir.join("backlog");
    let options = || Options::new(dir.clone(), 2 * BACKLOG);
    let (mut buffer, _) = Buffer::open(options())?;
    for _ in 0..BACKLOG as usize / RECORD {
        buffer.append(None, &[7; RECORD])?;
    }
    buffer.advance(Cursor { floor: 5, detail: vec![1; 1000] })?;
    buffer.sync()?;
    drop(buffer);
    let start = Instant::now();
    let (mut buffer, recovery) = Buffer::open(options())?;
    let opened = start.elapsed();
    let first = buffer.read(0, 1)?.len();
    let (ready, segments, scanned) = (start.elapsed(), recovery.segments, recovery.scanned_bytes);
    writeln!(
        std::io::stdout(),
        "open {} MiB in {segments} segments: {opened:.1?}, first of {first} record read after {ready:.1?}, {scanned} bytes scanned",
        recovery.bytes / MIB
    )?;
    Ok(())
}

fn speed(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn median(mut speeds: Vec<f64>) -> f64 {
    speeds.sort_by(f64::total_cmp);
    speeds[speeds.len() / 2]
}

fn say(what: &str, store: f64, plain: f64) -> Outcome<()> {
    writeln!(
        std::io::stdout(),
        "{what}: buffer {store:.0} MB/s, plain file {plain:.0} MB/s, ratio {:.2}",
        store / plain
    )?;
    Ok(())
}
