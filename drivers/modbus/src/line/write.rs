//! Writes: sent once, and their outcome never says more than is known.
//!
//! Always true: no byte goes out after its deadline; a broadcast, which by the standard nobody answers,
//! is `unknown`: sent, and nothing can confirm it.

use sagoo_driver_sdk::{Deadline, Outcome, Value};

use super::ModbusLine;
use super::read::bit;
use crate::device::Device;
use crate::point::Point;
use crate::point::address::Table;
use crate::transport::{Failure, Said};
use crate::wire::{Answer, Exception, Request};

/// What is said of a broadcast.
const BROADCAST: &str = "sent to every device on the line; a broadcast has no answer that could confirm it";

impl ModbusLine {
    /// Writes points one after the other; when the device falls silent the rest is not sent.
    pub(super) async fn write_points(
        &mut self,
        device: &Device,
        values: &[(usize, Value)],
        deadline: Deadline,
    ) -> Vec<Outcome> {
        let mut outcomes = Vec::with_capacity(values.len());
        let mut is_dead = false;
        for (number, value) in values {
            let written = match device.points.get(*number) {
                None => Written::done(Outcome::Refused(format!("there is no point number {number}"))),
                Some(_) if is_dead => Written::done(Outcome::Refused(
                    "not sent, the device did not answer an earlier point of this command".to_owned(),
                )),
                Some(point) if self.broadcasts && device.unit == 0 => {
                    self.broadcast(point, value, deadline).await
                }
                Some(point) => self.write_point(device, point, value, deadline).await,
            };
            is_dead |= written.is_dead;
            outcomes.push(written.outcome);
        }
        outcomes
    }

    async fn broadcast(&mut self, point: &Point, value: &Value, deadline: Deadline) -> Written {
        let bytes = match point.bytes_to_write(value) {
            Ok((bytes, _)) => bytes,
            Err(reason) => return Written::done(Outcome::Refused(reason)),
        };
        let (request, _) = requests(point, &bytes);
        match self.wire.broadcast_before(deadline, &request).await {
            Ok(()) => Written::done(Outcome::Unknown(BROADCAST.to_owned())),
            Err(Failure::Expired) => Written::done(Outcome::Expired),
            Err(Failure::Unanswered(error)) => Written::dead(Outcome::Unknown(error.to_string())),
            Err(Failure::NotSent(error)) => Written::dead(Outcome::Refused(format!("not sent, {error}"))),
        }
    }

    async fn write_point(
        &mut self,
        device: &Device,
        point: &Point,
        value: &Value,
        deadline: Deadline,
    ) -> Written {
        let (bytes, rule) = match point.bytes_to_write(value) {
            Ok(bytes) => bytes,
            Err(reason) => return Written::done(Outcome::Refused(reason)),
        };
        let (first, second) = requests(point, &bytes);
        let mut said = self.wire.exchange_before(deadline, device.unit, &first).await;
        if let (Ok(Said::Answer(Answer::Refused(Exception::ILLEGAL_FUNCTION))), Some(second)) =
            (&said, second)
        {
            // The first was not executed, so this is not a second try: some devices know only
            // the functions for several cells.
            said = self.wire.exchange_before(deadline, device.unit, &second).await;
        }
        match said {
            Ok(Said::Answer(Answer::Written)) if rule.verify => self.read_back(device, point, &bytes).await,
            Ok(Said::Answer(Answer::Written)) => Written::done(Outcome::Applied(None)),
            Ok(Said::Answer(Answer::Refused(exception))) => Written::done(refusal(exception)),
            Ok(Said::Answer(_)) => {
                Written::done(Outcome::Unknown("values where a confirmation belongs".to_owned()))
            }
            Ok(Said::Nonsense(reason)) => Written::done(Outcome::Unknown(reason)),
            Err(Failure::Expired) => Written::done(Outcome::Expired),
            Err(Failure::Unanswered(error)) => Written::dead(Outcome::Unknown(error.to_string())),
            Err(Failure::NotSent(error)) => Written::dead(Outcome::Refused(format!("not sent, {error}"))),
        }
    }

    async fn read_back(&mut self, device: &Device, point: &Point, wanted: &[u8]) -> Written {
        let (table, address, cells) = (point.table, point.address, point.codec.kind.cells());
        let unknown =
            |reason: String| Outcome::Unknown(format!("confirmed, but cannot be read back: {reason}"));
        match self.wire.exchange(device.unit, &Request::Read { table, address, cells }).await {
            Ok(Said::Answer(Answer::Data(data))) => {
                let bytes = if table.is_bits() { vec![bit(&data, 0)] } else { data };
                Written::done(match point.codec.decode(&bytes) {
                    Ok(value) if bytes == wanted => Outcome::Applied(Some(value)),
                    Ok(value) => Outcome::Differs(value),
                    Err(reason) => unknown(reason),
                })
            }
            Ok(Said::Answer(Answer::Refused(exception))) => Written::done(unknown(exception.to_string())),
            Ok(Said::Answer(_)) => Written::done(unknown("a confirmation came".to_owned())),
            Ok(Said::Nonsense(reason)) => Written::done(unknown(reason)),
            Err(error) => Written::dead(unknown(error.to_string())),
        }
    }
}

/// What became of one point of a write.
struct Written {
    outcome: Outcome,
    /// The device does not answer: the rest of the command is not sent.
    is_dead: bool,
}

impl Written {
    fn done(outcome: Outcome) -> Self {
        Self { outcome, is_dead: false }
    }

    fn dead(outcome: Outcome) -> Self {
        Self { outcome, is_dead: true }
    }
}

/// The request that writes a point, and the one to send when the device does not know its function.
fn requests(point: &Point, bytes: &[u8]) -> (Request, Option<Request>) {
    let address = point.address;
    match (point.table, bytes) {
        (Table::Coil | Table::Discrete, _) => {
            let on = bytes.first().is_some_and(|byte| *byte != 0);
            (Request::WriteCoil { address, on }, Some(Request::WriteCoils { address, coils: vec![on] }))
        }
        (_, [high, low]) => (
            Request::WriteRegister { address, value: [*high, *low] },
            Some(Request::WriteRegisters { address, values: bytes.to_vec() }),
        ),
        _ => (Request::WriteRegisters { address, values: bytes.to_vec() }, None),
    }
}

/// A refused write. Two refusals do not say that nothing happened.
fn refusal(exception: Exception) -> Outcome {
    let told = exception.to_string();
    match exception {
        Exception::ACKNOWLEDGE | Exception::GATEWAY_TARGET_SILENT => Outcome::Unknown(told),
        _ => Outcome::Refused(told),
    }
}
