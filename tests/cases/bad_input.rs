//! Wrong configuration, wrong programs, wrong messages: one clear error each, and the rest runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use e2e::platform::Answered;
use e2e::rig::{PRODUCT, Plan, Site, eventually};
use serde_json::json;

const SOON: Duration = Duration::from_secs(30);
const LEVEL: u16 = 10;

#[test]
fn bad_config_is_refused_with_every_mistake_and_its_place() {
    let mut site = Site::prepare(&Plan::meters(&["meter-a"]));
    site.gateway.configure(
        "conf.d/wrong.toml",
        r#"[connection.hall]
driver = "modbus"
tpc = { host = "127.0.0.1", port = 502 }

[model.other]
version = 1
addresses = "zero-based"
poll = { fast = "soon" }

[model.other.points]
power = { at = "holdng:4", type = "u16", poll = "fast" }

[device.lost]
connection = "nowhere"
unit = 1
model = "other@1"
sagoo = { product_key = "meter", device_kye = "lost" }

[device.found]
connection = "meter-a"
unit = 2
model = "other@1"
sagoo = { product_key = "meter", device_key = "found" }
"#,
    );
    let check = site.gateway.command(&["check"]);
    assert_eq!(check.code, 1, "{}{}", check.out, check.err);
    let found = check.json.to_string();
    let mistakes = [(3, "tpc"), (8, "soon"), (11, "holdng"), (14, "nowhere"), (17, "device_kye")];
    for (line, word) in mistakes {
        let place = format!("\"line\":{line}");
        assert!(
            found.contains(&place) && found.contains(word),
            "line {line} {word:?} is not in {}",
            check.out
        );
    }
    assert!(found.contains("wrong.toml") && found.contains("\"column\":"), "{}", check.out);
    assert!(found.contains("device_key"), "no \"did you mean\" for device_kye: {}", check.out);

    site.gateway.spawn();
    assert_eq!(site.gateway.await_exit().code(), Some(1), "run refuses it, too");
    assert!(site.gateway.log().contains("wrong.toml:17:"), "{}", site.gateway.log());
}

#[test]
fn a_missing_driver_and_a_program_that_is_not_a_plugin_are_reported() {
    let mut plan = Plan::meters(&["meter-a"]).more(
        r#"
[connection.x]
driver = "missing"

[connection.y]
driver = "fake"

[model.thing]
version = 1
points = { value = {} }

[device.x-1]
connection = "x"
model = "thing@1"
sagoo = { product_key = "thing", device_key = "x-1" }

[device.y-1]
connection = "y"
model = "thing@1"
sagoo = { product_key = "thing", device_key = "y-1" }
"#,
    );
    plan.unsigned.extend(["missing".to_owned(), "fake".to_owned()]);
    let mut site = Site::prepare(&plan);
    let fake = site.gateway.drivers_dir().join("driver-fake");
    fs::write(&fake, "#!/bin/sh\necho hello, I am no plugin\nexec sleep 60\n").unwrap();
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).unwrap();
    site.gateway.start();

    eventually("the missing driver is reported with its name and where it was looked for", SOON, || {
        let driver = site.gateway.driver("missing");
        let error = driver["last_error"].as_str().unwrap_or_default().to_owned();
        let told = driver["state"] == json!("missing")
            && error.contains("driver-missing")
            && error.contains(&*site.gateway.drivers_dir().to_string_lossy());
        told.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    eventually("the program that is not a plugin is reported", SOON, || {
        let driver = site.gateway.driver("fake");
        let error = driver["last_error"].as_str().unwrap_or_default().to_owned();
        let told = driver["state"] != json!("running") && error.contains("driver-fake");
        told.then_some(()).ok_or_else(|| format!("{driver:#}"))
    });
    site.await_count("meter-a", 4, SOON);
    site.assert_nothing_lost("meter-a", 0, SOON);
    site.assert_unharmed();
}

#[test]
fn a_payload_that_is_not_json_is_survived() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 1, SOON);
    let pid = site.gateway.pid();
    let topics = [
        format!("/sys/{PRODUCT}/meter-a/thing/service/property/set"),
        format!("/sys/{PRODUCT}/nobody/thing/service/property/set"),
        format!("/sys/{PRODUCT}/meter-a/thing/service/restart"),
        "/sys/edge/gw-1/thing/service/property/set".to_owned(),
        "/sys/edge/gw-1/thing/event/property/pack/post_reply".to_owned(),
    ];
    let deep = "[".repeat(50_000);
    let payloads: [&[u8]; 8] = [
        b"not json",
        b"",
        b"\xff\xfe\x00",
        b"[1,2]",
        br#"{"id":7,"params":"x"}"#,
        br#"{"id":"x","params":{"level":{"a":1}}}"#,
        br#"{"id":"y","params":{"level":1e400}}"#,
        deep.as_bytes(),
    ];
    for topic in &topics {
        for payload in payloads {
            site.platform.publish_raw(topic, payload, false);
        }
    }
    let answer = site.platform.property_set("meter-a", &json!({"level": 11}));
    assert!(matches!(answer, Answered::Reply { .. }), "{answer:?}");
    assert_eq!(site.device("meter-a").stats().writes.len(), 1, "only the good one was written");
    assert_eq!(site.device("meter-a").register(LEVEL), 11);
    site.assert_nothing_lost("meter-a", 0, SOON);
    assert!(site.gateway.pid() == pid && site.gateway.command(&["status"]).code == 0);
    // Requests with ids of their own are answered; that the platform did not ask is this case's doing.
    let harm: Vec<_> =
        site.platform.violations().into_iter().filter(|v| !v.why.contains("unknown id")).collect();
    assert!(harm.is_empty(), "{harm:#?}");
}

#[test]
fn retained_downlinks_are_ignored() {
    let mut site = Site::prepare(&Plan::meters(&["meter-a"]));
    let topic = format!("/sys/{PRODUCT}/meter-a/thing/service/property/set");
    let old = json!({"id": "0123456789abcdef0123456789abcdef", "version": "1.0.0",
        "params": {"level": 77}, "method": "thing.service.property.set"});
    site.platform.publish_raw(&topic, old.to_string().as_bytes(), true);
    eventually("the broker has it", SOON, || site.broker.log().contains("property/set'"));
    site.gateway.start();
    site.await_count("meter-a", 4, SOON);
    // A live one passes by the same way: had the retained one been taken, it would show by now.
    let answer = site.platform.property_set("meter-a", &json!({"level": 12}));
    assert!(matches!(answer, Answered::Reply { .. }), "{answer:?}");
    let writes = site.device("meter-a").stats().writes;
    assert_eq!(writes.len(), 1, "{writes:?}");
    assert_eq!(site.device("meter-a").register(LEVEL), 12);
    site.assert_unharmed();
}
