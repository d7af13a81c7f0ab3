//! The stream itself: late, foreign, cut and broken answers.

use std::time::Duration;

use sagoo_driver_sdk::{Deadline, LineError, Tap};
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::device::{Device as Peer, Does, frame};
use super::{PATIENT, SHORT, connection};
use crate::connection::Connection;
use crate::point::address::Table;
use crate::transport::{Failure, SILENT_LIMIT, Said, Wire};
use crate::wire::{Answer, Request};

fn tcp(port: u16, timeout: Duration) -> Wire {
    Wire::new(&connection(port, timeout), Tap::default(), None)
}

fn unhurried(port: u16, turnaround: Duration) -> Wire {
    let connection = Connection { turnaround, ..connection(port, PATIENT) };
    Wire::new(&connection, Tap::default(), None)
}

fn read(address: u16) -> Request {
    Request::Read { table: Table::Holding, address, cells: 1 }
}

fn data(bytes: &[u8]) -> Result<Said, LineError> {
    Ok(Said::Answer(Answer::Data(bytes.to_vec())))
}

fn silence(result: Result<Said, LineError>) -> String {
    match result {
        Err(LineError::Silent(reason)) => reason,
        other => panic!("{other:?} is not silence"),
    }
}

fn breakage(result: Result<Said, LineError>) -> String {
    match result {
        Err(LineError::Broken(reason)) => reason,
        other => panic!("{other:?} is not a broken line"),
    }
}

/// Answers with the address it was asked for.
fn echo(asked: &super::device::Asked) -> Vec<u8> {
    asked.answer(&[&[3, 2], &asked.pdu[1..3]].concat())
}

#[tokio::test]
async fn an_answer_after_its_timeout_never_meets_the_next_request() {
    let mut late = None;
    let peer = Peer::start(move |asked| match late.take() {
        None => {
            late = Some(echo(asked));
            Does::Send(vec![])
        }
        Some(first) => Does::Send(vec![first, echo(asked)]),
    })
    .await;
    let mut line = tcp(peer.port, SHORT);
    let told = silence(line.exchange(7, &read(1)).await);
    assert!(told.starts_with("unit 7 at 127.0.0.1:"), "{told}");
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2)).await, data(&[0, 2]));
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn what_waits_in_the_socket_is_drained_before_the_next_request() {
    let mut count = 0;
    let peer = Peer::start(move |asked| {
        count += 1;
        Does::Send(if count == 1 { vec![] } else { vec![echo(asked)] })
    })
    .await;
    let mut line = tcp(peer.port, SHORT);
    silence(line.exchange(7, &read(1)).await);
    line.timeout = PATIENT;
    // The late answer, and the first half of another one: the stream must keep its step.
    let other = frame(1, 7, &[3, 2, 0, 9]);
    peer.unasked.send([frame(1, 7, &[3, 2, 0, 1]).as_slice(), &other[..6]].concat()).unwrap();
    line.something_waits().await;
    let rest = other[6..].to_vec();
    peer.unasked.send(rest).unwrap();
    assert_eq!(line.exchange(7, &read(2)).await, data(&[0, 2]));
    assert_eq!(peer.connections(), 1);
}

#[tokio::test]
async fn foreign_answers_are_thrown_away_and_told() {
    for (foreign, told) in [
        (frame(9, 7, &[3, 2, 0, 1]), "an answer to transaction 9 instead of 1"),
        (frame(1, 8, &[3, 2, 0, 1]), "an answer of unit 8 instead of 7"),
        (frame(1, 7, &[4, 2, 0, 1]), "an answer to function 4 where 3 was asked"),
        (frame(1, 7, &[0x84, 2]), "an answer to function 132 where 3 was asked"),
    ] {
        let peer = Peer::start(move |_| Does::Send(vec![foreign.clone()])).await;
        let reason = silence(tcp(peer.port, SHORT).exchange(7, &read(1)).await);
        assert!(reason.contains(told), "{reason}");
    }
}

#[tokio::test]
async fn a_frame_in_single_bytes_is_a_frame() {
    let peer = Peer::start(|asked| Does::Send(echo(asked).chunks(1).map(<[u8]>::to_vec).collect())).await;
    let mut line = tcp(peer.port, PATIENT);
    assert_eq!(line.exchange(7, &read(300)).await, data(&[1, 44]));
    assert_eq!(line.exchange(7, &read(301)).await, data(&[1, 45]));
}

