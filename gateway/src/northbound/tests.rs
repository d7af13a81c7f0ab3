//! Everything of this room together: a real buffer below, a real broker above, and a platform that
//! answers.

use std::time::Duration;

use rumqttc::{AsyncClient, Event as MqttEvent, MqttOptions, Packet, QoS};
use sagoo_edge_proto::clock;
use sagoo_edge_proto::sample::{Quality, Sample, pack};
use serde_json::Value as Json;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::deadletter::ASKS;
use super::mosquitto::Mosquitto;
use super::*;
use crate::commands::{Dispatch, Outcome, Routes, Verdict, router};
use crate::config::load;
use crate::pipeline::handle::Arrived;
use crate::row::{GATEWAY, Value};
use crate::state;
use crate::status::Ledger;

const SOON: Duration = Duration::from_secs(30);

/// The platform's side of the broker: acknowledges whatever asks for it, and tells what it saw.
async fn platform(port: u16) -> (AsyncClient, mpsc::UnboundedReceiver<(String, Json)>) {
    let mut options = MqttOptions::new(format!("platform-{port}"), "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 256);
    let (seen, received) = mpsc::unbounded_channel();
    let answers = client.clone();
    tokio::spawn(async move {
        loop {
            match events.poll().await {
                Ok(MqttEvent::Incoming(Packet::ConnAck(_))) => {
                    for filter in [
                        "event/property/post",
                        "event/property/pack/post",
                        "service/+",
                        "service/property/set_reply",
                    ] {
                        let _ = answers.try_subscribe(format!("/sys/+/+/thing/{filter}"), QoS::AtLeastOnce);
                    }
                }
                Ok(MqttEvent::Incoming(Packet::Publish(publish))) => {
                    let message: Json = serde_json::from_slice(&publish.payload).unwrap();
                    if message["sys"]["ack"] == 1 {
                        let reply = serde_json::json!({ "code": 200, "id": message["id"], "data": {} });
                        let topic = format!("{}_reply", publish.topic);
                        let _ = answers.try_publish(topic, QoS::ExactlyOnce, false, reply.to_string());
                    }
                    let _ = seen.send((publish.topic, message));
                }
                Ok(_) => {}
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    (client, received)
}

struct Gateway {
    pipeline: pipeline::Handle,
    doors: mpsc::Receiver<Dispatch>,
    status: watch::Receiver<NorthboundStatus>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
    _dir: tempfile::TempDir,
    _online: watch::Sender<HashSet<String>>,
}

impl Gateway {
    fn start(port: u16) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let toml = format!(
            r#"
            [gateway]
            product_key = "edge-gw"
            device_key = "gw-1"
            [sagoo]
            broker = "mqtt://127.0.0.1:{port}"
            [connection.hall]
            driver = "fake"
            [model.meter]
            [model.meter.points]
            count = {{}}
            [device.a]
            connection = "hall"
            model = "meter"
            sagoo = {{ product_key = "meter", device_key = "a-1" }}
            "#
        );
        std::fs::write(dir.path().join("gateway.toml"), toml).unwrap();
        let mut config = load(dir.path()).config.unwrap();
        config.buffer.dir = dir.path().join("buffer");
        let (pipeline, _) = pipeline::task::start(&config).unwrap();
        let (state, _) = state::start(dir.path().join("state"));
        let (door, doors) = mpsc::channel(4);
        let routes = Routes {
            devices: [("a".to_owned(), "fake".into())].into(),
            drivers: [("fake".into(), door.clone())].into(),
            own: Some(door),
        };
        let (commands, router) = router(routes, state.clone());
        let (_, asked) = mpsc::channel(ASKS);
        let stop = CancellationToken::new();
        tokio::spawn(router.run(stop.clone()));
        let (online, online_seen) = watch::channel(HashSet::from(["a".to_owned()]));
        let (status, status_seen) = watch::channel(NorthboundStatus::default());
        let setup = Setup {
            config: config.sagoo.clone(),
            gateway: config.gateway.clone(),
            devices: vec![DeviceOnPlatform {
                name: "a".into(),
                identity: config.devices["a"].identity.clone(),
                points: BTreeMap::from([("limitA".to_owned(), "limit".to_owned())]).into(),
            }],
            pipeline: pipeline.clone(),
            commands,
            status,
            online: online_seen,
            state,
            dead_letters: dir.path().join("deadletters"),
            asked,
            said: watch::Sender::default(),
        };
        let task = tokio::spawn(run(setup, stop.clone()));
        Self { pipeline, doors, status: status_seen, stop, task, _dir: dir, _online: online }
    }

    async fn sample(&self, number: u64) {
        self.read(number, Some(Value::Uint(number)), Quality::Good).await;
    }

    async fn read(&self, seq: u64, value: Option<Value>, quality: Quality) {
        let sample = Sample { point: 0, value, quality, boot_ns: clock::boot_ns() };
        let arrived = Arrived {
            driver: "fake".into(),
            instance: [7; 16],
            boot_id: clock::boot_id().into(),
            seq,
            numbers: Arc::new([(0, (Arc::from("a"), Arc::new(vec![Arc::from("count")])))].into()),
            devices: vec![pack(0, &[sample], clock::trusted_wall_ms())],
        };
        self.pipeline.batch(arrived).await.unwrap();
    }

    async fn ledger(&self) -> Ledger {
        self.pipeline.snapshot().await.unwrap().devices["a"].ledger
    }

    async fn acknowledged(&self, samples: u64) {
        let all = async {
            while self.ledger().await.acknowledged < samples {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(SOON, all).await.expect("not everything is acknowledged");
    }

    async fn stopped(self) {
        let asked = Instant::now();
        self.stop.cancel();
        self.task.await.unwrap().unwrap();
        assert!(asked.elapsed() < Duration::from_millis(1_100), "{:?} to stop", asked.elapsed());
        self.pipeline.stop().await;
    }
}

/// The next message on a topic that ends like this.
async fn next(
    seen: &mut mpsc::UnboundedReceiver<(String, Json)>,
    tail: &str,
    has: impl Fn(&Json) -> bool,
) -> Json {
    let find = async {
        loop {
            let (topic, message) = seen.recv().await.unwrap();
            if topic.ends_with(tail) && has(&message) {
                return message;
            }
        }
    };
    timeout(SOON, find).await.unwrap_or_else(|_| panic!("nothing on {tail}"))
}

fn counts(seen: &mut mpsc::UnboundedReceiver<(String, Json)>) -> Vec<u64> {
    let mut counts = Vec::new();
    while let Ok((_, message)) = seen.try_recv() {
        for sub in message["params"]["subDevices"].as_array().into_iter().flatten() {
            counts.extend(sub["properties"]["count"]["value"].as_u64());
        }
    }
    counts
}

fn open(_: &std::path::Path) -> String {
    "allow_anonymous true".into()
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_reach_the_platform_once_and_in_order_also_across_a_broker_outage() {
    let mut broker = Mosquitto::start(open).await;
    let (_platform, mut seen) = platform(broker.port).await;
    let mut gateway = Gateway::start(broker.port);
    gateway.sample(1).await;
    gateway.acknowledged(1).await;
    let status = timeout(SOON, gateway.status.wait_for(|status| status.known_devices.len() == 2)).await;
    assert!(status.unwrap().unwrap().connected);
    broker.kill();
    timeout(SOON, gateway.status.wait_for(|status| !status.connected)).await.unwrap().unwrap();
    for number in 2..=8 {
        gateway.sample(number).await;
    }
    broker.restart().await;
    gateway.acknowledged(8).await;
    assert_eq!(counts(&mut seen), (1..=8).collect::<Vec<_>>());
    assert_eq!(gateway.ledger().await.waiting, 0);
    gateway.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_quality_leaves_before_ten_thousand_rows_that_waited_longer() {
    let mut broker = Mosquitto::start(open).await;
    broker.kill();
    let gateway = Gateway::start(broker.port);
    for number in 1..=10_000 {
        gateway.sample(number).await;
    }
    gateway.read(10_001, None, Quality::Bad("no answer".to_owned())).await;
    let (_platform, mut seen) = platform(broker.port).await;
    broker.restart().await;
    let says_something = |message: &Json| message["params"]["subDevices"][0].is_object();
    let first = next(&mut seen, "pack/post", says_something).await;
    let said = &first["params"]["subDevices"][0];
    assert_eq!(said["properties"], serde_json::json!({}), "{first}");
    assert_eq!(said["events"]["quality"]["value"]["reason"], "no answer", "{first}");
    let second = next(&mut seen, "pack/post", says_something).await;
    assert_eq!(second["params"]["subDevices"][0]["properties"]["count"]["value"], 1, "{second}");
    gateway.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_property_set_is_answered_only_if_the_device_did_it() {
    let broker = Mosquitto::start(open).await;
    let (platform, mut seen) = platform(broker.port).await;
    let mut gateway = Gateway::start(broker.port);
    timeout(SOON, gateway.status.wait_for(|status| status.known_devices.len() == 2)).await.unwrap().unwrap();
    let topic = "/sys/meter/a-1/thing/service/property/set";
    let set =
        |id: &str| serde_json::json!({ "id": id, "version": "1.0.0", "params": { "limitA": 7 } }).to_string();
    let asked = Instant::now();
    for _ in 0..2 {
        platform.publish(topic, QoS::ExactlyOnce, false, set("first")).await.unwrap();
    }
    let dispatch = timeout(SOON, gateway.doors.recv()).await.unwrap().unwrap();
    assert_eq!(dispatch.request.device, "a");
    dispatch.reply.send(Outcome::failed(Verdict::Applied, "")).unwrap();
    let reply = next(&mut seen, "set_reply", |_| true).await;
    assert_eq!((&reply["id"], &reply["code"]), (&"first".into(), &200.into()));
    assert!(asked.elapsed() >= Duration::from_millis(100));

    gateway.sample(1).await;
    platform.publish(topic, QoS::ExactlyOnce, false, set("second")).await.unwrap();
    let dispatch = timeout(SOON, gateway.doors.recv()).await.unwrap().unwrap();
    dispatch.reply.send(Outcome::failed(Verdict::Differs, "reads back 6")).unwrap();
    let announced = |message: &Json| message.to_string().contains("commandFailed");
    let event = next(&mut seen, "pack/post", announced).await;
    let value = &event["params"]["subDevices"][0]["events"]["commandFailed"]["value"];
    assert_eq!((&value["id"], &value["verdict"]), (&"second".into(), &"differs".into()));
    let version = serde_json::json!({ "id": "third", "params": {} }).to_string();
    let call = "/sys/edge-gw/gw-1/thing/service/getGatewayVersion";
    for _ in 0..2 {
        platform.publish(call, QoS::ExactlyOnce, false, version.clone()).await.unwrap();
    }
    let dispatch = timeout(SOON, gateway.doors.recv()).await.unwrap().unwrap();
    assert_eq!(dispatch.request.device, GATEWAY);
    let output = r#"{"Version":"9.9.9"}"#.to_owned();
    dispatch.reply.send(Outcome { output, ..Outcome::failed(Verdict::Applied, "") }).unwrap();
    let mut replies = 0;
    let answered = |message: &Json| message["id"] == "third" && message["code"] == 200;
    let reply = timeout(SOON, async {
        loop {
            let (topic, message) = seen.recv().await.unwrap();
            replies += usize::from(topic.ends_with("set_reply"));
            if topic.ends_with("_reply") && answered(&message) {
                return message;
            }
        }
    });
    assert_eq!(reply.await.unwrap()["data"]["Version"], "9.9.9");
    assert_eq!(replies, 0, "a repeated id or a failed write was replied to");
    assert!(gateway.doors.try_recv().is_err(), "a repeated id was carried out again");
    gateway.stopped().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopping_without_a_broker_is_quick() {
    let gateway = Gateway::start(1);
    gateway.sample(1).await;
    gateway.stopped().await;
}
