//! The platform's memory: who is online, what was stored, which calls wait, and every harm done to it.
//!
//! Always true: no socket and no clock of its own, the caller brings both; everything kept is
//! bounded by [`KEEP`], the oldest goes first.

mod answers;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::again::Again;
use super::calls::{Answered, Call, Calls, Publish, Target};
use super::judge::{self, Effect, Finding, Harm, Judgement, Message};
use super::pulse::{Answer, Pulse, Silence, Told};
use super::registry::Registry;
use super::storage::{Row, Storage};
use super::timing::Timing;
use super::topic;

/// Entries kept of each kind: hours of a demo, far more than any case makes.
pub(super) const KEEP: usize = 200_000;
/// Rows of one device must be this far apart (design, `sagoo.row_spacing`), so that they never share a
/// storage window. As we see it: a sender that counts from our answer keeps it on any machine.
pub(super) const LEAST_SPACING: Duration = Duration::from_millis(250);
/// For this long a device's key set must stay what it is.
pub(super) const KEY_SET_REST: Duration = Duration::from_secs(1);

/// Something that would have harmed the real platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// How.
    pub kind: Harm,
    /// Of the message.
    pub topic: String,
    /// Of the message.
    pub payload: String,
    /// Why.
    pub why: String,
}

/// A message as it arrived.
#[derive(Debug, Clone, PartialEq)]
pub struct Arrival {
    /// When.
    pub at: Instant,
    /// What.
    pub message: Message,
    /// `id` of its envelope.
    pub id: String,
    /// It had come before, byte for byte.
    pub resent: bool,
}

/// An event out of a pack.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Device key.
    pub device: String,
    /// Event key.
    pub name: String,
    /// Its outputs.
    pub value: Json,
    /// Unix seconds.
    pub time: i64,
}

/// What happens to an acknowledgement on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mishap {
    /// It never arrives.
    Lost,
    /// It arrives so much later.
    Late(Duration),
    /// It arrives twice.
    Twice,
    /// Others arrive instead: for an id nobody used, the acknowledgement before once more, and the right id on
    /// the topic for the other form of message.
    Misplaced,
}

/// All of the platform but its socket.
#[derive(Debug)]
pub struct Core {
    /// Devices it knows.
    pub known: Registry,
    /// Stored rows, oldest first.
    pub rows: VecDeque<Row>,
    /// Rows that were lost, with the reason.
    pub lost: VecDeque<(Row, String)>,
    /// Events out of packs.
    pub events: VecDeque<Event>,
    /// Everything that arrived.
    pub arrivals: VecDeque<Arrival>,
    /// Acknowledgements published.
    pub acks: u64,
    /// Every harm.
    pub violations: Vec<Violation>,
    /// Set and service calls.
    pub calls: Calls,
    timing: Timing,
    storage: Storage,
    heard: HashMap<String, Instant>,
    /// Keys for which something on their own topic was acknowledged.
    answered_for: BTreeSet<String>,
    again: Again,
    pulse: Option<Pulse>,
    last_row: HashMap<String, (Instant, BTreeSet<String>)>,
    mishaps: VecDeque<Mishap>,
    /// What is in messages that are never answered.
    unanswered: Vec<String>,
    last_ack: Option<Publish>,
}

impl Core {
    /// A platform that knows these devices and has heard of none of them.
    pub fn new(known: Registry, timing: Timing) -> Self {
        Self {
            known,
            rows: VecDeque::new(),
            lost: VecDeque::new(),
            events: VecDeque::new(),
            arrivals: VecDeque::new(),
            acks: 0,
            violations: Vec::new(),
            calls: Calls::default(),
            timing,
            storage: Storage::default(),
            heard: HashMap::new(),
            answered_for: BTreeSet::new(),
            again: Again::new(timing.gateway.map(|gateway| gateway.ack_timeout)),
            pulse: timing
                .gateway
                .and_then(|gateway| Some(Pulse::new(gateway.device_key, gateway.heartbeat?))),
            last_row: HashMap::new(),
            mishaps: VecDeque::new(),
            unanswered: Vec::new(),
            last_ack: None,
        }
    }

