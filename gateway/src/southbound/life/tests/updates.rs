//! A new version takes over, or the old one goes on.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_new_version_takes_over_line_by_line_and_the_old_one_is_stopped_once_it_has_proved_itself() {
    let mut world = World::running(Build::Good, false);
    world.install(Some(1));
    world.run(Duration::from_secs(5));
    assert_eq!((world.life.shown().state, world.processes.len()), ("updating", 2));
    assert_eq!(world.processes[&2].open, lines());
    assert!(world.processes[&1].open.is_empty());
    world.run(WATCH);
    world.works(1);
    assert_eq!((world.life.shown().state, world.processes.len()), ("running", 1));
    assert_eq!(world.life.said, "version 0.0 was replaced by version 1.0");
}

#[tokio::test(start_paused = true)]
async fn a_version_that_crashes_at_work_is_rolled_back_and_not_tried_again() {
    let mut world = World::running(Build::Crashing, false);
    world.install(Some(1));
    world.run(Duration::from_secs(5));
    world.works(0);
    assert_eq!(world.processes.len(), 1);
    assert_eq!((world.remembered.clone(), &world.reverted[..]), (Some(kind(1)), &[1][..]));
    assert!(world.life.said.contains("version 1.0 failed and version 0.0 goes on"), "{}", world.life.said);
    world.run(Duration::from_secs(600));
    assert_eq!(world.life.numbers, 2, "the bad files are not tried again");
    // the package is put back, and somebody installs it once more
    world.install(Some(0));
    world.run(Duration::from_secs(1));
    assert_eq!(world.remembered, None);
    assert!(world.life.said.contains("failed"), "{}", world.life.said);
    world.install(Some(1));
    world.run(Duration::from_secs(60));
    assert_eq!((world.life.numbers, world.remembered.clone()), (3, Some(kind(1))));
    world.install(Some(2));
    world.run(WATCH + Duration::from_secs(10));
    world.works(2);
}

#[tokio::test(start_paused = true)]
async fn what_failed_before_a_restart_of_the_gateway_is_not_tried_after_it() {
    let mut world = World::new(false, &[Build::Good, Build::Crashing]);
    world.life = Life::new(world.now, Given { bad: Some(kind(1)), ..given(false) });
    world.adopt(0, Role::Active, lines());
    world.install(Some(1));
    world.run(Duration::from_secs(60));
    world.works(0);
    assert_eq!((world.life.numbers, world.remembered), (1, None));
    assert!(world.life.said.contains("version 1.0 failed before"), "{}", world.life.said);
}

#[tokio::test(start_paused = true)]
async fn a_version_that_no_device_answers_gives_every_line_back() {
    let mut world = World::running(Build::Deaf, false);
    world.install(Some(1));
    world.run(WATCH + Duration::from_secs(5));
    world.works(0);
    assert_eq!((world.processes.len(), world.life.restarts), (1, 0));
    assert!(
        world.life.said.contains("3 devices answered the old version and not this one"),
        "{}",
        world.life.said
    );
}

#[tokio::test(start_paused = true)]
async fn a_version_that_refuses_what_the_old_one_takes_is_never_started() {
    let mut world = World::running(Build::Picky, false);
    world.install(Some(1));
    world.run(Duration::from_secs(60));
    world.works(0);
    assert_eq!(world.life.numbers, 1);
    assert!(world.life.said.contains("refused"), "{}", world.life.said);
}

#[tokio::test(start_paused = true)]
async fn files_that_cannot_be_tried_are_tried_three_times_and_then_left_alone() {
    let mut world = World::running(Build::NoPlugin, false);
    world.install(Some(1));
    world.run(TRY_AGAIN * 10);
    world.works(0);
    assert_eq!((world.life.numbers, world.life.restarts), (1, 0));
    assert_eq!(world.asked, 1 + TRIES, "and not again and again");
    assert!(world.life.said.contains("not a plugin; tried 3 times"), "{}", world.life.said);
    let bad = world.remembered.clone().expect("a restart does not try them again");
    assert_eq!((bad.fingerprint, &world.reverted[..]), ([1; 32], &[1][..]));
    world.install(Some(2));
    world.run(WATCH + Duration::from_secs(10));
    world.works(2);
}

#[tokio::test(start_paused = true)]
async fn an_update_survives_the_end_of_the_old_version() {
    let mut world = World::running(Build::Good, false);
    world.install(Some(1));
    while !matches!(&world.life.update, Update::Moving { moved, .. } if moved.len() == 2) {
        world.run(Duration::from_millis(1));
    }
    world.crash(1);
    world.run(Duration::from_secs(1));
    world.works(1);
}

#[tokio::test(start_paused = true)]
async fn a_line_the_old_version_clings_to_ends_the_update_and_blames_nobody() {
    let mut world = World::running(Build::Good, false);
    world.install(Some(1));
    while world.life.seats[&1].releasing.is_none() {
        world.chore();
        for number in [1, 2] {
            // it hears the release and does nothing
            if !world
                .processes
                .get(&number)
                .is_some_and(|p| matches!(p.orders.front(), Some(Act::Release(..))))
            {
                world.step(number);
            }
        }
        world.decide();
    }
    world.now += lines::RELEASE_LIMIT;
    world.run(Duration::from_secs(2));
    world.works(0);
    assert_eq!((world.processes.len(), world.remembered.clone()), (1, None));
    world.run(TRY_AGAIN + WATCH + Duration::from_secs(10));
    world.works(1);
}

#[tokio::test(start_paused = true)]
async fn while_a_line_is_handed_over_its_commands_wait() {
    let mut world = World::running(Build::Good, false);
    world.install(Some(1));
    let mut waited = BTreeSet::new();
    let mut places = BTreeSet::new();
    for _ in 0..40 {
        world.run(Duration::from_millis(1));
        for line in lines() {
            match world.life.place(&line) {
                Place::At(number) => drop(places.insert(number)),
                Place::OnItsWay => drop(waited.insert(line)),
                Place::Nowhere => panic!("somebody always has it or will have it"),
            }
        }
    }
    assert_eq!((waited, places), (lines(), [1, 2].into()));
}
