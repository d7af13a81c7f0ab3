//! The buffer as its owner sees it, on a real disk.
//!
//! - `model`: random operations against a simple model.
//! - `damage`: flipped, cut and missing bytes.
//! - `limits`: cap, sizes, locks, doubles.
//! - `durability`: syncing, here and on another thread.
//! - `full`: files that cannot grow.
//! - `trouble`: disks that are full, read-only or broken, real ones and made up.
//! - `late`: disks that take no data when the store is opened.
//! - `cut`: power cuts at every call.
//! - `kill`: a process killed while it writes.
//! - `small`: small state on a full disk.
//! - `tap`: how file calls are refused, or kept a record of.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed, which is what it is for")]

mod cut;
mod damage;
mod durability;
mod full;
mod kill;
mod late;
mod limits;
mod model;
mod sector;
mod small;
mod tap;
mod trouble;

use std::fs;
use std::path::{Path, PathBuf};

use sagoo_edge_buffer::{Buffer, Options, Outcome, Record, Recovery};
use tempfile::TempDir;

const MIB: u64 = 1 << 20;

/// A directory in memory where there is one: thousands of small stores would otherwise wait for the disk.
fn scratch() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory).unwrap() } else { tempfile::tempdir().unwrap() }
}

fn options(dir: &Path) -> Options {
    Options::new(dir.to_owned(), 8 * MIB)
}

fn open(dir: &Path) -> (Buffer, Recovery) {
    Buffer::open(options(dir)).unwrap()
}

/// How much is tried: in the gate, or in the long campaign of `deploy/check.sh --long`.
fn long(gate: u32, long: u32) -> u32 {
    if std::env::var_os("SAGOO_LONG_TESTS").is_some() { long } else { gate }
}

/// A payload that says which it is.
fn payload(n: u64, len: usize) -> Vec<u8> {
    n.to_le_bytes().repeat(len / 8 + 1)[..len].to_vec()
}

fn append(buffer: &mut Buffer, payload: &[u8]) -> u64 {
    match buffer.append(None, payload).unwrap().outcome {
        Outcome::Stored { seq } => seq,
        outcome => panic!("a record without origin is stored by a buffer that drops the oldest: {outcome:?}"),
    }
}

fn read_all(buffer: &mut Buffer) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    loop {
        let from = records.last().map_or(0, |last| last.seq + 1);
        let more = buffer.read(from, 100_000).unwrap();
        if more.is_empty() {
            return records;
        }
        records.extend(more);
    }
}

fn seqs(records: &[Record]) -> Vec<u64> {
    records.iter().map(|record| record.seq).collect()
}

/// Segment files, oldest first.
fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "seg")).collect();
    paths.sort();
    paths
}

/// Sum of all file lengths below a directory.
fn bytes_in(dir: &Path) -> u64 {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap());
    entries
        .map(|entry| {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() { bytes_in(&entry.path()) } else { meta.len() }
        })
        .sum()
}
