//! Points → the reads that take the least time on their line. Pure.
//!
//! Always true: every point is in exactly one block and never split; no block of several points is
//! longer than `max_read`, touches a hole, crosses a seam or reads across more than `max_gap`
//! unwanted cells; and no plan under these rules has a lower [`Cost`].
//!
//! Each rate is planned by itself. That a fast read already holds a slow point now and then is not made
//! use of: a request that goes out every few minutes costs next to nothing, and every point keeps the
//! time of a read that was made for it.

mod cost;
mod merge;
#[cfg(test)]
mod tests;

pub(crate) use self::cost::Cost;
pub(crate) use self::merge::plan;
use crate::point::address::Table;

/// Registers in one read, as the standard has it (Modbus Application Protocol V1.1b3, 6.3).
pub(crate) const MOST_REGISTERS: u16 = 125;
/// Registers of a file in one read: what fits behind the byte count, two bytes of it taken.
const MOST_OF_FILE: u16 = (crate::wire::pdu::MOST_FILE_BYTES as u16 - 2) / 2;
/// Bits of a register: `max_read` and `max_gap` count registers, bits are as many as fill them.
/// 125 × 16 is the 2000 bits the standard allows.
pub(crate) const BITS_PER_REGISTER: u16 = 16;

/// What a block may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Registers in one read.
    pub(crate) max_read: u16,
    /// Cells in one read, of the tables where that is less than `max_read`; only ever learned.
    pub(crate) most: Vec<(Table, u16)>,
    /// Unwanted registers in a row; `None` is `"auto"`: as it is cheapest.
    pub(crate) max_gap: Option<u16>,
    /// What must never be read.
    pub(crate) holes: Vec<Hole>,
    /// Cells that no read reaches which begins in front of them, unless one point does; only ever
    /// learned.
    pub(crate) seams: Vec<(Table, u16)>,
}

/// Cells that must never be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hole {
    /// In this table; `None` is all four.
    pub(crate) table: Option<Table>,
    /// First cell.
    pub(crate) first: u16,
    /// Last cell.
    pub(crate) last: u16,
}

impl Limits {
    /// Of a model.
    pub(crate) fn new(max_read: u16, max_gap: Option<u16>, holes: Vec<Hole>) -> Self {
        Self { max_read, most: Vec::new(), max_gap, holes, seams: Vec::new() }
    }

    /// Cells of `table` in one read.
    pub(crate) fn cells(&self, table: Table) -> u16 {
        let bits = if table.is_bits() { BITS_PER_REGISTER } else { 1 };
        let most = if let Table::File(_) = table { MOST_OF_FILE } else { MOST_REGISTERS };
        let all = self.max_read.min(most).saturating_mul(bits);
        self.most.iter().filter(|(of, _)| *of == table).fold(all, |all, (_, most)| all.min(*most))
    }

    /// The hole that any cell of this range is in.
    pub(crate) fn hole(&self, table: Table, first: u16, last: u16) -> Option<Hole> {
        let meets = |hole: &&Hole| {
            hole.table.map_or(Table::ALL.contains(&table), |of| of == table)
                && hole.first <= last
                && first <= hole.last
        };
        self.holes.iter().find(meets).copied()
    }

    /// Whether one read may have both, whatever its length; `next` ends behind `one`.
    fn bridges(&self, one: &Span, next: &Span, cost: &Cost) -> bool {
        // Each text of an identification is asked for by its number.
        if one.table == Table::Identity {
            return false;
        }
        if self
            .seams
            .iter()
            .any(|(table, at)| *table == one.table && one.address < *at && *at <= next.address)
        {
            return false;
        }
        let gap = next.address.saturating_sub(one.last()).saturating_sub(1);
        if gap == 0 {
            return true;
        }
        let most = self.max_gap.or(cost.auto_gap()).unwrap_or(u16::MAX);
        let most = if one.table.is_bits() { most.saturating_mul(BITS_PER_REGISTER) } else { most };
        gap <= most && self.hole(one.table, one.last() + 1, next.address - 1).is_none()
    }
}

/// The cells of a point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Number of the point.
    pub(crate) point: usize,
    /// Its table.
    pub(crate) table: Table,
    /// Its first cell.
    pub(crate) address: u16,
    /// How many; `address + cells` is at most 65536.
    pub(crate) cells: u16,
}

impl Span {
    /// Its last cell.
    pub(crate) fn last(&self) -> u16 {
        self.address + (self.cells - 1)
    }
}

/// One read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where.
    pub(crate) table: Table,
    /// First cell.
    pub(crate) address: u16,
    /// How many.
    pub(crate) cells: u16,
    /// How many of them no point asked for.
    pub(crate) wasted: u16,
    /// Who asked, by address.
    pub(crate) spans: Vec<Span>,
}

impl Block {
    /// A read over these neighbours, which are by address; it has no points yet.
    fn over(spans: &[Span]) -> Self {
        let first = spans[0];
        let last = spans.iter().map(Span::last).max().unwrap_or(first.address);
        Self {
            table: first.table,
            address: first.address,
            cells: last - first.address + 1,
            wasted: 0,
            spans: Vec::new(),
        }
    }

    /// The read of just these points, which are by address; at least one.
    pub(crate) fn of(spans: &[Span]) -> Self {
        let mut block = Self::over(spans);
        block.spans = spans.to_vec();
        block.count_waste();
        block
    }

    /// Its last cell.
    pub(crate) fn last(&self) -> u16 {
        self.address + (self.cells - 1)
    }

    fn count_waste(&mut self) {
        let mut next = u32::from(self.address);
        let mut wasted = 0;
        for span in &self.spans {
            wasted += u32::from(span.address).saturating_sub(next);
            next = next.max(u32::from(span.last()) + 1);
        }
        self.wasted = wasted as u16;
    }

    /// Its points that lie in no other one of them.
    pub(crate) fn outer(&self) -> Vec<Span> {
        merge::outer(&self.spans)
    }

    /// The two halves of a refused block, each as narrow as its points; `None` for a single point. A point
    /// that lies in another one goes with it, and is parted from it last.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        if self.spans.len() < 2 {
            return None;
        }
        let outer = self.outer();
        let (left, right): (Vec<Span>, Vec<Span>) = match outer[..outer.len() / 2].last() {
            Some(last) => self.spans.iter().partition(|span| span.last() <= last.last()),
            None => self.spans.iter().partition(|span| **span == outer[0]),
        };
        Some((Self::of(&left), Self::of(&right)))
    }
}
