//! Rows read from the buffer and not yet settled, one lane per device, bounded.
//!
//! A lane that is full *falls behind*: its further rows are not kept but read again later, so that a
//! slow or unknown device costs the others nothing. Two readers fill the lanes:
//!
//! ```text
//! live   walks once to the head of the buffer; feeds every lane that is not behind, never waits
//! lap    walks from where one lane fell behind; feeds the lanes behind that it can serve in order,
//!        pauses when that lane is full, ends when it reaches `live`: then its lanes are not behind any more
//! ```
//!
//! Always true: `taken` is the first record whose rows a lane has not handled, so no row is taken
//! twice or left out; a lap serves only lanes that were behind when it began, and whose `taken` it walks over; memory is at most
//! [`READ_AHEAD_BYTES`] plus two rows per device.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use super::peers::{SELF, set_of};
use crate::pipeline::handle::{Fate, Settled};
use crate::pipeline::record::Damaged;
use crate::row::{Identity, Row};

/// Bytes of rows kept for all devices together; each has an equal share, and room for two rows at least.
pub const READ_AHEAD_BYTES: usize = 4 * 1024 * 1024;
/// Rows kept per device at most.
pub const READ_AHEAD_ROWS: usize = 256;

/// Index of a lane.
pub type LaneId = usize;

/// Index of a row in its record, and of its part where a row had to be taken apart.
pub type Place = (u32, u32);

/// A row in a lane.
#[derive(Debug, Clone)]
pub struct Queued {
    /// Its record.
    pub seq: u64,
    /// Its place in the record.
    pub place: Place,
    /// What to send.
    pub row: Arc<Row>,
    /// Index of the key it is sent under.
    pub peer: usize,
    /// Fingerprint of the property set it says.
    pub set: Option<u64>,
    /// It could not be rebuilt: only device and samples are known, and it is settled without being sent.
    pub damaged: bool,
    bytes: usize,
}

impl Queued {
    /// Nothing to say: settled without being sent.
    pub fn is_empty(&self) -> bool {
        self.row.cells.is_empty() && self.row.events.is_empty()
    }

    /// How it ends if it has nothing to say.
    pub fn unsaid(&self) -> Option<Fate> {
        let fate = if self.damaged { Fate::Damaged } else { Fate::Acknowledged };
        self.is_empty().then_some(fate)
    }
}

/// A row as it was read, or what is left of it.
#[derive(Debug)]
pub enum Offered {
    /// To be sent.
    Row(Row),
    /// To be settled in its turn.
    Damaged(Damaged),
}

impl Offered {
    fn device(&self) -> &Arc<str> {
        match self {
            Self::Row(row) => &row.device,
            Self::Damaged(row) => &row.device,
        }
    }
}

/// Keeps the place of a row that cannot be rebuilt.
fn blank(damaged: Damaged) -> Row {
    Row {
        device: damaged.device,
        identity: Identity { product_key: "".into(), device_key: "".into() },
        time_ms: 0,
        cells: Vec::new(),
        events: Vec::new(),
        samples: damaged.samples,
    }
}

#[derive(Debug)]
struct Lane {
    device: Arc<str>,
    rows: VecDeque<Queued>,
    bytes: usize,
    taken: u64,
    behind: bool,
    /// It fell behind (again) since the running lap began, and has to wait for another one.
    left_lap: bool,
    /// Last row with cells that was taken: what the records after it refer to.
    context: Option<Arc<Row>>,
    /// When its first row came to the front.
    front_since: Option<Instant>,
    /// Rows of the front record that are done, waiting for the others of the same record.
    partial: Option<Settled>,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reader {
    /// The one that walks to the head.
    Live,
    /// The one that reads again, since this record.
    Lap {
        /// Where it began.
        start: u64,
    },
}

/// All lanes.
#[derive(Debug)]
pub struct Lanes {
    budget: usize,
    lanes: Vec<Lane>,
    by_device: HashMap<Arc<str>, LaneId>,
    /// Records all of whose rows are in the lanes and may go as one pack.
    whole: BTreeMap<u64, Vec<(LaneId, Place)>>,
    next_lap: LaneId,
}

impl Lanes {
    /// None yet; together they keep `budget` bytes of rows.
    pub fn new(budget: usize) -> Self {
        Self { budget, lanes: Vec::new(), by_device: HashMap::new(), whole: BTreeMap::new(), next_lap: 0 }
    }

