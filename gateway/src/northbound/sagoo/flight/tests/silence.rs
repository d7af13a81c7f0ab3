//! What a missing answer means.

use super::*;

#[test]
fn while_the_platform_is_silent_only_the_gateways_probe_is_sent() {
    let mut weather = fair();
    weather.away.push((10, 600));
    let mut world =
        World::new(&names(&["a", "b"]), every_second(&["a", "b"], 300), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(20), u64::MAX);
    let before = world.bytes_of.len();
    assert!(!world.flight.is_alive());
    let resent = world.flight.counts().resent_messages;
    let probes = world.flight.next_probe;
    world.run(Duration::from_secs(600), u64::MAX);
    assert_eq!((world.bytes_of.len(), world.flight.counts().resent_messages), (before, resent));
    let asked = world.flight.next_probe - probes;
    assert!((8..30).contains(&asked), "{asked} probes in 580 s");
    world.run(Duration::from_secs(2_000), 2 * 2 * 300);
    assert_eq!(world.settled.len(), 600);
    assert!(world.settled.iter().all(|one| one.fate == Fate::Acknowledged), "an outage parks nothing");
}

/// What is said of the platform as a whole.
fn said_of_the_platform(world: &mut World) -> Vec<Note> {
    let of_it = |note: &Note| matches!(note, Note::Answering | Note::Unanswered(_) | Note::Silent);
    world.flight.take_notes().into_iter().filter(of_it).collect()
}

#[test]
fn one_lost_answer_is_no_silent_platform_even_if_it_is_the_only_one_there_was() {
    let unanswered = |id: &str| vec![Note::Answering, Note::Unanswered(id.to_owned()), Note::Answering];
    // the answer to a row of the only device, or to a heartbeat of a gateway without any
    for (devices, away, id) in [(vec!["a"], (13, 1), "gateway-k-13-0"), (vec![], (9, 3), "gateway-k-p7-1")] {
        let weather = Weather { away: vec![away], ..fair() };
        let mut world = World::new(&names(&devices), every_second(&devices, 30), weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(60), u64::MAX);
        assert_eq!(said_of_the_platform(&mut world), unanswered(id));
    }
}

#[test]
fn a_platform_is_silent_when_it_was_asked_and_did_not_answer() {
    let weather = Weather { away: vec![(13, 100)], ..fair() };
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 30), weather, READ_AHEAD_BYTES);
    let unanswered = Note::Unanswered("gateway-k-13-0".to_owned());
    world.run(Duration::from_secs(20), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Answering, unanswered]);
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Silent, Note::Answering], "each once");
    // for the gateway itself, while its device is answered: two of its heartbeats are as good as asking
    let mute = (2..200).map(|number| format!("gateway-k-p7-{number}")).collect();
    let weather = Weather { mute, ..fair() };
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 60), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    assert_eq!(said_of_the_platform(&mut world), [Note::Answering, Note::Silent]);
}

#[test]
fn after_a_broken_connection_rows_go_on_within_a_second() {
    let mut weather = fair();
    weather.broken.push((10, 20));
    let mut world = World::new(&names(&["a"]), every_second(&["a"], 60), weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(10), u64::MAX);
    let before = world.settled.len();
    world.run(Duration::from_secs(32), u64::MAX);
    assert!(world.settled.len() > before, "nothing settled within 2 s after 20 s without broker");
    world.run(Duration::from_secs(120), 120);
    assert_eq!(world.settled.len(), 60);
}

#[test]
fn a_platform_that_is_back_a_second_after_its_broker_is_found_two_seconds_later() {
    for seed in 0..50 {
        let mut weather = Weather { seed, broken: vec![(10, 20)], away: vec![(30, 1)], ..fair() };
        weather.fast = true;
        let mut world = World::new(&names(&["a"]), every_second(&["a"], 60), weather, READ_AHEAD_BYTES);
        world.flight =
            Flight::new(Options { run: seed, ..options(&names(&["a"]), READ_AHEAD_BYTES) }, world.start);
        world.run(Duration::from_secs(10), u64::MAX);
        let before = world.settled.len();
        world.run(Duration::from_millis(33_100), u64::MAX);
        assert!(world.settled.len() > before, "seed {seed}: nothing settled 2 s after the platform was back");
        world.run(Duration::from_secs(120), 120);
        assert_eq!(world.settled.len(), 60);
        assert!(world.settled.iter().all(|one| one.fate == Fate::Acknowledged));
    }
}

#[test]
fn a_row_that_is_given_up_is_handed_on_whole() {
    let mut weather = fair();
    weather.mute.insert("gateway-k-e1-0".to_owned());
    let value = format!("{{\"t\":\"{}\"}}", "电".repeat(1_000));
    let poisoned = Row { event: Some(Event { name: "e".into(), value }), samples: 2, ..row("a", 1, 0) };
    let records = vec![(Duration::from_secs(1), vec![poisoned])];
    let mut world = World::new(&names(&["a"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(300), 2);
    let notes = world.flight.take_notes();
    let given_up = notes.into_iter().find_map(|note| match note {
        Note::GivenUp(row) => Some(row),
        _ => None,
    });
    let sent = world.bytes_of["gateway-k-e1-0"].clone();
    assert!(sent.payload.len() > 1_000, "longer than any value of a point");
    let expected = GivenUp {
        id: "gateway-k-e1-0".to_owned(),
        device: "a".into(),
        topic: sent.topic,
        samples: 2,
        tries: ROW_TRIES,
        message: sent.payload,
    };
    assert_eq!(given_up, Some(expected), "whole, and as it was sent");
}
