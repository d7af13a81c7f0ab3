//! What becomes a row, what is suppressed, and what a bad point says.

use std::time::Duration;

use super::*;
use crate::config::types::{DeviceConfig, PointConfig};

const SECOND: u64 = 1_000_000_000;

fn device(rule: fn(&mut PointConfig)) -> Device {
    new(&config(rule), None)
}

fn new(config: &DeviceConfig, last: Option<&Row>) -> Device {
    Device::new("dev".into(), config.identity.clone(), Arc::new(Layout::new(&config.points)), last)
}

fn config(rule: fn(&mut PointConfig)) -> DeviceConfig {
    let mut points = BTreeMap::new();
    for name in ["a", "b"] {
        let mut point =
            PointConfig { key: name.to_uppercase(), unit: String::new(), deadband: None, heartbeat: None };
        rule(&mut point);
        points.insert(name.to_owned(), point);
    }
    DeviceConfig {
        connection: "c".into(),
        model: "m".into(),
        identity: Identity { product_key: "p".into(), device_key: "d".into() },
        points: points.into(),
        settings: "null".into(),
    }
}

fn good(point: u32, value: f64, at: u64) -> Sample {
    Sample { point, value: Some(Value::Float(value)), quality: Quality::Good, boot_ns: at }
}

fn bad(point: u32, reason: &str, at: u64) -> Sample {
    Sample { point, value: None, quality: Quality::Bad(reason.into()), boot_ns: at }
}

fn make(device: &mut Device, samples: Vec<Sample>) -> Made {
    let names: [Arc<str>; 2] = ["a".into(), "b".into()];
    device.rows(samples, |n| names.get(n as usize).cloned(), |boot_ns| (boot_ns / 1_000_000) as i64)
}

fn cells(row: &Row) -> Vec<(String, f64, i64)> {
    let float = |cell: &Cell| match cell.value {
        Value::Float(v) => v,
        _ => f64::NAN,
    };
    row.cells.iter().map(|c| (c.key.to_string(), float(c), c.time_ms)).collect()
}

#[test]
fn a_row_is_the_whole_set_and_an_unchanged_cell_keeps_its_time() {
    let mut device = device(|_| {});
    let first = make(&mut device, vec![good(0, 1.0, SECOND), good(1, 2.0, SECOND)]);
    assert_eq!(first.rows.len(), 1);
    assert_eq!(first.rows[0].samples, 2);
    let second = make(&mut device, vec![good(0, 5.0, 2 * SECOND)]);
    assert_eq!(cells(&second.rows[0]), [("A".into(), 5.0, 2_000), ("B".into(), 2.0, 1_000)]);
    assert_eq!((second.rows[0].samples, second.rows[0].time_ms), (1, 2_000));
}

#[test]
fn a_point_read_twice_makes_two_rows() {
    let made = make(&mut device(|_| {}), vec![good(0, 1.0, SECOND), good(0, 2.0, 2 * SECOND)]);
    let all: Vec<_> = made.rows.iter().map(cells).collect();
    assert_eq!(all, [[("A".into(), 1.0, 1_000)], [("A".into(), 2.0, 2_000)]]);
}

#[test]
fn a_bad_point_keeps_its_value_and_its_quality_goes_out_once() {
    let mut device = device(|_| {});
    make(&mut device, vec![good(0, 1.0, SECOND), good(1, 2.0, SECOND)]);
    let second = make(&mut device, vec![bad(0, "no answer", 2 * SECOND), good(1, 3.0, 2 * SECOND)]);
    assert_eq!(cells(&second.rows[0]), [("A".into(), 1.0, 1_000), ("B".into(), 3.0, 2_000)]);
    let told = |made: &Made, time_ms| {
        assert!(made.rows.iter().all(|row| row.event.is_none()), "{made:?}");
        let [row] = &made.events[..] else { panic!("{made:?}") };
        assert_eq!((&row.cells[..], row.samples, row.time_ms), (&[][..], 0, time_ms));
        row.event.clone().unwrap().value
    };
    assert!(told(&second, 2_000).contains("no answer"));
    assert_eq!(second.suppressed, 1);
    let third = make(&mut device, vec![bad(0, "no answer", 3 * SECOND)]);
    assert!(third.rows.is_empty() && third.events.is_empty());
    let back = make(&mut device, vec![good(0, 4.0, 4 * SECOND)]);
    assert!(told(&back, 4_000).contains("good"));
}

#[test]
fn a_deadband_suppresses_small_changes_until_the_heartbeat() {
    let mut device = device(|rule| {
        rule.deadband = Some(Deadband::Percent(10.0));
        rule.heartbeat = Some(Duration::from_secs(5));
    });
    let reported: Vec<usize> = [(1, 100.0), (2, 109.0), (3, 111.0), (4, 105.0), (8, 105.0)]
        .into_iter()
        .map(|(s, value)| make(&mut device, vec![good(0, value, s * SECOND)]).rows.len())
        .collect();
    assert_eq!(reported, [1, 0, 1, 0, 1]);
}

