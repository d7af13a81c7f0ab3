//! The hands of [`life`](crate::southbound::life): processes, files and state behind what it decides.
//!
//! Always true: nothing here decides; every act is carried out or answered with news that it was not.

mod files;
mod show;
mod strain;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use anyhow::Context as _;
use sagoo_edge_package::{Installed, Store};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::commands::{Dispatch, Outcome, Verdict};
use crate::config::Sources;
use crate::config::types::DriversConfig;
use crate::southbound::answers::Answers;
use crate::southbound::instance::{Begin, Context, Facts, Instance, Order, Report, instance};
use crate::southbound::kind::{Fingerprint, Kind};
use crate::southbound::life::{Act, Fault, Given, How, Known, Life, News, Number, Place, Role};
use crate::southbound::note::{Digest, Note};
use crate::southbound::reach::{Reach, Reached};
use crate::southbound::supervisor::Supervisor;
use crate::southbound::waiting::Waiting;
use crate::southbound::wires::Wires;
use crate::southbound::{Parting, configuration, program};
use crate::state;
use crate::status::DriverStatus;

/// News on their way from the processes; a full queue makes them wait, never us.
const NEWS: usize = 256;
/// Files whose answer about the configuration is remembered.
const ANSWERS: usize = 4;

/// See the module.
pub struct Shell {
    context: Arc<Context>,
    drivers: DriversConfig,
    store: Arc<Store>,
    state: state::Handle,
    status: watch::Sender<DriverStatus>,
    sources: Arc<Sources>,
    life: Life,
    instances: BTreeMap<Number, Member>,
    /// Their files are verified before they are started.
    starting: BTreeMap<Number, (Role, Kind)>,
    tasks: JoinSet<()>,
    chores: JoinSet<Done>,
    news: mpsc::Sender<Report>,
    waiting: Waiting,
    /// What was found last.
    build: Option<Arc<Installed>>,
    /// Looks begun; only the last one counts.
    looks: u64,
    digest: Digest,
    /// What files said about the configuration.
    said: Vec<Known>,
    problems: HashSet<(Vec<String>, String)>,
    wires: Wires,
}

/// A process, and what is shown of it.
struct Member {
    instance: Instance,
    facts: Facts,
    note: Note,
}

