//! Points → as few reads as the rules allow. Pure.
//!
//! Always true: every point is in exactly one block and never split; no block is longer than
//! `max_read`, touches a hole or reads across more than `max_gap` unwanted cells; and no plan under
//! these rules has fewer blocks. Going through the points by address and closing a block only when
//! the next point cannot join is enough for that: a point that could join a block later can only
//! lie inside one that could not, and is covered by the next block for free.

use crate::point::address::Table;

/// Registers in one read, as the standard has it (Modbus Application Protocol V1.1b3, 6.3).
pub(crate) const MOST_REGISTERS: u16 = 125;
/// Bits of a register: `max_read` and `max_gap` count registers, bits are as many as fill them.
/// 125 × 16 is the 2000 bits the standard allows.
const BITS_PER_REGISTER: u16 = 16;
/// `max_gap = "auto"` on TCP. One more request costs about 140 bytes of headers and a turn of the
/// device, which is as much as 70 registers; but behind a wide gap there is more often nothing that
/// may be read, and a refused block has to be read again in parts. So about half of that.
pub(crate) const AUTO_GAP_TCP: u16 = 32;

/// What a block may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Registers in one read.
    pub(crate) max_read: u16,
    /// Unwanted registers in a row.
    pub(crate) max_gap: u16,
    /// What must never be read.
    pub(crate) holes: Vec<Hole>,
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
    /// Cells of `table` in one read.
    pub(crate) fn cells(&self, table: Table) -> u16 {
        if table.is_bits() { self.max_read.saturating_mul(BITS_PER_REGISTER) } else { self.max_read }
    }

    fn gap(&self, table: Table) -> u16 {
        if table.is_bits() { self.max_gap.saturating_mul(BITS_PER_REGISTER) } else { self.max_gap }
    }

    /// The hole that any cell of this range is in.
    pub(crate) fn hole(&self, table: Table, first: u16, last: u16) -> Option<Hole> {
        let meets = |hole: &&Hole| {
            hole.table.is_none_or(|of| of == table) && hole.first <= last && first <= hole.last
        };
        self.holes.iter().find(meets).copied()
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
    fn last(&self) -> u16 {
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
    fn of(span: Span) -> Self {
        Self { table: span.table, address: span.address, cells: span.cells, wasted: 0, spans: vec![span] }
    }

    fn last(&self) -> u16 {
        self.address + (self.cells - 1)
    }

    /// Takes `span` in, which starts behind the block's start, whatever lies between.
    fn join(&mut self, span: Span) {
        let gap = span.address.saturating_sub(self.last()).saturating_sub(1);
        self.wasted += gap;
        self.cells = self.last().max(span.last()) - self.address + 1;
        self.spans.push(span);
    }

    fn may_join(&self, span: &Span, limits: &Limits) -> bool {
        let last = self.last().max(span.last());
        let gap = span.address.saturating_sub(self.last()).saturating_sub(1);
        span.table == self.table
            && last - self.address < limits.cells(self.table)
            && gap <= limits.gap(self.table)
            && (gap == 0 || limits.hole(self.table, self.last() + 1, span.address - 1).is_none())
    }

    /// The two halves of a refused block, each as narrow as its points; `None` for a single point.
    pub(crate) fn halves(&self) -> Option<(Self, Self)> {
        if self.spans.len() < 2 {
            return None;
        }
        let (left, right) = self.spans.split_at(self.spans.len() / 2);
        let narrow = |spans: &[Span]| {
            let mut block = Self::of(spans[0]);
            spans[1..].iter().for_each(|span| block.join(*span));
            block
        };
        Some((narrow(left), narrow(right)))
    }
}

/// The reads for these points. A point must lie outside of holes and fit into `max_read`.
pub(crate) fn plan(mut spans: Vec<Span>, limits: &Limits) -> Vec<Block> {
    spans.sort_by_key(|span| (span.table, span.address, span.cells, span.point));
    let mut blocks: Vec<Block> = Vec::new();
    for span in spans {
        match blocks.last_mut() {
            Some(block) if block.may_join(&span, limits) => block.join(span),
            _ => blocks.push(Block::of(span)),
        }
    }
    blocks
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(max_read: u16, max_gap: u16, holes: &[(u16, u16)]) -> Limits {
        let holes =
            holes.iter().map(|(first, last)| Hole { table: None, first: *first, last: *last }).collect();
        Limits { max_read, max_gap, holes }
    }

    fn spans(table: Table, of: &[(u16, u16)]) -> Vec<Span> {
        let span = |(point, (address, cells)): (usize, &(u16, u16))| Span {
            point,
            table,
            address: *address,
            cells: *cells,
        };
        of.iter().enumerate().map(span).collect()
    }

    fn shape(blocks: &[Block]) -> Vec<(u16, u16, u16)> {
        blocks.iter().map(|block| (block.address, block.cells, block.wasted)).collect()
    }

    #[test]
    fn near_points_share_a_read_and_far_ones_do_not() {
        let points = spans(Table::Input, &[(0, 2), (2, 2), (6, 1), (20, 2), (9, 1)]);
        assert_eq!(shape(&plan(points.clone(), &limits(125, 2, &[]))), [(0, 10, 4), (20, 2, 0)]);
        assert_eq!(
            shape(&plan(points.clone(), &limits(125, 0, &[]))),
            [(0, 4, 0), (6, 1, 0), (9, 1, 0), (20, 2, 0)]
        );
        assert_eq!(shape(&plan(points, &limits(125, 2, &[(7, 7)]))), [(0, 7, 2), (9, 1, 0), (20, 2, 0)]);
    }

    #[test]
    fn a_read_ends_at_its_limit_and_at_the_end_of_the_table() {
        let all: Vec<(u16, u16)> = (0..130).map(|address| (address, 1)).collect();
        assert_eq!(
            shape(&plan(spans(Table::Holding, &all), &limits(125, 0, &[]))),
            [(0, 125, 0), (125, 5, 0)]
        );
        let all: Vec<(u16, u16)> = (0..2_001).map(|address| (address, 1)).collect();
        assert_eq!(
            shape(&plan(spans(Table::Coil, &all), &limits(125, 0, &[]))),
            [(0, 2_000, 0), (2_000, 1, 0)]
        );
        let end = spans(Table::Holding, &[(65_532, 4), (0, 1)]);
        assert_eq!(shape(&plan(end, &limits(125, 65_535, &[]))), [(0, 1, 0), (65_532, 4, 0)]);
    }

    #[test]
    fn halves_are_narrow_and_complete() {
        let block = plan(spans(Table::Input, &[(0, 2), (4, 1), (9, 4)]), &limits(125, 9, &[])).remove(0);
        let (left, right) = block.halves().unwrap();
        assert_eq!(shape(std::slice::from_ref(&left)), [(0, 2, 0)]);
        assert_eq!(shape(std::slice::from_ref(&right)), [(4, 9, 4)]);
        assert_eq!(left.halves(), None);
        assert_eq!(right.halves().map(|(a, b)| (a.spans.len(), b.spans.len())), Some((1, 1)));
    }

    /// Small maps: few cells, so that points crowd, overlap and meet holes.
    fn map() -> impl Strategy<Value = (Vec<Span>, Limits)> {
        let tables = prop_oneof![Just(Table::Input), Just(Table::Holding)];
        let span = (tables, 0..24u16, prop_oneof![Just(1u16), Just(2), Just(4)]);
        let hole = proptest::option::of((0..24u16, 0..3u16));
        (proptest::collection::vec(span, 0..8), 4..12u16, 0..6u16, hole).prop_map(
            |(raw, max_read, max_gap, hole)| {
                let holes: Vec<(u16, u16)> =
                    hole.iter().map(|(first, more)| (*first, first + more)).collect();
                let limits = limits(max_read, max_gap, &holes);
                let spans = raw
                    .into_iter()
                    .filter(|(table, address, cells)| {
                        limits.hole(*table, *address, address + cells - 1).is_none()
                    })
                    .enumerate()
                    .map(|(point, (table, address, cells))| Span { point, table, address, cells })
                    .collect();
                (spans, limits)
            },
        )
    }

    /// Whether these points may share a read, straight from the rules.
    fn allowed(spans: &[Span], limits: &Limits) -> bool {
        let table = spans[0].table;
        let first = spans.iter().map(|span| span.address).min().unwrap();
        let last = spans.iter().map(Span::last).max().unwrap();
        let wanted = |cell: u16| spans.iter().any(|span| (span.address..=span.last()).contains(&cell));
        let mut gap = 0;
        for cell in first..=last {
            gap = if wanted(cell) { 0 } else { gap + 1 };
            if gap > limits.max_gap
                || limits.holes.iter().any(|hole| (hole.first..=hole.last).contains(&cell))
            {
                return false;
            }
        }
        spans.iter().all(|span| span.table == table) && last - first < limits.max_read
    }

    /// Fewest reads over every way to share them out.
    fn fewest(left: &[Span], groups: &mut Vec<Vec<Span>>, limits: &Limits) -> usize {
        let Some((span, rest)) = left.split_first() else {
            return if groups.iter().all(|group| allowed(group, limits)) { groups.len() } else { usize::MAX };
        };
        groups.push(vec![*span]);
        let mut best = fewest(rest, groups, limits);
        groups.pop();
        for place in 0..groups.len() {
            groups[place].push(*span);
            best = best.min(fewest(rest, groups, limits));
            groups[place].pop();
        }
        best
    }

    proptest! {
        #[test]
        fn every_point_is_read_once_and_every_rule_is_kept((spans, limits) in map()) {
            let blocks = plan(spans.clone(), &limits);
            let mut seen: Vec<usize> = blocks.iter().flat_map(|b| b.spans.iter().map(|s| s.point)).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..spans.len()).collect::<Vec<_>>());
            for block in &blocks {
                prop_assert!(allowed(&block.spans, &limits), "{:?}", block);
                let covered = |cell: u16| block.spans.iter().any(|s| (s.address..=s.last()).contains(&cell));
                prop_assert_eq!(block.address, block.spans.iter().map(|s| s.address).min().unwrap());
                prop_assert_eq!(block.last(), block.spans.iter().map(Span::last).max().unwrap());
                let wasted = (block.address..=block.last()).filter(|cell| !covered(*cell)).count();
                prop_assert_eq!(usize::from(block.wasted), wasted);
            }
        }

        #[test]
        fn no_plan_has_fewer_reads((spans, limits) in map()) {
            prop_assert_eq!(plan(spans.clone(), &limits).len(), fewest(&spans, &mut Vec::new(), &limits));
        }

        #[test]
        fn halving_a_block_loses_no_point((spans, limits) in map()) {
            for block in plan(spans, &limits) {
                if let Some((left, right)) = block.halves() {
                    let both: Vec<Span> = left.spans.iter().chain(&right.spans).copied().collect();
                    prop_assert_eq!(&both, &block.spans);
                    let any_gap = Limits { max_gap: u16::MAX, ..limits.clone() };
                    prop_assert!(allowed(&left.spans, &any_gap) && allowed(&right.spans, &any_gap));
                }
            }
        }
    }
}
