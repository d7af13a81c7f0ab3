//! Group commit: what was written since the last sync is made safe from a power cut, here or on
//! another thread.
//!
//! Always true: after a failed sync nobody syncs that file again and believes it (the kernel may have
//! dropped the pages and taken them for clean): the segment is closed, later records go to a new one.
//! At most [`MAX_UNSYNCED`] segments wait for a sync.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use crate::cursor::Mark;
use crate::error::Error;
use crate::options::Durability;
use crate::segment;
use crate::store::Buffer;

/// Segments that wait for a sync; beginning one more syncs first.
pub(crate) const MAX_UNSYNCED: usize = 8;

/// A segment with unsynced bytes.
#[derive(Debug, Clone)]
struct Unsynced {
    first_seq: u64,
    path: PathBuf,
    file: Arc<File>,
}

/// What waits for a sync.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    segments: Vec<Unsynced>,
    /// A segment was created: its name has to last, too. Removed ones may come back, they are removed again.
    new_names: bool,
    since: Option<Instant>,
    in_flight: Option<SyncJob>,
    jobs: u64,
}

/// A sync, ready to run on any thread. Tell its result to [`Buffer::synced`].
#[derive(Debug, Clone)]
#[must_use = "nothing is safe before it has run and Buffer::synced knows"]
pub struct SyncJob {
    id: u64,
    segments: Vec<Unsynced>,
    cursor: Option<(Mark, Arc<File>, PathBuf)>,
    /// Directory of the segments, if names are new.
    names: Option<PathBuf>,
}

/// How a sync went.
#[derive(Debug)]
#[must_use = "Buffer::synced has to know"]
pub struct Synced {
    id: u64,
    /// First numbers of the segments that failed.
    failed: Vec<u64>,
    cursor: Option<(Mark, bool)>,
    names_failed: bool,
    error: Option<Error>,
}

impl SyncJob {
    /// Blocks until everything is on flash, or has failed.
    pub fn run(self) -> Synced {
        let mut synced =
            Synced { id: self.id, failed: Vec::new(), cursor: None, names_failed: false, error: None };
        for segment in &self.segments {
            if let Err(error) = segment.file.sync_data() {
                synced.failed.push(segment.first_seq);
                synced.error.get_or_insert(Error::sync(&segment.path)(error));
            }
        }
        if let Some(names) = &self.names
            && let Err(error) = sync_dir(names)
        {
            synced.names_failed = true;
            synced.error.get_or_insert(Error::sync(names)(error));
        }
        // Last, so that a cursor on flash never speaks of records that are not.
        if let Some((mark, file, path)) = &self.cursor {
            let result = file.sync_data();
            synced.cursor = Some((*mark, result.is_ok()));
            if let Err(error) = result {
                synced.error.get_or_insert(Error::sync(path)(error));
            }
        }
        synced
    }
}

pub(crate) fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

impl Pending {
    /// `file` was written to.
    pub(crate) fn wrote(&mut self, dir: &Path, first_seq: u64, file: &Arc<File>) {
        self.dirty();
        if self.segments.last().is_none_or(|last| last.first_seq != first_seq) {
            let path = segment::path(dir, first_seq);
            self.segments.push(Unsynced { first_seq, path, file: file.clone() });
        }
    }

    pub(crate) fn created(&mut self) {
        self.new_names = true;
    }

    pub(crate) fn dirty(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// The file is gone, or must not be synced again: its blocks are let go.
    pub(crate) fn forget(&mut self, first_seq: u64) {
        self.segments.retain(|segment| segment.first_seq != first_seq);
        if let Some(job) = &mut self.in_flight {
            job.segments.retain(|segment| segment.first_seq != first_seq);
        }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.segments.len() >= MAX_UNSYNCED
    }
}

impl Buffer {
    /// When [`Self::sync`] is due to keep the bound of [`Durability::Interval`]; `None`: nothing waits.
    #[must_use]
    pub fn sync_due(&self) -> Option<Instant> {
        match self.durability {
            Durability::Interval(interval) => self.pending.since.map(|since| since + interval),
            Durability::Each => None,
        }
    }

    /// Makes everything written so far safe from a power cut; free when nothing waits. Includes what a
    /// job that has not reported yet was to do.
    pub fn sync(&mut self) -> Result<(), Error> {
        let earlier = self.pending.in_flight.take();
        let written = self.cursor_file.write_if_unwritten();
        let mut job = self.collect();
        if let Some(earlier) = earlier {
            job.names = job.names.or(earlier.names);
            job.cursor = job.cursor.or(earlier.cursor);
            let new = earlier.segments.into_iter().filter(|one| !job.holds(one.first_seq));
            let new: Vec<_> = new.collect();
            job.segments.extend(new);
        }
        let synced = job.run();
        self.synced(synced).and(written)
    }

