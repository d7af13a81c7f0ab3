//! What was found out about one device by reading it. Pure: time is given.
//!
//! Always true: a lesson has at most [`MOST_REFUSED`] refused places, [`MOST_SEAMS`] seams
//! and [`MOST_TABLES`] lengths; one more
//! is not remembered, and its block is halved in every poll instead. A point that is left out is asked
//! alone again after [`RETRY_FIRST`], then after twice that, up to [`RETRY_MOST`], jittered.

use std::time::Duration;

use tokio::time::Instant;

use super::doubts::About;
use super::student::SILENCE;
use crate::plan::{Block, Hole, Limits, Span};
use crate::point::address::Table;
use crate::wire::Exception;

/// Refused places that are remembered.
pub(crate) const MOST_REFUSED: usize = 96;
/// Seams that are remembered.
pub(crate) const MOST_SEAMS: usize = 48;
/// Tables (each file is one) of which a length is remembered.
pub(crate) const MOST_TABLES: usize = 16;
/// First pause before a point that was left out is asked again: a device that had just started may
/// have refused everything.
pub(crate) const RETRY_FIRST: Duration = Duration::from_secs(60);
/// Longest such pause.
pub(crate) const RETRY_MOST: Duration = Duration::from_secs(3_600);

/// What is known of a device.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Lesson {
    pub(crate) refused: Vec<Refused>,
    /// Cells that cannot be read together with what is in front of them.
    pub(crate) seams: Vec<(Table, u16)>,
    /// Most cells in one read, of the tables where that is less than the model says.
    pub(crate) most: Vec<(Table, u16)>,
}

/// Cells that the device does not give.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Refused {
    pub(crate) table: Table,
    pub(crate) first: u16,
    pub(crate) last: u16,
    pub(crate) why: Exception,
    /// The cells of a point; otherwise nobody wants them.
    pub(crate) is_point: bool,
    retry: Retry,
}

/// When a point is asked again.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Retry {
    at: Instant,
    pause: Duration,
}

impl Refused {
    fn is(&self, span: &Span) -> bool {
        self.is_point && (self.table, self.first, self.last) == (span.table, span.address, span.last())
    }
}

impl Lesson {
    /// What plans keep to: the model's limits and these.
    pub(crate) fn limits(&self, model: &Limits) -> Limits {
        let hole = |one: &Refused| Hole { table: Some(one.table), first: one.first, last: one.last };
        let mut limits = model.clone();
        limits.holes.extend(self.refused.iter().map(hole));
        limits.seams.extend(&self.seams);
        limits.most.extend(&self.most);
        limits
    }

    /// Why this point is left out, if it is.
    pub(crate) fn refusal(&self, span: &Span) -> Option<Exception> {
        self.refused.iter().find(|one| one.is(span)).map(|one| one.why)
    }

    /// Whether this point is left out and it is time to ask it again.
    pub(crate) fn is_due(&self, span: &Span, now: Instant) -> bool {
        self.refused.iter().any(|one| one.is(span) && one.retry.at <= now)
    }

    /// Leaves a point out, or leaves it out for longer. True when it is news and was remembered.
    pub(crate) fn leave_out(&mut self, span: &Span, why: Exception, now: Instant, jitter: f64) -> bool {
        if let Some(known) = self.refused.iter_mut().find(|one| one.is(span)) {
            known.retry.pause = known.retry.pause.saturating_mul(2).min(RETRY_MOST);
            known.retry.at = now + jittered(known.retry.pause, jitter);
            return false;
        }
        self.refuse((span.table, span.address, span.last()), why, true, now + jittered(RETRY_FIRST, jitter))
    }

    /// The line loses answers: what was left out for not being answered is asked again now, unless it was
    /// asked again before.
    pub(crate) fn doubt_silences(&mut self, now: Instant) {
        let young = |one: &&mut Refused| one.is_point && one.why == SILENCE && one.retry.pause == RETRY_FIRST;
        for one in self.refused.iter_mut().filter(young) {
            one.retry.at = one.retry.at.min(now);
        }
    }

    /// Takes a point in again. True when it was left out: then the others are due as well, what ailed
    /// the device may be over.
    pub(crate) fn take_in(&mut self, span: &Span, now: Instant) -> bool {
        let before = self.refused.len();
        self.refused.retain(|one| !one.is(span));
        let is_news = self.refused.len() < before;
        for one in self.refused.iter_mut().filter(|_| is_news) {
            one.retry.at = one.retry.at.min(now);
        }
        is_news
    }

