//! From an installed driver to the way it is started.
//!
//! Always true: discovery is never execution; every byte of a driver was verified right before it is
//! started, and a program of its own runs from the very file that was verified; every driver is
//! confined to its own folder and the ports its configuration names.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_package::{Installed, ResolveError, Store};
use sagoo_edge_plugin_host::{Checksum, Confinement, Keep, Launch};
use sagoo_edge_proto::{handshake, levels};

use super::kind::Rights;
use crate::config::types::DriversConfig;

/// Handshake and first health check.
const START_TIMEOUT: Duration = Duration::from_secs(10);
/// Files and sockets a driver may have open: a line each for hundreds of devices.
const OPEN_FILES: u64 = 4096;

/// Where drivers are, and who is trusted.
pub fn store(drivers: &DriversConfig) -> Store {
    Store::new(drivers.dirs.clone(), drivers.trusted_keys.clone(), drivers.allow_unsigned.clone())
}

/// Looks for a driver and verifies it, off the runtime's threads. When it may not run: the word that
/// status shows, and why.
pub async fn resolve(store: Arc<Store>, id: &str) -> Result<Installed, (&'static str, String)> {
    let name = id.to_owned();
    match tokio::task::spawn_blocking(move || store.resolve(&name)).await {
        Ok(Ok(installed)) => Ok(installed),
        Ok(Err(error @ ResolveError::Missing { .. })) => Err(("missing", error.to_string())),
        Ok(Err(error)) => Err(("refused", error.to_string())),
        Err(broken) => Err(("refused", format!("driver {id}: looking at it broke: {broken}"))),
    }
}

/// What a start is for.
pub struct Purpose<'a> {
    /// What it may do on the network; `None`: anything.
    pub rights: Option<&'a Rights>,
    /// Where its record is kept and what is noted in it; `None`: it ends with us.
    pub keep: Option<Keep>,
    /// Where its sockets are made.
    pub plugins: Option<PathBuf>,
}

/// How a driver is started, always the same way.
pub fn launch(installed: &Installed, drivers: &DriversConfig, purpose: Purpose<'_>) -> Launch {
    let Purpose { rights, keep, plugins } = purpose;
    let mut env: Vec<_> = std::env::var_os(levels::VARIABLE)
        .map(|level| (levels::VARIABLE.into(), level))
        .into_iter()
        .collect();
    if keep.is_some() {
        let grace = drivers.orphan_grace.as_millis().to_string();
        env.push((handshake::ORPHAN_GRACE_MS.into(), grace.into()));
    }
    let ports = |ports: fn(&Rights) -> &std::collections::BTreeSet<u16>| {
        rights.map(|rights| ports(rights).iter().copied().collect())
    };
    Launch {
        args: installed.args.clone(),
        env,
        // a script is read by its interpreter, which opens the file itself
        checksum: installed.native.then_some(Checksum::Sha256(installed.checksum)),
        confinement: Some(Confinement {
            read: vec![installed.dir.clone(), installed.program.clone()],
            write: Vec::new(),
            connect_tcp: ports(|rights| &rights.connect_tcp),
            listen_tcp: ports(|rights| &rights.listen_tcp),
            open_files: OPEN_FILES,
            user: drivers.user.clone(),
            memory_max: drivers.memory_max,
            cpu_percent: drivers.cpu_max,
        }),
        keep,
        start_timeout: START_TIMEOUT,
        run_dir: plugins,
        ..Launch::new(&installed.id, &installed.program)
    }
}
