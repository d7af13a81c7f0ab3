//! Start, run and stop of the demo.
//!
//! Always true: stopping goes down the path. First nobody commands and the devices end between two
//! requests, then the gateway gets time to bring what it has to the platform, and only then it stops;
//! so that a sample missing at the end is lost and not merely on its way.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value as Json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

use super::account::{Arrived, COUNTER, Verdict};
use super::broker;
use super::caller::{Caller, Target};
use super::field::{CHARACTERS, Device};
use super::gateway::{Gateway, Status};
use super::options::Options;
use super::screen::Screen;
use super::site::{GATEWAY, PRODUCT, Site, device_key};
use super::view::{self, CommandLine, DeviceLine, LOG_LINES, Scene};
use crate::platform::{Endpoint, KnownDevice, Platform, Row, Timing, Tsl};

/// One frame.
const FRAME: Duration = Duration::from_millis(100);
/// The path looks alive this long after the last acknowledgement.
const STILL: Duration = Duration::from_millis(1_500);
/// The gateway is asked this often.
const ASK_EVERY: Duration = Duration::from_millis(500);
/// It must answer its command line by then.
const UP_WITHIN: Duration = Duration::from_secs(20);
/// At the end: time for what was read to reach the platform.
const DRAIN: Duration = Duration::from_secs(5);
/// A command nobody answers ends after this (the real platform waits 45 s).
const CALL: Duration = Duration::from_secs(10);
/// The one finding that is not the gateway's: rumqttd hands a message over with the subscriber's QoS
/// instead of the sender's. The end-to-end cases judge the QoS, with mosquitto.
const BROKERS_DOING: &str = "QoS 2, not 1";
/// Findings of the platform told at the end; the rest is counted.
const SHOWN_HARMS: usize = 5;
/// Log lines shown when the gateway ends by itself.
const LAST_WORDS: usize = 12;

/// Runs the demo; true if nothing was lost.
///
/// # Errors
/// What kept it from running, with the way out.
pub async fn show(options: Options) -> anyhow::Result<bool> {
    let mut signals = Signals::listen()?;
    let mut show = Show::start(options).await?;
    let mut screen = Screen::open();
    let ran = show.run(&screen, &mut signals).await;
    screen.close();
    let ended = match ran {
        Ok(()) => tokio::select! {
            verdict = show.end(&screen) => verdict,
            () = signals.any() => bail!("stopped while it was stopping; nothing is left running"),
        },
        Err(error) => Err(error),
    };
    let good = ended.as_ref().is_ok_and(|verdict| verdict.objections().is_empty());
    if let Ok(verdict) = &ended {
        verdict.lines().iter().for_each(|line| screen.print(line));
    }
    if !good {
        drop(show.gateway);
        screen.print(&format!("left for a look: {}", show.site.keep().display()));
    }
    ended.map(|_| good)
}

/// What ends it from outside.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("listening to signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}

struct Show {
    // dropped in this order: the gateway first, its folder last
    gateway: Gateway,
    caller: Option<Caller>,
    devices: Vec<Device>,
    platform: Arc<Platform>,
    site: Site,
    started: Instant,
    duration: Option<Duration>,
    status: Option<Status>,
    commands: Vec<CommandLine>,
    arrived: BTreeMap<String, Arrived>,
    last_row: Option<(Instant, String)>,
}

impl Show {
    async fn start(options: Options) -> anyhow::Result<Self> {
        let programs = programs()?;
        let mut devices = Vec::new();
        for character in CHARACTERS {
            devices.push(Device::start(character, &programs).await?);
        }
        let port = broker::start().await?;
        let platform = Arc::new(platform(port).await?);
        let site = Site::build(port, &programs, &devices)?;
        let gateway = Gateway::start(&programs.join("sagoo-edge"), &site.config(), &site.log())?;
        let started = Instant::now();
        let steady = devices.iter().filter(|device| !device.character.dies);
        let targets =
            steady.map(|d| Target { name: d.character.name, setpoint: d.setpoint() }).collect::<Vec<_>>();
        let caller = Some(Caller::start(Arc::clone(&platform), targets, started));
        Ok(Self {
            gateway,
            caller,
            devices,
            platform,
            site,
            started,
            duration: options.duration,
            status: None,
            commands: Vec::new(),
            arrived: BTreeMap::new(),
            last_row: None,
        })
    }

