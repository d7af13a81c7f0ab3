//! The safe subset (sagooiot.md §4.7): what a careful gateway never does, though the platform may survive it.
//!
//! ```text
//! R1  QoS 1, not retained, ack 1; what the gateway says of itself is not in its pack; one size limit
//! R3  keys that columns can be made of, and that stay apart there
//! R4  texts, arrays and objects that fit their column, no null, integer seconds
//! R8  a set_reply says 200, because the platform takes any for success
//! ```
//! Always true: pure; looks only at one message. What needs memory is in `core` (R2 who was asked for, R3
//! spacing and key sets), `again` (R5 repeated messages), `pulse` (R6 signs of life) and `calls` (R8 early and
//! second replies); R9 is in `judge`; R7, what is subscribed to, only the broker sees.

use std::collections::BTreeSet;

use serde_json::{Map, Value as Json};

use super::envelope::field;
use super::judge::{Finding, Harm, Message, PACK_METHOD, PROPERTY_METHOD};
use super::registry::Registry;
use super::topic::{Address, Kind};

/// Seconds a device time may lie ahead of the platform's clock.
const CLOCK_AHEAD_S: i64 = 60;
/// 2020-01-01: a box without a clock would be before it.
const EARLIEST_TIME_S: i64 = 1_577_836_800;
/// Characters of a text, or of the JSON of an array or object, that still fit the platform's column.
const LONGEST_CELL: usize = 150;
/// Bytes of a message that brokers take as they come (EMQX: 1 MB).
const LONGEST_MESSAGE: usize = 1 << 20;

/// Everything careless about one message. `now` is Unix seconds.
pub(super) fn check(message: &Message, address: &Address, known: &Registry, now: i64) -> Vec<Finding> {
    let mut wrong = Wrong { findings: Vec::new(), now };
    wrong.unless(message.qos == 1, || format!("QoS {}, not 1", message.qos));
    wrong.unless(!message.retain, || "retained".to_owned());
    let bytes = message.payload.len();
    wrong.unless(bytes <= LONGEST_MESSAGE, || format!("{bytes} bytes: brokers refuse it"));
    wrong.text(message);
    if let Some(device) = known.get(&address.device_key) {
        wrong.product(&address.device_key, &device.product_key, &address.product_key);
    }
    let Ok(Json::Object(root)) = serde_json::from_slice::<Json>(&message.payload) else {
        wrong.unless(false, || "not a JSON object".to_owned());
        return wrong.findings;
    };
    wrong.no_nulls("", &Json::Object(root.clone()));
    wrong.envelope(&root, &address.kind);
    let params = field(&root, "params").and_then(Json::as_object).cloned().unwrap_or_default();
    match &address.kind {
        Kind::PropertyPost => wrong.properties("params", &params),
        Kind::PackPost => wrong.pack(&address.device_key, &params, known),
        _ => {}
    }
    wrong.findings
}

struct Wrong {
    findings: Vec<Finding>,
    now: i64,
}

impl Wrong {
    fn unless(&mut self, fine: bool, why: impl FnOnce() -> String) {
        if !fine {
            self.findings.push(Finding { harm: Harm::Careless, why: why() });
        }
    }

    /// Says what never arrives in the database.
    fn lost_unless(&mut self, fine: bool, why: impl FnOnce() -> String) {
        if !fine {
            self.findings.push(Finding { harm: Harm::Loss, why: why() });
        }
    }

    fn text(&mut self, message: &Message) {
        let Ok(text) = std::str::from_utf8(&message.payload) else {
            return self.unless(false, || "not UTF-8".to_owned());
        };
        for (bad, name) in [('\\', "backslash"), ('\'', "single quote")] {
            self.unless(!text.contains(bad), || format!("a {name}: the platform strips or mangles it"));
        }
        self.unless(!text.chars().any(char::is_control), || "a control character".to_owned());
    }

    fn product(&mut self, device: &str, registered: &str, sent: &str) {
        self.unless(registered == sent, || {
            format!("product key {sent:?} of {device:?} is registered as {registered:?}")
        });
    }

