//! What the gateway subscribed to on each of its connections, out of the broker's log (sagooiot.md R7).
//!
//! ```text
//! 1795961551: New client connected from 127.0.0.1:49724 as gw-1 (p2, c1, k30).
//! 1795961551: gw-1 1 /sys/+/meter-a/thing/service/+
//! 1795961551: Received PUBLISH from gw-1 (d0, q1, r0, m5, '/sys/meter/meter-a/thing/event/…', ... (143 bytes))
//! ```
//! Always true: pure. What is missing counts from the first message on that needs it, what is too much at
//! once; each is told once for a connection.

use std::collections::BTreeSet;

/// What follows `thing/` in the filters of a key: its commands, and the answers to what is sent under it.
const COMMANDS: [&str; 2] = ["service/+", "service/property/set"];
const ANSWERS: [&str; 2] = ["event/property/post_reply", "event/property/pack/post_reply"];

/// Device keys, by what is wanted for them.
#[derive(Debug, Clone, Default)]
pub(super) struct Keys {
    /// In every configuration there was: their commands are wanted on every connection.
    pub(super) always: BTreeSet<String>,
    /// In the one that runs: their commands are wanted on the last connection.
    pub(super) now: BTreeSet<String>,
    /// In any: nobody else is heard.
    pub(super) ever: BTreeSet<String>,
}

/// A filter of a device key.
#[derive(Debug, PartialEq, Eq)]
struct Filter<'l> {
    product: &'l str,
    device: &'l str,
    tail: &'l str,
}

/// One connection, up to the line that is looked at.
#[derive(Debug, Default)]
struct Connection<'l> {
    held: Vec<Filter<'l>>,
    /// Product and device keys under which something was published.
    published: BTreeSet<(&'l str, &'l str)>,
}

/// What is wrong with the subscriptions of this client; empty when all is well.
pub(super) fn complaints(log: &str, client: &str, keys: &Keys) -> Vec<String> {
    let connected = format!(" as {client} (");
    let published = format!("Received PUBLISH from {client} (");
    let mut wrong = BTreeSet::new();
    let (mut number, mut connection) = (0, Connection::default());
    for line in log.lines().filter_map(|line| Some(line.split_once(": ")?.1)) {
        let mut tell = |what: String| _ = wrong.insert(format!("connection {number}: {what}"));
        if line.starts_with("New client connected from ") && line.contains(&connected) {
            (number, connection) = (number + 1, Connection::default());
        } else if let Some(rest) = line.strip_prefix(&published) {
            let topic = rest.split('\'').nth(1).and_then(parts);
            topic.into_iter().for_each(|topic| connection.publishes(&topic, keys, &mut tell));
        } else if let Some((qos, filter)) = line.strip_prefix(client).and_then(subscription) {
            connection.subscribes(qos, filter, keys, &mut tell);
        }
    }
    for device in keys.now.iter().filter(|_| !connection.published.is_empty()) {
        let mut tell = |what: String| _ = wrong.insert(format!("connection {number}: {what}"));
        connection.must_hold(COMMANDS, None, device, &mut tell);
    }
    wrong.into_iter().collect()
}

impl<'l> Connection<'l> {
    fn publishes(&mut self, topic: &Filter<'l>, keys: &Keys, tell: &mut impl FnMut(String)) {
        let Filter { product, device, tail } = *topic;
        if !tail.ends_with("/post") || !self.published.insert((product, device)) {
            return;
        }
        self.must_hold(ANSWERS, Some(product), device, tell);
        if keys.always.contains(device) {
            self.must_hold(COMMANDS, Some(product), device, tell);
        }
    }

    fn must_hold(
        &self,
        tails: [&str; 2],
        product: Option<&str>,
        device: &str,
        tell: &mut impl FnMut(String),
    ) {
        for tail in tails {
            let fits = |held: &Filter<'_>| {
                held.product == "+" || product.is_none_or(|product| product == held.product)
            };
            let held = self.held.iter().any(|held| held.device == device && held.tail == tail && fits(held));
            if !held {
                tell(format!("not subscribed to {tail} of {device:?} in time"));
            }
        }
    }

    fn subscribes(&mut self, qos: &str, filter: &'l str, keys: &Keys, tell: &mut impl FnMut(String)) {
        if qos == "0" {
            tell(format!("{filter} with QoS 0: what is sent once may get lost"));
        }
        let one_key = |held: &Filter<'_>| {
            let known_tail = COMMANDS.contains(&held.tail) || ANSWERS.contains(&held.tail);
            known_tail && held.product != "#" && keys.ever.contains(held.device)
        };
        match parts(filter).filter(one_key) {
            Some(held) => self.held.push(held),
            None => tell(format!("{filter} is wider than what a device needs, or of nobody")),
        }
    }
}

/// ` 1 /sys/…` after the client's name.
fn subscription(rest: &str) -> Option<(&str, &str)> {
    let (qos, filter) = rest.strip_prefix(' ')?.split_once(' ')?;
    matches!(qos, "0" | "1" | "2").then_some((qos, filter))
}

