//! Asks a driver's files who they are and what they make of a configuration, in a process of their own
//! that lives for these two questions only.
//!
//! Always true: no device is touched and no network is there; the process is gone when the answer is.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use sagoo_edge_package::Installed;
use sagoo_edge_plugin_host::{MAX_MESSAGE_BYTES, Plugin};
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use tokio::time::timeout;
use tonic::transport::Channel;

use super::instance::{GRACE, errors};
use super::kind::{Kind, Rights};
use super::life::{Fault, Known};
use super::plan;
use super::program::{self, Purpose};
use crate::config::types::DriversConfig;

/// What one driver gets to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What the files say.
#[derive(Debug)]
pub struct Answer {
    /// As the driver calls it.
    pub version: String,
    /// What is wrong with the configuration.
    pub problems: Vec<wire::Problem>,
    /// What it makes the driver do; `None`: the driver does not say.
    pub rights: Option<Rights>,
    /// How each device will be read.
    pub plans: Vec<wire::DevicePlan>,
}

/// What the files make of a configuration.
pub async fn ask(
    installed: &Installed,
    drivers: &DriversConfig,
    plugins: Option<PathBuf>,
    configuration: wire::Configuration,
) -> Result<Answer, Fault> {
    let questions = async |mut client: DriverClient<Channel>| {
        let version = client.describe(wire::DescribeRequest {}).await?.into_inner().version;
        let request = wire::CheckRequest { configuration: Some(configuration) };
        let checked = client.check(request).await?.into_inner();
        Ok(Answer {
            version,
            plans: checked.plans,
            problems: checked.problems,
            rights: checked.rights.map(Rights::from),
        })
    };
    of_files(installed, drivers, plugins, questions).await
}

/// Who the files are.
pub async fn describe(
    drivers: &DriversConfig,
    installed: &Installed,
) -> Result<wire::DescribeResponse, String> {
    let question = async |mut client: DriverClient<Channel>| {
        Ok(client.describe(wire::DescribeRequest {}).await?.into_inner())
    };
    of_files(installed, drivers, None, question).await.map_err(|fault| fault.why)
}

/// Starts the files, asks, and ends them.
async fn of_files<T>(
    installed: &Installed,
    drivers: &DriversConfig,
    plugins: Option<PathBuf>,
    questions: impl AsyncFnOnce(DriverClient<Channel>) -> Result<T, tonic::Status>,
) -> Result<T, Fault> {
    let nowhere = Rights::default();
    let purpose = Purpose { rights: Some(&nowhere), keep: None, plugins };
    let plugin = Plugin::start(program::launch(installed, drivers, purpose)).await;
    let plugin = plugin.map_err(|error| Fault { why: error.to_string(), last_lines: error.last_lines })?;
    let client = DriverClient::new(plugin.channel())
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let answer = timeout(TIMEOUT, questions(client)).await;
    let last_lines = plugin.last_lines();
    plugin.stop(GRACE).await;
    let id = &installed.id;
    let why = match answer {
        Ok(Ok(answer)) => return Ok(answer),
        Ok(Err(status)) => format!("driver {id} could not answer: {}", status.message()),
        Err(_) => format!("driver {id} did not answer within {} s", TIMEOUT.as_secs()),
    };
    Err(Fault { why, last_lines })
}

impl Answer {
    /// As the policy needs it; `owners` says which line each device is on.
    pub fn known(self, installed: &Installed, owners: &HashMap<String, String>) -> Known {
        let Self { version, problems, rights, plans } = self;
        let version = installed.version.clone().unwrap_or(version);
        let kind = Kind { fingerprint: installed.fingerprint, version, rights };
        let (slowest, errors) = (slowest(&plans), errors(&problems));
        Known { kind, errors, slowest, strains: plan::strains(&installed.id, owners, plans) }
    }
}

/// Each device is polled first when its fastest poll is due.
fn slowest(plans: &[wire::DevicePlan]) -> Duration {
    let first = plans.iter().filter_map(|plan| plan.requests.iter().map(|request| request.period_ms).min());
    Duration::from_millis(first.max().unwrap_or_default().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_device_is_the_one_whose_fastest_poll_is_the_slowest() {
        let plan = |periods: &[u32]| wire::DevicePlan {
            learned: Vec::new(),
            device: String::new(),
            requests: periods
                .iter()
                .map(|period_ms| wire::PlannedRequest { period_ms: *period_ms, ..Default::default() })
                .collect(),
        };
        let plans = [plan(&[1_000, 300_000]), plan(&[5_000]), plan(&[])];
        assert_eq!(slowest(&plans), Duration::from_secs(5));
        assert_eq!(slowest(&[]), Duration::ZERO);
    }
}
