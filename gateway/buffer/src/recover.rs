//! What opening does with whatever it finds.
//!
//! Always true: damage never keeps a buffer from opening; old segments are believed by their
//! neighbour's header and not scanned, the newest one always is; a torn tail is cut, other damage is
//! stepped over, set aside and reported; what an earlier process left unsynced is synced next. A disk that
//! takes no data is read as it is, and left so, until it takes some: see [`crate::late`].

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::aside::Aside;
use crate::cursor::CursorFile;
use crate::error::Error;
use crate::format::{Previous, SEGMENT_HEADER_MAX, SegmentHeader};
use crate::late::{Late, enter};
use crate::options::Options;
use crate::origins::Origins;
use crate::reader::Damage;
use crate::scan::{Gap, Scanner, Step};
use crate::segment::{self, SEQ_LIMIT, Segment};
use crate::space::Space;
use crate::store::{Buffer, Counts, Evicted, Released};
use crate::sync::{MAX_UNSYNCED, Pending};

/// What opening found and did.
#[derive(Debug, Clone, Default)]
pub struct Recovery {
    /// Segments kept.
    pub segments: u64,
    /// Records in them, settled ones included.
    pub records: u64,
    /// Sum of all file lengths.
    pub bytes: u64,
    /// Segment bytes read frame by frame.
    pub scanned_bytes: u64,
    /// Bytes of a last write that was cut short, removed.
    pub torn_bytes: u64,
    /// Places that made no sense; at most 64.
    pub damage: Vec<Damage>,
    /// Records lost in them.
    pub damaged_records: u64,
    /// The cursor file.
    pub cursor: CursorFound,
    /// Settled segments removed.
    pub released: Released,
    /// Removed because the cap is smaller than what was there.
    pub evicted: Vec<Evicted>,
}

/// What became of the cursor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CursorFound {
    /// The buffer is new.
    #[default]
    New,
    /// It was read.
    Good,
    /// It is missing or damaged: reading begins at the oldest record, so settled ones come again.
    Lost,
}

/// A segment file.
pub(crate) struct Found {
    pub(crate) first_seq: u64,
    path: PathBuf,
    pub(crate) len: u64,
    /// The disk does not tell how long it is.
    unknown: bool,
}

/// The segment after the one being looked at.
struct Next {
    first_seq: u64,
    previous: Option<Previous>,
}

impl Buffer {
    /// Opens or creates a buffer. Damage is no error: the second value says what was found. Nor is a disk
    /// that takes no data: what is there is read, and records go to memory until [`Self::retry`] has worked.
    pub fn open(options: Options) -> Result<(Self, Recovery), Error> {
        let limits = options.limits()?;
        let dir = options.dir;
        let (lock, refused) = enter(&dir)?;
        let (cursor_file, existed, found) = CursorFile::open(dir.join("cursor"), refused)?;
        let mut buffer = Self {
            limits,
            durability: options.durability,
            when_full: options.when_full,
            lock,
            late: cursor_file.refused().map(|_| Late::default()),
            segments: VecDeque::new(),
            active: None,
            next_seq: 1,
            origins: Origins::default(),
            cursor_file,
            aside: Aside::open(dir.join("damaged"), limits.aside_bytes),
            pending: Pending::default(),
            reader: None,
            gives_up: false,
            damage: VecDeque::new(),
            counts: Counts::default(),
            segment_bytes: 0,
            in_memory: false,
            held_bytes: 0,
            space: Space::new(options.reserve_bytes, limits.segment_bytes),
            scratch: Vec::new(),
            dir,
        };
        let mut recovery = Recovery::default();
        let appendable = buffer.find_segments(&mut recovery)?;
        buffer.take_up(appendable);
        recovery.cursor = match found {
            Some(_) => CursorFound::Good,
            None if existed || !buffer.segments.is_empty() => CursorFound::Lost,
            None => CursorFound::New,
        };
        (recovery.released, recovery.evicted) = buffer.tidy_up()?;
        let stats = buffer.stats();
        (recovery.segments, recovery.records) = (stats.segments, stats.records);
        recovery.bytes = stats.bytes;
        recovery.damaged_records = stats.damaged_records;
        recovery.damage = buffer.take_damage();
        Ok((buffer, recovery))
    }

