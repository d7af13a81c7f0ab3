//! One driver's processes: carries out what [`life`](super::life) decides, and tells it what happens.
//!
//! Always true: a command goes to the one process that has its device's line, or waits for it, or is
//! refused at once; nothing here waits for a process; stopping is bounded by the processes' own limits.

use std::sync::Arc;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::Parting;
use super::fleet::Fleet;
use super::installed::Generation;
use super::reach::Reach;
use super::session::Online;
use super::shell::Shell;
use crate::commands::Dispatch;
use crate::config::Sources;
use crate::config::types::Config;
use crate::pipeline;
use crate::state;
use crate::status::DriverStatus;

/// Everything one driver's task needs.
pub struct Supervisor {
    /// Driver id.
    pub id: Arc<str>,
    /// The whole configuration.
    pub config: Arc<Config>,
    /// Where samples go.
    pub pipeline: pipeline::Handle,
    /// Small durable values.
    pub state: state::Handle,
    /// Commands for its devices.
    pub dispatched: mpsc::Receiver<Dispatch>,
    /// Calls to it beside its session.
    pub reached: mpsc::Receiver<Reach>,
    /// What status shows.
    pub status: watch::Sender<DriverStatus>,
    /// Devices that answer.
    pub online: Online,
    /// Shows where in the configuration a driver's problem is.
    pub sources: Arc<Sources>,
    /// Processes that outlive a round.
    pub fleet: Arc<Fleet>,
    /// Somebody wants a fresh process.
    pub reboot: Arc<Notify>,
    /// When to look for the driver's files again.
    pub installed: watch::Receiver<Generation>,
}

impl Supervisor {
    /// Runs until it is told how to part.
    pub async fn run(mut self, mut parting: watch::Receiver<Option<Parting>>) -> anyhow::Result<()> {
        let (mut shell, mut reports) = Shell::new(&self).await;
        let mut seen = None;
        loop {
            shell.carry_out();
            if shell.is_over() {
                return Ok(());
            }
            let wake = shell.wake_at();
            tokio::select! {
                Some(report) = reports.recv() => shell.hear(report),
                worked = shell.work() => worked?,
                Some(dispatch) = self.dispatched.recv() => shell.dispatch(dispatch),
                Some(reach) = self.reached.recv() => shell.reach(reach),
                Ok(()) = self.installed.changed() => shell.look_again(),
                () = self.reboot.notified() => shell.reboot(),
                next = told(&mut parting, seen) => {
                    seen = Some(next);
                    shell.part(next);
                }
                () = sleep_until(wake.unwrap_or_else(Instant::now)), if wake.is_some() => {}
            }
        }
    }
}

/// How the round ends, when that is not what was seen before. An app that is gone wants nothing left
/// running.
async fn told(parting: &mut watch::Receiver<Option<Parting>>, seen: Option<Parting>) -> Parting {
    let told = parting.wait_for(|told| told.is_some() && *told != seen).await.map(|told| *told);
    match told {
        Ok(Some(told)) => told,
        Ok(None) | Err(_) if seen != Some(Parting::Stop) => Parting::Stop,
        Ok(None) | Err(_) => std::future::pending().await,
    }
}
