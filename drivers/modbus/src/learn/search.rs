//! One poll of a device, made so that a refused block loses no more than it has to. Pure.
//!
//! A refused block is halved, each half as narrow as its points, until a point stands alone: then the
//! point is to blame. When both halves are well and only the whole is not, something between them is:
//! ```text
//! a gap, which nobody wants      → asked with just its neighbours: refused is a hole
//! or the block is too long       → the longest front part of it that is well is searched,
//!                                  and the border asked with just its neighbours:
//!                                  well is a length, refused is a hole or a seam
//! ```
//! A block that was answered at that length before cannot be too long, so nothing is asked for it.
//!
//! Always true: every point of the plan is read once, or said to be bad once; the search ends, since
//! every request of it is for fewer points than one before it; a device that only fails
//! ([`Means::Failure`]) is not halved for longer than [`FAILURES`] requests.

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use super::found::{Found, Longest, Task, Verdict};
use super::found::{Role, Split};
use super::means::{Means, Met};
use crate::plan::{Block, Span};
use crate::point::address::Table;
use crate::wire::Exception;

/// Refused requests in a row, nothing answered in this poll, after which failing blocks are not halved.
const FAILURES: u32 = 12;
/// Silent blocks in one poll that are halved, because they are longer than any that was answered.
const SILENCES: u32 = 3;

/// Cells that every device was seen to answer in one read: no shorter one is worth to go before it.
const SHORT_CELLS: u16 = 8;

/// Silences in one poll that are put down to the cells, because others were answered in it.
const DUMB: u32 = 2;

/// One poll.
#[derive(Debug)]
pub(crate) struct Search {
    left: VecDeque<Task>,
    splits: Vec<Split>,
    pub(crate) longest: Longest,
    pub(crate) found: Vec<Found>,
    met: Met,
    /// What was answered.
    pub(crate) read: Vec<Arc<Block>>,
    /// What was not.
    pub(crate) unanswered: Vec<Arc<Block>>,
    /// The polls before had nothing but failures: one more is as good as silence.
    pub(crate) is_failing: bool,
    /// Refusals that say that the device cannot, whatever was asked.
    failures: u32,
    /// Anything else that was said.
    others: u32,
    answers: u32,
    refusals: u32,
    silences: u32,
    /// Of them, those that are put down to the cells.
    dumb: u32,
    /// The last of the long blocks that were silent, when the poll ended with it.
    mute: Option<(Table, u16)>,
}

impl Search {
    /// A poll of these blocks, and of `retries`: points that were left out. Once a device was silent, a
    /// short read goes before a long one, to tell who is not there from who answers no long ones. Never
    /// before the first: what it reads is not filed, and some values are gone when they were read.
    /// `quiet`: polls so far without an answer; after each the next begins elsewhere, as a device may be silent about
    /// a register that it does not have.
    pub(crate) fn new(
        plan: &[Arc<Block>],
        retries: &[Span],
        longest: Longest,
        met: Met,
        quiet: usize,
    ) -> Self {
        let task = |block: Arc<Block>| Task { block, role: Role::Plan { again: false } };
        let retries = retries.iter().map(|span| task(Arc::new(Block::of(&[*span]))));
        let mut left: VecDeque<Task> = plan.iter().cloned().map(task).chain(retries).collect();
        let turns = quiet % plan.len().max(1);
        left.rotate_left(turns.min(left.len()));
        let is_long = |block: &&Arc<Block>| block.spans.len() > 1 && (block.cells > SHORT_CELLS || quiet > 1);
        if let Some(first) = plan.get(turns).filter(|first| met == Met::Silent && is_long(first)) {
            left.push_front(Task {
                block: Arc::new(Block::of(&[first.spans[quiet % first.spans.len()]])),
                role: Role::Knock,
            });
        }
        Self {
            left,
            splits: Vec::new(),
            longest,
            found: Vec::new(),
            met,
            read: Vec::new(),
            unanswered: Vec::new(),
            is_failing: false,
            failures: 0,
            others: 0,
            answers: 0,
            refusals: 0,
            silences: 0,
            dumb: 0,
            mute: None,
        }
    }

    /// The next requests, at most `most`; each is to be [`heard`](Self::hear).
    pub(crate) fn take(&mut self, most: usize) -> Vec<Task> {
        let is_knock = |task: &Task| task.role == Role::Knock;
        let most = if self.left.front().is_some_and(is_knock) { 1 } else { most };
        self.left.drain(..most.min(self.left.len())).collect()
    }

    /// Takes requests back that were not made.
    pub(crate) fn put_back(&mut self, tasks: Vec<Task>) {
        self.left.extend(tasks);
    }

    /// Whether there is nothing more to ask.
    pub(crate) fn is_over(&self) -> bool {
        self.left.is_empty()
    }

    /// What is known of the device's being there.
    pub(crate) fn met(&self) -> Met {
        self.met
    }

    /// Whether long reads were not answered.
    pub(crate) fn has_silences(&self) -> bool {
        self.silences > 0 || self.dumb > 0 || self.mute.is_some()
    }

