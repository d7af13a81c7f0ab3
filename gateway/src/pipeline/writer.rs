//! The owner of one class's buffer: writes records, serves reads, keeps the cursor and the sync going.
//!
//! Always true: records are written in the order they were submitted; syncing never makes a write
//! wait; while the disk takes no data they are kept in memory, served from there and written later, which
//! is said once. A batch is then acknowledged to its driver all the same, although a kill would lose it:
//! the driver's own memory is no larger, and telemetry has to go on.

use std::path::PathBuf;
use std::sync::Arc;

use sagoo_edge_buffer::{Appended, Buffer, CursorFound, Durability, Error, Options, Origin, Outcome, Synced};
use sagoo_edge_proto::clock;
use tokio::task::JoinHandle;

use super::book::{Book, Found};
use super::boots::Seen;
use super::drops::{Drops, Reason};
use super::head::Head;
use super::record;
use super::scan::{LastRows, Scanned, per_device, say_damage, scan};
use super::tally::Tally;
use super::trouble::Trouble;
use super::unreadable::Unreadable;
use super::unwritten::Unwritten;
use crate::class::Class;
use crate::config::types::{BufferConfig, Sync};
use crate::row::Row;
use crate::status::{ClassStatus, Ledger};

use losses::Recounts;

mod losses;
mod reading;
mod settling;

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
    context: record::Context,
    /// What is in it.
    tally: Tally,
    /// How far the forwarder may read.
    pub head: Head,
    /// The cursor on disk is behind the book.
    pub unwritten_cursor: bool,
    /// First seq on disk.
    first: u64,
    trouble: Trouble,
    unreadable: Unreadable,
    syncing: Option<JoinHandle<Synced>>,
    /// Accounts found not to balance, each once.
    off_balance: Vec<(Arc<str>, Ledger)>,
    /// What had to go.
    pub drops: Drops,
    recounts: Recounts,
}

enum Written {
    Done,
    /// Larger than a record may be.
    TooLarge,
}

impl Writer {
    /// Opens the buffer and counts what waits in it; also gives each device's last row and the times seen.
    pub fn open(
        config: &BufferConfig,
        class: Class,
        configured: impl Fn(&str) -> bool,
    ) -> Result<(Self, LastRows, Seen), Error> {
        let (dir, max_bytes) = (config.place(class), config.share(class));
        let (mut buffer, recovery) = Buffer::open(options(config, class))?;
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
        let Scanned { last, newest, seen } = scan(&mut buffer, &mut book)?;
        book.untake(|instance| buffer.last_seq_of(instance));
        say_damage(&dir, &recovery.damage);
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
        let mut writer = Self {
            class,
            book,
            max_bytes,
            segment: buffer.next_seq(),
            context: record::Context::default(),
            tally: newest,
            head: Head::new(buffer.next_seq()),
            unwritten_cursor: false,
            first: buffer.first_seq(),
            trouble: Trouble::default(),
            unreadable: Unreadable::default(),
            dir,
            syncing: None,
            off_balance: Vec::new(),
            drops: Drops::default(),
            recounts: Recounts::default(),
            buffer,
        };
        // of what nobody read for the account the damage was met all the same, by the opening or next to it
        writer.count_damage();
        if writer.in_memory() {
            // said at once: it was the disk's word when it was opened
            writer.retry();
        }
        // until the next stop it says that none was
        writer.write_cursor();
        if let Err(error) = writer.buffer.sync() {
            writer.trouble.say(&error);
        }
        Ok((writer, last, seen))
    }

    /// The last batch of a driver process that is in the buffer.
    pub fn last_seq_of(&self, instance: &[u8; 16]) -> Option<u64> {
        self.buffer.last_seq_of(instance)
    }

    /// Whether rows wait in memory for a disk that takes no data.
    pub fn in_memory(&self) -> bool {
        self.buffer.in_memory()
    }

    /// Whether the newest segment has a row of the device, so that the next start finds it there.
    pub fn holds(&self, device: &Arc<str>) -> bool {
        !self.in_memory() && self.context.has(device)
    }

    /// Writes what memory holds, if the disk takes it now.
    pub fn retry(&mut self) {
        let written = self.buffer.retry();
        self.count_evicted();
        match written {
            Ok(()) => self.trouble.over(),
            Err(error) => self.trouble.say(&error),
        }
    }

