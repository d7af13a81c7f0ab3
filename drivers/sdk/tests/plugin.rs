//! A driver as a process, seen from a host: the real binary, the real socket, the real signals.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on must fail")]

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sagoo_driver_sdk::serde_json::Value as Json;
use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::driver::{
    self as wire, CheckRequest, Command, Configure, DescribeRequest, HostMessage, PointValue, ScanRequest,
    command::Action, driver_message::Message, host_message,
};
use sagoo_edge_proto::handshake::{
    Address, COOKIE_KEY, COOKIE_VALUE, Handshake, PLUGIN_CLIENT_CERT, PLUGIN_PROTOCOL_VERSIONS,
};
use sagoo_edge_proto::mtls::{Identity, SERVER_NAME, client_config};
use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_broker_client::GrpcBrokerClient;
use sagoo_edge_proto::plugin::grpc_controller_client::GrpcControllerClient;
use sagoo_edge_proto::plugin::grpc_stdio_client::GrpcStdioClient;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

const WAIT: Duration = Duration::from_secs(20);

/// Where cargo puts examples, which `cargo test` builds.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing; build it with: cargo build --example {name}", path.display());
    path
}

struct Driver {
    child: Child,
    handshake: Handshake,
    dir: TempDir,
    identity: Option<Identity>,
}

fn command(name: &str, dir: &TempDir) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(example(name));
    command
        .env(COOKIE_KEY, COOKIE_VALUE)
        .env(PLUGIN_PROTOCOL_VERSIONS, "7,1")
        .env("TMPDIR", dir.path())
        .env_remove(PLUGIN_CLIENT_CERT)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    command
}

impl Driver {
    async fn start(name: &str, mtls: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(name, &dir);
        let identity = mtls.then(|| Identity::generate().unwrap());
        if let Some(identity) = &identity {
            command.env(PLUGIN_CLIENT_CERT, identity.cert_pem());
        }
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        timeout(WAIT, stdout.read_line(&mut line)).await.expect("a handshake in time").unwrap();
        let handshake = Handshake::parse(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        assert_eq!((handshake.app, handshake.protocol.as_str()), (1, "grpc"));
        assert_eq!(handshake.server_cert.is_some(), mtls, "a certificate exactly when asked for");
        assert_eq!(handshake.multiplex, None);
        Self { child, handshake, dir, identity }
    }

    async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.connect_as(self.identity.as_ref()).await
    }

    async fn connect_as(&self, identity: Option<&Identity>) -> Result<Channel, tonic::transport::Error> {
        let Address::Unix(path) = self.handshake.address.clone() else { panic!("a unix socket") };
        let tls = identity.map(|identity| {
            client_config(identity, self.handshake.server_cert.as_deref().expect("a certificate"))
        });
        let connector = service_fn(move |_| {
            let (path, tls) = (path.clone(), tls.clone());
            async move {
                let stream = UnixStream::connect(path).await?;
                let Some(tls) = tls else { return Ok::<_, std::io::Error>(TokioIo::new(either(stream))) };
                let name = ServerName::try_from(SERVER_NAME).expect("a name");
                let stream = TlsConnector::from(tls).connect(name, stream).await?;
                Ok(TokioIo::new(either(stream)))
            }
        });
        Endpoint::from_static("http://localhost").connect_with_connector(connector).await
    }

    async fn exit(&mut self) -> ExitStatus {
        timeout(WAIT, self.child.wait()).await.expect("the driver ends").unwrap()
    }

    async fn log(&mut self) -> Vec<Json> {
        let mut text = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut text).await.unwrap();
        text.lines()
            .map(|line| {
                let json: Json = sagoo_driver_sdk::serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("{line:?}: {error}"));
                assert_eq!(json["@timestamp"].as_str().map(str::len), Some(27), "{line}");
                assert!(json["@level"].is_string() && json["@message"].is_string(), "{line}");
                json
            })
            .collect()
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    fn left_behind(&self) -> usize {
        std::fs::read_dir(self.dir.path()).unwrap().count()
    }
}

type Duplex = std::pin::Pin<Box<dyn Both>>;
trait Both: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send> Both for T {}

fn either(stream: impl Both + 'static) -> Duplex {
    Box::pin(stream)
}

struct Session {
    to_driver: mpsc::Sender<HostMessage>,
    from_driver: Streaming<wire::DriverMessage>,
}

impl Session {
    async fn open(channel: &Channel) -> (Self, Vec<u8>) {
        let (to_driver, messages) = mpsc::channel(8);
        let opened = DriverClient::new(channel.clone()).session(ReceiverStream::new(messages)).await.unwrap();
        let mut session = Self { to_driver, from_driver: opened.into_inner() };
        let hello = session.wait_for(|message| match message {
            Message::Hello(hello) => Some(hello),
            other => panic!("{other:?} before hello"),
        });
        let hello = hello.await;
        assert_eq!(hello.boot_id, clock::boot_id());
        (session, hello.instance)
    }

