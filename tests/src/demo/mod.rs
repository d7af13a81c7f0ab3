//! The demo: the whole path on one machine, with everything around the gateway simulated in one process.
//!
//! Always true: gateway and driver are the real programs, started as a user would start them; what is
//! said at the end is checked at both ends and not believed.
//!
//! Reading order: [`options`] (what was asked), `show` (start, run and stop), `field` (the devices),
//! `simulated` (the one that the driver itself simulates), `broker`, `site` (the configuration), `gateway` (the process), `caller` (the commands), `account`
//! (what arrived, and the verdict), `view` and `screen` (what one sees).

mod account;
mod broker;
mod caller;
mod field;
mod gateway;
mod options;
mod screen;
mod show;
mod simulated;
mod site;
mod view;

pub use options::{Asked, HELP, Options, parse};
pub use show::show;
