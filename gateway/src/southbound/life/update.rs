//! The way from one version to the next, and back.
//!
//! ```text
//! None → Starting → Moving, line by line → Watching → None, the old one is stopped
//!            └──────────┴─────────────────────┴→ Back → None, the old one has its lines again
//! ```
//! Always true: the old process lives until the new one has proved itself; files that failed at work
//! are not tried again until they change; a line is away for as long as one release and one open take.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::seat::Lines;
use super::{Act, How, Known, Life, Number, Role, Wanted};
use crate::southbound::kind::Kind;

/// How long a new version is watched at least.
pub const WATCH: Duration = Duration::from_secs(30);
/// How long devices that are polled seldom get at most to answer it.
pub const LONGEST_WATCH: Duration = Duration::from_secs(600);
/// Besides two polls, what a device gets to answer the new version.
const ANSWER: Duration = Duration::from_secs(10);
/// From its start a new version gets this long until it is configured.
pub const READY_LIMIT: Duration = Duration::from_secs(60);
/// How long until an update that could not begin is tried again.
pub const TRY_AGAIN: Duration = Duration::from_secs(60);
/// Attempts to begin; after that the files count as bad.
pub const TRIES: u32 = 3;

/// How far an update is.
#[derive(Debug)]
pub(super) enum Update {
    None,
    Starting { successor: Number, since: Instant },
    Moving { successor: Number, moved: Lines, expected: BTreeSet<String> },
    Watching(Watch),
    Back { failed: Number },
}

/// The new process has every line.
#[derive(Debug)]
pub(super) struct Watch {
    successor: Number,
    moved: Lines,
    /// Devices that answered the old one.
    expected: BTreeSet<String>,
    /// They have answered by then.
    answered_by: Instant,
    until: Instant,
}

impl Update {
    pub(super) fn is_on(&self) -> bool {
        !matches!(self, Self::None)
    }

    /// The new process, while it may still become the active one.
    pub(super) fn successor(&self) -> Option<Number> {
        match self {
            Self::Starting { successor, .. }
            | Self::Moving { successor, .. }
            | Self::Watching(Watch { successor, .. }) => Some(*successor),
            Self::None | Self::Back { .. } => None,
        }
    }

    /// Lines the new process is to have.
    pub(super) fn moved(&self) -> Lines {
        match self {
            Self::Moving { moved, .. } | Self::Watching(Watch { moved, .. }) => moved.clone(),
            Self::None | Self::Starting { .. } | Self::Back { .. } => Lines::new(),
        }
    }

    /// When the next step is due although nothing happens.
    pub(super) fn due(&self, decided: Instant) -> Option<Instant> {
        match self {
            Self::Starting { since, .. } => Some(*since + READY_LIMIT),
            Self::Watching(watch) if watch.answered_by > decided => Some(watch.answered_by),
            Self::Watching(watch) => Some(watch.until),
            Self::None | Self::Moving { .. } | Self::Back { .. } => None,
        }
    }
}

impl Life {
    /// The next step.
    pub(super) fn renew(&mut self, now: Instant) {
        let outdated = |kind: &Kind| !matches!(&self.wanted, Wanted::Known(known) if known.kind.is(kind));
        if let Some(successor) = self.update.successor()
            && self.seats.get(&successor).is_none_or(|seat| outdated(&seat.kind))
        {
            return self.give_up(now, "something else was installed meanwhile");
        }
        match &self.update {
            Update::None => self.consider(now),
            Update::Starting { successor, since } => self.starting(now, *successor, *since),
            Update::Moving { .. } => self.moving(now),
            Update::Watching(_) => self.watch(now),
            Update::Back { failed } => self.back(now, *failed),
        }
    }

