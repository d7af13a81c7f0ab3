//! A world of simulated processes, in which no line is ever open twice.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use super::super::seat::Lines;
use super::super::*;

/// How often a process says that it lives.
const BEAT: Duration = Duration::from_secs(2);

/// How a build behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Build {
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
pub(super) struct Process {
    pub(super) kind: Kind,
    pub(super) build: Build,
    pub(super) open: Lines,
    pub(super) orders: VecDeque<Act>,
    pub(super) opened: bool,
}

pub(super) struct World {
    pub(super) life: Life,
    pub(super) now: Instant,
    pub(super) processes: BTreeMap<Number, Process>,
    pub(super) installed: Option<u8>,
    pub(super) builds: Vec<Build>,
    /// Looks and questions on their way.
    pub(super) chores: VecDeque<Act>,
    pub(super) remembered: Option<Kind>,
    pub(super) reverted: Vec<u8>,
    pub(super) kept: Vec<Number>,
    /// How often files were asked.
    pub(super) asked: u32,
}

pub(super) fn lines() -> Lines {
    ["a", "b", "c"].map(str::to_owned).into()
}

pub(super) fn given(standby: bool) -> Given {
    Given { id: "sine".into(), lines: lines(), standby, bad: None, restarts: 0 }
}

pub(super) fn kind(build: u8) -> Kind {
    Kind { fingerprint: [build; 32], version: format!("{build}.0"), rights: None }
}

impl World {
    pub(super) fn new(standby: bool, builds: &[Build]) -> Self {
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

    pub(super) fn adopt(&mut self, build: u8, role: Role, open: Lines) -> Number {
        let number = self.life.adopt(self.now, kind(build), role);
        self.processes.insert(number, self.process(kind(build), open));
        number
    }

    pub(super) fn process(&self, kind: Kind, open: Lines) -> Process {
        let build = self.builds[usize::from(kind.fingerprint[0])];
        Process { kind, build, open, orders: VecDeque::new(), opened: false }
    }

    pub(super) fn decide(&mut self) {
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
    pub(super) fn check(&self) {
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

    pub(super) fn hear(&mut self, news: News) {
        self.life.hear(self.now, news);
        self.decide();
    }

    pub(super) fn crash(&mut self, number: Number) {
        if self.processes.remove(&number).is_some() {
            let last_lines = vec!["oh no".to_owned()];
            self.hear(News::Ended { number, why: "crashed".to_owned(), unborn: false, last_lines });
        }
    }

    /// One process does one thing.
    pub(super) fn step(&mut self, number: Number) {
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

    pub(super) fn beat(&mut self, number: Number) {
        let Some(process) = self.processes.get(&number) else { return };
        let online = if process.build == Build::Deaf { Lines::new() } else { process.open.clone() };
        let polls = (self.now.elapsed().as_millis() as u64).wrapping_add(1);
        self.hear(News::Beat { number, polls, overdue: Duration::ZERO, online });
    }

    pub(super) fn chore(&mut self) {
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
    pub(super) fn run(&mut self, time: Duration) {
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

    pub(super) fn install(&mut self, build: Option<u8>) {
        self.installed = build;
        self.life.look_again();
        self.decide();
    }

    pub(super) fn running(build: Build, standby: bool) -> Self {
        let mut world = Self::new(standby, &[Build::Good, build, Build::Good]);
        world.run(Duration::from_secs(5));
        assert_eq!(world.life.shown().state, "running", "{:?}", world.life);
        world
    }

    pub(super) fn active(&self) -> &Process {
        &self.processes[&self.life.active.expect("somebody is at work")]
    }

    pub(super) fn works(&self, build: u8) {
        assert_eq!(
            (self.active().kind.fingerprint, &self.active().open),
            ([build; 32], &lines()),
            "{:?}",
            self.life
        );
    }
}
