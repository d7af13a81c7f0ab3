//! Each trap of the open-source platform, one message at a time.

mod watched;

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use super::*;

const NOW: i64 = 1_750_000_000;
const PACK: &str = "/sys/edge/gw/thing/event/property/pack/post";
const POST: &str = "/sys/edge/gw/thing/event/property/post";

fn known() -> Registry {
    Registry::new([
        KnownDevice::new("edge", "gw").property("uptime", Tsl::Int).property("name", Tsl::Text),
        KnownDevice::new("em24", "a").property("volt", Tsl::float()).property("note", Tsl::Text),
        KnownDevice::new("em24", "b").property("volt", Tsl::float()),
    ])
}

fn property_post(id: &str, params: Json) -> Message {
    let body = json!({"id": id, "version": "1.0", "sys": {"ack": 1}, "params": params,
        "method": "thing.event.property.post"});
    Message::new(POST, body.to_string())
}

fn sub(device: &str, properties: Json) -> Json {
    json!({"identity": {"productKey": "em24", "deviceKey": device}, "properties": properties, "events": {}})
}

fn pack(id: &str, sub_devices: Vec<Json>) -> Message {
    let body = json!({"id": id, "version": "1.0", "sys": {"ack": 1},
        "params": {"properties": {}, "events": {}, "subDevices": sub_devices},
        "method": "thing.event.property.pack.post"});
    Message::new(PACK, body.to_string())
}

fn volt(value: f64) -> Json {
    json!({"volt": {"value": value, "time": NOW}})
}

fn found(message: &Message) -> Vec<(Harm, String)> {
    judge(message, &known(), NOW).findings.into_iter().map(|finding| (finding.harm, finding.why)).collect()
}

#[track_caller]
fn assert_found(message: &Message, harm: Harm, word: &str) {
    let found = found(message);
    assert!(
        found.iter().any(|(kind, why)| *kind == harm && why.contains(word)),
        "{harm:?} {word:?}: {found:?}"
    );
}

fn is_acked(judgement: &Judgement) -> bool {
    judgement.effects.iter().any(|effect| matches!(effect, Effect::Ack { .. }))
}

#[test]
fn a_careful_pack_is_stored_and_acknowledged_without_a_finding() {
    let judgement = judge(&pack("1", vec![sub("a", volt(231.234)), sub("b", json!({}))]), &known(), NOW);
    assert_eq!(judgement.findings, []);
    let Effect::Store { device, cells } = &judgement.effects[2] else { panic!("{:?}", judgement.effects) };
    assert_eq!(device, "a");
    assert_eq!(cells["volt"].value, json!(231.23));
    assert_eq!(cells["volt"].time, Some(NOW));
    assert_eq!(judgement.effects[3], Effect::Touch("b".into()), "an empty entry is a heartbeat");
    let Some(Effect::Ack { topic, body }) = judgement.effects.last() else { panic!("no acknowledgement") };
    assert_eq!(topic, "/sys/edge/gw/thing/event/property/pack/post_reply");
    assert_eq!((&body["id"], &body["code"]), (&json!("1"), &json!(200)));
}

#[test]
fn a_property_post_is_acknowledged_on_its_own_topic() {
    let judgement = judge(&property_post("7", json!({"uptime": {"value": 3, "time": NOW}})), &known(), NOW);
    assert_eq!(judgement.findings, []);
    let Some(Effect::Ack { topic, .. }) = judgement.effects.last() else { panic!("no acknowledgement") };
    assert_eq!(topic, "/sys/edge/gw/thing/event/property/post_reply");
}

#[test]
fn an_unknown_sub_device_crashes_and_nothing_more_happens() {
    let message = pack("1", vec![sub("a", volt(1.0)), sub("ghost", json!({})), sub("b", volt(2.0))]);
    assert_found(&message, Harm::Crash, "ghost");
    let judgement = judge(&message, &known(), NOW);
    assert!(!is_acked(&judgement));
    assert!(!judgement.effects.contains(&Effect::Touch("b".into())));
}

