//! A gateway, ours or ThingsBoard's, between a plant and a broker, and what it does in a stretch of time.
//!
//! Always true: both are measured in the same way: their own processes' CPU time and memory, and the time
//! from a request's arrival at a device to the message at the same kind of subscriber.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::platform::{Endpoint, Platform, Timing};
use e2e::rig::{Broker, Listener};
use tempfile::TempDir;
use tokio::time::sleep;

use super::account::{Account, Row, Stretch};
use super::ours;
use super::thingsboard::{self, ThingsBoard};
use crate::gateway::{Gateway, Own};
use crate::places::Places;
use crate::plant::{Plant, Shape};
use crate::{cpu, memory};

/// Longest wait until every device has been heard of; longest wait for a read's message.
const PATIENCE: Duration = Duration::from_secs(60);
/// A message later than this is lost for anybody who waits for it.
const LOST_AFTER: Duration = Duration::from_secs(5);
/// Least pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Whose gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose {
    Ours,
    ThingsBoards,
}

/// What is read, how often.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) shape: Shape,
    pub(super) registers: u16,
    pub(super) period: Duration,
}

/// What a stretch cost and brought.
#[derive(Debug, Clone)]
pub(super) struct Measured {
    pub(super) from: Instant,
    pub(super) to: Instant,
    /// Values heard per second.
    pub(super) points_per_s: f64,
    /// Of each process, percent of one core; gateway first, then the driver if there is one.
    pub(super) cpu: Vec<f64>,
    /// Of each process at the end, MiB.
    pub(super) memory: Vec<f64>,
    pub(super) stretch: Stretch,
}

/// Everything, running. The order is that in which it ends.
pub(super) struct Site {
    running: Running,
    listener: Listener,
    account: Account,
    pub(super) plant: Plant,
    _platform: Option<Platform>,
    _broker: Broker,
    _dir: TempDir,
}

enum Running {
    Ours(Box<Gateway>),
    ThingsBoards(Box<ThingsBoard>),
}

impl Site {
    /// Starts everything and waits until every device has been heard of.
    pub(super) async fn start(places: &Places, whose: Whose, field: Field) -> Result<Self> {
        let dir = TempDir::with_prefix("bench-broker-").context("making a temporary directory")?;
        let broker = Broker::start(dir.path());
        let plant = Plant::start(field.shape)?;
        let (running, platform, listener) = match whose {
            Whose::Ours => {
                let known = ours::known(plant.len(), field.registers);
                let platform = Platform::start(Endpoint::local(broker.port), Timing::default(), known);
                let listener = Listener::start(broker.port, &[ours::FILTER], |_, _| None);
                let toml = ours::field_toml(&plant, field.registers, field.period);
                let (program, driver) = (places.program("sagoo-edge")?, places.program("driver-modbus")?);
                let mut gateway = Gateway::prepare(&program, &driver, &Own::local(broker.port), &toml)?;
                gateway.start()?;
                (Running::Ours(Box::new(gateway)), Some(platform), listener)
            }
            Whose::ThingsBoards => {
                let listener = Listener::start(broker.port, &[thingsboard::FILTER], thingsboard::answer);
                let peer = ThingsBoard::start(places, &plant, field.registers, field.period, broker.port)?;
                (Running::ThingsBoards(Box::new(peer)), None, listener)
            }
        };
        let mut site = Self {
            running,
            listener,
            account: Account::default(),
            plant,
            _platform: platform,
            _broker: broker,
            _dir: dir,
        };
        site.until_all_are_heard().await?;
        Ok(site)
    }

    /// Measures a stretch, then waits for the messages of its last reads.
    pub(super) async fn measure(&mut self, length: Duration) -> Result<Measured> {
        self.listen();
        let pids = self.pids()?;
        let points = self.account.points();
        let used = |pids: &[u32]| pids.iter().map(|pid| cpu::used(*pid)).collect::<Result<Vec<f64>>>();
        let (from, before) = (Instant::now(), used(&pids)?);
        while from.elapsed() < length {
            sleep(LOOK.min(length)).await;
            self.listen();
        }
        let (to, after) = (Instant::now(), used(&pids)?);
        let points = self.account.points() - points;
        let memory = pids.iter().map(|pid| memory::resident(*pid)).collect::<Result<Vec<f64>>>()?;
        while to.elapsed() < LOST_AFTER && self.account.stretch(&self.plant, from, to).lost > 0 {
            sleep(LOOK).await;
            self.listen();
        }
        let seconds = (to - from).as_secs_f64();
        Ok(Measured {
            from,
            to,
            points_per_s: points as f64 / seconds,
            cpu: before.iter().zip(after).map(|(before, after)| (after - before) / seconds * 1e2).collect(),
            memory,
            stretch: self.account.stretch(&self.plant, from, to),
        })
    }

    /// Values heard that another register or another read had.
    pub(super) fn wrong(&self) -> u64 {
        self.account.wrong()
    }

    /// Samples since the start that a newer one of the same device took along; ours only.
    pub(super) async fn merged(&self) -> Result<Option<u64>> {
        match &self.running {
            Running::Ours(gateway) => Ok(Some(gateway.ledgers(&["merged"]).await?[0])),
            Running::ThingsBoards(_) => Ok(None),
        }
    }

    /// Ends the gateway in an orderly way, then the rest.
    pub(super) async fn stop(self) -> Result<()> {
        match self.running {
            Running::Ours(mut gateway) => gateway.stop().await,
            Running::ThingsBoards(peer) => peer.stop().await,
        }
    }

    async fn until_all_are_heard(&mut self) -> Result<()> {
        let began = Instant::now();
        while !(0..self.plant.len()).all(|device| self.account.knows(device)) {
            if began.elapsed() > PATIENCE {
                let heard = (0..self.plant.len()).filter(|device| self.account.knows(*device)).count();
                let tail = match &self.running {
                    Running::Ours(gateway) => gateway.tail(),
                    Running::ThingsBoards(peer) => peer.tail(),
                };
                bail!(
                    "only {heard} of {} devices were heard of within {PATIENCE:?}\n{tail}",
                    self.plant.len()
                );
            }
            sleep(LOOK).await;
            self.listen();
        }
        Ok(())
    }

    fn listen(&mut self) {
        let rows: fn(&str, &[u8]) -> Vec<Row> = match self.running {
            Running::Ours(_) => ours::rows,
            Running::ThingsBoards(_) => thingsboard::rows,
        };
        for heard in self.listener.heard() {
            for row in rows(&heard.topic, &heard.payload) {
                self.account.take(heard.at, &row);
            }
        }
    }

    fn pids(&self) -> Result<Vec<u32>> {
        match &self.running {
            Running::Ours(gateway) => {
                let driver = gateway.driver_pid().context("the driver runs")?;
                Ok(vec![gateway.pid().context("the gateway runs")?, driver])
            }
            Running::ThingsBoards(peer) => Ok(vec![peer.pid()?]),
        }
    }
}
