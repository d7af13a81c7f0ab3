//! Learning through the whole driver: what is kept, told, forgotten, and what a command waits for.

use sagoo_driver_sdk::testing::TestHost;
use sagoo_driver_sdk::{Driver, Line, Quality, Readings, Tap};
use serde_json::{Value as Json, json};

use super::device::{Cells, Device as Peer, Does};
use super::{PATIENT, configuration, connection, device};
use crate::driver::Modbus;

const KEY: &str = "learned/d";

fn toml(port: u16, max_read: u16) -> String {
    let points: String =
        (0..10).map(|n| format!("r{n} = {{ at = \"holding:{n}\", type = \"u16\" }}\n")).collect();
    format!(
        "[connection.c]\ndriver = \"modbus\"\ntimeout = \"10s\"\ntcp = {{ host = \"127.0.0.1\", port = {port} }}\n\
         [model.m]\nmax_read = {max_read}\npoll = {{ default = \"20ms\" }}\n[model.m.points]\n{points}\n\
         [device.d]\nconnection = \"c\"\nmodel = \"m\"\nunit = 7\n"
    )
}

/// Ten registers without the seventh.
fn holed() -> Cells {
    Cells::of(&json!({ "holding": { "0x0000": [0, 1, 2, 3, 4, 5], "0x0007": [7, 8, 9] } }))
}

fn reads(peer: &mut Peer) -> Vec<(u16, u16)> {
    let number = |pdu: &[u8], at: usize| u16::from_be_bytes([pdu[at], pdu[at + 1]]);
    peer.pdus().iter().map(|pdu| (number(pdu, 1), number(pdu, 3))).collect()
}

async fn polled(host: &mut TestHost, polls: usize) {
    for _ in 0..polls {
        assert_eq!(host.sample_of("d", "r9").await.quality, Quality::Good);
    }
}

#[tokio::test]
async fn what_was_learned_is_kept_with_its_settings_and_is_known_to_the_next_driver() {
    let mut cells = holed();
    let mut peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let mut host = TestHost::new(Modbus::default()).await;
    assert_eq!(host.configure(&configuration(&toml(peer.port, 125))).await, []);
    let bad = loop {
        let sample = host.sample_of("d", "r6").await;
        if sample.value.is_none() {
            break sample;
        }
    };
    assert_eq!(
        bad.quality,
        Quality::Bad("holding 0x0006 × 1: illegal data address (exception 2)".to_owned())
    );
    polled(&mut host, 5).await;
    let kept = host.kept(KEY).expect("it is kept").to_vec();
    let told: Json = serde_json::from_slice(&kept).unwrap();
    assert_eq!(told["refused"], json!([[3, 6, 6, 2, 1]]));
    host.stop().await;
    reads(&mut peer);

    let mut next = TestHost::new(Modbus::default()).await;
    next.keep(KEY, &kept);
    next.configure(&configuration(&toml(peer.port, 125))).await;
    polled(&mut next, 3).await;
    next.stop().await;
    let made = reads(&mut peer);
    assert!(made.iter().all(|read| [(0, 1), (0, 6), (7, 3)].contains(read)), "it knew at once: {made:?}");

    // The model says something else now: nothing of it holds.
    let mut other = TestHost::new(Modbus::default()).await;
    other.keep(KEY, &kept);
    other.configure(&configuration(&toml(peer.port, 9))).await;
    polled(&mut other, 1).await;
    other.stop().await;
    assert!(reads(&mut peer).contains(&(0, 9)), "it is found out anew");
}

#[tokio::test]
async fn what_was_learned_is_told_and_planned_with_and_can_be_forgotten() {
    let mut cells = holed();
    let mut peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let driver = Modbus::default();
    let checked = driver.check(&configuration(&toml(peer.port, 125)));
    let (connection, one) = (&checked.connections[0].settings, &checked.connections[0].devices[0]);
    assert_eq!((driver.learned("d"), driver.measured(connection, one)), (Vec::new(), None));
    let mut line = driver.line(connection, Tap::default());
    let device = &one.settings;
    for _ in 0..3 {
        line.poll(device, 0, &mut Readings::default()).await.unwrap();
    }
    let learned = driver.learned("d");
    assert_eq!(learned[0].paste, "holes = [[\"holding:0x06\", \"holding:0x06\"]]");
    let requests = driver.measured(connection, one).unwrap().remove(0);
    let named: Vec<&str> = requests.iter().map(|request| request.request.as_str()).collect();
    assert_eq!(named, ["holding 0x0000 × 6", "holding 0x0007 × 3"]);

    reads(&mut peer);
    line.poll(device, 0, &mut Readings::default()).await.unwrap();
    assert_eq!(reads(&mut peer), [(0, 6), (7, 3)]);
    let deadline = sagoo_driver_sdk::Deadline::after(PATIENT);
    line.invoke(device, "forget", &json!({}), deadline).await.unwrap();
    assert_eq!(driver.learned("d"), []);
    line.poll(device, 0, &mut Readings::default()).await.unwrap();
    assert!(reads(&mut peer).contains(&(0, 10)), "it is found out anew");
}

