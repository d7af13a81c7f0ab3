//! What one gateway leaves to the next.

use super::*;

#[tokio::test(start_paused = true)]
async fn who_was_just_taken_over_is_kept_by_the_next_round_as_well() {
    let mut world = World::new(true, &[Build::Good]);
    world.adopt(0, Role::Active, lines());
    world.adopt(0, Role::Standby, Lines::new());
    world.life.part(Parting::Keep);
    world.run(Duration::from_secs(1));
    assert!(world.life.is_over());
    assert_eq!(world.kept, [1, 2]);
    assert_eq!((world.remembered.clone(), world.reverted.len()), (None, 0), "leaving is nobody's fault");
}

#[tokio::test(start_paused = true)]
async fn who_is_taken_over_keeps_its_lines_and_who_was_half_way_is_heard_out_first() {
    let mut world = World::new(false, &[Build::Good, Build::Good]);
    world.adopt(0, Role::Active, ["a".to_owned()].into());
    world.adopt(1, Role::Successor, ["b".to_owned(), "c".to_owned()].into());
    // it has a lot to say before it can say that its lines are released
    while !world.processes[&2].orders.iter().any(|order| matches!(order, Act::Release(..))) {
        world.chore();
        world.step(1);
        world.step(2);
        world.decide();
    }
    for _ in 0..5 {
        world.step(1);
        world.now += Duration::from_secs(1);
        world.decide();
    }
    assert_ne!(world.life.seats[&2].stage, Stage::Ending, "what it has read is not stored yet");
    world.run(Duration::from_secs(2));
    world.works(0);
    assert_eq!((world.processes.len(), world.life.active, world.life.restarts), (1, Some(1), 0));
}

#[tokio::test(start_paused = true)]
async fn who_was_half_way_and_is_not_heard_out_yet_is_kept_for_whoever_comes_next() {
    let mut world = World::new(false, &[Build::Good, Build::Good]);
    world.adopt(0, Role::Active, ["a".to_owned()].into());
    world.adopt(1, Role::Successor, ["b".to_owned(), "c".to_owned()].into());
    world.life.part(Parting::Keep);
    world.run(Duration::from_secs(1));
    assert_eq!(world.kept, [1, 2]);
}

#[tokio::test(start_paused = true)]
async fn parting_keeps_those_at_work_at_once_and_ends_an_update_half_way() {
    let mut world = World::running(Build::Good, true);
    world.install(Some(1));
    while !matches!(&world.life.update, Update::Moving { moved, .. } if moved.len() == 2) {
        world.run(Duration::from_millis(1));
    }
    world.life.part(Parting::Keep);
    world.decide();
    // the successor takes its time
    for number in [1, 1, 1, 2, 2, 2] {
        world.step(number);
    }
    assert_eq!(world.kept, [1, 2], "the active one and the standby");
    world.run(Duration::from_secs(1));
    assert!(world.life.is_over());
    assert_eq!(world.kept, [1, 2]);
    assert_eq!((world.remembered.clone(), world.reverted.len()), (None, 0), "leaving is nobody's fault");
    let mut world = World::running(Build::Good, true);
    world.life.part(Parting::Stop);
    world.run(Duration::from_secs(1));
    assert!(world.life.is_over() && world.kept.is_empty());
    assert_eq!(world.life.shown().state, "stopped");
}
