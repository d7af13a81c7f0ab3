//! The link against a real broker.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Stdio};

use rumqttc::{AsyncClient, Event, Packet, QoS};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::config::types::{Drain, Profile};
use crate::northbound::mosquitto::Mosquitto;
use crate::northbound::sagoo::topic;

const SOON: Duration = Duration::from_secs(20);

fn of(broker: &Mosquitto) -> SagooConfig {
    config(&format!("gw-{}", broker.port), "127.0.0.1", broker.port)
}

fn config(client_id: &str, host: &str, port: u16) -> SagooConfig {
    SagooConfig {
        broker: Broker { host: host.into(), port, tls: false },
        client_id: client_id.into(),
        username: None,
        password: None,
        ca: None,
        client_certificate: None,
        profile: Profile::Community,
        keep_alive: Duration::from_secs(30),
        heartbeat: Duration::from_secs(10),
        ack_timeout: Duration::from_secs(5),
        row_spacing: Duration::from_millis(250),
        drain: Drain::Ordered,
    }
}

struct Running {
    ends: Ends,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    fn start(config: SagooConfig) -> Self {
        let filters = topic::command_filters("m-1").into_iter().chain(topic::reply_filters("m-1"));
        let (link, ends) = Link::new(config, filters.collect());
        let stop = CancellationToken::new();
        let task = tokio::spawn(link.run(stop.clone()));
        Self { ends, stop, task }
    }

    async fn next(&mut self) -> Incoming {
        timeout(SOON, self.ends.incoming.recv()).await.expect("nothing happens").expect("the link has ended")
    }

    async fn connected(&mut self) -> u64 {
        loop {
            match self.next().await {
                Incoming::Connected { session } => return session,
                Incoming::Disconnected { .. } => {}
                Incoming::Message { topic, .. } => panic!("a message before the connection: {topic}"),
            }
        }
    }

    async fn trouble(&mut self) -> String {
        match self.next().await {
            Incoming::Disconnected { reason } => reason,
            other => panic!("no trouble: {other:?}"),
        }
    }

    async fn message(&mut self) -> (String, String) {
        match self.next().await {
            Incoming::Message { topic, payload, .. } => (topic, String::from_utf8(payload.to_vec()).unwrap()),
            other => panic!("no message: {other:?}"),
        }
    }

    async fn stopped(self) {
        self.stop.cancel();
        timeout(Duration::from_secs(2), self.task).await.expect("stops in time").unwrap();
    }
}

/// The platform's side: a plain client that publishes, and hands on what it receives.
async fn platform(port: u16) -> (AsyncClient, mpsc::Receiver<(String, String)>) {
    let mut options = MqttOptions::new("platform", "127.0.0.1", port);
    options.set_keep_alive(Duration::from_secs(30));
    let (client, mut events) = AsyncClient::new(options, 16);
    let (sender, received) = mpsc::channel(64);
    client.subscribe("/sys/+/+/thing/event/property/pack/post", QoS::AtLeastOnce).await.unwrap();
    let (ready, subscribed) = tokio::sync::oneshot::channel();
    let mut ready = Some(ready);
    tokio::spawn(async move {
        while let Ok(event) = events.poll().await {
            match event {
                Event::Incoming(Packet::SubAck(_)) => drop(ready.take().map(|ready| ready.send(()))),
                Event::Incoming(Packet::Publish(publish)) => {
                    let payload = String::from_utf8(publish.payload.to_vec()).unwrap();
                    let _ = sender.send((publish.topic, payload)).await;
                }
                _ => {}
            }
        }
    });
    timeout(SOON, subscribed).await.unwrap().unwrap();
    (client, received)
}

fn outgoing(payload: &str) -> Outgoing {
    let topic = "/sys/p/gw/thing/event/property/pack/post".into();
    Outgoing { topic, payload: payload.into(), before: None }
}

fn open(_: &Path) -> String {
    "allow_anonymous true".into()
}

#[tokio::test]
async fn messages_go_both_ways_and_retained_ones_are_ignored() {
    let broker = Mosquitto::start(open).await;
    let (platform, mut received) = platform(broker.port).await;
    let set = "/sys/p/m-1/thing/service/property/set";
    platform.publish(set, QoS::ExactlyOnce, true, "stale").await.unwrap();
    let mut link = Running::start(of(&broker));
    let session = link.connected().await;
    platform.publish(set, QoS::ExactlyOnce, false, "fresh").await.unwrap();
    assert_eq!(link.message().await, (set.to_owned(), "fresh".to_owned()));
    let reply = "/sys/p/m-1/thing/event/property/pack/post_reply";
    platform.publish(reply, QoS::ExactlyOnce, false, "ack").await.unwrap();
    assert_eq!(link.message().await.0, reply);
    for n in 0..500 {
        link.ends.outgoing.send((session, outgoing(&n.to_string()))).await.unwrap();
        assert_eq!(timeout(SOON, received.recv()).await.unwrap().unwrap().1, n.to_string());
    }
    link.stopped().await;
}