    /// The same for another thread: `None` when nothing waits or a job has not reported yet. A job that
    /// is dropped is made up for by the next [`Self::sync`].
    pub fn sync_job(&mut self) -> Option<SyncJob> {
        if self.pending.in_flight.is_some() || !self.needs_sync() {
            return None;
        }
        // If it cannot be written now, the cursor stays unwritten and the next sync tries again.
        let _ = self.cursor_file.write_if_unwritten();
        let job = self.collect();
        self.pending.in_flight = Some(job.clone());
        Some(job)
    }

    /// Takes the result of a [`SyncJob`]. An error says what a power cut may cost; the buffer goes on.
    pub fn synced(&mut self, synced: Synced) -> Result<(), Error> {
        if self.pending.in_flight.as_ref().is_some_and(|job| job.id == synced.id) {
            self.pending.in_flight = None;
        }
        if let Some((mark, ok)) = synced.cursor {
            self.cursor_file.end_sync(mark, ok);
        }
        for first_seq in &synced.failed {
            self.pending.forget(*first_seq);
            if self.segments.back().is_some_and(|newest| newest.first_seq == *first_seq) {
                self.active = None;
            }
        }
        self.pending.new_names |= synced.names_failed;
        if self.needs_sync() {
            self.pending.dirty();
        }
        synced.error.map_or(Ok(()), Err)
    }

    fn needs_sync(&self) -> bool {
        !self.pending.segments.is_empty() || self.pending.new_names || self.cursor_file.is_dirty()
    }

    fn collect(&mut self) -> SyncJob {
        self.pending.jobs += 1;
        self.pending.since = None;
        let names = std::mem::take(&mut self.pending.new_names).then(|| self.dir.clone());
        let cursor = self.cursor_file.begin_sync().map(|(mark, file, path)| (mark, file, path.to_owned()));
        SyncJob { id: self.pending.jobs, segments: std::mem::take(&mut self.pending.segments), cursor, names }
    }
}

impl SyncJob {
    fn holds(&self, first_seq: u64) -> bool {
        self.segments.iter().any(|segment| segment.first_seq == first_seq)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Origin;
    use crate::options::Options;
    use crate::store::Outcome;

    const ORIGIN: Origin = Origin { instance: [1; 16], seq: 9 };

    fn open(dir: &Path, durability: Durability) -> Buffer {
        Buffer::open(Options { durability, ..Options::new(dir.to_owned(), 8 << 20) }).unwrap().0
    }

    fn append(buffer: &mut Buffer) -> Result<Outcome, Error> {
        buffer.append(Some(ORIGIN), b"record").map(|appended| appended.outcome)
    }

    /// The newest segment's file seems to be one that cannot be synced.
    fn break_sync(buffer: &mut Buffer) {
        let first_seq = buffer.segments.back().unwrap().first_seq;
        buffer.pending.forget(first_seq);
        let file = Arc::new(File::open("/dev/null").unwrap());
        buffer.pending.wrote(&buffer.dir, first_seq, &file);
    }

    #[test]
    fn after_a_failed_sync_records_go_to_a_new_segment() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffer = open(dir.path(), Durability::Interval(std::time::Duration::from_secs(1)));
        append(&mut buffer).unwrap();
        break_sync(&mut buffer);
        let error = buffer.sync().unwrap_err();
        assert!(error.to_string().contains("00001.seg"), "{error}");
        assert!(buffer.starts_segment(1));
        buffer.append(None, b"next").unwrap();
        assert_eq!(buffer.segment_start(2), Some(2));
        buffer.sync().unwrap();
        assert!(buffer.sync_job().is_none(), "the failed file is not synced again");
        assert_eq!(buffer.read(0, 1000).unwrap().len(), 2, "what was written is still read");
    }

    #[test]
    fn a_record_that_cannot_be_synced_at_once_is_not_stored() {
        let dir = tempfile::tempdir().unwrap();
        let mut buffer = open(dir.path(), Durability::Each);
        buffer.append(None, b"first").unwrap();
        let bytes = buffer.stats().bytes;
        break_sync(&mut buffer);
        append(&mut buffer).unwrap_err();
        assert_eq!((buffer.next_seq(), buffer.stats().bytes, buffer.stats().records), (2, bytes, 1));
        assert_eq!(append(&mut buffer).unwrap(), Outcome::Stored { seq: 2 });
        assert!(buffer.in_memory());
        buffer.retry().unwrap();
        drop(buffer);
        let (mut buffer, recovery) = Buffer::open(Options::new(dir.path().to_owned(), 8 << 20)).unwrap();
        assert_eq!((recovery.damage, recovery.torn_bytes), (Vec::new(), 0));
        let records = buffer.read(0, 1000).unwrap();
        assert_eq!(records.iter().map(|record| record.seq).collect::<Vec<_>>(), [1, 2]);
    }
}