#[tokio::test]
async fn a_device_that_is_busy_is_asked_once_more_at_the_end_of_the_poll() {
    let device = device(
        "max_gap = 0",
        "a = { at = \"input:0\", type = \"u16\" }\nb = { at = \"input:9\", type = \"u16\" }",
    );
    let mut asked_for_a = 0;
    let mut peer = Peer::start(move |asked| {
        let is_a = asked.numbers().0 == 0;
        asked_for_a += u32::from(is_a);
        let busy = is_a && asked_for_a != 2;
        Does::Send(vec![asked.answer(if busy { &[0x84, 6] } else { &[4, 2, 0, 5] })])
    })
    .await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    for (told, requests) in [
        (json!({ "a": 5, "b": 5 }), 3),
        (json!({ "a": { "bad": "input 0x0000 × 1: server device busy (exception 6)" }, "b": 5 }), 3),
    ] {
        let mut out = Readings::default();
        line.poll(&device, 0, &mut out).await.unwrap();
        assert_eq!(super::told(&device, &out), told);
        assert_eq!(reads(&mut peer).len(), requests);
    }
}

#[tokio::test]
async fn several_requests_in_flight_learn_the_same() {
    let mut cells = holed();
    let mut peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let text = toml(peer.port, 3).replace("port = ", "in_flight = 4, port = ");
    let driver = Modbus::default();
    let checked = driver.check(&configuration(&text));
    assert_eq!(checked.problems, []);
    let device = &checked.connections[0].devices[0].settings;
    let mut line = driver.line(&checked.connections[0].settings, Tap::default());
    for requests in [None, None, None, Some(3)] {
        reads(&mut peer);
        let mut out = Readings::default();
        line.poll(device, 0, &mut out).await.unwrap();
        let told = super::told(device, &out);
        for n in [0, 1, 2, 3, 4, 5, 7, 8, 9] {
            assert_eq!(told[format!("r{n}")], json!(n));
        }
        if let Some(requests) = requests {
            assert_eq!(reads(&mut peer).len(), requests);
        }
    }
}

/// The device takes 2 ms for each of fifty reads, and the command comes while they are made.
#[tokio::test]
async fn a_command_goes_between_two_requests_of_a_poll_which_then_goes_on_where_it_stopped() {
    let points: String = (0..50)
        .map(|n| format!("r{n} = {{ at = \"holding:{}\", type = \"u16\", write = {{}} }}\n", n * 3))
        .collect();
    let (begun_in, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let mut peer = Peer::start(move |asked| {
        let _ = begun_in.send(());
        std::thread::sleep(std::time::Duration::from_millis(2));
        let pdu = if asked.pdu[0] == 3 { vec![3, 2, 0, 5] } else { asked.pdu.clone() };
        Does::Send(vec![asked.answer(&pdu)])
    })
    .await;
    let mut host = TestHost::new(Modbus::default()).await;
    let toml = format!(
        "[connection.c]\ndriver = \"modbus\"\ntcp = {{ host = \"127.0.0.1\", port = {} }}\n\
         [model.m]\nmax_gap = 0\npoll = {{ default = \"10m\" }}\n[model.m.points]\n{points}\n\
         [device.d]\nconnection = \"c\"\nmodel = \"m\"\nunit = 7\n",
        peer.port
    );
    assert_eq!(host.configure(&configuration(&toml)).await, []);
    begun.recv().await.unwrap();
    host.write("d", &[("r0", sagoo_driver_sdk::Value::Uint(9))]).await;
    for _ in 0..50 {
        assert_eq!(host.sample().await.quality, Quality::Good);
    }
    host.stop().await;
    let functions: Vec<u8> = peer.pdus().iter().map(|pdu| pdu[0]).collect();
    let place = functions.iter().position(|function| *function == 6).expect("it was written");
    assert!(place < 50, "the command waited for the whole poll");
    assert_eq!(functions.len(), 51, "no request of the poll was made twice");
}
