//! One living process of a driver, as the policy sees it.
//!
//! Always true: `given` is a part of `may`; what may be open here is given to nobody else.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::Errors;
use super::pulse::Pulse;
use crate::southbound::kind::Kind;

/// Names of connections.
pub type Lines = BTreeSet<String>;

/// How far a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// No session yet.
    Starting,
    /// Its session is open.
    Open,
    /// It was told to end.
    Ending,
}

/// See the module.
#[derive(Debug)]
pub struct Seat {
    /// What it is made of.
    pub kind: Kind,
    /// How far it is.
    pub stage: Stage,
    /// It outlived an earlier gateway or an earlier round.
    pub adopted: bool,
    /// Taken over only to be heard out, then ended.
    pub retiring: bool,
    /// It can be left running for whoever comes next.
    pub keeps: bool,
    /// When it was started or taken over.
    pub began: Instant,
    /// Lines that may be open in it.
    pub may: Lines,
    /// Lines the last `Configure` opened and no `Release` asked back.
    pub given: Lines,
    /// Lines it was asked to release and did not yet, and since when.
    pub releasing: Option<(Lines, Instant)>,
    /// Number of the last `Configure` sent; 0: none.
    pub turn: u64,
    /// When that was.
    pub told: Instant,
    /// Number of the last one it answered.
    pub configured: u64,
    /// What it refuses of its configuration.
    pub errors: Errors,
    /// Whether it works.
    pub pulse: Pulse,
    /// Heartbeats since it has the lines it has.
    pub beats: u64,
    /// Devices that answered it at the last heartbeat.
    pub online: BTreeSet<String>,
    /// Devices that answered it at any time.
    pub answered: BTreeSet<String>,
    /// Why it was told to end, when that was its own fault.
    pub fault: Option<String>,
}

impl Seat {
    /// A process that was just started, or was taken over.
    pub fn new(kind: Kind, now: Instant) -> Self {
        Self {
            kind,
            stage: Stage::Starting,
            adopted: false,
            retiring: false,
            keeps: false,
            began: now,
            may: Lines::new(),
            given: Lines::new(),
            releasing: None,
            turn: 0,
            told: now,
            configured: 0,
            errors: Errors::new(),
            pulse: Pulse::new(now),
            beats: 0,
            online: BTreeSet::new(),
            answered: BTreeSet::new(),
            fault: None,
        }
    }

    /// It has answered everything it was told.
    pub fn is_settled(&self) -> bool {
        self.stage == Stage::Open && self.turn > 0 && self.configured == self.turn && self.releasing.is_none()
    }

    /// How long it has run.
    pub fn ran(&self, now: Instant) -> Duration {
        now.duration_since(self.began)
    }

    /// Lines are closed, whether or not they were asked back.
    pub fn released(&mut self, lines: &Lines) {
        let Some((releasing, _)) = &mut self.releasing else { return };
        for line in lines {
            if releasing.remove(line) {
                self.may.remove(line);
            }
        }
        if releasing.is_empty() {
            self.releasing = None;
        }
    }
}
