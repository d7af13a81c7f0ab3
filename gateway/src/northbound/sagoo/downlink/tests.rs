//! What is decided about downlinks, and who is told.

use proptest::prelude::*;

use super::desk::MAX_REMEMBERED;
use super::*;
use crate::commands::PointOutcome;
use crate::row::GATEWAY;

fn identity(key: &str) -> Identity {
    Identity { product_key: "p".into(), device_key: key.into() }
}

fn desk() -> Desk {
    let points =
        BTreeMap::from([("limitA".to_owned(), "limit".to_owned()), ("on".to_owned(), "on".to_owned())]);
    Desk::new(&identity("gw-1"), [("meter".into(), identity("m-1"), points)], "9.9.9")
}

fn set(desk: &mut Desk, device: &str, payload: &str) -> Decision {
    desk.decide(Inbound::PropertySet { product: "p", device }, payload.as_bytes(), false)
}

fn call(desk: &mut Desk, device: &str, function: &str, payload: &str, busy: bool) -> Decision {
    desk.decide(Inbound::Service { product: "p", device, function }, payload.as_bytes(), busy)
}

fn executed(decision: Decision) -> Job {
    match decision {
        Decision::Execute(job) => job,
        other => panic!("not executed: {other:?}"),
    }
}

fn answered(decision: Decision) -> (Job, Outcome) {
    match decision {
        Decision::Answer(job, outcome) => (job, outcome),
        other => panic!("not answered: {other:?}"),
    }
}

fn applied(points: &[Verdict]) -> Outcome {
    let point = |verdict: &Verdict| PointOutcome {
        point: "limit".into(),
        verdict: *verdict,
        message: String::new(),
        value: None,
    };
    Outcome { points: points.iter().map(point).collect(), ..Outcome::failed(Verdict::Applied, "") }
}

fn said(told: Told) -> (String, serde_json::Value) {
    match told {
        Told::Platform(outgoing) => (outgoing.topic, serde_json::from_str(&outgoing.payload).unwrap()),
        Told::Nobody(event) => panic!("nobody hears it: {event:?}"),
    }
}

