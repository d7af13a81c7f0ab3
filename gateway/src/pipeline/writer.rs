//! The owner of one class's buffer: writes records, serves reads, keeps the cursor and the sync going.
//!
//! Always true: records are written in the order they were submitted; syncing never makes a write
//! wait; a disk that takes no data is said once and tried again, nothing submitted is lost meanwhile.

use std::collections::{HashMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_buffer::{
    Appended, Buffer, Cursor, CursorFound, Durability, Error, Options, Origin, Outcome, Synced,
};
use sagoo_edge_proto::clock;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::book::{Book, Found};
use super::handle::{Resume, Settled, Stored};
use super::record;
use super::scan::{per_device, say_damage, scan};
use super::unreadable::Unreadable;
use super::unwritten::Unwritten;
use crate::class::Class;
use crate::config::types::{BufferConfig, Sync};
use crate::row::Row;
use crate::status::{ClassStatus, Ledger};

/// Events and rows of the gateway's own kept while the disk takes no data; more are lost and said.
const STALLED: usize = 256;
/// How often a persisting trouble with the disk is said again.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(60);

/// See the module.
pub struct Writer {
    class: Class,
    buffer: Buffer,
    dir: PathBuf,
    /// The account of what was written.
    pub book: Book,
    max_bytes: u64,
    /// First seq of the segment being written.
    segment: u64,
    /// Rows written in it.
    context: HashMap<Arc<str>, Row>,
    head: watch::Sender<u64>,
    /// The cursor on disk is behind the book.
    pub unwritten_cursor: bool,
    /// First seq on disk.
    first: u64,
    /// Records the disk did not take.
    stalled: VecDeque<Unwritten>,
    trouble: Option<(String, Instant)>,
    unreadable: Unreadable,
    syncing: Option<JoinHandle<Synced>>,
    /// Accounts found not to balance, each once.
    off_balance: Vec<(Arc<str>, Ledger)>,
}

enum Written {
    Done,
    /// The disk takes no data; try again.
    NotNow,
    /// Larger than a record may be.
    TooLarge,
}

impl Writer {
    /// Opens the buffer and counts what waits in it; also gives each device's last row.
    pub fn open(
        config: &BufferConfig,
        class: Class,
        configured: impl Fn(&str) -> bool,
    ) -> Result<(Self, HashMap<Arc<str>, Row>), Error> {
        let (dir, max_bytes) = (config.place(class), config.share(class));
        let (mut buffer, recovery) = Buffer::open(options(config, dir.clone(), max_bytes))?;
        tracing::info!(dir = %dir.display(), segments = recovery.segments, records = recovery.records, "buffer opened");
        if recovery.torn_bytes > 0 || recovery.damaged_records > 0 {
            tracing::error!(
                torn_bytes = recovery.torn_bytes,
                damaged_records = recovery.damaged_records,
                "buffer was damaged; what could not be read is lost or set aside"
            );
        }
        let floor = buffer.cursor().floor;
        let mut book = Book::restore(floor, &buffer.cursor().detail);
        let last = scan(&mut buffer, &mut book)?;
        book.untake(|instance| buffer.last_seq_of(instance));
        say_damage(&dir, recovery.damage.into_iter().chain(buffer.take_damage()));
        let found = Found {
            first_seq: buffer.first_seq(),
            next_seq: buffer.next_seq(),
            boot_id: clock::boot_id(),
            wall_ms: clock::trusted_wall_ms().unwrap_or_default(),
            cursor_lost: recovery.cursor == CursorFound::Lost,
            evicted: buffer.first_seq() > floor,
        };
        if let Some(restart) = book.reconcile(&found, configured) {
            let missing_samples = restart.missing_samples;
            tracing::error!(class = class.word(), missing_samples, sync = ?config.sync, "{}", restart.cause);
        }
        if !recovery.evicted.is_empty() {
            let records: u64 = recovery.evicted.iter().map(|gone| gone.records).sum();
            tracing::error!(dir = %dir.display(), records, "buffer.max_size is smaller than what waited: oldest records dropped");
        }
        let (head, _) = watch::channel(buffer.next_seq());
        let mut writer = Self {
            class,
            book,
            max_bytes,
            segment: buffer.next_seq(),
            context: HashMap::new(),
            head,
            unwritten_cursor: false,
            first: buffer.first_seq(),
            stalled: VecDeque::new(),
            trouble: None,
            unreadable: Unreadable::default(),
            dir,
            syncing: None,
            off_balance: Vec::new(),
            buffer,
        };
        // until the next stop it says that none was
        writer.write_cursor();
        if let Err(error) = writer.buffer.sync() {
            writer.say_trouble(&error);
        }
        Ok((writer, last))
    }

    /// The seq the next record will get.
    pub fn head(&self) -> watch::Receiver<u64> {
        self.head.subscribe()
    }

    /// The last batch of a driver process that is in the buffer.
    pub fn last_seq_of(&self, instance: &[u8; 16]) -> Option<u64> {
        self.buffer.last_seq_of(instance)
    }

    /// Told when a batch that was submitted before is written; at once if it is.
    pub fn wait_for(&mut self, origin: Origin, reply: oneshot::Sender<()>) {
        match self.stalled.iter_mut().find(|unwritten| unwritten.origin == Some(origin)) {
            Some(waiting) => {
                waiting.replies.retain(|reply| !reply.is_closed());
                waiting.replies.push(reply);
            }
            None => drop(reply.send(())),
        }
    }

    /// Whether the disk takes no data.
    pub fn is_stalled(&self) -> bool {
        !self.stalled.is_empty()
    }

    /// Writes now, or keeps it until the disk takes data again.
    pub fn submit(&mut self, unwritten: Unwritten) {
        // batches always have a place: a session has one on its way, so drivers bound them
        let others = self.stalled.iter().filter(|stalled| stalled.origin.is_none()).count();
        if unwritten.origin.is_none() && others >= STALLED {
            tracing::error!("event lost: the buffer takes no data");
            return;
        }
        self.stalled.push_back(unwritten);
        if self.stalled.len() == 1 {
            self.retry();
        }
    }

    /// Tries what the disk did not take.
    pub fn retry(&mut self) {
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
                    self.book.too_large(&row.device, row.samples);
                    self.count_read(&first.read);
                    first.answer();
                }
                Written::NotNow => return self.stalled.push_front(first),
            }
        }
    }

    fn store(&mut self, unwritten: &Unwritten) -> Written {
        let Unwritten { origin, rows, read, .. } = unwritten;
        if rows.is_empty() {
            self.count_read(read);
            return Written::Done;
        }
        let mut payload = record::encode(rows, &self.context);
        if self.buffer.starts_segment(payload.len()) {
            self.context.clear();
            payload = record::encode(rows, &self.context);
        }
        if payload.len() > self.buffer.max_payload() {
            return Written::TooLarge;
        }
        let begins = self.context.is_empty();
        let appended = self.buffer.append(*origin, &payload);
        // room is made before the write, which may fail all the same
        self.count_evicted();
        let Appended { outcome, .. } = match appended {
            Ok(appended) => appended,
            Err(error) => {
                self.say_trouble(&error);
                return Written::NotNow;
            }
        };
        if self.trouble.take().is_some() {
            tracing::info!("buffer takes data again");
        }
        let Outcome::Stored { seq } = outcome else { return Written::Done };
        if begins {
            self.segment = self.buffer.segment_start(seq).unwrap_or(seq);
        }
        for (device, samples) in per_device(rows.iter().map(|row| (&row.device, row.samples))) {
            self.book.stored(self.segment, seq, &device, samples);
        }
        self.count_read(read);
        for row in rows.iter().filter(|row| !row.cells.is_empty()) {
            self.context.insert(row.device.clone(), Row { events: Vec::new(), ..row.clone() });
        }
        self.head.send_replace(seq + 1);
        Written::Done
    }

    /// What became of these samples is decided, so that their devices' accounts have to balance.
    fn count_read(&mut self, read: &[(Arc<str>, u64)]) {
        for (device, samples) in read {
            self.book.read(device, *samples);
            self.check(device);
        }
    }

    fn check(&mut self, device: &Arc<str>) {
        if let Some(ledger) = self.book.off_balance(device) {
            self.off_balance.push((device.clone(), ledger));
        }
    }

    /// Accounts that were found not to balance since the last time, each once.
    pub fn off_balance(&mut self) -> Vec<(Arc<str>, Ledger)> {
        std::mem::take(&mut self.off_balance)
    }

    /// Sums up anew what waits for the devices that had news.
    pub fn check_all(&mut self) {
        self.off_balance.extend(self.book.all_off_balance());
    }

    /// What fell off the oldest end since the last look, settled or not.
    fn count_evicted(&mut self) {
        let first = self.buffer.first_seq();
        if first <= self.first {
            return;
        }
        self.first = first;
        let lost = self.book.evicted(first - 1);
        if let Some((device, _)) = lost.iter().max_by_key(|(_, samples)| samples) {
            let (devices, samples) = (lost.len(), lost.iter().map(|(_, samples)| samples).sum::<u64>());
            tracing::error!(class = self.class.word(), %device, devices, samples, "buffer is full: oldest samples dropped; raise buffer.max_size or restore the link");
            // at once, so that a kill does not forget the loss
            self.write_cursor();
        }
    }

    /// Records from `from` on, in order; `None`: they cannot be read now, which is said once.
    pub fn read(&mut self, from: u64, max_bytes: usize) -> Option<Vec<Stored>> {
        let records = self.buffer.read(from, max_bytes);
        say_damage(&self.dir, self.buffer.take_damage());
        match records {
            Ok(records) => {
                if self.unreadable.worked(from) {
                    tracing::info!(from, "stored rows can be read again");
                }
                Some(records.into_iter().map(|one| Stored { seq: one.seq, payload: one.payload }).collect())
            }
            Err(error) => {
                if self.unreadable.failed(from, error.to_string()) {
                    tracing::error!(from, %error, "stored rows cannot be read; they are kept and tried again");
                }
                None
            }
        }
    }

    /// Where the forwarder begins.
    pub fn resume(&mut self) -> Resume {
        let from = self.book.floor(self.buffer.next_seq());
        let from = self.buffer.segment_start(from).unwrap_or(from);
        Resume { from, positions: self.book.positions() }
    }

    /// What became of rows of this class.
    pub fn settle(&mut self, one: &Settled) {
        let lost = self.book.settled(&one.device, one.seq, one.samples, one.fate);
        if lost > 0 {
            tracing::error!(device = %one.device, before_seq = one.seq, samples = lost, "samples are lost: their records are damaged");
        }
        self.check(&one.device);
        self.unwritten_cursor = true;
    }

    /// If it is behind.
    pub fn write_unwritten_cursor(&mut self) {
        if self.unwritten_cursor {
            self.write_cursor();
        }
    }

    /// Brings the cursor on disk up to the book.
    pub fn write_cursor(&mut self) {
        self.write_last_cursor(false);
    }

    fn write_last_cursor(&mut self, stopped: bool) {
        self.unwritten_cursor = false;
        let next_seq = self.buffer.next_seq();
        let floor = self.book.floor(next_seq);
        let cursor = Cursor { floor, detail: self.book.detail(next_seq, clock::boot_id(), stopped) };
        if let Err(error) = self.buffer.advance(cursor) {
            self.unwritten_cursor = true;
            self.say_trouble(&error);
        }
    }

    /// Syncs what was written, on another thread.
    pub fn begin_sync(&mut self) {
        if self.syncing.is_none()
            && let Some(job) = self.buffer.sync_job()
        {
            self.syncing = Some(tokio::task::spawn_blocking(move || job.run()));
        }
    }

    fn end_sync(&mut self, synced: Option<Synced>) {
        self.syncing = None;
        if let Some(synced) = synced
            && let Err(error) = self.buffer.synced(synced)
        {
            self.say_trouble(&error);
        }
    }

    fn say_trouble(&mut self, error: &Error) {
        let text = error.to_string();
        let fresh =
            self.trouble.as_ref().is_none_or(|(last, at)| *last != text || at.elapsed() > TROUBLE_INTERVAL);
        if fresh {
            tracing::error!(error = %text, "buffer in trouble; drivers keep their data and send it again");
            self.trouble = Some((text, Instant::now()));
        }
    }

    /// Nothing is left behind: the cursor is written and everything synced.
    pub async fn finish(&mut self) {
        if self.syncing.is_some() {
            self.synced().await;
        }
        self.write_last_cursor(true);
        if let Err(error) = self.buffer.sync() {
            self.say_trouble(&error);
        }
    }

    /// Waits for the running sync; for ever when there is none.
    pub async fn synced(&mut self) {
        let Some(task) = &mut self.syncing else { return std::future::pending().await };
        let synced = task.await.ok();
        self.end_sync(synced);
    }

    /// What status shows.
    pub fn status(&self) -> ClassStatus {
        let stats = self.buffer.stats();
        let written = self.trouble.as_ref().map(|(text, _)| text);
        let read = self.unreadable.error();
        ClassStatus {
            bytes: stats.bytes,
            max_bytes: self.max_bytes,
            waiting_rows: self.book.waiting_rows(),
            records: stats.records,
            evicted_records: stats.evicted_records,
            damaged_records: stats.damaged_records,
            first_seq: stats.first_seq,
            next_seq: stats.next_seq,
            trouble: written.or(read).cloned().unwrap_or_default(),
        }
    }
}

fn options(config: &BufferConfig, dir: PathBuf, max_bytes: u64) -> Options {
    let durability = match config.sync {
        Sync::Each => Durability::Each,
        Sync::Interval(every) => Durability::Interval(every),
    };
    Options { durability, ..Options::new(dir, max_bytes) }
}
