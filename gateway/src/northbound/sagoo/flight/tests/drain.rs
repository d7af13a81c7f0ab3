//! What waited through an outage, in each order; merging; the window. [`super::newest`] is about what goes
//! before it.

use super::super::merge::MERGE_AFTER;
use super::stories::{assert_settled, expected, key, story, tell, weather};
use super::*;
use crate::pipeline::book::Book;

/// A world in which what waits is sent in this order.
pub(super) fn world(
    drain: Drain,
    devices: &[String],
    records: Vec<(Duration, Vec<Row>)>,
    weather: Weather,
    budget: usize,
) -> World {
    let mut world = World::new(devices, records, weather, budget);
    let spacing = if drain == Drain::LiveFirst { Duration::from_millis(2) } else { SPACING };
    (world.jumps, world.spacing) = (drain != Drain::Ordered, spacing);
    world.again.ahead = u32::from(drain == Drain::LiveFirst);
    world.flight =
        Flight::new(Options { drain, row_spacing: spacing, ..options(devices, budget) }, world.start);
    world.flight.set_online(&world.online);
    world
}

impl World {
    /// The process is killed and starts again; what was settled is known, and what was answered before its
    /// turn, but for the last so many of that.
    pub(super) fn restart(&mut self, drain: Drain, devices: &[String], budget: usize, unwritten: usize) {
        let written = self.said_ahead.len().saturating_sub(unwritten);
        self.said_ahead.truncate(written);
        let resume = PerClass::new(|class| {
            let mut book = Book::default();
            for one in self.settled.iter().filter(|one| one.class == class) {
                book.settled(&one.device, one.seq, one.samples, one.fate);
            }
            for one in self.said_ahead.iter().filter(|one| one.class == class) {
                book.said_ahead(&one.device, one.range);
            }
            let kept = Book::restore(1, &book.detail(self.heads[class], "boot", false));
            let ahead = kept.ahead().map(|(device, ranges)| (device.clone(), ranges)).collect();
            Resume { from: 1, positions: kept.positions(), ahead }
        });
        let row_spacing = self.spacing;
        let written_before = self.heads;
        let options = Options { drain, row_spacing, resume, written_before, ..options(devices, budget) };
        let said = self.flight.said(self.now);
        self.flight = Flight::new(Options { said, ..options }, self.now);
        self.flight.set_online(&self.online.clone());
        self.readers = readers();
        self.session += 1;
        if self.connected {
            self.flight.connected(self.now);
        }
    }
}

/// `waiting` rows at once, then one a second.
pub(super) fn outage(devices: &[&str], waiting: i64, after: i64) -> Vec<(Duration, Vec<Row>)> {
    let mut records = every_second(devices, waiting + after);
    for (n, (at, _)) in records.iter_mut().enumerate() {
        *at = Duration::from_secs((n as u64 + 1).saturating_sub(waiting as u64));
    }
    records
}

