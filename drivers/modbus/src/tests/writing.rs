//! Writes: what is sent, and what is said about it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sagoo_driver_sdk::{Deadline, Driver, Line, Outcome, Tap, Value};
use serde_json::json;
use tokio::net::TcpListener;

use super::device::{Cells, Device as Peer, Does};
use super::{PATIENT, SHORT, connection, device};
use crate::device::Device;
use crate::driver::Modbus;

const POINTS: &str = r#"
limit = { at = "holding:0x10", type = "u16", scale = 0.1, write = { min = 0, max = 63, verify = true } }
pump = { at = "coil:3", write = true }
seen = { at = "holding:0x14", type = "u16" }
target = { at = "holding:0x12", type = "f32", order = "CDAB", write = { verify = true } }
valve = { at = "coil:4", write = { verify = true } }
"#;

fn writer() -> Device {
    device("", POINTS)
}

fn honest() -> Cells {
    Cells::of(&json!({ "holding": { "0x0010": [0, 0, 0, 0, 0] }, "coil": { "0x0000": [0, 0, 0, 0, 0] } }))
}

fn number(device: &Device, name: &str) -> usize {
    device.points.iter().position(|point| point.name == name).unwrap()
}

async fn write(peer: &Peer, device: &Device, values: &[(&str, Value)]) -> Vec<Outcome> {
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let values: Vec<(usize, Value)> =
        values.iter().map(|(name, v)| (number(device, name), v.clone())).collect();
    line.write(device, &values, Deadline::after(PATIENT)).await
}

fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Refused(reason) | Outcome::Unknown(reason) => reason,
        other => panic!("{other:?} has no reason"),
    }
}

#[tokio::test]
async fn each_point_is_written_by_the_function_that_fits() {
    let device = writer();
    let mut cells = honest();
    let mut peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let outcomes = write(
        &peer,
        &device,
        &[
            ("limit", Value::Float(32.1)),
            ("pump", Value::Int(1)),
            ("target", Value::Float(12.34)),
            ("valve", Value::Bool(true)),
        ],
    )
    .await;
    assert_eq!(
        outcomes,
        [
            Outcome::Applied(Some(Value::Float(32.1))),
            Outcome::Applied(None),
            Outcome::Applied(Some(Value::Float(12.34))),
            Outcome::Applied(Some(Value::Bool(true))),
        ]
    );
    assert_eq!(
        peer.pdus(),
        [
            vec![6, 0, 0x10, 1, 65],
            vec![3, 0, 0x10, 0, 1],
            vec![5, 0, 3, 0xFF, 0],
            vec![16, 0, 0x12, 0, 2, 4, 0x70, 0xA4, 0x41, 0x45],
            vec![3, 0, 0x12, 0, 2],
            vec![5, 0, 4, 0xFF, 0],
            vec![1, 0, 4, 0, 1],
        ]
    );
}

#[tokio::test]
async fn what_is_not_allowed_or_does_not_fit_is_refused_before_anything_is_sent() {
    let device = writer();
    let mut peer = Peer::start(|_| Does::Send(vec![])).await;
    for (name, value, told) in [
        ("limit", Value::Int(64), "64 is above its max 63"),
        ("limit", Value::Float(-0.1), "-0.1 is below its min 0"),
        ("limit", Value::Float(f64::NAN), "NaN is not a number"),
        ("limit", Value::Text("5".into()), "the text \"5\" is not a number, write it without quotes"),
        ("pump", Value::Int(2), "2 is not a bool, only true, false, 1 and 0 are"),
        ("target", Value::Float(1e39), "1000000000000000000000000000000000000000 does not fit f32"),
        ("seen", Value::Int(1), "may not be written, its model has no write"),
    ] {
        let outcomes = write(&peer, &device, &[(name, value)]).await;
        assert_eq!(outcomes, [Outcome::Refused(told.to_owned())]);
    }
    assert!(peer.pdus().is_empty());
    assert_eq!(peer.connections(), 0);
}

#[tokio::test]
async fn a_device_that_knows_only_the_functions_for_several_is_written_by_them() {
    let device = writer();
    let mut cells = honest();
    let mut peer = Peer::start(move |asked| {
        let simple = matches!(asked.pdu[0], 5 | 6);
        Does::Send(vec![if simple { asked.answer(&[asked.pdu[0] | 0x80, 1]) } else { cells.answer(asked) }])
    })
    .await;
    let outcomes = write(&peer, &device, &[("limit", Value::Int(5)), ("valve", Value::Bool(true))]).await;
    assert_eq!(
        outcomes,
        [Outcome::Applied(Some(Value::Float(5.0))), Outcome::Applied(Some(Value::Bool(true)))]
    );
    let functions: Vec<u8> = peer.pdus().iter().map(|pdu| pdu[0]).collect();
    assert_eq!(functions, [6, 16, 3, 5, 15, 1]);
}

