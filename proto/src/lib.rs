//! All that two processes of Sagoo Edge must agree on.
//!
//! In reading order:
//! - [`driver`]: the contract between gateway and driver, generated from `driver/v1/driver.proto`;
//! - [`sample`]: a point's value with its time and quality, and its packed form on the wire;
//! - [`clock`]: the boot-time clock both sides stamp and compare with;
//! - [`handshake`]: the cookie, the environment and the one line a plugin prints;
//! - [`levels`]: what is logged, as `SAGOO_LOG` says it;
//! - [`mtls`]: AutoMTLS, one throw-away certificate per process, pinned by the other side;
//! - [`plugin`]: go-plugin's own services, generated from `plugin/plugin.proto`;
//! - [`broker`]: further connections between a host and its plugin, by number, either way.

pub mod broker;
pub mod clock;
pub mod handshake;
pub mod levels;
pub mod mtls;
pub mod sample;

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod driver {
    include!("generated/sagoo.driver.v1.rs");
}

#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::allow_attributes_without_reason,
    reason = "generated; the .proto file documents it"
)]
pub mod plugin {
    include!("generated/plugin.rs");
}