#[test]
fn an_unknown_or_disabled_device_in_the_topic_is_ignored_without_a_trace() {
    let probe = |device: &str| {
        let mut message = pack("1", vec![]);
        message.topic = format!("/sys/em24/{device}/thing/event/property/pack/post");
        message
    };
    assert_eq!(judge(&probe("ghost"), &known(), NOW).effects, []);
    assert_eq!(judge(&probe("ghost"), &known(), NOW).findings, []);
    let mut known = known();
    known.set_enabled("a", false);
    assert_eq!(judge(&probe("a"), &known, NOW).effects, []);
    known.set_enabled("a", true);
    assert!(is_acked(&judge(&probe("a"), &known, NOW)), "a probe of a known device is answered");
}

#[test]
fn every_wrong_type_takes_an_error_slot() {
    for body in [
        r#"{"id":1,"params":{"uptime":1}}"#,
        r#"{"id":"1","sys":{"ack":"1"},"params":{"uptime":1}}"#,
        r#"{"id":"1","params":{}}"#,
        r#"{"id":"1","params":[1]}"#,
        "not json",
    ] {
        assert_found(&Message::new(POST, body), Harm::ErrorSlot, "");
    }
    let float_time = r#"{"id":"1","params":{"properties":{},"events":{},"subDevices":[{"identity":{"deviceKey":"a"},"properties":{},"events":{"hot":{"value":{},"time":1.75e9}}}]}}"#;
    assert_found(&Message::new(PACK, float_time), Harm::ErrorSlot, "time");
}

#[test]
fn a_direct_event_never_succeeds() {
    let body = json!({"id": "1", "version": "1.0", "sys": {"ack": 1},
        "params": {"value": {"t": "91"}, "time": NOW}, "method": "thing.event.hot.post"});
    let message = Message::new("/sys/edge/gw/thing/event/hot/post", body.to_string());
    assert_found(&message, Harm::ErrorSlot, "direct event");
    assert!(!is_acked(&judge(&message, &known(), NOW)));
}

#[test]
fn a_wrong_method_poisons_the_batch_and_the_pack_method_crashes() {
    let with = |method: &str| {
        let body = json!({"id": "1", "version": "1.0", "sys": {"ack": 1}, "params": {"uptime": 1}, "method": method});
        Message::new(POST, body.to_string())
    };
    assert_found(&with("thing.event.property.Post"), Harm::Poison, "method");
    assert_found(&with("thing.event.property.pack.post"), Harm::Crash, "pack method");
}

#[test]
fn a_report_of_unknown_keys_only_poisons_the_batch() {
    assert_found(&property_post("1", json!({"nobody": 1})), Harm::Poison, "no key");
    assert_found(&pack("1", vec![sub("a", json!({"nobody": 1}))]), Harm::Loss, "no key");
}

#[test]
fn quotes_backslashes_and_nulls_are_found() {
    assert_found(&property_post("1", json!({"name": "pump 'A'"})), Harm::Poison, "quote");
    assert_found(
        &pack("1", vec![sub("a", json!({"note": {"value": "it's", "time": NOW}}))]),
        Harm::Poison,
        "quote",
    );
    assert_found(&property_post("1", json!({"name": "a\"b"})), Harm::Careless, "backslash");
    assert_found(&property_post("1", json!({"uptime": null})), Harm::Loss, "null");
    assert_found(&property_post("1", json!({"uptime": {"value": null, "time": NOW}})), Harm::Loss, "lost");
    assert_found(&property_post("1", json!({"uptime": {"value": 1}})), Harm::Loss, "lost");
}

#[test]
fn an_escaped_quote_is_stored_but_never_acknowledged() {
    let judgement = judge(&property_post("1", json!({"name": "a\"b"})), &known(), NOW);
    assert!(judgement.effects.iter().any(|effect| matches!(effect, Effect::Store { .. })));
    assert!(!is_acked(&judgement), "without its backslash the text is not JSON any more");
}

