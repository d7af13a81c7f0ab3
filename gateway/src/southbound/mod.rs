//! Towards devices: driver processes and what is said to them.
//!
//! Always true: a driver's trouble stays its own; nothing here knows what a driver's settings mean.
//!
//! ```text
//! supervisor → shell ⇄ life      what happens → what follows; pure
//!                ↓↑
//!            instance → session  one process, and the talk with it
//! ```
//! In reading order: [`program`] is the way from an installed driver to its start, [`installed`] says
//! when to look again, [`kind`] tells one make from another; [`configuration`] is what a driver is told;
//! [`life`] decides what its processes are for, [`supervisor`] and [`shell`] carry that out;
//! [`instance`] is one process and [`session`] the talk with it; [`waiting`] are commands whose line
//! changes hands; [`fleet`] keeps processes that outlive a round of the app, [`note`] what is noted of
//! them; [`answers`] serves what a driver asks for, [`secrets`] of it the files; [`ask`] and [`check`] ask it
//! who it is and about a configuration, [`plan`] is what it answers about its wires, [`wires`] how busy they are; [`reach`] calls one
//! that runs.

pub mod answers;
pub mod ask;
pub mod check;
pub mod configuration;
mod convert;
pub mod fleet;
pub mod installed;
mod instance;
mod kind;
mod life;
mod note;
mod plan;
mod program;
pub mod reach;
mod secrets;
mod session;
mod shell;
pub mod supervisor;
mod waiting;
mod wires;

/// How driver processes are left when a round of the app ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parting {
    /// They are stopped: lines released, everything sent.
    Stop,
    /// They go on: their sessions are closed, and whoever comes next takes them over from the fleet.
    Keep,
}
