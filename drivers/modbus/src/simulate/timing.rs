//! When the bytes of an answer leave. Pure.
//!
//! ```text
//! request on the wire | 3.5 characters | turnaround | answer, byte by byte
//! ```
//! Always true: with a line rate the last byte of an answer leaves not before a line of that mode
//! could have carried request and answer; without one only the turnaround is kept.

use std::time::Duration;

use crate::connection::Framing;
use crate::connection::serial::Mode;

/// Bytes that leave together take no longer than this, or are one.
const TOGETHER: Duration = Duration::from_millis(2);

/// Some bytes and when they leave, counted from the first byte of the request.
pub(crate) type Part = (Duration, Vec<u8>);

/// How a line and its devices take their time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Timing {
    /// As slow as a line of this mode.
    pub(crate) rate: Option<Mode>,
    /// From the end of the request to the answer, on top of the silence.
    pub(crate) turnaround: Duration,
}

impl Timing {
    /// Cuts the frame of an answer to a request of `request_bytes`.
    pub(crate) fn parts(&self, framing: Framing, request_bytes: usize, frame: Vec<u8>) -> Vec<Part> {
        let Some(mode) = self.rate else { return vec![(self.turnaround, frame)] };
        let silence = if framing == Framing::Rtu { mode.silence() } else { Duration::ZERO };
        let start = mode.time_of(request_bytes) + silence + self.turnaround;
        let together = (1..=frame.len()).rev().find(|count| mode.time_of(*count) <= TOGETHER).unwrap_or(1);
        let mut sent = 0;
        let part = |bytes: &[u8]| {
            sent += bytes.len();
            (start + mode.time_of(sent), bytes.to_vec())
        };
        frame.chunks(together).map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_takes_as_long_as_its_line_needs() {
        let mode = Mode::parse("9600-8E1").unwrap();
        let timing = Timing { rate: Some(mode), turnaround: Duration::from_millis(5) };
        // 8 bytes and 3.5 characters of 11 bits at 9600 baud, 5 ms, then 9 bytes.
        let parts = timing.parts(Framing::Rtu, 8, vec![7; 9]);
        let start = Duration::from_micros(13_177 + 5_000);
        let char_time = Duration::from_nanos(1_145_833);
        assert_eq!(parts.len(), 9, "a byte takes more than a half of what leaves together");
        for ((at, bytes), count) in parts.iter().zip(1..) {
            assert_eq!(bytes.len(), 1);
            let wanted = start + char_time * count;
            assert!(at.abs_diff(wanted) < Duration::from_micros(2), "{at:?} is not {wanted:?}");
        }
        let fast = Timing { rate: Mode::parse("115200-8N1"), turnaround: Duration::ZERO };
        let parts = fast.parts(Framing::Rtu, 8, vec![7; 255]);
        assert_eq!(parts.iter().map(|(_, bytes)| bytes.len()).sum::<usize>(), 255);
        assert!(parts.iter().all(|(_, bytes)| bytes.len() <= 23));
        assert_eq!(
            parts.last().unwrap().0,
            Mode::parse("115200-8N1").unwrap().time_of(8)
                + Duration::from_micros(1_750)
                + Mode::parse("115200-8N1").unwrap().time_of(255)
        );
        let plain = Timing { rate: None, turnaround: Duration::from_millis(3) };
        assert_eq!(plain.parts(Framing::Tcp, 12, vec![1, 2]), [(Duration::from_millis(3), vec![1, 2])]);
    }
}