    /// Lists the segments, newest first, scanning those that nobody vouches for. Says whether the newest
    /// can be written on.
    fn find_segments(&mut self, recovery: &mut Recovery) -> Result<bool, Error> {
        let found = list(&self.dir)?;
        self.segment_bytes = found.iter().map(|one| one.len).sum();
        let mut next: Option<Next> = None;
        let mut appendable = true;
        for one in found.into_iter().rev() {
            let header = read_header(&one);
            for last in header.iter().flat_map(|(header, _)| &header.origins) {
                self.origins.note(last.origin, last.at);
            }
            let previous = next.as_ref().and_then(|next| next.previous);
            let known = previous.filter(|it| it.first_seq == one.first_seq && it.next_seq >= it.first_seq);
            let kept = match (&header, known) {
                (Some((_, data_start)), Some(known)) if known.len == one.len => {
                    let data_start = *data_start as u64;
                    self.segments.push_front(Segment::new(
                        one.first_seq,
                        known.next_seq,
                        data_start,
                        one.len,
                    ));
                    true
                }
                _ => {
                    let limit = next.as_ref().map(|next| next.first_seq);
                    let upper = known.map(|known| known.next_seq).or(limit);
                    let data_start = header.as_ref().map(|(_, len)| *len as u64);
                    let whole = self.scan_segment(&one, data_start, limit, upper, recovery);
                    appendable &= whole || next.is_some();
                    self.keep_if_useful(&one, data_start)
                }
            };
            if kept {
                let previous = header.and_then(|(header, _)| header.previous);
                next = Some(Next { first_seq: one.first_seq, previous });
            }
        }
        Ok(appendable)
    }

    /// Puts a segment in front of the list, frame by frame. `upper` is one past its last record, as far
    /// as others know; without a `limit` it is the newest. `false`: the file must not be written on.
    fn scan_segment(
        &mut self,
        found: &Found,
        header: Option<u64>,
        limit: Option<u64>,
        upper: Option<u64>,
        recovery: &mut Recovery,
    ) -> bool {
        let first = found.first_seq;
        let start = header.unwrap_or(0);
        let mut segment = Segment::new(first, first, start, found.len);
        segment.end = start;
        segment.given_up = found.unknown;
        self.segments.push_front(segment);
        let file = match File::open(&found.path).map_err(Error::open(&found.path)) {
            Ok(file) => Arc::new(file),
            Err(error) => {
                tracing::error!(%error, "segment cannot be opened, its records are left out");
                let segment = &mut self.segments[0];
                (segment.given_up, segment.end) = (true, found.len);
                segment.next_seq = upper.unwrap_or(first + 1);
                return false;
            }
        };
        recovery.scanned_bytes += found.len;
        let limit_seq = limit.unwrap_or(SEQ_LIMIT);
        let mut scanner = Scanner::new(file.clone(), found.path.clone(), start, found.len, first, limit_seq);
        let mut begun = header.is_some();
        loop {
            let at = scanner.at();
            match scanner.step() {
                Ok(Step::Frame(frame)) => {
                    if let Some(origin) = frame.origin {
                        self.origins.note(origin, frame.seq);
                    }
                    let segment = &mut self.segments[0];
                    if !begun {
                        (begun, segment.data_start) = (true, at);
                    }
                    (segment.next_seq, segment.end) = (frame.seq + 1, scanner.at());
                }
                Ok(Step::Gap(gap)) if gap.found.is_some() => self.note_gap(0, &file, &gap, first),
                Ok(Step::Gap(gap)) => return self.end_of_scan(&file, &mut scanner, &gap, upper, recovery),
                Ok(Step::End) => return !self.segments[0].given_up,
                Err(error) => {
                    tracing::error!(%error, "a segment cannot be read in places, which are given up");
                    self.segments[0].given_up = true;
                    scanner.give_up();
                }
            }
        }
    }

