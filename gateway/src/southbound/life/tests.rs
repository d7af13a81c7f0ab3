//! Life against a world of simulated processes: told stories, and random ones that must end well.

mod failures;
mod parting;
mod standby;
mod updates;
mod world;

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use world::{Build, World, given, kind, lines};

use super::decide::LOOK_AGAIN;
use super::patience::{FAILURES, QUARANTINE};
use super::seat::Lines;
use super::update::{TRIES, TRY_AGAIN, WATCH};
use super::*;

#[tokio::test(start_paused = true)]
async fn a_driver_is_found_asked_started_and_given_its_lines() {
    let world = World::running(Build::Good, false);
    world.works(0);
    assert_eq!((world.processes.len(), world.life.restarts), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]
    /// Whatever happens, no line is open twice, and once nothing more happens everything works.
    #[test]
    fn every_story_ends_well(
        standby in any::<bool>(),
        adopted in proptest::collection::vec((0..3u8, 0..3usize), 0..3),
        steps in proptest::collection::vec((0..12u8, 0..8u32), 1..250),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let _guard = runtime.enter();
        let builds = [Build::Good, Build::Good, Build::Deaf, Build::Crashing, Build::Picky, Build::NoPlugin];
        let mut world = World::new(standby, &builds);
        let mut free = lines();
        for (build, role) in adopted {
            let role = [Role::Active, Role::Standby, Role::Successor][role];
            let open = if role == Role::Standby { Lines::new() } else { free.pop_first().into_iter().collect() };
            world.adopt(build, role, open);
        }
        world.decide();
        for (step, which) in steps {
            let there: Vec<Number> = world.processes.keys().copied().collect();
            let process = there.get(which as usize % there.len().max(1)).copied();
            match (step, process) {
                (0..6, Some(number)) => world.step(number),
                (6, Some(number)) => world.crash(number),
                (7 | 8, _) => world.chore(),
                (9, _) => world.install((which < 6).then_some(which as u8)),
                _ => {
                    world.now += Duration::from_secs(u64::from(which) * u64::from(which));
                    world.decide();
                }
            }
        }
        world.install(Some(1));
        world.run(QUARANTINE + WATCH + Duration::from_secs(120));
        let bad = world.remembered.as_ref().is_some_and(|kind| kind.fingerprint == [1; 32]);
        prop_assert_eq!(&world.active().open, &lines(), "{:?}", world.life);
        prop_assert!(bad || world.active().kind.fingerprint == [1; 32], "{:?}", world.life);
        let renewed = world.active().kind.fingerprint == [1; 32];
        let most = 1 + usize::from(standby);
        let least = if renewed { most } else { 1 };
        prop_assert!((least..=most).contains(&world.processes.len()), "{:?}", world.life);
        world.life.part(Parting::Keep);
        world.run(Duration::from_secs(1));
        prop_assert!(world.life.is_over());
    }
}