/// `/sys/{product}/{device}/thing/{tail}`
fn parts(topic: &str) -> Option<Filter<'_>> {
    let mut parts = topic.strip_prefix("/sys/")?.splitn(3, '/');
    let (product, device) = (parts.next()?, parts.next()?);
    Some(Filter { product, device, tail: parts.next()?.strip_prefix("thing/")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONNECTED: &str = "New client connected from 127.0.0.1:49724 as gw-1 (p2, c1, k30).";

    fn subscribed(device: &str) -> Vec<String> {
        let tails = COMMANDS.iter().chain(&ANSWERS);
        tails.map(|tail| format!("gw-1 1 /sys/+/{device}/thing/{tail}")).collect()
    }

    fn published(device: &str) -> String {
        let topic = format!("/sys/meter/{device}/thing/event/property/pack/post");
        format!("Received PUBLISH from gw-1 (d0, q1, r0, m5, '{topic}', ... (143 bytes))")
    }

    fn judged(lines: &[String]) -> Vec<String> {
        let set = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
        let keys = Keys {
            always: set(&["gw-1", "a"]),
            now: set(&["gw-1", "a", "new"]),
            ever: set(&["gw-1", "a", "new", "old"]),
        };
        let log: String = lines.iter().map(|line| format!("1795961551: {line}\n")).collect();
        complaints(&log, "gw-1", &keys)
    }

    /// All that is wanted, then a message of each.
    fn fine() -> Vec<String> {
        let devices = ["gw-1", "a", "new"];
        let held = devices.iter().flat_map(|device| subscribed(device));
        [CONNECTED.to_owned()].into_iter().chain(held).chain(devices.map(published)).collect()
    }

    #[test]
    fn what_is_wanted_for_each_key_before_its_first_message_is_fine() {
        assert_eq!(judged(&fine()), Vec::<String>::new());
        let exact: Vec<_> = fine().iter().map(|line| line.replace("/+/", "/meter/")).collect();
        assert_eq!(judged(&exact), Vec::<String>::new(), "an exact product key will do");
        // Rows of a device that is gone need their answers, and nobody commands it.
        let old: Vec<_> = subscribed("old").split_off(2).into_iter().chain([published("old")]).collect();
        assert_eq!(judged(&[fine(), old].concat()), Vec::<String>::new());
        let mut others = fine();
        others.push("listener 0 #".to_owned());
        others.push("New client connected from 127.0.0.1:1 as gw-10 (p2, c1, k30).".to_owned());
        others.push("gw-10 0 /sys/#".to_owned());
        assert_eq!(judged(&others), Vec::<String>::new(), "other clients are not judged");
    }

    #[test]
    fn each_one_that_is_missing_is_told_on_every_connection() {
        for missing in 1..=12 {
            let mut lines = fine();
            let line = lines.remove(missing);
            let filter = line.split_once("/thing/").expect("a filter").1;
            for lines in [lines.clone(), [fine(), lines.clone()].concat()] {
                let told = judged(&lines);
                assert!(told.len() == 1 && told[0].contains(filter), "{line}: {told:?}");
            }
            // A new device came by a later configuration, so the connection before may lack its commands.
            let before = judged(&[lines, fine()].concat());
            assert_eq!(
                before.len(),
                usize::from(!(filter.starts_with("service") && missing > 8)),
                "{before:?}"
            );
        }
    }

    #[test]
    fn a_subscription_after_the_first_message_is_too_late_and_an_idle_connection_owes_none() {
        let mut late = fine();
        let filter = late.remove(3);
        late.push(filter);
        assert!(judged(&late)[0].contains("in time"), "{:?}", judged(&late));
        assert_eq!(judged(&[CONNECTED.to_owned()]), Vec::<String>::new(), "it was cut off at once");
        assert_eq!(judged(&[]), Vec::<String>::new());
    }

    #[test]
    fn what_is_wider_than_needed_or_may_get_lost_is_told() {
        for wide in [
            "#",
            "/sys/#",
            "/sys/+/+/thing/service/+",
            "/sys/+/a/#",
            "/sys/+/a/thing/service/#",
            "/sys/+/a/thing/event/+/post_reply",
            "/sys/+/stranger/thing/service/+",
            "/ota/device/upgrade/+/a",
        ] {
            let told = judged(&[fine(), vec![format!("gw-1 1 {wide}")]].concat());
            assert!(told.len() == 1 && told[0].contains("wider"), "{wide}: {told:?}");
        }
        let lossy: Vec<_> =
            fine().iter().map(|line| line.replacen("gw-1 1 /sys/+/a", "gw-1 0 /sys/+/a", 1)).collect();
        assert!(judged(&lossy).iter().all(|told| told.contains("QoS 0")) && judged(&lossy).len() == 4);
    }
}
