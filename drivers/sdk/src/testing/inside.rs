//! What only the tests of this crate need of the gateway's side.

use super::*;

impl TestHost {
    /// From now on this host opens its sessions with the driver of another.
    pub(crate) fn share(&mut self, other: &Self) {
        self.sessions = other.sessions.clone();
    }

    pub(crate) async fn release_without_waiting(&mut self, connections: &[&str]) {
        let connections = connections.iter().map(|name| (*name).to_owned()).collect();
        self.send(host_message::Message::Release(Release { connections })).await;
    }

    /// Samples that arrived and were not taken yet.
    pub(crate) fn taken(&mut self) -> Vec<Arrived> {
        self.samples.drain(..).collect()
    }

    /// The gateway dies: its session is cut, and nothing is said.
    pub(crate) fn die(&mut self) {
        self.to_driver = mpsc::channel(1).0;
        self.from_driver = mpsc::channel(1).1;
    }

    pub(crate) async fn ended(self) -> Ended {
        let Self { driver, to_driver, from_driver, .. } = self;
        drop((to_driver, from_driver));
        driver.await.expect("a session does not panic")
    }
}
