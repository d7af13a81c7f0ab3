//! Lines without transactions: late answers, noise, echoes, other masters.

use std::time::Duration;

use proptest::prelude::*;
use sagoo_driver_sdk::{Deadline, Direction, LineError, Tap};

use super::bus::{Bus, Heard, Says, ascii, now, rtu};
use super::{PATIENT, SHORT, connection};
use crate::connection::{Connection, Framing};
use crate::point::address::Table;
use crate::transport::{Failure, Said, Wire};
use crate::wire::{Answer, Request};

fn wire(framing: Framing, port: u16, timeout: Duration) -> Wire {
    let connection = Connection { framing, ..connection(port, timeout) };
    Wire::new(&connection, Tap::default(), None)
}

pub(super) fn read(address: u16, cells: u16) -> Request {
    Request::Read { table: Table::Holding, address, cells }
}

pub(super) fn set(address: u16, value: u16) -> Request {
    Request::WriteRegister { address, value: value.to_be_bytes() }
}

/// Every register reads as its own address.
pub(super) fn pattern(address: u16, cells: u16) -> Result<Said, LineError> {
    let data = (address..address + cells).flat_map(u16::to_be_bytes).collect();
    Ok(Said::Answer(Answer::Data(data)))
}

pub(super) fn written<E>(said: &Result<Said, E>) -> bool {
    matches!(said, Ok(Said::Answer(Answer::Written)))
}

pub(super) fn silence(said: Result<Said, LineError>) -> String {
    match said {
        Err(LineError::Silent(reason)) => reason,
        other => panic!("{other:?} is not silence"),
    }
}

/// What a good device says.
pub(super) fn well(heard: &Heard) -> Vec<u8> {
    match heard.pdu[0] {
        1..=4 => heard.pattern(),
        43 => rtu(heard.unit, &[0xAB, 1]),
        _ => rtu(heard.unit, &heard.pdu[..5]),
    }
}

#[tokio::test]
async fn rtu_and_ascii_are_spoken_through_a_serial_server() {
    let mut bus = Bus::tcp(|heard| now(well(heard))).await;
    let mut line = wire(Framing::Rtu, bus.port, PATIENT);
    assert_eq!(line.exchange(7, &read(300, 20)).await, pattern(300, 20));
    assert!(written(&line.exchange(7, &set(5, 9)).await));
    assert_eq!(bus.heard()[0].bytes, [7, 3, 1, 44, 0, 20, 133, 150]);

    let answer = |heard: &Heard| ascii(heard.unit, &[3, 2, 1, 45]);
    let mut bus = Bus::tcp(move |heard| now(answer(heard))).await;
    let mut line = wire(Framing::Ascii, bus.port, PATIENT);
    assert_eq!(line.exchange(7, &read(301, 1)).await, pattern(301, 1));
    assert_eq!(bus.heard()[0].bytes, b":0703012D0001C7\r\n");
}

#[tokio::test]
async fn an_answer_in_single_bytes_after_noise_is_an_answer() {
    for noise in [&b""[..], &[0], &[0xFF, 7], &[7, 3], &[7, 3, 2], &[0; 300]] {
        let noise = noise.to_vec();
        let bus = Bus::tcp(move |heard| {
            let bytes = [&noise[..], &well(heard)].concat();
            bytes.iter().map(|byte| (Duration::ZERO, vec![*byte])).collect()
        })
        .await;
        let mut line = wire(Framing::Rtu, bus.port, PATIENT);
        assert_eq!(line.exchange(7, &read(300, 3)).await, pattern(300, 3));
    }
}

