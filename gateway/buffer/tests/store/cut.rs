//! Power cuts at every file call the store makes, and at those of opening it again after one.
//!
//! A cut leaves what was synced. Of the rest each call may have reached the disk or not, in any order; a
//! write may be there by half, or as zeros where the file grew and its data never came. Names are safe
//! once their directory was synced, content once its file was.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use sagoo_edge_buffer::{Buffer, Cursor, CursorFound, Options, Origin, Record};

use super::tap::{self, Call};
use super::{MIB, long, payload, read_all, scratch};

const SENDERS: u8 = 3;
/// Histories, and disks per cut, in the gate and in the long campaign.
const HISTORIES: (u32, u32) = (3, 150);
const DISKS: (u32, u32) = (2, 8);
/// Of the cuts every n-th is followed by one while it is opened again.
const AGAIN: usize = 23;

#[derive(Debug, Clone)]
enum Op {
    Append { sender: Option<u8>, len: usize },
    Advance { by: u64, detail: usize },
    Sync,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![6 => 0..3_000usize, 1 => 20_000..90_000usize];
    prop_oneof![
        12 => (proptest::option::of(0..SENDERS), len).prop_map(|(sender, len)| Op::Append { sender, len }),
        3 => (0..6u64, 0..3_000usize).prop_map(|(by, detail)| Op::Advance { by, detail }),
        3 => Just(Op::Sync),
        1 => Just(Op::Reopen),
    ]
}

/// Names and what is in their files.
type Disk = BTreeMap<PathBuf, Vec<u8>>;

/// What the owner knows at one moment; the moment is a number of calls.
#[derive(Debug, Clone, Default)]
struct Known {
    at: usize,
    /// All that may ever be found under a number.
    appended: BTreeMap<u64, Vec<Record>>,
    /// What is safe, each with the file it is in.
    safe: BTreeMap<u64, (PathBuf, Record)>,
    /// All cursors ever set, by number, and the newest safe one.
    cursors: Vec<Cursor>,
    safe_cursor: Option<usize>,
}

fn options(dir: &Path) -> Options {
    Options { segment_bytes: 9_000, ..Options::new(dir.to_owned(), MIB) }
}

/// Runs operations on a disk that begins as `disk`, and returns the calls and what was known when.
fn live(disk: &Disk, mut known: Known, ops: &[Op]) -> (PathBuf, Vec<Call>, Vec<Known>) {
    let dir = scratch();
    lay_out(disk, dir.path());
    tap::watch(dir.path());
    known.at = 0;
    let mut history = vec![known.clone()];
    let mut buffer = Some(Buffer::open(options(dir.path())).unwrap().0);
    for op in ops {
        let open = buffer.as_mut().expect("open between operations");
        match op {
            Op::Append { sender, len } => {
                let seq = open.next_seq();
                let last = |sender: u8| open.last_seq_of(&[sender; 16]).unwrap_or(100);
                let origin = sender.map(|one| Origin { instance: [one; 16], seq: last(one) + 1 });
                let record =
                    Record { seq, origin, payload: payload(seq ^ (tap::count() as u64) << 32, *len) };
                // before it is written, because half of it may be
                known.appended.entry(seq).or_default().push(record.clone());
                history.push(Known { at: tap::count(), ..known.clone() });
                open.append(origin, &record.payload).unwrap();
            }
            Op::Advance { by, detail } => {
                let floor = (open.cursor().floor + by).min(open.next_seq());
                let cursor = Cursor { floor, detail: payload(known.cursors.len() as u64, *detail) };
                known.cursors.push(cursor.clone());
                history.push(Known { at: tap::count(), ..known.clone() });
                open.advance(cursor).unwrap();
            }
            Op::Sync => {
                open.sync().unwrap();
                known.safe = read_all(open)
                    .into_iter()
                    .map(|one| {
                        let segment = open.segment_start(one.seq).unwrap();
                        (one.seq, (PathBuf::from(format!("{segment:020}.seg")), one))
                    })
                    .collect();
                known.safe_cursor = known.cursors.iter().rposition(|set| set == open.cursor());
                history.push(Known { at: tap::count(), ..known.clone() });
            }
            Op::Reopen => {
                drop(buffer.take());
                buffer = Some(Buffer::open(options(dir.path())).unwrap().0);
            }
        }
    }
    drop(buffer);
    (dir.path().to_owned(), tap::calls(), history)
}