    async fn configure(&mut self, settings: &str) -> wire::Configured {
        let configure =
            Configure { generation: 9, configuration: Some(one_device(settings)), hold: Vec::new() };
        self.send(host_message::Message::Configure(configure)).await;
        self.wait_for(|message| match message {
            Message::Configured(configured) => Some(configured),
            _ => None,
        })
        .await
    }

    async fn send(&self, message: host_message::Message) {
        self.to_driver.send(HostMessage { message: Some(message) }).await.unwrap();
    }

    async fn wait_for<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
        let search = async {
            loop {
                let message = self.from_driver.message().await.unwrap().expect("the session goes on");
                if let Some(found) = wanted(message.message.unwrap()) {
                    return found;
                }
            }
        };
        timeout(WAIT, search).await.expect("the message comes")
    }
}

fn one_device(settings: &str) -> wire::Configuration {
    let connection = wire::Connection { name: "demo".into(), settings: "{}".into() };
    let device = wire::Device {
        name: "wave".into(),
        connection: "demo".into(),
        settings: settings.into(),
        ..Default::default()
    };
    wire::Configuration { connections: vec![connection], devices: vec![device], ..Default::default() }
}

async fn healthy(channel: &Channel, service: &str) -> bool {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    answer.status() == ServingStatus::Serving
}

async fn shut_down(mut driver: Driver, channel: Channel) {
    let asked = Instant::now();
    let _ = GrpcControllerClient::new(channel).shutdown(Empty {}).await;
    let status = driver.exit().await;
    assert_eq!(status.code(), Some(0), "{:?}", driver.log().await);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    assert_eq!(driver.left_behind(), 0, "a socket was left behind");
}

#[tokio::test]
async fn without_the_cookie_it_says_what_it_is_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let output = command("sine", &dir).env_remove(COOKIE_KEY).output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("sine") && text.contains("sagoo-edge starts it"), "{text}");
}

