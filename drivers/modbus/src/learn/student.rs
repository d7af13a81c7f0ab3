//! One device as its line knows it: what was learned of it, and the plans made with that. Pure.
//!
//! Always true: a plan is made anew only when a lesson or the measured turnaround changed; a point that
//! is left out is said to be bad when it is left out and every [`REMIND`]; where a poll has nothing else
//! to ask, it asks a point that was left out, so that it never calls a device well that nobody asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::doubts::{About, Doubts};
use super::heard::Heard;
use super::lesson::{Lesson, MOST_SEAMS, RETRY_MOST, jittered};
use super::means::{Means, Met};
use super::search::{Found, Longest, Search};
use crate::device::{Device, PlannedPoll};
use crate::plan::{Block, Cost, Span, plan};
use crate::point::address::Table;
use crate::wire::Exception;

/// A point that is left out is said to be bad again after this.
pub(crate) const REMIND: Duration = Duration::from_secs(60);
/// Polls in which a long read was not answered and its halves were, before it counts as too long.
const MUTE_POLLS: u32 = 3;
/// Times that long reads are tried again when short ones were answered.
const TRIALS: u32 = 2;
/// Polls with nothing but failures, after which such a device counts as silent: it may be a gateway that
/// says so of a device that is not there.
const FAILED_POLLS: u32 = 2;
/// Points that were left out and are asked again in one poll.
const RETRIES: usize = 16;
/// Plans are made anew when the turnaround changed by more than this, and by a quarter.
const TURNAROUND_STEP: Duration = Duration::from_micros(500);

/// Why a point is left out that is not answered at all: no device says that.
pub(super) const SILENCE: Exception = Exception(0);

/// What is said of a point that the model has in a hole.
const IN_HOLE: &str = "is in a hole of its model, which is never read";

/// What a line knows of a device.
#[derive(Debug)]
pub(crate) struct Student {
    pub(crate) fingerprint: u64,
    pub(crate) lesson: Lesson,
    /// What was found out has not been kept yet.
    pub(crate) is_news: bool,
    /// Since this program began.
    met: Met,
    longest: Longest,
    mute: Vec<(Table, u32)>,
    trial: Option<Trial>,
    /// Trials that went well.
    trials: u32,
    doubts: Doubts,
    heard: Heard,
    /// Polls without any answer since this program began.
    quiet: usize,
    /// Polls in a row with nothing but failures.
    failed: u32,
    /// Where reads are parted to find a point that is not answered.
    parts: Vec<(Table, u16)>,
    retrial: Retrial,
    turnaround: Duration,
    polls: Vec<Plan>,
    rolls: u64,
}

/// Shorter reads for a while, because long ones and their parts were not answered.
#[derive(Debug, Clone, Copy)]
struct Trial {
    table: Table,
    cells: u16,
    /// Polls that were answered since.
    good: u32,
}

/// Gaps, seams and lengths are tried again, one at each [`RETRY_MOST`].
#[derive(Debug, Default)]
struct Retrial {
    /// When the next one is, by poll.
    at: BTreeMap<usize, Instant>,
    /// The table of which this poll tries longer reads.
    longer: Option<Table>,
    /// Where to go on in the list of them.
    turn: usize,
    /// Tables of which a longer read was not answered at all: that costs too much to try again.
    silent: Vec<Table>,
}

/// The reads of one rate, and what is not in them.
#[derive(Debug, Default)]
struct Plan {
    blocks: Vec<Arc<Block>>,
    left_out: Vec<Span>,
    /// In holes of the model.
    never: Vec<Span>,
    reminded: Option<Instant>,
}

impl Student {
    pub(crate) fn new(device: &Device, lesson: Lesson) -> Self {
        let mut student = Self {
            fingerprint: device.fingerprint,
            lesson,
            is_news: false,
            met: Met::Unknown,
            longest: Longest::default(),
            mute: Vec::new(),
            trial: None,
            trials: 0,
            doubts: Doubts::default(),
            heard: Heard::default(),
            quiet: 0,
            failed: 0,
            parts: Vec::new(),
            retrial: Retrial::default(),
            turnaround: Duration::ZERO,
            polls: Vec::new(),
            rolls: device.fingerprint,
        };
        student.plan(device);
        student
    }

    /// Takes in what was kept earlier and came late.
    pub(crate) fn take_up(&mut self, device: &Device, kept: Lesson) {
        let had_learned = self.lesson != Lesson::default();
        self.lesson.merge(kept);
        self.is_news |= had_learned;
        self.plan(device);
    }

