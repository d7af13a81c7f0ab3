//! The schedule against a simulated line.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

fn fresh(periods_ms: &[u64]) -> NewUnit {
    let periods = periods_ms.iter().map(|ms| Duration::from_millis(*ms)).collect();
    NewUnit::Fresh { periods, offline: Offline::default() }
}

fn schedule(units: Vec<NewUnit>) -> (Schedule, Instant) {
    schedule_after(0, units)
}

fn schedule_after(before: u32, units: Vec<NewUnit>) -> (Schedule, Instant) {
    let now = Instant::now();
    let mut schedule = Schedule::new(fastrand::Rng::with_seed(7), before);
    schedule.rebuild(now, units);
    (schedule, now)
}

/// Runs a line for `length`, each poll taking what `cost` says; gives back when each poll started.
fn run(
    schedule: &mut Schedule,
    from: Instant,
    length: Duration,
    cost: impl Fn(Unit) -> Result<Duration, Duration>,
) -> HashMap<(Unit, usize), Vec<Instant>> {
    let mut now = from;
    let mut starts: HashMap<(Unit, usize), Vec<Instant>> = HashMap::new();
    while now < from + length {
        match schedule.next(now) {
            Next::Poll(unit, poll) => {
                starts.entry((unit, poll)).or_default().push(now);
                match cost(unit) {
                    Ok(took) => {
                        now += took;
                        schedule.succeeded(unit, poll, now);
                    }
                    Err(took) => {
                        now += took;
                        schedule.silent(unit, poll, now);
                    }
                }
            }
            Next::LineDown(unit, poll) => {
                schedule.line_failed(unit, poll, now);
            }
            Next::Wait(at) => {
                assert!(at > now, "a wait that is over");
                now = at;
            }
            Next::Idle => break,
        }
    }
    starts
}

