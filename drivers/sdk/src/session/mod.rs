//! The rules between gateway and driver, so that an author need not keep them.
//!
//! Always true:
//!  - `Hello` opens a session, a second session supersedes the first;
//!  - batches wait until this session's gateway was told the numbers (`Configured`), then every
//!    un-acknowledged one goes again, in order, before new ones;
//!  - one `CommandResult` per id, at its deadline when its line has not begun with it; a result that no session could carry waits in memory for its id
//!    to be repeated;
//!  - a gateway that does not read stalls no poll: batches pile up in the bounded outbox;
//!  - this task is the only owner of everything here; lines are tasks of their own.

mod alike;
mod calls;
#[cfg(test)]
pub(crate) mod fake;
mod lines;
mod link;
mod looks;
mod release;
mod sending;
mod stop;
mod tally;
mod waiting;

use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::{
    Command, Configure, Configured, Hello, HostMessage, Status, driver_message::Message, host_message,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use self::calls::Calls;
use self::lines::Lines;
pub(crate) use self::link::{INBOUND, OUTBOUND, Open};
use self::link::{Link, next_message, room};
pub(crate) use self::looks::{Captured, Incoming, Look, Scanning};
use self::release::Releases;
use self::tally::Tally;
use self::waiting::WaitingCommands;
use crate::batcher::{BATCH_WAIT, Batcher};
use crate::commands::{Known, Memory, result};
use crate::connection::{Claim, Job, Report};
use crate::driver::{Deadline, Driver};
use crate::host::{Asked, Host};
use crate::outbox::Outbox;
use crate::wire;

/// How often the gateway is told how things are.
pub(crate) const HEARTBEAT: Duration = Duration::from_secs(2);
/// How long lines may take to reach a frame boundary after `Stop`; then they are cut off.
pub(crate) const STOP_GRACE: Duration = Duration::from_secs(3);
/// How long the gateway may take to read the rest after that.
pub(crate) const DRAIN_GRACE: Duration = Duration::from_secs(1);
/// How long lines may take when the process is to end now.
pub(crate) const END_GRACE: Duration = Duration::from_millis(400);
/// How long the process waits for a gateway that was lost, when no other was announced. Shorter by
/// [`END_GRACE`] than the 5 s in which a supervisor may count on the lines being free.
pub(crate) const ORPHAN_GRACE: Duration = Duration::from_millis(4_500);
/// Reports of the lines waiting for the session.
const REPORTS: usize = 256;

/// How long to go on without a gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// [`ORPHAN_GRACE`] after a loss; the process ends with its host anyway.
    GatewayIsAll,
    /// A new gateway may take over, even one after a host that died early: so long, from the start
    /// or from the last session.
    AnotherMayCome(Duration),
}

/// Why a session task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Asked,
    /// The gateway was lost and did not come back.
    Orphaned,
    /// A line's task panicked: nothing it holds can be trusted.
    Panicked,
}

struct Session<D: Driver> {
    driver: Arc<D>,
    patience: Patience,
    instance: [u8; 16],
    link: Option<Link>,
    lines: Lines<D>,
    releases: Releases,
    calls: Calls,
    memory: Memory,
    waiting: WaitingCommands,
    tally: Tally,
    batcher: Batcher,
    outbox: Outbox,
    generation: u64,
    flush_at: Option<Instant>,
    heartbeat_at: Option<Instant>,
    orphan_at: Option<Instant>,
    stop_at: Option<Instant>,
}

