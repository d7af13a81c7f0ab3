//! A disk that is damaged, or cannot be read for a while.

use super::*;

#[test]
fn rows_after_a_damaged_record_go_on_and_those_that_need_it_are_settled_as_damaged() {
    // Every seventh record begins a segment, and the first two of it have full rows.
    let seqs = |world: &World, fate| -> BTreeSet<u64> {
        world.settled.iter().filter(|one| one.fate == fate).map(|one| one.seq).collect()
    };
    let run = |damaged: &[u64]| {
        let mut weather = fair();
        weather.damaged.extend(damaged);
        let mut world = World::new(&names(&["a"]), every_second(&["a"], 14), weather, READ_AHEAD_BYTES);
        world.run(Duration::from_secs(60), 28 - 2 * damaged.len() as u64);
        world
    };
    for lost in [1, 2, 3] {
        let inside = run(&[lost]);
        assert_eq!(seqs(&inside, Fate::Acknowledged), (1..=14).filter(|seq| *seq != lost).collect());
    }
    let mut first = run(&[1, 2]);
    assert_eq!(seqs(&first, Fate::Damaged), (3..=7).collect());
    assert_eq!(seqs(&first, Fate::Acknowledged), (8..=14).collect());
    assert!(!first.bytes_of.contains_key("gateway-k-3-0"), "a row that cannot be rebuilt was sent");
    let notes = first.flight.take_notes();
    let told: u64 =
        notes.iter().map(|note| if let Note::Damaged { samples, .. } = note { *samples } else { 0 }).sum();
    assert_eq!(told, 10);
}

#[test]
fn a_disk_that_cannot_be_read_is_tried_again_with_growing_pauses_and_costs_nothing() {
    let mut weather = fair();
    weather.unreadable.push((5, 100));
    let records = every_second(&["a", "b"], 60);
    let mut world = World::new(&names(&["a", "b"]), records, weather, READ_AHEAD_BYTES);
    world.run(Duration::from_secs(5), u64::MAX);
    let before = world.reads;
    world.run(Duration::from_secs(104), u64::MAX);
    let tried = world.reads - before;
    assert!((5..=12).contains(&tried), "{tried} tries in 100 s");
    world.run(Duration::from_secs(300), 240);
    assert_eq!(world.settled.len(), 120);
    assert!(world.settled.iter().all(|one| one.fate == Fate::Acknowledged));
}
