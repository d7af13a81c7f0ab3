//! What is decided about downlinks, and who is told.

use proptest::prelude::*;
use serde_json::Value as Json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::desk::MAX_REMEMBERED;
use super::*;
use crate::class::Class;
use crate::commands::{PointOutcome, Quality, Routes, router};
use crate::config::load;
use crate::pipeline::record::Decoder;
use crate::row::{Event, GATEWAY};
use crate::state;

fn identity(key: &str) -> Identity {
    Identity { product_key: "p".into(), device_key: key.into() }
}

fn desk() -> Desk {
    let points =
        BTreeMap::from([("limitA".to_owned(), "limit".to_owned()), ("on".to_owned(), "on".to_owned())]);
    Desk::new(&identity("gw-1"), [("meter".into(), identity("m-1"), points.into())])
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
        quality: Quality::Good,
    };
    Outcome { points: points.iter().map(point).collect(), ..Outcome::failed(Verdict::Applied, "") }
}

fn told(job: &Job, outcome: &Outcome) -> Told {
    job.told(outcome, Instant::now())
}

fn said(told: Told) -> (String, Json) {
    match told {
        Told::Platform(answer) => {
            (answer.outgoing.topic, serde_json::from_str(&answer.outgoing.payload).unwrap())
        }
        Told::Nobody(_, event) => panic!("nobody hears it: {event:?}"),
    }
}