    /// Makes the plans of all polls.
    fn plan(&mut self, device: &Device) {
        let plan = |(place, poll): (usize, &PlannedPoll)| {
            let (never, spans): (Vec<Span>, Vec<Span>) =
                poll.spans.iter().partition(|span| device.is_in_hole(span));
            let (blocks, left_out) = self.blocks(device, &spans, &self.lesson);
            // Nearly always those that devices which are alike have in common.
            let known = |block| poll.blocks.iter().find(|known| **known == block).cloned().unwrap_or(block);
            Plan {
                blocks: blocks.into_iter().map(known).collect(),
                left_out,
                never,
                reminded: self.polls.get(place).and_then(|before| before.reminded),
            }
        };
        self.polls = device.polls.iter().enumerate().map(plan).collect();
    }

    fn blocks(&self, device: &Device, spans: &[Span], lesson: &Lesson) -> (Vec<Arc<Block>>, Vec<Span>) {
        let (left_out, read): (Vec<Span>, Vec<Span>) =
            spans.iter().partition(|span| lesson.refusal(span).is_some());
        let mut limits = lesson.limits(&device.limits);
        limits.seams.extend(&self.parts);
        limits.most.extend(self.trial.map(|trial| (trial.table, trial.cells)));
        let blocks = plan(read, &limits, &self.cost(device));
        (blocks.into_iter().map(Arc::new).collect(), left_out)
    }

    /// What a request to this device costs, as far as it was measured.
    pub(crate) fn cost(&self, device: &Device) -> Cost {
        device.cost.with_turnaround(self.turnaround)
    }

    /// The reads of a poll as they are made now.
    pub(crate) fn reads(&self, poll: usize) -> &[Arc<Block>] {
        self.polls.get(poll).map_or(&[], |plan| &plan.blocks)
    }

    /// Begins a poll. `bad` is told the points that are left out of it when it is time to say so.
    pub(crate) fn poll(
        &mut self,
        device: &Device,
        poll: usize,
        now: Instant,
        bad: &mut impl FnMut(&Span, String),
    ) -> Search {
        let met = self.met;
        let trial = self.retrial(device, poll, now);
        let Some(plan) = self.polls.get_mut(poll) else {
            return Search::new(&[], &[], Longest::default(), met, 0);
        };
        let is_due = |span: &&Span| self.lesson.is_due(span, now);
        let mut retries: Vec<Span> = plan.left_out.iter().filter(is_due).take(RETRIES).copied().collect();
        if retries.is_empty() && plan.blocks.is_empty() && !plan.left_out.is_empty() {
            retries.push(plan.left_out[self.rolls as usize % plan.left_out.len()]);
            self.rolls = self.rolls.wrapping_add(1);
        }
        if plan.reminded.is_none_or(|at| now.saturating_duration_since(at) >= REMIND) {
            plan.reminded = Some(now);
            plan.never.iter().for_each(|span| bad(span, IN_HOLE.to_owned()));
            for span in plan.left_out.iter().filter(|span| !retries.contains(span)) {
                if let Some(why) = self.lesson.refusal(span) {
                    bad(span, format!("left out, the device refused it: {why}"));
                }
            }
        }
        let blocks = trial.as_ref().unwrap_or(&plan.blocks);
        let mut search = Search::new(blocks, &retries, self.longest.clone(), met, self.quiet);
        search.is_failing = self.failed >= FAILED_POLLS;
        search
    }

    /// The reads of a poll without one thing that was learned, when it is time for that.
    fn retrial(&mut self, device: &Device, poll: usize, now: Instant) -> Option<Vec<Arc<Block>>> {
        self.retrial.longer = None;
        let roll = self.roll();
        let next = now + jittered(RETRY_MOST, roll);
        let at = self.retrial.at.entry(poll).or_insert(next);
        let plan = self.polls.get(poll).filter(|_| *at <= now && self.met == Met::Yes)?;
        *at = next;
        self.parts.clear();
        let all = self.lesson.trials();
        let spans: Vec<Span> = plan.blocks.iter().flat_map(|block| block.spans.clone()).collect();
        for turn in 0..all.len() {
            let about = all[(self.retrial.turn + turn) % all.len()];
            let silent = |most: &About| self.retrial.silent.contains(&most.table());
            let is_most = |one: &About| matches!(one, About::Most(..)) && !silent(one);
            if matches!(about, About::Most(..)) && !is_most(&about) {
                continue;
            }
            // A gap may make no difference but together with the length.
            let most = all.iter().find(|one| is_most(one) && one.table() == about.table());
            let mut without = self.lesson.clone();
            for dropped in [Some(&about), most].into_iter().flatten() {
                without.drop(*dropped);
                let (blocks, _) = self.blocks(device, &spans, &without);
                if blocks != plan.blocks {
                    self.retrial.longer = most.filter(|most| *most == dropped).map(|most| most.table());
                    self.retrial.turn += turn + 1;
                    return Some(blocks);
                }
            }
        }
        // Nothing that this poll could show; another one may.
        None
    }

