//! The life of a plugin's process, from its first line to its end.
//!
//! Always true: the socket listens before the line that announces it; the first of many reasons to
//! end decides the exit status; after it everything has [`SHUTDOWN_GRACE`].

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use rustix::process::{Pid, getppid};
use sagoo_edge_proto::broker::{Broker, Listener, Setup};
use sagoo_edge_proto::handshake::{
    CORE_VERSION, Handshake, PLUGIN_MULTIPLEX_GRPC, PLUGIN_PROTOCOL_VERSIONS, PROTOCOL_GRPC, negotiate,
};
use sagoo_edge_proto::mtls::MtlsError;
use sagoo_edge_proto::plugin::grpc_controller_server::GrpcControllerServer;
use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdioServer;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::task::JoinHandle;
use tokio::time::{interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tracing::{debug, error, info, warn};

use super::security::Security;
use super::services::{Controller, Mirror};
use super::socket::{Socket, SocketError};
use super::stdio::{Capture, Stdio};
use super::{Build, PANICKED, Plug, Plugin, SHUTDOWN_GRACE};

/// How often the process looks whether its host still lives.
const WATCH_HOST: Duration = Duration::from_secs(1);
/// The service name go-plugin's hosts ask the health of.
const HEALTH_SERVICE: &str = "plugin";
/// Pause after an error of `accept`, such as no free file descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// Longest wait for a host that has its answer to hang up.
const HANG_UP: Duration = Duration::from_millis(100);
/// Longest wait for a host that reads the last of what was printed.
const DRAIN: Duration = Duration::from_millis(150);

/// Why a plugin could not start.
#[derive(Debug, thiserror::Error)]
pub(super) enum StartError {
    #[error("it serves no version of its application; call Plugin::version")]
    NoVersion,
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("AutoMTLS: {0}")]
    Mtls(#[from] MtlsError),
    #[error("signal handlers: {0}")]
    Signals(io::Error),
    #[error("handshake on stdout: {0}; the host is gone")]
    Handshake(io::Error),
    #[error("mirroring stdout: {0}")]
    Stdio(io::Error),
}

/// Starts, serves and ends.
pub(super) async fn run(plugin: Plugin, panicked: CancellationToken) -> Result<ExitCode, StartError> {
    let Plugin { mut versions, own_tls, outlives_host, .. } = plugin;
    let host = if outlives_host { None } else { getppid() };
    // From here on SIGINT does nothing: Ctrl-C reaches the whole group, and the host decides.
    let _interrupts = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;

    let (version, build) = choose(&mut versions)?;
    let Socket { listener, remove } = Socket::bind()?;
    let Security { tls, cert } = own_tls.map_or_else(Security::from_environment, Ok)?;
    let multiplex = std::env::var(PLUGIN_MULTIPLEX_GRPC).ok().filter(|asked| !asked.is_empty());
    let handshake = Handshake {
        core: CORE_VERSION,
        app: version,
        address: remove.address(),
        protocol: PROTOCOL_GRPC.to_owned(),
        server_cert: cert,
        // Only when asked: older hosts would take it for a part of the certificate.
        multiplex: multiplex.as_ref().map(|_| "true".to_owned()),
    };
    let end = CancellationToken::new();
    let setup = Setup { sockets: remove.dir(), peer_sockets: None, tls };
    let (broker, incoming) = if multiplex.is_some_and(|asked| is_true(&asked)) {
        let (broker, incoming) = Broker::for_one_connection(setup);
        tokio::spawn(carry(broker.clone(), listener, end.clone()));
        (broker, incoming)
    } else {
        let server = setup.tls.as_ref().and_then(|tls| tls.server.clone());
        (Broker::new(setup), Listener::of_socket(listener, server, &end))
    };
    let stdio = Stdio::default();
    let mut plug =
        Plug { version, broker: broker.clone(), stdio: stdio.clone(), end: end.clone(), work: None };
    let routes = build(&mut plug);
    let controller = Controller { end: end.clone(), printed: CancellationToken::new() };
    let printed = controller.printed.clone();
    let services = routes
        .add_service(broker.service())
        .add_service(GrpcControllerServer::new(controller))
        .add_service(GrpcStdioServer::new(Mirror { stdio: stdio.clone() }));
    let server = serve(services, end.clone(), incoming).await;

    // Nothing of the author's runs before the line: it might print.
    announce(&handshake).map_err(StartError::Handshake)?;
    let capture = Capture::start(stdio).map_err(StartError::Stdio)?;
    debug!(address = %handshake.address, "plugin address");
    let work = plug.work.map(tokio::spawn);
    let mut running = Running { server: tokio::spawn(server), work, terminate };
    let code = running.until_end(&end, &panicked, host).await;
    end.cancel();
    let finish = running.finish(capture, &printed, &broker);
    if timeout(SHUTDOWN_GRACE, finish).await.is_err() {
        debug!("connections were still open when the plugin ended");
    }
    broker.close();
    drop(remove);
    Ok(code)
}

/// The version both sides speak, as Go chooses it. Without one the host will say so; here it stands
/// in the log for whoever looks at the plugin.
fn choose(versions: &mut BTreeMap<u32, Build>) -> Result<(u32, Build), StartError> {
    let offered = std::env::var(PLUGIN_PROTOCOL_VERSIONS).ok();
    let ours: Vec<u32> = versions.keys().copied().collect();
    let version = negotiate(offered.as_deref(), &ours);
    let build = versions.remove(&version).ok_or(StartError::NoVersion)?;
    if let Some(offered) =
        offered.filter(|offered| !offered.split(',').any(|item| item.parse() == Ok(version)))
    {
        warn!(host = offered, plugin = ?ours, "host and plugin have no version in common, update the older of the two");
    }
    Ok((version, build))
}

/// Go's idea of a yes.
fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// Multiplexed mode: the host's one connection, and after its loss the next.
async fn carry(broker: Broker, socket: UnixListener, end: CancellationToken) {
    loop {
        let accepted = tokio::select! {
            () = end.cancelled() => return,
            accepted = socket.accept() => accepted,
        };
        match accepted {
            Ok((connection, _)) => {
                if let Err(error) = broker.carry(connection).await {
                    debug!(%error, "the connection that carries all others ended");
                }
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// The server with every service, ready to run.
async fn serve(
    services: Routes,
    end: CancellationToken,
    incoming: Listener,
) -> impl Future<Output = Result<(), tonic::transport::Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(HEALTH_SERVICE, ServingStatus::Serving).await;
    Server::builder()
        .add_routes(services)
        .add_service(health)
        .serve_with_incoming_shutdown(incoming, end.cancelled_owned())
}

/// Prints the one line, at once.
fn announce(handshake: &Handshake) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{handshake}")?;
    stdout.flush()
}

/// What goes on until the end.
struct Running {
    server: JoinHandle<Result<(), tonic::transport::Error>>,
    work: Option<JoinHandle<ExitCode>>,
    terminate: Signal,
}

impl Running {
    /// Waits for the first reason to end.
    async fn until_end(
        &mut self,
        end: &CancellationToken,
        panicked: &CancellationToken,
        host: Option<Pid>,
    ) -> ExitCode {
        // In this order: `end` makes the server and the work end, too.
        tokio::select! {
            biased;
            () = panicked.cancelled() => ExitCode::from(PANICKED),
            () = end.cancelled() => ExitCode::SUCCESS,
            _ = self.terminate.recv() => {
                info!("told to terminate");
                ExitCode::SUCCESS
            }
            () = host_death(host) => {
                warn!("the host is gone, the plugin ends");
                ExitCode::SUCCESS
            }
            code = work_done(&mut self.work) => code,
            served = &mut self.server => {
                error!(?served, "the server ended by itself");
                ExitCode::FAILURE
            }
        }
    }

    /// Lets work end, then output, then the last answers and streams.
    async fn finish(self, capture: Capture, printed: &CancellationToken, broker: &Broker) {
        let Self { mut server, work, .. } = self;
        if let Some(work) = work.filter(|work| !work.is_finished()) {
            let _ = work.await;
        }
        capture.finish(DRAIN).await;
        printed.cancel();
        if server.is_finished() {
            return;
        }
        // A host that has its answer hangs up. In multiplexed mode the broker holds its connection,
        // so it goes last.
        if timeout(HANG_UP, &mut server).await.is_err() {
            broker.close();
            let _ = server.await;
        }
    }
}

async fn work_done(work: &mut Option<JoinHandle<ExitCode>>) -> ExitCode {
    match work {
        Some(running) => running.await.unwrap_or(ExitCode::from(PANICKED)),
        None => std::future::pending().await,
    }
}

/// Comes back when the process has another parent than at its start; never without a host.
async fn host_death(host: Option<Pid>) {
    let Some(host) = host else { return std::future::pending().await };
    let mut ticks = interval(WATCH_HOST);
    while getppid() == Some(host) {
        ticks.tick().await;
    }
}
