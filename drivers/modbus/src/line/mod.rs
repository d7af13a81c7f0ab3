//! What is done on a line: polls, single reads and writes of one device after the other.
//!
//! Always true: a point gets a value only from cells of the answer to its own request; a refused
//! block costs the points that are refused, not their neighbours; a write is sent once and its
//! outcome never says more than is known; no byte of it goes out after its deadline.

use std::borrow::Cow;

use sagoo_driver_sdk::{Deadline, Line, LineError, Outcome, Readings, Tap, Value};
use tracing::debug;

use crate::connection::Connection;
use crate::device::Device;
use crate::plan::{Block, Span};
use crate::point::Point;
use crate::point::address::Table;
use crate::transport::{Failure, Said, Wire};
use crate::wire::{Answer, Exception, Request};

/// A line to one or several devices; opened by the first request.
#[derive(Debug)]
pub(crate) struct ModbusLine {
    wire: Wire,
}

impl ModbusLine {
    /// Not open yet.
    pub(crate) fn new(connection: &Connection, tap: Tap) -> Self {
        Self { wire: Wire::new(connection, tap, None) }
    }

    /// Reads `blocks` one by one. A block refused for an address or an amount is halved until the
    /// cells that are to blame stand alone.
    async fn read_blocks(
        &mut self,
        device: &Device,
        blocks: &[Block],
        out: &mut Readings,
    ) -> Result<(), LineError> {
        let mut left: Vec<Cow<'_, Block>> = blocks.iter().rev().map(Cow::Borrowed).collect();
        while let Some(block) = left.pop() {
            let request = Request::Read { table: block.table, address: block.address, cells: block.cells };
            let said = self.wire.exchange(device.unit, &request).await?;
            let reason = match said {
                Said::Answer(Answer::Data(cells)) => {
                    file(device, &block, &cells, out);
                    continue;
                }
                Said::Answer(Answer::Refused(exception)) if is_silence(exception) => {
                    return Err(LineError::Silent(format!("unit {}: {exception}", device.unit)));
                }
                Said::Answer(Answer::Refused(exception)) => {
                    if is_about_cells(exception)
                        && let Some((one, other)) = block.halves()
                    {
                        debug!(unit = device.unit, request = name(&block), %exception, "a refused block is halved");
                        left.extend([Cow::Owned(other), Cow::Owned(one)]);
                        continue;
                    }
                    exception.to_string()
                }
                Said::Answer(_) => "a confirmation where values belong".to_owned(),
                Said::Nonsense(reason) => reason,
            };
            for span in &block.spans {
                out.bad(span.point, format!("{}: {reason}", name(&block)));
            }
        }
        Ok(())
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

impl Line for ModbusLine {
    type Device = Device;

    async fn poll(&mut self, device: &Device, poll: usize, out: &mut Readings) -> Result<(), LineError> {
        let blocks = device.polls.get(poll).map_or(&[][..], |poll| &poll.blocks);
        self.read_blocks(device, blocks, out).await
    }

    async fn read(&mut self, device: &Device, points: &[usize], out: &mut Readings) -> Result<(), LineError> {
        self.read_blocks(device, &device.plan(points), out).await
    }

    async fn write(
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
                Some(point) => self.write_point(device, point, value, deadline).await,
            };
            is_dead |= written.is_dead;
            outcomes.push(written.outcome);
        }
        outcomes
    }

    async fn close(&mut self) {
        self.wire.close().await;
    }
}

/// A block in the words of `explain`: `input 0x0000 × 12`.
pub(crate) fn name(block: &Block) -> String {
    format!("{} {:#06x} × {}", block.table, block.address, block.cells)
}

/// Files each point's cells of a block's answer; all of them carry the time of the first one.
fn file(device: &Device, block: &Block, cells: &[u8], out: &mut Readings) {
    let mut arrived = None;
    for span in &block.spans {
        match (decode(device, block, span, cells), arrived) {
            (Ok(value), Some(boot_ns)) => out.good_at(span.point, value, boot_ns),
            (Ok(value), None) => {
                out.good(span.point, value);
                arrived = out.readings().last().map(|reading| reading.boot_ns);
            }
            (Err(reason), _) => out.bad(span.point, reason),
        }
    }
}

/// A point's own cells; the answer was checked to be as long as its block.
fn decode(device: &Device, block: &Block, span: &Span, cells: &[u8]) -> Result<Value, String> {
    let codec = &device.points[span.point].codec;
    let first = usize::from(span.address - block.address);
    if block.table.is_bits() {
        return codec.decode(&[bit(cells, first)]);
    }
    codec.decode(cells.get(first * 2..(first + usize::from(span.cells)) * 2).unwrap_or_default())
}

/// Bits are packed from the lowest one up.
fn bit(packed: &[u8], place: usize) -> u8 {
    packed.get(place / 8).map_or(0, |byte| byte >> (place % 8) & 1)
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

/// A gateway says that the device behind it does not answer: that is silence, not a refusal.
fn is_silence(exception: Exception) -> bool {
    matches!(exception, Exception::GATEWAY_PATH_UNAVAILABLE | Exception::GATEWAY_TARGET_SILENT)
}

fn is_about_cells(exception: Exception) -> bool {
    matches!(exception, Exception::ILLEGAL_DATA_ADDRESS | Exception::ILLEGAL_DATA_VALUE)
}

/// A refused write. Two refusals do not say that nothing happened.
fn refusal(exception: Exception) -> Outcome {
    let told = exception.to_string();
    match exception {
        Exception::ACKNOWLEDGE | Exception::GATEWAY_TARGET_SILENT => Outcome::Unknown(told),
        _ => Outcome::Refused(told),
    }
}
