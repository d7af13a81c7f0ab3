//! Life against a world of simulated processes: told stories, and random ones that must end well.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use proptest::prelude::*;
use tokio::time::Instant;

use super::decide::LOOK_AGAIN;
use super::patience::{FAILURES, QUARANTINE};
use super::seat::Lines;
use super::update::{TRIES, TRY_AGAIN, WATCH};
use super::*;

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// How a build behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Build {
    Good,
    /// Refuses what the others take.
    Picky,
    /// Ends as soon as it has a line.
    Crashing,
    /// No device answers it.
    Deaf,
    /// Cannot even be asked.
    NoPlugin,
}

/// A process that does what it is told, in order.
#[derive(Debug)]
struct Process {
    kind: Kind,
    build: Build,
    open: Lines,
    orders: VecDeque<Act>,
    opened: bool,
}

struct World {
    life: Life,
    now: Instant,
    processes: BTreeMap<Number, Process>,
    installed: Option<u8>,
    builds: Vec<Build>,
    /// Looks and questions on their way.
    chores: VecDeque<Act>,
    remembered: Option<Kind>,
    reverted: Vec<u8>,
    kept: Vec<Number>,
    /// How often files were asked.
    asked: u32,
}

fn lines() -> Lines {
    ["a", "b", "c"].map(str::to_owned).into()
}

fn given(standby: bool) -> Given {
    Given { id: "sine".into(), lines: lines(), standby, bad: None, restarts: 0 }
}

fn kind(build: u8) -> Kind {
    Kind { fingerprint: [build; 32], version: format!("{build}.0"), rights: None }
}

impl World {
    fn new(standby: bool, builds: &[Build]) -> Self {
        Self {
            life: Life::new(Instant::now(), given(standby)),
            now: Instant::now(),
            processes: BTreeMap::new(),
            installed: Some(0),
            builds: builds.to_vec(),
            chores: VecDeque::new(),
            remembered: None,
            reverted: Vec::new(),
            kept: Vec::new(),
            asked: 0,
        }
    }

    fn adopt(&mut self, build: u8, role: Role, open: Lines) -> Number {
        let number = self.life.adopt(self.now, kind(build), role);
        self.processes.insert(number, self.process(kind(build), open));
        number
    }

    fn process(&self, kind: Kind, open: Lines) -> Process {
        let build = self.builds[usize::from(kind.fingerprint[0])];
        Process { kind, build, open, orders: VecDeque::new(), opened: false }
    }

    fn decide(&mut self) {
        for act in self.life.decide(self.now) {
            match act {
                Act::Look | Act::Ask(_) => self.chores.push_back(act),
                Act::Start(number, _, kind) => {
                    let process = self.process(kind, Lines::new());
                    assert!(self.processes.insert(number, process).is_none(), "a number is used once");
                }
                Act::Configure(number, ..) | Act::Release(number, _) | Act::End(number, _) => {
                    if let Some(process) = self.processes.get_mut(&number) {
                        process.orders.push_back(act);
                    }
                }
                Act::Role(..) => {}
                Act::Remember(kind) => self.remembered = kind,
                Act::Revert(files, _) => self.reverted.push(files[0]),
            }
        }
        self.check();
    }

    /// What must hold at any moment.
    fn check(&self) {
        for line in lines() {
            let open: Vec<_> = self.processes.iter().filter(|(_, p)| p.open.contains(&line)).collect();
            assert!(open.len() <= 1, "line {line} is open twice: {open:?}");
        }
        let at_work = self.life.seats.values().filter(|seat| seat.stage != Stage::Ending && !seat.retiring);
        assert!(at_work.count() <= 3, "{:?}", self.life.seats);
        for (number, seat) in &self.life.seats {
            assert!(seat.given.is_subset(&seat.may), "{number}: {seat:?}");
        }
    }

    fn hear(&mut self, news: News) {
        self.life.hear(self.now, news);
        self.decide();
    }

    fn crash(&mut self, number: Number) {
        if self.processes.remove(&number).is_some() {
            let last_lines = vec!["oh no".to_owned()];
            self.hear(News::Ended { number, why: "crashed".to_owned(), unborn: false, last_lines });
        }
    }

