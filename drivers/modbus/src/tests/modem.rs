//! What a pseudo terminal lacks: modem lines, RS-485 and parity. `ioctl` below stands in place of the C
//! library's and takes these requests; what they would do on a port is written down.
//!
//! Always true: everything else goes to the kernel as it is, and so does all of a thread that has not
//! [asked](Port::lend).

#![allow(unsafe_code, reason = "a C symbol is defined and one is called")]

use std::cell::RefCell;
use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::marker::PhantomData;
use std::time::Duration;

use sagoo_driver_sdk::{Driver, Line, Tap};
use serde_json::json;
use tokio::time::Instant;

use super::bus::{now, rtu};
use super::serial::Plugged;
use super::turns::{pattern, read, well};
use crate::connection::Transport;
use crate::connection::serial::{Mode, Parity, Rs485, Rts};
use crate::driver::Modbus;
use crate::transport::Wire;

// `asm-generic/ioctls.h`, the same on x86 and ARM.
const TIOCMBIS: c_ulong = 0x5416;
const TIOCMBIC: c_ulong = 0x5417;
const TIOCSRS485: c_ulong = 0x542F;
const TCSETS2: c_ulong = 0x402C_542B;
const TIOCM_RTS: u32 = 4;
// `asm-generic/termbits.h`
const PARENB: u32 = 0x100;
const PARODD: u32 = 0x200;
const SYS_IOCTL: c_long = if cfg!(target_arch = "x86_64") { 16 } else { 29 };

/// What the driver asked of its port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Rts(bool),
    /// Flags, and milliseconds before and after.
    Kernel([u32; 3]),
    Parity(Parity),
}

thread_local! {
    static ASKED: RefCell<Option<Vec<(Instant, Asked)>>> = const { RefCell::new(None) };
}

/// This thread's ports have all of it, for as long as this lives.
struct Port(PhantomData<*const ()>);

impl Port {
    fn lend() -> Self {
        ASKED.set(Some(Vec::new()));
        Self(PhantomData)
    }

    fn asked(&self) -> Vec<(Instant, Asked)> {
        ASKED.with_borrow(|asked| asked.clone().unwrap_or_default())
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        ASKED.set(None);
    }
}

