//! What goes into the policy and what comes out of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::seat::Lines;
use crate::southbound::kind::{Fingerprint, Kind};
use crate::status::plan::Strain;

/// Refused parts of a configuration: place → words.
pub type Errors = BTreeMap<String, String>;

/// A process of this driver; never used twice in a round.
pub type Number = u32;

/// What is there to be run.
#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    /// Not looked for yet.
    Unknown,
    /// Nothing, or nothing that may run.
    Absent {
        /// `missing` or `refused`.
        state: &'static str,
        /// For people.
        why: String,
    },
    /// These files; what rights they need was not asked yet.
    Found {
        /// Of the files.
        fingerprint: Fingerprint,
    },
    /// Everything is known.
    Known(Known),
}

/// What a driver's files say about the configuration.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Known {
    /// What to start.
    pub kind: Kind,
    /// What they refuse of it: its place, and the words.
    pub errors: Errors,
    /// The longest time any device waits for its first poll.
    pub slowest: Duration,
    /// Lines whose wire is full or nearly, and the arithmetic.
    #[serde(default)]
    pub strains: BTreeMap<String, Strain>,
}

/// What a process is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// It has the lines.
    Active,
    /// It has none until the active one ends.
    Standby,
    /// It takes the lines over from the active one.
    Successor,
}

/// How a process is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// Lines released, everything sent, then the process stops.
    Stop,
    /// At once.
    Kill,
    /// Its session is closed; it goes on.
    Keep,
}

/// What has to be done.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Look for the driver's files.
    Look,
    /// Ask the files that were found about the configuration.
    Ask(Fingerprint),
    /// Start a process.
    Start(Number, Role, Kind),
    /// Tell it the configuration, these lines on hold. The turn comes back with its answer.
    Configure(Number, u64, Lines),
    /// Ask lines back.
    Release(Number, Lines),
    /// End it.
    End(Number, How),
    /// It is something else now.
    Role(Number, Role),
    /// These files failed at work, or none that matter any more: keep that in mind across restarts.
    Remember(Option<Kind>),
    /// These files failed: their package goes back to the version before; and why.
    Revert(Fingerprint, String),
}

/// Why something did not work.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fault {
    /// In words.
    pub why: String,
    /// Of the log of what failed.
    pub last_lines: Vec<String>,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// The files were looked for.
    Looked(Result<Fingerprint, (&'static str, String)>),
    /// The files were asked.
    Asked(Fingerprint, Result<Known, Fault>),
    /// A session is open; whether the process can be left running.
    Opened {
        /// Which.
        number: Number,
        /// It can be reattached.
        keeps: bool,
    },
    /// It has taken a configuration.
    Configured {
        /// Which.
        number: Number,
        /// As it was told.
        turn: u64,
        /// What it refuses.
        errors: Errors,
    },
    /// Lines are closed, and what was read on them is stored.
    Released(Number, Lines),
    /// A heartbeat.
    Beat {
        /// Which.
        number: Number,
        /// Finished polls.
        polls: u64,
        /// Age of the oldest work that is due.
        overdue: Duration,
        /// Devices that answer, on lines it was given.
        online: BTreeSet<String>,
    },
    /// The process is gone, or was left to itself.
    Ended {
        /// Which.
        number: Number,
        /// In words.
        why: String,
        /// It never got as far as a session.
        unborn: bool,
        /// Of its log.
        last_lines: Vec<String>,
    },
}

/// What does not change during a round.
#[derive(Debug, Clone)]
pub struct Given {
    /// Driver id.
    pub id: Arc<str>,
    /// Its connections.
    pub lines: Lines,
    /// A second process stands by.
    pub standby: bool,
    /// Files that failed at work, from before.
    pub bad: Option<Kind>,
    /// Restarts before this round.
    pub restarts: u32,
}

/// What people are shown.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Shown {
    /// The word for all of it.
    pub state: &'static str,
    /// The process at work.
    pub active: Option<Number>,
    /// The one that stands by, and its word.
    pub standby: Option<(Number, &'static str)>,
    /// Since the gateway's start.
    pub restarts: u32,
    /// Why it is not running, or last did not.
    pub last_error: String,
    /// What it said last before that.
    pub last_lines: Vec<String>,
    /// What became of the last update.
    pub update: String,
}

/// Where a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// This process has it.
    At(Number),
    /// One will have it soon.
    OnItsWay,
    /// No process runs.
    Nowhere,
}
