//! Rows that were given up and are sent again.

use super::*;

/// A wider row of `a` is given up, and asked for again after a while; narrow ones come all the time.
fn world_with_a_letter(rows: i64) -> (World, Letter) {
    let mut weather = fair();
    weather.poisoned.insert(("a".into(), 1));
    let mut records = every_second(&["a", "b"], rows);
    records[0].1[0] = row("a", 1, 3);
    let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(60), u64::MAX);
    let given_up = world.flight.take_notes().into_iter().find_map(|note| match note {
        Note::GivenUp(row) => Some(row),
        _ => None,
    });
    let GivenUp { id, device, topic, samples, message, .. } = given_up.expect("it was never answered");
    world.letters.insert(id.clone());
    (world, Letter { id, device, topic, samples, payload: message })
}

#[test]
fn a_letter_is_sent_with_its_id_and_bytes_between_the_rows_of_its_device_and_answered() {
    let (mut world, letter) = world_with_a_letter(120);
    world.weather.poisoned.clear();
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    assert_eq!(world.flight.send_letter(letter.clone(), world.now), Err(Unsendable::InFlight));
    // the world watches the distances, the sets, and that one id has one message
    world.run(Duration::from_secs(80), u64::MAX);
    let Letter { id, device, samples, .. } = letter;
    assert_eq!(world.flight.take_returned(), [Returned { id, device, samples, answered: true }]);
    let before = world.settled.len();
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(world.settled.len(), 240, "the rows went on after {before}");
}

#[test]
fn a_letter_that_is_not_answered_again_comes_back_and_its_device_goes_on() {
    let (mut world, letter) = world_with_a_letter(120);
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    world.run(Duration::from_secs(240), u64::MAX);
    let Letter { id, device, samples, .. } = letter.clone();
    assert_eq!(world.flight.take_returned(), [Returned { id, device, samples, answered: false }]);
    assert_eq!(world.settled.len(), 240);
    world.weather.poisoned.clear();
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter, world.now).unwrap();
    world.run(Duration::from_secs(300), u64::MAX);
    assert!(world.flight.take_returned()[0].answered, "as often as somebody asks");
}

#[test]
fn a_letter_waits_for_the_platform_and_for_its_device() {
    let (mut world, letter) = world_with_a_letter(3);
    world.weather.poisoned.clear();
    world.weather.away = vec![(60, 60)];
    world.weather.late.insert("a".into(), 200);
    // with others answered it would be tried in vain; it is not tried at all
    world.run(Duration::from_secs(90), u64::MAX);
    let sent = world.flight.counts().resent_messages;
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    world.run(Duration::from_secs(199), u64::MAX);
    assert_eq!((world.flight.counts().resent_messages, world.flight.take_returned()), (sent, vec![]));
    world.run(Duration::from_secs(600), u64::MAX);
    assert!(world.flight.take_returned()[0].answered);
}

#[test]
fn a_letter_can_be_taken_back_until_it_is_on_the_wire() {
    let (mut world, letter) = world_with_a_letter(120);
    assert!(world.flight.take_back(&letter.id), "it is not there");
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    assert!(world.flight.take_back(&letter.id));
    world.run(Duration::from_secs(70), u64::MAX);
    assert_eq!(world.flight.take_returned(), []);
    world.again.asked_for(&letter.id);
    world.flight.send_letter(letter.clone(), world.now).unwrap();
    while world.flight.counts().resent_messages < 4 {
        let next = world.now - world.start + Duration::from_millis(20);
        world.run(next, u64::MAX);
    }
    assert!(!world.flight.take_back(&letter.id), "its answer may be on its way");
    world.run(Duration::from_secs(200), u64::MAX);
    assert_eq!(world.settled.len(), 240, "nobody waits behind one that was taken back");
}

#[test]
fn what_could_not_be_answered_is_not_sent() {
    let (mut world, letter) = world_with_a_letter(1);
    for (odd, why) in [
        (Letter { id: "other-1-0".into(), ..letter.clone() }, Unsendable::Foreign),
        (Letter { topic: "/sys/x".into(), ..letter.clone() }, Unsendable::Foreign),
        (Letter { payload: "x".repeat(MAX_ROW_BYTES + 1), ..letter }, Unsendable::TooLarge),
    ] {
        assert_eq!(world.flight.send_letter(odd, world.now), Err(why));
    }
}
