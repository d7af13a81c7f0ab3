//! The process of a driver: go-plugin's plugin side.
//!
//! ```text
//! cookie → log → version → socket → TLS when asked for → services → one line on stdout → serve
//! ```
//! Always true: stdout carries the handshake line and nothing else; whatever ends the process
//! (`Shutdown`, SIGTERM, a lost host, a panic), the lines are given up, the socket is removed, and
//! it takes at most [`SHUTDOWN_GRACE`]. SIGINT is for the host, which tells its drivers to stop.

mod accept;
mod log;
mod services;
mod socket;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use rustix::process::getppid;
use rustls::ServerConfig;
use sagoo_edge_proto::driver::driver_server::DriverServer;
use sagoo_edge_proto::handshake::{
    APP_VERSION, COOKIE_KEY, COOKIE_VALUE, CORE_VERSION, Handshake, PLUGIN_CLIENT_CERT,
    PLUGIN_PROTOCOL_VERSIONS, PROTOCOL_GRPC, negotiate,
};
use sagoo_edge_proto::mtls::{self, Identity, MtlsError};
use sagoo_edge_proto::plugin::grpc_broker_server::GrpcBrokerServer;
use sagoo_edge_proto::plugin::grpc_controller_server::GrpcControllerServer;
use sagoo_edge_proto::plugin::grpc_stdio_server::GrpcStdioServer;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tracing::{debug, error, info, warn};

use self::services::{Contract, Plugin};
use self::socket::{Socket, SocketError};
use crate::driver::Driver;
use crate::session::{self, Ended};

/// Longest time from being told to end until the process is gone.
pub(crate) const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// How often the process looks whether its host still lives.
const WATCH_HOST: Duration = Duration::from_secs(1);
/// Largest message taken from a host; a configuration of many thousand points fits.
const MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// The service name go-plugin's hosts ask the health of.
const HEALTH_SERVICE: &str = "plugin";
/// Sessions waiting for the driver to notice them.
const SESSIONS: usize = 4;
/// Exit status after a panic, as Rust's own.
const PANICKED: u8 = 101;

/// Runs a driver until its gateway ends it. This is all a driver's `main` does:
/// `fn main() -> std::process::ExitCode { sagoo_driver_sdk::serve(MyDriver) }`.
///
/// Started by hand it says what it is and ends with status 1.
pub fn serve<D: Driver>(driver: D) -> ExitCode {
    let name = driver.describe().name;
    if std::env::var(COOKIE_KEY).as_deref() != Ok(COOKIE_VALUE) {
        let _ = writeln!(
            io::stderr(),
            "This is the driver {name:?} of Sagoo Edge, a plugin that is not started by hand.\n\
             Put it into a directory named in [drivers] dirs of gateway.toml; sagoo-edge starts it\n\
             for every connection with driver = {name:?}."
        );
        return ExitCode::FAILURE;
    }
    log::install();
    let panicked = CancellationToken::new();
    log::report_panics(panicked.clone());
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            error!(%error, "no runtime for the driver");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(async {
        match run(driver, panicked).await {
            Ok(code) => code,
            Err(error) => {
                error!(%error, "the driver could not start");
                ExitCode::FAILURE
            }
        }
    });
    // What is still running had its time.
    runtime.shutdown_background();
    code
}

/// Why a driver could not start.
#[derive(Debug, thiserror::Error)]
enum StartError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("AutoMTLS: {0}")]
    Mtls(#[from] MtlsError),
    #[error("signal handlers: {0}")]
    Signals(io::Error),
    #[error("handshake on stdout: {0}; the host is gone")]
    Handshake(io::Error),
}

