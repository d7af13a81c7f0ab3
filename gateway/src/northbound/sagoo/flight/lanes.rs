//! Rows of one class read from the buffer and not yet settled, one lane per device, bounded.
//!
//! A lane that is full *falls behind*: its further rows are not kept but read again later, so that a
//! slow or unknown device costs the others nothing. Two readers fill the lanes, and a third one goes ahead:
//!
//! ```text
//! live   walks once to the head of the buffer; feeds every lane that is not behind, never waits
//! lap    walks from where one lane fell behind; feeds the lanes behind that it can serve in order,
//!        pauses when that lane is full, ends when it reaches `live`: then its lanes are not behind any more
//! scout  (`drain = "live-first"`) walks from the newest segment on and shows [`super::ahead`] what is new
//!        while `live` has a long way to go to it; fills nothing, ends when `live` reaches it
//! ```
//!
//! Always true: `taken` is the first record whose rows a lane has not handled, so no row is taken
//! twice or left out; a lap serves only lanes that were behind when it began, and whose `taken` it walks over; memory is at most
//! the budget plus two rows per device, and two more where [`super::ahead`] is at work.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use super::ahead::Ahead;
use super::lane::Lane;
use super::peers::{SELF, set_of};
use super::queued::{Offered, Place, Queued, blank, footprint};
use crate::class::Class;
use crate::config::types::Drain;
use crate::pipeline::handle::{Fate, Settled};
use crate::pipeline::record::Sets;
use crate::row::Row;

/// Bytes of rows kept for all devices together; each has an equal share, and room for two rows at least.
/// Events have [`EVENTS_PER_READ_AHEAD`] of it.
pub const READ_AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// Events have this part of the memory, telemetry the rest.
const EVENTS_PER_READ_AHEAD: usize = 16;
/// Rows kept per device at most.
pub const READ_AHEAD_ROWS: usize = 256;

/// Index of a lane.
pub type LaneId = usize;

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The one that walks to the head.
    Live,
    /// The one that shows what is new before that one is there.
    Scout,
    /// The one that reads again, since this record.
    Lap {
        /// Where it began.
        start: u64,
    },
}

/// All lanes of a class.
#[derive(Debug)]
pub struct Lanes {
    class: Class,
    budget: usize,
    pub(super) drain: Drain,
    /// What is stored from this record on is new: the platform answered before.
    pub(super) fresh_from: Option<u64>,
    /// What is new was shown below this record.
    pub(super) shown: u64,
    /// Where the live reader is.
    pub(super) walked: u64,
    pub(super) lanes: Vec<Lane>,
    by_device: HashMap<Arc<str>, LaneId>,
    sets: Sets,
    /// Records all of whose rows are in the lanes and may go as one pack.
    whole: BTreeMap<u64, Vec<(LaneId, Place)>>,
    next_lap: LaneId,
}

impl Lanes {
    /// None yet; those of both classes together keep `budget` bytes of rows. `drain` is for telemetry:
    /// events keep their order, and none stands for another.
    pub fn new(class: Class, budget: usize, drain: Drain) -> Self {
        let events = budget / EVENTS_PER_READ_AHEAD;
        let (budget, drain) = match class {
            Class::Event => (events, Drain::Ordered),
            Class::Telemetry => (budget - events, drain),
        };
        Self {
            class,
            budget,
            drain,
            fresh_from: None,
            shown: 0,
            walked: 0,
            lanes: Vec::new(),
            by_device: HashMap::new(),
            sets: Sets::default(),
            whole: BTreeMap::new(),
            next_lap: 0,
        }
    }

    /// A lane for a device whose rows below `taken` are settled.
    pub fn add(&mut self, device: Arc<str>, taken: u64) -> LaneId {
        if let Some(id) = self.by_device.get(&device) {
            return *id;
        }
        self.lanes.push(Lane::new(device.clone(), taken, self.drain));
        self.by_device.insert(device, self.lanes.len() - 1);
        self.lanes.len() - 1
    }

