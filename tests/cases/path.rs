//! The main job: a register reaches the platform's topic, and a command comes back.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use e2e::platform::Answered;
use e2e::rig::{GATEWAY, Plan, Site, eventually};
use serde_json::{Value as Json, json};

/// Longest wait for something that takes a second or two on an idle machine.
const SOON: Duration = Duration::from_secs(30);
/// Holding registers of the meters' writable and scaled points.
const LEVEL: u16 = 10;
const TEMPERATURE: u16 = 12;

#[test]
fn a_register_reaches_the_platform_as_a_typed_property() {
    let mut site = Site::prepare(&Plan::meters(&["meter-a"]));
    let minus_35 = (-35_i16).cast_unsigned();
    site.device("meter-a").set(LEVEL, &[250]);
    site.device("meter-a").set(TEMPERATURE, &[minus_35]);
    site.gateway.start();
    site.await_count("meter-a", 4, SOON);

    let rows = site.platform.rows("meter-a");
    let cells = &rows[0].cells;
    assert_eq!(cells["count"].value, json!(1), "the first read is the first row");
    assert_eq!(cells["level"].value, json!(250));
    assert_eq!(cells["temperature"].value, json!(-3.5));
    assert!(cells["level"].sent.is_u64() && cells["temperature"].sent.is_f64(), "{cells:?}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64;
    let time = cells["count"].time.expect("every cell carries its time");
    assert!((now - 30..=now).contains(&time), "{time} is not just before {now}");

    let read = site.gateway.read("meter-a", "temperature");
    assert_eq!(read.code, 0, "{}", read.err);
    assert!(read.out.contains("-3.5"), "{}", read.out);
    eventually("status knows that the device answers, and that the platform knows it", SOON, || {
        let device = site.gateway.device("meter-a");
        let fine = device["online"] == json!(true) && device["platform"] == json!("known");
        fine.then_some(()).ok_or_else(|| format!("{device:#}"))
    });
    site.assert_nothing_lost("meter-a", SOON);
    site.assert_unharmed();
}

#[test]
fn the_account_of_samples_balances_with_what_the_device_served() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 4, SOON);
    site.device("meter-a").leave();
    let reads = u64::from(site.device("meter-a").register(0));
    eventually("three samples per read, all of them acknowledged", SOON, || {
        let ledger = site.gateway.device("meter-a")["ledger"].clone();
        let entry = |name: &str| ledger[name].as_u64().unwrap_or(u64::MAX);
        let read = entry("suppressed") + entry("dropped_by_driver") + entry("stored");
        let stored =
            ["acknowledged", "waiting", "evicted", "parked", "merged"].map(entry).iter().sum::<u64>();
        let balanced = read == entry("read") && stored == entry("stored");
        let complete = entry("read") == 3 * reads && entry("acknowledged") == entry("stored");
        (balanced && complete).then_some(()).ok_or_else(|| format!("{reads} reads: {ledger:#}"))
    });
    site.assert_unharmed();
}

#[test]
fn a_property_set_reaches_the_register_and_is_answered_once() {
    /// The platform publishes a set before it waits for the answer; a faster one is lost.
    const REGISTERED: Duration = Duration::from_millis(100);
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 1, SOON);
    let id = site.platform.begin_property_set("meter-a", &json!({"level": 42})).expect("meter-a is online");
    // A broker may deliver twice; a repeated id is answered from memory, never executed again.
    site.platform.repeat(&id);
    let Answered::Reply { body, after } = site.platform.answer(&id) else { panic!("nobody answered") };
    assert_eq!(body["code"], json!(200), "{body}");
    assert!(after >= REGISTERED, "{after:?} after the request: a real platform may not wait for it yet");
    assert_eq!(site.device("meter-a").register(LEVEL), 42);
    eventually("the new value is reported", SOON, || {
        site.platform.latest("meter-a", "level") == Some(json!(42))
    });
    // A second answer would pass the same way as two more rows and their acknowledgements.
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 2, SOON);
    assert_eq!(site.platform.replies(&id).len(), 1, "{:?}", site.platform.replies(&id));
    assert_eq!(site.device("meter-a").stats().writes.len(), 1, "written once");
    site.assert_unharmed();
}

#[test]
fn a_failed_write_is_never_reported_as_success() {
    let mut plan = Plan::meters(&["refusing", "forgetful", "silent", "well"])
        .may_log("device is offline connection=silent")
        .may_log("slots are skipped connection=silent")
        .may_log("polls are left out because the line is busy");
    plan.timing.call = Duration::from_secs(5);
    let site = Site::start(&plan);
    for meter in &plan.meters {
        site.await_count(&meter.name, 1, SOON);
    }
    site.device("refusing").refuse_writes(LEVEL..LEVEL + 1);
    site.device("forgetful").forget_writes(LEVEL..LEVEL + 1);
    site.device("silent").set_silent(true);

    let calls = ["refusing", "forgetful", "silent", "well"].map(|meter| {
        (
            meter,
            site.platform.begin_property_set(meter, &json!({"level": 7})).expect("it was online just now"),
        )
    });
    for (meter, id) in &calls {
        let answer = site.platform.answer(id);
        if *meter == "well" {
            assert!(matches!(answer, Answered::Reply { .. }), "{meter}: {answer:?}");
        } else {
            // The platform takes any reply for success, so silence is the only honest answer.
            assert_eq!(answer, Answered::Timeout, "{meter}");
            eventually(&format!("the failed write of {meter} is an event"), SOON, || {
                site.platform.look(|core| core.events.iter().any(|event| event.device == *meter))
            });
        }
    }
    assert_eq!(site.device("forgetful").register(LEVEL), 0, "confirmed and not kept");
    let told = site.gateway.write("forgetful", "level", "8");
    assert!(told.code != 0 && told.json["verdict"] == json!("differs"), "{}", told.out);
    let told = site.gateway.write("refusing", "level", "8");
    assert_ne!(told.code, 0, "{}", told.out);
    let told = site.gateway.write("well", "level", "1001");
    assert_ne!(told.code, 0, "above its maximum: {}", told.out);
    assert_eq!(site.device("well").register(LEVEL), 7);
    site.assert_unharmed();
}

