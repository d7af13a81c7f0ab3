//! What a device shows when it is read: registers it refuses, how much it gives at a time.
//!
//! - `means`: what a refusal is about;
//! - `search`: one poll, halving what is refused until the cells to blame are found. Pure;
//! - `found`: what was said to its requests, and what comes of it. Pure;
//! - `heard`: what was answered at some time. Pure;
//! - `doubts`: what was concluded and is not believed yet. Pure;
//! - `lesson`: what was found out, and the limits that plans get from it. Pure;
//! - `student`: a device's lesson, its plans, and what was left out of them. Pure;
//! - `told`: a lesson for people, with the line to paste;
//! - `kept`: a lesson as bytes;
//! - `memory`: the lessons of all devices, in the gateway's store and for `explain`.
//!
//! Always true: no point is given up because of another one; what is learned only ever makes plans
//! finer, so a wrong lesson costs time and never a value for longer than [`lesson::RETRY_MOST`]; it is
//! believed when several polls came to it ([`doubts::POLLS`]), and tried again for ever, rarely; once
//! everything is found, no request of a plan is refused but those trials.

pub(crate) mod doubts;
pub(crate) mod found;
pub(crate) mod heard;
pub(crate) mod kept;
pub(crate) mod lesson;
pub(crate) mod means;
pub(crate) mod memory;
pub(crate) mod search;
pub(crate) mod student;
pub(crate) mod told;

#[cfg(test)]
mod tests;
