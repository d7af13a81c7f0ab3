//! Commands as pure functions: what a command asks of a device, and what its result says.
//!
//! Always true: nothing is written when any point of a write is unknown, not writable, without a
//! value or named twice; the status of a result is the worst of its points, in the order applied,
//! differs, refused, unknown, expired.

mod memory;

use sagoo_edge_proto::driver::{
    CommandResult, PointResult, PointValue, QualityCode, Status, command::Action,
};
use serde_json::Value as Json;

pub(crate) use self::memory::{Known, Memory};
use crate::driver::{LineError, Outcome, Point, Readings, Value, is_number};
use crate::near::did_you_mean;
use crate::wire;

/// What is asked of a line.
#[derive(Debug, PartialEq)]
pub(crate) enum Work {
    Write(Vec<(usize, Value)>),
    Read(Vec<usize>),
    Invoke(String, Json),
}

/// A result without points.
pub(crate) fn result(id: &str, status: Status, message: String) -> CommandResult {
    CommandResult { id: id.to_owned(), status: status.into(), message, ..CommandResult::default() }
}

/// What this action asks of a device with these points, or the refusal.
pub(crate) fn resolve(id: &str, action: Option<Action>, points: &[Point]) -> Result<Work, CommandResult> {
    match action {
        None => Err(result(id, Status::Refused, "the command asks for nothing".to_owned())),
        Some(Action::Write(write)) => resolve_write(id, write.values, points),
        Some(Action::Read(read)) => resolve_read(id, &read.points, points),
        Some(Action::Invoke(invoke)) => match wire::object(&invoke.input) {
            Ok(input) => Ok(Work::Invoke(invoke.function, input)),
            Err(error) => {
                Err(result(id, Status::Refused, format!("input of {:?}: {error}", invoke.function)))
            }
        },
    }
}

fn resolve_write(id: &str, values: Vec<PointValue>, points: &[Point]) -> Result<Work, CommandResult> {
    if values.is_empty() {
        return Err(result(id, Status::Refused, "the command writes no point".to_owned()));
    }
    let mut wanted: Vec<(usize, Value)> = Vec::with_capacity(values.len());
    let mut refusals: Vec<Option<String>> = Vec::with_capacity(values.len());
    for PointValue { point, value } in &values {
        let value = value.as_ref().and_then(|value| value.value.clone());
        let refusal = match (place(point, points), value) {
            (Err(refusal), _) => Some(refusal),
            (Ok(place), _) if !points[place].writable => Some(format!("point {point:?} is not writable")),
            (Ok(place), _) if wanted.iter().any(|(other, _)| *other == place) => {
                Some(format!("point {point:?} is named twice"))
            }
            (Ok(_), None) => Some(format!("no value for point {point:?}")),
            (Ok(place), Some(value)) => {
                wanted.push((place, value.into()));
                None
            }
        };
        refusals.push(refusal);
    }
    let reasons: Vec<&str> = refusals.iter().flatten().map(String::as_str).collect();
    if reasons.is_empty() {
        return Ok(Work::Write(wanted));
    }
    let mut refused = result(id, Status::Refused, reasons.join("; "));
    refused.points = values
        .iter()
        .zip(&refusals)
        .map(|(value, refusal)| PointResult {
            point: value.point.clone(),
            status: Status::Refused.into(),
            message: refusal.clone().unwrap_or_else(|| "not written: another point was refused".to_owned()),
            value: None,
            quality: QualityCode::QualityBad.into(),
        })
        .collect();
    Err(refused)
}

fn resolve_read(id: &str, names: &[String], points: &[Point]) -> Result<Work, CommandResult> {
    if names.is_empty() {
        return Ok(Work::Read((0..points.len()).collect()));
    }
    let mut wanted = Vec::with_capacity(names.len());
    for name in names {
        let place = place(name, points).map_err(|refusal| result(id, Status::Refused, refusal))?;
        if !wanted.contains(&place) {
            wanted.push(place);
        }
    }
    Ok(Work::Read(wanted))
}

