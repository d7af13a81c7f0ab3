//! What is done on a line: polls, single reads, writes and functions of one device after the other.
//!
//! - `read`: polls and reads, and what is learned by them;
//! - `write`: writes;
//! - `probe`, `scan`: what stands at an address, and who is there.
//!
//! Always true: a point gets a value only from cells of the answer to its own request; a refused
//! block costs the points that are refused, not their neighbours; a poll that lets a command in goes
//! on where it stopped.

mod probe;
mod read;
mod scan;
mod write;

use std::collections::HashMap;
use std::sync::Arc;

use sagoo_driver_sdk::{Deadline, Line, LineError, Outcome, Readings, Scanned, Tap, Value};
use serde_json::{Value as Json, json};
use tokio::time::Instant;

pub(crate) use self::read::planned;
use self::read::{Known, Paused};
pub(crate) use self::scan::Sweep;
use crate::connection::Connection;
use crate::device::Device;
use crate::learn::memory::Memory;
use crate::transport::Wire;

/// A line to one or several devices; opened by the first request.
#[derive(Debug)]
pub(crate) struct ModbusLine {
    connection: Connection,
    tap: Tap,
    wire: Wire,
    /// A request to unit 0 is for everybody.
    broadcasts: bool,
    memory: Arc<Memory>,
    /// The devices on it, by name.
    known: HashMap<String, Known>,
    /// When the gateway may be asked again for what it keeps, for any of them.
    ask_at: Option<Instant>,
    /// The poll that let a command in.
    paused: Option<Paused>,
}

impl ModbusLine {
    /// Not open yet.
    pub(crate) fn new(connection: &Connection, tap: Tap, memory: Arc<Memory>) -> Self {
        Self {
            connection: connection.clone(),
            wire: Wire::new(connection, tap.clone(), memory.host()),
            tap,
            broadcasts: connection.broadcasts(),
            memory,
            known: HashMap::new(),
            ask_at: None,
            paused: None,
        }
    }
}

impl Line for ModbusLine {
    type Device = Device;

    async fn poll(&mut self, device: &Device, poll: usize, out: &mut Readings) -> Result<(), LineError> {
        self.poll_device(device, poll, out).await
    }

    async fn read(&mut self, device: &Device, points: &[usize], out: &mut Readings) -> Result<(), LineError> {
        self.read_points(device, points, out).await
    }

    async fn write(
        &mut self,
        device: &Device,
        values: &[(usize, Value)],
        deadline: Deadline,
    ) -> Vec<Outcome> {
        let outcomes = self.write_points(device, values, deadline).await;
        self.wire.forget_break();
        outcomes
    }

    async fn invoke(
        &mut self,
        device: &Device,
        function: &str,
        input: &Json,
        deadline: Deadline,
    ) -> Result<Json, Outcome> {
        match function {
            "probe" => {
                let probed = self.probe(device, input, deadline).await;
                self.wire.forget_break();
                probed
            }
            "forget" => {
                self.forget(device).await.map_err(Outcome::Refused)?;
                Ok(json!({}))
            }
            _ => {
                let told = format!("there is no function {function:?}; \"probe\" and \"forget\" there are");
                Err(Outcome::Refused(told))
            }
        }
    }

    async fn scan(&mut self, step: usize, options: &Json) -> Result<Scanned, LineError> {
        self.scan_step(step, options).await
    }

    async fn close(&mut self) {
        self.wire.close().await;
    }
}