#[test]
fn a_stale_command_is_never_executed() {
    let mut plan = Plan::meters(&["meter-a"]);
    plan.timing.call = Duration::from_secs(3);
    let mut site = Site::start(&plan);
    site.await_count("meter-a", 2, SOON);

    // The platform still takes the device for online; by the time the gateway is back, it is stale.
    site.gateway.kill_nine();
    assert_eq!(site.platform.property_set("meter-a", &json!({"level": 99})), Answered::Timeout);
    site.gateway.start();
    let read = u64::from(site.device("meter-a").register(0));
    site.await_count("meter-a", read + 4, SOON);
    assert_eq!(site.device("meter-a").stats().writes, [], "a command from before the start was executed");

    // A fresh one still works.
    let answer = site.platform.property_set("meter-a", &json!({"level": 5}));
    assert!(matches!(answer, Answered::Reply { .. }), "{answer:?}");
    assert_eq!(site.device("meter-a").register(LEVEL), 5);
    site.assert_unharmed();
}

#[test]
fn a_command_that_waited_past_its_deadline_is_never_executed() {
    /// Longer than a platform command may wait in the gateway (40 s).
    const BUSY: Duration = Duration::from_secs(44);
    let mut plan = Plan::meters(&["busy", "well"])
        .must_log("slots are skipped connection=busy")
        .may_log("polls are left out because the line is busy");
    plan.timeout = Duration::from_secs(55);
    plan.timing.call = Duration::from_secs(45);
    let site = Site::start(&plan);
    site.await_count("busy", 1, SOON);
    site.device("busy").set_delay(BUSY);
    let served = site.device("busy").register(0);
    let well = site.device("well").register(0);
    eventually("the busy device has taken a request it will answer late", SOON, || {
        site.device("well").register(0) >= well + 3
    });
    assert_eq!(site.device("busy").register(0), served, "the line is taken");

    let id = site.platform.begin_property_set("busy", &json!({"level": 99})).expect("it was online just now");
    let typed = site.gateway.write("busy", "level", "98");
    let verdict = typed.json["verdict"].as_str().unwrap_or_default();
    assert_eq!((typed.code, verdict), (1, "expired"), "{}", typed.out);
    // The request on the wire keeps its delay; everything after it is quick again.
    site.device("busy").set_delay(Duration::ZERO);
    assert_eq!(site.platform.answer(&id), Answered::Timeout);

    let read = u64::from(site.device("busy").register(0));
    site.await_count("busy", read + 2, SOON);
    assert_eq!(site.device("busy").stats().writes, [], "an expired command reached the device");
    assert_eq!(site.gateway.driver("modbus")["restarts"], json!(0), "the driver lived all the while");
    site.assert_unharmed();
}

#[test]
fn a_service_call_is_always_answered_with_a_code() {
    let site = Site::start(&Plan::meters(&["meter-a"]));
    site.await_count("meter-a", 1, SOON);
    let answer = site.platform.service_call("meter-a", "no_such_function", &json!({}));
    let Answered::Reply { body, .. } = answer else { panic!("{answer:?}") };
    assert!(body["code"].as_i64().is_some_and(|code| code != 200), "{body}");
    assert!(body["data"].is_object(), "{body}");
    site.assert_unharmed();
}

#[test]
fn the_gateways_own_properties_arrive_by_property_post() {
    let mut plan = Plan::meters(&["meter-a"]);
    plan.gateway = r#"properties = { version = "version", devices = "devices" }
report = "1s""#
        .to_owned();
    let site = Site::start(&plan);
    eventually("two reports of the gateway itself", SOON, || {
        let rows = site.platform.rows(GATEWAY);
        (rows.len() >= 2).then_some(()).ok_or(rows.len().to_string())
    });
    assert_eq!(site.platform.latest(GATEWAY, "devices"), Some(json!(1)));
    let version = site.platform.latest(GATEWAY, "version");
    assert!(version.as_ref().and_then(Json::as_str).is_some_and(|text| !text.is_empty()), "{version:?}");
    let topic = "/sys/edge/gw-1/thing/event/property/post";
    assert!(site.platform.arrivals().iter().any(|arrival| arrival.message.topic == topic));
    site.assert_unharmed();
}

#[test]
fn an_unknown_sub_device_never_enters_a_pack() {
    let plan = Plan::meters(&["meter-a"])
        .stranger("ghost")
        .must_log("the platform does not answer for a device; its rows are kept device_key=\"ghost\"");
    let site = Site::start(&plan);
    site.await_count("meter-a", 6, SOON);
    // The unharmed platform is the proof: the first entry of a ghost would have crashed it.
    site.assert_unharmed();
    assert_ne!(site.gateway.device("ghost")["platform"], json!("known"));
    let stored = site.gateway.device("ghost")["ledger"]["waiting"].as_u64();
    assert!(stored.is_some_and(|samples| samples > 0), "its samples wait: {stored:?}");

    let known = site.platform.look(|core| core.known.get("meter-a").cloned()).expect("meter-a is known");
    site.platform.know(e2e::platform::KnownDevice { device_key: "ghost".to_owned(), ..known });
    site.assert_nothing_lost("ghost", Duration::from_secs(90));
    site.assert_unharmed();
}
