//! The devices behind one simulated line, and what they say to a request. Pure.
//!
//! Always true: on a bus a unit that is not there is silent and a broadcast is done by all and
//! answered by none; on Modbus TCP a unit that is not there is told as a gateway would (exception 11).

use std::time::Duration;

use super::framing::Incoming;
use super::memory::Memory;
use super::request::{self, Asked};
use crate::wire::Exception;

/// The unit that is everybody, on a bus.
const EVERYBODY: u8 = 0;

/// Devices of one line.
#[derive(Debug)]
pub(crate) struct Field {
    pub(crate) devices: Vec<Memory>,
    /// Whether several units hear every request.
    pub(crate) is_a_bus: bool,
}

impl Field {
    /// Units that are served.
    pub(crate) fn units(&self) -> Vec<u8> {
        self.devices.iter().map(Memory::unit).collect()
    }

    /// The PDU of the answer; `None`: nobody says anything. `since` the simulator serves.
    pub(crate) fn hear(&mut self, request: &Incoming, since: Duration) -> Option<Vec<u8>> {
        let asked = Asked::parse(&request.pdu);
        let seconds = since.as_secs();
        if self.is_a_bus && request.unit == EVERYBODY {
            for device in &mut self.devices {
                if let Some(asked) = asked.as_ref().ok().filter(|asked| asked.writes()) {
                    // Nobody is asked whether it could.
                    let _ = device.answer(asked, seconds);
                }
            }
            return None;
        }
        let device = self.devices.iter_mut().find(|device| device.unit() == request.unit);
        let Some(device) = device else {
            let refused = || request::answer(&request.pdu, Err(Exception::GATEWAY_TARGET_SILENT));
            return (!self.is_a_bus).then(refused);
        };
        let told = asked.and_then(|asked| device.answer(&asked, seconds));
        Some(request::answer(&request.pdu, told))
    }
}