#[test]
fn careless_messages_are_found() {
    let fine = pack("1", vec![sub("a", volt(1.0))]);
    assert_eq!(found(&fine), []);
    assert_found(&Message { qos: 0, ..fine.clone() }, Harm::Careless, "QoS 0");
    assert_found(&Message { retain: true, ..fine.clone() }, Harm::Careless, "retained");
    let edited = |from: &str, to: &str| Message::new(PACK, fine.text().replace(from, to));
    assert_found(&edited(r#""ack":1"#, r#""ack":0"#), Harm::Careless, "sys.ack");
    assert_found(&edited(r#""id":"1""#, r#""id":"""#), Harm::Careless, "id");
    assert_found(&edited(r#""version":"1.0""#, r#""version":"2""#), Harm::Careless, "version");
    assert_found(&edited("pack.post\"", "pack\""), Harm::Careless, "method");
    assert_found(&edited("em24", "other"), Harm::Careless, "product key");
    assert_found(&edited(&NOW.to_string(), &format!("{NOW}.5")), Harm::Careless, "time");
    assert_found(&edited(&NOW.to_string(), &format!("{NOW}000")), Harm::Careless, "time");
    assert_found(&edited(&NOW.to_string(), "12"), Harm::Careless, "time");
    assert_found(&edited(r#","properties":{}"#, ""), Harm::Careless, "params.properties");
}

#[test]
fn what_the_gateway_says_of_itself_in_its_pack_is_not_stored() {
    for (name, said) in
        [("properties", json!({"uptime": 1})), ("events", json!({"hot": {"value": {}, "time": NOW}}))]
    {
        let mut body: Json = serde_json::from_str(&pack("1", vec![]).text()).unwrap();
        body["params"][name] = said;
        assert_found(&Message::new(PACK, body.to_string()), Harm::Loss, &format!("params.{name}"));
    }
}

#[test]
fn a_pack_is_about_its_sender_or_about_others() {
    let mut own = sub("gw", json!({}));
    own["identity"]["productKey"] = json!("edge");
    assert_eq!(found(&pack("1", vec![own.clone()])), []);
    assert_found(&pack("1", vec![own, sub("a", volt(1.0))]), Harm::Careless, "about itself and about others");
}

#[test]
fn a_text_that_does_not_fit_its_column_is_found() {
    let note = |text: String| json!({"note": {"value": text, "time": NOW}});
    assert_eq!(found(&pack("1", vec![sub("a", note("电".repeat(150)))])), []);
    assert_found(&pack("1", vec![sub("a", note("x".repeat(151)))]), Harm::Careless, "151 characters");
    assert_found(
        &pack("1", vec![sub("a", json!({"note": {"value": vec![1; 76], "time": NOW}}))]),
        Harm::Careless,
        "153 characters",
    );
}

#[test]
fn a_message_that_brokers_refuse_is_found() {
    let cell = |n: usize| (format!("k{n}"), json!({"value": "x".repeat(150), "time": NOW}));
    let large = Json::Object((0..6_000).map(cell).collect());
    assert_found(&pack("1", vec![sub("a", large)]), Harm::Careless, "brokers refuse it");
}

#[test]
fn keys_that_make_no_columns_or_share_one_are_found() {
    let with = |keys: &[&str]| {
        let cells = keys.iter().map(|key| ((*key).to_owned(), json!({"value": 1, "time": NOW})));
        pack("1", vec![sub("a", Json::Object(cells.collect()))])
    };
    for odd in ["ts", "TS", "1st", "a-b", "a b", "电压", ""] {
        assert_found(&with(&["volt", odd]), Harm::Careless, "no key a column can be made of");
    }
    for pair in [["volt", "VOLT"], ["volt", "volt_time"]] {
        assert_found(&with(&pair), Harm::Careless, "share a column");
    }
    assert_eq!(found(&with(&["volt", "_volt2"])), []);
}

#[test]
fn a_set_reply_that_says_no_is_taken_for_success() {
    let reply = |tail: &str, code: i64| {
        let body = json!({"id": "1", "version": "1.0", "code": code, "data": {}, "message": "no"});
        Message::new(&format!("/sys/em24/b/thing/service/{tail}_reply"), body.to_string())
    };
    assert_found(&reply("property/set", 460), Harm::Careless, "takes it for success");
    assert_eq!(found(&reply("open", 460)), [], "a service may say no");
}

/// Every key has been asked for, as a careful gateway does.
fn core() -> Core {
    let mut core = Core::new(known(), Timing { online: Duration::from_secs(5), ..Timing::default() });
    for key in ["a", "b"] {
        core.receive(probe(key), Instant::now() - Duration::from_secs(60), NOW);
    }
    core.acks = 0;
    core
}

/// The empty pack on a device's own topic.
fn probe(key: &str) -> Message {
    let message = pack(&format!("probe-{key}"), vec![]);
    Message { topic: format!("/sys/em24/{key}/thing/event/property/pack/post"), ..message }
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn a_device_in_a_pack_that_was_never_asked_for_is_a_violation() {
    let (mut core, start) = (Core::new(known(), Timing::default()), Instant::now());
    core.mishaps([Mishap::Lost]);
    core.receive(probe("a"), start, NOW);
    core.receive(pack("1", vec![sub("a", volt(1.0))]), start + MS, NOW);
    assert!(core.violations[0].why.contains("nobody was told"), "{:?}", core.violations);
    core.violations.clear();
    core.receive(probe("a"), start + MS * 2, NOW);
    core.receive(pack("2", vec![sub("a", volt(1.0))]), start + MS * 500, NOW);
    assert_eq!(core.violations, []);
}

#[test]
fn rows_are_kept_in_order_and_a_resend_is_told_by_its_id() {
    let (mut core, start) = (core(), Instant::now());
    for (step, id) in ["1", "2", "2", "3"].into_iter().enumerate() {
        let at = start + MS * 250 * step as u32;
        let message = pack(id, vec![sub("a", volt(id.parse().unwrap()))]);
        assert_eq!(core.receive(message, at, NOW).len(), 1, "acknowledged");
    }
    core.settle(start + MS * 2000);
    let kept: Vec<_> = core.rows.iter().map(|row| (row.message_id.as_str(), row.resent)).collect();
    assert_eq!(kept, [("1", false), ("2", false), ("2", true), ("3", false)]);
    assert_eq!(core.violations, []);
}

#[test]
fn the_same_id_with_other_bytes_is_a_violation() {
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("a", volt(1.0))]), start, NOW);
    core.receive(pack("1", vec![sub("a", volt(2.0))]), start + MS * 500, NOW);
    assert!(core.violations[0].why.contains("other bytes"), "{:?}", core.violations);
}

#[test]
fn rows_of_one_device_too_close_together_are_a_violation() {
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("a", volt(1.0))]), start, NOW);
    core.receive(pack("2", vec![sub("b", volt(1.0))]), start + MS * 20, NOW);
    assert_eq!(core.violations, [], "another device may follow at once");
    core.receive(pack("3", vec![sub("a", volt(2.0))]), start + MS * 189, NOW);
    assert!(core.violations[0].why.contains("189ms"), "{:?}", core.violations);
}

#[test]
fn a_key_set_that_changes_within_a_second_is_a_violation() {
    let (mut core, start) = (core(), Instant::now());
    let both = json!({"volt": {"value": 1, "time": NOW}, "note": {"value": "x", "time": NOW}});
    core.receive(pack("1", vec![sub("a", volt(1.0))]), start, NOW);
    core.receive(pack("2", vec![sub("a", both.clone())]), start + MS * 900, NOW);
    assert!(core.violations[0].why.contains("had the keys"), "{:?}", core.violations);
    core.violations.clear();
    core.receive(pack("3", vec![sub("a", volt(1.0))]), start + MS * 2000, NOW);
    assert_eq!(core.violations, []);
}

#[test]
fn a_poisoned_window_takes_everybodys_rows() {
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("b", volt(1.0))]), start, NOW);
    core.receive(property_post("2", json!({"nobody": 1})), start + MS * 30, NOW);
    core.settle(start + MS * 200);
    assert!(core.rows.is_empty());
    assert!(core.violations.iter().any(|violation| violation.kind == Harm::Loss));
}