/// Runs sessions, one after the other, until `end` or a loss.
pub(crate) async fn run<D: Driver>(
    driver: Arc<D>,
    mut incoming: mpsc::Receiver<Incoming>,
    patience: Patience,
    end: CancellationToken,
) -> Ended {
    let (host, mut asks) = Host::new();
    driver.attach(host);
    let (reports, mut told) = mpsc::channel(REPORTS);
    let mut session = Session::new(driver, patience, reports);
    let ended = loop {
        session.pump();
        session.finish_stop();
        let wake = session.wake_at();
        let wants_room = session.wants_room();
        tokio::select! {
            biased;
            () = end.cancelled() => break Ended::Asked,
            Some(report) = told.recv() => session.report(report),
            Some(joined) = session.lines.tasks.join_next(), if !session.lines.tasks.is_empty() => {
                if joined.is_err_and(|error| error.is_panic()) {
                    return Ended::Panicked;
                }
                while let Ok(report) = told.try_recv() {
                    session.report(report);
                }
            }
            Some(incoming) = incoming.recv() => match incoming {
                Incoming::Session(open) => session.open(open),
                Incoming::Look(look) => session.look(look),
            },
            message = next_message(&mut session.link) => match message {
                Some(message) => session.message(message),
                None => session.lost(),
            },
            Some(asked) = asks.recv() => session.ask(asked),
            () = room(wants_room) => {}
            () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {
                if session.tick(Instant::now()) {
                    break Ended::Orphaned;
                }
            }
        }
    };
    session.wind_down(&mut told).await;
    ended
}

impl<D: Driver> Session<D> {
    fn new(driver: Arc<D>, patience: Patience, reports: mpsc::Sender<Report>) -> Self {
        let mut instance = [0; 16];
        getrandom::fill(&mut instance).expect("the kernel gives random bytes");
        let mut session = Self {
            driver,
            patience,
            instance,
            link: None,
            lines: Lines::new(reports),
            releases: Releases::default(),
            calls: Calls::default(),
            memory: Memory::default(),
            waiting: WaitingCommands::default(),
            tally: Tally::default(),
            batcher: Batcher::default(),
            outbox: Outbox::default(),
            generation: 0,
            flush_at: None,
            heartbeat_at: None,
            orphan_at: None,
            stop_at: None,
        };
        session.wait_for_another();
        session
    }

    fn open(&mut self, open: Open) {
        if self.link.is_some() {
            info!("a new session supersedes the old one");
        }
        self.drop_link();
        let mut link = Link::new(open);
        let hello = Hello { instance: self.instance.to_vec(), boot_id: clock::boot_id().to_owned() };
        link.control.push_back(Message::Hello(hello));
        self.link = Some(link);
        self.outbox.rewind();
        self.orphan_at = None;
        self.stop_at = None;
        self.heartbeat_at = Some(Instant::now() + HEARTBEAT);
    }

    /// The gateway is gone without a `Stop`.
    fn lost(&mut self) {
        self.drop_link();
        if self.stop_at.is_none() {
            let grace = match self.patience {
                Patience::GatewayIsAll => {
                    warn!(grace = ?ORPHAN_GRACE, "the gateway is gone");
                    ORPHAN_GRACE
                }
                Patience::AnotherMayCome(grace) => {
                    info!(?grace, "the gateway is gone, polls go on until another comes");
                    grace
                }
            };
            self.orphan_at = Some(Instant::now() + grace);
        }
    }

    /// Nobody has a session, and perhaps nobody will: then this is not to go on for ever.
    fn wait_for_another(&mut self) {
        if let Patience::AnotherMayCome(grace) = self.patience {
            self.orphan_at = Some(Instant::now() + grace);
        }
    }

    fn drop_link(&mut self) {
        self.link = None;
        self.heartbeat_at = None;
        self.releases.forget();
        self.calls.give_up();
    }

    fn message(&mut self, message: HostMessage) {
        match message.message {
            Some(host_message::Message::Configure(configure)) => self.configure(configure),
            Some(host_message::Message::Ack(ack)) => self.outbox.acknowledge(ack.seq),
            Some(host_message::Message::Command(command)) => self.command(command),
            Some(host_message::Message::HostReply(reply)) => self.calls.answer(reply),
            Some(host_message::Message::Release(release)) => {
                let asked =
                    if release.connections.is_empty() { self.lines.names() } else { release.connections };
                let held = self.lines.release(&asked);
                self.flush();
                self.releases.begin(asked, held, self.outbox.last_seq());
            }
            Some(host_message::Message::Stop(_)) => {
                info!("stopping");
                self.lines.stop_all();
                self.stop_at = Some(Instant::now() + STOP_GRACE);
            }
            None => warn!("the gateway sent a message this driver does not know"),
        }
    }

