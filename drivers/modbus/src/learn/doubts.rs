//! What was concluded and is not believed yet. Pure.
//!
//! Always true: one refusal teaches nothing; a conclusion is believed when [`POLLS`] polls came to it
//! and no answer since the first of them showed that it is wrong. A poll in which something was not answered
//! that had been before does not count, as then it may be the line; [`NOISY_POLLS`] of such polls do.

use super::search::Found;
use crate::plan::Block;
use crate::point::address::Table;

/// Polls that have to come to the same conclusion.
pub(crate) const POLLS: u32 = 3;

/// Polls that are enough whatever the line is like: a device may have lost what it had.
pub(crate) const NOISY_POLLS: u32 = 12;

/// Conclusions.
#[derive(Debug, Default)]
pub(crate) struct Doubts(Vec<Doubt>);

#[derive(Debug)]
struct Doubt {
    about: About,
    /// Polls that came to it, all of them and those that count.
    polls: u32,
    clean: u32,
}

/// What a conclusion is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum About {
    /// These cells are not given.
    Cells(Table, u16, u16),
    /// This cell is not read together with what is in front of it.
    Seam(Table, u16),
    /// No more cells than these in one read.
    Most(Table, u16),
}

impl About {
    fn of(found: &Found) -> Option<Self> {
        match *found {
            Found::Bad(span, _) | Found::Dumb(span) => {
                Some(Self::Cells(span.table, span.address, span.last()))
            }
            Found::Gap((table, first, last), _) => Some(Self::Cells(table, first, last)),
            Found::Seam(table, at) => Some(Self::Seam(table, at)),
            Found::Most(table, most) => Some(Self::Most(table, most)),
            Found::Good(_) | Found::Mute(_) | Found::Part(..) => None,
        }
    }

    pub(crate) fn table(&self) -> Table {
        match *self {
            Self::Cells(table, ..) | Self::Seam(table, _) | Self::Most(table, _) => table,
        }
    }

    /// Whether the answer to this read shows that it is not so.
    pub(crate) fn is_refuted_by(self, read: &Block) -> bool {
        let covers = |first: u16, last: u16| read.address <= first && last <= read.last();
        match self {
            Self::Cells(table, first, last) => table == read.table && covers(first, last),
            // One point may well reach across a seam.
            Self::Seam(table, at) => {
                let crosses = |first: u16, last: u16| first < at && at <= last;
                table == read.table
                    && crosses(read.address, read.last())
                    && !read.spans.iter().any(|span| crosses(span.address, span.last()))
            }
            Self::Most(table, most) => table == read.table && read.cells > most,
        }
    }
}

impl Doubts {
    /// Drops what these answers show to be wrong.
    pub(crate) fn refute(&mut self, read: &[impl AsRef<Block>]) {
        self.0.retain(|doubt| !read.iter().any(|read| doubt.about.is_refuted_by(read.as_ref())));
    }

    /// Counts what one poll concluded, from silences on a line that is `noisy` or else; true when it is to be
    /// believed now.
    pub(crate) fn confirm(&mut self, found: &Found, noisy: bool) -> bool {
        let Some(about) = About::of(found) else { return true };
        let place = self.0.iter().position(|known| known.about == about).unwrap_or_else(|| {
            self.0.push(Doubt { about, polls: 0, clean: 0 });
            self.0.len() - 1
        });
        let doubt = &mut self.0[place];
        doubt.polls += 1;
        doubt.clean = if noisy { 0 } else { doubt.clean + 1 };
        let is_sure = doubt.clean >= POLLS || doubt.polls >= NOISY_POLLS;
        if is_sure {
            self.0.swap_remove(place);
        }
        is_sure
    }
}