    /// The last bytes are no frame: cut in the newest segment, left out in an older one.
    fn end_of_scan(
        &mut self,
        file: &File,
        scanner: &mut Scanner,
        gap: &Gap,
        upper: Option<u64>,
        recovery: &mut Recovery,
    ) -> bool {
        if upper.is_some() {
            self.lose_tail(file, gap, upper);
            return true;
        }
        if self.segments[0].given_up {
            // what looks torn may be what could not be read
            self.lose_tail(file, gap, None);
            return false;
        }
        let torn = scanner.is_torn(gap.offset).unwrap_or(false);
        if torn {
            recovery.torn_bytes += gap.len;
        } else {
            self.lose_tail(file, gap, None);
        }
        let cut = self.cut_tail(0);
        let Err(error) = cut else { return true };
        let segment = self.segments[0].first_seq;
        match &mut self.late {
            late if torn && error.refusal().is_some() => late.get_or_insert_default().torn = Some(segment),
            _ => tracing::error!(%error, "the end of a segment cannot be cut, the segment is closed"),
        }
        false
    }

    /// Shortens a segment's file to what is good of it.
    pub(crate) fn cut_tail(&mut self, index: usize) -> Result<(), Error> {
        let segment = &mut self.segments[index];
        let path = segment::path(&self.dir, segment.first_seq);
        segment::open(&path)?.set_len(segment.end).map_err(Error::write(&path))?;
        self.segment_bytes -= segment.len - segment.end;
        segment.len = segment.end;
        Ok(())
    }

    /// The rest of the segment is damage; its numbers are not given again.
    fn lose_tail(&mut self, file: &File, gap: &Gap, upper: Option<u64>) {
        let upper = upper.unwrap_or(gap.expected + 1).max(gap.expected);
        self.note_gap(0, file, gap, upper);
        self.segments[0].next_seq = upper;
    }

    /// A file with neither header nor record was never more than begun, or is nothing but damage.
    fn keep_if_useful(&mut self, found: &Found, header: Option<u64>) -> bool {
        let segment = &self.segments[0];
        let useful = header.is_some() || segment.end > segment.data_start || segment.given_up;
        if useful || segment::remove(&found.path).is_err() {
            return true;
        }
        self.next_seq = self.next_seq.max(segment.next_seq);
        self.segment_bytes -= segment.len;
        self.segments.pop_front();
        false
    }

    /// Numbers go on, the newest segment is written on, and what may be unsynced is.
    fn take_up(&mut self, appendable: bool) {
        let newest = self.segments.back().map_or(0, |newest| newest.next_seq);
        self.next_seq = self.next_seq.max(newest).max(self.cursor().floor);
        if self.late.is_none() {
            let file = self.sync_what_is_left();
            // After a jump of the numbers a new segment says where they go on.
            self.active = file.filter(|_| appendable && newest == self.next_seq);
        }
    }

    /// What an earlier process may not have synced waits for a sync; the newest file comes back.
    pub(crate) fn sync_what_is_left(&mut self) -> Option<Arc<File>> {
        let on_disk = self.segments.partition_point(|segment| segment.held.is_none());
        let mut newest = None;
        for segment in self.segments.range(on_disk.saturating_sub(MAX_UNSYNCED)..on_disk) {
            let path = segment::path(&self.dir, segment.first_seq);
            newest = segment::open(&path).map(Arc::new).ok();
            if let Some(file) = &newest {
                self.pending.wrote(&self.dir, segment.first_seq, file);
            }
        }
        self.pending.created();
        self.pending.dirty();
        newest
    }
}

/// The segment files, oldest first. Files of other names are not ours and are let be.
pub(crate) fn list(dir: &Path) -> Result<Vec<Found>, Error> {
    let mut found = Vec::new();
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(found),
        entries => entries.map_err(Error::open(dir))?,
    };
    for entry in entries {
        let entry = entry.map_err(Error::open(dir))?;
        let Some(first_seq) = entry.file_name().to_str().and_then(segment::first_seq_of) else { continue };
        let path = entry.path();
        let len = entry.metadata().map(|meta| meta.len());
        found.push(Found { first_seq, path, unknown: len.is_err(), len: len.unwrap_or_default() });
    }
    found.sort_by_key(|one| one.first_seq);
    Ok(found)
}

/// The header and its length, if it is whole and belongs to this file.
fn read_header(found: &Found) -> Option<(SegmentHeader, usize)> {
    let file = File::open(&found.path).ok()?;
    let mut bytes = vec![0; SEGMENT_HEADER_MAX.min(usize::try_from(found.len).ok()?)];
    file.read_exact_at(&mut bytes, 0).ok()?;
    SegmentHeader::decode(&bytes).filter(|(header, _)| header.first_seq == found.first_seq)
}
