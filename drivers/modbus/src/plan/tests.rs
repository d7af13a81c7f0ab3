//! Plans against the rules, and against every other plan there is.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

/// Bytes cost nothing to speak of: as few reads as can be.
const SOCKET: &Cost = &Cost::SOCKET;

fn limits(max_read: u16, max_gap: u16, holes: &[(u16, u16)]) -> Limits {
    let hole = |(first, last): &(u16, u16)| Hole { table: None, first: *first, last: *last };
    Limits::new(max_read, Some(max_gap), holes.iter().map(hole).collect())
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
    assert_eq!(shape(&plan(points.clone(), &limits(125, 2, &[]), SOCKET)), [(0, 10, 4), (20, 2, 0)]);
    let without = [(0, 4, 0), (6, 1, 0), (9, 1, 0), (20, 2, 0)];
    assert_eq!(shape(&plan(points.clone(), &limits(125, 0, &[]), SOCKET)), without);
    let holed = [(0, 7, 2), (9, 1, 0), (20, 2, 0)];
    assert_eq!(shape(&plan(points, &limits(125, 2, &[(7, 7)]), SOCKET)), holed);
}

#[test]
fn a_read_ends_at_its_limit_and_at_the_end_of_the_table() {
    let all: Vec<(u16, u16)> = (0..130).map(|address| (address, 1)).collect();
    let registers = plan(spans(Table::Holding, &all), &limits(125, 0, &[]), SOCKET);
    assert_eq!(registers.iter().map(|block| block.cells).sum::<u16>(), 130);
    assert_eq!(registers.len(), 2);
    let all: Vec<(u16, u16)> = (0..2_001).map(|address| (address, 1)).collect();
    assert_eq!(plan(spans(Table::Coil, &all), &limits(125, 0, &[]), SOCKET).len(), 2);
    let end = spans(Table::Holding, &[(65_532, 4), (0, 1)]);
    assert_eq!(shape(&plan(end, &limits(125, 65_535, &[]), SOCKET)), [(0, 1, 0), (65_532, 4, 0)]);
}

/// `max_gap = "auto"`: two points so far apart that reading on just pays, and just does not.
#[test]
fn a_gap_is_read_across_where_that_is_cheaper_on_this_line() {
    let reads = |line: Cost, gap: u16| {
        let points = spans(Table::Holding, &[(0, 1), (gap + 1, 1)]);
        plan(points, &Limits::new(125, None, Vec::new()), &line).len()
    };
    let ten = Duration::from_millis(10);
    for (line, widest) in [
        (Cost::rtu(9_600, 11, Duration::ZERO), 10),
        (Cost::rtu(9_600, 11, ten), 14),
        (Cost::rtu(19_200, 11, ten), 18),
        (Cost::rtu(38_400, 11, ten), 30),
        (Cost::rtu(115_200, 11, ten), 77),
        (Cost::SOCKET, 32),
    ] {
        assert_eq!((reads(line, widest), reads(line, widest + 1)), (1, 2), "{line:?} at {widest}");
    }
}

#[test]
fn a_given_gap_is_never_exceeded_and_not_filled_at_any_price() {
    let points = spans(Table::Holding, &[(0, 1), (6, 1), (40, 1)]);
    let line = Cost::rtu(9_600, 11, Duration::ZERO);
    let shape_of = |max_gap| shape(&plan(points.clone(), &limits(125, max_gap, &[]), &line));
    assert_eq!(shape_of(4), [(0, 1, 0), (6, 1, 0), (40, 1, 0)]);
    assert_eq!(shape_of(100), [(0, 7, 5), (40, 1, 0)], "33 registers are dearer than another request");
}

#[test]
fn a_seam_is_not_read_across() {
    let mut limits = limits(125, 9, &[]);
    limits.seams = vec![(Table::Input, 4)];
    let points = spans(Table::Input, &[(0, 2), (2, 2), (4, 1), (6, 1)]);
    assert_eq!(shape(&plan(points, &limits, SOCKET)), [(0, 4, 0), (4, 3, 1)]);
    let points = spans(Table::Input, &[(3, 2), (4, 1), (6, 1)]);
    assert_eq!(
        shape(&plan(points, &limits, SOCKET)),
        [(3, 2, 0), (6, 1, 0)],
        "what one point reads, it reads"
    );
}