#[tokio::test]
async fn a_value_the_device_keeps_to_itself_differs() {
    let device = writer();
    let mut cells = honest();
    let peer = Peer::start(move |asked| {
        let is_write = matches!(asked.pdu[0], 5 | 6);
        Does::Send(vec![if is_write { asked.answer(&asked.pdu) } else { cells.answer(asked) }])
    })
    .await;
    let outcomes = write(&peer, &device, &[("limit", Value::Int(5)), ("valve", Value::Bool(true))]).await;
    assert_eq!(outcomes, [Outcome::Differs(Value::Float(0.0)), Outcome::Differs(Value::Bool(false))]);
}

#[tokio::test]
async fn a_write_without_an_answer_is_unknown_and_sent_once() {
    let device = writer();
    let mut peer = Peer::start(|_| Does::Send(vec![])).await;
    let mut line = Modbus::default().line(&connection(peer.port, SHORT), Tap::default());
    let values = [(number(&device, "pump"), Value::Bool(true)), (number(&device, "limit"), Value::Int(5))];
    let outcomes = line.write(&device, &values, Deadline::after(PATIENT)).await;
    assert!(
        matches!(&outcomes[0], Outcome::Unknown(reason) if reason.contains("did not answer")),
        "{outcomes:?}"
    );
    assert!(matches!(&outcomes[1], Outcome::Refused(reason) if reason.contains("not sent")), "{outcomes:?}");
    assert_eq!(peer.pdus(), [vec![5, 0, 3, 0xFF, 0]]);
}

#[tokio::test]
async fn a_write_on_a_dead_line_is_refused_because_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let device = writer();
    let mut line = Modbus::default().line(&connection(port, PATIENT), Tap::default());
    let outcomes =
        line.write(&device, &[(number(&device, "pump"), Value::Bool(true))], Deadline::after(PATIENT)).await;
    assert!(
        matches!(&outcomes[0], Outcome::Refused(reason) if reason.contains("cannot connect")),
        "{outcomes:?}"
    );
}

