//! Signs of life (sagooiot.md R6): the gateway and every healthy device are heard of often enough to stay
//! online, and one that is down is left out, so that it goes offline.
//!
//! ```text
//! heard, answered ──▶ owed: the next within a heartbeat ──▶ heard, answered …
//!        ▲                     │ not answered, or the connection ended: the sender may be asking
//!        └─────────────────────┘ whether anybody is there, and owes nothing until it is answered again
//! ```
//! Always true: pure; only posts count. That the gateway was silent is certain; whether a device was healthy
//! meanwhile is not known here, so its silences are noted for whoever knows ([`Silence`]).

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// What a busy machine adds to a heartbeat.
const SLACK: Duration = Duration::from_secs(3);
/// Longest a post that was under way when a device was found to be down may take to arrive.
const UNDER_WAY: Duration = Duration::from_secs(1);
/// A question about a device is no heartbeat if one of its rows follows as soon as this.
const ROW_FOLLOWS: Duration = Duration::from_secs(3);

/// A device of which nothing was heard for too long, healthy or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Its key.
    pub device: String,
    /// For how long.
    pub lasted: Duration,
}

/// What a post tells, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// The key in its topic.
    pub(super) own: String,
    /// The device keys it touches, and whether it says something of them.
    pub(super) about: BTreeMap<String, bool>,
    pub(super) answer: Answer,
}

/// What became of an acknowledgement.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is none: nobody is known by this key, or it is not wanted.
    #[default]
    None,
    Given,
    /// The case took it away, or bent it.
    Taken,
}

#[derive(Debug)]
struct Down {
    since: Instant,
    /// A post that said nothing of it, and no row has come since.
    empty: Option<Instant>,
}

/// Who was heard of when.
#[derive(Debug)]
pub(super) struct Pulse {
    gateway: String,
    heartbeat: Duration,
    owed_since: HashMap<String, Instant>,
    silences: Vec<Silence>,
    down: HashMap<String, Down>,
    /// What is sent may not arrive, so that nothing follows from silence.
    deaf: bool,
}

impl Pulse {
    pub(super) fn new(gateway: &str, heartbeat: Duration) -> Self {
        let gateway = gateway.to_owned();
        let (owed_since, down) = (HashMap::new(), HashMap::new());
        Self { gateway, heartbeat, owed_since, silences: Vec::new(), down, deaf: false }
    }

    /// A post; returns what is certainly wrong.
    pub(super) fn told(&mut self, told: &Told, now: Instant) -> Vec<String> {
        let mut wrong = self.of_those_down(told, now);
        let mut keys: Vec<&String> = told.about.keys().filter(|key| **key != told.own).collect();
        keys.push(&told.own);
        for key in keys {
            let since = match told.answer {
                Answer::Given => self.owed_since.insert(key.clone(), now),
                Answer::None | Answer::Taken => self.owed_since.remove(key),
            };
            let lasted = since.map(|since| now.saturating_duration_since(since)).unwrap_or_default();
            if self.is_too_long(lasted) {
                match *key == self.gateway {
                    true => wrong.push(self.silent(lasted)),
                    false => self.silences.push(Silence { device: key.clone(), lasted }),
                }
            }
        }
        let gateway_is_asking = told.own == self.gateway && told.answer == Answer::None;
        if told.answer == Answer::Taken || gateway_is_asking || self.deaf {
            self.owed_since.clear();
        }
        wrong
    }

    fn of_those_down(&mut self, told: &Told, now: Instant) -> Vec<String> {
        let mut wrong = self.overdue(now);
        for (key, down) in &mut self.down {
            match told.about.get(key) {
                Some(true) => down.empty = None,
                Some(false) if now > down.since + UNDER_WAY && !self.deaf => {
                    down.empty.get_or_insert(now);
                }
                _ => {}
            }
        }
        wrong.sort();
        wrong
    }

    /// Heartbeats of devices that are down; each is told once.
    fn overdue(&mut self, now: Instant) -> Vec<String> {
        let mut wrong = Vec::new();
        for (key, down) in &mut self.down {
            if let Some(at) = down.empty.take_if(|at| now > *at + ROW_FOLLOWS) {
                let since = at - down.since;
                wrong.push(format!("a sign of life of {key:?} {since:?} after it was known to be down"));
            }
        }
        wrong
    }

    /// What is certainly wrong if nothing comes until now.
    pub(super) fn settle(&mut self, now: Instant) -> Vec<String> {
        let mut wrong = self.overdue(now);
        let lasted = self.owed_since.get(&self.gateway).map(|since| now.saturating_duration_since(*since));
        if let Some(lasted) = lasted.filter(|lasted| self.is_too_long(*lasted)) {
            self.owed_since.remove(&self.gateway);
            wrong.push(self.silent(lasted));
        }
        wrong
    }

    /// Silences of devices, those that last included.
    pub(super) fn silences(&self, now: Instant) -> Vec<Silence> {
        let lasting = self.owed_since.iter().filter(|(key, _)| **key != self.gateway).map(|(key, since)| {
            Silence { device: key.clone(), lasted: now.saturating_duration_since(*since) }
        });
        let lasting = lasting.filter(|silence| self.is_too_long(silence.lasted));
        self.silences.iter().cloned().chain(lasting).collect()
    }

    /// Nobody owes anything until heard again.
    pub(super) fn connection_changed(&mut self) {
        self.owed_since.clear();
        self.down.values_mut().for_each(|down| down.empty = None);
    }

    /// The way to us takes messages from now on, or no longer.
    pub(super) fn set_deaf(&mut self, deaf: bool) {
        self.deaf = deaf;
        self.connection_changed();
    }

    /// The gateway knows that this device is down.
    pub(super) fn down(&mut self, device: &str, now: Instant) {
        self.down.insert(device.to_owned(), Down { since: now, empty: None });
    }

    /// It is not, or no longer for sure.
    pub(super) fn up(&mut self, device: &str) {
        self.down.remove(device);
    }

    fn is_too_long(&self, lasted: Duration) -> bool {
        lasted > self.heartbeat + SLACK
    }

    fn silent(&self, lasted: Duration) -> String {
        let Self { gateway, heartbeat, .. } = self;
        format!("nothing of {gateway:?} itself for {lasted:?}; a sign of life is due every {heartbeat:?}")
    }
}