    /// Until its time is over or a signal comes.
    async fn run(&mut self, screen: &Screen, signals: &mut Signals) -> anyhow::Result<()> {
        let mut frames = tokio::time::interval(FRAME);
        frames.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let (mut asked, mut moved) = (self.started, None);
        let (mut printed, mut acknowledged, mut frame) = (0, 0, 0);
        while self.duration.is_none_or(|duration| self.started.elapsed() < duration) {
            tokio::select! {
                _ = frames.tick() => {}
                () = signals.any() => break,
            }
            if asked.elapsed() >= ASK_EVERY {
                asked = Instant::now();
                self.ask().await?;
            }
            self.look();
            let news = self.hear();
            if screen.draws() {
                frame += 1;
                let now = self.status.as_ref().map_or(0, |status| status.totals.acknowledged);
                if now > acknowledged {
                    (acknowledged, moved) = (now, Some(Instant::now()));
                }
                let flows = moved.is_some_and(|at: Instant| at.elapsed() < STILL);
                screen.draw(&view::frame(&self.scene(flows, frame), screen.paint));
            } else {
                news.iter().for_each(|command| screen.print(&view::command_line(command)));
                if self.started.elapsed().as_secs() > printed {
                    printed = self.started.elapsed().as_secs();
                    screen.print(&view::line(&self.scene(false, 0)));
                }
            }
        }
        Ok(())
    }

