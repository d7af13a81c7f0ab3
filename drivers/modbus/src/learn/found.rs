//! What is said to the requests of a poll, and what comes of it. Pure.
//!
//! Always true: the longest read of a table only ever grows.

use crate::plan::Span;
use crate::point::address::Table;
use crate::wire::Exception;

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
