//! The task behind the commands' door: routes each to its driver, remembers what became of it.
//!
//! Always true: an id that changes something is carried out once, across restarts too; what cannot
//! be routed is refused at once; every wait is bounded by the command's deadline and [`GRACE`].

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::clock;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Handle, Outcome, QUEUE, Request, Verdict};
use crate::config::did_you_mean;
use crate::state;

/// Commands carried out at once; more are refused.
const RUNNING: usize = 64;
/// Outcomes remembered, oldest forgotten first.
const REMEMBERED: usize = 1000;
/// After its deadline a command gets this long to report what became of it.
const GRACE: Duration = Duration::from_secs(1);
/// Where outcomes of executed commands survive a restart.
const SPACE: &str = "commands";

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
}

enum Memory {
    Running(Vec<oneshot::Sender<Outcome>>),
    Done(Outcome),
}

/// The task that routes commands. Create it with [`router`].
pub struct Router {
    queue: mpsc::Receiver<(Request, oneshot::Sender<Outcome>)>,
    routes: Routes,
    state: state::Handle,
    known: HashMap<String, Memory>,
    /// Ids of what lasts, oldest first.
    order: VecDeque<String>,
    /// Counts what lasts, across restarts.
    taken: u64,
    running: JoinSet<(String, bool, Outcome)>,
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
                    if let Ok((id, lasting, outcome)) = ended {
                        self.end(id, lasting, outcome).await;
                    }
                }
            }
            self.busy.send_replace(self.running.len());
        }
    }

    /// Commands executed before a restart are not executed again.
    async fn recall(&mut self) {
        let kept = self.state.scan(SPACE).await.unwrap_or_default();
        let kept = kept.into_iter().map(|(id, kept)| {
            let (number, verdict) = serde_json::from_slice(&kept).unwrap_or((0, Verdict::Unknown));
            (number, String::from_utf8_lossy(&id).into_owned(), verdict)
        });
        let mut kept: Vec<(u64, String, Verdict)> = kept.collect();
        kept.sort_by_key(|(number, ..)| *number);
        for (number, id, verdict) in kept {
            self.taken = self.taken.max(number);
            let outcome = Outcome::failed(verdict, "carried out before the gateway was restarted");
            self.known.insert(id.clone(), Memory::Done(outcome));
            self.order.push_back(id);
        }
    }

    async fn take(&mut self, request: Request, reply: oneshot::Sender<Outcome>) {
        match self.known.get_mut(&request.id) {
            Some(Memory::Done(outcome)) => {
                let _ = reply.send(outcome.clone());
                return;
            }
            Some(Memory::Running(waiting)) => return waiting.push(reply),
            None => {}
        }
        let door = match self.door(&request) {
            Ok(door) => door,
            Err(outcome) => {
                let _ = reply.send(outcome);
                return;
            }
        };
        let lasting = request.action.lasts();
        let id = request.id.clone();
        if lasting {
            self.make_room().await;
            self.taken += 1;
            self.order.push_back(id.clone());
            self.keep(&id, Verdict::Unknown).await;
        }
        self.known.insert(id.clone(), Memory::Running(vec![reply]));
        self.running.spawn(async move { (id, lasting, carry_out(request, door).await) });
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

    async fn end(&mut self, id: String, lasting: bool, outcome: Outcome) {
        let running = if lasting {
            self.keep(&id, outcome.verdict).await;
            self.known.insert(id, Memory::Done(outcome.clone()))
        } else {
            // reading again harms nobody
            self.known.remove(&id)
        };
        if let Some(Memory::Running(waiting)) = running {
            for reply in waiting {
                let _ = reply.send(outcome.clone());
            }
        }
    }

    async fn keep(&self, id: &str, verdict: Verdict) {
        let kept = serde_json::to_vec(&(self.taken, verdict)).expect("a number and a word are JSON");
        if let Err(error) = self.state.put(SPACE, id.as_bytes(), &kept).await {
            tracing::warn!(command_id = id, %error, "command is not remembered across a restart");
        }
    }

    /// Forgets the oldest that is not running.
    async fn make_room(&mut self) {
        for _ in 0..self.order.len() {
            if self.order.len() < REMEMBERED {
                return;
            }
            let Some(oldest) = self.order.pop_front() else { return };
            if matches!(self.known.get(&oldest), Some(Memory::Running(_))) {
                self.order.push_back(oldest);
                continue;
            }
            self.known.remove(&oldest);
            let _ = self.state.delete(SPACE, oldest.as_bytes()).await;
        }
    }
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
mod tests {
    use sagoo_edge_proto::sample::Value;

    use super::*;
    use crate::commands::Action;

    fn setup() -> (Handle, mpsc::Receiver<Dispatch>, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let (state, _) = state::start(dir.path().join("state"));
        let (door, dispatched) = mpsc::channel(4);
        let routes = Routes {
            devices: [("boiler".to_owned(), "modbus".into())].into(),
            drivers: [("modbus".into(), door)].into(),
        };
        let (handle, router) = router(routes, state);
        tokio::spawn(router.run(CancellationToken::new()));
        (handle, dispatched, dir)
    }

    fn write(id: &str, device: &str, seconds: u64) -> Request {
        Request {
            id: id.to_owned(),
            device: device.to_owned(),
            deadline_boot_ns: clock::boot_ns() + seconds * 1_000_000_000,
            action: Action::Write(vec![("limit".to_owned(), Value::Int(5))]),
        }
    }

    fn applied() -> Outcome {
        Outcome::failed(Verdict::Applied, "")
    }

    #[tokio::test]
    async fn a_repeated_id_is_answered_from_memory() {
        let (handle, mut dispatched, _dir) = setup();
        let twice = (handle.clone(), handle.clone());
        let first = tokio::spawn(async move { twice.0.execute(write("7", "boiler", 10)).await });
        let second = tokio::spawn(async move { twice.1.execute(write("7", "boiler", 10)).await });
        dispatched.recv().await.unwrap().reply.send(applied()).unwrap();
        assert_eq!(first.await.unwrap(), applied());
        assert_eq!(second.await.unwrap(), applied());
        assert_eq!(handle.execute(write("7", "boiler", 10)).await, applied());
        assert!(dispatched.try_recv().is_err());
    }

    #[tokio::test]
    async fn a_command_carried_out_before_a_restart_is_not_carried_out_again() {
        let dir = tempfile::tempdir().unwrap();
        for (round, verdict) in [(0, Verdict::Applied), (1, Verdict::Applied)] {
            let (state, thread) = state::start(dir.path().join("state"));
            let (door, mut dispatched) = mpsc::channel(4);
            let devices = [("boiler".to_owned(), Arc::from("modbus"))].into();
            let routes = Routes { devices, drivers: [("modbus".into(), door)].into() };
            let (handle, router) = router(routes, state);
            let running = tokio::spawn(router.run(CancellationToken::new()));
            let asked = tokio::spawn(async move { handle.execute(write("7", "boiler", 10)).await });
            if round == 0 {
                dispatched.recv().await.unwrap().reply.send(applied()).unwrap();
            }
            assert_eq!(asked.await.unwrap().verdict, verdict);
            assert!(dispatched.try_recv().is_err());
            running.await.unwrap().unwrap();
            tokio::task::spawn_blocking(|| thread.join().unwrap()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn what_cannot_be_carried_out_is_refused_with_a_reason() {
        let (handle, mut dispatched, _dir) = setup();
        let late = handle.execute(write("1", "boiler", 0)).await;
        assert_eq!(late.verdict, Verdict::Expired);
        let typo = handle.execute(write("2", "boilr", 10)).await;
        assert_eq!(
            (typo.verdict, typo.message.contains("did you mean \"boiler\"")),
            (Verdict::Refused, true)
        );
        assert!(dispatched.try_recv().is_err());
    }

    #[tokio::test]
    async fn idle_is_when_the_last_command_has_its_outcome() {
        let (handle, mut dispatched, _dir) = setup();
        handle.idle().await;
        let asking = handle.clone();
        let asked = tokio::spawn(async move { asking.execute(write("1", "boiler", 10)).await });
        let dispatch = dispatched.recv().await.unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(20), handle.idle()).await.is_err());
        dispatch.reply.send(applied()).unwrap();
        handle.idle().await;
        assert_eq!(asked.await.unwrap(), applied());
    }

    #[tokio::test]
    async fn a_driver_that_dies_leaves_the_outcome_unknown() {
        let (handle, mut dispatched, _dir) = setup();
        let asked = tokio::spawn(async move { handle.execute(write("1", "boiler", 10)).await });
        drop(dispatched.recv().await.unwrap());
        assert_eq!(asked.await.unwrap().verdict, Verdict::Unknown);
    }
}
