//! What fails, is changed, removed or told to begin anew.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_told_to_begin_anew_does_so_at_once_and_that_is_no_failure() {
    let mut world = World::running(Build::Good, false);
    let before = world.life.active;
    world.life.reboot();
    world.run(Duration::from_secs(1));
    world.works(0);
    assert_ne!(world.life.active, before);
    assert_eq!((world.life.shown().restarts, world.life.shown().state), (0, "running"));
}

#[tokio::test(start_paused = true)]
async fn a_quarantined_driver_that_is_told_to_begin_anew_gets_another_chance() {
    let mut world = World::running(Build::Good, false);
    for _ in 0..FAILURES {
        let active = world.life.active.expect("somebody is at work");
        world.crash(active);
        if world.life.shown().state != "quarantined" {
            world.run(Duration::from_secs(40));
        }
    }
    assert_eq!(world.life.shown().state, "quarantined");
    world.life.reboot();
    world.run(Duration::from_secs(1));
    world.works(0);
}

#[tokio::test(start_paused = true)]
async fn files_changed_since_they_were_found_are_refused_and_looked_at_again_though_nobody_tells() {
    let mut world = World::running(Build::Good, false);
    let active = world.life.active.expect("it runs");
    world.crash(active);
    while world.life.active.is_none() {
        world.now += Duration::from_secs(1);
        world.decide();
    }
    let number = world.life.active.expect("it is started again");
    world.processes.remove(&number);
    world.installed = None;
    let restarts = world.life.restarts;
    let why = || "driver: x was changed".to_owned();
    world.hear(News::Looked(Err(("refused", why()))));
    world.hear(News::Ended { number, why: why(), unborn: true, last_lines: Vec::new() });
    world.run(LOOK_AGAIN / 2);
    let shown = world.life.shown();
    assert_eq!((shown.state, shown.restarts, shown.last_error), ("refused", restarts, why()));
    world.installed = Some(0);
    world.run(LOOK_AGAIN + Duration::from_secs(5));
    world.works(0);
}

#[tokio::test(start_paused = true)]
async fn too_many_failures_are_a_quarantine_that_new_files_end() {
    let mut world = World::new(false, &[Build::Crashing, Build::Good]);
    world.run(Duration::from_secs(60));
    let shown = world.life.shown();
    assert_eq!((shown.state, shown.active, shown.restarts), ("quarantined", None, FAILURES as u32));
    assert_eq!((&shown.last_error[..], &shown.last_lines[..]), ("crashed", &["oh no".to_owned()][..]));
    world.run(QUARANTINE);
    assert_eq!((world.life.shown().state, world.life.restarts), ("quarantined", FAILURES as u32 + 1));
    world.install(Some(1));
    world.run(Duration::from_secs(2));
    world.works(1);
}

#[tokio::test(start_paused = true)]
async fn what_cannot_even_be_asked_is_quarantined_with_its_last_words() {
    let mut world = World::new(false, &[Build::NoPlugin]);
    world.run(Duration::from_secs(60));
    let shown = world.life.shown();
    assert_eq!((shown.state, &shown.last_error[..]), ("quarantined", "not a plugin"));
    assert_eq!(shown.last_lines, ["hello"]);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_is_removed_is_stopped_and_comes_back_with_its_files() {
    let mut world = World::running(Build::Good, true);
    assert_eq!(world.life.place("a"), Place::At(1));
    world.install(None);
    world.chore();
    assert_eq!(world.life.place("a"), Place::Nowhere, "commands are refused at once");
    world.run(Duration::from_secs(1));
    assert_eq!((world.life.shown().state, world.processes.len()), ("missing", 0));
    world.install(Some(0));
    world.run(Duration::from_secs(2));
    world.works(0);
    assert_eq!(world.life.restarts, 0);
}

#[tokio::test(start_paused = true)]
async fn a_standstill_is_ended_and_the_reason_says_so() {
    let mut world = World::running(Build::Good, false);
    for seconds in 0..40 {
        world.now += Duration::from_secs(1);
        let overdue = Duration::from_secs(seconds);
        world.hear(News::Beat { number: 1, polls: 7, overdue, online: Lines::new() });
    }
    world.run(Duration::from_secs(5));
    world.works(0);
    assert_eq!(world.life.active, Some(2));
    assert!(world.life.last_error.contains("does no work"), "{}", world.life.last_error);
}

#[tokio::test(start_paused = true)]
async fn a_driver_that_never_takes_its_configuration_is_ended() {
    let mut world = World::new(false, &[Build::Good]);
    while world.life.seats.get(&1).is_none_or(|seat| seat.turn == 0) {
        world.decide();
        world.chore();
        if world.processes.get(&1).is_some_and(|process| !process.opened) {
            world.step(1);
        }
    }
    world.processes.get_mut(&1).unwrap().orders.clear();
    world.run(lines::CONFIGURE_LIMIT + Duration::from_secs(5));
    world.works(0);
    assert!(world.life.last_error.contains("did not take its configuration"), "{}", world.life.last_error);
}