    /// Offers a record's rows; each lane takes all of its rows or none. `whole`: no row of the record
    /// is missing or damaged. `peer` names the key of a row.
    pub fn offer(
        &mut self,
        (reader, seq, whole): (Reader, u64, bool),
        rows: Vec<(Place, Offered)>,
        now: Instant,
        mut peer: impl FnMut(&Row) -> usize,
    ) {
        let lanes: Vec<LaneId> = rows.iter().map(|(_, row)| self.add(row.device().clone(), 0)).collect();
        let mut accepts: Vec<(LaneId, bool)> = lanes.iter().map(|lane| (*lane, false)).collect();
        accepts.sort_unstable();
        accepts.dedup_by_key(|(lane, _)| *lane);
        for (lane, accepted) in &mut accepts {
            *accepted = self.accepts(*lane, reader, seq);
        }
        let distinct = accepts.len() == rows.len();
        let accepted = |lane| accepts.binary_search(&(lane, true)).is_ok();
        let mut members = Vec::new();
        let mut complete = whole && distinct;
        let is_new = self.is_new(reader, seq);
        for ((place, offered), lane) in rows.into_iter().zip(&lanes) {
            let (row, damaged) = match offered {
                Offered::Row(row) => (Arc::new(row), false),
                Offered::Damaged(row) => (Arc::new(blank(row)), true),
            };
            if !accepted(*lane) {
                self.note_context(*lane, reader, seq, row.clone());
                complete = false;
                if !is_new || seq < self.lanes[*lane].taken {
                    continue;
                }
            }
            // one that is not sent has no key; it is gone before anybody asks
            let peer = if damaged { SELF } else { peer(&row) };
            let (set, bytes) = (set_of(&row), footprint(&row));
            let queued = Queued { seq, place, row, peer, set, damaged, bytes };
            if is_new {
                let alone = lanes.iter().filter(|other| *other == lane).count() == 1;
                self.came(*lane, queued.clone(), alone && whole, reader == Reader::Scout);
            }
            if !accepted(*lane) {
                continue;
            }
            if !queued.is_empty() {
                members.push((*lane, queued.place));
            }
            self.lanes[*lane].push(queued, now);
        }
        if is_new {
            self.shows(seq, whole);
        }
        if complete && members.len() > 1 {
            self.whole.insert(seq, members);
        }
    }

    /// Stored after the platform began to answer, and not shown yet.
    fn is_new(&self, reader: Reader, seq: u64) -> bool {
        let looks = matches!(reader, Reader::Live | Reader::Scout);
        looks && seq >= self.shown && self.fresh_from.is_some_and(|from| seq >= from)
    }

    /// What is left out before this record, or of it, is said in its turn, whosever it may be.
    fn shows(&mut self, seq: u64, whole: bool) {
        let next = self.fresh_from.map_or(seq, |fresh| fresh.max(self.shown));
        if !whole || seq > next {
            let left = if whole { seq - 1 } else { seq };
            self.lanes.iter_mut().for_each(|lane| lane.ahead.leave_to(left));
        }
        self.shown = seq + 1;
    }

    fn accepts(&mut self, lane: LaneId, reader: Reader, seq: u64) -> bool {
        let share = self.share();
        let lane = &mut self.lanes[lane];
        if !lane.served_by(reader) || seq < lane.taken {
            return false;
        }
        let full = lane.full(share);
        lane.taken = if full { seq } else { seq + 1 };
        // A lap that is under way does not know what this lane's next rows refer to.
        lane.behind |= full;
        lane.left_lap |= full;
        !full
    }

    /// A row that is new was met first. `scouted`: what was stored before it may not have been read.
    fn came(&mut self, lane: LaneId, row: Queued, alone: bool, scouted: bool) {
        let (live_first, lane) = (self.drain == Drain::LiveFirst, &mut self.lanes[lane]);
        lane.pace.came(row.row.time_ms);
        if live_first {
            let can_hurry = alone && !row.damaged && !row.row.cells.is_empty();
            let waits = scouted || lane.behind || !lane.rows.is_empty();
            lane.ahead.offer(row, can_hurry && waits);
        }
    }

    /// A settled row is still what the next one refers to.
    fn note_context(&mut self, lane: LaneId, reader: Reader, seq: u64, row: Arc<Row>) {
        let lane = &mut self.lanes[lane];
        if reader == Reader::Live && !lane.behind && seq < lane.taken && !row.cells.is_empty() {
            lane.refer_to(row, &mut self.sets);
        }
    }

    fn share(&self) -> usize {
        self.budget / self.lanes.len().max(1)
    }

    /// A lane that is behind and has room again, in turn; with where it must be read from.
    pub fn wants_lap(&mut self) -> Option<(LaneId, u64)> {
        let share = self.share();
        let count = self.lanes.len();
        let found = (0..count)
            .map(|i| (self.next_lap + i) % count)
            .find(|id| self.lanes[*id].behind && self.lanes[*id].has_room(share))?;
        self.next_lap = (found + 1) % count;
        Some((found, self.lanes[found].taken))
    }

    /// Whether the lap for this lane goes on: it has not been filled.
    pub fn lap_goes_on(&self, lane: LaneId) -> bool {
        let lane = &self.lanes[lane];
        lane.behind && !lane.left_lap && !lane.full(self.share())
    }