    /// A lane for a device whose rows below `taken` are settled.
    pub fn add(&mut self, device: Arc<str>, taken: u64) -> LaneId {
        if let Some(id) = self.by_device.get(&device) {
            return *id;
        }
        let lane = Lane {
            device: device.clone(),
            rows: VecDeque::new(),
            bytes: 0,
            taken,
            behind: false,
            left_lap: false,
            context: None,
            front_since: None,
            partial: None,
        };
        self.lanes.push(lane);
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
        for ((place, offered), lane) in rows.into_iter().zip(&lanes) {
            let (row, damaged) = match offered {
                Offered::Row(row) => (Arc::new(row), false),
                Offered::Damaged(row) => (Arc::new(blank(row)), true),
            };
            if !accepted(*lane) {
                self.note_context(*lane, reader, seq, row);
                complete = false;
                continue;
            }
            // one that is not sent has no key; it is gone before anybody asks
            let peer = if damaged { SELF } else { peer(&row) };
            let (set, bytes) = (set_of(&row), footprint(&row));
            let queued = Queued { seq, place, row, peer, set, damaged, bytes };
            if !queued.is_empty() {
                members.push((*lane, queued.place));
            }
            self.lanes[*lane].push(queued, now);
        }
        if complete && members.len() > 1 {
            self.whole.insert(seq, members);
        }
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

    /// A settled row is still what the next one refers to.
    fn note_context(&mut self, lane: LaneId, reader: Reader, seq: u64, row: Arc<Row>) {
        let lane = &mut self.lanes[lane];
        if reader == Reader::Live && !lane.behind && seq < lane.taken && !row.cells.is_empty() {
            lane.context = Some(row);
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
        let behind = self.lanes.iter().filter(|lane| lane.behind);
        behind
            .filter_map(|lane| lane.context.as_deref())
            .map(|row| Row { events: Vec::new(), ..row.clone() })
            .collect()
    }

    /// The lap has reached the live reader: whom it served is not behind any more.
    pub fn end_lap(&mut self, start: u64) {
        for lane in self.lanes.iter_mut().filter(|lane| lane.served_by(Reader::Lap { start })) {
            lane.behind = false;
        }
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
        lane.front_since = (!lane.rows.is_empty()).then_some(now);
        let device = lane.device.clone();
        let settled = lane.partial.get_or_insert(Settled {
            device,
            seq: queued.seq,
            samples: 0,
            fate: Fate::Acknowledged,
        });
        settled.samples += queued.row.samples;
        if fate != Fate::Acknowledged && settled.fate != Fate::Parked {
            settled.fate = fate;
        }
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

impl Lane {
    fn push(&mut self, queued: Queued, now: Instant) {
        if !queued.row.cells.is_empty() {
            self.context = Some(queued.row.clone());
        }
        self.bytes += queued.bytes;
        self.front_since.get_or_insert(now);
        self.rows.push_back(queued);
    }

    fn served_by(&self, reader: Reader) -> bool {
        match reader {
            Reader::Live => !self.behind,
            Reader::Lap { start } => self.behind && !self.left_lap && self.taken >= start,
        }
    }

    fn full(&self, share: usize) -> bool {
        self.rows.len() >= READ_AHEAD_ROWS || (self.rows.len() >= 2 && self.bytes >= share)
    }

    fn has_room(&self, share: usize) -> bool {
        self.rows.len() < 2 || (self.rows.len() <= READ_AHEAD_ROWS / 2 && self.bytes <= share / 2)
    }
}

/// What a row takes in memory, about.
fn footprint(row: &Row) -> usize {
    use crate::row::Value;
    let heap = |value: &Value| match value {
        Value::Text(text) | Value::Json(text) => text.len(),
        Value::Bytes(bytes) => bytes.len(),
        _ => 0,
    };
    let cells: usize = row.cells.iter().map(|cell| size_of_val(cell) + heap(&cell.value)).sum();
    let events: usize = row.events.iter().map(|event| event.name.len() + event.value.len() + 64).sum();
    size_of::<Row>() + size_of::<Queued>() + cells + events
}
