//! What the two sides of the door say, as JSON.
//!
//! Always true: both sides use these types, so that what one writes the other reads.

use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::commands::{Outcome, Quality, Verdict};
use crate::status::Status;
use crate::status::letters::{Shown, What};
use crate::status::plan::ConnectionPlan;

use super::value;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(12);
const RELOAD_TIMEOUT: Duration = Duration::from_secs(120);

/// One line to the gateway.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "lowercase", deny_unknown_fields)]
pub enum Request {
    /// How things are.
    Status,
    /// Read these points now; none: all.
    Read {
        /// Name in the configuration.
        device: String,
        /// Names of points.
        #[serde(default)]
        points: Vec<String>,
    },
    /// Set these points.
    Write {
        /// Name in the configuration.
        device: String,
        /// By name of the point.
        values: Map<String, Json>,
    },
    /// Call a function of the device's driver.
    Invoke {
        /// Name in the configuration.
        device: String,
        /// Its name.
        function: String,
        /// What it is given.
        #[serde(default)]
        input: Map<String, Json>,
    },
    /// How devices are read, and what of each wire that takes.
    Explain,
    /// Look for devices; the answer is a stream.
    Scan {
        /// Name in the configuration.
        connection: String,
        /// In the driver's words.
        #[serde(default)]
        options: Map<String, Json>,
        /// It ends after this long; 0: when all was tried.
        #[serde(default)]
        for_ms: u32,
    },
    /// What passes on a line; the answer is a stream.
    Capture {
        /// Name in the configuration.
        connection: String,
        /// It ends after this long; 0: with the client.
        #[serde(default)]
        for_ms: u32,
    },
    /// Rows that the platform never answered.
    Deadletter {
        /// What is to be done.
        what: What,
        /// With which; none: with all.
        #[serde(default)]
        ids: Option<Vec<String>>,
    },
    /// Read the configuration again and go on with it.
    Reload,
    /// End, and leave the drivers running for the next gateway.
    Handover,
}

impl Request {
    /// An answer, or the beginning of a stream, that takes longer is replaced by an error. Commands answer
    /// shortly after their deadline; before a reload every driver checks its part.
    pub fn answered_within(&self) -> Duration {
        match self {
            Self::Reload => RELOAD_TIMEOUT,
            _ => ANSWER_TIMEOUT,
        }
    }
}

/// One line back.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "reply", rename_all = "lowercase")]
pub enum Reply {
    /// To `status`.
    Status {
        /// The whole tree.
        status: Box<Status>,
    },
    /// To `read` and `write`.
    Outcome {
        /// What became of it.
        outcome: OutcomeReply,
    },
    /// To `explain`.
    Explain {
        /// Connection by connection.
        explained: Explained,
    },
    /// To `scan`, among others: how far it is.
    Progress {
        /// Of all there is to try.
        progress: Progress,
    },
    /// To `scan`: somebody is there.
    Found {
        /// Who.
        found: Found,
    },
    /// To `capture`: some of what passed.
    Captured {
        /// In order.
        lines: Vec<String>,
    },
    /// The last of a stream: nothing is missing.
    End,
    /// To `deadletter`.
    Deadletters {
        /// Letter by letter.
        letters: Vec<Shown>,
    },
    /// To `reload`.
    Reload {
        /// What became of it.
        reload: ReloadReply,
    },
    /// To `handover`: the gateway ends now.
    Handover {
        /// Processes that are left running.
        drivers: Vec<LeftRunning>,
    },
    /// The request was not understood, or could not be answered.
    Error {
        /// Why.
        error: String,
    },
}

/// An [`Outcome`] with its values as JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeReply {
    /// The command's id, as in the gateway's log.
    pub id: String,
    /// The worst of the points.
    pub verdict: Verdict,
    /// Why, for people; empty when applied.
    pub message: String,
    /// Point by point.
    pub points: Vec<PointReply>,
    /// What a function gave back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Json>,
}

/// How the devices of the configuration in this directory are read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Explained {
    /// Of the configuration that runs.
    pub config: PathBuf,
    /// In the order of their names.
    pub connections: Vec<ConnectionPlan>,
}

/// How far a scan is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Tried.
    pub done: u32,
    /// To be tried.
    pub total: u32,
    /// What is being tried, in the driver's words.
    pub now: String,
}

/// What a scan found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// In the protocol's words.
    pub address: String,
    /// As it says of itself.
    pub description: String,
    /// For its device table.
    pub settings: Map<String, Json>,
}

/// One point of an [`OutcomeReply`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PointReply {
    /// Its name.
    pub point: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub message: String,
    /// Read: the value. Write: what read back.
    pub value: Option<Json>,
    /// Of the value.
    pub quality: Quality,
}

/// What became of a reload.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReloadReply {
    /// How it ended.
    pub result: Reloaded,
    /// In one sentence, for people.
    pub message: String,
    /// What the new configuration changes, one table each.
    pub changes: Vec<String>,
    /// Mistakes and warnings, as `check --json` has them.
    pub problems: Vec<Json>,
    /// The same as `check` prints them, without colours.
    pub text: String,
}

/// How a reload ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reloaded {
    /// The new configuration runs.
    Applied,
    /// It says the same as the one that runs.
    Unchanged,
    /// It has mistakes; nothing changed.
    Refused,
    /// It could not be started; the old one runs again.
    Restored,
}

impl Reloaded {
    /// Whether what the files say is what runs.
    pub fn is_done(self) -> bool {
        matches!(self, Self::Applied | Self::Unchanged)
    }
}

/// A driver process that outlives its gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftRunning {
    /// Driver id.
    pub id: String,
    /// Process id.
    pub pid: u32,
}

impl OutcomeReply {
    /// The outcome of the command `id`.
    pub fn new(id: String, outcome: Outcome) -> Self {
        let points = outcome.points.into_iter().map(|point| PointReply {
            point: point.point,
            verdict: point.verdict,
            message: point.message,
            value: point.value.as_ref().map(value::to_json),
            quality: point.quality,
        });
        let output = serde_json::from_str(&outcome.output).ok();
        Self { id, verdict: outcome.verdict, message: outcome.message, points: points.collect(), output }
    }
}

impl Reply {
    /// An error.
    pub fn error(error: impl Into<String>) -> Self {
        Self::Error { error: error.into() }
    }

    /// As one line with its end.
    pub fn to_line(&self) -> Vec<u8> {
        let mut line = serde_json::to_vec(self).expect("text keys and plain values always make JSON");
        line.push(b'\n');
        line
    }
}