    /// A length that was not answered, nor were its parts: the poll ended with it.
    pub(crate) fn mute(&self) -> Option<(Table, u16)> {
        self.mute
    }

    /// Whether it said nothing but that it cannot.
    pub(crate) fn only_failed(&self) -> bool {
        self.failures > 0 && self.others == 0
    }

    /// Whether anything was answered with values in this poll.
    pub(crate) fn has_answers(&self) -> bool {
        self.answers > 0
    }

    /// Takes in what was said to a request. `bad` is told the points that have no value by it, and why.
    /// `Err`: the device is silent, and the poll fails.
    pub(crate) fn hear(
        &mut self,
        task: Task,
        verdict: Verdict,
        bad: &mut impl FnMut(&Block, String),
    ) -> Result<(), String> {
        self.met = self.met.after(matches!(verdict, Verdict::Silent(_)));
        match &verdict {
            Verdict::Refused(why) if matches!(Means::of(*why), Means::Failure | Means::Later) => {
                self.failures += 1;
                if self.is_failing && self.answers == 0 {
                    return Err(why.to_string());
                }
            }
            Verdict::Silent(_) => self.unanswered.push(task.block.clone()),
            _ => self.others += 1,
        }
        match verdict {
            Verdict::Answered => self.answered(&task),
            Verdict::Refused(why) => match Means::of(why) {
                Means::Silence => return Err(why.to_string()),
                Means::Cells | Means::Failure => self.refused(task, why, bad),
                Means::Later => self.put_off(task, why, bad),
                Means::No => self.gave_nothing(&task, why.to_string(), bad),
            },
            Verdict::Nonsense(reason) => self.gave_nothing(&task, reason, bad),
            Verdict::Silent(reason) => return self.silent(task, reason, bad),
        }
        Ok(())
    }

    fn answered(&mut self, task: &Task) {
        self.answers += 1;
        self.longest.note(task.block.table, task.block.cells);
        self.read.push(task.block.clone());
        if let ([span], true) = (&task.block.spans[..], task.is_filed()) {
            self.found.push(Found::Good(*span));
        }
        match task.role {
            Role::Plan { .. } | Role::Knock => {}
            Role::Half { split, right, .. } => {
                self.splits[split].fine[usize::from(right)] = true;
                if self.splits[split].fine == [true, true] {
                    self.blame(split);
                }
            }
            Role::Narrow { split } => self.measure(split),
            Role::Front { split, bad, .. } => {
                let fine = task.block.spans.len();
                self.narrow_down(split, fine, bad);
            }
            Role::Border { split, fine } => self.too_long(split, fine),
        }
    }

    fn refused(&mut self, task: Task, why: Exception, bad: &mut impl FnMut(&Block, String)) {
        self.refusals += 1;
        match task.role {
            Role::Knock => {}
            Role::Plan { .. } | Role::Half { .. } => self.halve(&task.block, Some(why), bad),
            Role::Narrow { split } => self.gap_is_bad(split, self.splits[split].cut, why),
            Role::Front { split, fine, .. } => self.narrow_down(split, fine, task.block.spans.len()),
            Role::Border { split, fine } => self.gap_is_bad(split, fine, why),
        }
    }

    /// Asked once more when everything else was asked.
    fn put_off(&mut self, mut task: Task, why: Exception, bad: &mut impl FnMut(&Block, String)) {
        match &mut task.role {
            Role::Plan { again } | Role::Half { again, .. } if !*again => {
                *again = true;
                self.left.push_back(task);
            }
            _ => self.gave_nothing(&task, why.to_string(), bad),
        }
    }

    fn gave_nothing(&mut self, task: &Task, reason: String, bad: &mut impl FnMut(&Block, String)) {
        if task.is_filed() {
            bad(&task.block, reason);
        }
    }

    /// Silence is the device's, unless it answers and was only asked for more than ever before.
    fn silent(
        &mut self,
        task: Task,
        reason: String,
        bad: &mut impl FnMut(&Block, String),
    ) -> Result<(), String> {
        let is_long = task.block.spans.len() > 1
            && self.met == Met::Yes
            && task.block.cells > self.longest.of(task.block.table);
        if task.is_filed() && !is_long && self.answers > 0 && self.dumb < DUMB {
            self.dumb += 1;
            self.put_down(&task, reason, bad);
            return Ok(());
        }
        if !task.is_filed() || !is_long {
            return Err(reason);
        }
        if self.silences >= SILENCES {
            self.mute = Some((task.block.table, task.block.cells));
            return Err(reason);
        }
        self.silences += 1;
        self.halve(&task.block, None, bad);
        Ok(())
    }

