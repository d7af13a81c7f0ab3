//! One stands by for another.

use super::*;

#[tokio::test(start_paused = true)]
async fn the_standby_has_no_line_until_the_active_one_dies_and_is_replaced() {
    let mut world = World::running(Build::Good, true);
    assert_eq!(world.processes.len(), 2);
    assert!(world.processes[&2].open.is_empty());
    assert_eq!(world.life.shown().standby, Some((2, "ready")));
    world.crash(1);
    world.step(2);
    assert_eq!((world.life.active, &world.active().open), (Some(2), &lines()), "promoted at once");
    world.run(Duration::from_secs(5));
    assert_eq!((world.life.standby, world.life.restarts), (Some(3), 1));
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_crashes_at_work_is_not_started_faster_for_having_a_standby() {
    let mut world = World::new(true, &[Build::Crashing]);
    world.run(Duration::from_secs(300));
    assert!(world.life.numbers <= 2 * FAILURES as u32, "{} processes", world.life.numbers);
    assert_eq!(world.life.shown().state, "quarantined");
}

#[tokio::test(start_paused = true)]
async fn a_standby_that_dies_again_and_again_is_left_alone_and_harms_nobody() {
    let mut world = World::running(Build::Good, true);
    for _ in 0..FAILURES {
        let standby = world.life.standby.expect("it comes back");
        world.crash(standby);
        world.run(Duration::from_secs(20));
    }
    assert_eq!((world.life.standby, world.life.restarts), (None, 0));
    world.works(0);
    world.run(QUARANTINE);
    assert!(world.life.standby.is_some());
}

#[tokio::test(start_paused = true)]
async fn the_standby_is_renewed_after_an_update() {
    let mut world = World::running(Build::Good, true);
    world.install(Some(1));
    world.run(WATCH + Duration::from_secs(10));
    world.works(1);
    let standby = world.life.standby.expect("one stands by");
    assert_eq!((world.processes[&standby].kind.fingerprint, world.processes.len()), ([1; 32], 2));
}
