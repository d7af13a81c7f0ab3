//! Devices with random maps, polled until nothing more is to be learned of them.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::doubts::POLLS;
use super::lesson::{Lesson, RETRY_FIRST, RETRY_MOST};
use super::search::{Search, Verdict};
use super::student::{REMIND, Student};
use super::{kept, told};
use crate::device::Device;
use crate::plan::{Block, Cost, Span};
use crate::point::address::Table;
use crate::wire::Exception;

mod silences;

/// Polls after which nothing may be left to learn.
const SETTLED: usize = 200;

/// What a device in the field is like.
#[derive(Debug, Clone, Default)]
struct Fake {
    readable: BTreeSet<u16>,
    /// Most registers in one read; what it does with more is `code`, or silence.
    most: u16,
    code: Option<u8>,
    /// Cells that it does not give together with what is in front of them.
    seams: Vec<u16>,
    /// It says nothing to a read that touches one of these.
    dumb: BTreeSet<u16>,
    /// Everything is refused with this.
    all: Option<u8>,
    /// One in four answers is lost on the line, by this seed; 0: none is.
    losses: Cell<u64>,
}

impl Fake {
    fn says(&self, block: &Block) -> Verdict {
        let refused = |code: u8| Verdict::Refused(Exception(code));
        if self.is_lost() {
            return Verdict::Silent("it is lost".to_owned());
        }
        if let Some(code) = self.all {
            return refused(code);
        }
        if self.dumb.range(block.address..=block.last()).next().is_some() {
            return Verdict::Silent("nothing came".to_owned());
        }
        if block.cells > self.most {
            return self.code.map_or(Verdict::Silent("nothing came".to_owned()), refused);
        }
        let has_all = (block.address..=block.last()).all(|cell| self.readable.contains(&cell));
        let crosses = self.seams.iter().any(|seam| block.address < *seam && *seam <= block.last());
        if has_all && !crosses { Verdict::Answered } else { refused(2) }
    }

    fn is_lost(&self) -> bool {
        if self.losses.get() == 0 {
            return false;
        }
        // Knuth's MMIX generator
        let next =
            self.losses.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.losses.set(next);
        next >> 62 == 0
    }

    fn reads(&self, span: &Span) -> bool {
        self.says(&Block::of(&[*span])) == Verdict::Answered
    }
}

/// What one poll came to.
#[derive(Debug, Default)]
struct Polled {
    good: Vec<usize>,
    bad: Vec<(usize, String)>,
    requests: usize,
    refused: usize,
    silent: bool,
}

fn go_through(mut search: Search, fake: &Fake, window: usize, polled: &mut Polled) -> Search {
    while !search.is_over() && !polled.silent {
        for task in search.take(window) {
            let verdict = fake.says(&task.block);
            polled.requests += 1;
            polled.refused += usize::from(verdict != Verdict::Answered);
            if verdict == Verdict::Answered && task.is_filed() {
                polled.good.extend(task.block.spans.iter().map(|span| span.point));
            }
            let told = &mut |block: &Block, reason: String| {
                polled.bad.extend(block.spans.iter().map(|span| (span.point, reason.clone())));
            };
            polled.silent |= search.hear(task, verdict, told).is_err();
        }
    }
    search
}

fn poll(student: &mut Student, device: &Device, fake: &Fake, now: Instant, window: usize) -> Polled {
    let mut polled = Polled::default();
    let search = student.poll(device, 0, now, &mut |span, reason| polled.bad.push((span.point, reason)));
    let search = go_through(search, fake, window, &mut polled);
    student.learn(device, search, now);
    polled
}

/// Points as `(address, registers)`.
fn device(model: &str, points: &[(u16, u16)]) -> Device {
    let point = |(number, (address, cells)): (usize, &(u16, u16))| {
        let kind = match cells {
            1 => "u16",
            2 => "u32",
            _ => "u64",
        };
        let order = if *cells > 2 { ", order = \"ABCDEFGH\"" } else { "" };
        format!("p{number} = {{ at = \"input:{address}\", type = \"{kind}\"{order} }}\n")
    };
    crate::tests::device(model, &points.iter().enumerate().map(point).collect::<String>())
}

/// Polls until the last one that was not answered in full.
fn settle(student: &mut Student, device: &Device, fake: &Fake, window: usize) -> usize {
    let refused = |student: &mut Student| poll(student, device, fake, Instant::now(), window).refused > 0;
    let polls: Vec<bool> = (0..SETTLED).map(|_| refused(student)).collect();
    polls.iter().rposition(|refused| *refused).map_or(0, |last| last + 1)
}