/// The value of the event that is stored.
fn stored(told: Told) -> Json {
    match told {
        Told::Nobody(device, event) => {
            let value: Json = serde_json::from_str(&event.value).unwrap();
            assert_eq!((event.name, value["device"].as_str()), ("commandFailed", Some(&*device)));
            value
        }
        Told::Platform(answer) => panic!("the platform hears it: {answer:?}"),
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
    let (topic, reply) = said(told(&job, &applied(&[Verdict::Applied, Verdict::Applied])));
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
        let value = stored(told(&job, &outcome));
        assert_eq!((&value["id"], &value["device"]), (&"a".into(), &"meter".into()));
        assert_eq!(value["verdict"], outcome.verdict.word());
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
    assert!(matches!(told(&job, &outcome), Told::Nobody(..)));
    assert_eq!(&*job.device, GATEWAY);
    assert!(matches!(set(&mut desk, "m-2", r#"{"id":"d","params":{"x":1}}"#), Decision::Complain(_)));
}

#[test]
fn an_id_is_carried_out_once() {
    let mut desk = desk();
    let payload = r#"{"id":"a","params":{"limitA":7}}"#;
    executed(set(&mut desk, "m-1", payload));
    assert!(matches!(set(&mut desk, "m-1", payload), Decision::Repeat(_)));
    let again = call(&mut desk, "m-1", "open", r#"{"id":"a","params":{}}"#, false);
    assert!(matches!(again, Decision::Repeat(_)), "{again:?}");
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
fn a_call_of_the_gateway_itself_goes_through_the_door_of_all_commands() {
    let mut desk = desk();
    let payload = r#"{"id":"a","params":{"driver":"modbus"}}"#;
    let job = executed(call(&mut desk, "gw-1", "rebootDriver", payload, false));
    assert_eq!((&*job.device, job.request(5).device.as_str()), (GATEWAY, GATEWAY));
    let output = r#"{"driver":"modbus","pid":7}"#.to_owned();
    let (topic, reply) = said(told(&job, &Outcome { output, ..applied(&[]) }));
    assert_eq!(topic, "/sys/p/gw-1/thing/service/rebootDriver_reply");
    assert_eq!((&reply["code"], &reply["data"]["pid"]), (&200.into(), &7.into()));
    let (_, outcome) = answered(call(&mut desk, "gw-1", "rebootDriver", r#"{"id":"b","params":{}}"#, true));
    assert_eq!(outcome.message, BUSY);
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
        let (topic, reply) = said(told(&job, &outcome));
        assert_eq!(topic, "/sys/p/m-1/thing/service/open_reply");
        assert_eq!(reply["code"], code, "{outcome:?}");
        assert!(reply["data"].is_object());
    }
    let (job, outcome) = answered(call(&mut desk, "m-1", "open", r#"{"id":"b","params":{}}"#, true));
    assert_eq!(said(told(&job, &outcome)).1["code"], 429);
    let (job, outcome) = answered(call(&mut desk, "m-1", "open", r#"{"id":"c","params":null}"#, false));
    assert_eq!(said(told(&job, &outcome)).1["code"], 460);
}

#[test]
fn what_cannot_be_answered_is_complained_about_once() {
    let mut desk = desk();
    for payload in ["hello", "", "[]", r#"{"params":{}}"#, r#"{"id":1,"params":{}}"#] {
        assert!(matches!(set(&mut desk, "m-1", payload), Decision::Complain(_)), "{payload}");
        assert!(matches!(call(&mut desk, "m-1", "open", payload, false), Decision::Complain(_)), "{payload}");
    }
}

#[test]
fn what_says_who_asks_but_not_what_is_refused_and_told() {
    let odd = ["null", "[1]", "7", "{\"limitA\":null}"];
    for (n, params) in odd.iter().enumerate() {
        let mut desk = desk();
        let payload = format!(r#"{{"id":"a{n}","params":{params}}}"#);
        let (job, outcome) = answered(set(&mut desk, "m-1", &payload));
        let value = stored(told(&job, &outcome));
        assert_eq!((&value["id"], &value["verdict"]), (&format!("a{n}").into(), &"refused".into()));
        assert!(value["message"].as_str().unwrap().contains(&format!("a{n} is ")), "{value}");
        assert!(matches!(set(&mut desk, "m-1", &payload), Decision::Repeat(_)), "told twice");
        let payload = format!(r#"{{"id":"b{n}","params":{params}}}"#);
        let (job, outcome) = answered(call(&mut desk, "m-1", "open", &payload, false));
        let (topic, reply) = said(told(&job, &outcome));
        assert_eq!((topic.as_str(), &reply["code"]), ("/sys/p/m-1/thing/service/open_reply", &460.into()));
        assert!(matches!(call(&mut desk, "m-1", "open", &payload, false), Decision::Repeat(_)));
    }
    let (job, outcome) = answered(set(&mut desk(), "m-1", r#"{"id":"c"}"#));
    assert!(stored(told(&job, &outcome))["message"].as_str().unwrap().contains("missing"));
}

#[test]
fn a_long_reason_is_cut_so_that_the_event_is_not_announced_empty() {
    let payload = serde_json::json!({ "id": "a", "params": { "电".repeat(5_000): 1 } }).to_string();
    let (job, outcome) = answered(set(&mut desk(), "m-1", &payload));
    let value = stored(told(&job, &outcome));
    assert_eq!(value["message"].as_str().unwrap().chars().count(), MAX_REASON_CHARS);
    assert!(value.to_string().chars().count() < super::super::payload::clean::MAX_EVENT_CHARS);
}

#[tokio::test(start_paused = true)]
async fn every_command_ends_while_an_answer_can_still_leave() {
    let received = Instant::now();
    let never = in_time(std::future::pending(), received).await;
    assert_eq!((never.verdict, received.elapsed()), (Verdict::Unknown, GIVE_UP));
    let before = Some((received + REPLY_BEFORE).into_std());
    let of = |decision| match executed(decision).told(&never, received) {
        Told::Platform(answer) => answer,
        Told::Nobody(..) => panic!("nobody hears it"),
    };
    let answer = of(call(&mut desk(), "m-1", "open", r#"{"id":"a","params":{}}"#, false));
    assert_eq!((answer.outgoing.before, answer.instead), (before, None));
}

#[tokio::test(start_paused = true)]
async fn a_set_applied_after_the_deadline_is_answered_as_long_as_the_caller_waits() {
    let received = Instant::now();
    let slow = async {
        sleep_until(received + DEADLINE + Duration::from_secs(1)).await;
        applied(&[Verdict::Applied])
    };
    let outcome = in_time(slow, received).await;
    let job = executed(set(&mut desk(), "m-1", r#"{"id":"a","params":{"limitA":7}}"#));
    let Told::Platform(answer) = job.told(&outcome, received) else { panic!("{outcome:?} is not answered") };
    assert_eq!(answer.outgoing.before, Some((received + REPLY_BEFORE).into_std()));
    assert!(answer.outgoing.before > Some(Instant::now().into_std()));
    let (device, event) = answer.instead.unwrap();
    assert_eq!((&*device, event.name), ("meter", "commandFailed"));
    assert!(event.value.contains("too late"), "{}", event.value);
}

/// Commands for one device whose driver takes everything and answers nothing.
struct Stuck {
    downlink: Downlink,
    replies: mpsc::Receiver<Answer>,
    pipeline: pipeline::Handle,
    stop: CancellationToken,
    _driver: mpsc::Receiver<commands::Dispatch>,
    _dir: tempfile::TempDir,
}

impl Stuck {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let toml = "gateway = { product_key = \"p\", device_key = \"gw-1\" }\n\
            sagoo = { broker = \"mqtt://localhost\" }\nbuffer = { dir = \"buffer\" }\n";
        std::fs::write(dir.path().join("gateway.toml"), toml).unwrap();
        let (pipeline, _) = pipeline::task::start(&load(dir.path()).config.unwrap()).unwrap();
        let (state, _) = state::start(dir.path().join("state"));
        let (door, driver) = mpsc::channel(MAX_RUNNING);
        let routes = Routes {
            devices: [("meter".to_owned(), "fake".into())].into(),
            drivers: [("fake".into(), door)].into(),
            own: None,
        };
        let (commands, router) = router(routes, state);
        let stop = CancellationToken::new();
        tokio::spawn(router.run(stop.clone()));
        let (answers, replies) = mpsc::channel(4);
        let points = BTreeMap::from([("limitA".to_owned(), "limit".to_owned())]);
        let devices = [("meter".into(), identity("m-1"), points.into())];
        let downlink = Downlink::new(&identity("gw-1"), devices, commands, pipeline.clone(), answers);
        Self { downlink, replies, pipeline, stop, _driver: driver, _dir: dir }
    }

    fn call(&mut self, id: usize) {
        let inbound = Inbound::Service { product: "p", device: "m-1", function: "open" };
        let payload = format!(r#"{{"id":"call-{id}","params":{{}}}}"#);
        self.downlink.handle("t", inbound, payload.as_bytes(), Instant::now());
    }

    fn set(&mut self, id: usize) {
        let inbound = Inbound::PropertySet { product: "p", device: "m-1" };
        let payload = format!(r#"{{"id":"set-{id}","params":{{"limitA":1}}}}"#);
        self.downlink.handle("t", inbound, payload.as_bytes(), Instant::now());
    }

    /// Events that are stored.
    async fn events(&self) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let records = self.pipeline.read(Class::Event, 1, usize::MAX).await.unwrap().unwrap();
        let rows = records.iter().flat_map(|record| decoder.decode(&record.payload).unwrap());
        rows.filter_map(|row| row.unwrap().event).collect()
    }
}

#[tokio::test]
async fn above_the_limit_calls_are_told_so_and_sets_raise_the_event() {
    let mut stuck = Stuck::new();
    let (calls, sets) = (MAX_OPEN + 40, 30);
    let received = Instant::now();
    (0..calls).for_each(|id| stuck.call(id));
    (0..sets).for_each(|id| stuck.set(id));
    let mut busy = std::collections::BTreeSet::new();
    while busy.len() < calls - MAX_RUNNING {
        let answer =
            timeout(Duration::from_secs(20), stuck.replies.recv()).await.expect("a call is not answered");
        let reply: Json = serde_json::from_str(&answer.unwrap().outgoing.payload).unwrap();
        assert_eq!(reply["code"], 429, "{reply}");
        assert!(busy.insert(reply["id"].as_str().unwrap().to_owned()), "told twice: {reply}");
        assert!(received.elapsed() >= Duration::from_millis(100), "told too early");
    }
    let told = async {
        while stuck.events().await.len() < sets {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(20), told).await.expect("a set is dropped without a word");
    for event in stuck.events().await {
        assert!(event.name == "commandFailed" && event.value.contains("refused"), "{event:?}");
    }
    assert_eq!(stuck.downlink.received(), (calls + sets) as u64);
    stuck.stop.cancel();
    stuck.pipeline.stop().await;
}

#[tokio::test]
async fn a_flood_is_bounded() {
    let mut stuck = Stuck::new();
    (0..2 * (MAX_OPEN + MAX_REFUSED)).for_each(|id| stuck.call(id));
    assert_eq!(stuck.downlink.open.len(), MAX_OPEN + MAX_REFUSED);
    stuck.stop.cancel();
    stuck.pipeline.stop().await;
}

proptest! {
    #[test]
    fn any_downlink_is_decided(payload in proptest::collection::vec(any::<u8>(), 0..200), function in "\\PC{0,20}") {
        let mut desk = desk();
        let _ = desk.decide(Inbound::PropertySet { product: "p", device: "m-1" }, &payload, false);
        let _ = desk.decide(Inbound::Service { product: "p", device: "m-1", function: &function }, &payload, false);
    }
}