#[test]
fn a_property_set_becomes_a_write_of_points() {
    let job =
        executed(set(&mut desk(), "m-1", r#"{"id":"a","version":"1.0.0","params":{"limitA":7,"on":true}}"#));
    let request = job.request(5);
    assert_eq!((request.id.as_str(), request.device.as_str(), request.deadline_boot_ns), ("a", "meter", 5));
    let writes = vec![("limit".to_owned(), Value::Int(7)), ("on".to_owned(), Value::Bool(true))];
    assert_eq!(request.action, Action::Write(writes));
    let (topic, reply) = said(job.told(&applied(&[Verdict::Applied, Verdict::Applied])));
    assert_eq!(topic, "/sys/p/m-1/thing/service/property/set_reply");
    assert_eq!(reply["data"], serde_json::json!({ "limitA": 7, "on": true }));
    assert_eq!(reply["id"], "a");
}

#[test]
fn a_set_that_was_not_applied_at_every_point_is_never_replied_to() {
    let job = executed(set(&mut desk(), "m-1", r#"{"id":"a","params":{"limitA":7}}"#));
    let verdicts = [Verdict::Differs, Verdict::Refused, Verdict::Unknown, Verdict::Expired];
    let outcomes = verdicts.iter().map(|verdict| Outcome::failed(*verdict, "why"));
    for outcome in outcomes.chain([applied(&[Verdict::Applied, Verdict::Differs])]) {
        let Told::Nobody(event) = job.told(&outcome) else { panic!("{outcome:?} was replied to") };
        let value: serde_json::Value = serde_json::from_str(&event.value).unwrap();
        assert_eq!((event.name.as_str(), &value["id"]), ("commandFailed", &"a".into()));
        assert_eq!(value["device"], "meter");
        assert_eq!(value["verdict"], verdict_name(outcome.verdict));
    }
}

#[test]
fn what_is_not_configured_is_refused_without_asking_the_device() {
    let mut desk = desk();
    let (_, outcome) = answered(set(&mut desk, "m-1", r#"{"id":"a","params":{"limitA":7,"lmit":1}}"#));
    assert_eq!(
        (outcome.verdict, outcome.message.as_str()),
        (Verdict::Refused, "the device has no property lmit")
    );
    let (_, outcome) = answered(set(&mut desk, "m-1", r#"{"id":"b","params":{}}"#));
    assert_eq!(outcome.message, "the command names no property");
    let (job, outcome) = answered(set(&mut desk, "gw-1", r#"{"id":"c","params":{"x":1}}"#));
    assert!(matches!(job.told(&outcome), Told::Nobody(_)));
    assert_eq!(&*job.device, GATEWAY);
    assert!(matches!(set(&mut desk, "m-2", r#"{"id":"d","params":{"x":1}}"#), Decision::Complain(_)));
}

#[test]
fn an_id_is_carried_out_once() {
    let mut desk = desk();
    let payload = r#"{"id":"a","params":{"limitA":7}}"#;
    executed(set(&mut desk, "m-1", payload));
    assert_eq!(set(&mut desk, "m-1", payload), Decision::Ignore);
    assert_eq!(call(&mut desk, "m-1", "open", r#"{"id":"a","params":{}}"#, false), Decision::Ignore);
}

#[test]
fn the_memory_for_ids_is_bounded() {
    let mut desk = desk();
    for n in 0..3 * MAX_REMEMBERED {
        assert!(desk.first_time("m-1", &n.to_string()));
    }
    assert_eq!((desk.seen.len(), desk.order.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
    assert!(!desk.first_time("m-1", &(3 * MAX_REMEMBERED - 1).to_string()));
}

#[test]
fn the_gateway_answers_for_its_version_and_for_nothing_else() {
    let mut desk = desk();
    let (job, outcome) =
        answered(call(&mut desk, "gw-1", "getGatewayVersion", r#"{"id":"a","params":{}}"#, false));
    let (topic, reply) = said(job.told(&outcome));
    assert_eq!(topic, "/sys/p/gw-1/thing/service/getGatewayVersion_reply");
    assert_eq!((&reply["code"], &reply["data"]["Version"]), (&200.into(), &"9.9.9".into()));
    let (job, outcome) = answered(call(&mut desk, "gw-1", "reboot", r#"{"id":"b","params":{}}"#, false));
    let (_, reply) = said(job.told(&outcome));
    assert_eq!(reply["code"], 460);
    assert!(reply["message"].as_str().unwrap().contains("no function reboot"));
}

#[test]
fn a_call_is_always_answered_with_a_code() {
    let mut desk = desk();
    let job = executed(call(&mut desk, "m-1", "open", r#"{"id":"a","params":{"channel":1}}"#, false));
    let input = r#"{"channel":1}"#.to_owned();
    assert_eq!(job.action, Action::Invoke { function: "open".into(), input });
    let outcomes = [
        (Outcome { output: r#"{"resp":1}"#.into(), ..applied(&[]) }, 200),
        (Outcome::failed(Verdict::Refused, "no such function"), 460),
        (Outcome::failed(Verdict::Unknown, ""), 400),
        (Outcome::failed(Verdict::Expired, ""), 400),
        (Outcome::failed(Verdict::Differs, ""), 400),
        (applied(&[Verdict::Differs]), 400),
    ];
    for (outcome, code) in outcomes {
        let (topic, reply) = said(job.told(&outcome));
        assert_eq!(topic, "/sys/p/m-1/thing/service/open_reply");
        assert_eq!(reply["code"], code, "{outcome:?}");
        assert!(reply["data"].is_object());
    }
    let (job, outcome) = answered(call(&mut desk, "m-1", "open", r#"{"id":"b","params":{}}"#, true));
    assert_eq!(said(job.told(&outcome)).1["code"], 429);
    let (job, outcome) = answered(call(&mut desk, "m-1", "open", r#"{"id":"c","params":null}"#, false));
    assert_eq!(said(job.told(&outcome)).1["code"], 460);
}

#[test]
fn what_cannot_be_answered_is_complained_about_once() {
    let mut desk = desk();
    for payload in ["hello", "", "[]", r#"{"params":{}}"#, r#"{"id":1,"params":{}}"#] {
        assert!(matches!(set(&mut desk, "m-1", payload), Decision::Complain(_)), "{payload}");
        assert!(matches!(call(&mut desk, "m-1", "open", payload, false), Decision::Complain(_)), "{payload}");
    }
    assert!(matches!(set(&mut desk, "m-1", r#"{"id":"a","params":null}"#), Decision::Complain(_)));
}

#[tokio::test(start_paused = true)]
async fn a_reply_waits_until_the_platform_expects_it_and_never_comes_too_late() {
    let (replies, mut sent) = mpsc::channel(4);
    let outgoing = Outgoing { topic: "t".into(), payload: "{}".into() };
    let received = Instant::now();
    reply(outgoing.clone(), received, &replies).await;
    assert!(received.elapsed() >= Duration::from_millis(100));
    assert_eq!(sent.try_recv().unwrap(), outgoing);
    tokio::time::advance(DEADLINE).await;
    reply(outgoing, received, &replies).await;
    assert!(sent.try_recv().is_err(), "the caller may have given up");
}

proptest! {
    #[test]
    fn any_downlink_is_decided(payload in proptest::collection::vec(any::<u8>(), 0..200), function in "\\PC{0,20}") {
        let mut desk = desk();
        let _ = desk.decide(Inbound::PropertySet { product: "p", device: "m-1" }, &payload, false);
        let _ = desk.decide(Inbound::Service { product: "p", device: "m-1", function: &function }, &payload, false);
    }
}
