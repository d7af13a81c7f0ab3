//! Commands from the platform: which are carried out, and what the platform is told of them.
//!
//! ```text
//! property/set   every point applied ─▶ one set_reply, at least REPLY_DELAY after receipt
//!                anything else       ─▶ silence (the caller sees the timeout) and the event commandFailed,
//!                                       because the platform takes any set_reply for success
//! service call   always answered: 200 applied, 460 refused, 429 busy, 400 otherwise
//! ```
//!
//! Always true: an id is carried out once, also when it arrives twice; nothing begins after its
//! deadline, [`DEADLINE`] after receipt; at most [`MAX_RUNNING`] commands run at a time, and at most
//! [`MAX_OPEN`] are being answered.

mod desk;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use desk::{Decision, Desk};

use super::flight::Outgoing;
use super::payload::build;
use super::topic::Inbound;
use crate::commands::{self, Action, Outcome, Request, Verdict};
use crate::pipeline;
use crate::row::{Event, Identity, Value};

/// From receipt to the last moment a command may begin; the platform's caller waits 45 s.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// A faster set_reply is lost: the platform publishes before it registers the id (sagooiot.md §3.4).
pub const REPLY_DELAY: Duration = Duration::from_millis(150);
/// Commands that run at a time; the next one is told 429.
pub const MAX_RUNNING: usize = 16;
/// Downlinks being carried out, refused or answered; further ones are dropped with a warning.
pub const MAX_OPEN: usize = 64;

/// What a call is told when [`MAX_RUNNING`] are running.
const BUSY: &str = "too many commands at a time, try again later";

/// A command and where its answer goes.
#[derive(Debug, Clone, PartialEq)]
struct Job {
    id: String,
    device: Arc<str>,
    action: Action,
    reply: Reply,
}

#[derive(Debug, Clone, PartialEq)]
enum Reply {
    /// To a property set, with the values by key.
    Set { topic: String, values: Vec<(String, Value)> },
    /// To a call.
    Service { topic: String },
}

/// Commands in progress.
#[derive(Debug)]
pub struct Downlink {
    desk: Desk,
    commands: commands::Handle,
    pipeline: pipeline::Handle,
    replies: mpsc::Sender<Outgoing>,
    open: JoinSet<()>,
    running: Arc<Semaphore>,
    received: u64,
}

impl Downlink {
    /// Replies go to `replies`, to be published.
    pub fn new(
        gateway: &Identity,
        devices: impl IntoIterator<Item = (Arc<str>, Identity, BTreeMap<String, String>)>,
        version: &'static str,
        commands: commands::Handle,
        pipeline: pipeline::Handle,
        replies: mpsc::Sender<Outgoing>,
    ) -> Self {
        let desk = Desk::new(gateway, devices, version);
        let running = Arc::new(Semaphore::new(MAX_RUNNING));
        Self { desk, commands, pipeline, replies, open: JoinSet::new(), running, received: 0 }
    }

    /// Commands received since the start.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a downlink that has just been received.
    pub fn handle(&mut self, topic: &str, inbound: Inbound<'_>, payload: &[u8]) {
        while self.open.try_join_next().is_some() {}
        if self.open.len() >= MAX_OPEN {
            tracing::warn!(topic, limit = MAX_OPEN, "too many commands at a time, this one is dropped");
            return;
        }
        let permit = self.running.clone().try_acquire_owned().ok();
        let (job, decided) = match self.desk.decide(inbound, payload, permit.is_none()) {
            Decision::Ignore => return,
            Decision::Complain(reason) => {
                tracing::warn!(
                    topic,
                    reason,
                    "a message from the platform cannot be understood and is ignored"
                );
                return;
            }
            Decision::Execute(job) => (job, None),
            Decision::Answer(job, outcome) => (job, Some(outcome)),
        };
        self.received += 1;
        let received = Instant::now();
        let deadline_boot_ns = sagoo_edge_proto::clock::boot_ns() + DEADLINE.as_nanos() as u64;
        let (commands, pipeline, replies) =
            (self.commands.clone(), self.pipeline.clone(), self.replies.clone());
        self.open.spawn(async move {
            let outcome = match decided {
                Some(outcome) => outcome,
                None => commands.execute(job.request(deadline_boot_ns)).await,
            };
            drop(permit);
            audit(&job, &outcome, received.elapsed());
            finish(job, outcome, received, &pipeline, &replies).await;
        });
    }
}