    fn envelope(&mut self, root: &Map<String, Json>, kind: &Kind) {
        let text = |name: &str| field(root, name).and_then(Json::as_str).unwrap_or_default().to_owned();
        self.unless(!text("id").is_empty(), || "id is not a string that says something".to_owned());
        self.unless(text("version") == "1.0", || format!("version {:?}, not \"1.0\"", text("version")));
        let method = match kind {
            Kind::PropertyPost => PROPERTY_METHOD,
            Kind::PackPost => PACK_METHOD,
            Kind::SetReply | Kind::ServiceReply { .. } => {
                let code = field(root, "code").and_then(Json::as_i64);
                self.unless(code.is_some(), || "code is not an integer".to_owned());
                self.unless(*kind != Kind::SetReply || code == Some(200), || {
                    format!("set_reply with code {code:?}: the platform takes it for success")
                });
                return self.unless(field(root, "data").is_some_and(Json::is_object), || {
                    "data is not an object".to_owned()
                });
            }
            Kind::EventPost { .. } | Kind::ServiceEcho => return,
        };
        self.unless(text("method") == method, || format!("method {:?}, not {method:?}", text("method")));
        let ack = field(root, "sys").and_then(|sys| sys.get("ack")).and_then(Json::as_i64);
        self.unless(ack == Some(1), || "sys.ack is not 1: nobody will know whether it arrived".to_owned());
    }

    fn pack(&mut self, own: &str, params: &Map<String, Json>, known: &Registry) {
        for name in ["properties", "events"] {
            let said = params.get(name).and_then(Json::as_object);
            self.unless(said.is_some(), || format!("params.{name} is not an object"));
            self.lost_unless(said.is_none_or(Map::is_empty), || {
                format!("params.{name} of the sender itself in a pack: it is not stored")
            });
        }
        let Some(list) = params.get("subDevices").and_then(Json::as_array) else {
            return self.unless(false, || "params.subDevices is not an array".to_owned());
        };
        let key_of = |entry: &Json| entry["identity"]["deviceKey"].as_str().unwrap_or_default().to_owned();
        let own_entry = list.iter().any(|entry| key_of(entry) == own);
        self.unless(list.len() < 2 || !own_entry, || {
            format!("a pack of {own:?} about itself and about others")
        });
        for entry in list {
            let key = &key_of(entry);
            if let Some(device) = known.get(key) {
                let sent = entry["identity"]["productKey"].as_str().unwrap_or_default();
                self.product(key, &device.product_key, sent);
            }
            self.unless(entry["events"].is_object(), || format!("events of {key:?} is not an object"));
            match entry["properties"].as_object() {
                Some(properties) => self.properties(key, properties),
                None => self.unless(false, || format!("properties of {key:?} is not an object")),
            }
            for (name, node) in entry["events"].as_object().into_iter().flatten() {
                self.time(&format!("{key}.{name}"), &node["time"]);
            }
        }
    }

    fn properties(&mut self, place: &str, properties: &Map<String, Json>) {
        self.columns(place, properties);
        for (key, sent) in properties {
            let place = format!("{place}.{key}");
            let value = match sent {
                Json::Object(wrapped) => {
                    self.time(&place, wrapped.get("time").unwrap_or(&Json::Null));
                    wrapped.get("value").unwrap_or(&Json::Null)
                }
                bare => bare,
            };
            let length = match value {
                Json::String(text) => text.chars().count(),
                Json::Array(_) | Json::Object(_) => value.to_string().chars().count(),
                _ => 0,
            };
            self.unless(length <= LONGEST_CELL, || format!("{place}: {length} characters do not fit"));
        }
    }

    /// Each key becomes the columns `p_<key>` and `p_<key>_time`, in small letters.
    fn columns(&mut self, place: &str, properties: &Map<String, Json>) {
        let mut columns = BTreeSet::new();
        for key in properties.keys() {
            let small = key.to_lowercase();
            let first = small.starts_with(|c: char| c.is_ascii_lowercase() || c == '_');
            let rest = small.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            self.unless(first && rest && small != "ts", || {
                format!("{place}: {key:?} is no key a column can be made of")
            });
            let apart = [columns.insert(format!("{small}_time")), columns.insert(small)];
            self.unless(apart == [true, true], || {
                format!("{place}: {key:?} and another key would share a column")
            });
        }
    }

    fn time(&mut self, place: &str, time: &Json) {
        let fine =
            time.as_i64().is_some_and(|time| (EARLIEST_TIME_S..=self.now + CLOCK_AHEAD_S).contains(&time));
        self.unless(fine, || format!("{place}: time {time} is not an integer of seconds up to now"));
    }

    fn no_nulls(&mut self, place: &str, value: &Json) {
        match value {
            Json::Null => self.unless(false, || format!("null at {place}")),
            Json::Array(list) => list.iter().for_each(|value| self.no_nulls(place, value)),
            Json::Object(map) => {
                map.iter().for_each(|(key, value)| self.no_nulls(&format!("{place}/{key}"), value));
            }
            _ => {}
        }
    }
}