fn place(name: &str, points: &[Point]) -> Result<usize, String> {
    points
        .iter()
        .position(|point| point.name == name)
        .ok_or_else(|| unknown("point", name, points.iter().map(|point| point.name.as_str())))
}

/// `no point "votlage"; did you mean "voltage"?`
pub(crate) fn unknown<'a>(kind: &str, name: &str, known: impl Iterator<Item = &'a str>) -> String {
    match did_you_mean(name, known) {
        Some(near) => format!("no {kind} {name:?}; {near}"),
        None => format!("no {kind} {name:?}"),
    }
}

/// The result of a write: one outcome per value, in the same order.
pub(crate) fn written(
    id: &str,
    points: &[Point],
    values: &[(usize, Value)],
    outcomes: Vec<Outcome>,
) -> CommandResult {
    let mut outcomes = outcomes.into_iter();
    let results = values
        .iter()
        .map(|(place, _)| {
            let outcome = outcomes
                .next()
                .unwrap_or_else(|| Outcome::Unknown("the driver did not say what became of it".to_owned()));
            let (status, message, value) = told(outcome);
            let quality = if status == Status::Applied {
                QualityCode::QualityGood
            } else {
                QualityCode::QualityUncertain
            };
            point_result(&points[*place], status, message, value, quality)
        })
        .collect();
    with_points(id, results)
}

fn point_result(
    point: &Point,
    status: Status,
    message: String,
    value: Option<Value>,
    quality: QualityCode,
) -> PointResult {
    PointResult {
        point: point.name.clone(),
        status: status.into(),
        message,
        value: value.map(Into::into),
        quality: quality.into(),
    }
}

/// The result of a read: the last reading of each point asked for; a silent device leaves it unknown.
pub(crate) fn read(
    id: &str,
    points: &[Point],
    wanted: &[usize],
    out: Readings,
    error: Option<LineError>,
) -> CommandResult {
    let missing = match error {
        Some(error) => (Status::Unknown, error.to_string()),
        None => (Status::Refused, "the driver did not read it".to_owned()),
    };
    let results = wanted
        .iter()
        .map(|place| {
            let reading = out.readings.iter().rev().find(|reading| reading.point == *place);
            let (status, message, value) = match reading.map(|reading| reading.value.clone()) {
                Some(Ok(value)) => (Status::Applied, String::new(), Some(value)),
                Some(Err(reason)) => (Status::Refused, reason, None),
                None => (missing.0, missing.1.clone(), None),
            };
            let quality = if value.is_some() { QualityCode::QualityGood } else { QualityCode::QualityBad };
            point_result(&points[*place], status, message, value, quality)
        })
        .collect();
    with_points(id, results)
}

/// The result of a call.
pub(crate) fn invoked(id: &str, outcome: Result<Json, Outcome>) -> CommandResult {
    match outcome {
        Ok(output) => {
            CommandResult { output: output.to_string(), ..result(id, Status::Applied, String::new()) }
        }
        Err(outcome) => {
            let (status, message, _) = told(outcome);
            result(id, status, message)
        }
    }
}

fn told(outcome: Outcome) -> (Status, String, Option<Value>) {
    match outcome {
        Outcome::Applied(value) => (Status::Applied, String::new(), value.filter(is_number)),
        Outcome::Differs(value) => {
            (Status::Differs, format!("reads back as {value}"), Some(value).filter(is_number))
        }
        Outcome::Refused(reason) => (Status::Refused, reason, None),
        Outcome::Unknown(reason) => (Status::Unknown, reason, None),
        Outcome::Expired => (Status::Expired, "its deadline passed before it was sent".to_owned(), None),
    }
}

/// The worst point speaks for all: the numbers of [`Status`] are in that order.
fn with_points(id: &str, points: Vec<PointResult>) -> CommandResult {
    let worst = points.iter().map(|point| point.status).max().unwrap_or(Status::Applied.into());
    let message = points
        .iter()
        .filter(|point| point.status == worst && !point.message.is_empty())
        .map(|point| format!("{}: {}", point.point, point.message))
        .collect::<Vec<_>>()
        .join("; ");
    CommandResult { id: id.to_owned(), status: worst, message, points, output: String::new() }
}

#[cfg(test)]
mod tests;