    /// Whether a running lap that began at `start` can be continued for this lane.
    pub fn can_continue(&self, lane: LaneId, start: u64) -> bool {
        self.lanes[lane].served_by(Reader::Lap { start })
    }

    /// A new lap begins: everybody may take part again. Returns what the records from there on refer to.
    pub fn begin_lap(&mut self) -> Vec<Row> {
        for lane in &mut self.lanes {
            lane.left_lap = false;
        }
        self.lanes.iter().filter(|lane| lane.behind).filter_map(Lane::context).collect()
    }

    /// The lap has reached the live reader: whom it served is not behind any more.
    pub fn end_lap(&mut self, start: u64) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.served_by(Reader::Lap { start })) {
            lane.behind = false;
        }
    }

    /// Whose it is.
    pub fn device(&self, lane: LaneId) -> &Arc<str> {
        &self.lanes[lane].device
    }

    /// What is said before its turn.
    pub fn ahead(&self, lane: LaneId) -> &Ahead {
        &self.lanes[lane].ahead
    }

    /// The same.
    pub fn ahead_mut(&mut self, lane: LaneId) -> &mut Ahead {
        &mut self.lanes[lane].ahead
    }

    /// Whether the front row may be sent. Where only the newest is wanted, it may be what comes after all
    /// that was stored has been read, or what the next one, which is there, does not stand for.
    pub fn may_speak(&self, lane: LaneId) -> bool {
        let lane = &self.lanes[lane];
        let all_read = self.fresh_from.is_some_and(|from| self.walked >= from) && !lane.behind;
        self.drain != Drain::LatestOnly || all_read || lane.rows.len() > 1
    }

    /// Rows of it wait that are not in memory.
    pub fn is_behind(&self, lane: LaneId) -> bool {
        self.lanes[lane].behind
    }

    /// The front row is merged into the one after it. Looks at how long it has been too much: `known`: it
    /// could be sent.
    pub fn merges(&mut self, lane: LaneId, known: bool, now: Instant) -> bool {
        let lane = &mut self.lanes[lane];
        match lane.rows.front() {
            Some(front) if known && lane.behind => lane.pace.judge(front.row.time_ms, now),
            _ => lane.pace.rest(),
        }
        matches!((lane.rows.front(), lane.rows.get(1)), (Some(front), Some(next)) if lane.pace.merges(front, next))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// The row whose turn it is.
    pub fn front(&self, lane: LaneId) -> Option<&Queued> {
        self.lanes[lane].rows.front()
    }

    /// The front row, if it is this one.
    pub fn front_if(&self, lane: LaneId, seq: u64, place: Place) -> Option<&Queued> {
        self.front(lane).filter(|queued| queued.seq == seq && queued.place == place)
    }

    /// The row at the front or before its turn, if it is this one.
    pub fn sendable(&self, lane: LaneId, seq: u64, place: Place) -> Option<&Queued> {
        self.front_if(lane, seq, place).or_else(|| self.ahead(lane).find(seq, place))
    }

    /// Since when the front row has been waiting for its turn.
    pub fn front_since(&self, lane: LaneId) -> Option<Instant> {
        self.lanes[lane].front_since
    }

    /// Members of a record that may go as one pack.
    pub fn whole(&self, seq: u64) -> Option<&[(LaneId, Place)]> {
        self.whole.get(&seq).map(Vec::as_slice)
    }

    /// From now on the rows of this record go alone.
    pub fn break_up(&mut self, seq: u64) {
        self.whole.remove(&seq);
    }

    /// Takes the front row out. The account of its record is returned with the last row of it.
    pub fn pop(&mut self, id: LaneId, fate: Fate, now: Instant) -> Option<Settled> {
        let lane = &mut self.lanes[id];
        let queued = lane.rows.pop_front()?;
        lane.bytes -= queued.bytes;
        lane.pace.went(fate == Fate::Merged);
        lane.front_since = (!lane.rows.is_empty()).then_some(now);
        lane.settle_context(&mut self.sets);
        let device = lane.device.clone();
        let settled = lane.partial.get_or_insert(Settled {
            class: self.class,
            device,
            seq: queued.seq,
            samples: 0,
            fate: Fate::Acknowledged,
        });
        settled.samples += queued.row.samples;
        settled.fate = settled.fate.max(fate);
        if lane.rows.front().is_some_and(|next| next.seq == queued.seq) {
            return None;
        }
        lane.partial.take()
    }

    /// Bytes of all rows in memory.
    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }
}
