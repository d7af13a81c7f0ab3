//! go-plugin's plugin side, for any gRPC service: a driver is one use of it (`serve`), and it knows
//! nothing of drivers.
//!
//! ```text
//! cookie → log → version → socket → TLS → services → one line on stdout → serve
//! ```
//! ```no_run
//! # fn routes() -> tonic::service::Routes { tonic::service::Routes::default() }
//! use sagoo_driver_sdk::plugin::Plugin;
//!
//! fn main() -> std::process::ExitCode {
//!     Plugin::new("KV_PLUGIN", "hello").version(1, |_plug| routes()).serve()
//! }
//! ```
//! Always true: stdout carries the handshake line and nothing before it; what is printed later
//! reaches the host as it is; whatever ends the process (`Shutdown`, SIGTERM, a lost host, a panic),
//! its work is told to end, its sockets are removed, and it takes at most [`SHUTDOWN_GRACE`].
//! SIGINT is for the host, which tells its plugins to stop.

mod log;
mod process;
mod security;
mod services;
mod socket;
mod stderr;
mod stdio;

use std::collections::BTreeMap;
use std::future::Future;
use std::io::Write as _;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use rustls::{ClientConfig, ServerConfig};
pub use sagoo_edge_proto::broker::{Broker, BrokerError, Listener, Serving};
use sagoo_edge_proto::plugin::stdio_data::Channel;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tracing::error;

use self::security::Security;
use self::stdio::Stdio;
pub use self::stdio::{Output, READ_BYTES, UNREAD_BYTES};

/// Longest time from being told to end until the process is gone.
pub const SHUTDOWN_GRACE: Duration = Duration::from_millis(500);
/// Exit status after a panic, as Rust's own.
pub const PANICKED: u8 = 101;
/// What a plugin started without its host says first, in the words hosts look for.
const BY_HAND: &str = "This binary is a plugin. It is not meant to be executed directly.";

/// What a version of the application is made of.
type Build = Box<dyn FnOnce(&mut Plug) -> Routes + Send>;
/// Work that lives as long as the process.
type Work = Pin<Box<dyn Future<Output = ExitCode> + Send>>;

/// A plugin before it runs.
pub struct Plugin {
    cookie: (&'static str, &'static str),
    by_hand: String,
    versions: BTreeMap<u32, Build>,
    own_tls: Option<Security>,
    log_variable: Option<&'static str>,
    outlives_host: bool,
}

impl Plugin {
    /// A plugin for hosts that set this environment variable to this value. The cookie guards
    /// against starting it by hand, it is no secret.
    pub fn new(cookie_key: &'static str, cookie_value: &'static str) -> Self {
        Self {
            cookie: (cookie_key, cookie_value),
            by_hand: "Start the program it belongs to, which starts its plugins by itself.".to_owned(),
            versions: BTreeMap::new(),
            own_tls: None,
            log_variable: None,
            outlives_host: false,
        }
    }

    /// Serves this version of the application with these services. Of several versions the highest
    /// that the host speaks, too, is used; the others are never built. A message of a service may
    /// be 4 MiB unless its server says otherwise.
    #[must_use]
    pub fn version(mut self, version: u32, build: impl FnOnce(&mut Plug) -> Routes + Send + 'static) -> Self {
        self.versions.insert(version, Box::new(build));
        self
    }

    /// Uses this TLS and not what the host asks for: nothing is exchanged in the handshake, so the
    /// host has to know what to expect. Without `client` it cannot dial what the host brokers.
    #[must_use]
    pub fn tls(mut self, server: ServerConfig, client: Option<ClientConfig>) -> Self {
        self.own_tls = Some(Security::own(server, client));
        self
    }

    /// What is said, after "This binary is a plugin …", to somebody who starts it by hand.
    #[must_use]
    pub fn by_hand(mut self, text: impl Into<String>) -> Self {
        self.by_hand = text.into();
        self
    }

    /// The environment variable with the level of the log (`debug`), or levels by module; `info`
    /// without.
    #[must_use]
    pub fn log_variable(mut self, name: &'static str) -> Self {
        self.log_variable = Some(name);
        self
    }

    /// The end of the host is not its end: another host may take it over. Its work has to know
    /// when to give up.
    #[must_use]
    pub fn outlives_host(mut self, outlives: bool) -> Self {
        self.outlives_host = outlives;
        self
    }

    /// Runs the plugin until its host ends it, on a runtime of one thread. This is all a `main` does.
    ///
    /// Without its cookie it says what it is and ends with status 1.
    pub fn serve(self) -> ExitCode {
        if !self.is_called() {
            return self.refuse();
        }
        match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => {
                let code = runtime.block_on(self.run());
                // What is still running had its time.
                runtime.shutdown_background();
                code
            }
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "no runtime for the plugin: {error}");
                ExitCode::FAILURE
            }
        }
    }

    /// As [`Plugin::serve`], on the author's own runtime.
    pub async fn run(self) -> ExitCode {
        if !self.is_called() {
            return self.refuse();
        }
        let wanted = self.log_variable.and_then(|name| std::env::var(name).ok()).unwrap_or_default();
        let lines = match log::install(&wanted) {
            Ok(lines) => lines,
            Err(error) => {
                let _ = writeln!(std::io::stderr(), "no log for the plugin: {error}");
                return ExitCode::FAILURE;
            }
        };
        let panicked = CancellationToken::new();
        log::report_panics(lines.clone(), panicked.clone());
        let code = process::run(self, panicked).await.unwrap_or_else(|error| {
            error!(%error, "the plugin could not start");
            ExitCode::FAILURE
        });
        lines.flush(stderr::FLUSH_LIMIT);
        code
    }

    fn is_called(&self) -> bool {
        let (key, value) = self.cookie;
        std::env::var(key).as_deref() == Ok(value)
    }

    fn refuse(&self) -> ExitCode {
        let _ = writeln!(std::io::stderr(), "{BY_HAND}\n{}", self.by_hand);
        ExitCode::FAILURE
    }
}

/// What a running plugin offers its services.
pub struct Plug {
    version: u32,
    broker: Broker,
    stdio: Stdio,
    end: CancellationToken,
    work: Option<Work>,
}

impl Plug {
    /// The version of the application that was chosen.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Further connections, either way. It goes on with a host that comes back.
    pub fn broker(&self) -> Broker {
        self.broker.clone()
    }

    /// The host's stdout.
    pub fn stdout(&self) -> Output {
        self.stdio.output(Channel::Stdout)
    }

    /// The host's stderr. The log does not go there, it has the process's own stderr.
    pub fn stderr(&self) -> Output {
        self.stdio.output(Channel::Stderr)
    }

    /// Turns when the process is to end; cancelling it ends the process.
    pub fn end(&self) -> CancellationToken {
        self.end.clone()
    }

    /// Work beside the services: when it ends the process ends with this status, and when the
    /// process is to end it is waited for, within the grace.
    pub fn work(&mut self, work: impl Future<Output = ExitCode> + Send + 'static) {
        self.work = Some(Box::pin(work));
    }
}
