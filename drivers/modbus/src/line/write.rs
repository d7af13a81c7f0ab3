//! Writes: sent once, and their outcome never says more than is known.
//!
//! Always true: no byte goes out after its deadline; a broadcast, which by the standard nobody answers,
//! is `unknown`: sent, and nothing can confirm it.

use sagoo_driver_sdk::{Deadline, Outcome, Value};

use super::ModbusLine;
use crate::device::Device;
use crate::point::Point;
use crate::point::write::{Merge, Sending, Write};
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
        let write = match point.to_write(value) {
            Ok(write) => write,
            Err(reason) => return Written::done(Outcome::Refused(reason)),
        };
        let request = match write.broadcast() {
            Ok(request) => request,
            Err(reason) => return Written::done(Outcome::Refused(reason)),
        };
        match self.wire.broadcast_before(deadline, request).await {
            Ok(()) => Written::done(Outcome::Unknown(BROADCAST.to_owned())),
            Err(failure) => Written::failed(failure),
        }
    }

    async fn write_point(
        &mut self,
        device: &Device,
        point: &Point,
        value: &Value,
        deadline: Deadline,
    ) -> Written {
        let write = match point.to_write(value) {
            Ok(write) => write,
            Err(reason) => return Written::done(Outcome::Refused(reason)),
        };
        let (first, second) = match &write.sending {
            Sending::Ready { first, second } => (first.clone(), second.as_ref()),
            Sending::AfterReading(merge) => match self.before(device, merge, deadline).await {
                Ok(request) => (request, None),
                Err(written) => return written,
            },
        };
        let mut said = self.wire.exchange_before(deadline, device.unit, &first).await;
        if let (Ok(Said::Answer(Answer::Refused(Exception::ILLEGAL_FUNCTION))), Some(second)) =
            (&said, second)
        {
            // The first was not executed, so this is not a second try: some devices know only
            // the functions for several cells.
            said = self.wire.exchange_before(deadline, device.unit, second).await;
        }
        match (said, &write.read_back) {
            (Ok(Said::Answer(Answer::Written)), Some(read)) => {
                self.read_back(device, point, &write, read).await
            }
            (Ok(Said::Answer(Answer::Written)), None) => Written::done(Outcome::Applied(None)),
            // Written and read back in one transaction.
            (Ok(Said::Answer(Answer::Data(data))), _) => Written::done(write.outcome(point, &data)),
            (Ok(Said::Answer(Answer::Refused(exception))), _) => {
                let remedy = write.remedy().filter(|_| exception == Exception::ILLEGAL_FUNCTION);
                Written::done(refusal(exception, remedy))
            }
            (Ok(Said::Answer(Answer::Identity { .. })), _) => {
                Written::done(Outcome::Unknown("an identification where a confirmation belongs".to_owned()))
            }
            (Ok(Said::Nonsense(reason)), _) => Written::done(Outcome::Unknown(reason)),
            (Err(failure), _) => Written::failed(failure),
        }
    }

    /// Reads the registers that some bits are to be put into, and makes the request for that.
    async fn before(
        &mut self,
        device: &Device,
        merge: &Merge,
        deadline: Deadline,
    ) -> Result<Request, Written> {
        let refused = |reason: String| {
            Written::done(Outcome::Refused(format!(
                "the register cannot be read before it is written: {reason}"
            )))
        };
        match self.wire.exchange_before(deadline, device.unit, &merge.read).await {
            Ok(Said::Answer(Answer::Data(now))) => Ok(merge.with(&now)),
            Ok(Said::Answer(Answer::Refused(exception))) => Err(refused(exception.to_string())),
            Ok(Said::Answer(_)) => Err(refused("a confirmation came".to_owned())),
            Ok(Said::Nonsense(reason)) => Err(refused(reason)),
            // Whatever happened to the read, nothing was written.
            Err(Failure::Unanswered(error)) => Err(Written { is_dead: true, ..refused(error.to_string()) }),
            Err(failure) => Err(Written::failed(failure)),
        }
    }

    async fn read_back(&mut self, device: &Device, point: &Point, write: &Write, read: &Request) -> Written {
        let unknown =
            |reason: String| Outcome::Unknown(format!("confirmed, but cannot be read back: {reason}"));
        match self.wire.exchange(device.unit, read).await {
            Ok(Said::Answer(Answer::Data(data))) => Written::done(write.outcome(point, &data)),
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

    fn failed(failure: Failure) -> Self {
        match failure {
            Failure::Expired => Self::done(Outcome::Expired),
            Failure::Unanswered(error) => Self::dead(Outcome::Unknown(error.to_string())),
            Failure::NotSent(error) => Self::dead(Outcome::Refused(format!("not sent, {error}"))),
        }
    }
}

/// A refused write, and what can be done about it. Some refusals do not say that nothing happened: 4 is an
/// error while the device was about it (Modbus Application Protocol V1.1b3, 7).
fn refusal(exception: Exception, remedy: Option<&str>) -> Outcome {
    let told = match remedy {
        Some(remedy) => format!("{exception}: {remedy}"),
        None => exception.to_string(),
    };
    match exception {
        Exception::DEVICE_FAILURE | Exception::ACKNOWLEDGE | Exception::GATEWAY_TARGET_SILENT => {
            Outcome::Unknown(told)
        }
        _ => Outcome::Refused(told),
    }
}
