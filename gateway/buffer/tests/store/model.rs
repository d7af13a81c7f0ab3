//! Random operations against a model: a list of records, a floor, a number per sender.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use sagoo_edge_buffer::{Buffer, Cursor, Options, Origin, Outcome, Record, SyncJob};

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
}

fn op() -> impl Strategy<Value = Op> {
    let len = prop_oneof![5 => 0..2_000usize, 4 => 2_000..40_000usize, 2 => 40_000..120_000usize];
    let sender = proptest::option::of((0..3u8, 0..3u64));
    let append = (sender, len);
    prop_oneof![
        24 => append.prop_map(|(sender, len)| Op::Append { sender, len }),
        5 => (0..30u64, 0..60_000usize).prop_map(|(back, max_bytes)| Op::Read { back, max_bytes }),
        2 => (0..9u64, 0..9_000usize).prop_map(|(by, detail)| Op::Advance { by, detail }),
        1 => Just(Op::Sync),
        1 => Just(Op::BeginSync),
        1 => Just(Op::EndSync),
        2 => Just(Op::Reopen),
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
            Op::Sync => {
                self.buffer().sync().unwrap();
                assert_eq!(self.buffer().sync_due(), None);
            }
            Op::BeginSync => self.job = self.buffer().sync_job().or(self.job.take()),
            Op::EndSync => {
                if let Some(job) = self.job.take() {
                    self.buffer().synced(job.run()).unwrap();
                }
            }
            Op::Reopen => self.reopen(segment_bytes),
        }
    }

    fn append(&mut self, sender: Option<(u8, u64)>, len: usize) {
        let origin = sender.map(|(sender, ahead)| {
            let instance = [sender; 16];
            Origin { instance, seq: self.model.last.get(&instance).copied().unwrap_or(5) + ahead }
        });
        let double = origin.is_some_and(|origin| self.model.last.get(&origin.instance) >= Some(&origin.seq));
        let begins = self.buffer().starts_segment(len);
        let payload = payload(self.model.next_seq, len);
        let appended = self.buffer().append(origin, &payload).unwrap();
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
            let floor = self.model.cursor.floor;
            let rest = self.model.records.split_off(&(gone.last_seq + 1));
            let lost = self.model.records.keys().filter(|seq| **seq >= floor).count() as u64;
            assert_eq!(gone.records, lost);
            self.model.records = rest;
            self.model.evicted += lost;
            self.model.ever_evicted = true;
        }
        assert_eq!(self.buffer().stats().records, self.model.records.len() as u64);
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
        let released = self.buffer().advance(cursor).unwrap();
        let after = self.buffer().stats();
        assert_eq!(before.segments - after.segments, released.segments);
        assert_eq!(before.bytes - after.bytes, released.bytes);
        assert!(after.first_seq <= floor.max(before.first_seq), "what is not settled stays");
        self.model.records = self.model.records.split_off(&after.first_seq);
    }

    fn reopen(&mut self, segment_bytes: u64) {
        self.job = None;
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
const CASES: u32 = 512;

#[test]
fn the_buffer_does_what_a_list_would_do() {
    random_operations();
    let (evicting, ran) = (EVICTING.load(Ordering::Relaxed), RAN.load(Ordering::Relaxed));
    assert!(evicting > ran / 8, "only {evicting} of {ran} cases reached the cap");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    fn random_operations(
        ops in proptest::collection::vec(op(), 1..60),
        segment_bytes in prop_oneof![Just(6_000u64), Just(60_000), Just(4 << 20)],
        fill in prop_oneof![1 => Just(0), 2 => 6..10u32],
    ) {
        let dir = scratch();
        let buffer = Some(opened(dir.path(), segment_bytes));
        let model = Model { next_seq: 1, ..Model::default() };
        let mut pair = Pair { dir: dir.path(), buffer, model, job: None };
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
