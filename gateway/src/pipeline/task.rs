//! The thread that owns the buffer: writes batches, serves the forwarder, keeps the book.
//!
//! Always true: a batch is answered only after its record is in the buffer (or was there already);
//! syncing never makes a batch wait; a full or broken disk is said once and retried, never fatal.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sagoo_edge_buffer::{Appended, Buffer, Class, Cursor, Durability, Options, Origin, Outcome};
use sagoo_edge_proto::{clock, sample};
use tokio::runtime;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::book::Book;
use super::handle::{Arrived, Ask, Handle, QUEUE, Resume, Stored};
use super::points::Device;
use super::record::{self, Decoder};
use super::snapshot::{DeviceSnapshot, Snapshot};
use super::wall::WallClock;
use crate::config::types::{BufferConfig, Config, Sync};
use crate::row::{Cell, Event, GATEWAY, Identity, Row, Value};
use crate::status::BufferStatus;

/// How often settled rows are written to the cursor: what a kill may make us send twice.
const CURSOR_INTERVAL: Duration = Duration::from_millis(100);
/// How often a disk that took no data is tried again.
const RETRY_INTERVAL: Duration = Duration::from_millis(500);
/// Records kept while the disk takes no data: one per driver, and events; more events are lost and said.
const STALLED: usize = 256;
/// How often a persisting trouble with the disk is said again.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes read at once while the backlog is counted at start.
const SCAN_BYTES: usize = 1 << 20;

/// Opens the buffer, counts what waits in it and starts the thread. Blocks for as long as that takes.
pub fn start(config: &Config) -> Result<(Handle, thread::JoinHandle<()>), sagoo_edge_buffer::Error> {
    let (mut buffer, recovery) = Buffer::open(options(&config.buffer))?;
    tracing::info!(dir = %config.buffer.dir.display(), recovery = ?recovery, "buffer opened");
    let mut book = Book::restore(&buffer.cursor().detail);
    let last = scan(&mut buffer, &mut book)?;
    let (queue, asks) = mpsc::channel(QUEUE);
    let (head_tx, head) = watch::channel(buffer.next_seq());
    let newest = last.values().map(|row| row.time_ms).max();
    let devices = config.devices.iter().map(|(name, device)| {
        let name: Arc<str> = name.as_str().into();
        (name.clone(), Device::new(name.clone(), device, last.get(&name)))
    });
    let pipeline = Pipeline {
        devices: devices.collect(),
        shown: config.devices.keys().map(|name| (name.as_str().into(), Shown::default())).collect(),
        gateway: config.gateway.identity.clone(),
        max_bytes: config.buffer.max_size,
        segment: buffer.next_seq(),
        context: HashMap::new(),
        buffer,
        book,
        head: head_tx,
        wall: WallClock::new(newest),
        done: HashMap::new(),
        unwritten_cursor: false,
        stalled: VecDeque::new(),
        trouble: None,
        syncing: None,
        seen_dropped: HashMap::new(),
    };
    let sync_every = match config.buffer.sync {
        Sync::Interval(every) => every,
        Sync::Each => Duration::from_secs(1),
    };
    let runtime = runtime::Handle::current();
    let thread = thread::Builder::new()
        .name("pipeline".to_owned())
        .spawn(move || runtime.block_on(pipeline.run(asks, sync_every)))
        .expect("a thread can be started at start-up");
    Ok((Handle { queue, head }, thread))
}

fn options(config: &BufferConfig) -> Options {
    let durability = match config.sync {
        Sync::Each => Durability::Each,
        Sync::Interval(every) => Durability::Interval(every),
    };
    Options { durability, ..Options::new(config.dir.clone(), config.max_size) }
}

/// Counts what waits, from the cursor's floor on, and finds each device's last row.
fn scan(buffer: &mut Buffer, book: &mut Book) -> Result<HashMap<Arc<str>, Row>, sagoo_edge_buffer::Error> {
    let mut decoder = Decoder::default();
    let mut from = buffer.first_seq();
    loop {
        let records = buffer.read(from, SCAN_BYTES)?;
        let Some(last) = records.last() else { return Ok(decoder.into_last()) };
        from = last.seq + 1;
        for record in &records {
            let segment = buffer.segment_start(record.seq).unwrap_or(record.seq);
            let rows = decoder.decode(&record.payload).unwrap_or_default();
            for (device, samples) in per_device(rows.iter().flatten()) {
                book.stored(segment, record.seq, &device, samples);
            }
        }
    }
}

fn per_device<'a>(rows: impl Iterator<Item = &'a Row>) -> BTreeMap<Arc<str>, u32> {
    let mut samples = BTreeMap::new();
    for row in rows {
        *samples.entry(row.device.clone()).or_default() += row.samples;
    }
    samples
}

