//! The task behind the commands' door: routes each to its driver, remembers what became of it.
//!
//! Always true: an id of a device that changes something is carried out once, across restarts too, and
//! stands for one command: with another one behind it, it is refused; what cannot be routed is refused
//! at once; every wait is bounded by the command's deadline and [`GRACE`].

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Handle, Outcome, QUEUE, Request, Verdict};
use crate::config::did_you_mean;
use crate::row::GATEWAY;
use crate::state;

/// Commands carried out at once; more are refused.
const RUNNING: usize = 64;
/// Outcomes remembered, oldest forgotten first.
const REMEMBERED: usize = 1000;
/// After its deadline a command gets this long to report what became of it.
const GRACE: Duration = Duration::from_secs(1);
/// Where outcomes of executed commands survive a restart.
const SPACE: &str = "commands";
/// Longest outcome that survives a restart with what a function gave back; of a longer one only the
/// verdict does.
const KEPT_BYTES: usize = 4 * 1024;

/// A request on its way to a driver's session.
#[derive(Debug)]
pub struct Dispatch {
    /// What is asked.
    pub request: Request,
    /// Its one outcome.
    pub reply: oneshot::Sender<Outcome>,
}

/// Which driver serves a device, and that driver's door.
#[derive(Debug, Default)]
pub struct Routes {
    /// Device name → driver id.
    pub devices: HashMap<String, Arc<str>>,
    /// Driver id → its session.
    pub drivers: HashMap<Arc<str>, mpsc::Sender<Dispatch>>,
    /// Functions of the gateway itself.
    pub own: Option<mpsc::Sender<Dispatch>>,
}

/// What is remembered of a command.
struct Memory {
    /// Fingerprint of what it asked for.
    action: u64,
    end: End,
}

enum End {
    Awaited(Vec<oneshot::Sender<Outcome>>),
    Known(Outcome),
}

/// What survives a restart.
#[derive(serde::Serialize, serde::Deserialize)]
struct Kept {
    number: u64,
    verdict: Verdict,
    action: u64,
    output: String,
}

/// The task that routes commands. Create it with [`router`].
pub struct Router {
    queue: mpsc::Receiver<(Request, oneshot::Sender<Outcome>)>,
    routes: Routes,
    state: state::Handle,
    /// By [`name`].
    known: HashMap<String, Memory>,
    /// Names of what lasts, oldest first.
    order: VecDeque<String>,
    /// Counts what lasts, across restarts.
    taken: u64,
    running: JoinSet<(String, Option<u64>, Outcome)>,
    /// How many are running, for [`Handle::idle`].
    busy: watch::Sender<usize>,
}

/// A door and the task behind it.
pub fn router(routes: Routes, state: state::Handle) -> (Handle, Router) {
    let (sender, queue) = mpsc::channel(QUEUE);
    let (busy, running) = watch::channel(0);
    let router = Router {
        queue,
        routes,
        state,
        known: HashMap::new(),
        order: VecDeque::new(),
        taken: 0,
        running: JoinSet::new(),
        busy,
    };
    (Handle { queue: sender, running }, router)
}

