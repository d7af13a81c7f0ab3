//! Asks drivers about a configuration without running it; for `sagoo-edge check`.
//!
//! Always true: no device is touched; a driver that cannot be asked is a problem of its own.

use std::time::Duration;

use sagoo_edge_plugin_host::{MAX_MESSAGE_BYTES, Plugin};
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use tokio::time::timeout;

use super::configuration;
use super::supervisor::{GRACE, launch};
use crate::config::DriverProblem;
use crate::config::types::Config;

/// What one driver gets to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// All drivers' problems with the configuration.
pub async fn check(config: &Config) -> Vec<DriverProblem> {
    let mut problems = Vec::new();
    for id in configuration::drivers(config) {
        match ask(config, &id).await {
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

async fn ask(config: &Config, id: &str) -> Result<Vec<wire::Problem>, String> {
    let launch = launch(&config.drivers, id).map_err(|error| error.to_string())?;
    let plugin = Plugin::start(launch).await.map_err(|error| error.to_string())?;
    let mut client = DriverClient::new(plugin.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let request = wire::CheckRequest { configuration: Some(configuration::of_driver(config, id)) };
    let answer = timeout(TIMEOUT, client.check(request)).await;
    plugin.stop(GRACE).await;
    match answer {
        Ok(Ok(answer)) => Ok(answer.into_inner().problems),
        Ok(Err(status)) => Err(format!("driver {id} could not check: {}", status.message())),
        Err(_) => Err(format!("driver {id} did not answer within {} s", TIMEOUT.as_secs())),
    }
}

/// Shown at the first connection that names the driver.
fn unasked(config: &Config, id: &str, message: String) -> wire::Problem {
    let connection = config.connections.iter().find(|(_, connection)| connection.driver == id);
    let mut path = vec!["connection".to_owned()];
    path.extend(connection.map(|(name, _)| name.clone()));
    path.push("driver".to_owned());
    wire::Problem { path, message, hint: String::new(), warning: false }
}