#[test]
fn a_device_is_online_as_long_as_it_is_heard_of() {
    let (mut core, start) = (core(), Instant::now());
    assert!(!core.is_online("b", start));
    core.receive(pack("1", vec![sub("b", json!({}))]), start, NOW);
    assert!(core.is_online("gw", start + MS * 4999) && core.is_online("b", start + MS * 4999));
    assert!(!core.is_online("b", start + MS * 5000));
    let refused = core.property_set("b", &json!({"volt": 1}), start + MS * 5000).unwrap_err();
    assert_eq!(refused, Answered::Offline);
}

#[test]
fn a_property_set_carries_only_keys_of_the_thing_model() {
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("b", json!({}))]), start, NOW);
    let (publish, id) = core.property_set("b", &json!({"volt": 2, "nobody": 1}), start).unwrap();
    assert_eq!(publish.topic, "/sys/em24/b/thing/service/property/set");
    let body: Json = serde_json::from_str(&publish.body).unwrap();
    assert_eq!(body["params"], json!({"volt": 2}));
    assert_eq!((body["id"].as_str(), &body["version"]), (Some(id.as_str()), &json!("1.0.0")));
    assert_eq!(id.len(), 32);
}

#[test]
fn a_set_reply_that_is_too_early_or_comes_twice_is_a_violation() {
    let reply = |id: &str| {
        let body = json!({"id": id, "version": "1.0", "code": 200, "data": {}, "message": "success"});
        Message::new("/sys/em24/b/thing/service/property/set_reply", body.to_string())
    };
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("b", json!({}))]), start, NOW);
    let (_, early) = core.property_set("b", &json!({"volt": 2}), start).unwrap();
    core.receive(reply(&early), start + MS * 99, NOW);
    assert!(core.violations[0].why.contains("earlier"), "{:?}", core.violations);
    assert_eq!(core.calls.answer(&early, start + MS * 46_000), Some(Answered::Timeout));

    core.violations.clear();
    let (_, twice) = core.property_set("b", &json!({"volt": 2}), start).unwrap();
    core.receive(reply(&twice), start + MS * 120, NOW);
    assert!(matches!(core.calls.answer(&twice, start + MS * 120), Some(Answered::Reply { .. })));
    assert_eq!(core.violations, []);
    core.receive(reply(&twice), start + MS * 130, NOW);
    assert!(core.violations[0].why.contains("second reply"), "{:?}", core.violations);
}

