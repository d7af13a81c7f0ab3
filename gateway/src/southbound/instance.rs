//! One process of a driver and the talk with it, behind a handle that takes orders.
//!
//! Always true: every instance reports its end exactly once, and nothing after it; an instance whose
//! handle is dropped ends its process; a command that was never sent is refused, not left open.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sagoo_edge_plugin_host::{Exit, Grace, Lack, Launch, Plugin};
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use super::answers::Answers;
use super::fleet::{Fleet, Kept};
use super::life::seat::Lines;
use super::life::{Errors, How, News, Number, Role};
use super::note::Note;
use super::session::{self, Ended, Online, Setup, Told};
use crate::commands::{Dispatch, Outcome, Verdict};
use crate::pipeline;

/// Orders waiting for an instance; more mean that it is stuck.
const ORDERS: usize = 64;
/// One call outside the session.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// A broken stream is usually the process' end; it gets this long to show.
const EXIT_NOTICE: Duration = Duration::from_millis(500);
/// Pause before a session is opened again because the buffer took no data.
const REOPEN: Duration = Duration::from_millis(500);
/// How a driver is stopped: polite call, then time to go, then the process group is killed.
pub const GRACE: Grace = Grace { shutdown_rpc: Duration::from_millis(500), exit: Duration::from_secs(1) };
/// How one is killed.
const AT_ONCE: Grace = Grace { shutdown_rpc: Duration::ZERO, exit: Duration::ZERO };
/// A driver that names this can be taken over by another gateway.
const REATTACH: &str = "reattach";

/// What all processes of one driver share during a round.
pub struct Context {
    /// Driver id.
    pub driver: Arc<str>,
    /// What they are told.
    pub configuration: Arc<wire::Configuration>,
    /// Device → the line it is on.
    pub owners: HashMap<String, String>,
    /// Where samples go.
    pub pipeline: pipeline::Handle,
    /// What they may ask.
    pub answers: Answers,
    /// Devices that answer.
    pub online: Online,
    /// Where they go when the round ends.
    pub fleet: Arc<Fleet>,
}

/// What an instance is told.
#[derive(Debug)]
pub enum Order {
    /// Take the configuration, with these lines on hold.
    Configure {
        /// Comes back with the answer.
        turn: u64,
        /// Lines that stay closed.
        hold: Lines,
    },
    /// Give these lines up.
    Release(Lines),
    /// Carry this out.
    Command(Dispatch),
    /// It is something else now.
    Role(Role),
    /// End it; to leave it running there is [`Instance::keep`].
    End(How),
}

/// What an instance says.
#[derive(Debug)]
pub enum Report {
    /// For the policy.
    News(News),
    /// Who it is, once its process runs.
    Runs(Number, Facts),
    /// What it does not like about its configuration.
    Problems(Vec<wire::Problem>),
    /// How busy the lines it has are.
    Lines(Number, Vec<wire::LineState>),
}

/// Who a process is.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// Of the process.
    pub pid: u32,
    /// As it says.
    pub version: String,
    /// Taken over from an earlier gateway.
    pub reattached: bool,
    /// What it is not confined by.
    pub lacks: Vec<Lack>,
    /// The way to it, beside its session.
    pub channel: Option<Channel>,
}

/// Where its process comes from.
pub enum Begin {
    /// It is started.
    Launch(Box<Launch>),
    /// It runs already.
    Adopt(Box<Kept>),
}

/// The handle. Dropping it ends the process.
#[derive(Debug)]
pub struct Instance {
    orders: mpsc::Sender<Order>,
    kill: CancellationToken,
    keep: CancellationToken,
}

impl Instance {
    /// Hands an order over; comes back with it when the instance is stuck or gone.
    pub fn order(&self, order: Order) -> Result<(), Order> {
        self.orders.try_send(order).map_err(|error| match error {
            mpsc::error::TrySendError::Full(order) | mpsc::error::TrySendError::Closed(order) => order,
        })
    }

    /// Ends the process at once, whatever else it was told.
    pub fn kill(&self) {
        self.kill.cancel();
    }

    /// Leaves it running, whatever else it was told and however little the buffer takes just now.
    pub fn keep(&self) {
        self.keep.cancel();
    }
}