struct Pipeline {
    buffer: Buffer,
    book: Book,
    devices: HashMap<Arc<str>, Device>,
    shown: HashMap<Arc<str>, Shown>,
    gateway: Identity,
    max_bytes: u64,
    /// First seq of the segment being written.
    segment: u64,
    /// Rows written in it.
    context: HashMap<Arc<str>, Row>,
    head: watch::Sender<u64>,
    wall: WallClock,
    /// Last batch taken per driver process.
    done: HashMap<[u8; 16], u64>,
    unwritten_cursor: bool,
    /// Records the disk did not take.
    stalled: VecDeque<Unwritten>,
    trouble: Option<(String, Instant)>,
    syncing: Option<JoinHandle<sagoo_edge_buffer::Synced>>,
    seen_dropped: HashMap<(Arc<str>, [u8; 16]), u64>,
}

/// A record on its way into the buffer.
struct Unwritten {
    class: Class,
    origin: Option<Origin>,
    rows: Vec<Row>,
    replies: Vec<oneshot::Sender<()>>,
}

enum Written {
    Done,
    /// The disk takes no data; try again.
    NotNow,
    /// Larger than a record may be.
    TooLarge,
}

impl Unwritten {
    /// Two records for one, the later one first. The origin goes with the last to be written: until
    /// then the driver would send the batch again.
    fn halves(mut self) -> [Self; 2] {
        let rows = self.rows.split_off(self.rows.len() / 2);
        let first = Self { class: self.class, origin: None, rows: self.rows, replies: Vec::new() };
        [Self { class: self.class, origin: self.origin, rows, replies: self.replies }, first]
    }

    fn answer(self) {
        for reply in self.replies {
            let _ = reply.send(());
        }
    }
}

#[derive(Debug, Default)]
struct Shown {
    online: bool,
    reason: String,
}

