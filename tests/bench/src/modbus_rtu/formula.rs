//! What the wire itself needs: the ceiling that the driver is measured against.
//!
//! ```text
//! t = (13 + 2N) · bits / baud  +  2 · t3.5  +  turnaround
//!      8 of the request, 5 + 2N of the answer; a silence before the device may answer, and one
//!      before the next request; the simulated devices need no turnaround of their own
//! ```
//! Always true: nothing here is taken from the driver: the best way to read a map is found by trying
//! every way to cut it into requests.

use std::time::Duration;

/// Registers that one request may read.
pub(super) const MOST: u16 = 125;
/// Bytes of a request and of an answer without registers.
const FRAMES: u32 = 13;
/// From this speed on the silence between two frames is fixed (Modbus over serial line, 2.5.1.1).
const FAST: u32 = 19_200;
const FAST_SILENCE: Duration = Duration::from_micros(1_750);

/// Speed and character of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wire {
    pub(super) baud: u32,
}

/// Wanted registers that follow each other: first and how many.
pub(super) type Run = (u16, u16);

impl Wire {
    /// Start, eight data, parity and stop.
    const BITS: u32 = 11;

    /// As it is written in a configuration.
    pub(super) fn mode(self) -> String {
        format!("{}-8E1", self.baud)
    }

    /// How long so many bytes take.
    pub(super) fn bytes(self, count: u32) -> Duration {
        Duration::from_secs(u64::from(count * Self::BITS)) / self.baud
    }

    /// Silence between two frames.
    pub(super) fn silence(self) -> Duration {
        if self.baud > FAST { FAST_SILENCE } else { self.bytes(7) / 2 }
    }

    /// A request for so many registers, from its first bit to that of the next one.
    pub(super) fn transaction(self, registers: u16) -> Duration {
        self.bytes(FRAMES + 2 * u32::from(registers)) + 2 * self.silence()
    }

    /// The least time in which these runs, which are in order and no longer than a request, can be read.
    pub(super) fn best(self, runs: &[Run]) -> Duration {
        let mut least = vec![Duration::ZERO];
        for (last, (first_of_last, length)) in runs.iter().enumerate() {
            let end = first_of_last + length;
            let ways = (0..=last).filter_map(|first| {
                let registers = end - runs[first].0;
                (registers <= MOST).then(|| least[first] + self.transaction(registers))
            });
            least.push(ways.min().expect("a run alone is one way"));
        }
        least[runs.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_takes_what_the_formula_says() {
        let slow = Wire { baud: 9_600 };
        let expected = 263.0 * 11.0 / 9_600.0 + 7.0 * 11.0 / 9_600.0;
        assert!((slow.transaction(125).as_secs_f64() - expected).abs() < 1e-6);
        let fast = Wire { baud: 115_200 };
        assert!((fast.transaction(1).as_secs_f64() - (15.0 * 11.0 / 115_200.0 + 0.0035)).abs() < 1e-6);
    }

    #[test]
    fn the_best_way_reads_across_small_gaps_and_not_across_large_ones() {
        let wire = Wire { baud: 9_600 };
        assert_eq!(wire.best(&[(0, 10), (15, 10)]), wire.transaction(25));
        assert_eq!(wire.best(&[(0, 10), (70, 10)]), wire.transaction(10) * 2);
        assert_eq!(wire.best(&[(0, 125), (130, 125)]), wire.transaction(125) * 2, "a request has its limit");
        assert_eq!(wire.best(&[(0, 1), (2, 1), (80, 1)]), wire.transaction(3) + wire.transaction(1));
    }
}