    /// Puts a silence down to the cells: others are answered. Each such one costs a timeout, so where a
    /// half is silent as well, only the next polls search on.
    fn put_down(&mut self, task: &Task, reason: String, bad: &mut impl FnMut(&Block, String)) {
        let table = task.block.table;
        if let [span] = task.block.spans[..] {
            self.found.push(Found::Dumb(span));
        }
        let whole = match task.role {
            Role::Half { split, .. } => self.splits.get(split).filter(|split| split.why.is_none()),
            _ => None,
        };
        let halves = task.block.halves();
        if let Some(whole) = whole {
            self.found.push(Found::Part(table, whole.spans[whole.cut].address));
            self.found.extend(halves.iter().map(|(_, right)| Found::Part(table, right.address)));
        } else if halves.is_some() {
            return self.halve(&task.block, None, bad);
        }
        bad(&task.block, reason);
    }

    /// Asks a block again in halves, or finds the one point to be bad.
    fn halve(&mut self, block: &Arc<Block>, why: Option<Exception>, bad: &mut impl FnMut(&Block, String)) {
        let only_fails = why.is_some_and(|why| Means::of(why) == Means::Failure)
            && self.answers == 0
            && self.refusals >= FAILURES;
        let Some((left, right)) = block.halves().filter(|_| !only_fails) else {
            let reason = why.map_or_else(|| "no answer".to_owned(), |why| why.to_string());
            if let ([span], Some(why)) = (&block.spans[..], why) {
                self.found.push(Found::Bad(*span, why));
            }
            bad(block, reason);
            return;
        };
        let split = self.splits.len();
        let spans = block.outer();
        self.splits.push(Split { table: block.table, cut: spans.len() / 2, spans, fine: [false; 2], why });
        for (half, right) in [(right, true), (left, false)] {
            let half = Arc::new(half);
            if (half.address, half.cells) == (block.address, block.cells) {
                // The same cells again: the answer is known.
                self.halve(&half, why, bad);
            } else {
                self.left.push_front(Task { block: half, role: Role::Half { split, right, again: false } });
            }
        }
    }

    /// Both halves are well and the whole was not.
    fn blame(&mut self, split: usize) {
        let Split { table, cut, why, .. } = self.splits[split];
        let cells = self.front(split, self.splits[split].spans.len()).cells;
        let Some(why) = why else {
            if cells > self.longest.of(table) {
                self.found.push(Found::Mute(table));
            }
            return;
        };
        let explained =
            |found: &Found| matches!(found, Found::Most(of, most) if *of == table && *most < cells);
        if self.found.iter().any(explained) {
            return;
        }
        let narrow = self.border(split, cut);
        if !self.has_gap(split, cut) {
            if cells <= self.longest.of(table) {
                self.gap_is_bad(split, cut, why)
            } else {
                self.measure(split)
            }
        } else if cells <= self.longest.of(table) || narrow.cells == cells {
            self.gap_is_bad(split, cut, why);
        } else {
            self.left.push_front(Task { block: Arc::new(narrow), role: Role::Narrow { split } });
        }
    }

    /// Searches the longest front part that is answered; all its cells are well.
    fn measure(&mut self, split: usize) {
        let (fine, bad) = (self.splits[split].cut, self.splits[split].spans.len());
        self.narrow_down(split, fine, bad);
    }

    fn narrow_down(&mut self, split: usize, fine: usize, bad: usize) {
        if bad - fine > 1 {
            let front = self.front(split, fine + (bad - fine) / 2);
            self.left.push_front(Task { block: Arc::new(front), role: Role::Front { split, fine, bad } });
            return;
        }
        let border = self.border(split, fine);
        if border.cells < self.front(split, bad).cells {
            self.left.push_front(Task { block: Arc::new(border), role: Role::Border { split, fine } });
        } else {
            self.too_long(split, fine);
        }
    }

    fn too_long(&mut self, split: usize, fine: usize) {
        let Split { table, why, .. } = self.splits[split];
        let most = self.front(split, fine).cells.max(self.longest.of(table));
        match why {
            // Answered at that length elsewhere: then it is this border after all.
            Some(why) if most >= self.front(split, fine + 1).cells => self.gap_is_bad(split, fine, why),
            _ => self.found.push(Found::Most(table, most)),
        }
    }

    /// What lies between the first points of a split block and the next one must not be read across.
    fn gap_is_bad(&mut self, split: usize, fine: usize, why: Exception) {
        let Split { table, ref spans, .. } = self.splits[split];
        let (before, next) = (spans[fine - 1].last(), spans[fine].address);
        self.found.push(match self.has_gap(split, fine) {
            true => Found::Gap((table, before + 1, next - 1), why),
            false => Found::Seam(table, next),
        });
    }

    /// Whether cells lie between the first points of a split block and the next one.
    fn has_gap(&self, split: usize, fine: usize) -> bool {
        let spans = &self.splits[split].spans;
        u32::from(spans[fine].address) > u32::from(spans[fine - 1].last()) + 1
    }

    /// The first points of a split block.
    fn front(&self, split: usize, points: usize) -> Block {
        Block::of(&self.splits[split].spans[..points])
    }

    /// The last of the first points, and the next one.
    fn border(&self, split: usize, fine: usize) -> Block {
        Block::of(&self.splits[split].spans[fine - 1..=fine])
    }
}