#[test]
fn a_text_or_a_flag_with_a_deadband_is_reported_when_it_changes() {
    let mut device = device(|rule| rule.deadband = Some(Deadband::Absolute(0.0)));
    let flag = |on: bool, s: u64| Sample { value: Some(Value::Bool(on)), ..good(0, 0.0, s * SECOND) };
    let reported: Vec<usize> = [flag(true, 1), flag(true, 2), flag(false, 3)]
        .into_iter()
        .map(|sample| make(&mut device, vec![sample]).rows.len())
        .collect();
    assert_eq!(reported, [1, 0, 1]);
}

fn of(point: u32, value: Value, at: u64) -> Sample {
    Sample { point, value: Some(value), quality: Quality::Good, boot_ns: at * SECOND }
}

/// Which of these values of one point, a second apart, are reported.
fn reported(rule: fn(&mut PointConfig), values: Vec<Value>) -> Vec<bool> {
    let mut device = device(rule);
    let mut at = 0;
    let made = values.into_iter().map(|value| {
        at += 1;
        make(&mut device, vec![of(0, value, at)])
    });
    made.map(|made| {
        assert_eq!(made.suppressed, u64::from(made.rows.is_empty()), "in a row or suppressed");
        !made.rows.is_empty()
    })
    .collect()
}

#[test]
fn a_change_as_large_as_the_deadband_is_within_it_and_the_last_report_is_what_counts() {
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Absolute(0.5));
    let floats = [230.0, 230.5, 229.5, 230.625, 230.25, 230.0].map(Value::Float).to_vec();
    // creeping is seen, because each value is compared with the last one that was reported
    assert_eq!(reported(rule, floats), [true, false, false, true, false, true]);
    let mixed = vec![Value::Uint(5), Value::Float(5.4), Value::Int(6), Value::Int(-6)];
    assert_eq!(reported(rule, mixed), [true, false, true, true]);
}

#[test]
fn a_percentage_is_of_the_last_report_and_of_zero_it_is_nothing() {
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Percent(10.0));
    let values = [0.0, 0.0, 1e-9, 0.0, -0.0, -100.0, -109.0, -111.0].map(Value::Float).to_vec();
    assert_eq!(reported(rule, values), [true, false, true, true, false, true, false, true]);
    let all = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Percent(100.0));
    assert_eq!(reported(all, [5, 0, 10, 11].map(Value::Int).to_vec()), [true, false, false, true]);
}

#[test]
fn the_last_digit_of_a_long_counter_is_a_change() {
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Absolute(0.0));
    let (big, most) = (1 << 60, u64::MAX);
    let values = [big, big, big + 1, most - 1, most].map(Value::Uint).to_vec();
    assert_eq!(reported(rule, values), [true, false, true, true, true]);
    assert_eq!(reported(rule, vec![Value::Int(i64::MIN), Value::Uint(most)]), [true, true]);
}

#[test]
fn what_is_no_number_is_news_exactly_when_it_differs() {
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Percent(50.0));
    let text = |text: &str| Value::Text(text.into());
    let json = |text: &str| Value::Json(text.into());
    for (a, b) in [
        (text("on"), text("off")),
        (json("[1,2,3]"), json("[1,2,4]")),
        (json("{\"a\":1}"), json("{\"a\":2}")),
        (Value::Bytes(vec![1]), Value::Bytes(vec![1, 2])),
        (Value::Bool(false), Value::Bool(true)),
        // another kind is another value
        (Value::Bool(true), Value::Int(1)),
        (text("1"), Value::Int(1)),
        (text("[1]"), json("[1]")),
    ] {
        let values = vec![a.clone(), a.clone(), b.clone(), b, a];
        assert_eq!(reported(rule, values.clone()), [true, false, true, false, true], "{values:?}");
    }
}

#[test]
fn no_number_hides_another_value() {
    // a driver's NaN is a bad sample; should one come all the same, nothing stays hidden behind it
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Absolute(1.0));
    let values = [1.0, f64::NAN, 1.0, f64::INFINITY, 1.0].map(Value::Float).to_vec();
    assert_eq!(reported(rule, values), [true; 5]);
}

#[test]
fn without_a_rule_every_sample_is_reported() {
    assert_eq!(reported(|_| {}, vec![Value::Int(1), Value::Int(1), Value::Int(1)]), [true; 3]);
}

#[test]
fn a_heartbeat_reports_what_did_not_change_and_begins_anew_with_every_report() {
    let mut device = device(|rule| {
        rule.deadband = Some(Deadband::Absolute(0.0));
        rule.heartbeat = Some(Duration::from_secs(10));
    });
    let reported: Vec<u64> = [(1, 1), (9, 1), (10, 2), (12, 2), (19, 2), (20, 2), (29, 2), (31, 2)]
        .into_iter()
        .filter(|(at, value)| !make(&mut device, vec![of(0, Value::Int(*value), *at)]).rows.is_empty())
        .map(|(at, _)| at)
        .collect();
    assert_eq!(reported, [1, 10, 20, 31]);
}

