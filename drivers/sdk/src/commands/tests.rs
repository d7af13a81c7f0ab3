//! Commands, resolved and answered.

use sagoo_edge_proto::driver::{Invoke, Read, Write};

use super::*;

fn points() -> Vec<Point> {
    [("voltage", false), ("limit", true), ("setpoint", true)]
        .map(|(name, writable)| Point { name: name.to_owned(), writable })
        .to_vec()
}

fn write(values: &[(&str, i64)]) -> Option<Action> {
    let values = values
        .iter()
        .map(|(point, value)| PointValue {
            point: (*point).to_owned(),
            value: Some(Value::Int(*value).into()),
        })
        .collect();
    Some(Action::Write(Write { values }))
}

#[test]
fn a_write_with_one_wrong_point_writes_nothing_and_says_why() {
    let refused = resolve("1", write(&[("limit", 1), ("setpiont", 2)]), &points()).unwrap_err();
    assert_eq!(refused.status(), Status::Refused);
    assert_eq!(refused.message, "no point \"setpiont\"; did you mean \"setpoint\"?");
    assert_eq!(refused.points[0].message, "not written: another point was refused");
    for (values, wanted) in [
        (vec![("voltage", 1)], "point \"voltage\" is not writable"),
        (vec![("limit", 1), ("limit", 2)], "point \"limit\" is named twice"),
        (vec![], "the command writes no point"),
    ] {
        assert_eq!(resolve("1", write(&values), &points()).unwrap_err().message, wanted);
    }
    let no_value = Write { values: vec![PointValue { point: "limit".into(), value: None }] };
    let refused = resolve("1", Some(Action::Write(no_value)), &points()).unwrap_err();
    assert_eq!(refused.message, "no value for point \"limit\"");
}

#[test]
fn a_read_of_nothing_in_particular_reads_everything() {
    let read = |names: &[&str]| {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        resolve("1", Some(Action::Read(Read { points: names })), &points())
    };
    assert_eq!(read(&[]), Ok(Work::Read(vec![0, 1, 2])));
    assert_eq!(read(&["limit", "limit"]), Ok(Work::Read(vec![1])));
    assert_eq!(read(&["votlage"]).unwrap_err().message, "no point \"votlage\"; did you mean \"voltage\"?");
    assert_eq!(read(&["power"]).unwrap_err().message, "no point \"power\"");
}

#[test]
fn the_worst_point_speaks_for_all() {
    let values = [(1, Value::Int(1)), (2, Value::Int(2)), (0, Value::Int(3))];
    let outcomes = vec![
        Outcome::Applied(Some(Value::Int(1))),
        Outcome::Unknown("no answer".to_owned()),
        Outcome::Refused("illegal value".to_owned()),
    ];
    let told = written("9", &points(), &values, outcomes);
    assert_eq!(told.status(), Status::Unknown);
    assert_eq!(told.message, "setpoint: no answer");
    let each: Vec<Status> = told.points.iter().map(PointResult::status).collect();
    assert_eq!(each, [Status::Applied, Status::Unknown, Status::Refused]);
    let short = written("9", &points(), &values, vec![Outcome::Applied(None)]);
    assert_eq!(short.status(), Status::Unknown);
}

#[test]
fn a_failed_read_keeps_what_was_read_before_it() {
    let mut out = Readings::default();
    out.good(0, Value::Float(230.0));
    let told =
        read("9", &points(), &[0, 1], out, Some(LineError::Silent("no answer within 300 ms".to_owned())));
    assert_eq!(told.status(), Status::Unknown);
    assert_eq!(told.message, "limit: no answer within 300 ms");
    assert_eq!(told.points[0].status(), Status::Applied);
    assert_eq!(told.points[1].quality(), QualityCode::QualityBad);
}

#[test]
fn a_call_needs_an_object() {
    let invoke = Invoke { function: "reset".into(), input: "3".into() };
    let refused = resolve("1", Some(Action::Invoke(invoke)), &points()).unwrap_err();
    assert_eq!(refused.message, "input of \"reset\": not a JSON object");
    assert_eq!(invoked("1", Ok(serde_json::json!({"done": true}))).output, "{\"done\":true}");
}

#[test]
fn a_point_that_was_not_sent_in_time_is_expired_and_named_once() {
    let values = [(1, Value::Int(1)), (2, Value::Int(2))];
    let told = written("9", &points(), &values, vec![Outcome::Applied(None), Outcome::Expired]);
    assert_eq!(told.status(), Status::Expired);
    assert_eq!(told.message, "setpoint: its deadline passed before it was sent");
    let each: Vec<Status> = told.points.iter().map(PointResult::status).collect();
    assert_eq!(each, [Status::Applied, Status::Expired]);
    assert_eq!(invoked("9", Err(Outcome::Expired)).status(), Status::Expired);
}

#[test]
fn what_is_not_a_number_is_never_told_as_a_value() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY].map(Value::Float) {
        let mut out = Readings::default();
        out.good(0, value.clone());
        assert_eq!(out.readings()[0].value, Err("not a number".to_owned()));
        let told = read("9", &points(), &[0], out, None);
        assert_eq!((told.status(), told.message.as_str()), (Status::Refused, "voltage: not a number"));
        for outcome in [Outcome::Applied(Some(value.clone())), Outcome::Differs(value)] {
            let told = written("9", &points(), &[(1, Value::Int(1))], vec![outcome]);
            assert_eq!(told.points[0].value, None);
        }
    }
}