fn registers(of: impl IntoIterator<Item = u16>) -> BTreeSet<u16> {
    of.into_iter().collect()
}

fn ten() -> Device {
    device("", &(0..10).map(|address| (address, 1)).collect::<Vec<_>>())
}

#[test]
fn one_bad_register_is_left_out_and_the_rest_is_read_at_once_from_then_on() {
    let device = ten();
    let fake = Fake { readable: registers((0..10).filter(|cell| *cell != 6)), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    let now = Instant::now();
    let first = poll(&mut student, &device, &fake, now, 1);
    assert_eq!(first.good.len(), 9);
    assert_eq!(first.bad, [(6, "illegal data address (exception 2)".to_owned())]);
    for _ in 1..POLLS {
        assert_eq!(student.lesson, Lesson::default(), "one refusal teaches nothing");
        assert_eq!(poll(&mut student, &device, &fake, now, 1).good.len(), 9);
    }
    let second = poll(&mut student, &device, &fake, now, 1);
    assert_eq!((second.requests, second.refused, second.good.len()), (2, 0, 9));
    let told = told::tell(&device, &student.lesson);
    assert_eq!(told[0].paste, "holes = [[\"input:0x06\", \"input:0x06\"]]");
    assert_eq!(
        told[0].what,
        "refuses input 0x0006 × 1, which is point \"p6\" (illegal data address (exception 2))"
    );
}

#[test]
fn a_point_that_is_left_out_says_so_each_minute_and_returns_when_the_device_gives_it() {
    let device = ten();
    let mut fake = Fake { readable: registers(1..10), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    let begin = Instant::now();
    for _ in 0..POLLS {
        assert_eq!(poll(&mut student, &device, &fake, begin, 1).bad.len(), 1);
    }
    let reason = "left out, the device refused it: illegal data address (exception 2)";
    assert_eq!(poll(&mut student, &device, &fake, begin + REMIND / 2, 1).bad, []);
    fake.readable.insert(0);
    assert_eq!(
        poll(&mut student, &device, &fake, begin + RETRY_FIRST / 2, 1).good.len(),
        9,
        "it is not asked yet"
    );
    fake.readable.remove(&0);
    let mut now = begin;
    let mut tries = Vec::new();
    let mut reminders = 0;
    while now < begin + RETRY_MOST * 4 {
        now += Duration::from_secs(10);
        let polled = poll(&mut student, &device, &fake, now, 1);
        if polled.refused > 0 {
            tries.push((now - begin).as_secs());
        } else if !polled.bad.is_empty() {
            assert_eq!(polled.bad, [(0, reason.to_owned())]);
            reminders += 1;
        }
    }
    assert!((225..=240).contains(&reminders), "one a minute, four hours long: {reminders}");
    assert!(tries[0] >= RETRY_FIRST.as_secs() * 9 / 10 && tries[0] <= 80, "{tries:?}");
    assert!((8..=12).contains(&tries.len()), "tries get rarer up to one an hour: {tries:?}");
    fake.readable.insert(0);
    while now < begin + RETRY_MOST * 6 {
        now += Duration::from_secs(10);
        if poll(&mut student, &device, &fake, now, 1).good.len() == 10 {
            let after = poll(&mut student, &device, &fake, now, 1);
            assert_eq!((after.requests, after.good.len()), (1, 10));
            return assert_eq!(student.lesson, Lesson::default());
        }
    }
    panic!("the point never came back");
}

#[test]
fn a_refused_gap_is_not_read_across_again() {
    let device = device("", &[(0, 1), (1, 1), (8, 1), (9, 2)]);
    let fake = Fake { readable: registers([0, 1, 8, 9, 10]), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    assert!(settle(&mut student, &device, &fake, 1) <= 3);
    let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
    assert_eq!((polled.requests, polled.good.len()), (2, 4));
    assert_eq!(told::tell(&device, &student.lesson)[0].paste, "holes = [[\"input:0x02\", \"input:0x07\"]]");
}

#[test]
fn a_device_that_gives_fewer_registers_at_a_time_is_learned_exactly() {
    let all: Vec<(u16, u16)> = (0..125).map(|address| (address, 1)).collect();
    for code in [Some(2), Some(3), Some(4), None] {
        for most in [1, 2, 20, 63, 64, 100, 124] {
            let device = device("", &all);
            let fake = Fake { readable: registers(0..125), most, code, ..Fake::default() };
            let mut student = Student::new(&device, Lesson::default());
            let polls = settle(&mut student, &device, &fake, 1);
            assert!(polls < SETTLED, "{polls} polls for {most} and {code:?}");
            let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
            assert_eq!((polled.good.len(), polled.bad.len()), (125, 0));
            if code.is_some() {
                assert_eq!(polls, 3, "{most} and {code:?}");
                assert_eq!(polled.requests, 125usize.div_ceil(most.into()));
                assert_eq!(told::tell(&device, &student.lesson)[0].paste, format!("max_read = {most}"));
            }
        }
    }
}

#[test]
fn a_device_that_refuses_everything_for_a_while_loses_nothing_for_it() {
    for code in [2, 4, 6] {
        let device = ten();
        let mut fake = Fake { readable: registers(0..10), most: 125, all: Some(code), ..Fake::default() };
        let mut student = Student::new(&device, Lesson::default());
        for _ in 0..2 {
            assert_eq!(poll(&mut student, &device, &fake, Instant::now(), 1).bad.len(), 10);
        }
        fake.all = None;
        let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
        assert_eq!((polled.good.len(), &student.lesson), (10, &Lesson::default()), "{code}");
    }
}

#[test]
fn a_refusal_that_passes_leaves_the_plan_as_it_was() {
    let device = device("", &[(0, 1), (1, 1), (4, 1), (5, 1)]);
    let fake = Fake { readable: registers(0..10), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    for round in 0..40 {
        for code in [2, 3, 4] {
            let mut search = student.poll(&device, 0, Instant::now(), &mut |_, _| ());
            for task in search.take(1) {
                search.hear(task, Verdict::Refused(Exception(code)), &mut |_, _| ()).unwrap();
            }
            let search = go_through(search, &fake, 1, &mut Polled::default());
            student.learn(&device, search, Instant::now());
            let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
            assert_eq!((polled.requests, polled.good.len()), (1, 4), "round {round}, exception {code}");
            assert_eq!(student.lesson, Lesson::default(), "round {round}, exception {code}");
        }
    }
}

#[test]
fn what_was_learned_wrongly_is_found_out_and_what_is_true_stays() {
    let device = device("", &(0..10).chain(14..20).map(|address| (address, 1)).collect::<Vec<_>>());
    let mut lesson = Lesson::default();
    lesson.part(Table::Input, 3);
    lesson.part(Table::Input, 6);
    lesson.skip((Table::Input, 10, 13), Exception(2), Instant::now());
    lesson.shorten(Table::Input, 8);
    let fake = Fake { readable: registers(0..20), most: 125, seams: vec![6], ..Fake::default() };
    let mut student = Student::new(&device, lesson);
    let (begin, mut refused) = (Instant::now(), 0);
    for minute in 0..60 * 24 {
        let now = begin + Duration::from_secs(60) * minute;
        let polled = poll(&mut student, &device, &fake, now, 1);
        assert_eq!(polled.good.len(), 16);
        refused += polled.refused;
    }
    assert!((10..=100).contains(&refused), "the true one is tried now and then: {refused}");
    let mut left = Lesson::default();
    left.part(Table::Input, 6);
    assert_eq!(student.lesson, left);
}

#[test]
fn points_that_were_left_out_while_a_device_started_come_back_together() {
    let device = device("max_gap = 0", &(0..60).map(|n| (n * 2, 1)).collect::<Vec<_>>());
    let mut fake = Fake { readable: registers(0..200), most: 125, all: Some(2), ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    let begin = Instant::now();
    for _ in 0..POLLS {
        poll(&mut student, &device, &fake, begin, 1);
    }
    assert_eq!(student.lesson.refused.len(), 60);
    fake.all = None;
    let bytes = kept::pack(device.fingerprint, &student.lesson).unwrap();
    let restored = kept::unpack(&bytes, device.fingerprint, begin, || 1.0);
    for mut student in [student, Student::new(&device, restored)] {
        for polls in 0..4 {
            let now = begin + RETRY_FIRST * 5 / 4 + Duration::from_secs(polls * 300);
            let polled = poll(&mut student, &device, &fake, now, 1);
            assert_eq!(polled.refused, 0);
            assert!(polled.requests <= 60);
        }
        assert_eq!(student.lesson, Lesson::default(), "all are back after four polls");
    }
}

#[test]
fn what_was_kept_and_comes_late_is_added_to_what_was_learned_meanwhile() {
    let device = ten();
    let fake = Fake { readable: registers([0, 1, 2, 4, 5, 7, 8, 9]), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    settle(&mut student, &device, &fake, 1);
    assert_eq!(student.lesson.refused.len(), 2);
    let mut kept = Lesson::default();
    kept.part(Table::Input, 8);
    for cell in [3, 9] {
        let span = Span { point: cell.into(), table: Table::Input, address: cell, cells: 1 };
        kept.leave_out(&span, Exception(2), Instant::now(), 0.5);
    }
    student.is_news = false;
    student.take_up(&device, kept);
    let cells: Vec<u16> = student.lesson.refused.iter().map(|one| one.first).collect();
    assert_eq!((cells, &student.lesson.seams[..]), (vec![3, 6, 9], &[(Table::Input, 8)][..]));
    assert!(student.is_news, "both together are kept");
    let reads: Vec<u16> = student.reads(0).iter().map(|block| block.address).collect();
    assert_eq!(reads, [0, 4, 7, 8]);
}

#[test]
fn a_device_that_only_fails_is_not_asked_for_every_register_and_soon_counts_as_silent() {
    for code in [4, 5, 6] {
        let device = device("", &(0..125).map(|address| (address, 1)).collect::<Vec<_>>());
        let mut fake = Fake { all: Some(code), readable: registers(0..125), most: 125, ..Fake::default() };
        let mut student = Student::new(&device, Lesson::default());
        for _ in 0..2 {
            let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
            assert!(polled.requests <= 24, "{}", polled.requests);
            assert_eq!(polled.bad.len(), 125);
        }
        for _ in 0..7 {
            let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
            assert_eq!((polled.requests, polled.silent), (1, true), "exception {code}");
        }
        assert_eq!(student.lesson, Lesson::default());
        fake.all = None;
        assert_eq!(poll(&mut student, &device, &fake, Instant::now(), 1).good.len(), 125);
    }
}

#[test]
fn a_function_that_is_refused_is_one_request_and_a_clear_reason() {
    let device = ten();
    let fake = Fake { all: Some(1), ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    for _ in 0..5 {
        let polled = poll(&mut student, &device, &fake, Instant::now(), 1);
        assert!(polled.requests <= 2);
        assert_eq!(polled.bad[9], (9, "illegal function (exception 1)".to_owned()));
    }
    assert_eq!(student.lesson, Lesson::default());
}

#[test]
fn a_device_that_is_seen_to_be_slow_is_read_across_wider_gaps() {
    let mut device = device("", &[(0, 1), (14, 1)]);
    device.cost = Cost::rtu(9_600, 11, Duration::ZERO);
    let fake = Fake { readable: registers(0..20), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    assert_eq!(poll(&mut student, &device, &fake, Instant::now(), 1).requests, 2);
    for (turnaround, plans, requests) in [(1, true, 2), (20, true, 1), (21, false, 1), (2, true, 2)] {
        assert_eq!(student.measure(&device, Duration::from_millis(turnaround)), plans, "{turnaround} ms");
        assert_eq!(
            poll(&mut student, &device, &fake, Instant::now(), 1).requests,
            requests,
            "{turnaround} ms"
        );
    }
}

#[test]
fn a_dead_device_costs_one_request_a_poll() {
    let device = device("max_gap = 0", &[(0, 4), (10, 4), (20, 4), (4, 4), (30, 2)]);
    let alive = Fake { readable: registers(0..40), most: 125, ..Fake::default() };
    let dead = Fake { most: 0, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    for before in [false, true] {
        if before {
            poll(&mut student, &device, &alive, Instant::now(), 1);
        }
        for _ in 0..3 {
            let polled = poll(&mut student, &device, &dead, Instant::now(), 1);
            assert_eq!((polled.requests, polled.silent), (1, true));
        }
    }
}

#[test]
fn a_read_asks_a_point_again_that_was_left_out() {
    let device = ten();
    let mut fake = Fake { readable: registers(1..10), most: 125, ..Fake::default() };
    let mut student = Student::new(&device, Lesson::default());
    settle(&mut student, &device, &fake, 1);
    fake.readable.insert(0);
    let mut polled = Polled::default();
    let search = go_through(
        student.read(&device, &[0, 3], &mut |_, _| panic!("not in a hole")),
        &fake,
        1,
        &mut polled,
    );
    student.learn(&device, search, Instant::now());
    assert_eq!(polled.good.len(), 2);
    assert_eq!(student.lesson, Lesson::default());
}

#[test]
fn the_line_to_paste_makes_the_same_plan_without_learning() {
    let points: Vec<(u16, u16)> = (0..10).map(|address| (address, 1)).chain([(20, 2)]).collect();
    let before = device("max_gap = 20", &points);
    let fake = Fake {
        readable: registers((0..24).filter(|cell| ![6, 14].contains(cell))),
        most: 125,
        ..Fake::default()
    };
    let mut student = Student::new(&before, Lesson::default());
    settle(&mut student, &before, &fake, 1);
    let paste = told::tell(&before, &student.lesson).remove(0).paste;
    assert_eq!(paste, "holes = [[\"input:0x06\", \"input:0x06\"], [\"input:0x0a\", \"input:0x13\"]]");
    let after = device(&format!("max_gap = 20\n{paste}"), &points);
    let mut pasted = Student::new(&after, Lesson::default());
    let polled = poll(&mut pasted, &after, &fake, Instant::now(), 1);
    assert_eq!((polled.refused, polled.good.len()), (0, 10));
    let [(point, reason)] = &polled.bad[..] else { panic!("{:?}", polled.bad) };
    let told = (after.points[*point].name.as_str(), reason.as_str());
    assert_eq!(told, ("p6", "is in a hole of its model, which is never read"));
    assert_eq!(pasted.reads(0), student.reads(0));
    let again = told::tell(&after, &Lesson::default());
    assert_eq!(again, []);
}

fn fake() -> impl Strategy<Value = Fake> {
    let holes = proptest::collection::vec((0..150u16, 1..4u16), 0..12);
    let code = prop_oneof![3 => Just(Some(2)), 3 => Just(Some(3)), 1 => Just(Some(4)), 1 => Just(None)];
    let most = prop_oneof![1 => Just(125u16), 3 => 4..100u16];
    (holes, most, code, proptest::collection::vec(0..150u16, 0..3)).prop_map(|(holes, most, code, seams)| {
        let mut readable = registers(0..160);
        for (first, cells) in holes {
            readable.retain(|cell| !(first..first + cells).contains(cell));
        }
        Fake { readable, most, code, seams, ..Fake::default() }
    })
}

fn points() -> impl Strategy<Value = Vec<(u16, u16)>> {
    let point = (0..150u16, prop_oneof![4 => Just(1u16), 2 => Just(2), 1 => Just(4)]);
    let dense = proptest::collection::vec(prop_oneof![4 => Just(1u16), 2 => Just(2), 1 => Just(4)], 1..80);
    let dense = dense.prop_map(|cells| {
        let mut next = 0;
        let place = |cells: u16| {
            next += cells;
            (next - cells, cells)
        };
        let points: Vec<(u16, u16)> = cells.into_iter().map(place).collect();
        points
    });
    prop_oneof![proptest::collection::vec(point, 1..50), dense]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn every_readable_point_is_read_and_nothing_is_refused_once_all_is_learned(
        fake in fake(),
        points in points(),
        gap in prop_oneof![Just("\"auto\"".to_owned()), (0..10u16).prop_map(|gap| gap.to_string())],
        window in 1..5usize,
    ) {
        let device = device(&format!("max_gap = {gap}"), &points);
        let mut student = Student::new(&device, Lesson::default());
        let now = Instant::now();
        let spans: Vec<Span> = device.polls[0].spans.clone();
        let readable: Vec<usize> = spans.iter().filter(|span| fake.reads(span)).map(|span| span.point).collect();
        for polls in 0..SETTLED {
            let polled = poll(&mut student, &device, &fake, now, window);
            let mut told: Vec<usize> = polled.good.clone();
            told.sort_unstable();
            prop_assert!(told.windows(2).all(|two| two[0] != two[1]), "a point was read twice");
            prop_assert!(told.iter().all(|point| readable.contains(point)));
            // A device that seems to fail is not asked for everything in its first polls.
            if !polled.silent && (fake.code != Some(4) || polls > 2) {
                prop_assert_eq!(&told, &readable, "a readable point was lost, whatever was refused");
            }
        }
        let before = student.lesson.clone();
        // What was kept is as good as what was learned.
        let bytes = kept::pack(device.fingerprint, &student.lesson);
        let again = bytes.map_or_else(Lesson::default, |bytes| kept::unpack(&bytes, device.fingerprint, now, || 1.0));
        for mut student in [student, Student::new(&device, again)] {
            let polled = poll(&mut student, &device, &fake, now, window);
            let mut good = polled.good;
            good.sort_unstable();
            prop_assert_eq!(&good, &readable);
            if !readable.is_empty() {
                prop_assert_eq!(polled.refused, 0);
            }
            prop_assert_eq!(student.lesson.seams.len(), before.seams.len());
        }
    }
}
