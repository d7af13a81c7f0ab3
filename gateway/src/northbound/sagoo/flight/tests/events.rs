//! Events go first and are each worth themselves.

use super::*;

#[test]
fn an_event_stored_behind_ten_thousand_waiting_rows_leaves_first() {
    let mut records: Vec<_> = (1..=10_000).map(|n| (Duration::ZERO, vec![row("a", n, 2)])).collect();
    records.push((Duration::from_secs(60), vec![event("a", 1)]));
    let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    let before = world.went.len();
    assert!((100..300).contains(&before), "{before} rows left in a minute, the others wait");
    world.run(Duration::from_secs(62), u64::MAX);
    let place = world.went.iter().position(|id| id == "gateway-k-e1-0").expect("it left within two seconds");
    assert!(place <= before + 1, "{} rows left before it", place - before);
    assert_eq!(world.settled.iter().filter(|one| one.class == Class::Event).count(), 1);
}

#[test]
fn a_flood_of_events_of_one_device_keeps_no_other_device_waiting() {
    let mut records: Vec<_> = (1..=1_000).map(|n| (Duration::ZERO, vec![event("a", n)])).collect();
    records.extend(every_second(&["a", "b"], 30));
    let mut world = World::new(&names(&["a", "b"]), records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(40), u64::MAX);
    let settled = |class, device: &str| {
        world.settled.iter().filter(|one| (one.class, &*one.device) == (class, device)).count()
    };
    assert_eq!(settled(Class::Telemetry, "b"), 30);
    assert_eq!(settled(Class::Telemetry, "a"), 0, "its own rows wait for its events");
    assert!(settled(Class::Event, "a") >= 60);
}

#[test]
fn two_events_of_one_name_are_both_told() {
    let twice = vec![event("a", 0), event("a", 1)];
    let mut world =
        World::new(&names(&["a"]), vec![(Duration::from_secs(1), twice)], fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    assert!(world.bytes_of["gateway-k-e1-0"].payload.contains("\"n\":0"));
    assert!(world.bytes_of["gateway-k-e1-1"].payload.contains("\"n\":1"));
    assert_eq!(world.settled.len(), 1, "one account for the record");
    assert_eq!(world.settled[0].samples, 2);
}
