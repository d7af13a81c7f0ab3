//! What a message does to the platform: the router's decisions and the handlers' traps, as one pure function.
//!
//! Always true: the answer depends only on the message and the devices known at that moment; effects
//! are in the order the platform has them; after a crash nothing more happens (sagooiot.md §3, §4).

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::careful;
use super::envelope::{self, Envelope, SubDevice};
use super::registry::{KnownDevice, Registry};
use super::topic::{Address, Kind};

/// `method` of a property report; anything else loses the storage batch.
pub(super) const PROPERTY_METHOD: &str = "thing.event.property.post";
/// `method` of a pack.
pub(super) const PACK_METHOD: &str = "thing.event.property.pack.post";

/// A message as it arrives from the broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Full topic.
    pub topic: String,
    /// Bytes.
    pub payload: Vec<u8>,
    /// 0, 1 or 2, as delivered.
    pub qos: u8,
    /// Set when the broker had kept it from before the subscription.
    pub retain: bool,
}

impl Message {
    /// A message as a careful gateway publishes it.
    pub fn new(topic: &str, payload: impl Into<Vec<u8>>) -> Self {
        Self { topic: topic.to_owned(), payload: payload.into(), qos: 1, retain: false }
    }

    /// The payload, for people.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// How a message harms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// The platform's process dies.
    Crash,
    /// The rows of every device in the same 100 ms are lost.
    Poison,
    /// One of 10 000 error slots is used up for good.
    ErrorSlot,
    /// Data is stored wrongly or not at all.
    Loss,
    /// Outside the safe subset (sagooiot.md §4.7): nothing yet, but one step from it.
    Careless,
}

/// One harm and its reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How.
    pub harm: Harm,
    /// Why.
    pub why: String,
}

/// One stored property.
#[derive(Debug, Clone, PartialEq)]
pub struct Cell {
    /// Converted to the thing model's type.
    pub value: Json,
    /// As it was sent.
    pub sent: Json,
    /// Unix seconds the gateway gave it; `None`: a bare value, the platform's clock is taken.
    pub time: Option<i64>,
}

/// What the platform does with a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// The device was heard of: its online time starts anew.
    Touch(String),
    /// One row for the storage batch.
    Store {
        /// Device key.
        device: String,
        /// Only keys of its thing model.
        cells: BTreeMap<String, Cell>,
    },
    /// A sub-device's event, logged.
    Event {
        /// Device key.
        device: String,
        /// Event key.
        name: String,
        /// Its outputs.
        value: Json,
        /// Unix seconds.
        time: i64,
    },
    /// An acknowledgement to publish.
    Ack {
        /// Where.
        topic: String,
        /// Body.
        body: Json,
    },
    /// A `set_reply` or a service reply.
    Reply {
        /// Its `id`.
        id: String,
        /// The whole body.
        body: Json,
    },
}

/// Everything a message does.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Judgement {
    /// In order.
    pub effects: Vec<Effect>,
    /// What is wrong with it.
    pub findings: Vec<Finding>,
    /// `id` of the envelope; empty when it could not be read.
    pub id: String,
}

impl Judgement {
    fn find(&mut self, harm: Harm, why: impl Into<String>) {
        self.findings.push(Finding { harm, why: why.into() });
    }
}

/// What `message` does to a platform that knows these devices. `now` is Unix seconds.
pub fn judge(message: &Message, known: &Registry, now: i64) -> Judgement {
    let mut judgement = Judgement::default();
    let Some(address) = Address::parse(&message.topic) else {
        return judgement;
    };
    if address.kind != Kind::ServiceEcho {
        judgement.findings = careful::check(message, &address, known, now);
    }
    if matches!(address.kind, Kind::ServiceReply { .. }) {
        // The router answers a service's caller before it looks at the device.
        reply(message, &mut judgement);
    }
    // An unknown or disabled device's own message is ignored without a trace.
    let Some(device) = known.get(&address.device_key).filter(|device| device.enabled) else {
        return judgement;
    };
    judgement.effects.push(Effect::Touch(address.device_key.clone()));
    match &address.kind {
        Kind::ServiceEcho | Kind::ServiceReply { .. } => {}
        Kind::SetReply => reply(message, &mut judgement),
        Kind::EventPost { event } => judgement.find(
            Harm::ErrorSlot,
            format!("direct event {event:?}: the open-source platform always fails on it; use a pack"),
        ),
        Kind::PropertyPost => property_post(message, &address, device, &mut judgement),
        Kind::PackPost => pack_post(message, &address, known, &mut judgement),
    }
    judgement
}

fn reply(message: &Message, judgement: &mut Judgement) {
    match serde_json::from_slice::<Json>(&message.payload) {
        Ok(body) => {
            let id = body.get("id").and_then(Json::as_str).unwrap_or_default().to_owned();
            judgement.id.clone_from(&id);
            judgement.effects.push(Effect::Reply { id, body });
        }
        Err(error) => judgement.find(Harm::ErrorSlot, format!("reply is not JSON: {error}")),
    }
}