#[tokio::test]
async fn a_connection_closed_after_the_request_leaves_a_write_unknown() {
    let device = writer();
    let peer = Peer::start(|_| Does::SendAndClose(vec![])).await;
    let outcomes = write(&peer, &device, &[("pump", Value::Bool(true))]).await;
    assert!(matches!(&outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
}

#[tokio::test]
async fn a_refusal_carries_its_name_and_three_of_them_promise_nothing() {
    let device = writer();
    for (code, told, is_refused) in [
        (2, "illegal data address (exception 2)", true),
        (4, "server device failure (exception 4)", false),
        (5, "acknowledge (exception 5)", false),
        (6, "server device busy (exception 6)", true),
        (11, "gateway target device failed to respond (exception 11)", false),
    ] {
        let peer = Peer::start(move |asked| Does::Send(vec![asked.answer(&[0x85, code])])).await;
        let outcomes = write(&peer, &device, &[("pump", Value::Bool(true))]).await;
        assert_eq!(reason(&outcomes[0]), told);
        assert_eq!(matches!(outcomes[0], Outcome::Refused(_)), is_refused, "{told}");
    }
}

#[tokio::test]
async fn a_confirmation_of_another_value_is_unknown_and_a_lost_read_back_too() {
    let device = writer();
    let peer = Peer::start(|asked| Does::Send(vec![asked.answer(&[5, 0, 3, 0, 0])])).await;
    let outcomes = write(&peer, &device, &[("pump", Value::Bool(true))]).await;
    assert!(reason(&outcomes[0]).contains("something else than was written"), "{outcomes:?}");
    let refuse_reads = Arc::new(AtomicBool::new(false));
    let refusing = refuse_reads.clone();
    let peer = Peer::start(move |asked| {
        let was_written = refusing.swap(true, Ordering::Relaxed);
        Does::Send(vec![if was_written { asked.answer(&[0x83, 2]) } else { asked.answer(&asked.pdu) }])
    })
    .await;
    let outcomes = write(&peer, &device, &[("limit", Value::Int(5))]).await;
    assert!(matches!(outcomes[0], Outcome::Unknown(_)), "{outcomes:?}");
    assert!(reason(&outcomes[0]).contains("cannot be read back: illegal data address"), "{outcomes:?}");
    assert!(refuse_reads.load(Ordering::Relaxed));
}

/// Holds each answer back until `deadline` has passed: the way a slow device uses a command's time up.
fn answers_after(deadline: Deadline, mut cells: Cells) -> impl FnMut(&super::device::Asked) -> Does + Send {
    move |asked| {
        std::thread::sleep(deadline.left());
        Does::Send(vec![cells.answer(asked)])
    }
}

#[tokio::test]
async fn points_whose_turn_comes_after_the_deadline_are_expired_and_never_sent() {
    let device = writer();
    let deadline = Deadline::after(Duration::from_millis(500));
    let mut peer = Peer::start(answers_after(deadline, honest())).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let values = [
        ("limit", Value::Int(5)),
        ("seen", Value::Int(1)),
        ("pump", Value::Int(1)),
        ("valve", Value::Int(1)),
    ]
    .map(|(name, value)| (number(&device, name), value));
    let outcomes = line.write(&device, &values, deadline).await;
    assert_eq!(
        outcomes,
        [
            Outcome::Applied(Some(Value::Float(5.0))),
            Outcome::Refused("may not be written, its model has no write".to_owned()),
            Outcome::Expired,
            Outcome::Expired,
        ]
    );
    // The first was in time, and is read back all the same.
    assert_eq!(peer.pdus(), [vec![6, 0, 0x10, 0, 50], vec![3, 0, 0x10, 0, 1]]);
}

#[tokio::test]
async fn a_second_try_by_another_function_is_not_sent_after_the_deadline() {
    let device = writer();
    let deadline = Deadline::after(Duration::from_millis(500));
    let mut peer = Peer::start(move |asked| {
        std::thread::sleep(deadline.left());
        Does::Send(vec![asked.answer(&[asked.pdu[0] | 0x80, 1])])
    })
    .await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let outcomes = line.write(&device, &[(number(&device, "pump"), Value::Bool(true))], deadline).await;
    assert_eq!(outcomes, [Outcome::Expired]);
    assert_eq!(peer.pdus().len(), 1);
}

#[tokio::test]
async fn a_late_write_does_not_even_open_the_line() {
    let device = writer();
    let peer = Peer::start(|_| Does::Send(vec![])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let late = Deadline::at_boot_ns(1);
    let outcomes = line.write(&device, &[(number(&device, "pump"), Value::Bool(true))], late).await;
    assert_eq!(outcomes, [Outcome::Expired]);
    assert_eq!(peer.connections(), 0);
}

const PARTS: &str = r#"
bit = { at = "holding:0x10", type = "bits[3]", write = true }
half = { at = "holding:0x10", type = "u8.low", write = { via = "read-modify-write" } }
whole = { at = "holding:0x11", type = "u16", write = { function = 6 } }
both = { at = "holding:0x12", type = "u16", write = { function = 23 } }
"#;

#[tokio::test]
async fn bits_of_a_device_that_cannot_change_them_itself_are_refused_with_the_way_out() {
    let device = device("", PARTS);
    let mut peer = Peer::start(|asked| Does::Send(vec![asked.answer(&[asked.pdu[0] | 0x80, 1])])).await;
    let outcomes = write(&peer, &device, &[("bit", Value::Int(1))]).await;
    let told = reason(&outcomes[0]);
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "{outcomes:?}");
    assert!(told.starts_with("illegal function (exception 1)"), "{told}");
    assert!(told.contains("write = { via = \"read-modify-write\" }"), "{told}");
    assert_eq!(peer.pdus(), [vec![22, 0, 0x10, 0xFF, 0xF7, 0, 8]], "never the whole register");
}

#[tokio::test]
async fn a_function_that_was_chosen_is_the_only_one_that_is_tried() {
    let device = device("", PARTS);
    let mut peer = Peer::start(|asked| Does::Send(vec![asked.answer(&[asked.pdu[0] | 0x80, 1])])).await;
    let outcomes = write(&peer, &device, &[("whole", Value::Int(1)), ("both", Value::Int(2))]).await;
    assert_eq!(reason(&outcomes[0]), "illegal function (exception 1)");
    assert!(reason(&outcomes[1]).contains("write = { verify = true }"), "{outcomes:?}");
    assert_eq!(peer.pdus(), [vec![6, 0, 0x11, 0, 1], vec![23, 0, 0x12, 0, 1, 0, 0x12, 0, 1, 2, 0, 2]]);
}

#[tokio::test]
async fn a_register_that_cannot_be_read_before_is_not_written() {
    let device = device("", PARTS);
    let mut peer = Peer::start(|_| Does::Send(vec![])).await;
    let mut line = Modbus::default().line(&connection(peer.port, SHORT), Tap::default());
    let values = [(number(&device, "half"), Value::Int(1)), (number(&device, "whole"), Value::Int(1))];
    let outcomes = line.write(&device, &values, Deadline::after(PATIENT)).await;
    assert!(matches!(outcomes[0], Outcome::Refused(_)), "nothing was written: {outcomes:?}");
    assert!(reason(&outcomes[0]).contains("cannot be read before it is written"), "{outcomes:?}");
    assert!(reason(&outcomes[1]).contains("not sent"), "{outcomes:?}");
    assert_eq!(peer.pdus(), [vec![3, 0, 0x10, 0, 1]]);
}

#[tokio::test]
async fn what_came_back_with_the_write_says_what_became_of_it() {
    let device = device("", PARTS);
    for (back, outcome) in
        [(5, Outcome::Applied(Some(Value::Uint(5)))), (4, Outcome::Differs(Value::Uint(4)))]
    {
        let peer = Peer::start(move |asked| Does::Send(vec![asked.answer(&[23, 2, 0, back])])).await;
        assert_eq!(write(&peer, &device, &[("both", Value::Int(5))]).await, [outcome]);
    }
}
