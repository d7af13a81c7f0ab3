//! The buffer and a plain append-and-fsync file: the same records to the same disk.
//!
//! Always true: both sync as often; what is read is handed over in batches of 64 KiB, as the forwarder
//! takes it: with batches of a mebibyte one measures how the allocator returns memory.

use std::fs::{self, File};
use std::io::{BufReader, Read as _, Write as _};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use sagoo_edge_buffer::{Buffer, Cursor, Options, Origin};

use crate::disk;

pub(super) const MIB: u64 = 1 << 20;
/// Mean of what a batch of 25 to 75 samples takes.
pub(super) const RECORD: usize = 2080;
const SYNC_EVERY: Duration = Duration::from_millis(100);
const READ_BYTES: usize = 64 << 10;

/// One turn of one of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Turn {
    pub(super) into_per_s: f64,
    pub(super) out_per_s: f64,
    /// Bytes written to the disk for each that was stored.
    pub(super) written: f64,
}

/// What is stored, so much of it.
pub(super) fn records(volume: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..volume / RECORD as u64).map(|number| vec![(number % 64) as u8; RECORD])
}

/// A file of lengths and records.
pub(super) fn plain(dir: &Path, volume: u64) -> Result<Turn> {
    let path = dir.join("plain");
    let mut file = File::create(&path).context("creating a plain file")?;
    let mut bytes = Vec::new();
    let (before, mut times) = (disk::written(std::process::id())?, Times::start());
    for payload in records(volume) {
        bytes.clear();
        bytes.extend((payload.len() as u32).to_le_bytes());
        bytes.extend(payload);
        file.write_all(&bytes).context("writing a plain file")?;
        if times.sync_is_due() {
            file.sync_data().context("syncing a plain file")?;
        }
    }
    file.sync_data().context("syncing a plain file")?;
    let (into, written) = (times.began.elapsed(), disk::written(std::process::id())? - before);
    let began = Instant::now();
    let mut file = BufReader::with_capacity(256 << 10, File::open(&path).context("opening a plain file")?);
    let (mut length, mut count, mut batch) = ([0; 4], 0, Vec::new());
    while file.read_exact(&mut length).is_ok() {
        let mut payload = vec![0; u32::from_le_bytes(length) as usize];
        file.read_exact(&mut payload).context("reading a plain file")?;
        count += 1;
        batch.push(payload);
        if batch.len() * RECORD >= READ_BYTES {
            batch.clear();
        }
    }
    let out = began.elapsed();
    fs::remove_file(path).context("removing a plain file")?;
    Ok(Turn::of(count, into, out, written))
}

/// The buffer.
pub(super) fn store(dir: &Path, volume: u64) -> Result<Turn> {
    let dir = dir.join("store");
    let (mut buffer, _) = Buffer::open(Options::new(dir.clone(), 2 * volume))?;
    let (before, mut times) = (disk::written(std::process::id())?, Times::start());
    for (seq, payload) in (0..).zip(records(volume)) {
        buffer.append(Some(Origin { instance: [1; 16], seq }), &payload)?;
        if times.sync_is_due() {
            buffer.sync()?;
        }
    }
    buffer.sync()?;
    let (into, written) = (times.began.elapsed(), disk::written(std::process::id())? - before);
    let began = Instant::now();
    let (mut from, mut count) = (0, 0);
    loop {
        let records = buffer.read(from, READ_BYTES)?;
        let Some(last) = records.last() else { break };
        from = last.seq + 1;
        count += records.len() as u64;
    }
    let out = began.elapsed();
    drop(buffer);
    fs::remove_dir_all(dir).context("removing the buffer")?;
    Ok(Turn::of(count, into, out, written))
}

/// Until a buffer with so much in it has given its first record, after it was left without a word.
pub(super) fn open(dir: &Path, volume: u64) -> Result<Duration> {
    let dir = dir.join("backlog");
    let options = || Options::new(dir.clone(), 2 * volume);
    let (mut buffer, _) = Buffer::open(options())?;
    for payload in records(volume) {
        buffer.append(None, &payload)?;
    }
    buffer.advance(Cursor { floor: 5, detail: vec![1; 1000] })?;
    buffer.sync()?;
    drop(buffer);
    let began = Instant::now();
    let (mut buffer, _) = Buffer::open(options())?;
    buffer.read(0, 1)?;
    let took = began.elapsed();
    drop(buffer);
    fs::remove_dir_all(dir).context("removing the backlog")?;
    Ok(took)
}

struct Times {
    began: Instant,
    synced: Instant,
}

impl Times {
    fn start() -> Self {
        let now = Instant::now();
        Self { began: now, synced: now }
    }

    fn sync_is_due(&mut self) -> bool {
        let due = self.synced.elapsed() >= SYNC_EVERY;
        if due {
            self.synced = Instant::now();
        }
        due
    }
}

impl Turn {
    fn of(records: u64, into: Duration, out: Duration, written: u64) -> Self {
        let records = records as f64;
        Self {
            into_per_s: records / into.as_secs_f64(),
            out_per_s: records / out.as_secs_f64(),
            written: written as f64 / (records * RECORD as f64),
        }
    }
}
