//! Walks through the records of one class for the flight: once to the head, again for devices that fell
//! behind, and ahead of the first walk where what is new shall not wait for it.
//! See [`super::sagoo::flight::Lanes`] for the rules; this is where records become rows.
//!
//! Always true: a record is decoded after all records its rows refer to, or after rows that stand for
//! them, unless those are damaged; a walk passes records only if they were read, or are no longer there:
//! where the disk cannot be read it stays; at most one chunk of [`CHUNK_BYTES`] (or one record) is held
//! per walk.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::backoff::Backoff;
use super::sagoo::flight::{Flight, LaneId, Reader as Who};
use crate::class::Class;
use crate::pipeline::boots::Boots;
use crate::pipeline::handle::Stored;
use crate::pipeline::record::{Context, Decoder, RecordError, encode};
use crate::row::Row;

/// Bytes asked for at a time.
pub const CHUNK_BYTES: usize = 256 * 1024;
/// First pause of a walk where the disk cannot be read.
pub const PAUSE_FIRST: Duration = Duration::from_secs(1);
/// Longest pause; it is tried again for as long as it takes, or until the records are evicted.
pub const PAUSE_MOST: Duration = Duration::from_secs(30);
/// Rows fed before the other duties get their turn, and those of one record more; a record without rows
/// counts as one.
const ROWS_PER_TURN: usize = 64;

/// Who reads where.
#[derive(Debug)]
pub struct Reader {
    class: Class,
    live: Walk,
    lap: Option<Lap>,
    scout: Scout,
    /// What was new from there on when it was last considered to send a scout.
    considered: Option<u64>,
    /// Who is served first; they take turns.
    turn: usize,
    /// What times in rows mean.
    boots: watch::Receiver<Boots>,
    rng: fastrand::Rng,
}

#[derive(Debug)]
struct Walk {
    decoder: Decoder,
    next: u64,
    chunk: VecDeque<Stored>,
    pause: Backoff,
    /// It could not be read; not tried again before.
    retry_at: Option<Instant>,
}

#[derive(Debug)]
struct Lap {
    walk: Walk,
    start: u64,
    /// For whom it goes on; `None`: paused, everybody it serves is full.
    lane: Option<LaneId>,
}

/// The walk that shows what is new before `live` is there.
#[derive(Debug)]
enum Scout {
    /// There is no need.
    Home,
    /// It shall begin where the newest segment does, at this moment or later.
    Wanted(Option<Instant>),
    Walks(Walk),
}

/// Which walk asked for a chunk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum For {
    /// The one to the head.
    Live,
    /// The one that reads again.
    Lap,
    /// The one that goes ahead.
    Scout,
    /// The same at its beginning.
    ScoutBegins,
}

impl Reader {
    /// Begins at the start of a segment.
    pub fn new(class: Class, from: u64, boots: watch::Receiver<Boots>) -> Self {
        let live = Walk::new(from, Decoder::default());
        let (scout, rng) = (Scout::Home, fastrand::Rng::new());
        Self { class, live, lap: None, scout, considered: None, turn: 0, boots, rng }
    }

    /// What has to be read next, if anything: for whom and from where; `None`: from where the segment with
    /// the head begins.
    pub fn wants(&mut self, head: u64, flight: &mut Flight, now: Instant) -> Option<(For, Option<u64>)> {
        flight.lanes(self.class).walks(self.live.next, head);
        self.continue_lap(flight);
        self.consider_scout(head, flight);
        let live = (self.live.is_hungry(now) && self.live.next < head).then_some((For::Live, self.live.next));
        let lap = self.lap.as_ref().filter(|lap| lap.lane.is_some() && lap.walk.is_hungry(now));
        let lap = lap.filter(|lap| lap.walk.next < self.live.next).map(|lap| (For::Lap, lap.walk.next));
        let scout = match &self.scout {
            Scout::Home => None,
            Scout::Wanted(at) => at.is_none_or(|at| at <= now).then_some((For::ScoutBegins, None)),
            Scout::Walks(walk) => {
                (walk.is_hungry(now) && walk.next < head).then_some((For::Scout, Some(walk.next)))
            }
        };
        let known = |(who, from)| (who, Some(from));
        let all = [live.map(known), lap.map(known), scout];
        self.turn = (self.turn + 1) % all.len();
        (0..all.len()).find_map(|i| all[(self.turn + i) % all.len()])
    }

    /// Once each time the platform begins to answer; one that walks already begins again, as it may have fallen
    /// far behind meanwhile.
    fn consider_scout(&mut self, head: u64, flight: &mut Flight) {
        let fresh = flight.lanes(self.class).hurries_from();
        if fresh == self.considered {
            return;
        }
        self.considered = fresh;
        if fresh.is_some() && self.live.next < head {
            self.scout = Scout::Wanted(None);
        }
    }

    /// When a walk that could not be read is to be tried again.
    pub fn retry_at(&self, now: Instant) -> Option<Instant> {
        let lap = self.lap.as_ref().filter(|lap| lap.lane.is_some()).and_then(|lap| lap.walk.retry_at);
        let scout = match &self.scout {
            Scout::Home => None,
            Scout::Wanted(at) => *at,
            Scout::Walks(walk) => walk.retry_at,
        };
        [self.live.retry_at, lap, scout].into_iter().flatten().filter(|at| *at > now).min()
    }

