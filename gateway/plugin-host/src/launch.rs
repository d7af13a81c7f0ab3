//! What to start, and how: everything a caller decides about one launch.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sagoo_edge_proto::handshake;

use crate::{Checksum, Confinement, Mirror};

/// How long a plugin may take from start to ready, if the caller says nothing.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// What to start, and how.
#[derive(Debug, Clone)]
pub struct Launch {
    /// The driver's id, for logs and errors.
    pub name: String,
    /// The program.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Variables it gets besides the few every plugin gets. None starting with `PLUGIN_` passes.
    pub env: Vec<(OsString, OsString)>,
    /// Name and value of the cookie it expects.
    pub cookie: (String, String),
    /// Application versions we can speak with it.
    pub app_versions: Vec<u32>,
    /// How the connection is protected.
    pub security: Security,
    /// One connection carries all others (go-plugin's multiplexed mode).
    pub multiplex: bool,
    /// What the program must be; verified before it runs.
    pub checksum: Option<Checksum>,
    /// What it reads.
    pub stdin: Stdin,
    /// What it may reach; `None`: whatever this process may.
    pub confinement: Option<Confinement>,
    /// Who gets its output byte for byte, besides the log.
    pub mirror: Mirror,
    /// Whether it goes on without us and can be reattached.
    pub keep: Option<Keep>,
    /// Longest time from start to ready.
    pub start_timeout: Duration,
    /// Where its own directory for sockets and temporary files is made (its `TMPDIR`, removed at
    /// its end); the system's temporary directory if not given. At most some 60 bytes long.
    pub run_dir: Option<PathBuf>,
}

impl Launch {
    /// A launch with our own cookie and version, AutoMTLS, no stdin, and nothing else asked for.
    pub fn new(name: impl Into<String>, program: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: Vec::new(),
            env: Vec::new(),
            cookie: (handshake::COOKIE_KEY.to_owned(), handshake::COOKIE_VALUE.to_owned()),
            app_versions: vec![handshake::APP_VERSION],
            security: Security::AutoMtls,
            multiplex: false,
            checksum: None,
            stdin: Stdin::Null,
            confinement: None,
            mirror: Mirror::default(),
            keep: None,
            start_timeout: START_TIMEOUT,
            run_dir: None,
        }
    }
}

/// How the connection to a plugin is protected.
#[derive(Debug, Clone)]
pub enum Security {
    /// Encrypted and authenticated with throw-away certificates, both ways.
    AutoMtls,
    /// Not at all: whoever may open the socket may speak.
    Plain,
    /// As the caller says; the plugin must have been told, too. Nothing is exchanged at the start.
    /// The plugin's certificate is asked for the name `localhost`, and HTTP/2 must be agreed on.
    Own(Arc<rustls::ClientConfig>),
}

/// What a plugin reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    Null,
    /// What this process reads; a terminal stays one.
    Inherit,
}

/// A plugin that survives its host. Whoever runs the host must let it: a systemd service needs
/// `KillMode=process`, and `RuntimeDirectoryPreserve=yes` if the record is in its runtime directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keep {
    /// The record's own directory, made here. Nobody but this user may reach it.
    pub dir: PathBuf,
    /// Kept in the record for the caller, who alone understands it.
    pub note: String,
}
