//! Towards devices: driver processes and what is said to them.
//!
//! Always true: a driver's trouble stays its own; nothing here knows what a driver's settings mean.
//!
//! In reading order: [`program`] finds a driver and decides whether it may run; [`configuration`] is
//! what it is told; [`supervisor`] starts it, watches it and starts it again; [`session`] is the talk
//! while it runs; [`answers`] serves what it asks for; [`check`] asks it about a configuration only.

pub mod answers;
pub mod check;
pub mod configuration;
mod convert;
pub mod program;
pub mod session;
pub mod supervisor;
