//! SagooIOT: what is said on the wire and when. In reading order:
//!
//! - [`topic`]: names of topics, built and parsed.
//! - [`payload`]: messages, built in the platform's safe subset and parsed without trust.
//! - [`flight`]: which row is sent when, sent again, settled or parked; pure, no clock and no socket of its own.
//! - [`downlink`]: commands from the platform, and what it is told of them.
//! - [`link`]: the one file at the socket.
//!
//! Always true: everything but `link` works without a network, and `link` decides nothing about rows.

pub mod downlink;
pub mod flight;
pub mod link;
pub mod payload;
pub mod topic;
