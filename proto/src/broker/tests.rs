//! Two brokers and what lies between them: calls in both directions, both ways, with and without TLS.

use std::fs;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use tempfile::TempDir;
use tokio::net::UnixListener;
use tonic::codegen::tokio_stream::StreamExt as _;
use tonic::transport::Server;
use tonic::{Request, Response, Status};

use super::*;
use crate::mtls::{self, Identity};
use crate::plugin::grpc_broker_client::GrpcBrokerClient;
use crate::plugin::grpc_controller_client::GrpcControllerClient;
use crate::plugin::grpc_controller_server::{GrpcController, GrpcControllerServer};
use crate::plugin::{ConnInfo, Empty};

const LONG: Duration = Duration::from_secs(20);

/// A service that counts its calls.
#[derive(Clone, Default)]
struct Bell(Arc<AtomicUsize>);

#[tonic::async_trait]
impl GrpcController for Bell {
    async fn shutdown(&self, _: Request<Empty>) -> Result<Response<Empty>, Status> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(Response::new(Empty {}))
    }
}

impl Bell {
    fn services(&self) -> Router {
        Server::builder().add_service(GrpcControllerServer::new(self.clone()))
    }

    fn rung(&self) -> usize {
        self.0.load(Ordering::SeqCst)
    }
}

async fn ring(channel: Channel) -> Result<(), Status> {
    GrpcControllerClient::new(channel).shutdown(Empty {}).await.map(drop)
}

/// A host and a plugin, connected, with the broker's stream open.
struct Pair {
    dir: TempDir,
    host: Broker,
    plugin: Broker,
    main: Channel,
}

fn tls(own: &Identity, peer: &Identity) -> Tls {
    Tls {
        client: Some(mtls::client_config(own, peer.cert_der())),
        server: Some(mtls::server_config(own, peer.cert_der())),
    }
}

impl Pair {
    async fn new(one_connection: bool, secure: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (host_id, plugin_id) = (Identity::generate().unwrap(), Identity::generate().unwrap());
        let setup = |own: &Identity, peer: &Identity| Setup {
            sockets: dir.path().to_owned(),
            peer_sockets: Some(dir.path().to_owned()),
            tls: secure.then(|| tls(own, peer)),
        };
        let (host_setup, plugin_setup) = (setup(&host_id, &plugin_id), setup(&plugin_id, &host_id));
        let (host_raw, plugin_raw) = UnixStream::pair().unwrap();
        let (host, plugin, main) = if one_connection {
            let (plugin, listener) = Broker::for_one_connection(plugin_setup);
            let carrying = plugin.clone();
            tokio::spawn(async move { carrying.carry(plugin_raw).await });
            serve_main(&plugin, listener);
            let host = Broker::on_one_connection(host_setup, host_raw);
            let connecting = host.clone();
            let main = connected(move || {
                let host = connecting.clone();
                async move { host.main().await }
            });
            (host, plugin, main.await)
        } else {
            let plugin = Broker::new(plugin_setup);
            let path = dir.path().join("main");
            let socket = UnixListener::bind(&path).unwrap();
            let server = secure.then(|| mtls::server_config(&plugin_id, host_id.cert_der()));
            serve_main(&plugin, Listener::of_socket(socket, server, &plugin.closed));
            let own = host_setup.tls.clone();
            let main = connected(move || connect(Dialed::At(Address::Unix(path.clone())), own.clone()));
            (Broker::new(host_setup), plugin, main.await)
        };
        stream(&host, &main).await;
        Self { dir, host, plugin, main }
    }

    fn sockets(&self) -> usize {
        files(self.dir.path()).iter().filter(|name| name.starts_with('b')).count()
    }
}

fn serve_main(plugin: &Broker, listener: Listener) {
    let server = Server::builder().add_service(plugin.service());
    tokio::spawn(server.serve_with_incoming_shutdown(listener, plugin.closed.clone().cancelled_owned()));
}

