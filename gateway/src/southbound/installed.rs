//! Says when what is installed may have changed, so that drivers are looked up again.
//!
//! Always true: looking is never running; a change that was missed once is seen at the next look.

use sagoo_edge_plugin_host::discover::Discovery;
use tokio::sync::watch;

use crate::config::types::DriversConfig;

/// Rises whenever something in the driver directories or among the trusted keys changed.
pub type Generation = u64;

/// Watches until every receiver is dropped.
pub fn watch(drivers: &DriversConfig) -> watch::Receiver<Generation> {
    let dirs = drivers.dirs.iter().chain([&drivers.trusted_keys]).cloned().collect();
    let mut found = Discovery::watch(dirs);
    let (generation, seen) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = generation.closed() => return,
                changed = found.changed() => match changed {
                    Ok(()) => generation.send_modify(|generation| *generation += 1),
                    Err(_) => return,
                },
            }
        }
    });
    seen
}