    /// What is tried again now and then by reading without it; points are asked alone instead.
    pub(crate) fn trials(&self) -> Vec<About> {
        let gaps = self.refused.iter().filter(|one| !one.is_point);
        let gaps = gaps.map(|one| About::Cells(one.table, one.first, one.last));
        let seams = self.seams.iter().map(|(table, at)| About::Seam(*table, *at));
        let most = self.most.iter().map(|(table, cells)| About::Most(*table, *cells));
        gaps.chain(seams).chain(most).collect()
    }

    /// Drops what one of these reads showed to be wrong. True when there was such a thing.
    pub(crate) fn refute(&mut self, read: &[impl AsRef<Block>]) -> bool {
        let wrong = |about: &About| read.iter().any(|read| about.is_refuted_by(read.as_ref()));
        let wrong: Vec<About> = self.trials().into_iter().filter(wrong).collect();
        wrong.iter().for_each(|about| self.drop(*about));
        !wrong.is_empty()
    }

    /// Takes in what was kept earlier: what was learned since then is newer.
    pub(crate) fn merge(&mut self, kept: Self) {
        let is_new = |one: &&Refused| {
            let place = (one.table, one.first, one.last, one.is_point);
            !self.refused.iter().any(|known| (known.table, known.first, known.last, known.is_point) == place)
        };
        let new: Vec<Refused> = kept.refused.iter().filter(is_new).copied().collect();
        self.refused.extend(new);
        self.refused.truncate(MOST_REFUSED);
        for (table, at) in kept.seams {
            self.part(table, at);
        }
        for (table, cells) in kept.most {
            self.shorten(table, cells);
        }
    }

    /// Drops a gap, a seam or a length.
    pub(crate) fn drop(&mut self, about: About) {
        match about {
            About::Cells(table, first, last) => {
                let is_it = |one: &Refused| (one.table, one.first, one.last) == (table, first, last);
                self.refused.retain(|one| one.is_point || !is_it(one));
            }
            About::Seam(table, at) => self.seams.retain(|one| *one != (table, at)),
            About::Most(table, cells) => self.most.retain(|one| *one != (table, cells)),
        }
    }

    /// Never reads these cells again, which no point of their block wants. True when it is news and was
    /// remembered.
    pub(crate) fn skip(
        &mut self,
        (table, first, last): (Table, u16, u16),
        why: Exception,
        now: Instant,
    ) -> bool {
        let known = |one: &Refused| one.table == table && one.first <= first && last <= one.last;
        !self.refused.iter().any(known) && self.refuse((table, first, last), why, false, now)
    }

    fn refuse(
        &mut self,
        (table, first, last): (Table, u16, u16),
        why: Exception,
        is_point: bool,
        at: Instant,
    ) -> bool {
        if self.refused.len() >= MOST_REFUSED {
            return false;
        }
        let retry = Retry { at, pause: RETRY_FIRST };
        self.refused.push(Refused { table, first, last, why, is_point, retry });
        true
    }

    /// Never reads this cell together with what is in front of it. True when it is news.
    pub(crate) fn part(&mut self, table: Table, at: u16) -> bool {
        let is_new = self.seams.len() < MOST_SEAMS && !self.seams.contains(&(table, at));
        if is_new {
            self.seams.push((table, at));
        }
        is_new
    }

    /// Never reads more cells of this table at a time. True when it is less than before.
    pub(crate) fn shorten(&mut self, table: Table, cells: u16) -> bool {
        let is_full = self.most.len() >= MOST_TABLES;
        match self.most.iter_mut().find(|(of, _)| *of == table) {
            Some((_, most)) if *most <= cells => false,
            Some((_, most)) => {
                *most = cells;
                true
            }
            None if is_full => false,
            None => {
                self.most.push((table, cells));
                true
            }
        }
    }

    /// One kept from before: its points are asked again after the first pause, as when they were learned.
    pub(crate) fn remember(
        &mut self,
        place: (Table, u16, u16),
        why: Exception,
        is_point: bool,
        now: Instant,
        jitter: f64,
    ) {
        self.refuse(place, why, is_point, now + jittered(RETRY_FIRST, jitter));
    }
}

/// 0.9 to 1.1 of a pause.
pub(crate) fn jittered(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(0.9 + 0.2 * jitter)
}