#[test]
fn a_change_of_quality_is_reported_with_its_value_whatever_the_deadband() {
    let mut device = device(|rule| rule.deadband = Some(Deadband::Absolute(100.0)));
    let uncertain = |value, at: u64| Sample {
        quality: Quality::Uncertain("clock".into()),
        ..of(0, Value::Float(value), at)
    };
    let mut rows = |sample: Sample| {
        let made = make(&mut device, vec![sample]);
        let events = made.events.len();
        let samples = made.rows.iter().map(|row| row.samples).sum::<u32>();
        (samples, events, made.suppressed)
    };
    assert_eq!(rows(good(0, 1.0, SECOND)), (1, 0, 0));
    assert_eq!(rows(good(0, 2.0, 2 * SECOND)), (0, 0, 1));
    assert_eq!(rows(uncertain(2.0, 3)), (1, 1, 0));
    assert_eq!(rows(uncertain(3.0, 4)), (0, 0, 1));
    assert_eq!(rows(bad(0, "no answer", 5 * SECOND)), (0, 1, 1));
    assert_eq!(rows(bad(0, "another reason", 6 * SECOND)), (0, 1, 1));
    assert_eq!(rows(good(0, 2.0, 7 * SECOND)), (1, 1, 0), "it is fresh again, and so is its time");
    assert_eq!(rows(good(0, 2.0, 8 * SECOND)), (0, 0, 1));
}

#[test]
fn the_first_value_after_a_restart_is_reported_although_the_set_has_it() {
    let rule = |rule: &mut PointConfig| rule.deadband = Some(Deadband::Absolute(0.0));
    let last = make(&mut device(rule), vec![good(0, 7.0, SECOND)]).rows.remove(0);
    let config = config(rule);
    let mut again = new(&config, Some(&last));
    assert_eq!(cells(&make(&mut again, vec![good(0, 7.0, 9 * SECOND)]).rows[0]), [("A".into(), 7.0, 9_000)]);
    assert_eq!(make(&mut again, vec![good(0, 7.0, 10 * SECOND)]).suppressed, 1);
}

#[test]
fn what_was_saved_fills_what_the_buffer_does_not_know_and_ends_with_the_first_read() {
    let mut device = device(|_| {});
    let row = |cells: &[(&str, f64, i64)]| Row {
        device: "dev".into(),
        identity: Identity { product_key: "p".into(), device_key: "d".into() },
        time_ms: 500,
        cells: cells
            .iter()
            .map(|(key, v, time_ms)| Cell { key: (*key).into(), value: Value::Float(*v), time_ms: *time_ms })
            .collect(),
        event: None,
        samples: 0,
    };
    assert_eq!(device.news(), None);
    device.remember(&row(&[("A", 1.0, 100)]));
    device.remember(&row(&[("A", 9.0, 90), ("B", 2.0, 50), ("Gone", 3.0, 50)]));
    assert_eq!(device.news(), None, "what is known from before the start is no news");
    let shown = device.snapshot();
    let before = |name: &str| (shown[name].value.clone(), shown[name].quality, shown[name].read_at);
    let unread = QualityWord::Unread;
    assert_eq!(before("a"), (Some(Value::Float(1.0)), unread, ReadAt::BeforeTheStart(100)));
    assert_eq!(before("b"), (Some(Value::Float(2.0)), unread, ReadAt::BeforeTheStart(50)));
    // the set is whole from the first row on, and a bad point keeps its value in it
    let made = make(&mut device, vec![good(0, 5.0, SECOND), bad(1, "no answer", SECOND)]);
    assert_eq!(cells(&made.rows[0]), [("A".into(), 5.0, 1_000), ("B".into(), 2.0, 50)]);
    device.remember(&row(&[("A", 7.0, 9_000), ("B", 7.0, 9_000)]));
    let shown = device.snapshot();
    assert_eq!((&shown["a"].value, shown["a"].read_at), (&Some(Value::Float(5.0)), ReadAt::Boot(SECOND)));
    assert_eq!(shown["b"].quality, QualityWord::Bad);
    let news = device.news().unwrap();
    assert_eq!((cells(&news), news.time_ms, news.samples), (cells(&made.rows[0]), 1_000, 0));
    assert_eq!(device.news(), None);
}

#[test]
fn a_restart_continues_the_set() {
    let config = config(|_| {});
    let last = Row {
        device: "dev".into(),
        identity: config.identity.clone(),
        time_ms: 500,
        cells: ["B", "Gone"]
            .map(|key| Cell { key: key.into(), value: Value::Float(7.0), time_ms: 500 })
            .to_vec(),
        event: None,
        samples: 2,
    };
    let mut device = new(&config, Some(&last));
    let made = make(&mut device, vec![good(0, 1.0, SECOND)]);
    assert_eq!(cells(&made.rows[0]), [("A".into(), 1.0, 1_000), ("B".into(), 7.0, 500)]);

    let replaced = Identity { product_key: "p".into(), device_key: "another".into() };
    let mut device = new(&DeviceConfig { identity: replaced, ..config }, Some(&last));
    let made = make(&mut device, vec![good(0, 1.0, SECOND)]);
    assert_eq!(cells(&made.rows[0]), [("A".into(), 1.0, 1_000)]);
}