#[test]
fn halves_are_narrow_and_complete() {
    let points = spans(Table::Input, &[(0, 2), (4, 1), (9, 4)]);
    let block = plan(points, &limits(125, 9, &[]), SOCKET).remove(0);
    let (left, right) = block.halves().unwrap();
    assert_eq!(shape(std::slice::from_ref(&left)), [(0, 2, 0)]);
    assert_eq!(shape(std::slice::from_ref(&right)), [(4, 9, 4)]);
    assert_eq!(left.halves(), None);
    assert_eq!(right.halves().map(|(a, b)| (a.spans.len(), b.spans.len())), Some((1, 1)));
}

fn line() -> impl Strategy<Value = Cost> {
    let baud = prop_oneof![Just(1_200u32), Just(9_600), Just(19_200), Just(115_200)];
    let serial = (baud, 0..20u64, any::<bool>()).prop_map(|(baud, pause, rtu)| {
        let pause = Duration::from_millis(pause);
        if rtu {
            Cost::rtu(baud, 11, Duration::ZERO).with_turnaround(pause)
        } else {
            Cost::ascii(baud, 10, pause)
        }
    });
    prop_oneof![1 => Just(Cost::SOCKET), 4 => serial]
}

/// Small maps: few cells, so that points crowd, overlap, lie in others and meet holes and seams.
fn map() -> impl Strategy<Value = (Vec<Span>, Limits)> {
    let tables = prop_oneof![Just(Table::Input), Just(Table::Coil)];
    let span = (tables, 0..48u16, prop_oneof![3 => Just(1u16), 2 => Just(2), 1 => Just(4)]);
    let holes = proptest::collection::vec((0..48u16, 0..3u16), 0..3);
    let seams = proptest::collection::vec(0..48u16, 0..2);
    let limits = (4..24u16, proptest::option::of(0..16u16), holes, seams);
    (proptest::collection::vec(span, 0..8), limits).prop_map(|(raw, (max_read, max_gap, holes, seams))| {
        let hole = |(first, more): (u16, u16)| Hole { table: None, first, last: first + more };
        let mut limits = Limits::new(max_read, max_gap, holes.into_iter().map(hole).collect());
        limits.seams = seams.into_iter().map(|at| (Table::Input, at)).collect();
        let spans = raw
            .into_iter()
            .filter(|(table, address, cells)| limits.hole(*table, *address, address + cells - 1).is_none())
            .enumerate()
            .map(|(point, (table, address, cells))| Span { point, table, address, cells })
            .collect();
        (spans, limits)
    })
}

/// Whether these points may share a read, straight from the rules, cell by cell.
fn allowed(spans: &[Span], limits: &Limits, cost: &Cost) -> bool {
    let table = spans[0].table;
    let first = spans.iter().map(|span| span.address).min().unwrap();
    let last = spans.iter().map(Span::last).max().unwrap();
    let wanted = |cell: u16| spans.iter().any(|span| (span.address..=span.last()).contains(&cell));
    let most = limits.max_gap.or(cost.auto_gap()).unwrap_or(1_000);
    let most = if table == Table::Coil { most * 16 } else { most };
    let mut gap = 0;
    for cell in first..=last {
        gap = if wanted(cell) { 0 } else { gap + 1 };
        if gap > most || limits.holes.iter().any(|hole| (hole.first..=hole.last).contains(&cell)) {
            return false;
        }
    }
    let whole = spans.iter().any(|span| (span.address, span.last()) == (first, last));
    let in_another = |span: &Span| {
        let holds = |other: &Span| other.address <= span.address && span.last() <= other.last();
        let before = |other: &Span| other.cells > span.cells || other.point < span.point;
        spans.iter().any(|other| other.point != span.point && holds(other) && before(other))
    };
    let outer: Vec<u16> = spans.iter().filter(|span| !in_another(span)).map(|span| span.address).collect();
    let crossed = |at: u16| outer.iter().any(|one| *one < at) && outer.iter().any(|one| *one >= at);
    let seam = |(of, at): &(Table, u16)| *of == table && crossed(*at);
    let longest = if table == Table::Coil { limits.max_read * 16 } else { limits.max_read };
    spans.iter().all(|span| span.table == table)
        && (whole || last - first < longest)
        && (whole || !limits.seams.iter().any(seam))
}

