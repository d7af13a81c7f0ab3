//! Packages from outside: made, signed, checked, installed, cut short, replaced and removed.

#![allow(clippy::unwrap_used, reason = "a test may; clippy does not see that what tests share is one")]

mod install;
mod kill;
mod minisign;
mod pack;
mod refuse;
mod remove;
mod resolve;
mod revert;
mod site;