#[tokio::test]
async fn an_answer_that_is_too_late_is_not_published() {
    let broker = Mosquitto::start(open).await;
    let (_platform, mut received) = platform(broker.port).await;
    let mut link = Running::start(of(&broker));
    let session = link.connected().await;
    let now = Instant::now().into_std();
    let late = Outgoing { before: Some(now), ..outgoing("too late") };
    let good = Outgoing { before: Some(now + SOON), ..outgoing("in time") };
    for outgoing in [late, good] {
        link.ends.outgoing.send((session, outgoing)).await.unwrap();
    }
    assert_eq!(timeout(SOON, received.recv()).await.unwrap().unwrap().1, "in time");
    link.stopped().await;
}

#[tokio::test]
async fn an_ipv6_broker_is_found_and_its_certificate_can_match() {
    let mut config = config("c", "::1", 8883);
    assert_eq!(name(&config.broker), "mqtt://[::1]:8883");
    let (link, _ends) = Link::new(config.clone(), Vec::new());
    let (host, port) = link.options().await.unwrap().broker_address();
    // What the library makes of them.
    let found: Vec<_> = tokio::net::lookup_host(format!("{host}:{port}")).await.unwrap().collect();
    assert_eq!(found, ["[::1]:8883".parse().unwrap()]);
    let server = rustls_pki_types::ServerName::try_from(host.as_str()).unwrap();
    assert!(matches!(server, rustls_pki_types::ServerName::IpAddress(_)));
    config.broker.host = "b.example".into();
    assert_eq!(name(&config.broker), "mqtt://b.example:8883");
}

#[tokio::test]
async fn after_a_broker_restart_it_subscribes_again_and_repeats_nothing_by_itself() {
    let mut broker = Mosquitto::start(open).await;
    let mut link = Running::start(of(&broker));
    let first = link.connected().await;
    broker.kill();
    assert!(link.trouble().await.contains("closed"));
    link.ends.outgoing.send((first, outgoing("of the first session"))).await.unwrap();
    broker.restart().await;
    let back = Instant::now();
    let (platform, mut received) = platform(broker.port).await;
    let second = link.connected().await;
    assert!(back.elapsed() < Duration::from_secs(2), "{:?} after the broker came back", back.elapsed());
    assert!(second > first);
    link.ends.outgoing.send((second, outgoing("of the second"))).await.unwrap();
    assert_eq!(timeout(SOON, received.recv()).await.unwrap().unwrap().1, "of the second");
    platform.publish("/sys/p/m-1/thing/service/open", QoS::ExactlyOnce, false, "call").await.unwrap();
    assert_eq!(link.message().await.1, "call");
    link.stopped().await;
}

#[tokio::test]
async fn an_answer_is_subscribed_to_before_it_is_asked_for() {
    let broker = Mosquitto::start(open).await;
    let mut link = Running::start(of(&broker));
    let session = link.connected().await;
    for n in 0..100 {
        // What is published under a filter of our own comes back as an answer would, if the filter was there.
        let [_, topic] = topic::reply_filters(&format!("gone-{n}")).map(|filter| filter.replace('+', "p"));
        link.ends.filters.send_modify(|filters| filters.extend(topic::reply_filters(&format!("gone-{n}"))));
        let asked = Outgoing { topic: topic.clone(), ..outgoing("asked") };
        link.ends.outgoing.send((session, asked)).await.unwrap();
        assert_eq!(link.message().await, (topic, "asked".to_owned()));
    }
    link.stopped().await;
}

#[tokio::test]
async fn filters_that_come_later_are_subscribed_to_as_well() {
    let broker = Mosquitto::start(open).await;
    let (platform, _received) = platform(broker.port).await;
    let mut link = Running::start(of(&broker));
    link.connected().await;
    link.ends.filters.send_modify(|filters| filters.extend(topic::reply_filters("gone")));
    let reply = "/sys/p/gone/thing/event/property/pack/post_reply";
    let hear = async {
        loop {
            platform.publish(reply, QoS::AtLeastOnce, false, "ack").await.unwrap();
            if let Ok(message) = timeout(Duration::from_millis(100), link.ends.incoming.recv()).await {
                return message;
            }
        }
    };
    let heard = timeout(SOON, hear).await.expect("the new filter is never subscribed to");
    assert!(matches!(heard, Some(Incoming::Message { topic, .. }) if topic == reply));
    link.stopped().await;
}