#[tokio::test]
async fn foreign_answers_are_thrown_away_and_told() {
    for (foreign, told) in [
        (rtu(8, &[3, 2, 0, 1]), "an answer of unit 8 instead of 7"),
        (rtu(7, &[4, 2, 0, 1]), "an answer to function 4 where 3 was asked"),
        (rtu(7, &[3, 0, 9, 0, 1]), "a request of another master to unit 7"),
        (rtu(9, &[3, 0, 9, 0, 1]), "a request of another master to unit 9"),
    ] {
        let bus = Bus::tcp(move |_| now(foreign.clone())).await;
        let reason = silence(wire(Framing::Rtu, bus.port, SHORT).exchange(7, &read(1, 1)).await);
        assert!(reason.contains(told), "{reason}");
    }
    let bus = Bus::tcp(|_| now(rtu(7, &[3, 4, 0, 1, 0, 2]))).await;
    let said = wire(Framing::Rtu, bus.port, SHORT).exchange(7, &read(1, 1)).await;
    assert_eq!(said, Ok(Said::Nonsense("an answer of 4 bytes where 2 were asked for".to_owned())));
}

#[tokio::test]
async fn a_late_answer_is_never_taken_for_the_next_one_however_late_it_is() {
    // Nothing to the first request; then first what the device still owes, and the answer after it.
    let mut owed = None;
    let mut bus = Bus::tcp(move |heard| match owed.take() {
        None if heard.numbers() == (1, 2) => {
            owed = Some(well(heard));
            vec![]
        }
        None => now(well(heard)),
        Some(late) => vec![(Duration::ZERO, late), (Duration::from_millis(5), well(heard))],
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    silence(line.exchange(7, &read(1, 2)).await);
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2, 2)).await, pattern(2, 2));
    assert_eq!(line.exchange(7, &read(3, 1)).await, pattern(3, 1));
    let asked: Vec<_> = bus.heard().iter().map(Heard::numbers).collect();
    assert_eq!(asked, [(1, 2), (2, 1), (2, 2), (3, 1)], "one register settles it, once");
}

#[tokio::test]
async fn a_late_answer_that_was_seen_needs_no_settling() {
    let mut first = true;
    let mut bus = Bus::tcp(move |heard| {
        let pause = if std::mem::take(&mut first) { SHORT * 2 } else { Duration::ZERO };
        vec![(pause, well(heard))]
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    silence(line.exchange(7, &read(1, 1)).await);
    line.something_waits().await;
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2, 1)).await, pattern(2, 1));
    assert_eq!(bus.heard().len(), 2);
}

#[tokio::test]
async fn a_refusal_settles_only_when_no_late_answer_follows_it() {
    // A part of a value is refused.
    let mut answers = vec![vec![], now(rtu(7, &[0x83, 2]))];
    let mut bus =
        Bus::tcp(move |heard| if answers.is_empty() { now(well(heard)) } else { answers.remove(0) }).await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    silence(line.exchange(7, &read(9, 2)).await);
    assert_eq!(line.exchange(7, &read(9, 2)).await, pattern(9, 2));
    assert_eq!(bus.heard().len(), 3);

    // The late answer is a refusal, and what is asked then gets its own.
    let mut owed = None;
    let bus = Bus::tcp(move |heard| match (heard.numbers().0, owed.take()) {
        (1, None) => {
            owed = Some(rtu(7, &[0x83, 2]));
            vec![]
        }
        (_, late) => late.into_iter().chain([well(heard)]).map(|it| (Duration::from_millis(3), it)).collect(),
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    silence(line.exchange(7, &read(1, 2)).await);
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2, 2)).await, pattern(2, 2));
}

