//! Commands from the platform: which are carried out, and what the platform is told of them.
//!
//! ```text
//! property/set   every point applied ─▶ one set_reply, at least REPLY_DELAY after receipt
//!                anything else       ─▶ silence (the caller sees the timeout) and the event commandFailed,
//!                                       because the platform takes any set_reply for success
//! service call   always answered: 200 applied, 460 refused, 429 busy, 400 otherwise; the gateway's own
//!                functions are called the same way, see [`crate::commands`]
//!
//! receipt ── begins ── DEADLINE ── ends ── GIVE_UP ── answer leaves ── REPLY_BEFORE ── caller gone
//! 0 s                    40 s               43 s                          44 s            45 s
//! ```
//!
//! What says who asks, but not what it wants in a form we understand, is refused like anything else
//! that is refused. Only a flood is not answered: what arrives while [`MAX_OPEN`] and [`MAX_REFUSED`]
//! are being dealt with is dropped with a warning.
//!
//! Always true: an id is carried out once, also when it arrives twice; nothing begins after its
//! deadline, [`DEADLINE`] after receipt; every answer says until when it may leave, and a property
//! set's also what is stored instead ([`Answer`]); at most [`MAX_RUNNING`] commands run at a time.

mod desk;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout_at};

use desk::{Decision, Desk};

use super::flight::Outgoing;
use super::payload::build;
use super::topic::Inbound;
use crate::commands::{self, Action, Asker, Audit, Outcome, Request, Verdict};
use crate::northbound::Announcement;
use crate::pipeline;
use crate::row::{Identity, Value};

/// From receipt to the last moment a command may begin; the platform's caller waits 45 s.
pub const DEADLINE: Duration = Duration::from_secs(40);
/// From receipt to the moment a command counts as unknown; [`crate::commands`] says so before.
pub const GIVE_UP: Duration = Duration::from_secs(43);
/// From receipt to the last moment an answer may leave.
pub const REPLY_BEFORE: Duration = Duration::from_secs(44);
/// A faster set_reply is lost: the platform publishes before it registers the id (sagooiot.md §3.4).
pub const REPLY_DELAY: Duration = Duration::from_millis(150);
/// Commands that run at a time; the next one is refused as busy.
pub const MAX_RUNNING: usize = 16;
/// Downlinks being carried out, refused or answered; further ones are refused as busy.
pub const MAX_OPEN: usize = 64;
/// Refusals on their way beyond [`MAX_OPEN`]; further downlinks are dropped with a warning.
pub const MAX_REFUSED: usize = 512;
/// Longest reason in an event, in characters; a longer event would be announced empty.
pub const MAX_REASON_CHARS: usize = 256;

/// Why a command is refused when [`MAX_RUNNING`] are running.
const BUSY: &str = "too many commands at a time, try again later";
/// Why nobody was told of a property set that was applied.
const TOO_LATE: &str = "applied, but too late for an answer";

/// An answer on its way to the platform.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    /// With the moment before which it must leave.
    pub outgoing: Outgoing,
    /// What is stored if it does not: whose event, and the event.
    pub instead: Option<(Arc<str>, Announcement)>,
}

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
    replies: mpsc::Sender<Answer>,
    open: JoinSet<()>,
    running: Arc<Semaphore>,
    received: u64,
}

impl Downlink {
    /// Answers go to `replies`, to be published in time.
    pub fn new(
        gateway: &Identity,
        devices: impl IntoIterator<Item = (Arc<str>, Identity, Arc<BTreeMap<String, String>>)>,
        commands: commands::Handle,
        pipeline: pipeline::Handle,
        replies: mpsc::Sender<Answer>,
    ) -> Self {
        let desk = Desk::new(gateway, devices);
        let running = Arc::new(Semaphore::new(MAX_RUNNING));
        Self { desk, commands, pipeline, replies, open: JoinSet::new(), running, received: 0 }
    }