    /// Takes what was read from `from` on when the head was `head`; `None`: it cannot be read now. A chunk
    /// for a lap or a scout that has ended since is thrown away.
    pub fn arrived(&mut self, wanted: For, from: u64, head: u64, records: Option<Vec<Stored>>, now: Instant) {
        if let (For::ScoutBegins, Scout::Wanted(_)) = (wanted, &self.scout) {
            self.scout = match &records {
                _ if from <= self.live.next => Scout::Home,
                None => Scout::Wanted(Some(now + PAUSE_FIRST)),
                Some(_) => Scout::Walks(Walk::new(from, Decoder::default())),
            };
        }
        let walk = match (wanted, &mut self.lap, &mut self.scout) {
            (For::Live, ..) => &mut self.live,
            (For::Lap, Some(lap), _) if lap.walk.next == from => &mut lap.walk,
            (For::Scout | For::ScoutBegins, _, Scout::Walks(walk)) if walk.next == from => walk,
            (For::Lap | For::Scout | For::ScoutBegins, ..) => return,
        };
        let Some(records) = records else {
            walk.retry_at = Some(now + walk.pause.wait(&mut self.rng));
            return;
        };
        walk.retry_at = None;
        walk.pause.reset();
        if records.is_empty() {
            // What was there has been evicted meanwhile, or is damaged.
            walk.next = walk.next.max(head);
        }
        walk.chunk.extend(records);
    }

    /// Feeds the flight from what was read; `true`: there is more to feed at once.
    pub fn feed(&mut self, flight: &mut Flight, now: Instant) -> bool {
        let mut fed = 0;
        while fed < ROWS_PER_TURN
            && let Some(record) = self.live.chunk.pop_front()
        {
            let (seq, rows) = self.live.decode(record, true, &self.boots.borrow());
            fed += rows.len().max(1);
            flight.offer((self.class, Who::Live, seq), rows, now);
        }
        self.feed_scout(flight, now);
        fed = 0;
        while fed < ROWS_PER_TURN
            && let Some(rows) = self.feed_lap(flight, now)
        {
            fed += rows.max(1);
        }
        let lap_goes_on =
            self.lap.as_ref().is_some_and(|lap| lap.lane.is_some() && !lap.walk.chunk.is_empty());
        let scouts = matches!(&self.scout, Scout::Walks(walk) if !walk.chunk.is_empty());
        !self.live.chunk.is_empty() || scouts || lap_goes_on
    }

    fn feed_scout(&mut self, flight: &mut Flight, now: Instant) {
        let mut fed = 0;
        while fed < ROWS_PER_TURN
            && let Scout::Walks(walk) = &mut self.scout
        {
            if walk.next <= self.live.next {
                self.scout = Scout::Home;
                return;
            }
            let Some(record) = walk.chunk.pop_front() else { return };
            let (seq, rows) = walk.decode(record, false, &self.boots.borrow());
            fed += rows.len().max(1);
            flight.offer((self.class, Who::Scout, seq), rows, now);
        }
    }

    /// Rows of the next record of the lap; `None`: it has none for now.
    fn feed_lap(&mut self, flight: &mut Flight, now: Instant) -> Option<usize> {
        let lap = self.lap.as_mut()?;
        let lane = lap.lane?;
        if !flight.lanes(self.class).lap_goes_on(lane) {
            lap.lane = None;
            return None;
        }
        let next = lap.walk.chunk.front().map_or(lap.walk.next, |record| record.seq);
        if next >= self.live.next {
            flight.lanes(self.class).end_lap(lap.start);
            self.lap = None;
            return None;
        }
        let record = lap.walk.chunk.pop_front()?;
        let (seq, rows) = lap.walk.decode(record, false, &self.boots.borrow());
        let fed = rows.len();
        flight.offer((self.class, Who::Lap { start: lap.start }, seq), rows, now);
        Some(fed)
    }

    /// Gives a paused lap its next lane, or begins a new one.
    fn continue_lap(&mut self, flight: &mut Flight) {
        if self.lap.as_ref().is_some_and(|lap| lap.lane.is_some()) {
            return;
        }
        let Some((lane, from)) = flight.lanes(self.class).wants_lap() else { return };
        if let Some(lap) =
            self.lap.as_mut().filter(|lap| flight.lanes(self.class).can_continue(lane, lap.start))
        {
            lap.lane = Some(lane);
            return;
        }
        let context = flight.lanes(self.class).begin_lap();
        let walk = Walk::new(from, seeded(&context));
        self.lap = Some(Lap { walk, start: from, lane: Some(lane) });
    }
}

impl Walk {
    fn new(next: u64, decoder: Decoder) -> Self {
        let pause = Backoff::new(PAUSE_FIRST, PAUSE_MOST);
        Self { decoder, next, chunk: VecDeque::new(), pause, retry_at: None }
    }

    /// Something may be read for it.
    fn is_hungry(&self, now: Instant) -> bool {
        self.chunk.is_empty() && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Rows of the next record, each of which costs only itself where it cannot be rebuilt. Records may be
    /// missing before it: evicted, and then it is the start of a segment, or damaged, and then rows that
    /// do not refer to them are good.
    fn decode(
        &mut self,
        record: Stored,
        complain: bool,
        boots: &Boots,
    ) -> (u64, Vec<Result<Row, RecordError>>) {
        self.next = record.seq + 1;
        let mut rows = self.decoder.decode(&record.payload).unwrap_or_else(|error| {
            if complain {
                tracing::error!(seq = record.seq, %error, "a stored record cannot be understood and is left out");
            }
            Vec::new()
        });
        rows.iter_mut().flatten().for_each(|row| boots.tell(row));
        (record.seq, rows)
    }
}

/// A decoder that has seen these rows. They may be newer than the record it begins with: what changed
/// since is written over again, in order, before it is used.
fn seeded(context: &[Row]) -> Decoder {
    let mut decoder = Decoder::default();
    if !context.is_empty() && decoder.decode(&encode(context, &Context::default())).is_err() {
        tracing::error!(
            "rows kept in memory cannot be encoded; devices that fell behind wait for their next full row"
        );
    }
    decoder
}