#[tokio::test]
async fn a_host_can_use_every_service() {
    let driver = Driver::start("sine", false).await;
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await && healthy(&channel, "").await);

    let mut client = DriverClient::new(channel.clone());
    let description = client.describe(DescribeRequest {}).await.unwrap().into_inner();
    assert_eq!(description.name, "sine");
    let check = CheckRequest { configuration: Some(one_device(r#"{"period_ms": 3}"#)) };
    let problems = client.check(check).await.unwrap().into_inner().problems;
    assert_eq!(problems[0].path, ["device", "wave", "period_ms"]);
    let scan = client.scan(ScanRequest::default()).await.unwrap_err();
    assert_eq!(scan.code(), tonic::Code::Unimplemented);

    let stdio = GrpcStdioClient::new(channel.clone()).stream_stdio(()).await.unwrap();
    let (offers, broker) = mpsc::channel(1);
    let first =
        GrpcBrokerClient::new(channel.clone()).start_stream(ReceiverStream::new(broker)).await.unwrap();
    drop((offers, first));
    let (_offers, broker) = mpsc::channel(1);
    let second =
        GrpcBrokerClient::new(channel.clone()).start_stream(ReceiverStream::new(broker)).await.unwrap();

    let (mut session, instance) = Session::open(&channel).await;
    assert_eq!(instance.len(), 16);
    let configured = session.configure(r#"{"period_ms": 20}"#).await;
    assert_eq!((configured.generation, configured.problems.len()), (9, 0));
    assert_eq!(configured.devices[0].points, ["wave", "amplitude"]);
    assert_eq!(configured.devices[0].writable, [false, true]);
    let write = wire::Write {
        values: vec![PointValue {
            point: "amplitude".into(),
            value: Some(sagoo_driver_sdk::Value::Float(2.5).into()),
        }],
    };
    let command = Command {
        id: "c1".into(),
        deadline_boot_ns: clock::boot_ns() + 10_000_000_000,
        device: "wave".into(),
        action: Some(Action::Write(write)),
    };
    session.send(host_message::Message::Command(command)).await;
    let result = session.wait_for(|message| match message {
        Message::CommandResult(result) => Some(result),
        _ => None,
    });
    assert_eq!(result.await.status(), wire::Status::Applied);
    let batch = |message| match message {
        Message::Batch(batch) => Some(batch),
        _ => None,
    };
    let seq = session.wait_for(batch).await.seq;
    session.send(host_message::Message::Ack(wire::Ack { seq })).await;
    assert_eq!(session.wait_for(batch).await.seq, seq + 1);
    // Every stream is still open: ending must not wait for them.
    shut_down(driver, channel).await;
    drop((stdio, second, session));
}

#[tokio::test]
async fn only_the_host_with_the_pinned_certificate_gets_in() {
    let driver = Driver::start("sine", true).await;
    let stranger = Identity::generate().unwrap();
    for identity in [None, Some(&stranger)] {
        let turned_away = match driver.connect_as(identity).await {
            Err(_) => true,
            Ok(channel) => DriverClient::new(channel).describe(DescribeRequest {}).await.is_err(),
        };
        assert!(turned_away, "with {} certificate", if identity.is_some() { "another" } else { "no" });
    }
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await);
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn a_host_may_come_back_and_finds_the_same_driver() {
    let driver = Driver::start("sine", true).await;
    let channel = driver.connect().await.unwrap();
    let (session, first) = Session::open(&channel).await;
    drop((session, channel));
    let channel = driver.connect().await.unwrap();
    let (_session, second) = Session::open(&channel).await;
    assert_eq!(first, second);
    shut_down(driver, channel).await;
}

#[tokio::test]
async fn interrupts_are_for_the_host_and_termination_is_clean() {
    let mut driver = Driver::start("sine", false).await;
    driver.signal("-INT");
    let channel = driver.connect().await.unwrap();
    assert!(healthy(&channel, "plugin").await);
    let (_session, _) = Session::open(&channel).await;
    driver.signal("-TERM");
    assert_eq!(driver.exit().await.code(), Some(0));
    assert_eq!(driver.left_behind(), 0);
    driver.log().await;
}

#[tokio::test]
async fn a_driver_whose_gateway_is_lost_ends() {
    let mut driver = Driver::start("sine", false).await;
    let channel = driver.connect().await.unwrap();
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    drop((session, channel));
    let lost = Instant::now();
    assert_eq!(driver.exit().await.code(), Some(0));
    assert!(lost.elapsed() < Duration::from_secs(6), "it took {:?}", lost.elapsed());
    assert_eq!(driver.left_behind(), 0);
}

#[tokio::test]
async fn a_driver_whose_host_died_ends() {
    let dir = tempfile::tempdir().unwrap();
    // The shell is the host: it starts the driver and is killed.
    let mut host = tokio::process::Command::new("sh")
        .args(["-c", "\"$0\" & wait"])
        .arg(example("sine"))
        .env(COOKIE_KEY, COOKIE_VALUE)
        .env("TMPDIR", dir.path())
        .env_remove(PLUGIN_CLIENT_CERT)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdout = BufReader::new(host.stdout.take().unwrap());
    let mut line = String::new();
    timeout(WAIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
    host.kill().await.unwrap();
    let mut rest = String::new();
    timeout(WAIT, stdout.read_to_string(&mut rest)).await.expect("the driver ends").unwrap();
    assert_eq!(rest, "", "nothing but the handshake is ever printed");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_panic_ends_the_process_with_one_error_line() {
    let mut driver = Driver::start("panics", false).await;
    let channel = driver.connect().await.unwrap();
    let (mut session, _) = Session::open(&channel).await;
    session.configure("{}").await;
    assert_eq!(driver.exit().await.code(), Some(101));
    assert_eq!(driver.left_behind(), 0);
    let log = driver.log().await;
    let panics: Vec<_> = log.iter().filter(|line| line["@level"] == "error").collect();
    assert_eq!(panics.len(), 1, "{log:?}");
    assert_eq!(panics[0]["@message"], "driver panicked: this driver always does");
}

#[tokio::test]
async fn a_certificate_that_is_none_is_an_error_and_not_a_handshake() {
    let dir = tempfile::tempdir().unwrap();
    let output = command("sine", &dir).env(PLUGIN_CLIENT_CERT, "nonsense").output().await.unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty());
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("AutoMTLS"), "{text}");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_temporary_directory_with_a_long_name_is_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let long = dir.path().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    let mut child = command("sine", &dir).env("TMPDIR", &long).spawn().unwrap();
    let mut line = String::new();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    timeout(WAIT, stdout.read_line(&mut line)).await.unwrap().unwrap();
    let Address::Unix(path) = Handshake::parse(&line).unwrap().address else { panic!("a unix socket") };
    assert!(line.contains("|/tmp/plugin"), "{line}");
    let pid = child.id().unwrap().to_string();
    assert!(std::process::Command::new("kill").arg(&pid).status().unwrap().success());
    assert_eq!(timeout(WAIT, child.wait()).await.unwrap().unwrap().code(), Some(0));
    assert!(!path.exists() && !path.parent().unwrap().exists());
}