#[tokio::test]
async fn a_late_confirmation_confirms_no_later_write() {
    let mut owed = None;
    let bus = Bus::tcp(move |heard| match (heard.pdu[0], owed.take()) {
        (16, None) => {
            owed = Some(well(heard));
            vec![]
        }
        (3, Some(late)) => vec![(Duration::ZERO, late), (Duration::ZERO, well(heard))],
        // It was busy: only the first write is ever done.
        _ => vec![],
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    let write = |value: u8| Request::WriteRegisters { address: 5, values: vec![0, value, 0, value] };
    silence(line.exchange(7, &write(1)).await);
    let said = line.exchange_before(Deadline::after(PATIENT), 7, &write(2)).await;
    assert!(matches!(said, Err(Failure::Unanswered(LineError::Silent(_)))), "{said:?}");
}

#[tokio::test]
async fn nothing_is_sent_to_a_unit_that_owes_an_answer_and_stays_silent() {
    let mut bus = Bus::tcp(|_| vec![]).await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    let write = |value: u8| Request::WriteRegisters { address: 5, values: vec![0, value] };
    silence(line.exchange(7, &write(1)).await);
    let said = line.exchange_before(Deadline::after(PATIENT), 7, &write(2)).await;
    assert!(matches!(said, Err(Failure::NotSent(LineError::Silent(_)))), "{said:?}");
    let functions: Vec<u8> = bus.heard().iter().map(|heard| heard.pdu[0]).collect();
    assert_eq!(functions, [16, 3]);
}

#[tokio::test]
async fn a_unit_that_has_to_be_left_alone_is_not_called_silent() {
    // It loses every read, and the first time that it is asked for its name.
    let mut names = 0;
    let mut bus = Bus::tcp(move |heard| {
        names += usize::from(heard.pdu[0] == 43);
        if heard.pdu[0] == 43 && names > 1 { now(well(heard)) } else { vec![] }
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    for _ in 0..3 {
        silence(line.exchange(7, &read(5, 1)).await);
    }
    // One name is owed, and the read behind it: a name that comes now could be for either.
    let said = line.exchange(7, &read(5, 1)).await;
    assert!(matches!(said, Err(LineError::Postponed(_))), "{said:?}");
    let functions: Vec<u8> = bus.heard().iter().map(|heard| heard.pdu[0]).collect();
    assert_eq!(functions, [3, 43, 43, 3], "nothing was sent in its place");
}

#[tokio::test]
async fn a_register_that_a_device_is_silent_about_is_asked_for_again_and_no_other_in_its_place() {
    // It says nothing where a read touches a register that it does not have: it has 10 and 11 alone, and
    // those only when it has been asked once.
    let mut has_slept = false;
    let mut bus = Bus::tcp(move |heard| {
        let (first, count) = heard.numbers();
        let is_there = heard.pdu[0] == 3 && first == 10 && count == 2;
        if is_there && std::mem::replace(&mut has_slept, true) { now(well(heard)) } else { vec![] }
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    line.expect_for(SHORT * 10);
    silence(line.exchange(7, &read(10, 2)).await);
    let begin = tokio::time::Instant::now();
    loop {
        let said = line.exchange(7, &read(10, 2)).await;
        if said == pattern(10, 2) {
            break;
        }
        silence(said);
        assert!(begin.elapsed() < PATIENT, "the request itself is never made again");
        tokio::task::yield_now().await;
    }
    let asked: Vec<_> = bus.heard().iter().map(|heard| (heard.pdu[0], heard.numbers())).collect();
    assert_eq!(asked[..2], [(3, (10, 2)), (3, (10, 1))]);
    let (last, between) = asked[2..].split_last().unwrap();
    assert_eq!(*last, (3, (10, 2)));
    assert!(between.iter().all(|asked| *asked == (3, (10, 1)) || asked.0 == 43), "{asked:?}");
}

/// Says what it hears, and then what it answers.
fn echo(heard: &Heard, answer: Option<Vec<u8>>) -> Says {
    let mut says = now(heard.bytes.clone());
    says.extend(answer.map(|answer| (Duration::from_millis(2), answer)));
    says
}

#[tokio::test]
async fn an_echo_is_not_an_answer() {
    let bus = Bus::tcp(|heard| echo(heard, Some(well(heard)))).await;
    let mut line = wire(Framing::Rtu, bus.port, PATIENT);
    for address in 0..3 {
        assert_eq!(line.exchange(7, &read(address, 2)).await, pattern(address, 2));
        assert!(written(&line.exchange(7, &set(address, 2)).await));
    }
}

#[tokio::test]
async fn an_echo_of_a_write_never_says_that_it_was_written() {
    // A line that echoes, with nobody there.
    let mut bus = Bus::tcp(|heard| echo(heard, None)).await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    let said = line.exchange_before(Deadline::after(PATIENT), 7, &set(1, 2)).await;
    assert!(matches!(said, Err(Failure::NotSent(LineError::Silent(_)))), "{said:?}");
    assert_eq!(bus.heard()[0].pdu, [3, 0, 1, 0, 1], "a read finds out whether the line echoes");
    let said = line.exchange_before(Deadline::after(PATIENT), 8, &set(1, 2)).await;
    assert!(matches!(said, Err(Failure::Unanswered(LineError::Silent(_)))), "{said:?}");
}

#[tokio::test]
async fn a_write_on_a_line_without_echo_is_confirmed_by_its_first_copy() {
    let mut bus = Bus::tcp(|heard| now(well(heard))).await;
    let mut line = wire(Framing::Rtu, bus.port, PATIENT);
    assert!(written(&line.exchange(7, &set(1, 2)).await));
    assert!(written(&line.exchange(7, &set(1, 3)).await));
    let functions: Vec<u8> = bus.heard().iter().map(|heard| heard.pdu[0]).collect();
    assert_eq!(functions, [3, 6, 6], "whether it echoes is found out once");
}

#[tokio::test]
async fn a_device_that_knows_no_reads_can_be_written_where_nothing_echoes() {
    let mut bus = Bus::tcp(|heard| if heard.pdu[0] == 6 { now(well(heard)) } else { vec![] }).await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    assert!(written(&line.exchange_before(Deadline::after(PATIENT), 7, &set(1, 2)).await));
    assert!(written(&line.exchange_before(Deadline::after(PATIENT), 7, &set(1, 3)).await));
    let functions: Vec<u8> = bus.heard().iter().map(|heard| heard.pdu[0]).collect();
    assert_eq!(functions, [3, 6, 6]);
}

#[tokio::test]
async fn what_passes_is_told_to_the_tap() {
    let bus = Bus::tcp(|heard| now(well(heard))).await;
    let tap = Tap::default();
    let mut watcher = tap.watch();
    let connection = Connection { framing: Framing::Rtu, ..connection(bus.port, PATIENT) };
    let mut line = Wire::new(&connection, tap, None);
    assert_eq!(line.exchange(7, &read(1, 1)).await, pattern(1, 1));
    let (sent, came) = (watcher.recv().await.unwrap(), watcher.recv().await.unwrap());
    assert_eq!((sent.direction, &sent.bytes[..]), (Direction::Out, &rtu(7, &[3, 0, 1, 0, 1])[..]));
    assert_eq!((came.direction, &came.bytes[..]), (Direction::In, &rtu(7, &[3, 2, 0, 1])[..]));
    assert_eq!(connection.words(), "tcp rtu");
}

#[tokio::test]
async fn what_another_master_was_answered_is_not_our_answer() {
    // It asks the same unit for as much, at the same time; nobody can tell the two answers apart.
    let bus = Bus::tcp(|heard| {
        if heard.numbers().0 != 1 {
            return now(well(heard));
        }
        let other = [rtu(7, &[3, 0, 9, 0, 1]), rtu(7, &[3, 2, 0, 9])].concat();
        vec![(Duration::ZERO, other), (Duration::ZERO, well(heard))]
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, SHORT);
    let reason = silence(line.exchange(7, &read(1, 1)).await);
    assert!(reason.contains("another master"), "{reason}");
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2, 1)).await, pattern(2, 1));
    // Its traffic with others does not touch us.
    let other = [rtu(9, &[3, 0, 9, 0, 1]), rtu(9, &[3, 2, 0, 9]), rtu(0, &[6, 0, 1, 0, 1])].concat();
    bus.says.send(other).unwrap();
    line.something_waits().await;
    assert_eq!(line.exchange(7, &read(3, 1)).await, pattern(3, 1));
}

#[tokio::test]
async fn a_broadcast_waits_for_nobody_and_the_next_request_for_the_devices() {
    let mut bus = Bus::tcp(|heard| if heard.unit == 0 { vec![] } else { now(well(heard)) }).await;
    let mut line = wire(Framing::Rtu, bus.port, PATIENT);
    assert_eq!(line.broadcast_before(Deadline::after(PATIENT), &set(1, 2)).await, Ok(()));
    assert_eq!(line.exchange(7, &read(1, 1)).await, pattern(1, 1));
    let heard = bus.heard();
    assert_eq!((heard[0].unit, &heard[0].pdu[..]), (0, &[6, 0, 1, 0, 2][..]));
    let pause = heard[1].at - heard[0].at;
    // Both moments are the bus's own, so a millisecond may be lost on the way.
    assert!(pause > crate::transport::BROADCAST_PAUSE - Duration::from_millis(5), "{pause:?}");
}

/// What a nasty bus does with one request.
#[derive(Debug, Clone, Copy)]
enum Trick {
    Answer,
    /// The answer comes this many milliseconds after the timeout.
    Late(u8),
    Silent,
    Echo,
    Noise,
    /// Another master and its answer come before ours.
    Foreign,
    /// One bit of the answer is another one.
    Broken(u8),
}

fn trick() -> impl Strategy<Value = Trick> {
    prop_oneof![
        3 => Just(Trick::Answer),
        3 => (0..60u8).prop_map(Trick::Late),
        1 => Just(Trick::Silent),
        1 => Just(Trick::Echo),
        1 => Just(Trick::Noise),
        1 => Just(Trick::Foreign),
        1 => any::<u8>().prop_map(Trick::Broken),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]
    #[test]
    fn no_value_is_ever_filed_under_another_address(tricks in proptest::collection::vec(trick(), 1..12)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let result = runtime.block_on(nasty(tricks));
        prop_assert!(result.is_ok(), "{}", result.unwrap_err());
    }
}

/// A device that answers in its order, on a line that does as it likes.
async fn nasty(tricks: Vec<Trick>) -> Result<(), String> {
    let timeout = Duration::from_millis(20);
    let mut rest = tricks.clone().into_iter();
    // A device answers one request after the other: nothing before what was asked earlier.
    let mut free = tokio::time::Instant::now();
    let bus = Bus::tcp(move |heard| {
        let trick = rest.next().unwrap_or(Trick::Answer);
        let answer = well(heard);
        let wait = match trick {
            Trick::Late(ms) => timeout + Duration::from_millis(ms.into()),
            _ => Duration::ZERO,
        };
        free = free.max(heard.at + wait) + Duration::from_millis(1);
        let pause = free - heard.at;
        match trick {
            Trick::Answer | Trick::Late(_) => vec![(pause, answer)],
            Trick::Silent => vec![],
            Trick::Echo => vec![(Duration::ZERO, heard.bytes.clone()), (pause, answer)],
            Trick::Noise => vec![(pause, [&[0, 7, 3, 0xFF][..], &answer].concat())],
            Trick::Foreign => {
                let other = [rtu(7, &[3, 0, 99, 0, 1]), rtu(7, &[3, 2, 0, 99])].concat();
                vec![(Duration::ZERO, other), (pause, answer)]
            }
            Trick::Broken(bit) => {
                let mut answer = answer;
                let place = usize::from(bit) % (answer.len() * 8);
                answer[place / 8] ^= 1 << (place % 8);
                vec![(pause, answer)]
            }
        }
    })
    .await;
    let mut line = wire(Framing::Rtu, bus.port, timeout);
    // All that comes late comes earlier than that.
    line.expect_for(Duration::from_millis(400));
    for address in 1..tricks.len() as u16 + 8 {
        let cells = 1 + address % 3 / 2;
        match when_let(&mut line, &read(address, cells)).await {
            Ok(Said::Answer(Answer::Data(data)))
                if Ok(Said::Answer(Answer::Data(data.clone()))) != pattern(address, cells) =>
            {
                return Err(format!("{data:?} for address {address}"));
            }
            Err(LineError::Broken(reason)) => return Err(reason),
            _ => {}
        }
    }
    line.timeout = PATIENT;
    let end = when_let(&mut line, &read(4000, 1)).await;
    if end == pattern(4000, 1) { Ok(()) } else { Err(format!("it never recovers: {end:?}")) }
}

/// Asks when the unit is not left alone any more.
async fn when_let(line: &mut Wire, request: &Request) -> Result<Said, LineError> {
    loop {
        match line.exchange(7, request).await {
            Err(LineError::Postponed(_)) => {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            said => return said,
        }
    }
}
