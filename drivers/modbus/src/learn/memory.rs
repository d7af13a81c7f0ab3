//! What is known of all devices: kept by the gateway, and told to whoever asks.
//!
//! Always true: a lesson is kept under its device's name, with the fingerprint of the settings it was
//! learned with; one that could not be kept is tried again at a later poll, and lost only with the
//! process. The lock is there because `explain` asks from another task and cannot wait for a line.

use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};

use sagoo_driver_sdk::{Host, HostError, Learned, PlannedRequest};
use tokio::time::Instant;

use super::kept;
use super::lesson::Lesson;

/// Shared by the driver and all of its lines.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    host: OnceLock<Host>,
    told: Mutex<HashMap<String, Told>>,
}

/// What is known of a device, in words.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    pub(crate) fingerprint: u64,
    pub(crate) learned: Vec<Learned>,
    /// The requests of each poll as they are made now.
    pub(crate) polls: Vec<Vec<PlannedRequest>>,
}

impl Memory {
    /// The way to the gateway.
    pub(crate) fn attach(&self, host: Host) {
        // A driver is attached once.
        let _ = self.host.set(host);
    }

    /// The way to the gateway, if there is one.
    pub(crate) fn host(&self) -> Option<Host> {
        self.host.get().cloned()
    }

    /// What was kept of a device; nothing when there is none for these settings.
    pub(crate) async fn load(
        &self,
        device: &str,
        fingerprint: u64,
        roll: impl FnMut() -> f64,
    ) -> Result<Lesson, HostError> {
        let Some(host) = self.host.get() else { return Ok(Lesson::default()) };
        let bytes = host.get(&key(device)).await?;
        Ok(bytes
            .map_or_else(Lesson::default, |bytes| kept::unpack(&bytes, fingerprint, Instant::now(), roll)))
    }

    /// Keeps what was learned of a device.
    pub(crate) async fn keep(
        &self,
        device: &str,
        fingerprint: u64,
        lesson: &Lesson,
    ) -> Result<(), HostError> {
        let Some(host) = self.host.get() else { return Ok(()) };
        match kept::pack(fingerprint, lesson) {
            Some(bytes) => host.put(&key(device), bytes).await,
            None => host.delete(&key(device)).await,
        }
    }

    /// From now on this is told of a device.
    pub(crate) fn tell(&self, device: &str, told: Told) {
        self.lock().insert(device.to_owned(), told);
    }

    /// What is known of a device.
    pub(crate) fn told(&self, device: &str) -> Option<Told> {
        self.lock().get(device).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Told>> {
        // Nothing in here can be half done.
        self.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(device: &str) -> String {
    format!("learned/{device}")
}