/// What became of something that took its time.
enum Done {
    Looked(u64, Result<Box<Installed>, (&'static str, String)>),
    Asked(Fingerprint, Result<Known, Fault>),
    Verified(Number, Result<Box<Installed>, (&'static str, String)>),
    Reverted,
}

impl Shell {
    /// Takes over what runs already; the policy knows it then.
    pub async fn new(of: &Supervisor) -> (Self, mpsc::Receiver<Report>) {
        let configuration = configuration::of_driver(&of.config, &of.id);
        let digest = Digest::of(&configuration);
        let context = Context {
            driver: of.id.clone(),
            owners: configuration::owners(&configuration),
            pipeline: of.pipeline.clone(),
            answers: Answers::new(&of.config, &of.id, of.state.clone()),
            online: of.online.clone(),
            fleet: of.fleet.clone(),
            configuration: Arc::new(configuration),
        };
        let bad = of.state.get(files::BAD, of.id.as_bytes()).await.ok().flatten();
        let mine = || of.config.connections.iter().filter(|(_, connection)| *connection.driver == *of.id);
        let given = Given {
            id: of.id.clone(),
            lines: mine().map(|(name, _)| name.clone()).collect(),
            standby: mine().any(|(_, connection)| connection.standby),
            bad: bad.and_then(|bad| serde_json::from_slice(&bad).ok()),
            restarts: of.status.borrow().restarts,
        };
        let (news, reports) = mpsc::channel(NEWS);
        let mut shell = Self {
            context: Arc::new(context),
            drivers: of.config.drivers.clone(),
            store: Arc::new(program::store(&of.config.drivers)),
            state: of.state.clone(),
            status: of.status.clone(),
            sources: of.sources.clone(),
            life: Life::new(Instant::now(), given),
            instances: BTreeMap::new(),
            starting: BTreeMap::new(),
            tasks: JoinSet::new(),
            chores: JoinSet::new(),
            news,
            waiting: Waiting::default(),
            build: None,
            looks: 0,
            digest,
            said: Vec::new(),
            problems: HashSet::new(),
            wires: Wires::default(),
        };
        for (kept, note) in of.fleet.take(&of.id).await {
            if let Some((_, known)) = note.said.clone().filter(|(of, _)| *of == digest) {
                shell.keep_answer(known);
            }
            let number = shell.life.adopt(Instant::now(), note.kind.clone(), note.role);
            shell.begin(number, note, Begin::Adopt(Box::new(kept)));
        }
        (shell, reports)
    }

    /// Whether the round has ended for this driver.
    pub fn is_over(&self) -> bool {
        self.life.is_over()
    }

    /// When to come back although nothing happens.
    pub fn wake_at(&self) -> Option<Instant> {
        self.life.wake_at().into_iter().chain(self.waiting.due()).min()
    }

    /// What is installed may have changed.
    pub fn look_again(&mut self) {
        self.life.look_again();
    }

    /// Somebody wants a fresh process.
    pub fn reboot(&mut self) {
        self.life.reboot();
    }

    /// The round ends.
    pub fn part(&mut self, parting: Parting) {
        self.life.part(parting);
    }

    /// Waits for something that takes its time.
    pub async fn work(&mut self) -> anyhow::Result<()> {
        tokio::select! {
            Some(done) = self.chores.join_next() => match done {
                Ok(Done::Looked(look, found)) if look == self.looks => {
                    let found = found.map(|installed| {
                        let installed = Arc::<Installed>::from(installed);
                        let fingerprint = installed.fingerprint;
                        self.build = Some(installed);
                        fingerprint
                    });
                    self.tell(News::Looked(found));
                }
                Ok(Done::Asked(fingerprint, answer)) => {
                    if let Ok(known) = &answer {
                        self.keep_answer(known.clone());
                    }
                    self.tell(News::Asked(fingerprint, answer));
                }
                Ok(Done::Verified(number, found)) => self.verified(number, found),
                Ok(Done::Reverted) => self.look_again(),
                Ok(Done::Looked(..)) => {}
                Err(broken) => anyhow::bail!("a task of driver {} broke: {broken}", self.context.driver),
            },
            Some(ended) = self.tasks.join_next() => {
                ended.with_context(|| format!("a task of driver {}", self.context.driver))?;
            }
            else => std::future::pending().await,
        }
        Ok(())
    }

    /// Those of files that came and went are forgotten.
    fn keep_answer(&mut self, known: Known) {
        self.said.retain(|other| other.kind.fingerprint != known.kind.fingerprint);
        self.strained(&known);
        self.said.insert(0, known);
        self.said.truncate(ANSWERS);
    }

    /// Somebody wants to call the driver beside its session.
    pub fn reach(&self, reach: Reach) {
        let at = match &reach.line {
            Some(line) => match self.life.place(line) {
                Place::At(number) => Some(number),
                Place::OnItsWay | Place::Nowhere => None,
            },
            None => self.life.shown().active,
        };
        let channel = at.and_then(|number| self.instances.get(&number)?.facts.channel.clone());
        let configuration = self.context.configuration.clone();
        let reached = channel.map(|channel| Reached { channel, configuration });
        // an asker that has gone away is told nothing
        let _ =
            reach.reply.send(reached.ok_or_else(|| format!("driver {} is not running", self.context.driver)));
    }

    /// What a process says.
    pub fn hear(&mut self, report: Report) {
        match report {
            Report::News(news) => {
                let ended = if let News::Ended { number, .. } = &news { Some(*number) } else { None };
                self.tell(news);
                if let Some(number) = ended {
                    self.instances.remove(&number);
                    self.wires.gone(number);
                }
            }
            Report::Runs(number, facts) => {
                self.context.fleet.say(&self.context.driver, &facts.lacks);
                if let Some(member) = self.instances.get_mut(&number) {
                    member.facts = facts;
                }
            }
            Report::Problems(problems) => self.say(problems),
            Report::Lines(number, lines) => {
                for connection in self.wires.heard(Instant::now(), number, lines) {
                    let driver = &self.context.driver;
                    tracing::warn!(%driver, connection, "polls are left out because the line is busy");
                }
            }
        }
    }

    /// A command for one of the driver's devices.
    pub fn dispatch(&mut self, dispatch: Dispatch) {
        let driver = &self.context.driver;
        let refuse = |dispatch: Dispatch, message: String| {
            let _ = dispatch.reply.send(Outcome::failed(Verdict::Refused, message));
        };
        let Some(line) = self.context.owners.get(&dispatch.request.device) else {
            let message = format!("driver {driver} has no device {:?}", dispatch.request.device);
            return refuse(dispatch, message);
        };
        match self.life.place(line) {
            Place::At(number) if self.refused(number).contains(line) => {
                refuse(
                    dispatch,
                    format!("connection {line} needs more than its wire; see sagoo-edge explain"),
                );
            }
            Place::At(number) => {
                let Some(member) = self.instances.get(&number) else { return self.waiting.add(dispatch) };
                if let Err(Order::Command(dispatch)) = member.instance.order(Order::Command(dispatch)) {
                    refuse(dispatch, format!("driver {driver} takes no commands now; try again"));
                }
            }
            Place::OnItsWay => self.waiting.add(dispatch),
            Place::Nowhere => refuse(dispatch, format!("driver {driver} is not running")),
        }
    }

    fn tell(&mut self, news: News) {
        self.life.hear(Instant::now(), news);
    }

    /// Does what follows from everything that happened, and shows how things are.
    pub fn carry_out(&mut self) {
        loop {
            let acts = self.life.decide(Instant::now());
            if acts.is_empty() {
                break;
            }
            for act in acts {
                self.act(act);
            }
        }
        for dispatch in self.waiting.take() {
            self.dispatch(dispatch);
        }
        self.show();
    }

    fn act(&mut self, act: Act) {
        match act {
            Act::Look => self.look(),
            Act::Ask(fingerprint) => self.ask(fingerprint),
            Act::Start(number, role, kind) => self.start(number, role, kind),
            Act::Configure(number, turn, mut hold) => {
                hold.extend(self.refused(number));
                self.order(number, Order::Configure { turn, hold });
            }
            Act::Release(number, lines) => self.order(number, Order::Release(lines)),
            Act::Role(number, role) => self.order(number, Order::Role(role)),
            Act::End(number, How::Kill) if self.instances.contains_key(&number) => {
                self.instances[&number].instance.kill();
            }
            Act::End(number, How::Keep) if self.instances.contains_key(&number) => {
                self.instances[&number].instance.keep();
            }
            Act::End(number, how) => self.order(number, Order::End(how)),
            Act::Remember(kind) => self.remember(kind),
            Act::Revert(files, why) => self.revert(files, why),
        }
    }

    /// One that takes no orders is stuck: it is killed, and its end is news.
    fn order(&mut self, number: Number, order: Order) {
        if let Some((role, _)) = self.starting.get_mut(&number) {
            match order {
                Order::Role(now) => *role = now,
                Order::End(_) => {
                    self.starting.remove(&number);
                    self.unborn(number, "stopped".to_owned());
                }
                // lines and commands are for open sessions
                Order::Configure { .. } | Order::Release(_) | Order::Command(_) => {}
            }
            return;
        }
        let Some(member) = self.instances.get(&number) else { return };
        if member.instance.order(order).is_err() {
            member.instance.kill();
        }
    }

    fn unborn(&mut self, number: Number, why: String) {
        self.tell(News::Ended { number, why, unborn: true, last_lines: Vec::new() });
    }

    fn begin(&mut self, number: Number, note: Note, begin: Begin) {
        let (instance, task) = instance(number, begin, note.clone(), self.context.clone(), self.news.clone());
        self.tasks.spawn(task);
        self.instances.insert(number, Member { instance, facts: Facts::default(), note });
    }
}