impl Pipeline {
    async fn run(mut self, mut asks: mpsc::Receiver<Ask>, sync_every: Duration) {
        let mut sync = interval(sync_every);
        let mut cursor = interval(CURSOR_INTERVAL);
        let mut retry = interval(RETRY_INTERVAL);
        retry.set_missed_tick_behavior(MissedTickBehavior::Delay);
        sync.set_missed_tick_behavior(MissedTickBehavior::Delay);
        cursor.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some(Ask::Stop(done)) => {
                        self.finish().await;
                        let _ = done.send(());
                        return;
                    }
                    Some(ask) => self.answer(ask),
                    None => return self.finish().await,
                },
                _ = sync.tick() => self.begin_sync(),
                _ = retry.tick(), if !self.stalled.is_empty() => self.retry(),
                _ = cursor.tick(), if self.unwritten_cursor => self.write_cursor(),
                synced = joined(&mut self.syncing), if self.syncing.is_some() => self.end_sync(synced),
            }
        }
    }

    fn answer(&mut self, ask: Ask) {
        match ask {
            Ask::Batch(arrived, reply) => self.batch(arrived, reply),
            Ask::Link { device, online, reason } => {
                let shown = self.shown.entry(device).or_default();
                (shown.online, shown.reason) = (online, reason);
            }
            Ask::Dropped { device, instance, total } => self.dropped(device, instance, total),
            Ask::Event { device, event } => self.event(&device, event),
            Ask::Own(values) => self.own(values),
            Ask::Read { from, max_bytes, reply } => {
                let _ = reply.send(self.read(from, max_bytes));
            }
            Ask::Resume(reply) => {
                let from = self.book.floor(self.buffer.next_seq());
                let from = self.buffer.segment_start(from).unwrap_or(from);
                let _ = reply.send(Resume { from, positions: self.book.positions() });
            }
            Ask::Settle(settled) => {
                for one in settled {
                    self.book.settled(&one.device, one.seq, one.samples, one.fate);
                }
                self.unwritten_cursor = true;
            }
            Ask::Snapshot(reply) => {
                let _ = reply.send(self.snapshot());
            }
            Ask::Stop(_) => unreachable!("handled by the loop"),
        }
    }

    /// Answers when the batch is in the buffer, now or before.
    fn batch(&mut self, arrived: Arrived, reply: oneshot::Sender<()>) {
        let Arrived { driver, instance, boot_id, seq, numbers, devices } = arrived;
        if self.done.get(&instance).copied().max(self.buffer.last_seq_of(&instance)) >= Some(seq) {
            let same = |unwritten: &&mut Unwritten| unwritten.origin == Some(Origin { instance, seq });
            match self.stalled.iter_mut().find(same) {
                Some(waiting) => waiting.replies.push(reply),
                None => drop(reply.send(())),
            }
            return;
        }
        self.done.insert(instance, seq);
        let same_boot = &*boot_id == clock::boot_id();
        let mut rows = Vec::new();
        let mut quiet = Vec::new();
        for packed in devices {
            let Some((name, points)) = numbers.get(&packed.device) else {
                tracing::error!(%driver, seq, number = packed.device, "batch names an unknown device, samples lost");
                continue;
            };
            let Some(device) = self.devices.get_mut(name) else { continue };
            let label = packed.wall_ms.map(|wall_ms| (packed.boot_ns, wall_ms));
            let samples = match sample::unpack(packed) {
                Ok(samples) => samples,
                Err(error) => {
                    tracing::error!(%driver, device = %name, seq, %error, "batch is not readable, samples lost");
                    continue;
                }
            };
            let now = clock::boot_ns();
            let time_of = |boot_ns| self.wall.at(if same_boot { boot_ns } else { now }, label);
            let made = device.rows(samples, |number| points.get(number as usize).cloned(), time_of);
            if made.unknown > 0 {
                tracing::warn!(%driver, device = %name, samples = made.unknown, "driver sent points that are not configured");
            }
            quiet.push((name.clone(), made.suppressed + made.unknown));
            rows.extend(made.rows);
        }
        for (device, samples) in quiet {
            self.book.suppressed(&device, samples);
        }
        let origin = Some(Origin { instance, seq });
        self.submit(Unwritten { class: Class::Telemetry, origin, rows, replies: vec![reply] });
    }

    /// Writes now, or keeps it until the disk takes data again.
    fn submit(&mut self, unwritten: Unwritten) {
        if self.stalled.len() >= STALLED {
            // sessions have one batch on its way each, so only events can come to this
            tracing::error!("event lost: the buffer takes no data");
            return;
        }
        self.stalled.push_back(unwritten);
        if self.stalled.len() == 1 {
            self.retry();
        }
    }

    fn retry(&mut self) {
        while let Some(first) = self.stalled.pop_front() {
            match self.store(&first) {
                Written::Done => first.answer(),
                Written::TooLarge if first.rows.len() > 1 => {
                    for half in first.halves() {
                        self.stalled.push_front(half);
                    }
                }
                Written::TooLarge => {
                    let row = &first.rows[0];
                    tracing::error!(device = %row.device, points = row.cells.len(), "row lost: larger than a record may be; raise buffer.max_size");
                    self.book.suppressed(&row.device, u64::from(row.samples));
                    first.answer();
                }
                Written::NotNow => return self.stalled.push_front(first),
            }
        }
    }

    fn store(&mut self, unwritten: &Unwritten) -> Written {
        let Unwritten { class, origin, rows, .. } = unwritten;
        if rows.is_empty() {
            return Written::Done;
        }
        let mut payload = record::encode(rows, &self.context);
        if self.buffer.starts_segment(*class, payload.len()) {
            self.context.clear();
            payload = record::encode(rows, &self.context);
        }
        if payload.len() > self.buffer.max_payload() {
            return Written::TooLarge;
        }
        let begins = self.context.is_empty();
        let Appended { outcome, evicted } = match self.buffer.append(*class, *origin, &payload) {
            Ok(appended) => appended,
            Err(error) => {
                self.say_trouble(&error);
                return Written::NotNow;
            }
        };
        if self.trouble.take().is_some() {
            tracing::info!("buffer takes data again");
        }
        for gone in evicted {
            self.evicted(gone.last_seq);
        }
        let Outcome::Stored { seq } = outcome else { return Written::Done };
        if begins {
            self.segment = self.buffer.segment_start(seq).unwrap_or(seq);
        }
        for (device, samples) in per_device(rows.iter()) {
            self.book.stored(self.segment, seq, &device, samples);
        }
        for row in rows.iter().filter(|row| !row.cells.is_empty()) {
            self.context.insert(row.device.clone(), Row { events: Vec::new(), ..row.clone() });
        }
        self.head.send_replace(seq + 1);
        Written::Done
    }

    fn evicted(&mut self, last_seq: u64) {
        for (device, samples) in self.book.evicted(last_seq) {
            tracing::error!(%device, samples, "buffer is full: oldest samples dropped; raise buffer.max_size or restore the link");
        }
        self.unwritten_cursor = true;
    }

    fn event(&mut self, device: &Arc<str>, event: Event) {
        let row = match self.devices.get(device) {
            Some(known) => known.event(event),
            None => Row {
                device: GATEWAY.into(),
                identity: self.gateway.clone(),
                time_ms: event.time_ms,
                cells: Vec::new(),
                events: vec![event],
                samples: 0,
            },
        };
        self.submit(Unwritten { class: Class::Event, origin: None, rows: vec![row], replies: Vec::new() });
    }

    /// The gateway's own properties, one row.
    fn own(&mut self, values: Vec<(Arc<str>, Value)>) {
        let time_ms = self.wall.now_ms();
        let samples = values.len() as u32;
        let cells = values.into_iter().map(|(key, value)| Cell { key, value, time_ms });
        let mut cells: Vec<Cell> = cells.collect();
        cells.sort_by(|a, b| a.key.cmp(&b.key));
        let row = Row {
            device: GATEWAY.into(),
            identity: self.gateway.clone(),
            time_ms,
            cells,
            events: Vec::new(),
            samples,
        };
        self.submit(Unwritten { class: Class::Telemetry, origin: None, rows: vec![row], replies: Vec::new() });
    }

    /// A driver's running total of dropped samples.
    fn dropped(&mut self, device: Arc<str>, instance: [u8; 16], total: u64) {
        let before = self.seen_dropped.insert((device.clone(), instance), total).unwrap_or(0);
        if total > before {
            tracing::error!(%device, samples = total - before, "driver dropped samples while the gateway did not take them");
            self.book.dropped_by_driver(&device, total - before);
        }
    }

    fn read(&mut self, from: u64, max_bytes: usize) -> Vec<Stored> {
        match self.buffer.read(from, max_bytes) {
            Ok(records) => {
                records.into_iter().map(|record| Stored { seq: record.seq, payload: record.payload }).collect()
            }
            Err(error) => {
                self.say_trouble(&error);
                Vec::new()
            }
        }
    }

    fn write_cursor(&mut self) {
        self.unwritten_cursor = false;
        let floor = self.book.floor(self.buffer.next_seq());
        let cursor = Cursor { floor, detail: self.book.detail() };
        if let Err(error) = self.buffer.advance(cursor) {
            self.say_trouble(&error);
        }
    }

    fn begin_sync(&mut self) {
        if self.syncing.is_none()
            && let Some(job) = self.buffer.sync_job()
        {
            self.syncing = Some(tokio::task::spawn_blocking(move || job.run()));
        }
    }

    fn end_sync(&mut self, synced: Option<sagoo_edge_buffer::Synced>) {
        self.syncing = None;
        if let Some(synced) = synced
            && let Err(error) = self.buffer.synced(synced)
        {
            self.say_trouble(&error);
        }
    }

    fn say_trouble(&mut self, error: &sagoo_edge_buffer::Error) {
        let text = error.to_string();
        let fresh = self.trouble.as_ref().is_none_or(|(last, at)| *last != text || at.elapsed() > TROUBLE_INTERVAL);
        if fresh {
            tracing::error!(error = %text, "buffer in trouble; drivers keep their data and send it again");
            self.trouble = Some((text, Instant::now()));
        }
    }

    fn snapshot(&self) -> Snapshot {
        let stats = self.buffer.stats();
        let names = self.devices.keys().chain(self.book.devices());
        let devices = names.map(|name| {
            let shown = self.shown.get(name);
            let one = DeviceSnapshot {
                online: shown.is_some_and(|shown| shown.online),
                reason: shown.map(|shown| shown.reason.clone()).unwrap_or_default(),
                points: self.devices.get(name).map(Device::snapshot).unwrap_or_default(),
                ledger: self.book.ledger(name),
            };
            (name.clone(), one)
        });
        Snapshot {
            devices: devices.collect(),
            buffer: BufferStatus {
                bytes: stats.bytes,
                max_bytes: self.max_bytes,
                records: stats.records,
                evicted_records: stats.evicted_records,
                damaged_records: stats.damaged_records,
                first_seq: stats.first_seq,
                next_seq: stats.next_seq,
                trouble: self.trouble.as_ref().map(|(text, _)| text.clone()).unwrap_or_default(),
            },
        }
    }

    /// Nothing is left behind: the cursor is written and everything synced.
    async fn finish(&mut self) {
        let synced = joined(&mut self.syncing).await;
        self.end_sync(synced);
        self.write_cursor();
        if let Err(error) = self.buffer.sync() {
            self.say_trouble(&error);
        }
    }
}

/// The running sync's result; `None` when there is none or it panicked.
async fn joined(syncing: &mut Option<JoinHandle<sagoo_edge_buffer::Synced>>) -> Option<sagoo_edge_buffer::Synced> {
    match syncing {
        Some(task) => task.await.ok(),
        None => None,
    }
}

impl Handle {
    /// Flushes, syncs and ends the thread.
    pub async fn stop(&self) {
        let (done, finished) = oneshot::channel();
        if self.queue.send(Ask::Stop(done)).await.is_ok() {
            let _ = finished.await;
        }
    }
}

#[cfg(test)]
mod tests;
