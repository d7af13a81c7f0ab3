//! What the plugin boundary costs, in figures, side by side with what it could be instead.
//!
//! Always true: no figure without the conditions it was measured under; what is compared is measured
//! in one run and in turns, and shown as a median with the least and the most of the rounds; nothing
//! here judges a figure, so a slow machine fails no test.
//!
//! In reading order:
//! - [`options`]: what can be typed;
//! - [`figures`]: medians, spreads, ratios;
//! - [`conditions`]: the machine, the versions, the day;
//! - [`report`]: tables for people, `results.json` for everybody else;
//! - [`progress`]: the line that moves;
//! - [`places`]: where the programs are, and how the Go pair is built;
//! - [`cpu`] and [`memory`]: what a process has used, what it keeps;
//! - [`load`]: what drivers of the bench are told to make, and [`plain`]: the loop that makes it;
//! - [`talk`]: the host's side of a session;
//! - [`disk`]: what a process has written;
//! - [`boundary`], [`start`], [`reattach`], [`update`]: measurements of the boundary;
//! - [`field`] and [`gateway`]: simulated devices that know when they were asked, and the real gateway
//!   beside them;
//! - [`plant`] and [`modbus_tcp`]: many quick devices, and what passes from them to the broker, beside
//!   what ThingsBoard's gateway makes of it;
//! - [`modbus_rtu`]: the driver on lines as slow as real ones, beside what the wire could carry;
//! - [`buffer`]: the store alone, beside a plain file and beside mosquitto's queue;
//! - [`whole`]: the whole gateway idle, starting, at its limit, without a broker, with a full store.

pub mod boundary;
pub mod buffer;
pub mod conditions;
pub mod cpu;
pub mod disk;
pub mod field;
pub mod figures;
pub mod gateway;
pub mod load;
pub mod memory;
pub mod modbus_rtu;
pub mod modbus_tcp;
pub mod options;
pub mod places;
pub mod plain;
pub mod plant;
pub mod progress;
pub mod reattach;
pub mod report;
pub mod start;
pub mod talk;
pub mod update;
pub mod whole;

use crate::conditions::Conditions;
use crate::places::Places;
use crate::progress::Progress;
use crate::report::{Section, Table};

/// What every measurement is given.
#[derive(Debug)]
pub struct Bench {
    /// Where things are.
    pub places: Places,
    /// As short as it can be.
    pub quick: bool,
    /// Where it says what it does.
    pub progress: Progress,
}

impl Bench {
    /// What a part measured, with the conditions of its start.
    pub fn section(
        &self,
        part: options::Part,
        conditions: Conditions,
        notes: Vec<String>,
        tables: Vec<Table>,
    ) -> Section {
        Section { part: part.name(), conditions, quick: self.quick, notes, tables }
    }
}
