//! What a restart repeats, and what it does not.

use super::*;

#[test]
fn settled_rows_are_not_sent_again_after_a_restart() {
    let mut options = options(&names(&["a", "b"]), READ_AHEAD_BYTES);
    let positions = HashMap::from([("a".into(), 3), ("b".into(), 2)]);
    options.resume.telemetry = Resume { from: 1, positions, ..Resume::default() };
    let mut world = World::new(&names(&["a", "b"]), every_second(&["a", "b"], 4), fair(), READ_AHEAD_BYTES);
    world.flight = Flight::new(options, world.start);
    world.run(Duration::from_secs(20), 10);
    let ids: BTreeSet<&str> = world.bytes_of.keys().map(String::as_str).collect();
    assert_eq!(ids, BTreeSet::from(["gateway-k-2-1", "gateway-k-3", "gateway-k-4"]));
}

#[test]
fn a_restart_sends_the_same_bytes_under_the_same_ids() {
    let devices = names(&["a", "b"]);
    let run = || {
        let mut world = World::new(&devices, every_second(&["a", "b"], 5), fair(), READ_AHEAD_BYTES);
        world.run(Duration::from_secs(20), 20);
        world.bytes_of
    };
    let first = run();
    assert_eq!(first.len(), 5);
    assert_eq!(first, run());
}

#[test]
fn records_from_before_the_start_wait_for_slow_probes_so_that_packs_stay_packs() {
    let ids_after = |written_before, slow_ms| {
        let mut weather = fair();
        weather.slow.insert("b".into(), Duration::from_millis(slow_ms));
        let rows = every_second(&["a", "b"], 3);
        let records = rows.into_iter().map(|(_, rows)| (Duration::ZERO, rows)).collect();
        let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
        world.flight = Flight::new(
            Options {
                written_before: PerClass::new(|_| written_before),
                ..options(&names(&["a", "b"]), READ_AHEAD_BYTES)
            },
            world.start,
        );
        world.run(Duration::from_secs(30), 12);
        world.bytes_of.into_keys().collect::<BTreeSet<_>>()
    };
    let packs = ["gateway-k-1", "gateway-k-2", "gateway-k-3"].map(str::to_owned);
    assert_eq!(ids_after(4, 2_000), BTreeSet::from(packs));
    assert!(ids_after(1, 2_000).contains("gateway-k-1-0"), "what is new does not wait that long");
    assert!(ids_after(4, 4_000).contains("gateway-k-1-0"), "nor does anything wait for ever");
}

#[test]
fn an_old_backlog_does_not_wait_row_by_row_behind_an_unknown_device() {
    let mut weather = fair();
    weather.late.insert("x".into(), u64::MAX);
    let records = every_second(&["a", "x"], 100).into_iter().map(|(_, rows)| (Duration::ZERO, rows));
    let mut world = World::new(&names(&["a", "x"]), records.collect(), weather, READ_AHEAD_BYTES);
    world.flight = Flight::new(
        Options { written_before: PerClass::new(|_| 101), ..options(&names(&["a", "x"]), READ_AHEAD_BYTES) },
        world.start,
    );
    world.run(Duration::from_secs(60), 200);
    assert_eq!(world.settled.len(), 100, "all of a within a minute");
}