impl Router {
    /// Runs until it is told to stop or every door is dropped.
    pub async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        self.recall().await;
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                asked = self.queue.recv() => match asked {
                    Some((request, reply)) => self.take(request, reply).await,
                    None => return Ok(()),
                },
                Some(ended) = self.running.join_next() => {
                    if let Ok((name, lasting, outcome)) = ended {
                        self.end(name, lasting, outcome).await;
                    }
                }
            }
            self.busy.send_replace(self.running.len());
        }
    }

    /// Commands executed before a restart are not executed again.
    async fn recall(&mut self) {
        let kept = self.state.scan(SPACE).await.unwrap_or_default();
        let kept = kept.into_iter().map(|(name, kept)| {
            let unknown = Kept { number: 0, verdict: Verdict::Unknown, action: 0, output: String::new() };
            let kept = serde_json::from_slice(&kept).unwrap_or(unknown);
            (String::from_utf8_lossy(&name).into_owned(), kept)
        });
        let mut kept: Vec<(String, Kept)> = kept.collect();
        kept.sort_by_key(|(_, kept)| kept.number);
        for (name, Kept { number, verdict, action, output }) in kept {
            self.taken = self.taken.max(number);
            let outcome = Outcome::failed(verdict, "carried out before the gateway was restarted");
            let end = End::Known(Outcome { output, ..outcome });
            self.known.insert(name.clone(), Memory { action, end });
            self.order.push_back(name);
        }
    }

    async fn take(&mut self, request: Request, reply: oneshot::Sender<Outcome>) {
        let (name, action) = (name(&request), fingerprint(&request));
        match self.known.get_mut(&name) {
            Some(memory) if memory.action != action => {
                let message = "its id stands for another command, which came before";
                let _ = reply.send(Outcome::failed(Verdict::Refused, message));
                return;
            }
            Some(Memory { end: End::Known(outcome), .. }) => {
                let _ = reply.send(outcome.clone());
                return;
            }
            Some(Memory { end: End::Awaited(waiting), .. }) => return waiting.push(reply),
            None => {}
        }
        let door = match self.door(&request) {
            Ok(door) => door,
            Err(outcome) => {
                let _ = reply.send(outcome);
                return;
            }
        };
        let lasting = request.action.lasts().then_some(action);
        if lasting.is_some() {
            self.make_room().await;
            self.taken += 1;
            self.order.push_back(name.clone());
            self.keep(&name, action, Verdict::Unknown, "").await;
        }
        self.known.insert(name.clone(), Memory { action, end: End::Awaited(vec![reply]) });
        self.running.spawn(async move { (name, lasting, carry_out(request, door).await) });
    }

    /// Who serves the device, or why nobody does.
    fn door(&self, request: &Request) -> Result<mpsc::Sender<Dispatch>, Outcome> {
        if request.deadline_boot_ns <= clock::boot_ns() {
            return Err(Outcome::failed(Verdict::Expired, "its deadline has passed"));
        }
        if self.running.len() >= RUNNING {
            let message = format!("{RUNNING} commands are running already; try again");
            return Err(Outcome::failed(Verdict::Refused, message));
        }
        if request.device == GATEWAY {
            let none = || Outcome::failed(Verdict::Refused, "the gateway has no functions of its own");
            return self.routes.own.clone().ok_or_else(none);
        }
        let Some(driver) = self.routes.devices.get(&request.device) else {
            return Err(Outcome::failed(Verdict::Refused, self.unknown_device(&request.device)));
        };
        let door = self.routes.drivers.get(driver).cloned();
        door.ok_or_else(|| Outcome::failed(Verdict::Refused, format!("driver {driver} does not run")))
    }

    fn unknown_device(&self, name: &str) -> String {
        match did_you_mean(name, self.routes.devices.keys().map(String::as_str)) {
            Some(near) => format!("no device {name:?}; {near}"),
            None => format!("no device {name:?}"),
        }
    }

    async fn end(&mut self, name: String, lasting: Option<u64>, outcome: Outcome) {
        let memory = match lasting {
            Some(action) => {
                self.keep(&name, action, outcome.verdict, &outcome.output).await;
                self.known.insert(name, Memory { action, end: End::Known(outcome.clone()) })
            }
            // reading again harms nobody
            None => self.known.remove(&name),
        };
        if let Some(Memory { end: End::Awaited(waiting), .. }) = memory {
            for reply in waiting {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    async fn keep(&self, name: &str, action: u64, verdict: Verdict, output: &str) {
        let mut kept = Kept { number: self.taken, verdict, action, output: output.to_owned() };
        let mut value = serde_json::to_vec(&kept).expect("numbers and texts are JSON");
        if value.len() > KEPT_BYTES {
            kept.output.clear();
            value = serde_json::to_vec(&kept).expect("numbers and texts are JSON");
        }
        if let Err(error) = self.state.put(SPACE, name.as_bytes(), &value).await {
            tracing::warn!(command = name, %error, "command is not remembered across a restart");
        }
    }

    /// Forgets the oldest that is not running.
    async fn make_room(&mut self) {
        for _ in 0..self.order.len() {
            if self.order.len() < REMEMBERED {
                return;
            }
            let Some(oldest) = self.order.pop_front() else { return };
            if matches!(self.known.get(&oldest), Some(Memory { end: End::Awaited(_), .. })) {
                self.order.push_back(oldest);
                continue;
            }
            self.known.remove(&oldest);
            let _ = self.state.delete(SPACE, oldest.as_bytes()).await;
        }
    }
}

/// Whoever makes ids may count them per device.
fn name(request: &Request) -> String {
    format!("{}/{}", request.device, request.id)
}

/// Tells two commands apart. What an older build wrote may not compare equal: then a repeated id is
/// refused, and never carried out.
fn fingerprint(request: &Request) -> u64 {
    let mut hasher = DefaultHasher::new();
    request.action.to_string().hash(&mut hasher);
    hasher.finish()
}

async fn carry_out(request: Request, door: mpsc::Sender<Dispatch>) -> Outcome {
    let left = Duration::from_nanos(request.deadline_boot_ns.saturating_sub(clock::boot_ns())) + GRACE;
    let (reply, answer) = oneshot::channel();
    let asked = async {
        door.send(Dispatch { request, reply }).await.ok()?;
        answer.await.ok()
    };
    match timeout(left, asked).await {
        Ok(Some(outcome)) => outcome,
        Ok(None) => Outcome::failed(Verdict::Unknown, "the driver ended before it answered"),
        Err(_) => Outcome::failed(Verdict::Unknown, "the driver did not answer in time"),
    }
}

#[cfg(test)]
mod tests;
