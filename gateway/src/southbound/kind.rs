//! What a driver's process is made of: its files and its rights. When these differ, it takes a new process.

use std::collections::BTreeSet;

use sagoo_edge_proto::driver as wire;
use serde::{Deserialize, Serialize};

/// Changes whenever any file of a driver changes.
pub type Fingerprint = [u8; 32];

/// Files and rights.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kind {
    /// Of the files.
    pub fingerprint: Fingerprint,
    /// As the driver or its package says; for people.
    pub version: String,
    /// `None`: the driver does not say, and is not limited.
    pub rights: Option<Rights>,
}

/// TCP ports a configuration makes a driver use.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rights {
    /// Of devices it connects to.
    pub connect_tcp: BTreeSet<u16>,
    /// That devices dial in to.
    pub listen_tcp: BTreeSet<u16>,
}

impl Kind {
    /// Whether a process of the one will do for the other. What a version is called does not matter.
    pub fn is(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.rights == other.rights
    }

    /// Enough of the fingerprint for people to tell two apart.
    pub fn short(&self) -> String {
        self.fingerprint[..4].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl From<wire::Rights> for Rights {
    /// A number that is no port is a right to nothing.
    fn from(rights: wire::Rights) -> Self {
        let ports = |ports: Vec<u32>| ports.into_iter().filter_map(|port| u16::try_from(port).ok()).collect();
        Self { connect_tcp: ports(rights.connect_tcp), listen_tcp: ports(rights.listen_tcp) }
    }
}