    fn configure(&mut self, configure: Configure) {
        let Configure { generation, configuration, hold } = configure;
        let (tables, mut problems) = wire::configuration(configuration.unwrap_or_default());
        let checked = self.driver.check(&tables);
        problems.extend(checked.problems);
        // What was read under the old numbers is told under the old generation.
        self.flush();
        self.generation = generation;
        self.stop_at = None;
        self.releases.forget();
        let devices = self.lines.apply(&self.driver, checked.connections, &hold);
        self.tally.configure(devices.iter().map(|device| device.number).collect());
        info!(
            generation,
            devices = devices.len(),
            problems = problems.len(),
            held = hold.len(),
            "configured"
        );
        let problems = problems.into_iter().map(Into::into).collect();
        self.say(Some(Message::Configured(Configured { generation, problems, devices })));
        if let Some(link) = &mut self.link {
            link.configured = true;
        }
    }

    fn command(&mut self, command: Command) {
        let Command { id, deadline_boot_ns, device, action } = command;
        match self.memory.meet(&id) {
            Known::Running => debug!(command_id = id, "a running command was asked for again"),
            Known::Finished(result) => self.say(Some(Message::CommandResult(result))),
            Known::New => {
                let deadline = Deadline::at_boot_ns(deadline_boot_ns);
                if deadline.passed() {
                    let late = "its deadline passed on the way".to_owned();
                    return self.report(Report::Done(result(&id, Status::Expired, late)));
                }
                let claim = Claim::default();
                let job = Job { id: id.clone(), deadline, claim: claim.clone(), device, action };
                match self.lines.command(job) {
                    Ok(()) => self.waiting.add(id, deadline, claim),
                    Err(refused) => self.report(Report::Done(refused)),
                }
            }
        }
    }

    fn report(&mut self, report: Report) {
        match report {
            Report::Read { device, samples, polls } => {
                self.tally.read(device, polls, samples.len() as u64);
                for full in self.batcher.add(device, samples, sending::now()) {
                    self.keep(full);
                }
                if self.batcher.is_empty() {
                    self.flush_at = None;
                } else if self.flush_at.is_none() {
                    self.flush_at = Some(Instant::now() + BATCH_WAIT);
                }
            }
            Report::State { device, online, reason } => {
                self.tally.state(device, online, reason);
                // Told at once: people watch for it, and heartbeats northbound follow it.
                if let Some(link) = &mut self.link {
                    link.heartbeat_due = true;
                }
            }
            Report::Done(result) => {
                if self.memory.finish(result.clone()) {
                    self.say(Some(Message::CommandResult(result)));
                }
            }
            Report::Released(connection) => {
                // Whoever opens the line next must find all that was read on it stored before.
                self.flush();
                self.releases.released(&connection, self.outbox.last_seq());
            }
            Report::Scanned(connection) => self.lines.scanned(&connection),
        }
    }

    fn ask(&mut self, asked: Asked) {
        let call = self.calls.ask(asked, self.link.is_some());
        self.say(call.map(Message::HostCall));
    }

    fn wake_at(&self) -> Option<Instant> {
        let all = [self.flush_at, self.heartbeat_at, self.orphan_at, self.stop_at, self.waiting.look_at];
        all.into_iter().flatten().min()
    }

    /// What time brings. True when the gateway was lost for good.
    fn tick(&mut self, now: Instant) -> bool {
        let due = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if due(self.flush_at) {
            self.flush();
        }
        if due(self.waiting.look_at) {
            for expired in self.waiting.expire() {
                self.report(Report::Done(expired));
            }
        }
        if due(self.heartbeat_at) {
            self.heartbeat_at = Some(now + HEARTBEAT);
            if let Some(link) = &mut self.link {
                link.heartbeat_due = true;
            }
        }
        if due(self.stop_at) {
            if self.lines.tasks.is_empty() {
                // The gateway does not read what it asked for.
                self.stop_at = None;
                self.drop_link();
                self.wait_for_another();
            } else {
                warn!("lines did not stop in time and are cut off");
                self.cut_off();
                self.stop_at = Some(now + DRAIN_GRACE);
            }
        }
        due(self.orphan_at)
    }
}

#[cfg(test)]
mod tests;