/// A handle and the task behind it.
pub fn instance(
    number: Number,
    begin: Begin,
    note: Note,
    context: Arc<Context>,
    news: mpsc::Sender<Report>,
) -> (Instance, impl Future<Output = ()> + Send) {
    let (orders, told) = mpsc::channel(ORDERS);
    let (kill, keep) = (CancellationToken::new(), CancellationToken::new());
    let instance = Instance { orders, kill: kill.clone(), keep: keep.clone() };
    let task = Task { number, note, context, news, orders: told, kill, keep, reattached: false };
    (instance, task.run(begin))
}

struct Task {
    number: Number,
    note: Note,
    context: Arc<Context>,
    news: mpsc::Sender<Report>,
    orders: mpsc::Receiver<Order>,
    kill: CancellationToken,
    keep: CancellationToken,
    /// An earlier gateway started it.
    reattached: bool,
}

/// How it went.
struct End {
    why: String,
    unborn: bool,
    last_lines: Vec<String>,
}

impl Task {
    async fn run(mut self, begin: Begin) {
        let End { why, unborn, last_lines } = self.live(begin).await;
        self.orders.close();
        while let Ok(order) = self.orders.try_recv() {
            if let Order::Command(Dispatch { reply, .. }) = order {
                let message = "the driver ended before it was told; nothing happened";
                let _ = reply.send(Outcome::failed(Verdict::Refused, message));
            }
        }
        let ended = News::Ended { number: self.number, why, unborn, last_lines };
        let _ = self.news.send(Report::News(ended)).await;
    }

    async fn live(&mut self, begin: Begin) -> End {
        let (plugin, how) = match begin {
            Begin::Adopt(kept) => {
                self.reattached = kept.reattached;
                (kept.plugin, "driver taken over")
            }
            Begin::Launch(launch) => match self.start(*launch).await {
                Ok(plugin) => (plugin, "driver started"),
                Err(end) => return end,
            },
        };
        let described = self.describe(&plugin).await;
        let keeps = outlives(described.as_ref(), self.reattached);
        let facts = Facts {
            pid: plugin.pid(),
            version: described.map(|described| described.version).unwrap_or_default(),
            reattached: self.reattached,
            lacks: plugin.lacks().to_vec(),
            channel: Some(plugin.channel()),
        };
        let driver = self.context.driver.clone();
        tracing::info!(%driver, pid = facts.pid, version = facts.version, role = ?self.note.role, "{how}");
        let _ = self.news.send(Report::Runs(self.number, facts)).await;
        if self.reattached && !keeps {
            plugin.stop(GRACE).await;
            let why = "it does not say that it can be taken over, so it is started anew".to_owned();
            return End { why, unborn: false, last_lines: Vec::new() };
        }
        let ended = self.sessions(&plugin, keeps).await;
        self.part(plugin, ended).await
    }

    /// Starting takes its time; an order to end does not wait for it.
    async fn start(&mut self, launch: Launch) -> Result<Plugin, End> {
        let unborn = |why: String, last_lines| End { why, unborn: true, last_lines };
        let ordered = async {
            loop {
                match self.orders.recv().await {
                    Some(Order::End(_)) | None => return,
                    Some(Order::Role(role)) => self.note.role = role,
                    // the policy gives lines and commands to open sessions only
                    Some(Order::Configure { .. } | Order::Release(_) | Order::Command(_)) => {}
                }
            }
        };
        tokio::select! {
            started = Plugin::start(launch) => {
                started.map_err(|error| unborn(error.to_string(), error.last_lines.clone()))
            }
            // what was begun is killed with its future
            () = self.kill.cancelled() => Err(unborn("killed".to_owned(), Vec::new())),
            () = ordered => Err(unborn("stopped".to_owned(), Vec::new())),
        }
    }

    async fn describe(&self, plugin: &Plugin) -> Option<wire::DescribeResponse> {
        let mut client = DriverClient::new(plugin.channel());
        let described = timeout(CALL_TIMEOUT, client.describe(wire::DescribeRequest {}));
        let described = self.keep.run_until_cancelled(described).await?;
        described.ok()?.ok().map(tonic::Response::into_inner)
    }