    /// Takes a message; returns what the platform publishes in answer, and after how long. `unix_s` is the
    /// wall clock.
    pub fn receive(&mut self, message: Message, now: Instant, unix_s: i64) -> Vec<(Duration, Publish)> {
        self.settle(now);
        let Judgement { effects, findings, id } = judge::judge(&message, &self.known, unix_s);
        let poison = findings.iter().find(|finding| finding.harm == Harm::Poison).map(|f| f.why.clone());
        for Finding { harm, why } in findings {
            self.blame(harm, &message, why);
        }
        let (resent, wrong) = self.again.arrived(&message, &id, now);
        wrong.into_iter().for_each(|why| self.blame(Harm::Careless, &message, why));
        let own = topic::Address::parse(&message.topic).map(|address| address.device_key).unwrap_or_default();
        let mut told = Told { own: own.clone(), ..Told::default() };
        let mut out = Vec::new();
        for effect in effects {
            match effect {
                Effect::Touch(device) => {
                    if device != own && !self.answered_for.contains(&device) {
                        let why =
                            format!("{device:?} in a pack of {own:?}, and nobody was told that it is known");
                        self.blame(Harm::Careless, &message, why);
                    }
                    told.about.entry(device.clone()).or_insert(false);
                    self.heard.insert(device, now);
                }
                Effect::Store { device, cells } => {
                    told.about.insert(device.clone(), true);
                    let row = Row { device, message_id: id.clone(), arrived: now, cells, resent };
                    self.watch_spacing(&row, &message, now);
                    self.storage.gather(row, poison.clone());
                }
                Effect::Event { device, name, value, time } => {
                    told.about.insert(device.clone(), true);
                    push(&mut self.events, Event { device, name, value, time });
                }
                Effect::Ack { topic, body } => {
                    let text = message.text();
                    let mishap = match self.unanswered.iter().any(|part| text.contains(part)) {
                        true => Some(Mishap::Lost),
                        false => self.mishaps.pop_front(),
                    };
                    if !matches!(mishap, Some(Mishap::Lost | Mishap::Misplaced)) {
                        self.acks += 1;
                        self.answered_for.insert(own.clone());
                    }
                    told.answer = self.watch_answer(&id, mishap, now);
                    out.extend(self.acknowledge(topic, &body, mishap));
                }
                Effect::Reply { id, body } => {
                    if let Err(why) = self.calls.reply(&id, &message.topic, body, now) {
                        self.blame(Harm::ErrorSlot, &message, why);
                    }
                }
            }
        }
        self.watch_pulse(&told, &message, now);
        push(&mut self.arrivals, Arrival { at: now, message, id, resent });
        out
    }

    fn watch_pulse(&mut self, told: &Told, message: &Message, now: Instant) {
        let Some(pulse) = self.pulse.as_mut().filter(|_| message.topic.ends_with("/post")) else { return };
        for why in pulse.told(told, now) {
            self.blame(Harm::Careless, message, why);
        }
    }

    /// The gateway connected or its connection ended; or we were away and cannot know.
    pub fn connection_changed(&mut self) {
        self.again.connection_changed();
        self.pulse.iter_mut().for_each(Pulse::connection_changed);
    }

    /// Messages to us are taken on their way from now on, or no longer: only then is silence the sender's.
    pub fn set_deaf(&mut self, deaf: bool) {
        self.pulse.iter_mut().for_each(|pulse| pulse.set_deaf(deaf));
    }

    /// Whether a line of the broker's log is about a connection of the gateway.
    pub fn is_of_gateway(&self, line: &str) -> bool {
        let is_name = |word: &str| self.timing.gateway.is_some_and(|gateway| word == gateway.device_key);
        line.split([' ', ',', '.']).any(is_name)
    }

    /// A person asks the gateway to send this message once more.
    pub fn asked_for(&mut self, id: &str) {
        self.again.asked_for(id);
    }

    /// The gateway knows from now on whether the device is down.
    pub fn set_down(&mut self, device: &str, down: bool, now: Instant) {
        match &mut self.pulse {
            Some(pulse) if down => pulse.down(device, now),
            Some(pulse) => pulse.up(device),
            None => {}
        }
    }

    /// Devices of which nothing was heard for longer than a healthy one may be silent.
    pub fn silences(&self, now: Instant) -> Vec<Silence> {
        self.pulse.iter().flat_map(|pulse| pulse.silences(now)).collect()
    }

    /// Closes the storage window when its time is over, and notes what has not come in its time. Call before
    /// looking at `rows` and `violations`.
    pub fn settle(&mut self, now: Instant) {
        for why in self.pulse.iter_mut().flat_map(|pulse| pulse.settle(now)).collect::<Vec<_>>() {
            let topic = "signs of life".to_owned();
            self.violations.push(Violation { kind: Harm::Careless, topic, payload: String::new(), why });
        }
        let flushed = self.storage.flush(now);
        for row in flushed.rows {
            push(&mut self.rows, row);
        }
        for (row, why) in flushed.lost {
            // A resend that meets its own first copy overwrites it with the same row: no harm.
            if !(row.resent || self.rows.iter().rev().any(|kept| same_content(kept, &row))) {
                let topic = format!("storage of {:?}", row.device);
                let payload = format!("message {} with {:?}", row.message_id, row.cells);
                self.violations.push(Violation { kind: Harm::Loss, topic, payload, why: why.clone() });
            }
            push(&mut self.lost, (row, why));
        }
    }

