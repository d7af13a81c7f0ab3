//! The newest row of a device before those that wait since an outage (`drain = "live-first"`).
//!
//! ```text
//! waiting, on disk and in the lane    1 2 3 4 5 6 … 997 998 999
//! said in order, and so settled       1 2 3 ▸
//! said before its turn                              ◂ 998
//! ```
//!
//! What was acknowledged before its turn is remembered as ranges of records and settled, without being
//! sent again, when its turn comes: rows of a device are settled in order whatever is sent first. The
//! pipeline keeps the ranges with its account, so that they are known after a restart, too; after a kill
//! what was said since they were last written is said once more, with the same id and bytes.
//!
//! What waits since before the platform answered rests for [`REST`] after each answer: a row of the device
//! that comes meanwhile finds nothing on its way that it would have to wait for.
//!
//! What a reader of the platform's table sees: rows stand in the order in which they arrived, and an old
//! row after a newer one carries its old times in every cell. Whoever wants the history in order sorts by
//! the times of the cells; whoever wants the newest value takes the newest time, not the newest row.
//!
//! Always true: only rows that were stored after the platform began to answer are said before their turn,
//! one at a time, and in turn with those that wait and do not rest; a range covers no row that was not
//! acknowledged; there are at most [`MAX_RANGES`] per device.