#[test]
fn the_platforms_own_request_comes_back_and_harms_nobody() {
    let (mut core, start) = (core(), Instant::now());
    core.receive(pack("1", vec![sub("b", json!({}))]), start, NOW);
    let (publish, id) = core.service_call("b", "open", &json!({}), start).unwrap();
    let echo = Message { topic: publish.topic, payload: publish.body.into(), qos: 2, retain: false };
    assert_eq!(core.receive(echo, start + MS * 2, NOW), []);
    let body = json!({"id": id, "version": "1.0", "code": 200, "data": {"resp": 1}, "message": "success"});
    core.receive(Message::new("/sys/em24/b/thing/service/open_reply", body.to_string()), start + MS * 3, NOW);
    assert!(matches!(core.calls.answer(&id, start + MS * 3), Some(Answered::Reply { .. })));
    assert_eq!(core.violations, []);
}

#[test]
fn lost_acknowledgements_are_not_published_and_the_rest_is() {
    let (mut core, start) = (core(), Instant::now());
    core.mishaps([Mishap::Lost]);
    assert_eq!(core.receive(pack("1", vec![]), start, NOW), []);
    assert_eq!(core.receive(pack("2", vec![]), start, NOW).len(), 1);
}

#[test]
fn acknowledgements_come_late_twice_or_for_the_wrong_id_as_told() {
    let (mut core, start) = (core(), Instant::now());
    let ack = |core: &mut Core, id: &str| core.receive(pack(id, vec![]), start, NOW);
    let topic = "/sys/edge/gw/thing/event/property/pack/post_reply";
    core.mishaps([Mishap::Late(MS * 70), Mishap::Twice, Mishap::Misplaced]);
    let late = ack(&mut core, "1");
    assert!(matches!(&late[..], [(after, _)] if *after == MS * 70), "{late:?}");
    let twice = ack(&mut core, "2");
    assert!(twice.len() == 2 && twice[0] == twice[1] && twice[0].0.is_zero(), "{twice:?}");
    assert!(!core.mishaps_are_over());
    let misplaced: Vec<_> = ack(&mut core, "3").into_iter().map(|(_, publish)| publish).collect();
    let id = |publish: &Publish| serde_json::from_str::<Json>(&publish.body).unwrap()["id"].clone();
    let told: Vec<_> = misplaced.iter().map(|publish| (publish.topic.as_str(), id(publish))).collect();
    let elsewhere = "/sys/edge/gw/thing/event/property/post_reply";
    assert_eq!(told, [(topic, json!("30")), (topic, json!("2")), (elsewhere, json!("3"))]);
    assert!(core.mishaps_are_over() && ack(&mut core, "4").len() == 1);
    assert_eq!(topic::reply_of_the_other_form(elsewhere), topic);
    assert_eq!((core.acks, &core.violations), (3, &Vec::new()));
}