async fn connected<F: Future<Output = io::Result<Connection>> + Send + 'static>(
    connect: impl Fn() -> F + Send + Sync + 'static,
) -> Channel {
    let connector = service_fn(move |_| {
        let connecting = connect();
        async move { connecting.await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector(connector).await.unwrap()
}

/// Opens a stream from the host, replacing an earlier one; never waits for its answer.
async fn stream(host: &Broker, main: &Channel) -> JoinHandle<Status> {
    let Attached { outgoing, pump } = host.attach().await.unwrap();
    let mut client = GrpcBrokerClient::new(main.clone());
    tokio::spawn(async move {
        match client.start_stream(outgoing).await {
            Ok(incoming) => pump.run(incoming.into_inner()).await,
            Err(status) => {
                pump.broken().await;
                status
            }
        }
    })
}

fn files(dir: &Path) -> Vec<String> {
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name().into_string().unwrap();
    fs::read_dir(dir).unwrap().map(name).collect()
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(LONG, waiting).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// The four ways two sides may be connected.
const WAYS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];

#[tokio::test]
async fn either_side_calls_the_other_by_number_in_each_way() {
    for (one_connection, secure) in WAYS {
        let pair = Pair::new(one_connection, secure).await;
        let (at_host, at_plugin) = (Bell::default(), Bell::default());
        assert_eq!((pair.host.next_id(), pair.plugin.next_id(), pair.host.next_id()), (1, 1, 2));
        // the same number both ways is two connections
        let of_host = pair.host.serve(1, at_host.services()).await.unwrap();
        let of_plugin = pair.plugin.serve(1, at_plugin.services()).await.unwrap();
        ring(pair.host.dial(1).await.unwrap()).await.unwrap();
        ring(pair.plugin.dial(1).await.unwrap()).await.unwrap();
        assert_eq!((at_host.rung(), at_plugin.rung()), (1, 1), "{one_connection} {secure}");
        assert_eq!(pair.sockets(), if one_connection { 0 } else { 2 });
        of_host.stop().await;
        drop(of_plugin);
        until("the sockets are removed", || pair.sockets() == 0).await;
        pair.host.close();
        pair.plugin.close();
        assert!(matches!(pair.host.dial(1).await, Err(BrokerError::Closed)));
        assert!(matches!(pair.plugin.accept(5).await, Err(BrokerError::Closed)));
    }
}

#[tokio::test]
async fn forty_dials_at_once_each_reach_their_own_service() {
    for (one_connection, secure) in WAYS {
        let pair = Pair::new(one_connection, secure).await;
        let bells: Vec<Bell> = (0..40).map(|_| Bell::default()).collect();
        let mut serving = Vec::new();
        let mut dialing = tokio::task::JoinSet::new();
        for (index, bell) in bells.iter().enumerate() {
            // half of them from either side, at the same time
            let (from, to) =
                if index % 2 == 0 { (&pair.host, &pair.plugin) } else { (&pair.plugin, &pair.host) };
            let id = to.next_id();
            serving.push(to.serve(id, bell.services()).await.unwrap());
            let from = from.clone();
            dialing.spawn(async move {
                let channel = from.dial(id).await.unwrap();
                for _ in 0..=index {
                    ring(channel.clone()).await.unwrap();
                }
            });
        }
        timeout(LONG, dialing.join_all()).await.expect("all of them connect");
        let rung: Vec<usize> = bells.iter().map(Bell::rung).collect();
        assert_eq!(rung, (1..=40).collect::<Vec<_>>(), "{one_connection} {secure}");
    }
}

#[tokio::test]
async fn a_socket_outside_the_other_sides_directory_is_not_connected_to() {
    let pair = Pair::new(false, true).await;
    let elsewhere = tempfile::tempdir().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(elsewhere.path().join("control")).unwrap();
    listener.set_nonblocking(true).unwrap();
    let info = ConnInfo {
        service_id: 7,
        network: "unix".into(),
        address: elsewhere.path().join("control").display().to_string(),
        knock: None,
    };
    // as if a plugin that means harm had said so
    pair.host.asks.send(Ask::Received { generation: 0, info }).await.unwrap();
    let error = pair.host.dial(7).await.unwrap_err().to_string();
    assert!(error.contains("outside its own directory"), "{error}");
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock, "nobody connected");
}

#[tokio::test(start_paused = true)]
async fn an_id_nobody_accepts_fails_after_five_seconds_and_says_so() {
    for (one_connection, words) in [(false, "no connection info for id 9"), (true, "nobody accepts id 9")] {
        let pair = Pair::new(one_connection, false).await;
        let started = tokio::time::Instant::now();
        let error = pair.host.dial(9).await.unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
        assert!(started.elapsed() <= routes_wait(), "{:?}", started.elapsed());
    }
}

fn routes_wait() -> Duration {
    super::routes::WAIT + Duration::from_millis(50)
}

#[tokio::test]
async fn a_peer_without_the_pinned_key_gets_nothing() {
    let pair = Pair::new(false, true).await;
    let bell = Bell::default();
    let _serving = pair.plugin.serve(1, bell.services()).await.unwrap();
    let name = files(pair.dir.path()).into_iter().find(|name| name.starts_with('b')).unwrap();
    let address = Address::Unix(pair.dir.path().join(name));
    let stranger = Identity::generate().unwrap();
    let own = Tls { client: Some(mtls::client_config(&stranger, &[])), server: None };
    assert!(connect(Dialed::At(address.clone()), Some(own)).await.is_err());
    // without TLS the bytes go nowhere
    let raw = connect(Dialed::At(address), None).await.unwrap();
    let mut raw = Some(raw);
    let connector = service_fn(move |_| {
        let raw = raw.take().ok_or_else(|| io::Error::from(io::ErrorKind::NotConnected));
        async move { raw.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost").connect_with_connector(connector).await;
    let rung = match channel {
        Ok(channel) => ring(channel).await.is_ok(),
        Err(_) => false,
    };
    assert!(!rung && bell.rung() == 0);
    ring(pair.host.dial(1).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn one_tls_direction_only_says_which_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let own = Identity::generate().unwrap();
    let client = Some(mtls::client_config(&own, own.cert_der()));
    let tls = Some(Tls { client, server: None });
    let broker = Broker::new(Setup { sockets: dir.path().to_owned(), tls, ..Setup::default() });
    let error = broker.accept(1).await.unwrap_err().to_string();
    assert!(error.contains("to accept brokered connections"), "{error}");
}

#[tokio::test]
async fn a_new_stream_takes_the_place_of_the_old_one_and_listeners_are_said_again() {
    for one_connection in [false, true] {
        let pair = Pair::new(one_connection, true).await;
        let bell = Bell::default();
        let _serving = pair.plugin.serve(1, bell.services()).await.unwrap();
        let host = pair.host.clone();
        let waiting = tokio::spawn(async move { host.dial(9).await });
        // the dial is under way when it has reached the hub, which answers in order
        drop(pair.host.accept(77).await.unwrap());
        drop(stream(&pair.host, &pair.main).await);
        let error = waiting.await.unwrap().unwrap_err();
        assert!(matches!(error, BrokerError::Lost(9)), "{error}");
        // the info of before is gone with the old stream, so this one comes from the new
        ring(pair.host.dial(1).await.unwrap()).await.unwrap();
        assert_eq!(bell.rung(), 1);
    }
}

#[tokio::test]
async fn a_plugin_without_the_service_is_known_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::new(Setup { sockets: dir.path().to_owned(), ..Setup::default() });
    broker.unsupported().await;
    assert!(matches!(broker.dial(1).await, Err(BrokerError::Unsupported)));
}

#[tokio::test]
async fn a_channel_connects_again_after_a_loss_in_each_way() {
    for one_connection in [false, true] {
        let pair = Pair::new(one_connection, true).await;
        let mut listener = pair.plugin.accept(1).await.unwrap();
        let bell = Bell::default();
        let (first, second) = (bell.clone(), bell.clone());
        let serving = tokio::spawn(async move {
            // the first connection is dropped as soon as it is there, the second one served
            drop(listener.next().await.unwrap().unwrap());
            first.services().serve_with_incoming(listener).await
        });
        let channel = pair.host.dial(1).await;
        let called = async {
            let channel = match channel {
                Ok(channel) => channel,
                // the loss came before HTTP/2 did
                Err(BrokerError::Grpc { .. } | BrokerError::Connect { .. }) => return true,
                Err(error) => panic!("{error}"),
            };
            while ring(channel.clone()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
            second.rung() > 0
        };
        assert!(timeout(LONG, called).await.unwrap(), "one connection: {one_connection}");
        serving.abort();
    }
}

#[tokio::test]
async fn the_one_connection_carries_large_messages_both_ways_and_ends_when_closed() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let pair = Pair::new(true, true).await;
    let mut listener = pair.host.accept(3).await.unwrap();
    let echo = tokio::spawn(async move {
        let connection = listener.next().await.unwrap().unwrap();
        let (mut read, mut write) = tokio::io::split(connection);
        tokio::io::copy(&mut read, &mut write).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let dialed = pair.plugin.asked(|waiter| Ask::Dial { id: 3, waiter }).await.unwrap();
    let (mut read, mut write) =
        tokio::io::split(connect(dialed, pair.plugin.shared.setup.tls.clone()).await.unwrap());
    let sent: Vec<u8> = (0..5_000_000_u32).map(|byte| byte as u8).collect();
    let expected = sent.clone();
    let sending = tokio::spawn(async move {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    });
    let mut back = Vec::new();
    timeout(LONG, read.read_to_end(&mut back)).await.expect("no stall").unwrap();
    assert!(back == expected);
    sending.await.unwrap();
    echo.await.unwrap();
    pair.host.close();
    let error = ring(pair.main.clone()).await.unwrap_err();
    assert!(!error.message().is_empty());
    let error = pair.plugin.dial(1).await.unwrap_err();
    assert!(
        matches!(error, BrokerError::Lost(1) | BrokerError::NoSession | BrokerError::NoAnswer { .. }),
        "{error}"
    );
}
