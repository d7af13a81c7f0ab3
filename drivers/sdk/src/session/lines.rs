//! The running connections, and what a new configuration changes of them.
//!
//! Always true: a connection whose settings did not change keeps its task and its line; a device
//! that did not change keeps its schedule; a task that follows another on the same connection opens
//! nothing before that one is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::driver::{CommandResult, DeviceNumbers, LineState, Status};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::info;

use super::alike::Alike;
use crate::commands::{self, result};
use crate::connection::{
    self, Answer, Assigned, COMMANDS_WAITING, Device, Job, Mode, Owed, Report, Scan, Setup, Told, Wanted,
};
use crate::driver::{CheckedConnection, CheckedDevice, Driver};
use crate::numbers::Numbers;
use crate::tap::Tap;

pub(crate) struct Lines<D: Driver> {
    pub(super) running: HashMap<String, Running<D>>,
    /// Connections on their way out, until they are gone.
    leaving: HashMap<String, Leaving>,
    /// Device name → connection name.
    places: HashMap<String, String>,
    numbers: Numbers,
    /// What is told of every connection this process was ever configured with.
    told: BTreeMap<String, Told>,
    pub(crate) tasks: JoinSet<()>,
    reports: mpsc::Sender<Report>,
}

pub(super) struct Running<D: Driver> {
    pub(super) settings: D::Connection,
    pub(super) wanted: watch::Sender<Wanted<D>>,
    jobs: mpsc::Sender<Box<Job>>,
    pub(super) scans: mpsc::Sender<Box<Scan>>,
    /// The scan that was asked for last, while it goes on.
    pub(super) scanning: Option<mpsc::WeakSender<Answer>>,
    /// It is there for a scan only, in no configuration.
    pub(super) passing: bool,
    pub(super) tap: Tap,
    leaving: Leaving,
}

/// What is left of a connection that is stopped.
struct Leaving {
    gone: CancellationToken,
    owed: watch::Receiver<Owed>,
}

impl<D: Driver> Lines<D> {
    pub(crate) fn new(reports: mpsc::Sender<Report>) -> Self {
        Self {
            running: HashMap::new(),
            leaving: HashMap::new(),
            places: HashMap::new(),
            numbers: Numbers::default(),
            told: BTreeMap::new(),
            tasks: JoinSet::new(),
            reports,
        }
    }

    /// Makes `connections` the ones that run, those in `hold` closed; gives back the numbers of every
    /// device.
    pub(crate) fn apply(
        &mut self,
        driver: &Arc<D>,
        connections: Vec<CheckedConnection<D>>,
        hold: &[String],
    ) -> Vec<DeviceNumbers> {
        let names: Vec<&str> = connections.iter().map(|connection| connection.name.as_str()).collect();
        let leaves =
            |(name, running): &(&String, &Running<D>)| !names.contains(&name.as_str()) && !running.passing;
        let left: Vec<String> = self.running.iter().filter(leaves).map(|(name, _)| name.clone()).collect();
        for name in left {
            self.stop(&name);
        }
        self.places.clear();
        let (mut given, mut alike) = (Vec::new(), Alike::default());
        for (before, connection) in (0..).zip(connections) {
            let CheckedConnection { name, settings, devices } = connection;
            let devices = Arc::new(self.assign(&name, devices, &mut alike));
            given.push(devices.clone());
            let mode = if hold.contains(&name) { Mode::Held } else { Mode::Run };
            let wanted = Wanted { devices, mode };
            match self.running.get_mut(&name) {
                Some(running) if running.settings == settings => {
                    running.passing = false;
                    running.wanted.send_replace(wanted);
                }
                _ => self.start(driver, name, settings, wanted, before),
            }
        }
        // Last, because it is large and goes soon: what is made behind it would keep its place from being
        // given back.
        let devices = given.iter().flat_map(|devices| devices.iter());
        devices
            .filter_map(|assigned| self.numbers.listing(&assigned.device.name, &assigned.device.points))
            .collect()
    }

    /// Numbers for the devices of a connection; one that did not change stays the very same.
    fn assign(
        &mut self,
        connection: &str,
        devices: Vec<CheckedDevice<D>>,
        alike: &mut Alike,
    ) -> Vec<Assigned<D>> {
        let before = self.running.get(connection).map(|running| running.wanted.borrow().devices.clone());
        let before = before.as_deref().map_or(&[][..], Vec::as_slice);
        let mut assigned = Vec::with_capacity(devices.len());
        for device in devices {
            self.places.insert(device.name.clone(), connection.to_owned());
            let numbered = self.numbers.assign(&device.name, &device.points);
            let same = before.iter().find(|old| same(&old.device, &device)).map(|old| old.device.clone());
            assigned.push(Assigned {
                number: numbered.device,
                points: numbered.points,
                device: same.unwrap_or_else(|| Arc::new(alike.take(device))),
            });
        }
        assigned
    }