    /// Begins a read of just these points; those left out are asked alone. `bad` as for a poll.
    pub(crate) fn read(
        &self,
        device: &Device,
        points: &[usize],
        bad: &mut impl FnMut(&Span, String),
    ) -> Search {
        let (never, spans): (Vec<Span>, Vec<Span>) =
            device.spans(points).into_iter().partition(|span| device.is_in_hole(span));
        never.iter().for_each(|span| bad(span, IN_HOLE.to_owned()));
        let (blocks, left_out) = self.blocks(device, &spans, &self.lesson);
        Search::new(&blocks, &left_out, self.longest.clone(), self.met, self.quiet)
    }

    /// Takes in what a poll or read found out. True when the plans were made anew.
    pub(crate) fn learn(&mut self, device: &Device, search: Search, now: Instant) -> bool {
        let answered = search.has_answers();
        let mut changed = self.lesson.refute(&search.read);
        self.doubts.refute(&search.read);
        let noisy = search.unanswered.iter().any(|read| self.heard.has(read));
        search.read.iter().for_each(|read| self.heard.note(read));
        if noisy {
            self.lesson.doubt_silences(now);
        }
        match self.retrial.longer.take() {
            Some(table) if search.has_silences() => self.retrial.silent.push(table),
            _ => changed |= self.tries(&search),
        }
        self.met = search.met();
        self.failed = if search.only_failed() { self.failed.saturating_add(1) } else { 0 };
        self.quiet = self.quiet.wrapping_add(usize::from(!answered));
        self.longest = search.longest;
        for found in search.found {
            changed |= match found {
                Found::Good(span) => self.lesson.take_in(&span, now),
                Found::Bad(span, why) => {
                    let only_fails = Means::of(why) == Means::Failure && !answered;
                    let is_known = self.lesson.refusal(&span).is_some();
                    let roll = self.roll();
                    !only_fails
                        && (is_known || self.doubts.confirm(&found, false))
                        && self.lesson.leave_out(&span, why, now, roll)
                }
                Found::Part(table, at) => {
                    let is_new = self.parts.len() < MOST_SEAMS && !self.parts.contains(&(table, at));
                    self.parts.extend(is_new.then_some((table, at)));
                    is_new
                }
                Found::Dumb(span) => {
                    let is_known = self.lesson.refusal(&span).is_some();
                    let roll = self.roll();
                    let is_sure = is_known || self.doubts.confirm(&found, noisy);
                    let is_left_out = is_sure && self.lesson.leave_out(&span, SILENCE, now, roll);
                    if is_left_out {
                        self.parts.clear();
                    }
                    is_left_out
                }
                _ if !self.doubts.confirm(&found, false) => false,
                Found::Gap(place, why) => self.lesson.skip(place, why, now),
                Found::Seam(table, at) => self.lesson.part(table, at),
                Found::Most(table, cells) => self.lesson.shorten(table, cells),
                Found::Mute(table) => self.is_mute(table),
            };
        }
        if changed {
            self.is_news = true;
            self.plan(device);
        }
        changed
    }

    /// Reads that were not answered are made shorter until some are, then long again: a length is
    /// believed in when that went so [`TRIALS`] times. True when plans change.
    fn tries(&mut self, search: &Search) -> bool {
        if let Some((table, cells)) = search.mute() {
            let cells = (cells / 2).max(search.longest.of(table)).max(1);
            self.trial = Some(Trial { table, cells, good: 0 });
            return true;
        }
        let Some(trial) = self.trial.as_mut().filter(|_| search.has_answers() && !search.has_silences())
        else {
            return false;
        };
        trial.good += 1;
        if trial.good < MUTE_POLLS {
            return false;
        }
        let (table, cells) = (trial.table, trial.cells);
        self.trial = None;
        self.trials += 1;
        if self.trials >= TRIALS {
            self.trials = 0;
            self.lesson.shorten(table, cells.max(search.longest.of(table)));
        }
        true
    }

    /// Counts a long read that was not answered while its halves were.
    fn is_mute(&mut self, table: Table) -> bool {
        let count = match self.mute.iter_mut().find(|(of, _)| *of == table) {
            Some((_, count)) => {
                *count += 1;
                *count
            }
            None => {
                self.mute.push((table, 1));
                1
            }
        };
        count >= MUTE_POLLS && self.lesson.shorten(table, self.longest.of(table))
    }

    /// Takes in how long the device takes to answer. True when the plans were made anew.
    pub(crate) fn measure(&mut self, device: &Device, turnaround: Duration) -> bool {
        let step = TURNAROUND_STEP.max(self.turnaround / 4);
        if !self.turnaround.is_zero() && turnaround.abs_diff(self.turnaround) <= step {
            return false;
        }
        self.turnaround = turnaround;
        self.plan(device);
        true
    }

    /// 0 to 1; the same device rolls the same, different ones differently.
    pub(crate) fn roll(&mut self) -> f64 {
        // Knuth's MMIX generator: spread is all that is asked of it.
        self.rolls =
            self.rolls.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.rolls >> 11) as f64 / (1u64 << 53) as f64
    }
}
