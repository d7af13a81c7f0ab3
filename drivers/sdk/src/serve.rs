//! A driver as a plugin: its contract with the gateway on top of go-plugin's plugin side.
//!
//! Always true: the process is called `driver-<name>` wherever processes are listed, whatever file
//! it was started from; it ends with its gateway, unless the gateway said that another may come.

use std::ffi::CString;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::driver::driver_server::DriverServer;
use sagoo_edge_proto::handshake::{APP_VERSION, COOKIE_KEY, COOKIE_VALUE, ORPHAN_GRACE_MS};
use sagoo_edge_proto::levels;
use tokio::sync::mpsc;
use tonic::service::Routes;
use tracing::warn;

use crate::contract::Contract;
use crate::driver::Driver;
use crate::plugin::{PANICKED, Plug, Plugin};
use crate::session::{self, Ended, Patience};

/// Largest message taken from a gateway; a configuration of many thousand points fits.
const MESSAGE_BYTES: usize = 32 * 1024 * 1024;
/// Sessions waiting for the driver to notice them.
const SESSIONS: usize = 4;
/// Bytes of a name the kernel keeps.
const NAME_BYTES: usize = 15;

/// Runs a driver until its gateway ends it. This is all a driver's `main` does:
/// `fn main() -> std::process::ExitCode { sagoo_driver_sdk::serve(MyDriver) }`.
///
/// Started by hand it says what it is and ends with status 1.
pub fn serve<D: Driver>(driver: D) -> ExitCode {
    let name = driver.describe().name;
    name_process(name);
    let grace = std::env::var(ORPHAN_GRACE_MS).ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
    let patience = grace.map_or(Patience::GatewayIsAll, Patience::AnotherMayCome);
    Plugin::new(COOKIE_KEY, COOKIE_VALUE)
        .by_hand(format!(
            "It is the driver {name:?} of Sagoo Edge: put it into a directory named in [drivers] dirs\n\
             of gateway.toml, and sagoo-edge starts it for every connection with driver = {name:?}."
        ))
        .log_variable(levels::VARIABLE)
        .outlives_host(grace.is_some())
        .version(APP_VERSION, move |plug| contract(driver, patience, plug))
        .serve()
}

/// Whether a gateway started this process; what a program does for people is for everybody else.
pub fn is_started_by_gateway() -> bool {
    std::env::var_os(COOKIE_KEY).is_some_and(|cookie| cookie == COOKIE_VALUE)
}

/// The contract's services, and the session beside them.
fn contract<D: Driver>(driver: D, patience: Patience, plug: &mut Plug) -> Routes {
    let driver = Arc::new(driver);
    let (sessions, opens) = mpsc::channel(SESSIONS);
    let end = plug.end();
    let running = driver.clone();
    plug.work(async move {
        match session::run(running, opens, patience, end).await {
            Ended::Asked => ExitCode::SUCCESS,
            Ended::Orphaned => {
                warn!("no gateway came back, the driver ends");
                ExitCode::SUCCESS
            }
            Ended::Panicked => ExitCode::from(PANICKED),
        }
    });
    let server = DriverServer::new(Contract { driver, sessions }).max_decoding_message_size(MESSAGE_BYTES);
    Routes::new(server)
}

/// Started from a descriptor it would be called by a number.
fn name_process(driver: &str) {
    let name: String =
        format!("driver-{driver}").chars().filter(char::is_ascii_graphic).take(NAME_BYTES).collect();
    if let Ok(name) = CString::new(name) {
        // A name is for people; without it nothing is lost.
        let _ = rustix::thread::set_name(&name);
    }
}