    /// Whether what is at work is to be replaced.
    fn consider(&mut self, now: Instant) {
        if self.active.is_none() || self.update_pause.is_some_and(|until| until > now) {
            return;
        }
        self.update_pause = None;
        let Some(active) = self.active.and_then(|number| self.seats.get(&number)) else { return };
        let known = match &self.wanted {
            Wanted::Found { fingerprint } => {
                let failed_before = self.bad.as_ref().filter(|bad| bad.fingerprint == *fingerprint);
                match failed_before.filter(|bad| bad.fingerprint != active.kind.fingerprint) {
                    Some(bad) => self.said = failed_before_words(&self.said, &active.kind, bad),
                    None => self.ask(),
                }
                return;
            }
            Wanted::Known(known) => known,
            Wanted::Unknown | Wanted::Absent { .. } => return,
        };
        if active.kind.is(&known.kind) {
            self.tries = 0;
            return;
        }
        let refused = self.refused.as_ref().is_some_and(|refused| refused.is(&known.kind));
        // whoever is to be replaced has shown what it can do: all lines, and a word about its devices
        let at_work = active.is_settled() && active.given == self.given.lines && active.beats > 0;
        let others_go = self.seats.values().any(|seat| seat.retiring);
        if !at_work || others_go || refused {
            return;
        }
        if self.is_bad(&known.kind, &active.kind) {
            self.said = failed_before_words(&self.said, &active.kind, &known.kind);
            return;
        }
        let more: Vec<&String> = known
            .errors
            .iter()
            .filter(|(place, _)| !active.errors.contains_key(*place))
            .map(|(_, w)| w)
            .collect();
        if let Some(first) = more.first() {
            let (old, new) = names(&active.kind, &known.kind);
            let said = format!("{new} is refused, {old} goes on: {first}");
            tracing::error!(driver = %self.given.id, mistakes = more.len(), error = first, "new version refuses the configuration, the old one goes on");
            (self.said, self.refused) = (said, Some(known.kind.clone()));
            return;
        }
        let kind = known.kind.clone();
        tracing::info!(driver = %self.given.id, from = active.kind.version, to = kind.version, "update begins");
        let (old, new) = names(&active.kind, &kind);
        self.said = format!("{new} is started beside {old}");
        let successor = self.start(now, Role::Successor, kind);
        self.update = Update::Starting { successor, since: now };
    }

    /// Files that failed are not there any more: should they come back, somebody wants them. Other
    /// rights for the files that run are another matter, too.
    pub(super) fn reconsider(&mut self) {
        let Some(bad) = &self.bad else { return };
        let gone = match &self.wanted {
            Wanted::Unknown | Wanted::Absent { .. } => false,
            Wanted::Found { fingerprint } => *fingerprint != bad.fingerprint,
            Wanted::Known(known) => {
                let same_files =
                    self.active_kind().is_some_and(|active| active.fingerprint == bad.fingerprint);
                same_files && !known.kind.is(bad)
            }
        };
        if gone {
            self.bad = None;
            self.acts.push(Act::Remember(None));
        }
    }

    /// Files that failed before are not tried again; only where other rights are asked of the same
    /// files, these rights count, too.
    fn is_bad(&self, wanted: &Kind, active: &Kind) -> bool {
        self.bad.as_ref().is_some_and(|bad| {
            bad.fingerprint == wanted.fingerprint
                && (active.fingerprint != wanted.fingerprint || bad.rights == wanted.rights)
        })
    }

    fn starting(&mut self, now: Instant, successor: Number, since: Instant) {
        let (Some(new), Some(old)) =
            (self.seats.get(&successor), self.active.and_then(|n| self.seats.get(&n)))
        else {
            return;
        };
        if since + READY_LIMIT <= now {
            let why = format!("not ready within {} s", READY_LIMIT.as_secs());
            self.tried(now, &why);
            return self.send_back();
        }
        if !new.is_settled() || !old.is_settled() {
            return;
        }
        if let Some((_, words)) = new.errors.iter().find(|(place, _)| !old.errors.contains_key(*place)) {
            let why = format!("it refuses what the old one took: {words}");
            self.blame(&why);
            return self.send_back();
        }
        let expected = old.online.clone();
        self.update = Update::Moving { successor, moved: Lines::new(), expected };
        self.moving(now);
    }

    /// One line at a time: asked back, given, and on to the next.
    fn moving(&mut self, now: Instant) {
        if self.active.is_some_and(|old| self.clings(now, old)) {
            return self.give_up(now, "the old version does not release a line");
        }
        let Update::Moving { successor, moved, expected } = &mut self.update else { return };
        let Some(new) = self.seats.get(successor) else { return };
        if !new.is_settled() || new.given != *moved {
            return;
        }
        if let Some(next) = self.given.lines.iter().find(|line| !moved.contains(*line)) {
            moved.insert(next.clone());
            return;
        }
        let slowest = match &self.wanted {
            Wanted::Known(known) => known.slowest,
            Wanted::Unknown | Wanted::Absent { .. } | Wanted::Found { .. } => Duration::ZERO,
        };
        let answer = (slowest.saturating_mul(2) + ANSWER).min(LONGEST_WATCH);
        let watch = Watch {
            successor: *successor,
            moved: std::mem::take(moved),
            expected: std::mem::take(expected),
            answered_by: now + answer,
            until: now + answer.max(WATCH),
        };
        let old = self.active_kind().unwrap_or(&new.kind);
        self.said = format!("{} has every line and is watched", names(old, &new.kind).1);
        tracing::info!(driver = %self.given.id, version = new.kind.version, "new version has every line and is watched");
        self.update = Update::Watching(watch);
    }

