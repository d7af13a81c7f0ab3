//! Rows that are settled without a message.
//!
//! Always true: it is the front row of its lane, and no message with it is under way; a row that cannot be
//! rebuilt is told.

use std::time::Instant;

use super::queued::Queued;
use super::{Flight, LaneId, Note};
use crate::class::Class;
use crate::pipeline::handle::Fate;

impl Flight {
    /// Rows with nothing to say, that were said already or that a newer one stands for need no answer.
    /// `true`: there were some.
    pub(super) fn settle_the_unsaid(&mut self, class: Class, lane: LaneId, now: Instant) -> bool {
        let mut lost: Option<Note> = None;
        let mut any = false;
        while let Some(front) = self.lanes[class].front(lane) {
            let (seq, unsaid, busy) = (front.seq, front.unsaid(), self.peers.get(front.peer).busy);
            let known = self.peers.is_known(front.peer, now);
            if unsaid == Some(Fate::Damaged) {
                lost = Some(damaged(lost, front));
            }
            let fate = match unsaid {
                Some(fate) => fate,
                // it may be this row that is on its way
                None if busy => break,
                None if self.lanes[class].front_was_said(lane) => Fate::Acknowledged,
                None if self.lanes[class].merges(lane, known, now) => Fate::Merged,
                None => break,
            };
            if unsaid.is_none() {
                self.lanes[class].break_up(seq);
            }
            self.settle(class, lane, fate, now);
            any = true;
        }
        self.notes.extend(lost);
        any
    }
}

/// One note for all that are met together.
fn damaged(before: Option<Note>, row: &Queued) -> Note {
    let (first_seq, samples) = match before {
        Some(Note::Damaged { first_seq, samples, .. }) => (first_seq, samples),
        _ => (row.seq, 0),
    };
    let (device, samples) = (row.row.device.clone(), samples + u64::from(row.row.samples));
    Note::Damaged { device, first_seq, last_seq: row.seq, samples }
}
