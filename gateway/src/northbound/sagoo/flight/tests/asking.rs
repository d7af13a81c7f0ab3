//! Who is asked whether it is there, and when.

use super::*;

#[test]
fn an_unknown_device_is_probed_with_growing_pauses_and_keeps_nobody_waiting() {
    let mut weather = fair();
    weather.late.insert("x".into(), u64::MAX);
    let mut world = World::new(&names(&["a", "x"]), every_second(&["a", "x"], 600), weather, 3_000);
    world.run(Duration::from_secs(700), u64::MAX);
    assert_eq!(world.settled.len(), 600, "all of a and nothing of x");
    assert!(world.settled.iter().all(|one| &*one.device == "a"));
    let notes = world.flight.take_notes();
    assert_eq!(notes.iter().filter(|note| **note == Note::Unknown("x-k".into())).count(), 1);
    let misses = world.flight.peers.get(2).misses;
    assert!((6..20).contains(&misses), "{misses} probes in 700 s");
}

#[test]
fn a_device_enabled_late_gets_all_its_rows_in_order() {
    let mut weather = fair();
    weather.late.insert("x".into(), 300);
    let mut world = World::new(&names(&["a", "x"]), every_second(&["a", "x"], 400), weather, 3_000);
    world.run(Duration::from_secs(1_500), 2 * 2 * 400);
    assert_eq!(world.settled.len(), 800);
}

#[test]
fn heartbeats_go_to_the_gateway_and_to_devices_that_answer() {
    let mut world = World::new(&names(&["a", "b"]), Vec::new(), fair(), READ_AHEAD_BYTES);
    world.online.remove("b");
    world.flight.set_online(&world.online.clone());
    world.run(Duration::from_secs(61), u64::MAX);
    let sent = |peer| world.flight.peers.get(peer).identity.device_key.to_string();
    assert_eq!(sent(2), "b-k");
    assert!(
        !world.flight.peers.is_known(2, world.now),
        "b is offline and has nothing to send: it is not asked"
    );
    let probes = world.flight.next_probe;
    assert!((12..=16).contains(&probes), "{probes} probes and heartbeats in a minute");
}

#[test]
fn many_unknown_devices_do_not_keep_those_after_them_from_being_asked() {
    let mut weather = fair();
    let unknown: Vec<String> = (0..600).map(|n| format!("u{n}")).collect();
    weather.late = unknown.iter().map(|device| (device.clone(), u64::MAX)).collect();
    let devices: Vec<String> = unknown.iter().cloned().chain(["good".to_owned()]).collect();
    let everybody = |n: i64| devices.iter().map(|device| row(device, n, 2)).collect();
    let records = vec![(Duration::from_secs(1), everybody(1)), (Duration::from_secs(200), everybody(2))];
    let mut world = World::new(&devices, records, weather, READ_AHEAD_BYTES);
    // not a multiple of the time an answer may take, so that a beat falls due while others are waited for
    let heartbeat = Duration::from_secs(7);
    world.flight = Flight::new(Options { heartbeat, ..options(&devices, READ_AHEAD_BYTES) }, world.start);
    world.flight.set_online(&world.online);
    world.run(Duration::from_secs(120), u64::MAX);
    let good = world.settled.iter().filter(|one| &*one.device == "good").count();
    assert_eq!(good, 1, "the last of many was never asked");
    let good = world.flight.peers.len() - 1;
    for second in 121..=400 {
        world.run(Duration::from_secs(second), u64::MAX);
        for known in [SELF, good] {
            let late =
                world.now.saturating_duration_since(world.flight.peers.beat_at(known, world.now).unwrap());
            assert!(late < Duration::from_secs(1), "a heartbeat is {late:?} late at {second} s");
        }
    }
    let misses = (SELF + 1..good).map(|peer| world.flight.peers.get(peer).misses);
    let (least, most) = (misses.clone().min().unwrap(), misses.max().unwrap());
    assert!(least > 1 && most <= least + 1, "asked between {least} and {most} times");
}

#[test]
fn rows_of_a_device_that_is_not_configured_any_more_are_still_sent() {
    let mut world = World::new(&names(&["a"]), every_second(&["gone"], 3), fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), 6);
    assert_eq!(world.settled.len(), 3);
    assert_eq!(world.flight.take_foreign_keys(), ["gone-k".into()]);
}

#[test]
fn the_key_a_device_had_before_gets_its_rows_but_no_heartbeats() {
    let mut old = row("a", 1, 2);
    old.identity = identity("before");
    let records = vec![(Duration::from_secs(1), vec![old]), (Duration::from_secs(3), vec![row("a", 2, 2)])];
    let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), 4);
    assert_eq!(world.settled.len(), 2);
    let foreign = world.flight.peers.len() - 1;
    assert_eq!(&*world.flight.peers.get(foreign).identity.device_key, "before-k");
    world.flight.set_online(&world.online.clone());
    let beat_at = |peer| world.flight.peers.beat_at(peer, world.now);
    assert!(beat_at(1).is_some());
    assert_eq!(beat_at(foreign), None);
}
