//! What passes on a line, as lines of text:
//!
//! ```text
//! # sagoo-edge capture 1 modbus serial rtu 9600-8E1
//! 0.000000 > 01 03 00 00 00 0A C5 CD
//! 0.031250 < 01 03 14 …
//! ! 12 lost
//! ```
//! Always true: lines are in the order of the transfers, with the seconds since the capture began;
//! nothing is left out without a line that says how much; a caller that left is noticed at once, and
//! then nobody watches the line any more.

use std::fmt::Write as _;
use std::time::Duration;

use sagoo_edge_proto::clock;
use sagoo_edge_proto::driver::CaptureResponse;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use crate::session::Captured;
use crate::tap::{Direction, Transfer};

/// Most lines in one message.
const LINES_AT_ONCE: usize = 256;
/// Messages handed to the transport ahead of it; what comes while they wait, waits in the tap.
const AHEAD: usize = 2;

/// Watches until the caller leaves, the time is over, or the line is gone.
pub(crate) fn stream(
    captured: Captured,
    duration: Option<Duration>,
) -> mpsc::Receiver<Result<CaptureResponse, Status>> {
    let (told, lines) = mpsc::channel(AHEAD);
    let until = duration.map(|duration| Instant::now() + duration);
    tokio::spawn(async move {
        tokio::select! {
            () = told.closed() => {}
            () = over(until) => {}
            gone = watch(captured, &told) => {
                let _ = told.send(Err(gone)).await;
            }
        }
    });
    lines
}

async fn over(until: Option<Instant>) {
    match until {
        Some(until) => sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Tells what passes; comes back when the line is gone.
async fn watch(captured: Captured, told: &mpsc::Sender<Result<CaptureResponse, Status>>) -> Status {
    let Captured { connection, what, mut transfers } = captured;
    let start = clock::boot_ns();
    let mut lines = vec![format!("# sagoo-edge capture 1 {what}")];
    loop {
        while lines.len() < LINES_AT_ONCE {
            match transfers.try_recv() {
                Ok(transfer) => lines.push(line(start, &transfer)),
                Err(TryRecvError::Lagged(lost)) => lines.push(lost_line(lost)),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        let full = CaptureResponse { lines: std::mem::take(&mut lines) };
        // Whether the caller is there is seen by others.
        let _ = told.send(Ok(full)).await;
        lines.push(match transfers.recv().await {
            Ok(transfer) => line(start, &transfer),
            Err(RecvError::Lagged(lost)) => lost_line(lost),
            Err(RecvError::Closed) => {
                let gone = format!("connection {connection:?} was stopped, or has new settings");
                return Status::unavailable(gone);
            }
        });
    }
}

/// One transfer; `start`: nanoseconds since boot.
fn line(start: u64, transfer: &Transfer) -> String {
    let micros = transfer.boot_ns.saturating_sub(start) / 1_000;
    let way = match transfer.direction {
        Direction::Out => '>',
        Direction::In => '<',
    };
    let mut line = format!("{}.{:06} {way}", micros / 1_000_000, micros % 1_000_000);
    for byte in transfer.bytes.iter() {
        // Writing to a string cannot fail.
        let _ = write!(line, " {byte:02X}");
    }
    line
}

fn lost_line(lost: u64) -> String {
    format!("! {lost} lost")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::tap::{TRANSFERS, Tap};

    fn captured(tap: &Tap) -> Captured {
        Captured {
            connection: "bus".into(),
            what: "modbus serial rtu 9600-8E1".into(),
            transfers: tap.watch(),
        }
    }

    async fn next(lines: &mut mpsc::Receiver<Result<CaptureResponse, Status>>) -> Vec<String> {
        lines.recv().await.unwrap().unwrap().lines
    }

    proptest! {
        #[test]
        fn a_line_can_be_read_back(
            after_us in 0..10_000_000_000u64,
            out in any::<bool>(),
            bytes in proptest::collection::vec(any::<u8>(), 1..300),
        ) {
            let direction = if out { Direction::Out } else { Direction::In };
            let transfer = Transfer { boot_ns: 5_000 + after_us * 1_000, direction, bytes: bytes.clone().into() };
            let line = line(5_000, &transfer);
            let mut words = line.split(' ');
            let (seconds, micros) = words.next().unwrap().split_once('.').unwrap();
            prop_assert_eq!(micros.len(), 6);
            let told: u64 = seconds.parse::<u64>().unwrap() * 1_000_000 + micros.parse::<u64>().unwrap();
            prop_assert_eq!(told, after_us);
            prop_assert_eq!(words.next(), Some(if out { ">" } else { "<" }));
            let told: Vec<u8> = words.map(|word| u8::from_str_radix(word, 16).unwrap()).collect();
            prop_assert_eq!(told, bytes);
        }
    }

    #[tokio::test]
    async fn the_first_line_says_what_is_captured_and_a_slow_caller_how_much_it_lost() {
        let tap = Tap::default();
        let mut lines = stream(captured(&tap), None);
        assert_eq!(next(&mut lines).await, ["# sagoo-edge capture 1 modbus serial rtu 9600-8E1"]);
        tap.sent(&[1, 3]);
        let first = next(&mut lines).await;
        assert!(first[0].ends_with(" > 01 03"), "{first:?}");
        for _ in 0..TRANSFERS + 12 {
            tap.received(&[7]);
        }
        let mut told = Vec::new();
        while told.len() <= TRANSFERS {
            told.extend(next(&mut lines).await);
        }
        assert_eq!(told[0], "! 12 lost");
        assert!(told[1..].iter().all(|line| line.ends_with(" < 07")));
        drop(tap);
        let gone = lines.recv().await.unwrap().unwrap_err();
        assert_eq!(gone.message(), "connection \"bus\" was stopped, or has new settings");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_its_time_and_with_its_caller_and_then_nobody_watches() {
        let tap = Tap::default();
        let begun = Instant::now();
        let mut lines = stream(captured(&tap), Some(Duration::from_secs(3)));
        while lines.recv().await.is_some() {}
        assert_eq!(begun.elapsed(), Duration::from_secs(3));
        let lines = stream(captured(&tap), None);
        assert!(tap.is_watched());
        drop(lines);
        while tap.is_watched() {
            tokio::task::yield_now().await;
        }
    }
}
