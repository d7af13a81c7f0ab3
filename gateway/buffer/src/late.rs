//! Opening on a disk that takes no data: what is left undone, and done once the disk takes some.
//!
//! Always true: until then nothing on the disk is changed by opening, not even repaired, and what is there
//! is read; the lock is held as far as there is something to hold, so that two gateways never take up the
//! same records; what was not there at the start is never written over.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::io::Errno;

use crate::error::Error;
use crate::lock::Lock;
use crate::recover::list;
use crate::segment::Segment;
use crate::store::{Buffer, Evicted, Released};
use crate::sync::sync_dir;

/// What is left to do.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// The segment whose last write was cut short, and still is to be cut off.
    pub(crate) torn: Option<u64>,
}

/// Makes the directory and takes its lock; on a disk that takes no data what is there of both, and says why.
pub(crate) fn enter(dir: &Path) -> Result<(Option<Lock>, Option<Errno>), Error> {
    let path = dir.join("lock");
    let take = |file| {
        let lock = Lock::of(file).map_err(Error::open(&path))?;
        lock.ok_or_else(|| Error::Locked { dir: dir.to_owned() })
    };
    let made = make(dir).map_err(Error::open(dir));
    match made.and_then(|()| Lock::file(&path).map_err(Error::open(&path))) {
        Ok(file) => Ok((Some(take(file)?), None)),
        Err(error) => {
            let Some(errno) = error.refusal() else { return Err(error) };
            let file = Lock::file_as_it_is(&path).map_err(Error::open(&path))?;
            Ok((file.map(take).transpose()?, Some(errno)))
        }
    }
}

impl Buffer {
    /// Does what opening has left, if it has.
    pub(crate) fn finish_opening(&mut self) -> Result<(), Error> {
        let Some(late) = &self.late else { return Ok(()) };
        let torn = late.torn;
        make(&self.dir).map_err(Error::open(&self.dir))?;
        let path = self.dir.join("lock");
        let file = Lock::file(&path).map_err(Error::open(&path))?;
        // let go first, because it may be of the same file
        self.lock = None;
        self.lock = Lock::of(file).map_err(Error::open(&path))?;
        if self.lock.is_none() {
            return Err(Error::Locked { dir: self.dir.clone() });
        }
        let known = self.segments.iter().filter(|segment| segment.held.is_none());
        let known: Vec<_> = known.map(|segment| (segment.first_seq, segment.len)).collect();
        let there = list(&self.dir)?;
        if !there.iter().map(|found| (found.first_seq, found.len)).eq(known) {
            return Err(Error::Changed { dir: self.dir.clone() });
        }
        self.cursor_file.reopen()?;
        let is_torn = |segment: &Segment| torn == Some(segment.first_seq) && segment.held.is_none();
        if let Some(index) = self.segments.iter().position(is_torn) {
            self.cut_tail(index)?;
        }
        self.remove_what_need_not_stay()?;
        self.sync_what_is_left();
        self.late = None;
        Ok(())
    }

    /// Removes what is settled or too much; what a disk that takes no data does not let go is left for later.
    pub(crate) fn tidy_up(&mut self) -> Result<(Released, Vec<Evicted>), Error> {
        let removed = match self.late {
            Some(_) => Ok((Released::default(), Vec::new())),
            None => self.remove_what_need_not_stay(),
        };
        match removed {
            Err(error) if error.refusal().is_none() => return Err(error),
            Err(_) => self.late = Some(Late::default()),
            Ok(_) => {}
        }
        if self.late.is_some() {
            self.go_to_memory();
        }
        Ok(removed.unwrap_or_default())
    }

    fn remove_what_need_not_stay(&mut self) -> Result<(Released, Vec<Evicted>), Error> {
        let released = self.release()?;
        // Only what is too much goes: nothing is written yet that would need room.
        let evicted = self.evict_until_fits(|_| 0)?;
        self.keep_numbers();
        Ok((released, evicted))
    }
}

/// Makes the directory and those above it, so that they last; a disk that cannot sync says so at the next
/// sync.
fn make(dir: &Path) -> io::Result<()> {
    let made_in = dir.ancestors().find(|above| above.exists()).unwrap_or(dir).to_owned();
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    for above in dir.ancestors().skip(1).filter(|above| above.starts_with(&made_in)) {
        let _ = sync_dir(above);
    }
    Ok(())
}