    pub(super) fn start(
        &mut self,
        driver: &Arc<D>,
        name: String,
        settings: D::Connection,
        wanted: Wanted<D>,
        before: u32,
    ) {
        self.stop(&name);
        self.leaving.retain(|_, leaving| !leaving.gone.is_cancelled());
        let (wanted, wants) = watch::channel(wanted);
        let (jobs, waiting) = mpsc::channel(COMMANDS_WAITING);
        let (scans, to_scan) = mpsc::channel(1);
        let tap = Tap::default();
        let (owes, owed) = watch::channel(None);
        let gone = CancellationToken::new();
        let setup = Setup::<D> {
            name: name.clone(),
            driver: driver.clone(),
            settings: settings.clone(),
            wanted: wants,
            jobs: waiting,
            queue: jobs.downgrade(),
            scans: to_scan,
            reports: self.reports.clone(),
            tap: tap.clone(),
            owed: owes,
            told: self.told.entry(name.clone()).or_default().clone(),
            after: self.leaving.get(&name).map(|leaving| leaving.gone.clone()),
            before,
            gone: gone.clone().drop_guard(),
        };
        info!(connection = name, "connection starts");
        self.tasks.spawn(connection::run(setup));
        let leaving = Leaving { gone, owed };
        let running = Running { settings, wanted, jobs, scans, scanning: None, passing: false, tap, leaving };
        self.running.insert(name, running);
    }

    pub(super) fn stop(&mut self, name: &str) {
        if let Some(running) = self.running.remove(name) {
            running.want(Mode::Stopped);
            self.leaving.insert(name.to_owned(), running.leaving);
        }
    }

    pub(crate) fn stop_all(&mut self) {
        self.places.clear();
        let names: Vec<String> = self.running.keys().cloned().collect();
        for name in names {
            self.stop(&name);
        }
    }

    /// Wants these lines given up; gives back those that will say so, the others are not held.
    pub(crate) fn release(&self, connections: &[String]) -> Vec<String> {
        let is_held = |name: &&String| {
            let leaves = self.leaving.get(*name).is_some_and(|leaving| !leaving.gone.is_cancelled());
            leaves || self.running.contains_key(*name)
        };
        let held: Vec<String> = connections.iter().filter(is_held).cloned().collect();
        for running in held.iter().filter_map(|name| self.running.get(name)) {
            running.want(Mode::Released);
        }
        held
    }

    /// How long the worst line has owed what is due.
    pub(crate) fn overdue(&self, now: Instant) -> Duration {
        let running = self.running.values().map(|running| &running.leaving);
        let owed = running.chain(self.leaving.values()).map(|line| *line.owed.borrow());
        owed.map(|owed| connection::overdue(owed, now)).max().unwrap_or_default()
    }

    /// What heartbeats tell of each line that is in use, by name.
    pub(crate) fn states(&self) -> Vec<LineState> {
        let is_present = |name: &str| self.running.get(name).is_some_and(|running| !running.passing);
        let present = self.told.iter().filter(|(name, _)| is_present(name));
        present.map(|(name, told)| told.state(name)).collect()
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.running.keys().cloned().collect()
    }

    /// Hands a command to its line, or answers why not.
    pub(crate) fn command(&self, job: Job) -> Result<(), CommandResult> {
        let refused = |job: &Job, message| Err(result(&job.id, Status::Refused, message));
        let Some(place) = self.places.get(&job.device) else {
            let message = commands::unknown("device", &job.device, self.places.keys().map(String::as_str));
            return refused(&job, message);
        };
        let Some(running) = self.running.get(place) else {
            return refused(&job, format!("connection {place:?} is stopped"));
        };
        running.jobs.try_send(Box::new(job)).or_else(|error| match error {
            mpsc::error::TrySendError::Full(job) => {
                refused(&job, format!("{COMMANDS_WAITING} commands wait for connection {place:?} already"))
            }
            mpsc::error::TrySendError::Closed(job) => {
                refused(&job, format!("connection {place:?} is stopped"))
            }
        })
    }
}

impl<D: Driver> Running<D> {
    fn want(&self, mode: Mode) {
        self.wanted.send_modify(|wanted| wanted.mode = mode);
    }
}

fn same<D: Driver>(old: &Device<D>, new: &CheckedDevice<D>) -> bool {
    old.name == new.name
        && *old.points == *new.points
        && *old.polls == *new.polls
        && old.offline == new.offline
        && old.settings == new.settings
}