pub(super) fn merged(world: &World) -> usize {
    world.settled.iter().filter(|one| one.fate == Fate::Merged).count()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn in_every_order_each_row_is_settled_once_the_newest_arrives_and_the_book_balances_also_across_kills(
        mut weather in weather(), story in story(), small in any::<bool>(),
        drain in prop_oneof![Just(Drain::Ordered), Just(Drain::LiveFirst), Just(Drain::LatestOnly)],
        kills in proptest::collection::vec(1..90u64, 0..3),
    ) {
        weather.poisoned.clear();
        weather.lost_percent = 0;
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let records = tell(&story);
        let mut expected = expected(&records, |_| Fate::Acknowledged);
        let mut books = PerClass::new(|_| Book::default());
        for ((class, device, seq), (samples, _)) in &expected {
            books[*class].stored(1, *seq, device, *samples);
        }
        let rows = records.iter().flat_map(|(_, rows)| rows).filter(|row| !row.cells.is_empty());
        let numbers: Vec<_> = rows.map(|row| (row.device.to_string(), row.time_ms / 1_000)).collect();
        let newest: HashMap<String, i64> = numbers.iter().cloned().collect();
        let samples = expected.values().map(|(samples, _)| u64::from(*samples)).sum();
        let budget = if small { 2_500 } else { READ_AHEAD_BYTES };
        let mut world = world(drain, &devices, records, weather, budget);
        world.jumps |= !kills.is_empty();
        let mut kills = kills;
        kills.sort_unstable();
        for kill in kills {
            world.run(Duration::from_secs(kill), samples);
            world.restart(drain, &devices, budget, kill as usize % 3);
        }
        world.run(Duration::from_secs(7_200), samples);
        let most = budget + 2 * 5 * 4 * 2_000;
        prop_assert!(world.most_bytes <= most, "{} bytes in memory", world.most_bytes);
        for one in world.settled.iter().filter(|one| one.fate == Fate::Merged) {
            prop_assert!(drain == Drain::LatestOnly, "merged without need");
            prop_assert!(one.class == Class::Telemetry, "an event is worth itself");
            expected.get_mut(&key(one)).unwrap().1 = Fate::Merged;
        }
        assert_settled(&world.settled, &expected);
        for one in numbers.iter().filter(|_| drain != Drain::LatestOnly) {
            prop_assert!(world.arrived.contains_key(one), "{one:?} was never said");
        }
        for (device, number) in newest {
            prop_assert!(world.arrived.contains_key(&(device.clone(), number)), "the newest of {device}");
        }
        for one in &world.settled {
            books[one.class].settled(&one.device, one.seq, one.samples, one.fate);
        }
        for (device, (_, book)) in devices.iter().flat_map(|device| books.iter().map(move |it| (device, it))) {
            let ledger = book.ledger(device);
            prop_assert_eq!(ledger.waiting, 0);
            prop_assert_eq!(ledger.stored, ledger.acknowledged + ledger.merged, "{:?}", ledger);
        }
    }

    #[test]
    fn in_every_order_nothing_is_sent_again_in_a_hurry_or_after_its_answer_whatever_gets_lost(
        mut weather in weather(), story in story(), lost_percent in 10..60u8,
        drain in prop_oneof![Just(Drain::Ordered), Just(Drain::LiveFirst), Just(Drain::LatestOnly)],
        kills in proptest::collection::vec(1..90u64, 0..2),
    ) {
        weather.lost_percent = lost_percent;
        let devices: Vec<String> = (0..4).map(|i| format!("d{i}")).collect();
        let mut world = world(drain, &devices, tell(&story), weather, READ_AHEAD_BYTES);
        world.jumps = true;
        for kill in kills {
            world.run(Duration::from_secs(kill), u64::MAX);
            world.restart(drain, &devices, READ_AHEAD_BYTES, kill as usize % 3);
        }
        // the world watches
        world.run(Duration::from_secs(600), u64::MAX);
    }
}

#[test]
fn an_hour_that_waited_is_drained_in_order_at_four_rows_a_second_and_nothing_is_merged() {
    let fast = Weather { fast: true, ..fair() };
    let mut world =
        world(Drain::Ordered, &names(&["a", "b"]), outage(&["a", "b"], 1_800, 600), fast, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(600), u64::MAX);
    let rate = world.settled.len() as f64 / 2.0 / 600.0;
    assert!((3.8..=4.0).contains(&rate), "{rate} rows a second and device");
    assert_eq!(merged(&world), 0);
}

#[test]
fn a_device_with_much_waiting_does_not_hold_up_one_with_little() {
    let rows =
        |device: &'static str, count| (1..=count).map(move |n| (Duration::ZERO, vec![row(device, n, 2)]));
    let fast = Weather { fast: true, ..fair() };
    for drain in [Drain::Ordered, Drain::LiveFirst] {
        // all of a's were stored first
        let records: Vec<_> = rows("a", 5_000).chain(rows("b", 50)).collect();
        let mut world = world(drain, &names(&["a", "b"]), records, fast.clone(), READ_AHEAD_BYTES);
        world.run(Duration::from_secs(15), u64::MAX);
        let of = |device: &str| world.settled.iter().filter(|one| &*one.device == device).count();
        assert_eq!(of("b"), 50, "{drain:?}");
        assert!((50..4_000).contains(&of("a")), "{drain:?}: {} of a", of("a"));
    }
}

