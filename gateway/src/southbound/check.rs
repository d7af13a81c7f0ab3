//! Asks drivers about a configuration without running it; for `sagoo-edge check`.
//!
//! Always true: no device is touched; a driver that cannot be asked is a problem of its own.

use std::sync::Arc;

use sagoo_edge_package::Store;
use sagoo_edge_proto::driver as wire;

use super::ask::ask;
use super::{configuration, program};
use crate::config::DriverProblem;
use crate::config::types::Config;

/// All drivers' problems with the configuration.
pub async fn check(config: &Config) -> Vec<DriverProblem> {
    let store = Arc::new(program::store(&config.drivers));
    let mut problems = Vec::new();
    for id in configuration::drivers(config) {
        match of_driver(config, store.clone(), &id).await {
            Ok(found) => problems.extend(found),
            Err(message) => problems.push(unasked(config, &id, message)),
        }
    }
    problems.into_iter().map(found).collect()
}

/// A driver's problem in the configuration's words.
pub fn found(problem: wire::Problem) -> DriverProblem {
    let wire::Problem { path, message, hint, warning } = problem;
    DriverProblem { path, message, hint, warning }
}

async fn of_driver(config: &Config, store: Arc<Store>, id: &str) -> Result<Vec<wire::Problem>, String> {
    let installed = program::resolve(store, id).await.map_err(|(_, why)| why)?;
    let configuration = configuration::of_driver(config, id);
    let answer = ask(&installed, &config.drivers, None, configuration).await;
    answer.map(|answer| answer.problems).map_err(|fault| fault.why)
}

/// Shown at the first connection that names the driver.
fn unasked(config: &Config, id: &str, message: String) -> wire::Problem {
    let connection = config.connections.iter().find(|(_, connection)| connection.driver == id);
    let mut path = vec!["connection".to_owned()];
    path.extend(connection.map(|(name, _)| name.clone()));
    path.push("driver".to_owned());
    wire::Problem { path, message, hint: String::new(), warning: false }
}