fn parity() -> Parity {
    let asked = ASKED.with_borrow(|asked| asked.clone().unwrap_or_default());
    let parity = |(_, asked): &(Instant, Asked)| match asked {
        Asked::Parity(parity) => Some(*parity),
        _ => None,
    };
    asked.iter().rev().find_map(parity).unwrap_or(Parity::None)
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

/// The first numbers of what a request points at.
fn numbers<const N: usize>(argument: *const c_void) -> [u32; N] {
    // SAFETY: each caller names a request whose argument is a structure of at least `N` such numbers.
    unsafe { argument.cast::<[u32; N]>().read_unaligned() }
}

// SAFETY: the name is the C library's on purpose. Its third argument is passed as any other on the
// machines that this is tested on, and no request has more.
#[unsafe(no_mangle)]
extern "C" fn ioctl(file: c_int, request: c_ulong, argument: *const c_void) -> c_int {
    let taken = ASKED.with_borrow_mut(|asked| {
        let asked = asked.as_mut()?;
        let (what, kept) = match request {
            TIOCMBIS | TIOCMBIC if numbers::<1>(argument)[0] & TIOCM_RTS != 0 => {
                (Asked::Rts(request == TIOCMBIS), true)
            }
            TIOCSRS485 => (Asked::Kernel(numbers(argument)), true),
            TCSETS2 => {
                let [_, _, mode] = numbers::<3>(argument);
                let parity = match (mode & PARENB != 0, mode & PARODD != 0) {
                    (false, _) => Parity::None,
                    (true, false) => Parity::Even,
                    (true, true) => Parity::Odd,
                };
                (Asked::Parity(parity), false)
            }
            _ => return None,
        };
        asked.push((Instant::now(), what));
        kept.then_some(())
    });
    if taken.is_some() {
        return 0;
    }
    // SAFETY: the caller's own request, handed on as it is.
    unsafe { syscall(SYS_IOCTL, file, request, argument) as c_int }
}

fn turned(plugged: &Plugged, rts: Rts, before: Duration, after: Duration) -> Wire {
    let mut connection = plugged.connection("9600-8E1");
    let Transport::Serial(serial) = &mut connection.transport else { panic!("it is one") };
    serial.rs485 = Some(Rs485 { rts, before, after });
    Wire::new(&connection, Tap::default(), None)
}

fn without_parity(asked: Vec<(Instant, Asked)>) -> Vec<(Instant, Asked)> {
    asked.into_iter().filter(|(_, asked)| !matches!(asked, Asked::Parity(_))).collect()
}

#[tokio::test]
async fn rts_by_hand_holds_the_line_from_before_the_first_character_until_after_the_last() {
    let (before, after) = (Duration::from_millis(6), Duration::from_millis(4));
    for (rts, sending) in [(Rts::Up, true), (Rts::Down, false)] {
        let port = Port::lend();
        let mut plugged = Plugged::new(|heard| now(well(heard)));
        let mut line = turned(&plugged, rts, before, after);
        for round in 0..3 {
            assert_eq!(line.exchange(7, &read(300, 2)).await, pattern(300, 2), "round {round}");
        }
        let asked = without_parity(port.asked());
        let levels: Vec<Asked> = asked.iter().map(|(_, asked)| *asked).collect();
        let turn = [Asked::Rts(sending), Asked::Rts(!sending)];
        assert_eq!(levels, [&[Asked::Rts(!sending)][..], &turn, &turn, &turn].concat());
        let carried = Mode::parse("9600-8E1").unwrap().time_of(8);
        for (heard, turn) in plugged.bus.heard().iter().zip(asked[1..].chunks(2)) {
            let (held, freed) = (turn[0].0, turn[1].0);
            assert!(heard.at >= held + before, "the first character left {:?} after RTS", heard.at - held);
            let for_so_long = freed - held;
            assert!(for_so_long >= before + carried + after, "held for {for_so_long:?}");
        }
    }
}

#[tokio::test]
async fn a_kernel_that_can_is_told_how_to_turn_the_line_around_and_no_modem_line_is_touched() {
    let port = Port::lend();
    let plugged = Plugged::new(|heard| now(well(heard)));
    let (before, after) = (Duration::from_millis(2), Duration::from_millis(1));
    let mut line = turned(&plugged, Rts::Kernel, before, after);
    assert_eq!(line.exchange(7, &read(300, 2)).await, pattern(300, 2));
    let asked: Vec<Asked> = without_parity(port.asked()).into_iter().map(|(_, asked)| asked).collect();
    // SER_RS485_ENABLED and SER_RS485_RTS_ON_SEND of `linux/serial.h`.
    assert_eq!(asked, [Asked::Kernel([0b11, 2, 1])]);
}

#[tokio::test]
async fn a_scan_finds_a_device_of_another_parity_and_leaves_the_line_in_its_own() {
    let _port = Port::lend();
    // Each hears only frames of its own parity, as devices do.
    let plugged = Plugged::new(|heard| match (heard.unit, parity()) {
        (2, Parity::None) | (3, Parity::Odd) | (7, Parity::Even) if heard.pdu[0] == 43 => {
            now(rtu(heard.unit, &[0xAB, 1]))
        }
        (2, Parity::None) | (3, Parity::Odd) | (7, Parity::Even) => now(well(heard)),
        _ => vec![],
    });
    let mut connection = plugged.connection("9600-8E1");
    connection.timeout = super::SHORT;
    let driver = Modbus::default();
    let mut line = driver.line(&connection, Tap::default());
    let options = json!({ "units": "2,3,7", "modes": "9600-8N2,9600-8E1,9600-8O1" });
    let mut found = Vec::new();
    for step in 0..driver.scan_steps(&connection, &options).unwrap() {
        let scanned = line.scan(step, &options).await.unwrap();
        found.extend(scanned.found.into_iter().map(|found| found.address));
    }
    assert_eq!(found, ["unit 2 at 9600-8N2", "unit 7 at 9600-8E1", "unit 3 at 9600-8O1"]);
    let mut wire = Wire::new(&connection, Tap::default(), None);
    line.close().await;
    assert_eq!(wire.exchange(7, &read(300, 2)).await, pattern(300, 2));
    assert_eq!(parity(), Parity::Even);
}
