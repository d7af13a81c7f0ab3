//! The requests of a poll, what is said to them, and what comes of it. Pure.
//!
//! Always true: the longest read of a table only ever grows.

use std::sync::Arc;

use crate::plan::{Block, Span};
use crate::point::address::Table;
use crate::wire::Exception;

/// One request of a poll.
#[derive(Debug, Clone)]
pub(crate) struct Task {
    pub(crate) block: Arc<Block>,
    pub(super) role: Role,
}

impl Task {
    /// Whether the answer is what points are filed from; otherwise they have been already.
    pub(crate) fn is_filed(&self) -> bool {
        matches!(self.role, Role::Plan { .. } | Role::Half { .. })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Of the plan, or a point that was left out and is asked again.
    Plan { again: bool },
    /// Of a split block.
    Half { split: usize, right: bool, again: bool },
    /// Is anybody there? Nothing is filed from it.
    Knock,
    /// The gap of a split with just its neighbours.
    Narrow { split: usize },
    /// The first points of a split: `fine` of them are known to be well, `bad` are not.
    Front { split: usize, fine: usize, bad: usize },
    /// The two points at the border that was found behind the first `fine` ones.
    Border { split: usize, fine: usize },
}

/// A block that was refused and asked again in halves.
#[derive(Debug)]
pub(super) struct Split {
    pub(super) table: Table,
    /// Its points but those that lie in others: they end as they begin, one after the other.
    pub(super) spans: Vec<Span>,
    /// How many of them are in the left half.
    pub(super) cut: usize,
    pub(super) fine: [bool; 2],
    /// `None`: it was not refused, there was no answer at all.
    pub(super) why: Option<Exception>,
}

/// What was said to a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Answered,
    Refused(Exception),
    /// Nothing that could be used, and why.
    Nonsense(String),
    Silent(String),
}

/// Something found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    /// This point is refused alone.
    Bad(Span, Exception),
    /// This point is answered; it may have been left out until now.
    Good(Span),
    /// Cells that no point of their block wants.
    Gap((Table, u16, u16), Exception),
    /// A cell that is not read together with what is in front of it.
    Seam(Table, u16),
    /// No more cells than these in one read.
    Most(Table, u16),
    /// This point alone is not answered, and others are.
    Dumb(Span),
    /// A block from in front of this cell on was not answered, nor was one half of it.
    Part(Table, u16),
    /// A block so long was not answered, and its halves were.
    Mute(Table),
}

/// The longest reads that a device answered, by table.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Longest(Vec<(Table, u16)>);

impl Longest {
    pub(crate) fn of(&self, table: Table) -> u16 {
        self.0.iter().find(|(of, _)| *of == table).map_or(0, |(_, cells)| *cells)
    }

    pub(crate) fn note(&mut self, table: Table, cells: u16) {
        match self.0.iter_mut().find(|(of, _)| *of == table) {
            Some((_, longest)) => *longest = cells.max(*longest),
            None => self.0.push((table, cells)),
        }
    }
}
