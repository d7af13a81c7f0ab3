//! A host for one plugin process, and a gateway's end of one session.

use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use sagoo_driver_sdk::serde_json::Value as Json;
use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use sagoo_edge_proto::driver::{self as wire, Configure, HostMessage, driver_message::Message, host_message};
use sagoo_edge_proto::handshake::{
    Address, COOKIE_KEY, COOKIE_VALUE, Handshake, PLUGIN_CLIENT_CERT, PLUGIN_PROTOCOL_VERSIONS,
};
use sagoo_edge_proto::mtls::{Identity, SERVER_NAME, client_config};
use sagoo_edge_proto::plugin::Empty;
use sagoo_edge_proto::plugin::grpc_controller_client::GrpcControllerClient;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tower::service_fn;

pub(crate) const WAIT: Duration = Duration::from_secs(20);

/// Where cargo puts examples, which `cargo test` builds.
pub(crate) fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.parent().and_then(Path::parent).unwrap().join("examples").join(name);
    assert!(path.exists(), "{} is missing; build it with: cargo build --example {name}", path.display());
    path
}

pub(crate) struct Driver {
    pub(crate) child: Child,
    pub(crate) handshake: Handshake,
    pub(crate) dir: TempDir,
    identity: Option<Identity>,
}

pub(crate) fn command(name: &str, dir: &TempDir) -> tokio::process::Command {
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
    /// A driver as the gateway starts it.
    pub(crate) async fn start(name: &str, mtls: bool) -> Self {
        let identity = mtls.then(|| Identity::generate().unwrap());
        let driver = Self::start_with(name, identity, |_| {}).await;
        assert_eq!((driver.handshake.app, driver.handshake.protocol.as_str()), (1, "grpc"));
        assert_eq!(driver.handshake.server_cert.is_some(), mtls, "a certificate exactly when asked for");
        assert_eq!(driver.handshake.multiplex, None);
        driver
    }

    pub(crate) async fn start_with(
        name: &str,
        identity: Option<Identity>,
        prepare: impl FnOnce(&mut tokio::process::Command),
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = command(name, &dir);
        if let Some(identity) = &identity {
            command.env(PLUGIN_CLIENT_CERT, identity.cert_pem());
        }
        prepare(&mut command);
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        // Its end is closed with this line: a plugin must not mind.
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        timeout(WAIT, stdout.read_line(&mut line)).await.expect("a handshake in time").unwrap();
        let handshake = Handshake::parse(&line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
        Self { child, handshake, dir, identity }
    }

    pub(crate) async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        self.connect_as(self.identity.as_ref()).await
    }

    pub(crate) async fn connect_as(
        &self,
        identity: Option<&Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let tls = identity.map(|identity| {
            client_config(identity, self.handshake.server_cert.as_deref().expect("a certificate"))
        });
        self.connect_with(tls).await
    }

    pub(crate) async fn connect_with(
        &self,
        tls: Option<Arc<ClientConfig>>,
    ) -> Result<Channel, tonic::transport::Error> {
        let path = self.socket();
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

    pub(crate) fn socket(&self) -> PathBuf {
        let Address::Unix(path) = self.handshake.address.clone() else { panic!("a unix socket") };
        path
    }

    pub(crate) async fn exit(&mut self) -> ExitStatus {
        timeout(WAIT, self.child.wait()).await.expect("the driver ends").unwrap()
    }

    /// All it said, after its end; nothing when a test reads it elsewhere.
    pub(crate) async fn log(&mut self) -> Vec<Json> {
        let mut text = String::new();
        let Some(mut stderr) = self.child.stderr.take() else { return Vec::new() };
        stderr.read_to_string(&mut text).await.unwrap();
        text.lines().map(log_line).collect()
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let sent = std::process::Command::new("kill").args([signal, &pid]).status().unwrap();
        assert!(sent.success());
    }

    pub(crate) fn left_behind(&self) -> usize {
        std::fs::read_dir(self.dir.path()).unwrap().count()
    }
}

/// One line of the log, as a Go host wants it.
pub(crate) fn log_line(line: &str) -> Json {
    let json: Json =
        sagoo_driver_sdk::serde_json::from_str(line).unwrap_or_else(|error| panic!("{line:?}: {error}"));
    assert_eq!(json["@timestamp"].as_str().map(str::len), Some(27), "{line}");
    assert!(json["@level"].is_string() && json["@message"].is_string(), "{line}");
    json
}

pub(crate) type Duplex = std::pin::Pin<Box<dyn Both>>;
pub(crate) trait Both: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send {}
impl<T: tokio::io::AsyncRead + tokio::io::AsyncWrite + Send> Both for T {}

pub(crate) fn either(stream: impl Both + 'static) -> Duplex {
    Box::pin(stream)
}

pub(crate) struct Session {
    to_driver: mpsc::Sender<HostMessage>,
    pub(crate) from_driver: Streaming<wire::DriverMessage>,
}

impl Session {
    pub(crate) async fn open(channel: &Channel) -> (Self, Vec<u8>) {
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

    pub(crate) async fn configure(&mut self, settings: &str) -> wire::Configured {
        let configure =
            Configure { generation: 9, configuration: Some(one_device(settings)), hold: Vec::new() };
        self.send(host_message::Message::Configure(configure)).await;
        self.wait_for(|message| match message {
            Message::Configured(configured) => Some(configured),
            _ => None,
        })
        .await
    }

    pub(crate) async fn send(&self, message: host_message::Message) {
        self.to_driver.send(HostMessage { message: Some(message) }).await.unwrap();
    }

    pub(crate) async fn wait_for<T>(&mut self, wanted: impl Fn(Message) -> Option<T>) -> T {
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

pub(crate) fn one_device(settings: &str) -> wire::Configuration {
    let connection = wire::Connection { name: "demo".into(), settings: "{}".into() };
    let device = wire::Device {
        name: "wave".into(),
        connection: "demo".into(),
        settings: settings.into(),
        ..Default::default()
    };
    wire::Configuration { connections: vec![connection], devices: vec![device], ..Default::default() }
}

pub(crate) async fn healthy(channel: &Channel, service: &str) -> bool {
    let request = HealthCheckRequest { service: service.to_owned() };
    let answer = HealthClient::new(channel.clone()).check(request).await.unwrap().into_inner();
    answer.status() == ServingStatus::Serving
}

pub(crate) async fn shut_down(mut driver: Driver, channel: Channel) {
    let asked = Instant::now();
    let _ = GrpcControllerClient::new(channel).shutdown(Empty {}).await;
    let status = driver.exit().await;
    assert_eq!(status.code(), Some(0), "{:?}", driver.log().await);
    assert!(asked.elapsed() < Duration::from_secs(2), "it took {:?}", asked.elapsed());
    assert_eq!(driver.left_behind(), 0, "a socket was left behind");
}
