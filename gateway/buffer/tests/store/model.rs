//! Random operations against a model: a list of records, a floor, a number per sender. The disk is full,
//! read-only or broken at times.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use sagoo_edge_buffer::{Buffer, Cursor, Options, Origin, Outcome, Record, SyncJob};

use super::tap::{self, Trouble};
use super::{MIB, bytes_in, payload, read_all, scratch};

const MAX_BYTES: u64 = MIB;

#[derive(Debug, Clone)]
enum Op {
    Append { sender: Option<(u8, u64)>, len: usize },
    Read { back: u64, max_bytes: usize },
    Advance { by: u64, detail: usize },
    Sync,
    BeginSync,
    EndSync,
    Reopen,
    Trouble(Option<Trouble>),
    Retry,
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![5 => 0..2_000usize, 4 => 2_000..40_000usize, 2 => 40_000..120_000usize];
    let sender = proptest::option::of((0..3u8, 0..3u64));
    let trouble = prop_oneof![Just(Trouble::Full), Just(Trouble::ReadOnly), Just(Trouble::Io)];
    let trouble = proptest::option::of(trouble);
    let append = (sender, len);
    prop_oneof![
        24 => append.prop_map(|(sender, len)| Op::Append { sender, len }),
        5 => (0..30u64, 0..60_000usize).prop_map(|(back, max_bytes)| Op::Read { back, max_bytes }),
        2 => (0..9u64, 0..9_000usize).prop_map(|(by, detail)| Op::Advance { by, detail }),
        1 => Just(Op::Sync),
        1 => Just(Op::BeginSync),
        1 => Just(Op::EndSync),
        2 => Just(Op::Reopen),
        2 => trouble.prop_map(Op::Trouble),
        2 => Just(Op::Retry),
    ]
}

#[derive(Default)]
struct Model {
    records: BTreeMap<u64, Record>,
    next_seq: u64,
    last: HashMap<[u8; 16], u64>,
    cursor: Cursor,
    evicted: u64,
    ever_evicted: bool,
}

struct Pair<'a> {
    dir: &'a Path,
    buffer: Option<Buffer>,
    model: Model,
    job: Option<SyncJob>,
    trouble: Option<Trouble>,
    /// There was trouble since it was opened.
    troubled: bool,
}

fn opened(dir: &Path, segment_bytes: u64) -> Buffer {
    let options = Options { segment_bytes, ..Options::new(dir.to_owned(), MAX_BYTES) };
    let (buffer, recovery) = Buffer::open(options).unwrap();
    assert_eq!((recovery.damage, recovery.torn_bytes, recovery.evicted), (vec![], 0, vec![]));
    buffer
}

