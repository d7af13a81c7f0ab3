//! What the two sides of the door say, as JSON.
//!
//! Always true: both sides use these types, so that what one writes the other reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use crate::commands::{Outcome, Verdict};
use crate::status::Status;

use super::value;

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
}

impl OutcomeReply {
    /// The outcome of the command `id`.
    pub fn new(id: String, outcome: Outcome) -> Self {
        let points = outcome.points.into_iter().map(|point| PointReply {
            point: point.point,
            verdict: point.verdict,
            message: point.message,
            value: point.value.as_ref().map(value::to_json),
        });
        Self { id, verdict: outcome.verdict, message: outcome.message, points: points.collect() }
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