#[test]
fn latest_only_sends_one_row_per_device_of_what_waited_and_counts_the_rest_as_merged() {
    for budget in [READ_AHEAD_BYTES, 3_000] {
        let fast = Weather { fast: true, ..fair() };
        let records = outage(&["a", "b"], 1_000, 5);
        let mut world = world(Drain::LatestOnly, &names(&["a", "b"]), records, fast, budget);
        world.run(Duration::from_secs(20), 2 * 2 * 1_005);
        assert_eq!(world.settled.len(), 2 * 1_005);
        let sent = world.settled.len() - merged(&world);
        assert!((2..=12).contains(&sent), "{sent} rows of 2010 sent with {budget} bytes");
        assert_eq!(world.arrived.len(), sent);
        assert!(world.arrived.contains_key(&("a".to_owned(), 1_005)));
    }
}

#[test]
fn rows_that_come_faster_than_the_ceiling_for_long_are_merged_but_never_events_or_other_key_sets() {
    // Ten a second against four; b keeps up.
    let seconds = 1_500;
    let mut records = Vec::new();
    let mut events = 0;
    for n in 1..=seconds * 10 {
        if n % 500 == 250 {
            events += 1;
            records.push((Duration::from_millis(n as u64 * 100), vec![event("a", events)]));
        }
        let mut one = row("a", n, if n % 1_000 == 0 { 3 } else { 2 });
        one.time_ms = n * 100;
        let mut rows = vec![one];
        if n % 10 == 0 {
            rows.push(row("b", n / 10, 2));
        }
        records.push((Duration::from_millis(n as u64 * 100), rows));
    }
    let fast = Weather { fast: true, ..fair() };
    let mut world = world(Drain::Ordered, &names(&["a", "b"]), records, fast, READ_AHEAD_BYTES);
    world.jumps = true;
    let mut most_late = Duration::ZERO;
    for second in (100..=seconds as u64).step_by(100) {
        world.run(Duration::from_secs(second), u64::MAX);
        let of_a = |one: &&Settled| one.class == Class::Telemetry && &*one.device == "a";
        let front = world.settled.iter().rev().find(of_a).unwrap().seq;
        most_late =
            most_late.max(Duration::from_secs(second).saturating_sub(Duration::from_millis(front * 100)));
    }
    assert!(most_late < MERGE_AFTER * 2, "{most_late:?} late");
    assert!(most_late > MERGE_AFTER, "merged before there was need");
    let of = |device: &str| {
        world.settled.iter().filter(|one| &*one.device == device && one.fate == Fate::Merged).count()
    };
    assert!(of("a") > 4_000 && of("b") == 0, "{} and {}", of("a"), of("b"));
    let told = world.bytes_of.values().filter(|outgoing| outgoing.payload.contains("\"trip\"")).count();
    let settled_events = world.settled.iter().filter(|one| one.class == Class::Event);
    assert!(events > 20 && settled_events.clone().all(|one| one.fate == Fate::Acknowledged));
    assert_eq!((told, settled_events.count()), (events as usize, events as usize));
    let others = world.settled.iter().filter(|one| &*one.device == "a" && one.seq % 1_000 == 0);
    assert!(others.clone().count() > 5 && others.clone().all(|one| one.fate == Fate::Acknowledged));
}

#[test]
fn an_unknown_device_and_a_silent_platform_merge_nothing() {
    let mut weather = Weather { fast: true, ..fair() };
    weather.late.insert("x".into(), 2_000);
    weather.away.push((100, 1_500));
    let mut world =
        world(Drain::Ordered, &names(&["x"]), every_second(&["x"], 2_000), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(3_600), 2 * 2_000);
    assert_eq!((world.settled.len(), merged(&world)), (2_000, 0));
}

#[test]
fn many_messages_are_on_their_way_to_a_fast_platform_and_few_to_a_lossy_one() {
    let devices: Vec<String> = (0..300).map(|n| format!("d{n}")).collect();
    let records: Vec<(Duration, Vec<Row>)> = (0..60)
        .flat_map(|n| {
            devices.iter().map(move |device| (Duration::from_secs(n), vec![row(device, n as i64 + 1, 2)]))
        })
        .collect();
    let run = |lost_percent| {
        let weather = Weather { fast: true, lost_percent, ..fair() };
        let mut world = World::new(&devices, records.clone(), weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(60), u64::MAX);
        world
    };
    let (good, bad) = (run(0), run(60));
    assert!(good.flight.window.size() > window::START, "{:?}", good.flight.window);
    assert!(good.most_in_flight > window::START, "{} in flight", good.most_in_flight);
    assert!(bad.flight.window.size() < window::START, "{:?}", bad.flight.window);
}
