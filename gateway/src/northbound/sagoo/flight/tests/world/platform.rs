//! What the simulated platform makes of a message, and what would have harmed the real one.

use super::*;

impl World {
    /// sagooiot.md §3.2: what the platform does with a message, its traps included.
    pub(super) fn platform(&mut self, outgoing: &Outgoing) {
        let message: Json = serde_json::from_str(&outgoing.payload).unwrap();
        let id = message["id"].as_str().unwrap().to_owned();
        let key = outgoing.topic.split('/').nth(3).unwrap().to_owned();
        if !self.knows(&key) {
            return;
        }
        let packed = outgoing.topic.ends_with("pack/post");
        let kind = if packed { Kind::Pack } else { Kind::Property };
        let subs = message["params"]["subDevices"].as_array().cloned().unwrap_or_default();
        self.packs_of_many += usize::from(subs.len() > 1);
        let mut poisoned = false;
        for sub in &subs {
            let sub_key = sub["identity"]["deviceKey"].as_str().unwrap();
            assert!(self.knows(sub_key), "CRASH: {sub_key} is unknown to the platform");
            let device = sub_key.strip_suffix("-k").unwrap().to_owned();
            if let Some(number) = sub["events"]["trip"]["value"]["n"].as_i64() {
                let newest = self.newest_event.entry(device.clone()).or_insert(number);
                assert!(
                    (*newest..=*newest + 1).contains(&number),
                    "{sub_key}: event {number} after {newest}"
                );
                *newest = number;
            }
            if let Some(number) = sub["properties"]["k0"]["value"].as_i64() {
                poisoned |= self.weather.poisoned.contains(&(device.clone(), number));
                if self.letters.contains(&id) {
                    continue;
                }
                let newest = self.newest.entry(device.clone()).or_insert(number);
                let whole = self.weather.damaged.is_empty();
                let next = if whole { *newest + 1 } else { number.max(*newest) };
                let in_order = number == *newest || number == next;
                assert!(in_order || self.jumps, "{sub_key}: {number} after {newest}");
                *newest = number.max(*newest);
                self.arrived.entry((device, number)).or_insert(self.now);
                let second = &sub["properties"]["k1"];
                let (value, time) = (second["value"].as_i64(), second["time"].as_i64());
                assert_eq!(value, time, "a value of another time");
                // what changed in a damaged record only is told as it was before
                assert!(value == Some(number / 3) || !whole, "{sub_key}: {value:?} at {number}");
            }
        }
        poisoned |= self.weather.mute.contains(&id);
        if poisoned || self.percent(self.weather.lost_percent) {
            return;
        }
        let copies = 1 + u8::from(self.percent(self.weather.doubled_percent));
        for _ in 0..copies {
            let device = key.strip_suffix("-k").unwrap_or(&key);
            let slow = self.weather.slow.get(device).copied().unwrap_or_default();
            let latency =
                Duration::from_millis(self.rng.u64(1..if self.weather.fast { 6 } else { 400 })) + slow;
            self.at(self.now + latency, Happening::Acknowledged(self.session, kind, key.clone(), id.clone()));
        }
    }
}

/// Keys of the rows of a message, and the properties each says.
pub(super) fn rows_in(outgoing: &Outgoing, message: &Json) -> Vec<(String, BTreeSet<String>)> {
    let keys = |properties: &Json| properties.as_object().unwrap().keys().cloned().collect();
    if outgoing.topic.ends_with("pack/post") {
        let subs = message["params"]["subDevices"].as_array().unwrap();
        subs.iter()
            .map(|sub| (sub["identity"]["deviceKey"].as_str().unwrap().to_owned(), keys(&sub["properties"])))
            .collect()
    } else {
        vec![("gateway-k".into(), keys(&message["params"]))]
    }
}
