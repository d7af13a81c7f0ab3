//! What has to be known of a plugin to take it over: the content of its record.
//!
//! ```text
//! {"version":1,"name":…,"birth":{"pid":…,"started_ticks":…,"boot_id":…},"handshake":"1|1|unix|…",…}
//! ```
//! Always true: any bytes are [`Facts`] or a [`Damage`], never a panic; a record of another version
//! says so; what is written reads back as itself.

use std::fmt;
use std::path::PathBuf;

use sagoo_edge_proto::handshake::{Handshake, HandshakeError};
use serde::{Deserialize, Serialize};

use crate::alive::Birth;

/// Version of the record. A later host that changes its meaning counts up.
const VERSION: u32 = 1;
/// A record is a few kilobytes; more is none.
pub(super) const MAX_BYTES: u64 = 1 << 20;

/// Everything about a kept plugin.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Facts {
    version: u32,
    /// The driver's id.
    pub name: String,
    /// Which process.
    pub birth: Birth,
    /// Its own first line: application version, address, certificate. None until it is ready.
    pub handshake: Option<String>,
    /// How the connection is protected.
    pub protection: Protection,
    /// Whether one connection carries all others.
    pub multiplex: bool,
    /// Its directory for sockets, which is its `TMPDIR`.
    pub socket_dir: PathBuf,
    /// Its control group, if one was made.
    pub cgroup: Option<PathBuf>,
    /// What its program was, as text of a checksum.
    pub checksum: Option<String>,
    /// What it is not held by, and why.
    pub lacks: Vec<(String, String)>,
    /// The caller's own.
    pub note: String,
}

/// How the connection of a kept plugin is protected.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Protection {
    /// With these throw-away certificates; ours has to be shown again.
    AutoMtls { cert_pem: String, key_pem: String },
    /// Not at all.
    Plain,
    /// By the caller's own configuration, which is not ours to keep.
    Own,
}

impl fmt::Debug for Facts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // never the key
        f.debug_struct("Facts").field("name", &self.name).field("birth", &self.birth).finish_non_exhaustive()
    }
}

/// Why a record is of no use.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// It is not there, or cannot be read.
    #[error("cannot be read: {0}")]
    Unreadable(#[source] std::io::Error),
    /// It is no record.
    #[error("is damaged: {0}")]
    Garbage(#[source] serde_json::Error),
    /// It was written by another version of the gateway.
    #[error("is of version {0}, this gateway reads {VERSION}")]
    Version(u64),
    /// The handshake in it is none.
    #[error("is damaged: {0}")]
    Handshake(#[source] HandshakeError),
}

/// All a record of any version has.
#[derive(Deserialize)]
struct AnyVersion {
    version: u64,
}

impl Facts {
    pub(crate) fn new(name: String, birth: Birth, protection: Protection, socket_dir: PathBuf) -> Self {
        Self {
            version: VERSION,
            name,
            birth,
            handshake: None,
            protection,
            multiplex: false,
            socket_dir,
            cgroup: None,
            checksum: None,
            lacks: Vec::new(),
            note: String::new(),
        }
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damage> {
        let AnyVersion { version } = serde_json::from_slice(bytes).map_err(Damage::Garbage)?;
        if version != u64::from(VERSION) {
            return Err(Damage::Version(version));
        }
        let facts: Self = serde_json::from_slice(bytes).map_err(Damage::Garbage)?;
        facts.announced()?;
        Ok(facts)
    }

    /// Fails on a path that is not UTF-8.
    pub(crate) fn encode(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    /// What the plugin said about itself, if it was ready.
    pub(crate) fn announced(&self) -> Result<Option<Handshake>, Damage> {
        self.handshake.as_deref().map(Handshake::parse).transpose().map_err(Damage::Handshake)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn facts() -> Facts {
        let birth = Birth { pid: 4711, started_ticks: 17, boot_id: "b".into() };
        let protection = Protection::AutoMtls { cert_pem: "C\n".into(), key_pem: "SECRET".into() };
        Facts {
            handshake: Some("1|1|unix|/run/x/plugin1|grpc|".into()),
            lacks: vec![("what".into(), "why".into())],
            note: "anything \u{1F980} \"at\" all\n".into(),
            ..Facts::new("modbus".into(), birth, protection, "/run/x".into())
        }
    }

    #[test]
    fn what_is_written_reads_back_as_itself_and_shows_no_key() {
        let bytes = facts().encode().unwrap();
        assert_eq!(Facts::decode(&bytes).unwrap(), facts());
        assert!(!format!("{:?}", facts()).contains("SECRET"));
    }

    #[test]
    fn a_record_of_another_version_says_so() {
        let bytes = br#"{"version":2,"anything":true}"#;
        assert_eq!(Facts::decode(bytes).unwrap_err().to_string(), "is of version 2, this gateway reads 1");
    }

    #[test]
    fn a_record_with_a_false_handshake_is_damaged() {
        let bytes = Facts { handshake: Some("hello".into()), ..facts() }.encode().unwrap();
        assert!(matches!(Facts::decode(&bytes), Err(Damage::Handshake(_))));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Facts::decode(&bytes);
        }

        #[test]
        fn a_record_with_a_few_wrong_bytes_is_facts_or_damage(
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = facts().encode().unwrap();
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            let _ = Facts::decode(&bytes);
            bytes.truncate(end.index(bytes.len()));
            prop_assert!(Facts::decode(&bytes).is_err(), "half a record is none");
        }
    }
}
