//! Decides about a downlink; asks nobody and holds no socket.
//!
//! Always true: an id is decided about once, also when it arrives twice; what is not configured is
//! refused before a device is asked, and so is what cannot be understood but for its id.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::Arc;

use super::super::payload::parse;
use super::super::topic::{self, Inbound};
use super::{BUSY, Job, Reply};
use crate::commands::{Action, Outcome, Verdict};
use crate::row::{GATEWAY, Identity};

/// Ids remembered so that a repeated downlink is ignored; the oldest is forgotten.
pub const MAX_REMEMBERED: usize = 1_024;

/// A device as the platform names it.
#[derive(Debug, Clone)]
struct Target {
    device: Arc<str>,
    /// Property key → point name.
    points: Arc<BTreeMap<String, String>>,
}

/// What to do with a downlink.
#[derive(Debug, PartialEq)]
pub(super) enum Decision {
    /// Nothing: it is no command.
    Ignore,
    /// Nothing but a line in the audit: its id came before, and is answered once.
    Repeat(Job),
    /// Say why in the log, nothing else.
    Complain(String),
    /// Carry it out.
    Execute(Job),
    /// It is decided without asking the device.
    Answer(Job, Outcome),
}

/// Decides; holds no socket.
#[derive(Debug)]
pub(super) struct Desk {
    targets: HashMap<String, Target>,
    pub(super) seen: HashSet<(String, String)>,
    pub(super) order: VecDeque<(String, String)>,
}

impl Desk {
    pub(super) fn new(
        gateway: &Identity,
        devices: impl IntoIterator<Item = (Arc<str>, Identity, Arc<BTreeMap<String, String>>)>,
    ) -> Self {
        let own = (GATEWAY.into(), gateway.clone(), Arc::default());
        let targets = std::iter::once(own).chain(devices);
        Self {
            targets: targets
                .map(|(device, identity, points)| {
                    (identity.device_key.to_string(), Target { device, points })
                })
                .collect(),
            seen: HashSet::new(),
            order: VecDeque::new(),
        }
    }

    pub(super) fn decide(&mut self, inbound: Inbound<'_>, payload: &[u8], busy: bool) -> Decision {
        match inbound {
            Inbound::PropertySet { product, device } => match parse::set(payload) {
                Ok(set) => self.set(product, device, set, busy),
                Err(odd) => {
                    let reply = Reply::Set { topic: topic::set_reply(product, device), values: Vec::new() };
                    self.malformed(device, Action::Write(Vec::new()), reply, &odd)
                }
            },
            Inbound::Service { product, device, function } => match parse::call(payload) {
                Ok(call) => self.call(product, device, function, call, busy),
                Err(odd) => {
                    let reply = Reply::Service { topic: topic::service_reply(product, device, function) };
                    let action = Action::Invoke { function: function.to_owned(), input: String::new() };
                    self.malformed(device, action, reply, &odd)
                }
            },
            Inbound::PropertyReply { .. } | Inbound::PackReply { .. } => Decision::Ignore,
        }
    }

    fn set(&mut self, product: &str, device: &str, set: parse::Set, busy: bool) -> Decision {
        let Some(target) = self.targets.get(device) else { return unconfigured(device) };
        let mut writes = Vec::with_capacity(set.params.len());
        let mut unknown = Vec::new();
        for (key, value) in &set.params {
            match target.points.get(key) {
                Some(point) => writes.push((point.clone(), value.clone())),
                None => unknown.push(key.as_str()),
            }
        }
        let refused = if busy {
            Some(BUSY.to_owned())
        } else if !unknown.is_empty() {
            Some(format!("the device has no property {}", unknown.join(", ")))
        } else if writes.is_empty() {
            Some("the command names no property".to_owned())
        } else {
            None
        };
        let reply = Reply::Set { topic: topic::set_reply(product, device), values: set.params };
        let job = Job { id: set.id.0, device: target.device.clone(), action: Action::Write(writes), reply };
        self.once(device, job, refused)
    }

    fn call(
        &mut self,
        product: &str,
        device: &str,
        function: &str,
        call: parse::Call,
        busy: bool,
    ) -> Decision {
        let Some(target) = self.targets.get(device) else { return unconfigured(device) };
        let action = Action::Invoke { function: function.to_owned(), input: call.params };
        let reply = Reply::Service { topic: topic::service_reply(product, device, function) };
        let job = Job { id: call.id.0, device: target.device.clone(), action, reply };
        self.once(device, job, busy.then(|| BUSY.to_owned()))
    }

    /// Refuses what says who asks but not what; who asks is told all the same.
    fn malformed(&mut self, device: &str, action: Action, reply: Reply, odd: &parse::Odd) -> Decision {
        let (Some(id), Some(target)) = (odd.id(), self.targets.get(device)) else {
            return Decision::Complain(odd.to_string());
        };
        let job = Job { id: id.to_owned(), device: target.device.clone(), action, reply };
        self.once(device, job, Some(odd.to_string()))
    }

    fn once(&mut self, device: &str, job: Job, refused: Option<String>) -> Decision {
        if !self.first_time(device, &job.id) {
            return Decision::Repeat(job);
        }
        match refused {
            Some(message) => Decision::Answer(job, Outcome::failed(Verdict::Refused, message)),
            None => Decision::Execute(job),
        }
    }

    pub(super) fn first_time(&mut self, device: &str, id: &str) -> bool {
        let key = (device.to_owned(), id.to_owned());
        if !self.seen.insert(key.clone()) {
            return false;
        }
        self.order.push_back(key);
        if self.order.len() > MAX_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        true
    }
}

fn unconfigured(device: &str) -> Decision {
    Decision::Complain(format!("device key {device} is not configured here"))
}
