//! Calls to running drivers beside their sessions: what they plan, a scan, what passes on a line.
//!
//! Always true: a driver is asked by the process that has the line; nobody waits for one that does not
//! answer; a stream that is dropped here ends in the driver, too.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_plugin_host::MAX_MESSAGE_BYTES;
use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::driver_client::DriverClient;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use super::{configuration, plan};
use crate::config::did_you_mean;
use crate::config::types::Config;
use crate::status::plan::ConnectionPlan;

/// What a driver gets to answer, or to begin a stream.
const ANSWER: Duration = Duration::from_secs(8);

/// Asks a driver's supervisor for the process behind it.
#[derive(Debug)]
pub struct Reach {
    /// The one that has this line; `None`: the one at work.
    pub line: Option<String>,
    /// The way to it.
    pub reply: oneshot::Sender<Result<Reached, String>>,
}

/// The way to a process, and what it was told.
#[derive(Debug, Clone)]
pub struct Reached {
    /// Of the process.
    pub channel: Channel,
    /// The driver's part of the configuration.
    pub configuration: Arc<wire::Configuration>,
}

/// The doors of all drivers of a round.
#[derive(Debug, Clone)]
pub struct Drivers {
    config: Arc<Config>,
    doors: HashMap<Arc<str>, mpsc::Sender<Reach>>,
}

impl Drivers {
    /// Of the configuration that runs.
    pub fn new(config: Arc<Config>, doors: HashMap<Arc<str>, mpsc::Sender<Reach>>) -> Self {
        Self { config, doors }
    }

    /// What the running drivers plan, with what they learned and measured.
    pub async fn plans(&self) -> Vec<ConnectionPlan> {
        let mut asking = JoinSet::new();
        for id in self.doors.keys() {
            let (id, drivers) = (id.clone(), self.clone());
            asking.spawn(async move { drivers.plans_of(&id).await });
        }
        let mut plans: Vec<ConnectionPlan> = asking.join_all().await.into_iter().flatten().collect();
        plans.sort_by(|a, b| a.name.cmp(&b.name));
        plans
    }

    async fn plans_of(&self, id: &str) -> Vec<ConnectionPlan> {
        let mine = self.config.connections.iter().filter(|(_, connection)| connection.driver == id);
        let names: Vec<String> = mine.map(|(name, _)| name.clone()).collect();
        let asked = async {
            let Reached { channel, configuration } = self.reach(id, None).await?;
            let owners = configuration::owners(&configuration);
            let request = wire::CheckRequest { configuration: Some((*configuration).clone()) };
            let checked = in_time(id, client(channel).check(request)).await?.into_inner();
            Ok::<_, String>(plan::of_driver(id, &names, &owners, checked.plans))
        };
        let unknown =
            |why: String| names.iter().map(|name| ConnectionPlan::unknown(name, id, why.clone())).collect();
        asked.await.unwrap_or_else(unknown)
    }

    /// Looks for devices on a connection; `options` in the driver's words.
    pub async fn scan(
        &self,
        connection: &str,
        options: String,
        deadline_ms: u32,
    ) -> Result<Streaming<wire::ScanResponse>, String> {
        let (id, channel) = self.on_line(connection).await?;
        let line = wire::Connection { name: connection.to_owned(), settings: String::new() };
        let request = wire::ScanRequest { connection: Some(line), deadline_ms, options };
        Ok(in_time(&id, client(channel).scan(request)).await?.into_inner())
    }

    /// What passes on a connection.
    pub async fn capture(
        &self,
        connection: &str,
        duration_ms: u32,
    ) -> Result<Streaming<wire::CaptureResponse>, String> {
        let (id, channel) = self.on_line(connection).await?;
        let request = wire::CaptureRequest { connection: connection.to_owned(), duration_ms };
        Ok(in_time(&id, client(channel).capture(request)).await?.into_inner())
    }

    async fn on_line(&self, connection: &str) -> Result<(String, Channel), String> {
        let connections = &self.config.connections;
        let Some(found) = connections.get(connection) else {
            let names: Vec<&str> = connections.keys().map(String::as_str).collect();
            let hint = did_you_mean(connection, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("there are {}", names.join(", ")));
            return Err(format!("the gateway has no connection {connection:?}; {hint}"));
        };
        let reached = self.reach(&found.driver, Some(connection.to_owned())).await?;
        Ok((found.driver.clone(), reached.channel))
    }

    async fn reach(&self, id: &str, line: Option<String>) -> Result<Reached, String> {
        let gone = || format!("driver {id} is stopping");
        let door = self.doors.get(id).ok_or_else(gone)?;
        let (reply, answer) = oneshot::channel();
        door.send(Reach { line, reply }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }
}

fn client(channel: Channel) -> DriverClient<Channel> {
    DriverClient::new(channel)
        .max_decoding_message_size(MAX_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES)
}

async fn in_time<T>(
    id: &str,
    call: impl Future<Output = Result<Response<T>, Status>>,
) -> Result<Response<T>, String> {
    match timeout(ANSWER, call).await {
        Ok(Ok(response)) => Ok(response),
        Ok(Err(status)) => Err(why(id, &status)),
        Err(_) => Err(format!("driver {id} did not answer within {} s", ANSWER.as_secs())),
    }
}

/// What a driver's refusal means, for people.
pub fn why(id: &str, status: &Status) -> String {
    match (status.code(), status.message()) {
        (Code::Unimplemented, "") => format!("{id}: the driver cannot do that"),
        (_, "") => format!("{id}: the driver could not do that ({})", status.code()),
        (_, message) => message.to_owned(),
    }
}