    /// Sessions with one process: a new one only when the buffer stalled.
    async fn sessions(&mut self, plugin: &Plugin, keeps: bool) -> Ended {
        let mut told = Told::default();
        // two callbacks of one task share it, one after the other: nobody ever waits for the lock
        let noted = Mutex::new(self.note.clone());
        let note = |change: &dyn Fn(&mut Note)| {
            let mut noted = noted.lock().expect("nobody panics inside");
            change(&mut noted);
            plugin.set_note(noted.to_text());
        };
        let role = |role| note(&|note| note.role = role);
        role(self.note.role);
        let before = self.note.instance.clone();
        let known = |instance: [u8; 16]| {
            let instance = hex(instance);
            note(&|note| note.instance = Some(instance.clone()));
            before.as_ref().is_none_or(|before| *before == instance)
        };
        loop {
            let setup = Setup {
                number: self.number,
                context: &self.context,
                keeps,
                news: &self.news,
                role: &role,
                known: &known,
                kill: &self.kill,
                keep: &self.keep,
            };
            let ended = session::run(plugin.channel(), setup, &mut self.orders, &mut told).await;
            if !matches!(ended, Ended::Stalled) {
                return ended;
            }
            tracing::warn!(driver = %self.context.driver, "buffer takes no data, session is opened anew");
            sleep(REOPEN).await;
        }
    }

    async fn part(&self, plugin: Plugin, ended: Ended) -> End {
        let exit = match ended {
            // say what it died of
            Ended::Broken(_) => exit_of(&plugin).await,
            _ => None,
        };
        let last_lines = plugin.last_lines();
        let why = match (exit, last_lines.last()) {
            // one that was killed had no time for words
            (Some(exit), Some(line)) if exit.code.is_some() => format!("{exit}; its last words: {line}"),
            (Some(exit), _) => exit.to_string(),
            (None, _) => ended.to_string(),
        };
        let driver = &self.context.driver;
        match ended {
            Ended::Kept => {
                tracing::info!(%driver, pid = plugin.pid(), "driver goes on without the gateway");
                self.context.fleet.keep(driver, Kept { plugin, reattached: self.reattached });
            }
            // nothing more can come of it
            Ended::Killed | Ended::Hang | Ended::Deaf => drop(plugin.stop(AT_ONCE).await),
            Ended::Stopped => {
                let stopped = plugin.stop(GRACE).await;
                tracing::info!(%driver, killed = stopped.killed, "driver stopped");
            }
            Ended::NoSession | Ended::Broken(_) | Ended::Contract(_) | Ended::Stalled | Ended::Gone => {
                plugin.stop(GRACE).await;
            }
        }
        End { why, unborn: false, last_lines }
    }
}

async fn exit_of(plugin: &Plugin) -> Option<Exit> {
    let mut exited = plugin.exited();
    let exit = timeout(EXIT_NOTICE, exited.wait_for(Option::is_some)).await;
    exit.ok().and_then(Result::ok).and_then(|exit| *exit)
}

fn hex(instance: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(instance))
}

/// Whether it goes on without us. One that did so before is not ended, with all it has read, for being
/// slow to say it again.
fn outlives(described: Option<&wire::DescribeResponse>, reattached: bool) -> bool {
    let says = |described: &wire::DescribeResponse| described.abilities.iter().any(|one| one == REATTACH);
    described.map_or(reattached, says)
}

/// Mistakes by their place, warnings left out.
pub fn errors(problems: &[wire::Problem]) -> Errors {
    let errors = problems.iter().filter(|problem| !problem.warning);
    let placed = errors.map(|problem| {
        let place = problem.path.join(".");
        let words = format!("{place}: {}", problem.message);
        (place, words)
    });
    placed.collect::<BTreeMap<_, _>>()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_who_says_that_it_cannot_be_taken_over_is_started_anew() {
        let says = |abilities: &[&str]| wire::DescribeResponse {
            abilities: abilities.iter().map(|one| (*one).to_owned()).collect(),
            ..Default::default()
        };
        assert!(outlives(Some(&says(&["write", REATTACH])), false));
        assert!(!outlives(Some(&says(&["write"])), true));
        assert!(outlives(None, true), "it runs since before us, and is only busy");
        assert!(!outlives(None, false));
    }
}
