//! Somebody at the platform who sets a setpoint every few seconds and waits for the confirmation.
//!
//! Always true: one command at a time; it counts as confirmed only if the register of the device holds
//! the value by then.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::field::Setpoint;
use super::site::device_key;
use super::view::CommandLine;
use crate::platform::{Answered, Platform};

/// From one command to the next.
const EVERY: Duration = Duration::from_secs(10);
/// The first one comes sooner, so that a short show has one.
const FIRST_AFTER: Duration = Duration::from_secs(4);
/// How often it looks whether it is time or over.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// News the show has not looked at yet; the thread waits when it is full.
const NEWS: usize = 16;

/// A device whose setpoint may be set.
pub(super) struct Target {
    /// Name in the configuration.
    pub(super) name: &'static str,
    /// The register itself.
    pub(super) setpoint: Setpoint,
}

/// The running caller.
pub(super) struct Caller {
    /// Each command twice: when it goes down, and with its outcome.
    pub(super) news: mpsc::Receiver<CommandLine>,
    over: watch::Sender<bool>,
    thread: JoinHandle<()>,
}

impl Caller {
    /// Starts calling; `started` is the zero of the times it tells.
    pub(super) fn start(platform: Arc<Platform>, targets: Vec<Target>, started: Instant) -> Self {
        let (tell, news) = mpsc::channel(NEWS);
        let (over, is_over) = watch::channel(false);
        let thread = std::thread::spawn(move || call(&platform, &targets, started, &tell, &is_over));
        Self { news, over, thread }
    }

    /// No new command; returns once the last one has its outcome. The news stay readable.
    pub(super) async fn end(self) -> mpsc::Receiver<CommandLine> {
        self.over.send_replace(true);
        // A panic of the thread was printed, and its command stays without an outcome.
        let _ = tokio::task::spawn_blocking(move || self.thread.join()).await;
        self.news
    }
}

fn call(
    platform: &Platform,
    targets: &[Target],
    started: Instant,
    tell: &mpsc::Sender<CommandLine>,
    is_over: &watch::Receiver<bool>,
) {
    let mut next = started + FIRST_AFTER;
    for (round, target) in targets.iter().cycle().enumerate() {
        while Instant::now() < next || !platform.is_online(&device_key(target.name)) {
            if *is_over.borrow() {
                return;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        next = Instant::now() + EVERY;
        let tenths =
            target.setpoint.tenths() + if (round / targets.len()).is_multiple_of(2) { 5 } else { 15 } - 10;
        let degrees = f64::from(tenths) / 10.0;
        let mut line = CommandLine {
            at: started.elapsed(),
            what: format!("{} setpoint := {degrees:.1} °C", target.name),
            outcome: None,
        };
        if tell.blocking_send(line.clone()).is_err() {
            return;
        }
        let answered = platform.property_set(&device_key(target.name), &json!({ "setpoint": degrees }));
        line.outcome = Some(outcome(answered, target, tenths));
        if tell.blocking_send(line).is_err() {
            return;
        }
    }
}

fn outcome(answered: Answered, target: &Target, tenths: u16) -> Result<Duration, String> {
    match answered {
        Answered::Reply { after, .. } if target.setpoint.tenths() == tenths => Ok(after),
        Answered::Reply { .. } => Err("confirmed, but the register holds something else".to_owned()),
        Answered::Timeout => Err("not confirmed".to_owned()),
        Answered::Offline => Err("not sent, the device is offline".to_owned()),
    }
}
