//! All that would harm the real platform, from all who see a part of it: the platform its messages, the
//! broker how they are published and what is subscribed to, the gateway's log which devices were healthy.
//!
//! Always true: what cannot be known for certain is no harm: a device of which the gateway's log tells any
//! trouble, or that is not configured any more, may be silent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::{Value as Json, json};

use super::plan::{GATEWAY, Plan};
use super::subscriptions::{self, Keys};
use super::{Broker, Gateway};
use crate::platform::{Platform, describe};

/// What the log says of a driver whose devices cannot be healthy all the time.
const DRIVER_TROUBLE: [&str; 4] =
    ["driver is down", "driver stands still", "driver failed too often", "standby takes over"];

/// What a case has configured so far.
#[derive(Debug)]
pub(super) struct Watch {
    pardoned: Vec<String>,
    /// A mutex, because cases configure and ask from several threads.
    configured: Mutex<Configured>,
}

#[derive(Debug, Default)]
struct Configured {
    /// In the configuration that was written last, with the driver where the plan knows it.
    last: BTreeMap<String, Option<String>>,
    always: Option<BTreeSet<String>>,
    ever: BTreeSet<String>,
}

impl Watch {
    pub(super) fn new(plan: &Plan) -> Self {
        Self { pardoned: plan.pardoned.clone(), configured: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Configured> {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This is in the files from now on; what is no TOML is refused by the gateway, too.
    pub(super) fn configured(&self, plan: &Plan, field: &str) {
        let Some(mut keys) = device_keys(field) else { return };
        keys.insert(GATEWAY.to_owned());
        let driver = |key: &String| {
            plan.meters.iter().find(|meter| meter.name == *key).map(|meter| meter.driver.clone())
        };
        let mut configured = self.lock();
        configured.last = keys.iter().map(|key| (key.clone(), driver(key))).collect();
        configured.ever.extend(keys.iter().cloned());
        configured.always = Some(match configured.always.take() {
            Some(always) => always.intersection(&keys).cloned().collect(),
            None => keys,
        });
    }

    /// Everything that would have harmed the platform so far, for people.
    pub(super) fn harms(&self, platform: &Platform, broker: &Broker, gateway: &Gateway) -> Vec<String> {
        let pardoned = |why: &str| self.pardoned.iter().any(|words| why.contains(words.as_str()));
        let status = gateway.command(&["status"]).json;
        let (told, log) = (gateway.log(), broker.log());
        let violations: Vec<_> =
            platform.violations().into_iter().filter(|violation| !pardoned(&violation.why)).collect();
        let harm = (!violations.is_empty()).then(|| describe(&violations));
        let configured = self.lock();
        let silent = platform.silences().into_iter().filter_map(|silence| {
            let driver = configured.last.get(&silence.device)?;
            let healthy = !told.lines().any(|line| is_trouble(line, &silence.device, driver.as_deref()));
            healthy.then(|| format!("{:?} is healthy, and silent for {:?}", silence.device, silence.lasted))
        });
        let from_gateway = format!("Received PUBLISH from {GATEWAY} (");
        let careless = log
            .lines()
            .filter(|line| line.contains(&from_gateway) && !line.contains(", q1, r0, "))
            .map(|line| format!("not QoS 1, or retained: {line}"));
        let subscribed = subscriptions::complaints(&log, GATEWAY, &configured.keys(&status));
        harm.into_iter().chain(silent).chain(careless).chain(subscribed).collect()
    }
}

impl Configured {
    /// Whoever the platform is known to know was asked for on the connection there is now.
    fn keys(&self, status: &Json) -> Keys {
        let devices = status["devices"].as_array().into_iter().flatten();
        let asked = devices.filter(|device| device["platform"] == json!("known"));
        let now: BTreeSet<String> =
            asked.filter_map(|device| device["device_key"].as_str().map(str::to_owned)).collect();
        let ever = self.ever.union(&now).cloned().collect();
        Keys { always: self.always.clone().unwrap_or_default(), now, ever }
    }
}

/// Of all devices in these tables; `None`: no TOML.
fn device_keys(field: &str) -> Option<BTreeSet<String>> {
    let tables: toml::Table = field.parse().ok()?;
    let devices = tables.get("device").and_then(toml::Value::as_table).into_iter().flatten();
    let key = |device: &toml::Value| Some(device.get("sagoo")?.get("device_key")?.as_str()?.to_owned());
    Some(devices.filter_map(|(_, device)| key(device)).collect())
}

/// Whether a line of the gateway's log tells of something for which a device may be silent. Rigs name devices
/// as their keys.
fn is_trouble(line: &str, device: &str, driver: Option<&str>) -> bool {
    let names = |field: &str, name: &str| {
        let words = [format!("{field}={name}"), format!("{field}=\"{name}\"")];
        line.split_whitespace().any(|word| words.iter().any(|named| named == word))
    };
    let of_driver = || driver.is_none_or(|driver| names("driver", driver));
    (line.contains("device is offline") && names("device", device))
        || (DRIVER_TROUBLE.iter().any(|trouble| line.contains(trouble)) && of_driver())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_may_be_silent_for_trouble_of_its_own_or_its_drivers() {
        let offline =
            "2026-11-22T20:24:53.2Z  WARN modbus: device is offline connection=hall device=a error=x";
        assert!(is_trouble(offline, "a", Some("modbus")) && !is_trouble(offline, "b", Some("modbus")));
        let down = "2026-11-22T20:24:53.2Z ERROR app: driver is down driver=other retry_in_ms=1";
        assert!(is_trouble(down, "a", Some("other")) && !is_trouble(down, "a", Some("modbus")));
        assert!(is_trouble(down, "a", None), "whose driver nobody knows");
        assert!(!is_trouble("… INFO app: driver is configured driver=other", "a", None));
    }

    #[test]
    fn what_was_configured_decides_who_is_to_be_heard() {
        let plan = Plan::meters(&["a"]);
        let watch = Watch::new(&plan);
        let device = |name: &str| format!("[device.{name}]\nsagoo = {{ device_key = \"{name}\" }}\n");
        watch.configured(&plan, &[device("a"), device("b")].concat());
        watch.configured(&plan, "[device.");
        watch.configured(&plan, &[device("a"), device("c")].concat());
        let status = json!({"devices": [
            {"device_key": "c", "platform": "known"}, {"device_key": "a", "platform": "probing"}]});
        let configured = watch.lock();
        let keys = configured.keys(&status);
        let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect::<BTreeSet<_>>();
        assert_eq!(keys.always, set(&["a", GATEWAY]));
        assert_eq!(keys.now, set(&["c"]));
        assert_eq!(keys.ever, set(&["a", "b", "c", GATEWAY]));
        assert_eq!(configured.last["a"].as_deref(), Some("modbus"));
        assert_eq!((configured.last.get("b"), &configured.last["c"]), (None, &None));
    }
}