impl Pair<'_> {
    fn buffer(&mut self) -> &mut Buffer {
        self.buffer.as_mut().unwrap()
    }

    fn run(&mut self, op: &Op, segment_bytes: u64) {
        match op {
            Op::Append { sender, len } => self.append(*sender, *len),
            Op::Read { back, max_bytes } => self.read(self.model.next_seq.saturating_sub(*back), *max_bytes),
            Op::Advance { by, detail } => self.advance(*by, *detail),
            Op::Sync => match self.buffer().sync() {
                Ok(()) => assert_eq!(self.buffer().sync_due(), None),
                Err(error) => assert!(self.trouble.is_some(), "{error}"),
            },
            Op::BeginSync => self.job = self.buffer().sync_job().or(self.job.take()),
            Op::EndSync => {
                if let Some(job) = self.job.take() {
                    let synced = self.buffer().synced(job.run());
                    assert!(synced.is_ok() || self.trouble.is_some());
                }
            }
            Op::Reopen => self.reopen(segment_bytes),
            Op::Trouble(trouble) => {
                self.trouble = *trouble;
                self.troubled |= trouble.is_some();
                tap::trouble(self.dir, *trouble);
            }
            Op::Retry => self.retry(),
        }
    }

    fn append(&mut self, sender: Option<(u8, u64)>, len: usize) {
        let origin = sender.map(|(sender, ahead)| {
            let instance = [sender; 16];
            Origin { instance, seq: self.model.last.get(&instance).copied().unwrap_or(5) + ahead }
        });
        let double = origin.is_some_and(|origin| self.model.last.get(&origin.instance) >= Some(&origin.seq));
        let mut begins = self.buffer().starts_segment(len);
        let payload = payload(self.model.next_seq, len);
        let appended = self.buffer().append(origin, &payload);
        let appended = appended.unwrap_or_else(|error| {
            assert!(self.trouble.is_some() && self.buffer().in_memory(), "{error}");
            self.drop_oldest();
            begins = true;
            assert!(self.buffer().starts_segment(len));
            self.buffer().append(origin, &payload).unwrap()
        });
        if double {
            assert_eq!((appended.outcome, appended.evicted), (Outcome::Double, vec![]));
            return;
        }
        let seq = self.model.next_seq;
        assert_eq!(appended.outcome, Outcome::Stored { seq });
        assert_eq!(self.buffer().segment_start(seq) == Some(seq), begins);
        self.model.next_seq += 1;
        if let Some(origin) = origin {
            self.model.last.insert(origin.instance, origin.seq);
        }
        self.model.records.insert(seq, Record { seq, origin, payload });
        for gone in appended.evicted {
            let rest = self.model.records.split_off(&(gone.last_seq + 1));
            // what is on disk stays when memory is full
            let before = if gone.unwritten { gone.segment } else { 0 };
            let lost = self.model.records.split_off(&before);
            self.model.records.extend(rest);
            assert_eq!(gone.records, self.count_lost(lost));
        }
        assert_eq!(self.buffer().stats().records, self.model.records.len() as u64);
    }

    fn count_lost(&mut self, lost: BTreeMap<u64, Record>) -> u64 {
        let floor = self.model.cursor.floor;
        let lost = lost.keys().filter(|seq| **seq >= floor).count() as u64;
        self.model.evicted += lost;
        self.model.ever_evicted = true;
        lost
    }

    /// What went to make room for something that could not be written then.
    fn drop_oldest(&mut self) {
        let first = self.buffer().first_seq();
        let rest = self.model.records.split_off(&first);
        let lost = std::mem::replace(&mut self.model.records, rest);
        if !lost.is_empty() {
            self.count_lost(lost);
        }
    }

    fn retry(&mut self) {
        let written = self.buffer().retry();
        self.drop_oldest();
        match written {
            Ok(()) => assert!(!self.buffer().in_memory() && self.buffer().stats().memory_bytes == 0),
            Err(error) => assert!(self.trouble.is_some(), "{error}"),
        }
    }

    fn read(&mut self, from: u64, max_bytes: usize) {
        let mut left = max_bytes;
        let mut expected = Vec::new();
        for record in self.model.records.range(from..).map(|(_, record)| record) {
            if !expected.is_empty() && record.payload.len() > left {
                break;
            }
            left = left.saturating_sub(record.payload.len());
            expected.push(record.clone());
        }
        assert!(
            self.buffer().read(from, max_bytes).unwrap() == expected,
            "read from {from}, {max_bytes} bytes"
        );
    }

    fn advance(&mut self, by: u64, detail: usize) {
        let floor = (self.model.cursor.floor + by).min(self.model.next_seq);
        let cursor = Cursor { floor, detail: vec![by as u8; detail] };
        self.model.cursor = cursor.clone();
        let before = self.buffer().stats();
        let released = self.buffer().advance(cursor);
        let after = self.buffer().stats();
        match released {
            Ok(released) => {
                assert_eq!(before.segments - after.segments, released.segments);
                let held = before.bytes + before.memory_bytes;
                assert_eq!(held - after.bytes - after.memory_bytes, released.bytes);
            }
            Err(error) => assert!(self.trouble.is_some(), "{error}"),
        }
        let unsettled = self.model.records.range(floor..).next().map_or(after.next_seq, |(seq, _)| *seq);
        assert!(after.first_seq <= unsettled, "what is not settled stays");
        self.model.records = self.model.records.split_off(&after.first_seq);
    }

    fn reopen(&mut self, segment_bytes: u64) {
        self.job = None;
        tap::trouble(self.dir, None);
        // records in memory and a cursor that could not be written would be lost
        if std::mem::take(&mut self.troubled) {
            self.trouble = None;
            self.retry();
            self.buffer().sync().unwrap();
        }
        // the lock goes with the old one
        self.buffer = None;
        self.buffer = Some(opened(self.dir, segment_bytes));
        self.model.evicted = 0;
        // a settled segment that was the newest when the cursor moved goes now
        let first = self.buffer().first_seq();
        assert!(self.model.records.range(..first).all(|(seq, _)| *seq < self.model.cursor.floor));
        self.model.records = self.model.records.split_off(&first);
        let buffer = self.buffer.as_mut().unwrap();
        for (instance, last) in &self.model.last {
            assert_eq!(buffer.last_seq_of(instance), Some(*last));
        }
        assert!(read_all(buffer).into_iter().eq(self.model.records.values().cloned()));
    }

    fn check(&mut self) {
        let stats = self.buffer().stats();
        assert_eq!(stats.bytes, bytes_in(self.dir));
        assert!(stats.bytes <= MAX_BYTES, "{} bytes", stats.bytes);
        assert!(stats.memory_bytes <= MAX_BYTES / 8, "{} bytes in memory", stats.memory_bytes);
        if stats.memory_bytes > 0 {
            IN_MEMORY.fetch_add(1, Ordering::Relaxed);
        }
        assert_eq!(stats.next_seq, self.model.next_seq);
        assert_eq!(stats.first_seq, self.model.records.keys().next().copied().unwrap_or(stats.next_seq));
        assert_eq!(stats.records, self.model.records.len() as u64);
        assert_eq!(stats.evicted_records, self.model.evicted);
        assert_eq!(stats.damaged_records, 0);
        assert_eq!(self.buffer().cursor().clone(), self.model.cursor);
    }
}

