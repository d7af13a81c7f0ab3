//! What goes together, what alone, and under which id.

use super::*;

#[test]
fn devices_of_one_record_share_a_pack_on_the_gateways_topic() {
    let mut world = World::new(&names(&["a", "b"]), every_second(&["a", "b"], 10), fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), 40);
    assert_eq!((world.packs_of_many, world.flight.counts().sent_messages), (10, 10));
    assert!(world.bytes_of.values().all(|outgoing| outgoing.topic == topic::pack_post(&identity(GATEWAY))));
    assert_eq!(world.flight.counts().sent_samples, 40);
}

#[test]
fn the_gateways_own_properties_go_by_property_post_and_its_events_by_pack() {
    let event = Some(Event { name: "rowParked".into(), value: "{}".into() });
    let announced = Row { event, samples: 0, ..row(GATEWAY, 2, 0) };
    let records =
        vec![(Duration::from_secs(1), vec![row(GATEWAY, 1, 2)]), (Duration::from_secs(3), vec![announced])];
    let mut world = World::new(&[], records, fair(), READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    assert_eq!(world.settled.len(), 2);
    assert_eq!(world.bytes_of["gateway-k-1-0"].topic, topic::property_post(&identity(GATEWAY)));
    assert_eq!(world.bytes_of["gateway-k-e1-0"].topic, topic::pack_post(&identity(GATEWAY)));
}

#[test]
fn a_row_with_nothing_to_say_is_settled_without_a_message() {
    let mut world = World::new(
        &names(&["a"]),
        vec![(Duration::from_secs(1), vec![row("a", 1, 0)])],
        fair(),
        READ_AHEAD_BYTES,
    );
    world.run(Duration::from_secs(5), u64::MAX);
    assert_eq!((world.settled.len(), world.bytes_of.len()), (1, 0));
}

#[test]
fn two_rows_keep_the_distance_of_two_sets_if_a_value_of_one_cannot_be_said() {
    let too_long = format!("[{}]", "1,".repeat(200).trim_end_matches(','));
    for odd in [Value::Float(f64::NAN), Value::Json(too_long)] {
        let (whole, mut partly) = (row("a", 1, 3), row("a", 2, 3));
        partly.cells[2].value = odd.clone();
        let records = vec![(Duration::from_secs(1), vec![whole]), (Duration::from_secs(1), vec![partly])];
        let mut world = World::new(&names(&["a"]), records, fair(), READ_AHEAD_BYTES);
        // the world watches the distance of what is said
        world.run(Duration::from_secs(10), 6);
        assert_eq!(world.settled.len(), 2);
        assert!(!world.bytes_of["gateway-k-2-0"].payload.contains("k2"), "{odd:?} was said");
    }
}

#[test]
fn ids_parse_back() {
    for unit in [
        Unit { class: Class::Telemetry, seq: 7, place: None },
        Unit { class: Class::Event, seq: 7, place: None },
        Unit { class: Class::Telemetry, seq: u64::MAX, place: Some(3) },
        Unit { class: Class::Event, seq: 1, place: Some(0) },
    ] {
        let id = unit.id("gw-0001");
        assert_eq!(Unit::parse(id.strip_prefix("gw-0001-").unwrap()), Some(unit));
    }
    for odd in ["", "-", "1-", "x", "1-2-3", "-1", "1-4294967296", "e", "e-1", "1-e1", "ee1"] {
        assert_eq!(Unit::parse(odd), None, "{odd}");
    }
}