    /// Every device that answered the old version has to answer the new one, once at least; whatever
    /// else goes wrong ends the process, and that ends the update.
    fn watch(&mut self, now: Instant) {
        let Update::Watching(watch) = &self.update else { return };
        let successor = watch.successor;
        let (Some(new), Some(old)) = (self.seats.get(&successor), self.active) else { return };
        let silent: Vec<&String> = watch.expected.difference(&new.answered).collect();
        if let Some(first) = silent.first().filter(|_| watch.answered_by <= now) {
            let why = match silent.len() {
                1 => format!("device {first} answered the old version and not this one"),
                more => {
                    format!("{more} devices answered the old version and not this one, {first} among them")
                }
            };
            self.blame(&why);
            return self.send_back();
        }
        if watch.until > now {
            return;
        }
        let (from, to) = names(self.seats.get(&old).map_or(&new.kind, |old| &old.kind), &new.kind);
        self.said = format!("{from} was replaced by {to}");
        tracing::info!(driver = %self.given.id, from, to, "update is done");
        (self.update, self.tries) = (Update::None, 0);
        self.active = Some(successor);
        self.acts.push(Act::Role(successor, Role::Active));
        self.end(old, How::Stop);
    }

    /// Nobody's fault: tried again later.
    fn give_up(&mut self, now: Instant, why: &str) {
        tracing::warn!(driver = %self.given.id, error = why, "update is given up and tried again");
        self.said = format!("update was given up and is tried again: {why}");
        self.update_pause = Some(now + TRY_AGAIN);
        self.send_back();
    }

    /// The lines of the new process return to the old one; then it ends.
    fn send_back(&mut self) {
        if let Some(failed) = self.update.successor() {
            self.update = Update::Back { failed };
        }
    }

    fn back(&mut self, now: Instant, failed: Number) {
        match self.seats.get(&failed) {
            None => self.update = Update::None,
            Some(seat) if seat.may.is_empty() || seat.stage != super::Stage::Open => {
                self.end(failed, How::Stop);
                self.update = Update::None;
            }
            Some(_) if self.clings(now, failed) => {
                self.cut_off(failed, "it does not release its lines");
                self.update = Update::None;
            }
            Some(_) => {}
        }
    }

    /// The new files could not be tried: later again, but not for ever.
    pub(super) fn tried(&mut self, now: Instant, why: &str) {
        self.tries += 1;
        if self.tries >= TRIES {
            return self.blame(&format!("{why}; tried {TRIES} times"));
        }
        tracing::warn!(driver = %self.given.id, error = why, "new version could not be tried, tried again later");
        self.said = format!("the new version could not be tried and is tried again: {why}");
        self.update_pause = Some(now + TRY_AGAIN);
    }

    /// The new files are bad.
    pub(super) fn blame(&mut self, why: &str) {
        let kind = match &self.wanted {
            Wanted::Known(Known { kind, .. }) => kind.clone(),
            // they did not even say what they are
            Wanted::Found { fingerprint } => {
                Kind { fingerprint: *fingerprint, version: String::new(), rights: None }
            }
            Wanted::Unknown | Wanted::Absent { .. } => return,
        };
        let same_files = self.active_kind().is_none_or(|active| active.fingerprint == kind.fingerprint);
        let (old, new) = names(self.active_kind().unwrap_or(&kind), &kind);
        self.said = format!("{new} failed and {old} goes on: {why}");
        tracing::error!(driver = %self.given.id, version = kind.version, error = why, "new version failed, the old one goes on");
        self.tries = 0;
        if !same_files {
            self.acts.push(Act::Revert(kind.fingerprint, why.to_owned()));
        }
        self.acts.push(Act::Remember(Some(kind.clone())));
        self.bad = Some(kind);
    }
}

/// Unless there is something newer to be said.
fn failed_before_words(said: &str, old: &Kind, new: &Kind) -> String {
    if !said.is_empty() {
        return said.to_owned();
    }
    let (old, new) = names(old, new);
    format!("{new} failed before; {old} goes on until something else is installed")
}

/// `version 1.1.0` and `version 1.2.0`, or what else tells the old and the new apart.
fn names(old: &Kind, new: &Kind) -> (String, String) {
    let version = |kind: &Kind| match kind.version.as_str() {
        "" => "the driver".to_owned(),
        version => format!("version {version}"),
    };
    let build = |kind: &Kind| format!("{} (build {})", version(kind), kind.short());
    if old.fingerprint == new.fingerprint {
        (version(old), format!("{} with other rights", version(new)))
    } else if old.version == new.version || new.version.is_empty() {
        (build(old), build(new))
    } else {
        (version(old), version(new))
    }
}
