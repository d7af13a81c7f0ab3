//! Which reads of a device were ever answered since this program began. Pure.
//!
//! Always true: no range kept lies within another.

use crate::plan::Block;
use crate::point::address::Table;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Heard(Vec<(Table, u16, u16)>);

impl Heard {
    /// It was answered.
    pub(crate) fn note(&mut self, read: &Block) {
        if self.has(read) {
            return;
        }
        let lies_within = |(table, first, last): &(Table, u16, u16)| {
            *table == read.table && read.address <= *first && *last <= read.last()
        };
        self.0.retain(|range| !lies_within(range));
        self.0.push((read.table, read.address, read.last()));
    }

    /// Whether all of it was answered in one read: the device has it, so that a silence is the line's.
    pub(crate) fn has(&self, read: &Block) -> bool {
        let covers = |(table, first, last): &(Table, u16, u16)| {
            *table == read.table && *first <= read.address && read.last() <= *last
        };
        self.0.iter().any(covers)
    }
}