#[test]
fn lines_begin_in_groups_and_all_of_them_within_their_period() {
    let first = |before: u32, period: u64| {
        let (schedule, now) = schedule_after(before, vec![fresh(&[period])]);
        match schedule.next(now) {
            Next::Poll(..) => Duration::ZERO,
            Next::Wait(at) => at - now,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!([0, 19, 20, 99].map(|before| first(before, 5_000)), [0, 0, 20, 80].map(|ms| MS * ms));
    assert_eq!([79, 80, 100].map(|before| first(before, 100)), [60, 80, 0].map(|ms| MS * ms));
    assert_eq!(first(1_020, 60_000), MS * 20, "the first comes soon however long the period is");
}

proptest! {
    /// An idle enough line: every poll starts once per slot, close to it, forever without drift.
    #[test]
    fn a_poll_keeps_its_grid(
        periods in proptest::collection::vec(100..5_000u64, 1..8),
        before in 0..2_000u32,
    ) {
        let units = periods.iter().map(|ms| fresh(&[*ms])).collect();
        let (mut schedule, now) = schedule_after(before, units);
        let phase = GROUPS_APART * (before / LINES_TOGETHER);
        let starts = run(&mut schedule, now, Duration::from_secs(60), |_| Ok(MS));
        for (unit, ms) in periods.iter().enumerate() {
            let period = Duration::from_millis(*ms);
            let first = starts[&(unit, 0)][0];
            prop_assert!(first - now <= period.min(FIRST_WITHIN) + 10 * MS);
            for (slot, start) in starts[&(unit, 0)].iter().enumerate() {
                let within = period.min(FIRST_WITHIN);
                let after = (within * unit as u32 / periods.len() as u32 + phase).as_nanos() % within.as_nanos();
                let wanted = now + Duration::from_nanos(after as u64) + period * slot as u32;
                prop_assert!(*start >= wanted && *start - wanted < 10 * MS, "late by {:?}", *start - wanted);
            }
        }
        prop_assert_eq!(schedule.take_skipped(), 0);
    }

    /// Something else that takes the line only for as long as there is time to spare costs no slot, even
    /// at two thirds of the line's load.
    #[test]
    fn spare_time_is_spare(
        periods in proptest::collection::vec(200..5_000u64, 1..8),
        shares in proptest::collection::vec(1..100u64, 8),
        wishes in proptest::collection::vec(1..4_000u64, 1..200),
    ) {
        let shortest = *periods.iter().min().unwrap();
        let all: u64 = shares[..periods.len()].iter().sum();
        // Each takes its share of two thirds of the line, and none longer than half the shortest period.
        let cost = |unit: Unit| {
            let ms = periods[unit] * 2 * shares[unit] / all / 3;
            Duration::from_millis(ms.clamp(1, shortest / 2))
        };
        let (mut schedule, start) = schedule(periods.iter().map(|ms| fresh(&[*ms])).collect());
        let (mut now, mut taken) = (start, 0);
        let mut wishes = wishes.iter().cycle();
        while now < start + Duration::from_secs(120) {
            match (schedule.next(now), schedule.spare(now)) {
                (Next::Poll(unit, poll), spare) => {
                    prop_assert_eq!(spare, None, "a due poll leaves nothing to spare");
                    now += cost(unit);
                    schedule.succeeded(unit, poll, now);
                }
                (Next::Wait(at), Some(spare)) => {
                    let wish = Duration::from_millis(*wishes.next().unwrap());
                    if wish <= spare {
                        taken += 1;
                        now += wish;
                    } else {
                        now = at;
                    }
                }
                other => prop_assert!(false, "{:?}", other),
            }
        }
        prop_assert_eq!(schedule.take_skipped(), 0, "{} times taken", taken);
    }

    /// A line that cannot carry what is asked: it is never idle, nobody starves, the lost slots are counted.
    #[test]
    fn an_overloaded_line_skips_and_counts(count in 3..9usize, cost_ms in 50..120u64) {
        let units = (0..count).map(|_| fresh(&[100])).collect();
        let (mut schedule, now) = schedule(units);
        let length = Duration::from_secs(60);
        let starts = run(&mut schedule, now, length, |_| Ok(Duration::from_millis(cost_ms)));
        let runs: Vec<usize> = (0..count).map(|unit| starts[&(unit, 0)].len()).collect();
        let total: usize = runs.iter().sum();
        let room = (length.as_millis() as u64 / cost_ms) as usize;
        prop_assert!(total + 2 >= room, "{} of {} possible polls", total, room);
        let fair = total / count;
        prop_assert!(runs.iter().all(|runs| runs.abs_diff(fair) <= fair / 5 + 2), "{:?}", runs);
        let slots = count * 600;
        let counted = total as u64 + schedule.take_skipped();
        // At the end each device waits for its turn with the slots of one round.
        let round = count as u64 * (count as u64 * cost_ms / 100 + 2);
        prop_assert!(counted.abs_diff(slots as u64) <= round, "{} of {}", counted, slots);
    }

    /// However long the pause was, at most the running slot is made up for.
    #[test]
    fn missed_slots_are_never_queued(stall_ms in 1..1_000_000u64) {
        let (mut schedule, now) = schedule(vec![fresh(&[1_000])]);
        let later = now + Duration::from_millis(stall_ms);
        schedule.succeeded(0, 0, later);
        let starts = run(&mut schedule, later, 999 * MS, |_| Ok(MS));
        let runs = starts.get(&(0, 0)).map_or(0, Vec::len);
        prop_assert!(runs <= 2, "{} runs in one period", runs);
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_device_costs_its_neighbours_a_bounded_share() {
    let units = (0..10).map(|_| fresh(&[1_000])).collect();
    let (mut schedule, now) = schedule(units);
    let starts = run(&mut schedule, now, Duration::from_secs(600), |unit| {
        if unit == 4 { Err(1_000 * MS) } else { Ok(5 * MS) }
    });
    for unit in (0..10).filter(|unit| *unit != 4) {
        let runs = starts[&(unit, 0)].len();
        assert!(runs >= 570, "device {unit} was read {runs} times of 600");
    }
    let probes = starts[&(4, 0)].len();
    assert!((6..=10).contains(&probes), "{probes} tries of a silent device in ten minutes");
    assert!(!schedule.online(4) && schedule.online(5));
}

/// A serial line that its polls fill to nine tenths: the time of a dead device cannot come from pauses.
#[tokio::test(start_paused = true)]
async fn a_dead_device_of_ten_costs_a_full_line_less_than_a_twentieth_whatever_its_rates() {
    for timeout in [300, 1_000] {
        let count = |dead: Option<Unit>| {
            let units = (0..10).map(|_| fresh(&[1_000, 2_000, 60_000])).collect();
            let (mut schedule, now) = schedule(units);
            run(&mut schedule, now, Duration::from_secs(600), |unit| {
                if Some(unit) == dead { Err(timeout * MS) } else { Ok(60 * MS) }
            })
        };
        let (well, ill) = (count(None), count(Some(4)));
        for (of, starts) in well.iter().filter(|((unit, _), _)| *unit != 4) {
            let (before, after) = (starts.len(), ill.get(of).map_or(0, Vec::len));
            assert!(after * 20 >= before * 19, "{of:?} was read {after} times instead of {before}");
        }
        let tries: usize = (0..3).filter_map(|poll| ill.get(&(4, poll))).map(Vec::len).sum();
        assert!((6..=10).contains(&tries), "all of its rates share one breaker: {tries} tries");
    }
}

#[tokio::test(start_paused = true)]
async fn a_device_that_comes_back_is_read_at_once() {
    let (mut schedule, now) = schedule(vec![fresh(&[1_000, 60_000])]);
    let mut at = now;
    while schedule.online(0) {
        at += 1_000 * MS;
        schedule.silent(0, 0, at);
    }
    let Next::Wait(probe) = schedule.next(at) else { panic!("an offline device is only probed") };
    assert!(probe - at >= Duration::from_secs(27));
    assert_eq!(schedule.next(probe), Next::Poll(0, 0));
    assert!(schedule.succeeded(0, 0, probe));
    assert_eq!(schedule.next(probe), Next::Poll(0, 1), "its other poll need not wait for its slot");
    schedule.succeeded(0, 1, probe);
    let Next::Wait(next) = schedule.next(probe) else { panic!("nothing more is due") };
    assert!(next - probe <= 1_000 * MS);
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_is_postponed_says_nothing_of_its_device_and_waits_for_its_next_slot() {
    let (mut schedule, now) = schedule(vec![fresh(&[1_000])]);
    let mut at = now;
    for _ in 0..20 {
        assert_eq!(schedule.next(at), Next::Poll(0, 0));
        schedule.postponed(0, 0, at);
        let Next::Wait(next) = schedule.next(at) else { panic!("it would be asked again at once") };
        at = next;
    }
    assert!(schedule.online(0));
    while schedule.online(0) {
        schedule.silent(0, 0, at);
        at += 1_000 * MS;
    }
    let Next::Wait(probe) = schedule.next(at) else { panic!("an offline device is only probed") };
    schedule.postponed(0, 0, probe);
    let Next::Wait(next) = schedule.next(probe) else { panic!("it would be probed again at once") };
    assert!(next - probe >= Duration::from_secs(27) && !schedule.online(0));
}

#[tokio::test(start_paused = true)]
async fn a_broken_line_pauses_and_then_everything_is_read_at_once() {
    let (mut schedule, now) = schedule(vec![fresh(&[100]), fresh(&[100]), fresh(&[300_000])]);
    let mut at = now;
    let mut tries = 0;
    while at < now + Duration::from_secs(100) {
        match schedule.next(at) {
            Next::Poll(unit, poll) => {
                tries += 1;
                schedule.broken(unit, poll, at);
            }
            Next::LineDown(unit, poll) => {
                schedule.line_failed(unit, poll, at);
            }
            Next::Wait(wake) => at = wake,
            Next::Idle => unreachable!("there are devices"),
        }
    }
    assert!((12..=30).contains(&tries), "{tries} tries in 100 s");
    assert!(!schedule.online(0) && !schedule.online(1));
    while !matches!(schedule.next(at), Next::Poll(..)) {
        match schedule.next(at) {
            Next::LineDown(unit, poll) => {
                schedule.line_failed(unit, poll, at);
            }
            Next::Wait(wake) => at = wake,
            other => panic!("{other:?}"),
        }
    }
    let starts = run(&mut schedule, at, 150 * MS, |_| Ok(MS));
    assert_eq!(starts.len(), 3, "the slow device need not wait for its slot: {starts:?}");
    assert!((0..3).all(|unit| schedule.online(unit)));
}

#[tokio::test(start_paused = true)]
async fn bad_is_told_once_per_streak_and_every_minute() {
    let (mut schedule, now) = schedule(vec![fresh(&[1_000])]);
    assert!(schedule.bad_is_news(0, 0, now));
    assert!(!schedule.bad_is_news(0, 0, now + Duration::from_secs(59)));
    assert!(schedule.bad_is_news(0, 0, now + Duration::from_secs(60)));
    schedule.succeeded(0, 0, now + Duration::from_secs(61));
    assert!(schedule.bad_is_news(0, 0, now + Duration::from_secs(62)));
}

#[tokio::test(start_paused = true)]
async fn a_kept_device_does_not_notice_a_rebuild() {
    let (mut schedule, now) = schedule(vec![fresh(&[1_000]), fresh(&[1_000])]);
    schedule.succeeded(0, 0, now + MS);
    let before = schedule.units[0].polls[0].grid;
    schedule.rebuild(now + 300 * MS, vec![fresh(&[500]), NewUnit::Kept(0)]);
    assert_eq!(schedule.units[1].polls[0].grid, before);
}