    /// Whether the device was heard of within its online time.
    pub fn is_online(&self, device: &str, now: Instant) -> bool {
        self.heard.get(device).is_some_and(|heard| now < *heard + self.timing.online)
    }

    /// From now on messages with one of these texts in them are stored and never acknowledged.
    pub fn never_answer(&mut self, parts: &[&str]) {
        self.unanswered = parts.iter().map(|part| (*part).to_owned()).collect();
    }

    /// What happens to the next acknowledgements, one after the other; [`KEEP`] of them at most.
    pub fn mishaps(&mut self, mishaps: impl IntoIterator<Item = Mishap>) {
        self.mishaps = mishaps.into_iter().take(KEEP).collect();
    }

    /// Whether all mishaps have happened.
    pub fn mishaps_are_over(&self) -> bool {
        self.mishaps.is_empty()
    }

    /// A property set, if the platform would send it: the device is known, enabled and online.
    /// Only keys of its thing model go out.
    pub fn property_set(
        &mut self,
        device: &str,
        params: &Json,
        now: Instant,
    ) -> Result<(Publish, String), Answered> {
        let known = self.callable(device, now)?;
        let params: BTreeMap<&String, &Json> = params
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(key, _)| known.properties.contains_key(*key))
            .collect();
        let topic = topic::property_set(&known.product_key, device);
        let body = json!({"version": "1.0.0", "params": params, "method": "thing.service.property.set"});
        Ok(self.call(topic, body, Target::PropertySet, now))
    }

    /// A service call, if the platform would send it.
    pub fn service_call(
        &mut self,
        device: &str,
        function: &str,
        params: &Json,
        now: Instant,
    ) -> Result<(Publish, String), Answered> {
        let known = self.callable(device, now)?;
        let topic = topic::service(&known.product_key, device, function);
        let body =
            json!({"version": "1.0.0", "params": params, "method": format!("thing.service.{function}")});
        Ok(self.call(topic, body, Target::Service, now))
    }

    fn callable(&self, device: &str, now: Instant) -> Result<super::registry::KnownDevice, Answered> {
        let known = self.known.get(device).filter(|known| known.enabled);
        known.filter(|_| self.is_online(device, now)).cloned().ok_or(Answered::Offline)
    }

    fn call(&mut self, topic: String, mut body: Json, target: Target, now: Instant) -> (Publish, String) {
        let id: String = (0..32).map(|_| fastrand::alphanumeric().to_ascii_lowercase()).collect();
        body["id"] = json!(id);
        // A service's id is registered in time; a property set's only after a slow log write (R8).
        let registered = match target {
            Target::PropertySet => now + self.timing.registered_after,
            Target::Service => now,
        };
        let request = Publish { topic, body: body.to_string() };
        self.calls.register(&id, Call::new(request.clone(), now, registered, now + self.timing.call));
        (request, id)
    }

    fn watch_spacing(&mut self, row: &Row, message: &Message, now: Instant) {
        let keys: BTreeSet<String> = row.cells.keys().cloned().collect();
        let before = self.last_row.insert(row.device.clone(), (now, keys.clone()));
        let Some((at, keys_before)) = before else { return };
        let gap = now.saturating_duration_since(at);
        if gap < LEAST_SPACING {
            let why = format!("{gap:?} after the last row of {:?}; at least {LEAST_SPACING:?}", row.device);
            self.blame(Harm::Careless, message, why);
        }
        if gap < KEY_SET_REST && keys != keys_before {
            let why = format!("{:?} had the keys {keys_before:?} {gap:?} ago, now {keys:?}", row.device);
            self.blame(Harm::Careless, message, why);
        }
    }

    /// Notes a harm.
    pub fn blame(&mut self, kind: Harm, message: &Message, why: String) {
        let topic = message.topic.clone();
        self.violations.push(Violation { kind, topic, payload: message.text(), why });
    }
}

fn same_content(kept: &Row, row: &Row) -> bool {
    kept.message_id == row.message_id && kept.device == row.device
}

fn push<T>(kept: &mut VecDeque<T>, entry: T) {
    if kept.len() == KEEP {
        kept.pop_front();
    }
    kept.push_back(entry);
}
