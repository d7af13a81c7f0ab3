//! Asks drivers about a configuration without running it; for `sagoo-edge check`, for a reload, and for
//! `sagoo-edge explain` where no gateway runs.
//!
//! Always true: no device is touched; a driver that cannot be asked is a problem of its own; a
//! connection that needs more than all of its wire is refused with the arithmetic.

use std::sync::Arc;

use sagoo_edge_package::Store;
use sagoo_edge_proto::driver as wire;

use super::ask::{Answer, ask};
use super::{configuration, plan, program, secrets};
use crate::config::DriverProblem;
use crate::config::types::Config;
use crate::status::plan::{ConnectionPlan, Strain};

/// All that is wrong with the configuration in its drivers' eyes, what it asks of their wires, and
/// secrets that are not there for them.
pub async fn check(config: &Config) -> Vec<DriverProblem> {
    let store = Arc::new(program::store(&config.drivers));
    let mut problems = secrets::missing(config);
    for id in configuration::drivers(config) {
        let configuration = configuration::of_driver(config, &id);
        let owners = configuration::owners(&configuration);
        match of_driver(config, store.clone(), &id, configuration).await {
            Ok(answer) => {
                problems.extend(answer.problems.into_iter().map(found));
                let strains = plan::strains(&id, &owners, answer.plans);
                problems.extend(strains.into_iter().map(|(line, strain)| found(strained(&line, strain))));
            }
            Err(message) => problems.push(found(unasked(config, &id, message))),
        }
    }
    problems
}

/// What all drivers plan, by their files and the configuration alone.
pub async fn plans(config: &Config) -> Vec<ConnectionPlan> {
    let store = Arc::new(program::store(&config.drivers));
    let mut plans = Vec::new();
    for id in configuration::drivers(config) {
        let configuration = configuration::of_driver(config, &id);
        let owners = configuration::owners(&configuration);
        let names: Vec<String> = configuration.connections.iter().map(|one| one.name.clone()).collect();
        match of_driver(config, store.clone(), &id, configuration).await {
            Ok(answer) => plans.extend(plan::of_driver(&id, &names, &owners, answer.plans)),
            Err(why) => {
                plans.extend(names.iter().map(|name| ConnectionPlan::unknown(name, &id, why.clone())));
            }
        }
    }
    plans.sort_by(|a, b| a.name.cmp(&b.name));
    plans
}

/// A driver's problem in the configuration's words.
pub fn found(problem: wire::Problem) -> DriverProblem {
    let wire::Problem { path, message, hint, warning } = problem;
    DriverProblem { path, message, hint, warning }
}

/// A wire that is full, or nearly, as a problem of its connection.
pub(super) fn strained(line: &str, strain: Strain) -> wire::Problem {
    let Strain { message, hint, refused } = strain;
    wire::Problem { path: vec!["connection".to_owned(), line.to_owned()], message, hint, warning: !refused }
}

async fn of_driver(
    config: &Config,
    store: Arc<Store>,
    id: &str,
    configuration: wire::Configuration,
) -> Result<Answer, String> {
    let installed = program::resolve(store, id).await.map_err(|(_, why)| why)?;
    let answer = ask(&installed, &config.drivers, None, configuration).await;
    answer.map_err(|fault| fault.why)
}

/// Shown at the first connection that names the driver.
fn unasked(config: &Config, id: &str, message: String) -> wire::Problem {
    let connection = config.connections.iter().find(|(_, connection)| connection.driver == id);
    let mut path = vec!["connection".to_owned()];
    path.extend(connection.map(|(name, _)| name.clone()));
    path.push("driver".to_owned());
    wire::Problem { path, message, hint: String::new(), warning: false }
}