fn lay_out(disk: &Disk, dir: &Path) {
    for (name, bytes) in disk {
        let path = dir.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// What is on the disk after a cut behind `calls`, which began with `disk`.
fn after_cut(disk: &Disk, dir: &Path, calls: &[Call], dice: &mut Dice) -> Disk {
    let name = |path: &Path| path.strip_prefix(dir).unwrap().to_owned();
    let synced = |file: u64| calls.iter().rposition(|call| *call == Call::Sync { file });
    let synced_names = calls.iter().rposition(|call| *call == Call::SyncDir { path: dir.to_owned() });
    let mut names: BTreeMap<PathBuf, u64> = BTreeMap::new();
    let mut files: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    // those of which no call speaks
    let mut left = disk.clone();
    for (at, call) in calls.iter().enumerate() {
        let is_safe = |file: u64| synced(file).is_some_and(|synced| synced > at);
        let name_is_safe = synced_names.is_some_and(|synced| synced > at);
        match call {
            Call::Known { path, file } => {
                files.insert(*file, left.get(&name(path)).cloned().unwrap_or_default());
                names.insert(name(path), *file);
            }
            Call::Create { path, file } => {
                files.entry(*file).or_default();
                if name_is_safe || dice.reached() {
                    left.remove(&name(path));
                    names.insert(name(path), *file);
                }
            }
            Call::Unlink { path } => {
                if name_is_safe || dice.reached() {
                    left.remove(&name(path));
                    names.remove(&name(path));
                }
            }
            Call::SetLen { file, len } => {
                if is_safe(*file) || dice.reached() {
                    files.entry(*file).or_default().resize(*len as usize, 0);
                }
            }
            Call::Write { file, at, bytes } => {
                let content = files.entry(*file).or_default();
                let (at, whole) = (*at as usize, bytes.len());
                let write = |content: &mut Vec<u8>, bytes: &[u8]| {
                    content.resize(content.len().max(at + bytes.len()), 0);
                    content[at..at + bytes.len()].copy_from_slice(bytes);
                };
                if is_safe(*file) || dice.reached() {
                    write(content, bytes);
                } else if dice.reached() {
                    write(content, &bytes[..dice.below(whole + 1)]);
                } else if dice.reached() {
                    content.resize(content.len().max(at + dice.below(whole + 1)), 0);
                }
            }
            Call::Sync { .. } | Call::SyncDir { .. } => {}
        }
    }
    left.retain(|name, _| !names.contains_key(name));
    left.extend(names.into_iter().filter_map(|(name, file)| Some((name, files.get(&file)?.clone()))));
    left
}

/// The store opens there, and keeps its promises.
fn check(disk: &Disk, known: &Known, gone: &BTreeSet<PathBuf>) {
    let dir = scratch();
    lay_out(disk, dir.path());
    let (mut buffer, recovery) = Buffer::open(options(dir.path())).unwrap();
    let found = read_all(&mut buffer);
    let numbers: BTreeSet<u64> = found.iter().map(|record| record.seq).collect();
    assert!(found.is_sorted_by_key(|record| record.seq) && numbers.len() == found.len());
    for record in &found {
        let may = known.appended.get(&record.seq).is_some_and(|all| all.contains(record));
        assert!(may, "record {} was invented", record.seq);
    }
    let cursor = buffer.cursor().clone();
    for (seq, (segment, record)) in &known.safe {
        let is_there = *seq < cursor.floor || gone.contains(segment) || found.contains(record);
        assert!(is_there, "record {seq} was synced and is lost");
    }
    let set = known.cursors.iter().rposition(|set| *set == cursor);
    match known.safe_cursor {
        Some(safe) => assert!(set >= Some(safe), "cursor {cursor:?} is older than what was synced"),
        None => assert!(set.is_some() || cursor == Cursor::default(), "cursor {cursor:?} was invented"),
    }
    assert!(known.safe_cursor.is_none() || recovery.cursor == CursorFound::Good);
    assert!(cursor.floor <= buffer.next_seq());
    // of a record that is gone its sender may be forgotten: it lost its power as well
    for record in &found {
        let last = record.origin.map(|origin| (buffer.last_seq_of(&origin.instance), origin.seq));
        assert!(
            last.is_none_or(|(known, seq)| known >= Some(seq)),
            "{:?} would be stored twice",
            record.origin
        );
    }
    assert!(found.last().is_none_or(|last| last.seq < buffer.next_seq()), "a number would be given twice");
    // and it goes on
    let seq = buffer.next_seq();
    buffer.append(None, b"next").unwrap();
    buffer.sync().unwrap();
    drop(buffer);
    let (mut buffer, recovery) = Buffer::open(options(dir.path())).unwrap();
    assert_eq!(recovery.torn_bytes, 0);
    let again = read_all(&mut buffer);
    assert_eq!(again.last().map(|record| (record.seq, &record.payload[..])), Some((seq, &b"next"[..])));
    assert!(again[..again.len() - 1] == found[found.len() + 1 - again.len()..]);
}

/// Cuts behind every call, and says how many disks were tried.
fn cut_everywhere(disk: &Disk, known: Known, ops: &[Op], dice: &mut Dice, again: bool) -> usize {
    let (dir, calls, history) = live(disk, known, ops);
    let mut tried = 0;
    for cut in 0..=calls.len() {
        let calls = &calls[..cut];
        let known = history.iter().rfind(|known| known.at <= cut).expect("something is known from the start");
        let gone = calls.iter().filter_map(|call| match call {
            Call::Unlink { path } => Some(path.strip_prefix(&dir).unwrap().to_owned()),
            _ => None,
        });
        let gone: BTreeSet<_> = gone.collect();
        for _ in 0..long(DISKS.0, DISKS.1) {
            dice.luck = [0, 50, 90, 100][dice.below(4)];
            let left = after_cut(disk, &dir, calls, dice);
            check(&left, known, &gone);
            tried += 1;
            if again && tried % AGAIN == 0 {
                let mut known = known.clone();
                known.safe.retain(|_, (segment, _)| !gone.contains(segment));
                let ops = [
                    Op::Append { sender: Some(0), len: 100 },
                    Op::Sync,
                    Op::Append { sender: None, len: 50 },
                ];
                tried += cut_everywhere(&left, known, &ops, dice, false);
            }
        }
    }
    tried
}

/// What reaches the disk.
struct Dice {
    rng: TestRng,
    /// In percent.
    luck: usize,
}

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.rng.next_u64() as usize % n
    }

    fn reached(&mut self) -> bool {
        self.below(100) < self.luck
    }
}

#[test]
fn after_a_power_cut_at_any_call_all_that_was_synced_is_there_and_nothing_is_invented() {
    let mut tried = 0;
    for history in 0..long(HISTORIES.0, HISTORIES.1) {
        let seed = [history.to_le_bytes(), [7; 4]].concat().repeat(4);
        let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
        let mut runner = TestRunner::new_with_rng(Config::default(), rng);
        let ops = proptest::collection::vec(op(), 20..50).new_tree(&mut runner).unwrap().current();
        let mut dice = Dice { rng: runner.new_rng(), luck: 0 };
        tried += cut_everywhere(&Disk::new(), Known::default(), &ops, &mut dice, true);
    }
    assert!(tried > 1_000, "{tried} disks are too few to mean anything");
}