    /// Asks the gateway for its status; that it is not up yet is no error for a while.
    async fn ask(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.gateway.ended() {
            let words = self.gateway.last_lines(LAST_WORDS).join("\n  ");
            bail!("the gateway ended by itself ({status}):\n  {words}");
        }
        match self.gateway.status().await {
            Ok(status) => self.status = Some(status),
            Err(error) if self.status.is_none() && self.started.elapsed() < UP_WITHIN => drop(error),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes what the platform stored since the last look.
    fn look(&mut self) {
        let known = &self.last_row;
        let new: Vec<Row> = self.platform.look(|core| {
            let unseen = |row: &&Row| {
                known.as_ref().is_none_or(|(at, id)| *at != row.arrived || *id != row.message_id)
            };
            core.rows.iter().rev().take_while(unseen).cloned().collect()
        });
        if let Some(newest) = new.first() {
            self.last_row = Some((newest.arrived, newest.message_id.clone()));
        }
        for row in new.iter().rev() {
            self.arrived.entry(row.device.clone()).or_default().take(row);
        }
    }

    /// Takes what the caller has to tell, and returns the outcomes among it.
    fn hear(&mut self) -> Vec<CommandLine> {
        let mut news = Vec::new();
        if let Some(caller) = &mut self.caller {
            drain(&mut caller.news, &mut news);
        }
        self.note(&news);
        news.retain(|command| command.outcome.is_some());
        news
    }

    fn note(&mut self, news: &[CommandLine]) {
        for command in news {
            match self.commands.iter_mut().find(|known| known.at == command.at) {
                Some(known) => *known = command.clone(),
                None => self.commands.push(command.clone()),
            }
        }
    }

    /// Down the path, then the verdict.
    async fn end(&mut self, screen: &Screen) -> anyhow::Result<Verdict> {
        screen.print("stopping: commands, devices, then the gateway");
        if let Some(caller) = self.caller.take() {
            let mut news = Vec::new();
            drain(&mut caller.end().await, &mut news);
            self.note(&news);
        }
        for device in &mut self.devices {
            device.stop().await;
        }
        let deadline = Instant::now() + DRAIN;
        loop {
            self.ask().await?;
            self.look();
            if self.is_drained() || Instant::now() > deadline {
                break;
            }
            tokio::time::sleep(FRAME).await;
        }
        let exit = self.gateway.stop().await?;
        self.look();
        let mut verdict = self.verdict();
        if !exit.success() {
            verdict.troubles.push(format!("the gateway did not stop cleanly: {exit}"));
        }
        Ok(verdict)
    }

    fn is_drained(&self) -> bool {
        let quiet = |status: &Status| status.totals.waiting == 0 && status.northbound.in_flight == 0;
        let missing = |device: &Device| self.of(device).map_or(0, |a| a.missing(device.served().into()));
        self.status.as_ref().is_some_and(quiet) && self.devices.iter().all(|device| missing(device) == 0)
    }

    fn of(&self, device: &Device) -> Option<&Arrived> {
        self.arrived.get(&device_key(device.character.name))
    }

    fn verdict(&self) -> Verdict {
        let status = self.status.clone().unwrap_or_default();
        let mut verdict = Verdict {
            ledger: status.totals,
            sent: status.northbound.sent_samples,
            commands: self.commands.len() as u64,
            confirmed: self.commands.iter().filter(|c| matches!(c.outcome, Some(Ok(_)))).count() as u64,
            ..Verdict::default()
        };
        let nothing = Arrived::default();
        for device in &self.devices {
            let (served, arrived) = (u64::from(device.served()), self.of(device).unwrap_or(&nothing));
            verdict.served += served;
            verdict.arrived += arrived.values;
            verdict.missing += arrived.missing(served);
            verdict.twice += arrived.twice;
            verdict.late += arrived.late;
            if arrived.values == 0 {
                verdict.troubles.push(format!("nothing arrived from {}", device.character.name));
            }
        }
        let restarts: u32 = status.drivers.iter().map(|driver| driver.restarts).sum();
        if restarts > 0 {
            verdict.troubles.push(format!("the driver was restarted {restarts} times"));
        }
        let violations = self.platform.violations();
        let harms: Vec<_> = violations.iter().filter(|violation| violation.why != BROKERS_DOING).collect();
        for harm in harms.iter().take(SHOWN_HARMS) {
            verdict.troubles.push(format!("a message would have harmed the real platform: {}", harm.why));
        }
        if harms.len() > SHOWN_HARMS {
            verdict.troubles.push(format!("and {} more such messages", harms.len() - SHOWN_HARMS));
        }
        let overwritten = self.platform.look(|core| core.lost.len());
        if overwritten > 0 {
            verdict.troubles.push(format!("the platform's storage lost {overwritten} rows"));
        }
        verdict
    }

    fn scene(&self, flows: bool, frame: usize) -> Scene {
        let status = self.status.clone().unwrap_or_default();
        let newest = self.commands.len().saturating_sub(view::COMMANDS);
        Scene {
            elapsed: self.started.elapsed(),
            duration: self.duration,
            connected: status.northbound.connected,
            ledger: status.totals,
            sent: status.northbound.sent_samples,
            devices: self.devices.iter().map(|device| self.device_line(device, &status)).collect(),
            commands: self.commands[newest..].to_vec(),
            log: self.gateway.last_lines(LOG_LINES),
            flows,
            frame,
        }
    }

    fn device_line(&self, device: &Device, status: &Status) -> DeviceLine {
        let name = device.character.name;
        let seen = status.devices.iter().find(|seen| seen.name == name);
        let arrived = self.of(device);
        let value = |key: &str, unit: &str, decimals: usize| match arrived
            .and_then(|arrived| arrived.latest.get(key))
            .and_then(Json::as_f64)
        {
            Some(value) => format!("{value:.decimals$}{unit}"),
            None => String::new(),
        };
        DeviceLine {
            name: name.to_owned(),
            habit: device.character.habit.to_owned(),
            online: seen.is_some_and(|seen| seen.online),
            reason: seen.map(|seen| seen.reason.clone()).unwrap_or_default(),
            values: [
                value(COUNTER, "", 0),
                value("temperature", " °C", 2),
                value("load", " %", 1),
                value("setpoint", " °C", 1),
            ],
            age: arrived.and_then(|arrived| arrived.at).map(|at| at.elapsed()),
        }
    }
}

fn drain(from: &mut mpsc::Receiver<CommandLine>, to: &mut Vec<CommandLine>) {
    while let Ok(command) = from.try_recv() {
        to.push(command);
    }
}

/// The folder of the real programs: where this one was built.
fn programs() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("where this program is")?;
    let folder = own.parent().context("a program is in a folder")?;
    for program in ["sagoo-edge", "driver-modbus"] {
        if !folder.join(program).is_file() {
            bail!("{program} is not in {}: build it with cargo build --workspace", folder.display());
        }
    }
    Ok(Path::to_owned(folder))
}

/// The simulated platform, which knows the gateway and its three devices.
async fn platform(port: u16) -> anyhow::Result<Platform> {
    let (product_key, device_key_of_gateway) = GATEWAY;
    let mut known = vec![KnownDevice::new(product_key, device_key_of_gateway)];
    known.extend(CHARACTERS.map(|character| {
        KnownDevice::new(PRODUCT, &device_key(character.name))
            .property(COUNTER, Tsl::Long)
            .property("temperature", Tsl::Float(2))
            .property("load", Tsl::Float(1))
            .property("setpoint", Tsl::Float(1))
    }));
    let timing = Timing { call: CALL, ..Timing::default() };
    let endpoint = Endpoint { tells_connections: false, ..Endpoint::local(port) };
    let start = move || Platform::start(endpoint, timing, known);
    tokio::task::spawn_blocking(start).await.context("starting the simulated platform")
}