/// Least cost over every way to share them out.
fn least(left: &[Span], groups: &mut Vec<Vec<Span>>, limits: &Limits, cost: &Cost) -> Option<u64> {
    let Some((span, rest)) = left.split_first() else {
        let of = |group: &Vec<Span>| {
            allowed(group, limits, cost).then(|| {
                let first = group.iter().map(|span| span.address).min().unwrap();
                let last = group.iter().map(Span::last).max().unwrap();
                cost.read(group[0].table, last - first + 1)
            })
        };
        return groups.iter().map(of).sum();
    };
    groups.push(vec![*span]);
    let mut best = least(rest, groups, limits, cost);
    groups.pop();
    for place in 0..groups.len() {
        groups[place].push(*span);
        best = [best, least(rest, groups, limits, cost)].into_iter().flatten().min();
        groups[place].pop();
    }
    best
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn every_point_is_read_once_and_every_rule_is_kept((spans, limits) in map(), cost in line()) {
        let blocks = plan(spans.clone(), &limits, &cost);
        let mut seen: Vec<usize> = blocks.iter().flat_map(|b| b.spans.iter().map(|s| s.point)).collect();
        seen.sort_unstable();
        prop_assert_eq!(seen, (0..spans.len()).collect::<Vec<_>>());
        for block in &blocks {
            prop_assert!(allowed(&block.spans, &limits, &cost), "{:?}", block);
            let covered = |cell: u16| block.spans.iter().any(|s| (s.address..=s.last()).contains(&cell));
            prop_assert_eq!(block.address, block.spans.iter().map(|s| s.address).min().unwrap());
            prop_assert_eq!(block.last(), block.spans.iter().map(Span::last).max().unwrap());
            let wasted = (block.address..=block.last()).filter(|cell| !covered(*cell)).count();
            prop_assert_eq!(usize::from(block.wasted), wasted);
            prop_assert!(block.spans.is_sorted_by_key(|span| span.address));
        }
    }

    #[test]
    fn no_plan_takes_less_time((spans, limits) in map(), cost in line()) {
        let ours: u64 = plan(spans.clone(), &limits, &cost).iter().map(|block| cost.read(block.table, block.cells)).sum();
        prop_assert_eq!(Some(ours), least(&spans, &mut Vec::new(), &limits, &cost));
    }

    #[test]
    fn halving_a_block_loses_no_point((spans, limits) in map(), cost in line()) {
        for block in plan(spans, &limits, &cost) {
            if let Some((left, right)) = block.halves() {
                let mut both: Vec<usize> = left.spans.iter().chain(&right.spans).map(|span| span.point).collect();
                let mut all: Vec<usize> = block.spans.iter().map(|span| span.point).collect();
                both.sort_unstable();
                all.sort_unstable();
                prop_assert_eq!(both, all);
                prop_assert!(!left.spans.is_empty() && !right.spans.is_empty());
                let any = Limits { max_gap: Some(1_000), ..limits.clone() };
                // What lies in one point touches no more than that point does, which may cross a seam.
                let in_one = |half: &Block| {
                    block.spans.iter().any(|span| span.address <= half.address && half.last() <= span.last())
                };
                for half in [&left, &right] {
                    prop_assert!(in_one(half) || allowed(&half.spans, &any, &cost), "{:?}", half);
                }
            }
        }
    }
}