#[tokio::test]
async fn garbage_closes_the_connection_and_the_next_request_opens_a_new_one() {
    for garbage in [b"HTTP/1.1 400 Bad Request".to_vec(), vec![0, 1, 0, 0, 0xFF, 0xFF, 7, 3]] {
        let peer = Peer::start(move |asked| {
            Does::Send(vec![if asked.connection == 0 { garbage.clone() } else { echo(asked) }])
        })
        .await;
        let mut line = tcp(peer.port, PATIENT);
        let reason = breakage(line.exchange(7, &read(1)).await);
        assert!(reason.contains("does not speak Modbus TCP"), "{reason}");
        assert_eq!(line.exchange(7, &read(2)).await, data(&[0, 2]));
        assert_eq!(peer.connections(), 2);
    }
}

#[tokio::test]
async fn a_long_silence_opens_a_new_connection() {
    let mut peer =
        Peer::start(|asked| Does::Send(if asked.connection == 0 { vec![] } else { vec![echo(asked)] })).await;
    let mut line = tcp(peer.port, SHORT);
    for _ in 0..SILENT_LIMIT {
        silence(line.exchange(7, &read(1)).await);
    }
    assert_eq!(peer.pdus().len(), SILENT_LIMIT as usize, "no request is sent twice");
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2)).await, data(&[0, 2]));
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_connection_the_device_closed_meanwhile_costs_no_request() {
    let peer = Peer::start(|asked| Does::SendAndClose(echo(asked))).await;
    let mut line = tcp(peer.port, PATIENT);
    assert_eq!(line.exchange(7, &read(1)).await, data(&[0, 1]));
    line.something_waits().await;
    assert_eq!(line.exchange(7, &read(2)).await, data(&[0, 2]));
    assert_eq!(peer.connections(), 2);
}

#[tokio::test]
async fn a_connection_closed_instead_of_an_answer_is_broken() {
    let peer = Peer::start(|_| Does::SendAndClose(vec![])).await;
    let reason = breakage(tcp(peer.port, PATIENT).exchange(7, &read(1)).await);
    assert!(reason.contains(&format!("127.0.0.1:{}", peer.port)), "{reason}");
}

#[tokio::test]
async fn a_refused_connection_names_the_endpoint_and_nothing_was_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let deadline = Deadline::after(PATIENT);
    let failure = tcp(port, PATIENT).exchange_before(deadline, 7, &read(1)).await;
    let Err(Failure::NotSent(LineError::Broken(reason))) = failure else { panic!("{failure:?}") };
    assert!(reason.starts_with(&format!("cannot connect to 127.0.0.1:{port}: ")), "{reason}");
}

#[tokio::test]
async fn the_turnaround_is_kept_between_an_answer_and_the_next_request() {
    let peer = Peer::start(|asked| Does::Send(vec![echo(asked)])).await;
    let pause = Duration::from_millis(30);
    let mut line = unhurried(peer.port, pause);
    let begin = Instant::now();
    for address in 0..4 {
        assert!(line.exchange(7, &read(address)).await.is_ok());
    }
    assert!(begin.elapsed() >= pause * 3, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_deadline_that_passes_while_the_line_gets_ready_keeps_the_request_back() {
    let mut peer = Peer::start(|asked| Does::Send(vec![echo(asked)])).await;
    let pause = Duration::from_millis(400);
    let mut line = unhurried(peer.port, pause);
    assert!(line.exchange(7, &read(1)).await.is_ok());
    let short = Deadline::after(pause / 4);
    assert_eq!(line.exchange_before(short, 7, &read(2)).await, Err(Failure::Expired));
    assert!(short.passed());
    assert_eq!(line.exchange_before(short, 7, &read(3)).await, Err(Failure::Expired));
    let said = line.exchange_before(Deadline::after(PATIENT), 7, &read(4)).await;
    assert_eq!(said, Ok(Said::Answer(Answer::Data(vec![0, 4]))), "the line is as well as before");
    let addresses: Vec<u8> = peer.pdus().iter().map(|pdu| pdu[2]).collect();
    assert_eq!(addresses, [1, 4]);
    assert_eq!(peer.connections(), 1);
}