    /// Writes it, to memory while the disk takes no data.
    pub fn submit(&mut self, unwritten: Unwritten) {
        let mut left = vec![unwritten];
        while let Some(first) = left.pop() {
            match self.store(&first) {
                Written::Done => first.answer(),
                Written::TooLarge if first.rows.len() > 1 => left.extend(first.halves()),
                Written::TooLarge => {
                    let row = &first.rows[0];
                    tracing::error!(device = %row.device, points = row.cells.len(), "row lost: larger than a record may be; raise buffer.max_size");
                    self.book.too_large(&row.device, row.samples);
                    self.dropped(Reason::TooLarge, &first.rows);
                    self.count_read(&first.read);
                    first.answer();
                }
            }
        }
    }

    fn store(&mut self, unwritten: &Unwritten) -> Written {
        let Unwritten { origin, rows, read, .. } = unwritten;
        if rows.is_empty() {
            self.count_read(read);
            return Written::Done;
        }
        let appended = match self.append(*origin, rows) {
            Err(error) => {
                self.trouble.say(&error);
                // memory takes it, where it begins a segment
                self.append(*origin, rows)
            }
            appended => appended,
        };
        let Ok(appended) = appended else { return Written::TooLarge };
        self.count_unwritten(&appended.evicted);
        // of the first try as well: room is made before the write
        self.count_evicted();
        if !self.in_memory() {
            self.trouble.over();
        }
        let begins = self.context.is_empty();
        let seq = match appended.outcome {
            Outcome::Stored { seq } => seq,
            Outcome::Double => return Written::Done,
            Outcome::Refused => {
                self.refuse(unwritten);
                return Written::Done;
            }
        };
        if begins {
            self.segment = self.buffer.segment_start(seq).unwrap_or(seq);
        }
        if self.tally.first_seq != self.segment {
            self.tally = Tally::new(self.segment);
        }
        rows.iter().for_each(|row| self.tally.see(seq, row));
        for (device, samples) in per_device(rows.iter().map(|row| (&row.device, row.samples))) {
            self.book.stored(self.segment, seq, &device, samples);
            self.tally.add(seq, &device, samples);
        }
        self.count_read(read);
        self.context.remember(rows);
        self.head.advance(seq + 1);
        Written::Done
    }

    fn append(&mut self, origin: Option<Origin>, rows: &[Row]) -> Result<Appended, Error> {
        let mut payload = record::encode(rows, &self.context);
        if self.buffer.starts_segment(payload.len()) {
            self.context.clear();
            payload = record::encode(rows, &self.context);
            let tally = self.tally.encode().filter(|_| self.tally.next_seq == self.buffer.next_seq());
            let told = tally.map(|tally| record::with_tally(&tally, &payload));
            // no row is lost for it
            if let Some(told) = told.filter(|told| told.len() <= self.buffer.max_payload()) {
                let appended = self.buffer.append(origin, &told)?;
                if appended.outcome != Outcome::Refused {
                    return Ok(appended);
                }
            }
        }
        self.buffer.append(origin, &payload)
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
            self.trouble.say(&error);
        }
    }

    /// Nothing is left behind: the cursor is written and everything synced.
    pub async fn finish(&mut self) {
        if self.syncing.is_some() {
            self.synced().await;
        }
        if self.in_memory() {
            self.retry();
        }
        if self.in_memory() {
            let bytes = self.buffer.stats().memory_bytes;
            tracing::error!(bytes, "rows in memory are lost: the disk takes no data");
        }
        self.write_last_cursor(true);
        if let Err(error) = self.buffer.sync() {
            self.trouble.say(&error);
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
        let (written, read) = (self.trouble.error(), self.unreadable.error());
        ClassStatus {
            bytes: stats.bytes,
            memory_bytes: stats.memory_bytes,
            max_bytes: self.max_bytes,
            waiting_rows: self.book.waiting_rows(),
            records: stats.records,
            evicted_records: stats.evicted_records,
            dropped: self.drops.totals(),
            damaged_records: stats.damaged_records,
            first_seq: stats.first_seq,
            next_seq: stats.next_seq,
            trouble: written.or(read).cloned().unwrap_or_default(),
        }
    }
}

fn options(config: &BufferConfig, class: Class) -> Options {
    let (dir, max_bytes, when_full) = (config.place(class), config.share(class), config.when_full[class]);
    let durability = match config.sync {
        Sync::Each => Durability::Each,
        Sync::Interval(every) => Durability::Interval(every),
    };
    let reserve_bytes = config.reserve;
    Options { durability, when_full, reserve_bytes, ..Options::new(dir, max_bytes) }
}

#[cfg(test)]
mod tests;
