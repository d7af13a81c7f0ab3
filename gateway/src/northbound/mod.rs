//! Towards the platform: rows from the buffer go up, commands come down. In reading order:
//!
//! - [`forwarder`]: the one task; brings the others together.
//! - [`sagoo`]: what is said on the wire, and when.
//! - [`reader`]: from records in the buffer to rows, in order and again where needed.
//! - [`reading`]: the read of the buffer that is under way.
//! - [`replies`]: answers to commands, which leave in time or not at all.
//! - [`deadletter`]: rows that were given up, until somebody sends them again or drops them.
//! - [`report`]: what status says of it.
//! - [`backoff`]: how long to wait after a failure.
//!
//! Always true: nothing here knows a driver; rows come from the pipeline and commands go to
//! [`crate::commands`]; offline, nothing is lost, because the buffer keeps what was not settled.

pub mod backoff;
pub mod deadletter;
pub mod forwarder;
#[cfg(test)]
mod mosquitto;
pub mod reader;
pub mod reading;
pub mod replies;
pub mod report;
pub mod sagoo;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

use sagoo_edge_proto::clock;
use tokio::sync::{mpsc, watch};

pub use forwarder::run;
pub use sagoo::flight::Said;

use crate::config::types::{GatewayConfig, SagooConfig};
use crate::row::Identity;
use crate::status::NorthboundStatus;
use crate::{commands, pipeline, state};

/// What the task needs.
#[derive(Debug)]
pub struct Setup {
    /// `[sagoo]`
    pub config: SagooConfig,
    /// `[gateway]`
    pub gateway: GatewayConfig,
    /// Configured devices, the gateway itself not among them.
    pub devices: Vec<DeviceOnPlatform>,
    /// Rows, and what became of them.
    pub pipeline: pipeline::Handle,
    /// Commands.
    pub commands: commands::Handle,
    /// For people.
    pub status: watch::Sender<NorthboundStatus>,
    /// Names of the devices that answer; only they get heartbeats.
    pub online: watch::Receiver<HashSet<String>>,
    /// Small durable values, for the index of dead letters.
    pub state: state::Handle,
    /// Where dead letters are kept.
    pub dead_letters: PathBuf,
    /// Questions about them.
    pub asked: mpsc::Receiver<deadletter::Ask>,
    /// What was said lately by the one before us, and at the end by us.
    pub said: watch::Sender<Said>,
}

/// A device as the platform sees it.
#[derive(Debug, Clone)]
pub struct DeviceOnPlatform {
    /// In the configuration.
    pub name: Arc<str>,
    /// Its keys.
    pub identity: Identity,
    /// Property key → point name; devices that are alike share it.
    pub points: Arc<BTreeMap<String, String>>,
}

/// Something to be stored as an event. It has no wall time: which that is, the pipeline knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announcement {
    /// Event key on the platform.
    pub name: &'static str,
    /// JSON object.
    pub value: String,
    /// When it happened, nanoseconds since boot.
    pub boot_ns: u64,
}

impl Announcement {
    /// It happens now.
    fn now(name: &'static str, value: &serde_json::Value) -> Self {
        Self { name, value: value.to_string(), boot_ns: clock::boot_ns() }
    }

    /// Stores it for a device, or for the gateway itself.
    async fn store(self, device: &str, pipeline: &pipeline::Handle) -> Result<(), pipeline::handle::Gone> {
        pipeline.event(device, self.name.to_owned(), self.value, self.boot_ns).await
    }
}