#[tokio::test]
async fn bad_credentials_are_named_with_their_remedy_and_the_password_is_read_again() {
    let broker = Mosquitto::start(|dir| {
        let file = dir.join("passwords");
        fs::write(&file, "").unwrap();
        let made = Command::new("mosquitto_passwd").arg("-b").arg(&file).args(["gw", "right"]).status();
        assert!(made.expect("mosquitto_passwd is installed").success());
        format!("allow_anonymous false\npassword_file {}", file.display())
    })
    .await;
    let secret = broker.dir.path().join("password");
    fs::write(&secret, "wrong\n").unwrap();
    let config = SagooConfig { username: Some("gw".into()), password: Some(secret.clone()), ..of(&broker) };
    let mut link = Running::start(config);
    let refused = link.trouble().await;
    assert!(
        refused.contains("refused user name or password") || refused.contains("does not allow"),
        "{refused}"
    );
    fs::write(&secret, "right\n").unwrap();
    link.connected().await;
    link.stopped().await;
    assert!(Trouble::Credentials.remedy().contains("sagoo.password"));
    assert!(Trouble::NotAuthorized.remedy().contains("sagoo.password"));
}

#[tokio::test]
async fn every_trouble_says_what_it_is() {
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut nobody = Running::start(config("c", "127.0.0.1", closed));
    assert!(nobody.trouble().await.contains("nobody accepts connections"));
    nobody.stopped().await;
    let mut nowhere = Running::start(config("c", "no-such-broker.invalid", 1883));
    let reason = nowhere.trouble().await;
    assert!(reason.contains("cannot be resolved") || reason.contains("in time"), "{reason}");
    nowhere.stopped().await;
    let missing = Some(PathBuf::from("/nonexistent/mqtt-password"));
    let mut no_file = Running::start(SagooConfig { password: missing, ..config("c", "127.0.0.1", closed) });
    assert!(no_file.trouble().await.contains("/nonexistent/mqtt-password"));
    no_file.stopped().await;
    let ca = Some(PathBuf::from("/nonexistent/ca.pem"));
    let broker = Broker { host: "127.0.0.1".into(), port: closed, tls: true };
    let mut no_ca = Running::start(SagooConfig { ca, broker, ..config("c", "127.0.0.1", closed) });
    assert!(no_ca.trouble().await.contains("/nonexistent/ca.pem"));
    no_ca.stopped().await;
}

fn openssl(dir: &Path, arguments: &str) {
    let arguments = arguments.split(' ').collect::<Vec<_>>();
    let made = Command::new("openssl").current_dir(dir).args(arguments).stderr(Stdio::null()).status();
    assert!(made.expect("openssl is installed").success());
}

#[tokio::test]
async fn tls_verifies_the_broker() {
    let broker = Mosquitto::start(|dir| {
        let make = "req -x509 -newkey rsa:2048 -nodes -days 2";
        for name in ["trusted", "other"] {
            openssl(dir, &format!("{make} -subj /CN={name} -keyout {name}.key -out {name}.pem"));
        }
        openssl(dir, "req -newkey rsa:2048 -nodes -subj /CN=broker -keyout broker.key -out broker.csr");
        fs::write(dir.join("names"), "subjectAltName=IP:127.0.0.1").unwrap();
        let sign = "x509 -req -in broker.csr -CA trusted.pem -CAkey trusted.key -CAcreateserial -days 2";
        openssl(dir, &format!("{sign} -extfile names -out broker.pem"));
        let dir = dir.display();
        format!("allow_anonymous true\ncertfile {dir}/broker.pem\nkeyfile {dir}/broker.key")
    })
    .await;
    let with_ca = |name: &str| {
        let config = of(&broker);
        let ca = Some(broker.dir.path().join(name));
        SagooConfig { ca, broker: Broker { tls: true, ..config.broker.clone() }, ..config }
    };
    let mut stranger = Running::start(with_ca("other.pem"));
    let reason = stranger.trouble().await;
    assert!(reason.contains("TLS does not work"), "{reason}");
    stranger.stopped().await;
    let mut friend = Running::start(with_ca("trusted.pem"));
    friend.connected().await;
    friend.stopped().await;
    let mut plain = Running::start(of(&broker));
    plain.trouble().await;
    plain.stopped().await;
}