    /// Commands received since the start.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Takes a downlink.
    pub fn handle(&mut self, topic: &str, inbound: Inbound<'_>, payload: &[u8], received: Instant) {
        while self.open.try_join_next().is_some() {}
        if self.open.len() >= MAX_OPEN + MAX_REFUSED {
            let limit = MAX_OPEN + MAX_REFUSED;
            tracing::warn!(topic, limit, "a flood of commands, this one is dropped without an answer");
            return;
        }
        let room = self.open.len() < MAX_OPEN;
        let permit = room.then(|| self.running.clone().try_acquire_owned().ok()).flatten();
        let decision = self.desk.decide(inbound, payload, permit.is_none());
        let (commands, pipeline, replies) =
            (self.commands.clone(), self.pipeline.clone(), self.replies.clone());
        match decision {
            Decision::Ignore => return,
            Decision::Repeat(job) => {
                job.audit(received.elapsed()).repeated();
                return;
            }
            Decision::Complain(reason) => {
                tracing::warn!(
                    topic,
                    reason,
                    "a message from the platform cannot be understood and is ignored"
                );
                return;
            }
            Decision::Answer(job, outcome) => {
                job.audit(received.elapsed()).ended(&outcome);
                let told = job.told(&outcome, received);
                self.open.spawn(async move { told.say(received, &pipeline, &replies).await });
            }
            Decision::Execute(job) => {
                let left = DEADLINE.saturating_sub(received.elapsed());
                let deadline_boot_ns = sagoo_edge_proto::clock::boot_ns() + left.as_nanos() as u64;
                self.open.spawn(async move {
                    let outcome = in_time(commands.execute(job.request(deadline_boot_ns)), received).await;
                    drop(permit);
                    job.audit(received.elapsed()).ended(&outcome);
                    job.told(&outcome, received).say(received, &pipeline, &replies).await;
                });
            }
        }
        self.received += 1;
    }
}

/// An answer must be able to leave, whatever becomes of the command.
async fn in_time(command: impl Future<Output = Outcome>, received: Instant) -> Outcome {
    let outcome = timeout_at(received + GIVE_UP, command).await;
    outcome.unwrap_or_else(|_| Outcome::failed(Verdict::Unknown, "the driver did not answer in time"))
}

/// Who hears how a command ended.
#[derive(Debug, PartialEq)]
enum Told {
    Platform(Answer),
    Nobody(Arc<str>, Announcement),
}

impl Told {
    /// Tells the platform, not before [`REPLY_DELAY`], or where that would be a lie the event log. The
    /// other ends are gone only at stop; then nobody is left to tell.
    async fn say(self, received: Instant, pipeline: &pipeline::Handle, replies: &mpsc::Sender<Answer>) {
        match self {
            Self::Platform(answer) => {
                sleep_until(received + REPLY_DELAY).await;
                let _ = replies.send(answer).await;
            }
            Self::Nobody(device, event) => drop(event.store(&device, pipeline).await),
        }
    }
}

impl Job {
    fn audit(&self, took: Duration) -> Audit<'_> {
        Audit { id: &self.id, device: &self.device, action: &self.action, from: Asker::Platform, took }
    }

    fn told(&self, outcome: &Outcome, received: Instant) -> Told {
        let applied = outcome.verdict == Verdict::Applied
            && outcome.points.iter().all(|point| point.verdict == Verdict::Applied);
        let before = Some((received + REPLY_BEFORE).into_std());
        match &self.reply {
            Reply::Set { topic, values } if applied => {
                let payload = build::set_reply(&self.id, values);
                let outgoing = Outgoing { topic: topic.clone(), payload, before };
                let late = Outcome::failed(Verdict::Applied, TOO_LATE);
                Told::Platform(Answer { outgoing, instead: Some((self.device.clone(), self.failed(&late))) })
            }
            Reply::Set { .. } => Told::Nobody(self.device.clone(), self.failed(outcome)),
            Reply::Service { topic } => {
                let payload = answer(&self.id, applied, outcome);
                let outgoing = Outgoing { topic: topic.clone(), payload, before };
                Told::Platform(Answer { outgoing, instead: None })
            }
        }
    }

    fn failed(&self, outcome: &Outcome) -> Announcement {
        let message: String = outcome.message.chars().take(MAX_REASON_CHARS).collect();
        let value = serde_json::json!({
            "id": self.id,
            "device": &*self.device,
            "verdict": outcome.verdict.word(),
            "message": message,
        });
        Announcement::now("commandFailed", &value)
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

fn answer(id: &str, applied: bool, outcome: &Outcome) -> String {
    let code = match outcome.verdict {
        Verdict::Applied if applied => 200,
        Verdict::Refused if outcome.message == BUSY => 429,
        Verdict::Refused => 460,
        _ => 400,
    };
    let message = if outcome.message.is_empty() { outcome.verdict.word() } else { &outcome.message };
    build::service_reply(id, code, if code == 200 { "success" } else { message }, &outcome.output)
}
