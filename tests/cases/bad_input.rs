//! Wrong configuration, wrong programs, wrong messages: one clear error each, and the rest runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use e2e::platform::Answered;
use e2e::rig::{PRODUCT, Plan, Site, eventually};
use serde_json::{Value as Json, json};

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
    let problems = check.json["problems"].as_array().expect("check --json lists problems");
    let found: Vec<Found<'_>> = problems.iter().map(Found::from).collect();
    assert_eq!(found, WRONG, "{}", check.out);
    assert!(problems.iter().all(|problem| problem["file"] == json!("conf.d/wrong.toml")), "{}", check.out);
    assert_eq!((&check.json["mistakes"], &check.json["warnings"]), (&json!(6), &json!(1)));

    site.gateway.spawn();
    assert_eq!(site.gateway.await_exit().code(), Some(1), "run refuses it, too");
    let log = site.gateway.log();
    // It does not start the drivers for that, so theirs are left to `check`.
    for Found { line, column, message, .. } in
        WRONG.iter().filter(|found| !OF_THE_DRIVER.contains(&found.line))
    {
        let place = format!("conf.d/wrong.toml:{line}:{column}: ");
        assert!(log.lines().any(|told| told.starts_with(&place) && told.contains(message)), "{place}: {log}");
    }
}

/// A mistake as `check --json` has it.
#[derive(Debug, PartialEq)]
struct Found<'j> {
    line: u64,
    column: u64,
    message: &'j str,
    hint: &'j str,
}

impl<'j> From<&'j Json> for Found<'j> {
    fn from(problem: &'j Json) -> Self {
        let text = |name: &str| problem[name].as_str().unwrap_or_default();
        let number = |name: &str| problem[name].as_u64().unwrap_or_default();
        Self { line: number("line"), column: number("column"), message: text("message"), hint: text("hint") }
    }
}

/// Lines whose mistakes are the driver's to find.
const OF_THE_DRIVER: [u64; 3] = [3, 8, 11];
/// What is wrong with the configuration of the case, in the order of the file.
const WRONG: [Found<'_>; 7] = [
    Found { line: 1, column: 13, message: r#"no device uses the connection "hall""#, hint: "" },
    Found { line: 3, column: 1, message: r#"unknown key "tpc""#, hint: r#"did you mean "tcp"?"# },
    Found {
        line: 8,
        column: 10,
        message: r#""soon" is not a duration"#,
        hint: r#"like "300ms", "5s", "1m30s", "1h""#,
    },
    Found { line: 11, column: 11, message: r#""holdng" is not a table"#, hint: r#"did you mean "holding"?"# },
    Found {
        line: 14,
        column: 14,
        message: r#"unknown connection "nowhere""#,
        hint: "there are hall, meter-a",
    },
    Found {
        line: 17,
        column: 9,
        message: r#"sagoo needs "device_key""#,
        hint: r#"is "device_kye" meant to be it?"#,
    },
    Found {
        line: 17,
        column: 34,
        message: r#"unknown key "device_kye""#,
        hint: r#"did you mean "device_key"?"#,
    },
];

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
    plan = plan.must_log("driver is down driver=missing").must_log("driver is down driver=fake");
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
    site.assert_nothing_lost("meter-a", SOON);
    site.assert_unharmed();
}

#[test]
fn a_payload_that_is_not_json_is_survived() {
    let plan = Plan::meters(&["meter-a"])
        .must_log("a message from the platform cannot be understood")
        // Requests with ids of their own are answered; that the platform did not ask is this case's doing.
        .pardon("unknown id");
    let site = Site::start(&plan);
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
    site.assert_nothing_lost("meter-a", SOON);
    assert!(site.gateway.pid() == pid && site.gateway.command(&["status"]).code == 0);
    site.assert_unharmed();
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
