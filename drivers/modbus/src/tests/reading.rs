//! Polls of devices that refuse, fall silent or answer nonsense.

use proptest::prelude::*;
use sagoo_driver_sdk::{Driver, Line, LineError, Readings, Tap};
use serde_json::json;

use super::device::{Asked, Cells, Device as Peer, Does};
use super::{PATIENT, SHORT, connection, device, told};
use crate::driver::Modbus;

fn ten_points() -> String {
    (0..10).map(|n| format!("r{n} = {{ at = \"holding:{n}\", type = \"u16\" }}\n")).collect()
}

#[tokio::test]
async fn one_bad_register_loses_itself_alone() {
    let device = device("", &ten_points());
    let mut cells = Cells::of(&json!({ "holding": { "0x0000": [0, 1, 2, 3, 4, 5], "0x0007": [7, 8, 9] } }));
    let mut peer = Peer::start(move |asked| Does::Send(vec![cells.answer(asked)])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let mut out = Readings::default();
    line.poll(&device, 0, &mut out).await.unwrap();
    let told = told(&device, &out);
    for n in [0, 1, 2, 3, 4, 5, 7, 8, 9] {
        assert_eq!(told[format!("r{n}")], json!(n));
    }
    assert_eq!(told["r6"], json!({ "bad": "holding 0x0006 × 1: illegal data address (exception 2)" }));
    let stamps: Vec<u64> = out.readings().iter().filter(|r| r.value.is_ok()).map(|r| r.boot_ns).collect();
    assert_eq!(stamps[0], stamps[1], "points of one answer carry one time");
    assert!(peer.pdus().len() <= 9, "a bad register is found by halving");
}

#[tokio::test]
async fn a_refused_block_does_not_end_the_poll() {
    let device = device(
        "max_gap = 0",
        "a = { at = \"input:0\", type = \"u16\" }\nb = { at = \"input:9\", type = \"u16\" }",
    );
    let peer = Peer::start(|asked| {
        let pdu: &[u8] = if asked.numbers().0 == 0 { &[0x84, 4] } else { &[4, 2, 0, 5] };
        Does::Send(vec![asked.answer(pdu)])
    })
    .await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let mut out = Readings::default();
    line.poll(&device, 0, &mut out).await.unwrap();
    let expected = json!({ "a": { "bad": "input 0x0000 × 1: server device failure (exception 4)" }, "b": 5 });
    assert_eq!(told(&device, &out), expected);
}

#[tokio::test]
async fn an_answer_of_the_wrong_length_gives_no_value() {
    let device = device(
        "max_gap = 0",
        "a = { at = \"input:0\", type = \"u32\" }\nb = { at = \"input:9\", type = \"u16\" }",
    );
    let peer = Peer::start(|asked| Does::Send(vec![asked.answer(&[4, 2, 0, 5])])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let mut out = Readings::default();
    line.poll(&device, 0, &mut out).await.unwrap();
    let reason = "input 0x0000 × 2: an answer of 2 bytes where 4 were asked for";
    assert_eq!(told(&device, &out), json!({ "a": { "bad": reason }, "b": 5 }));
}

#[tokio::test]
async fn a_gateway_that_misses_its_device_says_silence() {
    let device = device("", &ten_points());
    let peer = Peer::start(|asked| Does::Send(vec![asked.answer(&[0x83, 11])])).await;
    let mut line = Modbus::default().line(&connection(peer.port, PATIENT), Tap::default());
    let error = line.poll(&device, 0, &mut Readings::default()).await.unwrap_err();
    let reason = "unit 7: gateway target device failed to respond (exception 11)";
    assert_eq!(error, LineError::Silent(reason.to_owned()));
}

/// What a nasty device does with one request.
#[derive(Debug, Clone, Copy)]
enum Trick {
    Answer,
    /// Keeps the answer and sends it before the next one.
    Late,
    Twice,
    WrongTransaction,
    WrongUnit,
    WrongFunction,
    /// Of other registers than asked for, but with the same length.
    Garbage,
    Close,
}

/// Register `n` holds this, so that a value under a wrong point is seen.
fn pattern(address: u16) -> u16 {
    address.wrapping_mul(257).wrapping_add(11)
}

fn honest(asked: &Asked) -> Vec<u8> {
    let (address, count) = asked.numbers();
    let mut pdu = vec![asked.pdu[0], (count * 2) as u8];
    pdu.extend((address..address + count).flat_map(|at| pattern(at).to_be_bytes()));
    asked.answer(&pdu)
}

fn trick(asked: &Asked, trick: Trick, kept: &mut Vec<Vec<u8>>) -> Does {
    let right = honest(asked);
    // Answers of a wrong address: they must never be taken.
    let wrong = |place: usize, change: u8| {
        let mut frame = right.clone();
        frame[place] = frame[place].wrapping_add(change);
        frame.iter_mut().skip(9).for_each(|byte| *byte ^= 0x55);
        frame
    };
    let before = std::mem::take(kept);
    let mut pieces = before;
    match trick {
        Trick::Answer => pieces.push(right),
        Trick::Late => {
            kept.append(&mut pieces);
            kept.push(right);
        }
        Trick::Twice => pieces.extend([right.clone(), right]),
        Trick::WrongTransaction => pieces.push(wrong(1, 1)),
        Trick::WrongUnit => pieces.push(wrong(6, 1)),
        Trick::WrongFunction => pieces.push(wrong(7, 1)),
        Trick::Garbage => pieces.push(wrong(2, 1)),
        Trick::Close => return Does::SendAndClose(pieces.concat()),
    }
    Does::Send(pieces)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_value_is_never_filed_under_a_wrong_point(tricks in proptest::collection::vec(0..16usize, 8..20)) {
        let all = [Trick::Late, Trick::Twice, Trick::WrongTransaction, Trick::WrongUnit, Trick::WrongFunction,
                   Trick::Garbage, Trick::Close];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let device = device("max_gap = 0\nmax_read = 2", &ten_points());
            let mut place = 0;
            let mut kept = Vec::new();
            let script = tricks.clone();
            let peer = Peer::start(move |asked| {
                let now = script.get(place).and_then(|n| all.get(*n)).copied().unwrap_or(Trick::Answer);
                place += 1;
                trick(asked, now, &mut kept)
            }).await;
            let mut line = Modbus::default().line(&connection(peer.port, SHORT), Tap::default());
            let mut good = 0;
            for _ in 0..300 {
                let mut out = Readings::default();
                let _ = line.poll(&device, 0, &mut out).await;
                for reading in out.readings() {
                    if let Ok(value) = &reading.value {
                        let right = pattern(device.points[reading.point].address);
                        assert_eq!(value, &sagoo_driver_sdk::Value::Uint(right.into()));
                        good += 1;
                    }
                }
                if good >= 40 {
                    return;
                }
            }
            panic!("the line never came back");
        });
    }
}
