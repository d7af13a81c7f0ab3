//! Commands and their outcomes, to the contract's words and back.

use sagoo_edge_proto::driver as wire;
use sagoo_edge_proto::driver::command::Action as WireAction;
use sagoo_edge_proto::sample::Value;

use crate::commands::{Action, Outcome, PointOutcome, Quality, Request, Verdict};

/// A request as the driver is told.
pub fn command(request: Request) -> wire::Command {
    let action = match request.action {
        Action::Write(values) => WireAction::Write(wire::Write {
            values: values
                .into_iter()
                .map(|(point, value)| wire::PointValue { point, value: Some(value.into()) })
                .collect(),
        }),
        Action::Read(points) => WireAction::Read(wire::Read { points }),
        Action::Invoke { function, input } => WireAction::Invoke(wire::Invoke { function, input }),
    };
    wire::Command {
        id: request.id,
        deadline_boot_ns: request.deadline_boot_ns,
        device: request.device,
        action: Some(action),
    }
}

/// What a driver reports.
pub fn outcome(result: wire::CommandResult) -> Outcome {
    let points = result.points.into_iter().map(|point| PointOutcome {
        verdict: verdict(point.status()),
        quality: quality(point.quality()),
        point: point.point,
        message: point.message,
        value: point.value.and_then(|value| value.value).map(Value::from),
    });
    let points: Vec<PointOutcome> = points.collect();
    let said = wire::Status::try_from(result.status).unwrap_or(wire::Status::Unspecified);
    // never better than its worst point, whatever the driver says
    let worst = points.iter().map(|point| point.verdict).max().unwrap_or(Verdict::Applied);
    Outcome { verdict: verdict(said).max(worst), message: result.message, points, output: result.output }
}

/// A status we do not know is not a success.
fn verdict(status: wire::Status) -> Verdict {
    match status {
        wire::Status::Applied => Verdict::Applied,
        wire::Status::Differs => Verdict::Differs,
        wire::Status::Refused => Verdict::Refused,
        wire::Status::Expired => Verdict::Expired,
        wire::Status::Unknown | wire::Status::Unspecified => Verdict::Unknown,
    }
}

fn quality(said: wire::QualityCode) -> Quality {
    match said {
        wire::QualityCode::QualityGood => Quality::Good,
        wire::QualityCode::QualityUncertain => Quality::Uncertain,
        wire::QualityCode::QualityBad => Quality::Bad,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_never_better_than_its_worst_point() {
        let point = |status: wire::Status| wire::PointResult { status: status.into(), ..Default::default() };
        let result = wire::CommandResult {
            status: wire::Status::Applied.into(),
            points: vec![point(wire::Status::Applied), point(wire::Status::Refused)],
            ..Default::default()
        };
        assert_eq!(outcome(result).verdict, Verdict::Refused);
        assert_eq!(
            outcome(wire::CommandResult { status: 99, ..Default::default() }).verdict,
            Verdict::Unknown
        );
    }
}