use std::collections::{BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::lanes::{LaneId, Lanes};
use super::queued::{Place, Queued};
use super::{Flight, MAX_ROW_BYTES, Plan, Unit};
use crate::class::Class;
use crate::config::types::Drain;
use crate::pipeline::book::ahead::{MAX_RANGES, Range};

/// Between the answer to a row that waits since an outage and the next one of its device, half of it more or
/// less so that devices do not speak all at once: some 30 rows a second of each device at most, or the
/// [`RESTS`]th part of the time in which a new one comes, if that is less.
pub const REST: Duration = Duration::from_millis(30);
/// Rests within the time in which a new row comes: what waits goes out more than twenty times as fast as it came.
const RESTS: u32 = 32;

/// What one lane says before its turn.
#[derive(Debug, Default)]
pub struct Ahead {
    newest: Option<Queued>,
    flying: Option<Queued>,
    /// Rising.
    said: VecDeque<Range>,
    /// Newest record with a row that was not said before its turn.
    left: u64,
    /// The last row sent was one of these; it is the turn of those that wait.
    had_its_turn: bool,
}

impl Ahead {
    /// A row stored just now. `waits`: others of its device are before it, and it can go alone.
    pub fn offer(&mut self, row: Queued, waits: bool) {
        let left = if waits { self.newest.replace(row) } else { Some(row) };
        self.leave(left);
    }

    /// It will be said in its turn.
    fn leave(&mut self, row: Option<Queued>) {
        self.leave_to(row.map_or(0, |row| row.seq));
    }

    /// What is unanswered up to this record will be said in its turn.
    pub fn leave_to(&mut self, seq: u64) {
        self.left = self.left.max(seq);
    }

    /// The row to be said, or under way, if it is this one.
    pub fn find(&self, seq: u64, place: Place) -> Option<&Queued> {
        [&self.newest, &self.flying].into_iter().flatten().find(|row| (row.seq, row.place) == (seq, place))
    }

    /// The one under way was not answered in time: it will be said in its turn.
    fn failed(&mut self) {
        let row = self.flying.take();
        self.leave(row);
    }

    /// Returns the newest range, as it is now.
    fn answered(&mut self) -> Option<Range> {
        let row = self.flying.take()?;
        match self.said.back_mut() {
            Some((_, last)) if self.left <= *last => *last = row.seq,
            _ => self.said.push_back((row.seq, row.seq)),
        }
        self.said.back().copied()
    }

    /// What was said before the start.
    pub fn was_said(&mut self, ranges: &[Range]) {
        self.said = ranges.iter().copied().collect();
    }
}

impl Lanes {
    /// The row to be said before its turn now, if the device has one.
    pub fn next_ahead(&mut self, lane: LaneId) -> Option<&Queued> {
        let front = self.front(lane).map(|front| front.seq);
        let ahead = self.ahead_mut(lane);
        if let Some(newest) = ahead.newest.take_if(|newest| front.is_some_and(|seq| newest.seq <= seq)) {
            ahead.leave(Some(newest));
        }
        let one_at_a_time = ahead.flying.is_none() && ahead.said.len() < MAX_RANGES;
        ahead.newest.as_ref().filter(|_| one_at_a_time)
    }

    /// Whether it is the turn of those that wait.
    pub fn ahead_had_its_turn(&self, lane: LaneId) -> bool {
        self.ahead(lane).had_its_turn
    }

    /// Whether rows of the device go before their turn, so that nobody waits for it to fill a pack.
    pub fn hurries(&self, lane: LaneId) -> bool {
        let ahead = self.ahead(lane);
        ahead.newest.is_some() || ahead.flying.is_some()
    }

    /// A row of the device is sent: the newest one before its turn, or the front one in its turn.
    pub fn takes_turn(&mut self, lane: LaneId, before_its_turn: bool) {
        let ahead = self.ahead_mut(lane);
        ahead.had_its_turn = before_its_turn;
        if before_its_turn {
            ahead.flying = ahead.newest.take();
        }
    }

    /// The front row waits since before the platform answered, and what is new goes before it.
    fn gives_way(&self, lane: LaneId) -> bool {
        let waits = |front: &Queued| self.fresh_from.is_none_or(|fresh| front.seq < fresh);
        self.drain == Drain::LiveFirst && self.front(lane).is_some_and(waits)
    }

    /// The front row was answered in its turn: the next one rests so many times [`REST`], if it gives way at all.
    pub fn rest(&mut self, lane: LaneId, times: f64, now: Instant) {
        if self.gives_way(lane) {
            let lane = &mut self.lanes[lane];
            let rest = lane.pace.period().map_or(REST, |period| REST.min(period / RESTS));
            lane.rests_until = Some(now + rest.mul_f64(times));
        }
    }

    /// How long the front row rests.
    pub fn rests_until(&self, lane: LaneId) -> Option<Instant> {
        self.lanes[lane].rests_until.filter(|_| self.gives_way(lane))
    }

    /// It was answered. Returns the newest range, as it is now.
    pub fn ahead_answered(&mut self, lane: LaneId) -> Option<Range> {
        self.ahead_mut(lane).answered()
    }

    /// It was not.
    pub fn ahead_failed(&mut self, lane: LaneId) {
        self.ahead_mut(lane).failed();
    }

    /// The front row was acknowledged before its turn. Forgets what is behind it.
    pub fn front_was_said(&mut self, lane: LaneId) -> bool {
        let Some(seq) = self.front(lane).map(|front| front.seq) else { return false };
        let said = &mut self.ahead_mut(lane).said;
        while said.front().is_some_and(|(_, last)| *last < seq) {
            said.pop_front();
        }
        said.front().is_some_and(|(first, _)| *first <= seq)
    }

    /// Where the live reader reads next, and the end of the buffer.
    pub fn walks(&mut self, next: u64, head: u64) {
        self.walked = next;
        if self.fresh_from.is_none() {
            (self.fresh_from, self.shown) = (Some(head), 0);
            for lane in 0..self.len() {
                self.ahead_mut(lane).leave_to(head.saturating_sub(1));
            }
        }
    }

    /// What is new from where on, if it goes before its turn.
    pub fn hurries_from(&self) -> Option<u64> {
        self.fresh_from.filter(|_| self.drain == Drain::LiveFirst)
    }

    /// Nothing goes before its turn any more until the platform answers again; what is stored from then on
    /// is new. One that is under way keeps its time to be answered in.
    pub fn stop_hurrying(&mut self) {
        self.fresh_from = None;
        for lane in 0..self.len() {
            let ahead = self.ahead_mut(lane);
            let newest = ahead.newest.take();
            ahead.leave(newest);
        }
    }
}

impl Flight {
    /// Whether the device has a row that can go before its turn now.
    pub(super) fn may_hurry(
        &mut self,
        class: Class,
        lane: LaneId,
        now: Instant,
        wanted: &mut BTreeSet<usize>,
        plan: &mut Plan,
    ) -> bool {
        let newest = self.lanes[class].next_ahead(lane);
        let Some((peer, set)) = newest.map(|newest| (newest.peer, newest.set)) else { return false };
        if !self.peers.is_known(peer, now) {
            wanted.insert(peer);
            return false;
        }
        let ready_at = self.peers.ready_at(peer, set).filter(|at| *at > now);
        ready_at.iter().for_each(|at| plan.wake_at(*at));
        ready_at.is_none() && !self.peers.get(peer).busy
    }

    /// Newest rows of devices that have older ones waiting.
    pub(super) fn send_ahead(&mut self, class: Class, lanes: Vec<LaneId>, now: Instant, plan: &mut Plan) {
        for lane in lanes {
            let newest = self.lanes[class].next_ahead(lane);
            let Some((seq, place)) = newest.map(|row| (row.seq, row.place)) else { continue };
            if !self.has_place(self.in_flight()) || !plan.has_room() {
                return;
            }
            let (unit, members) = (Unit { class, seq, place: Some(place) }, [(lane, place)]);
            let Some(built) = self.build(unit, &members) else { continue };
            if built.outgoing.payload.len() > MAX_ROW_BYTES {
                // parked in its turn
                self.lanes[class].takes_turn(lane, true);
                self.lanes[class].ahead_failed(lane);
                continue;
            }
            self.lanes[class].break_up(seq);
            self.put_on_wire(unit, &members, built.reply, true, now);
            self.say(&members, unit, built.losses, built.outgoing, plan);
        }
    }
}
