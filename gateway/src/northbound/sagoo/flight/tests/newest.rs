//! The newest before what waits (`drain = "live-first"`): at once, once, and whatever happens in between.

use super::drain::{merged, outage, world};
use super::stories::{assert_settled, damage, key, story, weather};
use super::*;

/// How long rows of these devices that were stored from `from` on took to arrive, rising.
fn latencies(world: &World, devices: &[&str], waiting: i64, from: i64, to: i64) -> Vec<Duration> {
    let stored = |n: i64| world.start + Duration::from_secs((n - waiting) as u64);
    let of = |device: &str, n: i64| world.arrived[&(device.to_owned(), n)] - stored(n);
    let all = devices.iter().flat_map(|device| (from..to).map(move |n| of(device, n)));
    let mut all: Vec<Duration> = all.collect();
    all.sort_unstable();
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn what_is_damaged_lets_nothing_pass_for_said_before_its_turn(
        mut weather in weather(), story in story(), small in any::<bool>(),
        damaged in proptest::collection::btree_set(1..60u64, 1..12),
    ) {
        let (records, mut expected) = damage(&mut weather, damaged, &story);
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let of_telemetry = records.iter().filter(|(_, rows)| class_of(rows) == Class::Telemetry);
        let number = |(seq, row): (u64, &Row)| ((row.device.clone(), seq), row.time_ms / 1_000);
        let rows = of_telemetry.zip(1..).flat_map(|((_, rows), seq)| rows.iter().map(move |row| (seq, row)));
        let numbers: HashMap<(Arc<str>, u64), i64> = rows.map(number).collect();
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = world(Drain::LiveFirst, &devices, records, weather, budget);
        world.run(Duration::from_secs(7_200), samples);
        for one in world.settled.iter().filter(|one| one.class == Class::Telemetry) {
            if one.fate == Fate::Damaged {
                expected.get_mut(&key(one)).expect("of a good record").1 = Fate::Damaged;
                continue;
            }
            let said = (one.device.to_string(), numbers[&(one.device.clone(), one.seq)]);
            prop_assert!(world.arrived.contains_key(&said), "{said:?} of record {} was never said", one.seq);
        }
        assert_settled(&world.settled, &expected);
    }
}

#[test]
fn live_first_says_the_newest_at_once_while_an_hour_is_drained_twenty_times_faster_than_it_came() {
    let (fast, devices) = (Weather { fast: true, ..fair() }, ["a", "b", "c", "d"]);
    let run = |waiting: i64| {
        let records = outage(&devices, waiting, 200);
        let mut world = world(Drain::LiveFirst, &names(&devices), records, fast.clone(), READ_AHEAD_BYTES);
        world.run(Duration::from_secs(201), u64::MAX);
        world
    };
    let (calm, busy) = (run(1), run(3_600));
    let drained = (1..=3_600).map(|n| busy.arrived[&("a".to_owned(), n)]).max().unwrap() - busy.start;
    assert!(drained <= Duration::from_secs(3_600 / 20), "{drained:?}");
    let last = 3_600 + drained.as_secs() as i64;
    let beside = latencies(&busy, &devices, 3_600, 3_602, last);
    let usual = latencies(&calm, &devices, 1, 3, last - 3_600);
    // A new row may have to wait for the device's own row on its way, the distance after that and room in
    // the link; few do.
    let most = *usual.last().unwrap();
    let later = beside.iter().filter(|took| **took > most).count();
    assert!(later * 4 <= beside.len(), "{later} of {} took longer than {most:?}", beside.len());
    let worst = *beside.last().unwrap();
    assert!(worst <= most + Duration::from_millis(5 + 5 + 2 + 2), "{worst:?}, usually {most:?}");
    assert_eq!(busy.settled.len(), busy.arrived.len(), "each row is settled, and said once");
    assert_eq!(merged(&busy), 0);
    let counts = busy.flight.counts();
    assert_eq!((counts.sent_samples, counts.resent_messages), (2 * busy.arrived.len() as u64, 0));
}

#[test]
fn what_waits_since_an_outage_rests_for_what_is_new_and_has_its_turn_all_the_same() {
    let fast = Weather { fast: true, ..fair() };
    // 50 rows a second are more than what rests would leave a place for
    let new = |n: i64| Duration::from_secs(1) + Duration::from_millis(20) * n as u32;
    let waiting = (1..=600).map(|n| (Duration::ZERO, vec![row("a", n, 2)]));
    let records = waiting.chain((0..1_500).map(|n| (new(n), vec![row("a", 601 + n, 2)]))).collect();
    let mut world = world(Drain::LiveFirst, &names(&["a"]), records, fast, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(31), u64::MAX);
    let arrived = |n: i64| world.arrived[&("a".to_owned(), n)] - world.start;
    // Among rows that came one at a time 20 ms apart nearly all went at once.
    let late = |n: &i64| arrived(601 + n) > new(*n) + Duration::from_millis(20);
    let late = (0..1_400).filter(late).count();
    assert!(late < 140, "{late} of 1400 were late");
    let drained = (1..=600).map(arrived).max().unwrap();
    let rate = 600.0 / drained.as_secs_f64();
    assert!((20.0..40.0).contains(&rate), "{rate} rows a second of those that wait");
}