/// Who hears how a command ended.
#[derive(Debug, PartialEq)]
enum Told {
    Platform(Outgoing),
    Nobody(Event),
}

impl Job {
    fn told(&self, outcome: &Outcome) -> Told {
        let applied = outcome.verdict == Verdict::Applied
            && outcome.points.iter().all(|point| point.verdict == Verdict::Applied);
        match &self.reply {
            Reply::Set { topic, values } if applied => {
                let payload = build::set_reply(&self.id, values);
                Told::Platform(Outgoing { topic: topic.clone(), payload })
            }
            Reply::Set { .. } => Told::Nobody(failed(&self.id, &self.device, outcome)),
            Reply::Service { topic } => {
                let payload = answer(&self.id, applied, outcome);
                Told::Platform(Outgoing { topic: topic.clone(), payload })
            }
        }
    }

    fn request(&self, deadline_boot_ns: u64) -> Request {
        Request {
            id: self.id.clone(),
            device: self.device.to_string(),
            deadline_boot_ns,
            action: self.action.clone(),
        }
    }
}

/// Every command leaves one line, whoever asked and however it ended.
fn audit(job: &Job, outcome: &Outcome, took: Duration) {
    let action = match &job.action {
        Action::Write(points) => format!("write {}", names(points)),
        Action::Read(points) => format!("read {}", points.join(" ")),
        Action::Invoke { function, .. } => format!("invoke {function}"),
    };
    tracing::info!(
        target: "audit",
        command_id = job.id,
        device = &*job.device,
        action,
        verdict = ?outcome.verdict,
        ms = took.as_millis() as u64,
        reason = outcome.message,
        "a command ended"
    );
}

fn names(points: &[(String, Value)]) -> String {
    points.iter().map(|(point, _)| point.as_str()).collect::<Vec<_>>().join(" ")
}

/// Tells the platform, or where that would be a lie the event log.
async fn finish(
    job: Job,
    outcome: Outcome,
    received: Instant,
    pipeline: &pipeline::Handle,
    replies: &mpsc::Sender<Outgoing>,
) {
    match job.told(&outcome) {
        Told::Platform(outgoing) => reply(outgoing, received, replies).await,
        // Only at stop can the pipeline be gone; then nobody is left to tell.
        Told::Nobody(event) => drop(pipeline.event(&job.device, event).await),
    }
}

/// Not before [`REPLY_DELAY`], and not after [`DEADLINE`], when the caller may have given up.
async fn reply(outgoing: Outgoing, received: Instant, replies: &mpsc::Sender<Outgoing>) {
    sleep_until(received + REPLY_DELAY).await;
    if received.elapsed() < DEADLINE {
        // The forwarder is gone only at stop.
        let _ = replies.send(outgoing).await;
    }
}

fn answer(id: &str, applied: bool, outcome: &Outcome) -> String {
    let code = match outcome.verdict {
        Verdict::Applied if applied => 200,
        Verdict::Refused if outcome.message == BUSY => 429,
        Verdict::Refused => 460,
        _ => 400,
    };
    let message = if outcome.message.is_empty() { verdict_name(outcome.verdict) } else { &outcome.message };
    build::service_reply(id, code, if code == 200 { "success" } else { message }, &outcome.output)
}

fn failed(id: &str, device: &str, outcome: &Outcome) -> Event {
    let value = serde_json::json!({
        "id": id,
        "device": device,
        "verdict": verdict_name(outcome.verdict),
        "message": outcome.message,
    });
    super::super::event("commandFailed", value)
}

fn verdict_name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Applied => "applied",
        Verdict::Differs => "differs",
        Verdict::Refused => "refused",
        Verdict::Unknown => "unknown",
        Verdict::Expired => "expired",
    }
}