    /// One process does one thing.
    fn step(&mut self, number: Number) {
        let Some(process) = self.processes.get_mut(&number) else { return };
        if !process.opened {
            process.opened = true;
            return self.hear(News::Opened { number, keeps: true });
        }
        match process.orders.pop_front() {
            Some(Act::Configure(_, turn, hold)) => {
                process.open = lines().difference(&hold).cloned().collect();
                let crashing = process.build == Build::Crashing && !process.open.is_empty();
                let errors = match process.build {
                    Build::Picky => [("at".to_owned(), "no".to_owned())].into(),
                    _ => Errors::new(),
                };
                self.check();
                self.hear(News::Configured { number, turn, errors });
                if crashing {
                    self.crash(number);
                }
            }
            Some(Act::Release(_, lines)) => {
                process.open.retain(|line| !lines.contains(line));
                self.hear(News::Released(number, lines));
            }
            Some(Act::End(_, how)) => {
                self.processes.remove(&number);
                if how == How::Keep {
                    self.kept.push(number);
                }
                let why = "stopped".to_owned();
                self.hear(News::Ended { number, why, unborn: false, last_lines: Vec::new() });
            }
            Some(other) => panic!("{other:?} is nothing for a process"),
            None => self.beat(number),
        }
    }

    fn beat(&mut self, number: Number) {
        let Some(process) = self.processes.get(&number) else { return };
        let online = if process.build == Build::Deaf { Lines::new() } else { process.open.clone() };
        let polls = (self.now.elapsed().as_millis() as u64).wrapping_add(1);
        self.hear(News::Beat { number, polls, overdue: Duration::ZERO, online });
    }

    fn chore(&mut self) {
        match self.chores.pop_front() {
            Some(Act::Look) => {
                let found = self.installed.map(|build| [build; 32]);
                let gone = ("missing", "no files".to_owned());
                self.hear(News::Looked(found.ok_or(gone)));
            }
            Some(Act::Ask(fingerprint)) => {
                let build = fingerprint[0];
                self.asked += 1;
                let answer = match self.builds[usize::from(build)] {
                    Build::NoPlugin => {
                        Err(Fault { why: "not a plugin".to_owned(), last_lines: vec!["hello".to_owned()] })
                    }
                    Build::Picky => Ok(([("at".to_owned(), "no".to_owned())].into(), kind(build))),
                    _ => Ok((Errors::new(), kind(build))),
                };
                let slowest = Duration::from_secs(1);
                let answer =
                    answer.map(|(errors, kind)| Known { kind, errors, slowest, strains: BTreeMap::new() });
                self.hear(News::Asked(fingerprint, answer));
            }
            _ => {}
        }
    }

    /// Everything that has anything to do does it, and time passes, for so long.
    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        self.decide();
        while self.now < end {
            let busy = !self.chores.is_empty()
                || self.processes.values().any(|process| !process.opened || !process.orders.is_empty());
            self.chore();
            for number in self.processes.keys().copied().collect::<Vec<_>>() {
                self.step(number);
            }
            let quiet = self.now + BEAT;
            let next = self.life.wake_at().map_or(quiet, |at| at.min(quiet));
            self.now = if busy { self.now + Duration::from_millis(1) } else { next.min(end) };
            self.decide();
        }
    }

    fn install(&mut self, build: Option<u8>) {
        self.installed = build;
        self.life.look_again();
        self.decide();
    }

    fn running(build: Build, standby: bool) -> Self {
        let mut world = Self::new(standby, &[Build::Good, build, Build::Good]);
        world.run(Duration::from_secs(5));
        assert_eq!(world.life.shown().state, "running", "{:?}", world.life);
        world
    }

    fn active(&self) -> &Process {
        &self.processes[&self.life.active.expect("somebody is at work")]
    }

    fn works(&self, build: u8) {
        assert_eq!(
            (self.active().kind.fingerprint, &self.active().open),
            ([build; 32], &lines()),
            "{:?}",
            self.life
        );
    }
}

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
async fn a_driver_is_found_asked_started_and_given_its_lines() {
    let world = World::running(Build::Good, false);
    world.works(0);
    assert_eq!((world.processes.len(), world.life.restarts), (1, 0));
}

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

proptest! {
    // two fifths of the usual number: a case is a long story
    #![proptest_config(ProptestConfig { cases: ProptestConfig::default().cases * 2 / 5, ..ProptestConfig::default() })]
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
