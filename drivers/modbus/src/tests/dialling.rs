//! Devices that dial in.

use std::net::SocketAddr;
use std::time::Duration;

use sagoo_driver_sdk::{Deadline, Driver, Line, LineError, Outcome, Tap, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::bus::{Bus, Heard, now, rtu};
use super::turns::{pattern, read, well};
use super::{PATIENT, SHORT, connection, device};
use crate::connection::ends::Listen;
use crate::connection::{Connection, Framing, Transport};
use crate::driver::Modbus;
use crate::transport::Wire;

/// An address where nobody listens.
fn free() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn wire(address: SocketAddr, id: &str, framing: Framing, timeout: Duration) -> Wire {
    let transport = Transport::Listen(Listen { address, id: id.as_bytes().to_vec() });
    Wire::new(&Connection { transport, framing, ..connection(0, timeout) }, Tap::default(), None)
}

/// Dials in until somebody listens.
async fn dial(address: SocketAddr, greeting: &[u8]) -> TcpStream {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await {
            stream.write_all(greeting).await.unwrap();
            return stream;
        }
        tokio::task::yield_now().await;
    }
}

/// A modem with a bus behind it.
async fn modem(address: SocketAddr, greeting: &[u8], answer: fn(&Heard) -> Vec<u8>) -> Bus {
    Bus::on(dial(address, greeting).await, move |heard| now(answer(heard)))
}

#[tokio::test]
async fn devices_that_dial_in_are_told_apart_by_their_ids() {
    let address = free();
    let mut one = wire(address, "dtu-1", Framing::Rtu, PATIENT);
    let mut ten = wire(address, "dtu-10", Framing::Rtu, PATIENT);
    let marked = |heard: &Heard| rtu(heard.unit, &[3, 2, 10, 10]);
    let dialling = async {
        let one = modem(address, b"dtu-1\r\n", well).await;
        (one, modem(address, b"dtu-10", marked).await)
    };
    let (first, second, buses) =
        tokio::join!(async { one.exchange(7, &read(1, 1)).await }, ten_asks(&mut ten), dialling);
    assert_eq!(first, pattern(1, 1));
    assert_eq!(second, pattern(0x0A0A, 1));
    drop(buses);
}

async fn ten_asks(line: &mut Wire) -> Result<crate::transport::Said, LineError> {
    line.exchange(7, &read(2, 1)).await
}

#[tokio::test]
async fn a_new_call_replaces_the_old_one_and_chatter_in_between_is_skipped() {
    for framing in [Framing::Rtu, Framing::Tcp] {
        let address = free();
        let mut line = wire(address, "dtu-1", framing, PATIENT);
        let (mut count, chatter) = (0, b"ping\0\x01\0\0".to_vec());
        let answer = move |stream: TcpStream| async move {
            let mut stream = stream;
            let mut bytes = [0; 12];
            let length = if framing == Framing::Tcp { 12 } else { 8 };
            while stream.read_exact(&mut bytes[..length]).await.is_ok() {
                count += 1;
                let pdu = [3, 2, 0, bytes[length - if framing == Framing::Tcp { 3 } else { 5 }]];
                let frame = match framing {
                    Framing::Tcp => device::frame(u16::from_be_bytes([bytes[0], bytes[1]]), 7, &pdu),
                    _ => rtu(7, &pdu),
                };
                let said = [&chatter[..], &frame].concat();
                if stream.write_all(&said).await.is_err() {
                    return count;
                }
            }
            count
        };
        let first = {
            let answer = answer.clone();
            tokio::spawn(async move { answer(dial(address, b"dtu-1").await).await })
        };
        assert_eq!(line.exchange(7, &read(1, 1)).await, pattern(1, 1));
        assert_eq!(line.exchange(7, &read(2, 1)).await, pattern(2, 1));
        // The modem has lost its network and calls again; the old call hangs.
        let second = tokio::spawn(async move { answer(dial(address, b"dtu-1").await).await });
        line.news().await;
        assert_eq!(line.exchange(7, &read(3, 1)).await, pattern(3, 1));
        assert_eq!(first.await.unwrap(), 2);
        line.close().await;
        assert_eq!(second.await.unwrap(), 1);
        assert!(TcpStream::connect(address).await.is_err(), "the door of a line that is given up is shut");
    }
}

#[tokio::test]
async fn nobody_is_let_in_without_an_id_that_is_waited_for() {
    let address = free();
    let mut line = wire(address, "dtu-1", Framing::Rtu, PATIENT);
    let strangers = async {
        for greeting in [&b"dtu-2"[..], b"dtu-10", b"GET / HTTP/1.1\r\n\r\n", b"\0"] {
            let mut stream = dial(address, greeting).await;
            // Closed, with or without a reset.
            assert!(!matches!(stream.read(&mut [0; 8]).await, Ok(1..)));
        }
        modem(address, b"dtu-1", well).await
    };
    let (said, _bus) = tokio::join!(async { line.exchange(7, &read(1, 1)).await }, strangers);
    assert_eq!(said, pattern(1, 1));
}

#[tokio::test]
async fn a_line_without_a_call_says_that_nobody_has_dialled_in() {
    let address = free();
    let mut line = wire(address, "dtu-1", Framing::Rtu, SHORT);
    let said = line.exchange(7, &read(1, 1)).await;
    let told = format!("no device has dialled in to {address} as \"dtu-1\" yet");
    assert_eq!(said, Err(LineError::Broken(told)));
    // The scheduler closes a line that broke; a modem must find the door open all the same.
    line.close().await;
    let other = wire(address, "dtu-1", Framing::Rtu, SHORT).exchange(7, &read(1, 1)).await;
    let Err(LineError::Broken(reason)) = other else { panic!("{other:?}") };
    assert!(reason.contains("another connection waits for \"dtu-1\" there"), "{reason}");
    line.close().await;
    std::net::TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn idle_strangers_shut_no_device_out() {
    let address = free();
    let mut line = wire(address, "dtu-1", Framing::Rtu, PATIENT);
    let dialling = async {
        let mut idle = Vec::new();
        for _ in 0..crate::transport::GREETINGS {
            idle.push(dial(address, b"").await);
        }
        let modem = modem(address, b"dtu-1", well).await;
        // The oldest gives way, and no other.
        assert!(!matches!(idle[0].read(&mut [0; 8]).await, Ok(1..)));
        let waits = idle[1].try_read(&mut [0; 8]).unwrap_err();
        assert_eq!(waits.kind(), std::io::ErrorKind::WouldBlock);
        (idle, modem)
    };
    let (said, _open) = tokio::join!(async { line.exchange(7, &read(1, 1)).await }, dialling);
    assert_eq!(said, pattern(1, 1));
}

#[tokio::test]
async fn a_line_that_a_write_found_broken_shuts_its_door_when_it_is_given_up() {
    let address = free();
    let device = device("", "p = { at = \"holding:1\", type = \"u16\", write = {} }");
    let transport = Transport::Listen(Listen { address, id: b"dtu-1".to_vec() });
    let connection = Connection { transport, framing: Framing::Rtu, ..connection(0, SHORT) };
    let mut line = Modbus::default().line(&connection, Tap::default());
    let told = line.write(&device, &[(0, Value::Uint(1))], Deadline::after(PATIENT)).await;
    assert!(matches!(&told[..], [Outcome::Refused(why)] if why.contains("has dialled in")), "{told:?}");
    assert!(TcpStream::connect(address).await.is_ok(), "a device may dial in for the next request");
    line.close().await;
    std::net::TcpListener::bind(address).unwrap();
}
