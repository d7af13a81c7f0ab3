//! Which points share a read: the cheapest way there is.
//!
//! Points that lie in another point cost nothing and go with it. What is left has rising starts and
//! rising ends, so some cheapest plan reads runs of neighbours: any two reads of which one is not in
//! the other can be parted by address without getting longer. Over runs, a cheapest plan is
//! one read and a cheapest plan of the points behind it.

use super::{Block, Cost, Limits, Span};

/// The reads for these points, by address. A point must lie outside of holes; one that is longer than
/// `max_read` stands alone.
pub(crate) fn plan(mut spans: Vec<Span>, limits: &Limits, cost: &Cost) -> Vec<Block> {
    spans.sort_by_key(|span| (span.table, span.address, std::cmp::Reverse(span.cells), span.point));
    let mut blocks = Vec::new();
    for of_table in spans.chunk_by(|one, next| one.table == next.table) {
        let outer = outer(of_table);
        for run in cheapest(&outer, limits, cost) {
            blocks.push(Block::over(&outer[run]));
        }
    }
    for span in spans {
        let holds = |block: &&mut Block| {
            block.table == span.table && block.address <= span.address && span.last() <= block.last()
        };
        // Every span is in an outer one, and every outer one is in a block.
        if let Some(block) = blocks.iter_mut().find(holds) {
            block.spans.push(span);
        }
    }
    blocks.iter_mut().for_each(Block::count_waste);
    blocks
}

/// The points that lie in no other one; by address, the longest first.
pub(super) fn outer(sorted: &[Span]) -> Vec<Span> {
    let mut outer: Vec<Span> = Vec::new();
    for span in sorted {
        if outer.last().is_none_or(|last| last.last() < span.last()) {
            outer.push(*span);
        }
    }
    outer
}

/// A cheapest plan of the points from one on.
#[derive(Clone, Copy, Default)]
struct Best {
    /// Cost, then reads, then cells: of plans that cost the same the simplest.
    price: (u64, u32, u32),
    /// Where its first read ends.
    end: usize,
}

fn cheapest(outer: &[Span], limits: &Limits, cost: &Cost) -> Vec<std::ops::Range<usize>> {
    let mut best = vec![Best::default(); outer.len() + 1];
    for from in (0..outer.len()).rev() {
        let first = outer[from];
        for to in from..outer.len() {
            let last = outer[to];
            let length = u32::from(last.last() - first.address) + 1;
            let is_one = to == from;
            if !is_one
                && (length > u32::from(limits.cells(first.table))
                    || !limits.bridges(&outer[to - 1], &last, cost))
            {
                break;
            }
            let (rest, reads, cells) = best[to + 1].price;
            let price = (rest + cost.read(first.table, length as u16), reads + 1, cells + length);
            // Among equals the longest one first.
            if is_one || price <= best[from].price {
                best[from] = Best { price, end: to + 1 };
            }
        }
    }
    let next = |start: usize| (start < outer.len()).then(|| start..best[start].end);
    std::iter::successors(next(0), |run| next(run.end)).collect()
}
