//! How long things take: at the platform, and at the gateway as it is configured.
//!
//! Always true: pure data.

use std::time::Duration;

/// How long things take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A device not heard of for this long is offline.
    pub online: Duration,
    /// A reply that arrives earlier than this after the request is lost.
    pub registered_after: Duration,
    /// A caller waits this long (the real platform: 45 s).
    pub call: Duration,
    /// What the gateway is to keep; `None`: nobody has said, and it is not judged.
    pub gateway: Option<Sender>,
}

/// The gateway, as it is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    /// Its device key, by which the broker knows it, too.
    pub device_key: &'static str,
    /// It sends nothing again before.
    pub ack_timeout: Duration,
    /// Longest time without a sign of life of itself and of every healthy device; `None`: something on its way
    /// takes them, and they are not judged.
    pub heartbeat: Option<Duration>,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            online: Duration::from_secs(30),
            registered_after: Duration::from_millis(100),
            call: Duration::from_secs(45),
            gateway: None,
        }
    }
}