/// Cases that reached the cap: without them the test would not say much.
static EVICTING: AtomicU32 = AtomicU32::new(0);
static RAN: AtomicU32 = AtomicU32::new(0);
/// Steps with records in memory.
static IN_MEMORY: AtomicU32 = AtomicU32::new(0);
const CASES: u32 = 512;

/// More of them in the long campaign.
fn config() -> ProptestConfig {
    let default = ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::default() };
    ProptestConfig { cases: default.cases.max(CASES), ..default }
}

#[test]
fn the_buffer_does_what_a_list_would_do() {
    random_operations();
    let (evicting, ran) = (EVICTING.load(Ordering::Relaxed), RAN.load(Ordering::Relaxed));
    assert!(evicting > ran / 8, "only {evicting} of {ran} cases reached the cap");
    let held = IN_MEMORY.load(Ordering::Relaxed);
    assert!(held > ran, "only {held} steps of {ran} cases had records in memory");
}

proptest! {
    #![proptest_config(config())]

    fn random_operations(
        ops in proptest::collection::vec(op(), 1..60),
        segment_bytes in prop_oneof![Just(6_000u64), Just(60_000), Just(4 << 20)],
        fill in prop_oneof![1 => Just(0), 2 => 6..10u32],
    ) {
        let dir = scratch();
        let buffer = Some(opened(dir.path(), segment_bytes));
        let model = Model { next_seq: 1, ..Model::default() };
        let mut pair = Pair { dir: dir.path(), buffer, model, job: None, trouble: None, troubled: false };
        for _ in 0..fill {
            pair.append(None, 90_000);
        }
        for op in &ops {
            pair.run(op, segment_bytes);
            pair.check();
        }
        pair.reopen(segment_bytes);
        EVICTING.fetch_add(u32::from(pair.model.ever_evicted), Ordering::Relaxed);
        RAN.fetch_add(1, Ordering::Relaxed);
    }
}
