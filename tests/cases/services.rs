//! Functions called by the platform: those of the gateway itself and those of drivers.

use std::time::Duration;

use e2e::platform::Answered;
use e2e::rig::{GATEWAY, Plan, Site, eventually};
use serde_json::{Value as Json, json};

const SOON: Duration = Duration::from_secs(30);

fn called(site: &Site, device: &str, function: &str, input: &Json) -> Json {
    match site.platform.service_call(device, function, input) {
        Answered::Reply { body, .. } => body,
        other => panic!("{function} of {device}: {other:?}"),
    }
}

#[test]
fn the_platform_asks_the_gateway_how_it_is_and_restarts_a_driver() {
    let mut plan = Plan::meters(&["meter-a"]);
    plan.timing.call = Duration::from_secs(45);
    let site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);
    let version = called(&site, GATEWAY, "getGatewayVersion", &json!({}));
    assert_eq!(
        (&version["code"], &version["data"]["Version"]),
        (&json!(200), &site.gateway.status()["version"])
    );
    let status = called(&site, GATEWAY, "getGatewayStatus", &json!({}));
    let data = &status["data"];
    assert_eq!((&data["devices"], &data["devices_online"]), (&json!(1), &json!(1)), "{status}");
    assert_eq!(data["drivers"], json!({ "modbus": "running" }), "{status}");

    let before = site.gateway.driver_pid();
    for (input, why) in [(json!({}), "missing field"), (json!({ "driver": "serial" }), "no driver")] {
        let refused = called(&site, GATEWAY, "rebootDriver", &input);
        assert_eq!(refused["code"], json!(460), "{refused}");
        assert!(refused["message"].as_str().is_some_and(|said| said.contains(why)), "{refused}");
    }
    assert_eq!(site.gateway.driver_pid(), before, "a refused call touches nothing");
    let done = called(&site, GATEWAY, "rebootDriver", &json!({ "driver": "modbus" }));
    assert_eq!(
        (&done["code"], &done["data"]["pid"]),
        (&json!(200), &json!(site.gateway.driver_pid())),
        "{done}"
    );
    assert_ne!(site.gateway.driver_pid(), before);
    let unknown = called(&site, GATEWAY, "selfDestruct", &json!({}));
    assert_eq!(unknown["code"], json!(460), "{unknown}");

    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    site.assert_nothing_lost("meter-a", SOON);
    site.assert_unharmed();
}

#[test]
fn a_function_of_a_driver_is_called_once_and_every_command_leaves_one_line_in_the_audit() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 1, SOON);
    let id = site.platform.begin_service_call("meter-a", "forget", &json!({})).expect("meter-a is online");
    site.platform.repeat(&id);
    let Answered::Reply { body, .. } = site.platform.answer(&id) else { panic!("nobody answered") };
    assert_eq!((&body["code"], body["data"].is_object()), (&json!(200), true), "{body}");
    let refused = called(&site, "meter-a", "no_such_function", &json!({ "a": 1 }));
    assert_eq!(refused["code"], json!(460), "{refused}");
    let set = site.platform.begin_property_set("meter-a", &json!({ "level": 42 })).expect("it is online");
    assert!(matches!(site.platform.answer(&set), Answered::Reply { .. }));
    assert_ne!(site.gateway.write("meter-a", "level", "1001").code, 0, "above its maximum");
    site.platform.repeat(&set);
    eventually("both repeats are in the audit", SOON, || {
        let repeated = site.gateway.log().lines().filter(|line| line.contains("result=\"repeated\"")).count();
        (repeated == 2).then_some(()).ok_or(repeated.to_string())
    });
    let log = site.gateway.log();
    let audit: Vec<&str> = log.lines().filter(|line| line.contains("a command ended")).collect();
    for parts in [
        [
            &format!("command_id=\"{id}\"") as &str,
            "what=\"invoke forget {}\"",
            "from=\"platform\"",
            "result=\"applied\"",
        ],
        [
            "device=\"meter-a\"",
            "what=\"invoke no_such_function {\\\"a\\\":1}\"",
            "from=\"platform\"",
            "result=\"refused\"",
        ],
        [
            &format!("command_id=\"{set}\""),
            "what=\"write level=42\"",
            "from=\"platform\"",
            "result=\"applied\"",
        ],
        ["command_id=\"cli-", "what=\"write level=1001\"", "from=\"cli\"", "result=\"refused\""],
    ] {
        let lines = audit.iter().filter(|line| parts.iter().all(|part| line.contains(part)));
        assert_eq!(lines.count(), 1, "{parts:?} in {audit:#?}");
    }
    assert!(
        audit.iter().all(|line| line.contains("received_ms=") && line.contains("took_ms=")),
        "{audit:#?}"
    );
    assert_eq!((site.platform.replies(&id).len(), site.platform.replies(&set).len()), (1, 1));
    site.assert_unharmed();
}