async fn run<D: Driver>(driver: D, panicked: CancellationToken) -> Result<ExitCode, StartError> {
    let host = getppid();
    // From here on SIGINT does nothing: Ctrl-C reaches the whole group, and the host decides.
    let _interrupts = signal(SignalKind::interrupt()).map_err(StartError::Signals)?;
    let mut terminate = signal(SignalKind::terminate()).map_err(StartError::Signals)?;

    let host_versions = std::env::var(PLUGIN_PROTOCOL_VERSIONS).ok();
    let app = negotiate(host_versions.as_deref(), &[APP_VERSION]);
    let Socket { listener, remove } = Socket::bind()?;
    let address = remove.address();
    let (tls, server_cert) = tls()?;
    let handshake = Handshake {
        core: CORE_VERSION,
        app,
        address,
        protocol: PROTOCOL_GRPC.to_owned(),
        server_cert,
        multiplex: None,
    };
    let end = CancellationToken::new();
    let driver = Arc::new(driver);
    let (sessions, opens) = mpsc::channel(SESSIONS);
    let mut session = tokio::spawn(session::run(driver.clone(), opens, end.clone()));
    let (accepted, incoming) = mpsc::channel(accept::ACCEPTED);
    let accepting = tokio::spawn(accept::accept(listener, tls, accepted));
    let mut serving = tokio::spawn(services(driver, sessions, end.clone(), incoming).await);

    announce(&handshake).map_err(StartError::Handshake)?;
    debug!(address = %handshake.address, "plugin address");

    // In this order: `end` makes the server and the session end, too.
    let code = tokio::select! {
        biased;
        () = panicked.cancelled() => ExitCode::from(PANICKED),
        () = end.cancelled() => ExitCode::SUCCESS,
        _ = terminate.recv() => {
            info!("told to terminate");
            ExitCode::SUCCESS
        }
        () = host_death(host) => {
            warn!("the host is gone, the driver ends");
            ExitCode::SUCCESS
        }
        ended = &mut session => match ended {
            Ok(Ended::Asked) => ExitCode::SUCCESS,
            Ok(Ended::Orphaned) => {
                warn!("no gateway came back, the driver ends");
                ExitCode::SUCCESS
            }
            Ok(Ended::Panicked) | Err(_) => ExitCode::from(PANICKED),
        },
        served = &mut serving => {
            error!(?served, "the server ended by itself");
            ExitCode::FAILURE
        }
    };
    end.cancel();
    accepting.abort();
    finish(session, serving).await;
    drop(remove);
    Ok(code)
}

/// Lets lines and streams end, within the grace.
async fn finish(session: JoinHandle<Ended>, serving: JoinHandle<Result<(), tonic::transport::Error>>) {
    let both = async {
        if !session.is_finished() {
            let _ = session.await;
        }
        if !serving.is_finished() {
            let _ = serving.await;
        }
    };
    if timeout(SHUTDOWN_GRACE, both).await.is_err() {
        debug!("connections were still open when the driver ended");
    }
}

/// AutoMTLS exactly when the host asked for it: its configuration, and our certificate.
#[allow(clippy::type_complexity, reason = "two things that exist together or not at all")]
fn tls() -> Result<(Option<Arc<ServerConfig>>, Option<Vec<u8>>), MtlsError> {
    let Some(pem) = std::env::var(PLUGIN_CLIENT_CERT).ok().filter(|pem| !pem.is_empty()) else {
        return Ok((None, None));
    };
    let host = mtls::cert_from_pem(&pem)?;
    let identity = Identity::generate()?;
    let config = mtls::server_config(&identity, &host);
    Ok((Some(config), Some(identity.cert_der().to_vec())))
}

/// The server with every service, ready to run.
async fn services<D: Driver>(
    driver: Arc<D>,
    sessions: mpsc::Sender<session::Open>,
    end: CancellationToken,
    incoming: mpsc::Receiver<io::Result<accept::Connection>>,
) -> impl Future<Output = Result<(), tonic::transport::Error>> {
    let (reporter, health) = tonic_health::server::health_reporter();
    reporter.set_service_status(HEALTH_SERVICE, ServingStatus::Serving).await;
    let plugin = Plugin { end: end.clone() };
    let contract = DriverServer::new(Contract { driver, sessions }).max_decoding_message_size(MESSAGE_BYTES);
    Server::builder()
        .add_service(health)
        .add_service(GrpcBrokerServer::new(plugin.clone()))
        .add_service(GrpcControllerServer::new(plugin.clone()))
        .add_service(GrpcStdioServer::new(plugin))
        .add_service(contract)
        .serve_with_incoming_shutdown(ReceiverStream::new(incoming), end.cancelled_owned())
}

/// Prints the one line, at once.
fn announce(handshake: &Handshake) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{handshake}")?;
    stdout.flush()
}

/// Comes back when the process has another parent than at its start.
async fn host_death(host: Option<rustix::process::Pid>) {
    let mut ticks = interval(WATCH_HOST);
    while getppid() == host {
        ticks.tick().await;
    }
}