fn property_post(message: &Message, address: &Address, device: &KnownDevice, judgement: &mut Judgement) {
    // Storage parses the original text, in parallel and whatever the handler says.
    if let Ok(envelope) = envelope::envelope(&message.text()) {
        judgement.id.clone_from(&envelope.id);
        store_property_post(&envelope, device, judgement);
    }
    // The handler deletes every backslash first.
    match envelope::envelope(&message.text().replace('\\', "")) {
        Err(why) => judgement.find(Harm::ErrorSlot, why),
        Ok(envelope) if envelope.params.is_empty() => judgement.find(Harm::ErrorSlot, "params is empty"),
        Ok(envelope) => acknowledge(&envelope, address, "property/post_reply", PROPERTY_METHOD, judgement),
    }
}

fn store_property_post(envelope: &Envelope, device: &KnownDevice, judgement: &mut Judgement) {
    if envelope.params.is_empty() {
        return;
    }
    match envelope.method.as_str() {
        PROPERTY_METHOD => {
            let cells = cells(device, &envelope.params, judgement);
            if cells.is_empty() {
                judgement.find(Harm::Poison, "no key of the thing model in params: VALUES ('ts',)");
            }
            judgement.effects.push(Effect::Store { device: device.device_key.clone(), cells });
        }
        PACK_METHOD => judgement.find(
            Harm::Crash,
            "pack method on property/post: unchecked type assertions run on the MQTT path",
        ),
        other => judgement.find(Harm::Poison, format!("method {other:?}: the property map stays empty")),
    }
}

fn pack_post(message: &Message, address: &Address, known: &Registry, judgement: &mut Judgement) {
    let parsed = envelope::envelope(&message.text().replace('\\', ""))
        .and_then(|envelope| Ok((envelope::pack(&envelope.params)?, envelope)));
    let (pack, envelope) = match parsed {
        Ok(parsed) => parsed,
        Err(why) => return judgement.find(Harm::ErrorSlot, why),
    };
    judgement.id.clone_from(&envelope.id);
    for entry in &pack.sub_devices {
        // A disabled sub-device is not filtered out here; only an unknown one is fatal.
        let Some(device) = known.get(&entry.device_key) else {
            return judgement.find(
                Harm::Crash,
                format!("unknown sub-device {:?} in a pack: nil dereference", entry.device_key),
            );
        };
        sub_device(entry, device, judgement);
    }
    acknowledge(&envelope, address, "property/pack/post_reply", PACK_METHOD, judgement);
}

fn sub_device(entry: &SubDevice, device: &KnownDevice, judgement: &mut Judgement) {
    let key = &device.device_key;
    judgement.effects.push(Effect::Touch(key.clone()));
    if !entry.properties.is_empty() {
        let cells = cells(device, &entry.properties, judgement);
        if cells.is_empty() {
            judgement.find(Harm::Loss, format!("no key of {key:?} is in its thing model: nothing is stored"));
        } else {
            judgement.effects.push(Effect::Store { device: key.clone(), cells });
        }
    }
    for event in &entry.events {
        judgement.effects.push(Effect::Event {
            device: key.clone(),
            name: event.name.clone(),
            value: Json::Object(event.value.clone()),
            time: event.time,
        });
    }
}

/// Keeps what the thing model knows, converted.
fn cells(
    device: &KnownDevice,
    properties: &Map<String, Json>,
    judgement: &mut Judgement,
) -> BTreeMap<String, Cell> {
    let mut cells = BTreeMap::new();
    for (key, sent) in properties {
        let Some(tsl) = device.properties.get(key) else { continue };
        let (value, time) = match sent {
            Json::Object(wrapped) => {
                let time = wrapped.get("time").and_then(Json::as_f64).map(|time| time as i64);
                let value = wrapped.get("value").filter(|value| !value.is_null());
                let (Some(value), Some(time)) = (value, time) else {
                    judgement.find(
                        Harm::Loss,
                        format!("{key}: {sent} needs a value and a number as time; it is lost"),
                    );
                    continue;
                };
                (value, Some(time))
            }
            bare => (bare, None),
        };
        if value.is_null() {
            judgement.find(Harm::Loss, format!("{key}: null is stored as ''"));
        }
        let converted = tsl.convert(value);
        if converted.as_str().is_some_and(|text| text.contains('\'')) {
            judgement.find(Harm::Poison, format!("{key}: a single quote in {converted} breaks the SQL"));
        }
        cells.insert(key.clone(), Cell { value: converted, sent: value.clone(), time });
    }
    cells
}

fn acknowledge(envelope: &Envelope, address: &Address, tail: &str, method: &str, judgement: &mut Judgement) {
    let fatal = |finding: &Finding| matches!(finding.harm, Harm::Crash | Harm::ErrorSlot);
    if envelope.ack != 1 || judgement.findings.iter().any(fatal) {
        return;
    }
    let topic = format!("/sys/{}/{}/thing/event/{tail}", address.product_key, address.device_key);
    let body = serde_json::json!({
        "code": 200, "data": {}, "id": envelope.id, "message": "success", "method": method, "version": "1.0",
    });
    judgement.effects.push(Effect::Ack { topic, body });
}