#[test]
fn what_is_new_does_not_wait_until_all_that_was_stored_before_it_is_read() {
    let devices = ["a", "b"];
    let weather = Weather { fast: true, slow_disk: true, ..fair() };
    let records = outage(&devices, 30_000, 8);
    let mut world = world(Drain::LiveFirst, &names(&devices), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(5), u64::MAX);
    let walked = world.flight.lanes(Class::Telemetry).walked;
    assert!(walked < 20_000, "{walked} records are read: it was not that far to go");
    let beside = latencies(&world, &devices, 30_000, 30_001, 30_005);
    assert!(*beside.last().unwrap() <= Duration::from_millis(60), "{beside:?}");
    // while they are reached, and after
    world.run(Duration::from_secs(60), u64::MAX);
    let counts = world.flight.counts();
    let said = world.arrived.len() as u64;
    assert!(world.arrived.contains_key(&("b".to_owned(), 30_008)) && said > 3_000, "{said} rows");
    assert!(
        (2 * said..=2 * said + 4).contains(&counts.sent_samples),
        "said twice: {counts:?} for {said} rows"
    );
}

#[test]
fn a_row_said_before_its_turn_is_not_sent_again_in_its_turn() {
    let fast = Weather { fast: true, ..fair() };
    let mut world = world(Drain::LiveFirst, &names(&["a"]), outage(&["a"], 500, 20), fast, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(3), u64::MAX);
    assert!(world.arrived.contains_key(&("a".to_owned(), 502)), "the newest waits for its turn");
    assert!(world.settled.iter().all(|one| one.seq < 500), "it was settled before its turn");
    world.run(Duration::from_secs(60), 2 * 520);
    assert_eq!(world.settled.len(), 520);
    assert_eq!(world.flight.counts().sent_messages, 520, "something was said twice");
}

/// Issue 2: out-of-order acknowledgements are kept as ranges.
#[test]
fn a_kill_repeats_nothing_that_was_answered_before_its_turn() {
    let (fast, devices) = (Weather { fast: true, ..fair() }, names(&["a"]));
    let mut world = world(Drain::LiveFirst, &devices, outage(&["a"], 2_000, 40), fast, READ_AHEAD_BYTES);
    let mut sent = 0;
    for kill in [5, 9, 14] {
        world.run(Duration::from_secs(kill), u64::MAX);
        sent += world.flight.counts().sent_messages;
        world.restart(Drain::LiveFirst, &devices, READ_AHEAD_BYTES, 0);
    }
    assert!(world.said_ahead.len() > 10, "{} rows went before their turn", world.said_ahead.len());
    assert!(world.settled.len() < 2_000, "and all of them wait for it");
    world.run(Duration::from_secs(120), 2 * 2_040);
    assert_eq!((world.settled.len(), world.arrived.len()), (2_040, 2_040));
    sent += world.flight.counts().sent_messages;
    // one of a device is un-acknowledged at a time
    assert!((2_040..=2_040 + 3).contains(&sent), "{sent} messages for 2040 rows and 3 kills");
}

#[test]
fn a_row_said_before_its_turn_just_before_a_silence_waits_for_its_answer_all_the_same() {
    let away = Weather { fast: true, away: vec![(10, 5)], ..fair() };
    let before = (1..=5).flat_map(|n| [("a", n), ("b", n)].map(|it| (Duration::from_secs(n as u64), it)));
    let silent = Duration::from_millis(14_500);
    let then = [(Duration::from_secs(10), ("a", 6)), (silent, ("b", 6)), (silent, ("b", 7))];
    let records = before.chain(then).map(|(at, (device, n))| (at, vec![row(device, n, 2)])).collect();
    let mut world = world(Drain::LiveFirst, &names(&["a", "b"]), records, away, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(15), u64::MAX);
    assert_eq!(world.went.last().map(String::as_str), Some("gateway-k-13-0"), "{:?}", world.went);
    // the world watches that nothing comes again in a hurry
    world.run(Duration::from_secs(60), 2 * 13);
    assert_eq!(world.settled.len(), 13);
}

#[test]
fn what_is_new_after_a_second_outage_does_not_wait_for_its_backlog_either() {
    let weather = Weather { fast: true, slow_disk: true, broken: vec![(2, 8)], ..fair() };
    let at = |n: i64| Duration::from_secs(if n <= 20_000 { 0 } else { 5.max(n - 40_000 + 10) as u64 });
    let records = (1..=40_005).map(|n| (at(n), vec![row("a", n, 2)])).collect();
    let mut world = world(Drain::LiveFirst, &names(&["a"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(16), u64::MAX);
    let walked = world.flight.lanes(Class::Telemetry).walked;
    assert!(walked < 30_000, "{walked} records are read: it was not that far to go");
    for n in 40_001..=40_005 {
        let took = world.arrived[&("a".to_owned(), n)] - world.start - at(n);
        assert!(took <= Duration::from_millis(60), "{n} took {took:?}");
    }
}

#[test]
fn what_waits_of_a_device_that_is_read_often_rests_less() {
    // ten rows a second
    let often = |n: i64| Row { time_ms: n * 100, ..row("a", n, 2) };
    let waiting = (1..=2_000).map(|n| (Duration::ZERO, vec![often(n)]));
    let new = (1..=200).map(|n| (Duration::from_millis(100) * n as u32, vec![often(2_000 + n)]));
    let fast = Weather { fast: true, ..fair() };
    let records = waiting.chain(new).collect();
    let mut world = world(Drain::LiveFirst, &names(&["a"]), records, fast, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), u64::MAX);
    let settled = world.settled.len();
    assert!(settled > 20 * 60, "{settled} rows in 20 s, where one every 37 ms would be 540");
}
