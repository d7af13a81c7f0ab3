//! Commands: one door for requests going south, whoever asks (platform, command line).
//!
//! Always true: a command has an id, a deadline and exactly one outcome; a repeated id is answered
//! from memory and never executed twice; past its deadline it is `expired`, never executed.
//! [`router`] is the task behind the door.

use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sagoo_edge_proto::sample::Value;
use tokio::sync::{mpsc, oneshot, watch};

mod router;

pub use router::{Dispatch, Routes, router};

/// Commands waiting for the task that routes them; a full queue makes callers wait.
pub const QUEUE: usize = 64;
/// Of what was asked, this much is in the audit; a text to be written may be long.
const AUDIT_BYTES: usize = 512;

/// What is asked of a device.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Set these points, by name.
    Write(Vec<(String, Value)>),
    /// Read these points now; empty: all.
    Read(Vec<String>),
    /// Call a function; JSON object in.
    Invoke {
        /// Its name.
        function: String,
        /// JSON object.
        input: String,
    },
}

impl Action {
    /// Whether it changes something, so that doing it twice would matter.
    fn lasts(&self) -> bool {
        !matches!(self, Self::Read(_))
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Write(values) => {
                f.write_str("write")?;
                values.iter().try_for_each(|(point, value)| write!(f, " {point}={value}"))
            }
            Self::Read(points) if points.is_empty() => f.write_str("read all"),
            Self::Read(points) => write!(f, "read {}", points.join(" ")),
            Self::Invoke { function, input } => write!(f, "invoke {function} {input}"),
        }
    }
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asker {
    /// Over MQTT.
    Platform,
    /// Over the control socket.
    CommandLine,
}

impl Asker {
    fn word(self) -> &'static str {
        match self {
            Self::Platform => "platform",
            Self::CommandLine => "cli",
        }
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Unique; repeated ids are answered from memory.
    pub id: String,
    /// Name in the configuration.
    pub device: String,
    /// Boot clock (`sagoo_edge_proto::clock::boot_ns`); later it is never executed.
    pub deadline_boot_ns: u64,
    /// What to do.
    pub action: Action,
}

/// What became of it. The order is from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// Done and confirmed by the device.
    Applied,
    /// Written, but it reads back otherwise.
    Differs,
    /// Device, driver or configuration said no; nothing changed.
    Refused,
    /// Sent, not answered: it may have happened.
    Unknown,
    /// Too late; not executed.
    Expired,
}

impl Verdict {
    /// The contract's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::Differs => "differs",
            Self::Refused => "refused",
            Self::Unknown => "unknown",
            Self::Expired => "expired",
        }
    }
}

/// The answer to a [`Request`].
#[derive(Debug, Clone, PartialEq)]
pub struct Outcome {
    /// The worst of the points.
    pub verdict: Verdict,
    /// Why, for people; empty when applied.
    pub message: String,
    /// Point by point.
    pub points: Vec<PointOutcome>,
    /// Of an invoke: JSON object.
    pub output: String,
}

/// How far to believe a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Read and decoded.
    Good,
    /// A value, with a doubt.
    Uncertain,
    /// No value.
    Bad,
}

/// One point of an [`Outcome`].
#[derive(Debug, Clone, PartialEq)]
pub struct PointOutcome {
    /// Its name.
    pub point: String,
    /// What became of it.
    pub verdict: Verdict,
    /// Why.
    pub message: String,
    /// Read: the value. Write: what read back.
    pub value: Option<Value>,
    /// Of the value.
    pub quality: Quality,
}

/// The door.
#[derive(Debug, Clone)]
pub struct Handle {
    queue: mpsc::Sender<(Request, oneshot::Sender<Outcome>)>,
    running: watch::Receiver<usize>,
}

impl Handle {
    /// Carries out one request; returns at the latest shortly after its deadline.
    pub async fn execute(&self, request: Request) -> Outcome {
        let (reply, answer) = oneshot::channel();
        if self.queue.send((request, reply)).await.is_err() {
            return Outcome::failed(Verdict::Refused, "the gateway is stopping");
        }
        answer.await.unwrap_or_else(|_| Outcome::failed(Verdict::Unknown, "the gateway is stopping"))
    }

    /// Waits until no command is being carried out.
    pub async fn idle(&self) {
        // the task has ended: nothing is carried out any more
        let _ = self.running.clone().wait_for(|running| *running == 0).await;
    }
}

impl Outcome {
    /// An outcome without points.
    pub fn failed(verdict: Verdict, message: impl Into<String>) -> Self {
        Self { verdict, message: message.into(), points: Vec::new(), output: String::new() }
    }
}

/// A command as the audit has it: every one leaves a line, whoever asked and however it ended, also when it
/// was refused, came too late or had been answered before.
///
/// ```text
/// a command ended command_id=… device=… what="write limit=16" from=platform received_ms=… took_ms=… result=applied message=…
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Audit<'a> {
    /// See [`Request`].
    pub id: &'a str,
    /// See [`Request`].
    pub device: &'a str,
    /// See [`Request`].
    pub action: &'a Action,
    /// Who asked.
    pub from: Asker,
    /// Since it was received.
    pub took: Duration,
}

impl Audit<'_> {
    /// It has its outcome.
    pub fn ended(&self, outcome: &Outcome) {
        self.say(outcome.verdict.word(), &outcome.message);
    }

    /// It has been answered, or will be; nothing is done for it.
    pub fn repeated(&self) {
        self.say("repeated", "its id came before; that command is answered, this one is not carried out");
    }

    fn say(&self, result: &str, message: &str) {
        let Self { id: command_id, device, from, took, .. } = *self;
        let mut what = self.action.to_string();
        what.truncate(what.floor_char_boundary(AUDIT_BYTES));
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let received_ms = now.saturating_sub(took).as_millis() as u64;
        let (from, took_ms) = (from.word(), took.as_millis() as u64);
        tracing::info!(target: "audit", command_id, device, what, from, received_ms, took_ms, result, message, "a command ended");
    }
}
