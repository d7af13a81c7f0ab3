//! The safe subset (sagooiot.md §4.7): what a careful gateway never does, though the platform may survive it.
//!
//! Always true: pure; looks only at one message. What needs memory (spacing, key sets, repeated ids)
//! is in `core`.

use serde_json::{Map, Value as Json};

use super::envelope::field;
use super::judge::{Finding, Harm, Message, PACK_METHOD, PROPERTY_METHOD};
use super::registry::Registry;
use super::topic::{Address, Kind};

/// Seconds a device time may lie ahead of the platform's clock.
const CLOCK_AHEAD_S: i64 = 60;
/// 2020-01-01: a box without a clock would be before it.
const EARLIEST_TIME_S: i64 = 1_577_836_800;
/// JSON characters of an array or object that still fit the platform's column.
const LONGEST_JSON: usize = 150;

/// Everything careless about one message. `now` is Unix seconds.
pub(super) fn check(message: &Message, address: &Address, known: &Registry, now: i64) -> Vec<Finding> {
    let mut wrong = Wrong { findings: Vec::new(), now };
    wrong.unless(message.qos == 1, || format!("QoS {}, not 1", message.qos));
    wrong.unless(!message.retain, || "retained".to_owned());
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
        Kind::PackPost => wrong.pack(&params, known),
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
                self.unless(field(root, "code").is_some_and(Json::is_i64), || {
                    "code is not an integer".to_owned()
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

    fn pack(&mut self, params: &Map<String, Json>, known: &Registry) {
        for name in ["properties", "events"] {
            self.unless(params.get(name).is_some_and(Json::is_object), || {
                format!("params.{name} is not an object")
            });
        }
        let Some(list) = params.get("subDevices").and_then(Json::as_array) else {
            return self.unless(false, || "params.subDevices is not an array".to_owned());
        };
        for entry in list {
            let key = entry["identity"]["deviceKey"].as_str().unwrap_or_default();
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
        for (key, sent) in properties {
            let place = format!("{place}.{key}");
            let value = match sent {
                Json::Object(wrapped) => {
                    self.time(&place, wrapped.get("time").unwrap_or(&Json::Null));
                    wrapped.get("value").unwrap_or(&Json::Null)
                }
                bare => bare,
            };
            if value.is_array() || value.is_object() {
                let length = value.to_string().chars().count();
                self.unless(length <= LONGEST_JSON, || format!("{place}: {length} characters of JSON"));
            }
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
