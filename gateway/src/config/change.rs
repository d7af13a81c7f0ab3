//! What a new configuration does to the one that runs, in words for people.
//!
//! Always true: no words mean no difference; a table is named as it stands in the files.

use std::collections::BTreeMap;

use super::types::Config;

/// What a new configuration cannot change in what runs already, one line each.
pub fn later(old: &Config, new: &Config) -> Vec<String> {
    let processes = |config: &Config| {
        let drivers = &config.drivers;
        (drivers.orphan_grace, drivers.user.clone(), drivers.memory_max, drivers.cpu_max)
    };
    let cases = [
        (
            old.drivers.run_dir != new.drivers.run_dir,
            "[drivers] run_dir takes effect when the gateway is started anew",
        ),
        (
            processes(old) != processes(new),
            "[drivers] orphan_grace, user, memory_max and cpu_max take effect for processes that start from now on",
        ),
        (old.buffer.dir != new.buffer.dir, "[buffer] dir: what waits in the old directory stays there"),
    ];
    cases.into_iter().filter(|(changed, _)| *changed).map(|(_, what)| what.to_owned()).collect()
}

/// One line per table that came, went or changed: `[device.meter-3a] is new`.
pub fn changes(old: &Config, new: &Config) -> Vec<String> {
    let sections = [
        ("gateway", old.gateway != new.gateway),
        ("sagoo", old.sagoo != new.sagoo),
        ("buffer", old.buffer != new.buffer),
        ("drivers", old.drivers != new.drivers),
        ("control", old.control != new.control),
        ("metrics", old.metrics != new.metrics),
    ];
    let changed = sections.into_iter().filter(|(_, changed)| *changed);
    let mut lines: Vec<String> = changed.map(|(section, _)| format!("[{section}] changed")).collect();
    lines.extend(entries("connection", &old.connections, &new.connections));
    lines.extend(entries("model", &old.models, &new.models));
    lines.extend(entries("device", &old.devices, &new.devices));
    lines
}

fn entries<T: PartialEq>(kind: &str, old: &BTreeMap<String, T>, new: &BTreeMap<String, T>) -> Vec<String> {
    let gone = old.keys().filter(|name| !new.contains_key(*name)).map(|name| (name, "is gone"));
    let came = new.iter().filter_map(|(name, entry)| match old.get(name) {
        None => Some((name, "is new")),
        Some(before) if before != entry => Some((name, "changed")),
        Some(_) => None,
    });
    let mut found: Vec<_> = gone.chain(came).collect();
    found.sort();
    found.into_iter().map(|(name, what)| format!("[{kind}.{name}] {what}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = r#"
        gateway = { product_key = "edge", device_key = "gw" }
        sagoo = { broker = "mqtt://127.0.0.1" }
        connection.a = { driver = "modbus", tcp = { port = 1 } }
        model.m.points.x = { at = "input:0", unit = "V" }
        device.one = { connection = "a", model = "m", sagoo = { product_key = "m", device_key = "d1" } }
        device.two = { connection = "a", model = "m", sagoo = { product_key = "m", device_key = "d2" } }
    "#;

    fn config(text: &str) -> Config {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("gateway.toml"), text).unwrap();
        let loaded = crate::config::load(dir.path());
        let problems = loaded.problems;
        loaded.config.unwrap_or_else(|| panic!("{problems:?}"))
    }

    #[test]
    fn the_same_configuration_in_other_lines_is_no_change() {
        let moved = BEFORE.replace("sagoo = { broker", "# a comment\n\nsagoo = { broker");
        assert_eq!(changes(&config(BEFORE), &config(&moved)), [""; 0]);
    }

    #[test]
    fn keys_in_another_order_are_no_change() {
        let with = |tcp| config(&BEFORE.replace("{ port = 1 }", tcp));
        let changes = changes(&with(r#"{ port = 1, host = "h" }"#), &with(r#"{ host = "h", port = 1 }"#));
        assert_eq!(changes, [""; 0]);
    }

    #[test]
    fn what_came_went_and_changed_is_named_once() {
        let after = BEFORE
            .replace("port = 1", "port = 2")
            .replace("device.one", "device.three")
            .replace("mqtt://127.0.0.1", "mqtt://127.0.0.2");
        let expected =
            ["[sagoo] changed", "[connection.a] changed", "[device.one] is gone", "[device.three] is new"];
        assert_eq!(changes(&config(BEFORE), &config(&after)), expected);
    }

    #[test]
    fn what_takes_effect_later_is_said() {
        let old = config(BEFORE);
        assert_eq!(later(&old, &old), [""; 0]);
        let mut new = old.clone();
        new.drivers.run_dir = "/run/elsewhere".into();
        new.drivers.memory_max = Some(1 << 26);
        new.buffer.dir = "/data".into();
        let said = later(&old, &new);
        assert_eq!(said.len(), 3, "{said:?}");
        assert!(said[0].contains("run_dir") && said[1].contains("memory_max") && said[2].contains("dir"));
    }

    #[test]
    fn a_reporting_rule_of_a_model_is_a_change_of_its_devices() {
        let after = BEFORE.replace("unit = \"V\"", "unit = \"V\", deadband = 1");
        assert_eq!(
            changes(&config(BEFORE), &config(&after)),
            ["[device.one] changed", "[device.two] changed"]
        );
    }
}
