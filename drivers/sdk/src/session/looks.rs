//! Who wants to look: scans and captures of a line, beside the session.
//!
//! Always true: a look needs no session and disturbs none; one scan runs on a connection at a time; a
//! connection that is in no configuration is opened for a scan only, and closed after it.

use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::driver::{Connection, ScanRequest};
use tokio::sync::{broadcast, mpsc, oneshot};
use tokio::time::Instant;
use tonic::Status;

use super::lines::Lines;
use super::{Open, Session};
use crate::commands;
use crate::connection::{Answer, Mode, ON_HOLD, Scan, Wanted};
use crate::driver::{Configuration, ConnectionTable, Driver};
use crate::tap::Transfer;
use crate::wire;

/// What comes in by the services of the contract.
#[derive(Debug)]
pub(crate) enum Incoming {
    Session(Open),
    Look(Look),
}

/// A look at a line, and where the answer goes.
#[derive(Debug)]
pub(crate) enum Look {
    Scan(ScanRequest, oneshot::Sender<Result<Scanning, Status>>),
    /// By the connection's name.
    Capture(String, oneshot::Sender<Result<Captured, Status>>),
}

/// Where the answers of a scan come out.
pub(crate) type Scanning = mpsc::Receiver<Answer>;

/// A line that is watched.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) connection: String,
    /// The driver and its line in a few words.
    pub(crate) what: String,
    pub(crate) transfers: broadcast::Receiver<Transfer>,
}

impl<D: Driver> Session<D> {
    pub(super) fn look(&mut self, look: Look) {
        // A caller that left meanwhile needs no answer.
        match look {
            Look::Scan(request, answer) => {
                let _ = answer.send(self.lines.scan(&self.driver, request));
            }
            Look::Capture(connection, answer) => {
                let _ = answer.send(self.lines.capture(&self.driver, connection));
            }
        }
    }
}

impl<D: Driver> Lines<D> {
    fn scan(&mut self, driver: &Arc<D>, request: ScanRequest) -> Result<Scanning, Status> {
        let ScanRequest { connection, deadline_ms, options } = request;
        let Connection { name, settings } = connection.unwrap_or_default();
        let options = wire::object(&options)
            .map_err(|error| Status::invalid_argument(format!("options of the scan: {error}")))?;
        let given = (!settings.trim().is_empty()).then(|| settings_of(&**driver, &name, &settings));
        let settings = match (self.running.get(&name), given.transpose()?) {
            (Some(running), Some(given)) if running.settings != given => {
                let message = format!(
                    "connection {name:?} runs with other settings; scan it as it runs, without settings"
                );
                return Err(Status::failed_precondition(message));
            }
            (Some(running), _) => running.usable(&name)?.settings.clone(),
            (None, Some(given)) => given,
            (None, None) => return Err(self.unknown(&name)),
        };
        let steps = driver.scan_steps(&settings, &options).map_err(Status::invalid_argument)?;
        let until = (deadline_ms > 0).then(|| Instant::now() + Duration::from_millis(deadline_ms.into()));
        if !self.running.contains_key(&name) {
            self.start_passing(driver, name.clone(), settings);
        }
        let running =
            self.running.get_mut(&name).ok_or_else(|| Status::internal("the line did not start"))?;
        let (scan, told) = Scan::new(options, steps, until);
        running.scanning = Some(scan.answers().downgrade());
        let busy =
            |_| Status::failed_precondition(format!("a scan of connection {name:?} is about to begin"));
        running.scans.try_send(Box::new(scan)).map_err(busy)?;
        Ok(told)
    }

    /// A line of its own for a scan.
    fn start_passing(&mut self, driver: &Arc<D>, name: String, settings: D::Connection) {
        let wanted = Wanted { devices: Arc::default(), mode: Mode::Run };
        self.start(driver, name.clone(), settings, wanted, 0);
        if let Some(running) = self.running.get_mut(&name) {
            running.passing = true;
        }
    }

    /// A scan is over: what was there for it only goes, unless the next has begun.
    pub(super) fn scanned(&mut self, connection: &str) {
        if self.running.get(connection).is_some_and(|running| running.passing && !running.is_scanned()) {
            self.stop(connection);
        }
    }

    fn capture(&self, driver: &Arc<D>, connection: String) -> Result<Captured, Status> {
        let running = self.running.get(&connection).ok_or_else(|| self.unknown(&connection))?;
        let what = format!("{} {}", driver.describe().name, driver.line_name(&running.settings));
        Ok(Captured { connection, what: what.trim_end().to_owned(), transfers: running.tap.watch() })
    }

    fn unknown(&self, connection: &str) -> Status {
        let known = self.running.keys().map(String::as_str);
        Status::not_found(commands::unknown("connection", connection, known))
    }
}

impl<D: Driver> super::lines::Running<D> {
    /// A scan goes on and somebody reads what it finds.
    fn is_scanned(&self) -> bool {
        let answers = self.scanning.as_ref().and_then(mpsc::WeakSender::upgrade);
        answers.is_some_and(|answers| !answers.is_closed())
    }

    /// This, when its line may be scanned now.
    fn usable(&self, name: &str) -> Result<&Self, Status> {
        match self.wanted.borrow().mode {
            Mode::Run if self.is_scanned() => {
                let message = format!("a scan of connection {name:?} runs already; one at a time");
                return Err(Status::failed_precondition(message));
            }
            Mode::Run => {}
            Mode::Held => return Err(Status::unavailable(format!("connection {name:?} is {ON_HOLD}"))),
            Mode::Released | Mode::Stopped => {
                return Err(Status::unavailable(format!("connection {name:?} is released")));
            }
        }
        Ok(self)
    }
}

/// Settings of a connection that stands alone, checked.
fn settings_of<D: Driver>(driver: &D, name: &str, settings: &str) -> Result<D::Connection, Status> {
    let wrong = |message: String| Status::invalid_argument(format!("connection {name:?}: {message}"));
    let settings = wire::object(settings).map_err(wrong)?;
    let table = ConnectionTable { name: name.to_owned(), settings };
    let checked = driver.check(&Configuration { connections: vec![table], ..Configuration::default() });
    let mistakes = checked.problems.iter().filter(|problem| !problem.warning);
    let mistakes: Vec<String> =
        mistakes.map(|problem| format!("{}: {}", problem.path.join("."), problem.message)).collect();
    let connection = checked.connections.into_iter().find(|connection| connection.name == name);
    match connection {
        Some(connection) if mistakes.is_empty() => Ok(connection.settings),
        _ => Err(wrong(mistakes.join("; "))),
    }
}
