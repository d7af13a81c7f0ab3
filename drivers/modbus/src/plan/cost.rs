//! What one request costs on its line. Pure.
//!
//! ```text
//! RTU     8 characters out, 5 + bytes back, 3.5 characters of silence after each
//! ASCII   17 characters out, 11 + 2 × bytes back, no silence
//! ```
//!
//! Always true: a longer read never costs less. Where nobody knows the time before the device was
//! asked (sockets), every request saved is worth more than any number of bytes.

use std::time::Duration;

use crate::connection::serial::Serial;
use crate::connection::{Connection, Framing, Transport};
use crate::point::address::Table;

/// Above this rate the silence of RTU does not get shorter (MODBUS over Serial Line V1.02, 2.5.1.1).
const SILENCE_BAUD: u32 = 19_200;
/// 3.5 characters above [`SILENCE_BAUD`].
const SHORTEST_SILENCE: Duration = Duration::from_micros(1_750);
/// `max_gap = "auto"` where bytes cost nothing to speak of. One more request costs about 140 bytes of
/// headers and a turn of the device, which is as much as 70 registers; but behind a wide gap there is
/// more often nothing that may be read, and a refused block has to be read again in parts.
const AUTO_GAP_SOCKET: u16 = 32;
/// A request where only their number counts, in the unit of one byte: more than any plan has bytes.
const REQUEST_ALONE: u64 = 1 << 32;

/// Fixed part and part per byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Cost {
    request_ns: u64,
    byte_ns: u64,
    /// What the line keeps silent at least between a request and its answer.
    silence_ns: u64,
    /// What the device was seen to take for that; part of `request_ns` where that is a time.
    device_ns: u64,
    /// False: not a time, only a measure to compare plans by.
    is_time: bool,
}

impl Cost {
    /// A socket: as few requests as can be, then as few bytes.
    pub(crate) const SOCKET: Self =
        Self { request_ns: REQUEST_ALONE, byte_ns: 1, silence_ns: 0, device_ns: 0, is_time: false };

    /// What it is on this connection, before any device was asked. Behind a serial server nobody knows
    /// the line, so it counts as a socket.
    pub(crate) fn on(connection: &Connection) -> Self {
        match (&connection.transport, connection.framing) {
            (Transport::Serial(Serial { mode, .. }), Framing::Ascii) => {
                Self::ascii(mode.baud, mode.character_bits(), connection.turnaround)
            }
            (Transport::Serial(Serial { mode, .. }), _) => {
                Self::rtu(mode.baud, mode.character_bits(), connection.turnaround)
            }
            _ => Self::SOCKET,
        }
    }

    /// RTU on a line of so many bits a second and bits a character, with `pause` between an answer and
    /// the next request on top of the silence.
    pub(crate) fn rtu(baud: u32, character_bits: u32, pause: Duration) -> Self {
        let character = character_ns(baud, character_bits);
        let silence = if baud > SILENCE_BAUD {
            SHORTEST_SILENCE.as_nanos() as u64
        } else {
            (character * 7).div_ceil(2)
        };
        Self {
            request_ns: 13 * character + 2 * silence + nanos(pause),
            byte_ns: character,
            silence_ns: silence,
            device_ns: silence,
            is_time: true,
        }
    }

    /// ASCII on such a line.
    pub(crate) fn ascii(baud: u32, character_bits: u32, pause: Duration) -> Self {
        let character = character_ns(baud, character_bits);
        Self {
            request_ns: 28 * character + nanos(pause),
            byte_ns: 2 * character,
            silence_ns: 0,
            device_ns: 0,
            is_time: true,
        }
    }

    /// The same for a device that takes this long from the end of a request to its answer; the silence
    /// is a part of it. On a socket it is all that is known of the time, and plans stay as they are.
    pub(crate) fn with_turnaround(self, measured: Duration) -> Self {
        let device_ns = nanos(measured).max(self.silence_ns);
        if !self.is_time {
            return Self { device_ns, ..self };
        }
        Self { request_ns: self.request_ns - self.device_ns + device_ns, device_ns, ..self }
    }

    /// A read of so many cells, in the unit of this cost.
    pub(crate) fn read(&self, table: Table, cells: u16) -> u64 {
        let bytes = if table.is_bits() { u64::from(cells).div_ceil(8) } else { u64::from(cells) * 2 };
        self.request_ns + self.byte_ns * bytes
    }

    /// How long a read of so many cells takes; zero where that is not known.
    pub(crate) fn time(&self, table: Table, cells: u16) -> Duration {
        Duration::from_nanos(if self.is_time { self.read(table, cells) } else { self.device_ns })
    }

    /// Most unwanted registers in a row that `max_gap = "auto"` reads; `None`: the cost decides alone.
    pub(crate) fn auto_gap(&self) -> Option<u16> {
        (!self.is_time).then_some(AUTO_GAP_SOCKET)
    }
}

fn character_ns(baud: u32, bits: u32) -> u64 {
    u64::from(bits) * 1_000_000_000 / u64::from(baud.max(1))
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(cost: Cost, registers: u16) -> f64 {
        (cost.time(Table::Holding, registers).as_secs_f64() * 10_000.0).round() / 10.0
    }

    /// Most junk registers that are cheaper to read than another request.
    fn break_even(cost: Cost) -> u64 {
        (1..500).take_while(|gap| cost.read(Table::Input, *gap) <= 2 * cost.request_ns).last().unwrap_or(0)
            as u64
    }

    #[test]
    fn times_are_those_of_the_formula() {
        // 8E1: t = (13 + 2N) · 11 / baud + 2 · t3.5, worked out by hand.
        for (baud, one, ten, all) in [
            (9_600, 25.2, 45.8, 309.4),
            (19_200, 12.6, 22.9, 154.7),
            (38_400, 7.8, 13.0, 78.8),
            (115_200, 4.9, 6.7, 28.6),
        ] {
            let cost = Cost::rtu(baud, 11, Duration::ZERO);
            assert_eq!([ms(cost, 1), ms(cost, 10), ms(cost, 125)], [one, ten, all], "{baud}");
        }
        assert_eq!(ms(Cost::ascii(9_600, 10, Duration::ZERO), 10), 70.8);
        assert_eq!(ms(Cost::rtu(9_600, 11, Duration::from_millis(5)), 1), 30.2);
        assert_eq!(Cost::SOCKET.time(Table::Holding, 125), Duration::ZERO);
        let measured = Cost::SOCKET.with_turnaround(Duration::from_millis(3));
        assert_eq!(measured.time(Table::Holding, 125), Duration::from_millis(3));
        assert_eq!(measured.read(Table::Holding, 9), Cost::SOCKET.read(Table::Holding, 9), "plans stay");
        assert_eq!(
            Cost::rtu(9_600, 11, Duration::ZERO).time(Table::Coil, 9),
            Cost::rtu(9_600, 11, Duration::ZERO).time(Table::Input, 1)
        );
    }

    #[test]
    fn a_slow_device_makes_wider_gaps_pay() {
        let gaps = |turnaround: u64| {
            [9_600, 19_200, 38_400, 115_200].map(|baud| {
                let line = Cost::rtu(baud, 11, Duration::ZERO);
                break_even(line.with_turnaround(
                    Duration::from_millis(turnaround) + Duration::from_nanos(line.silence_ns),
                ))
            })
        };
        // anchors: 10 at 9600 without, then 14, 19, 30 and 77 with 10 ms of turnaround.
        assert_eq!(gaps(0)[0], 10);
        assert_eq!(gaps(10), [14, 18, 30, 77]);
    }

    #[test]
    fn the_silence_is_a_part_of_what_a_device_takes() {
        let line = Cost::rtu(9_600, 11, Duration::ZERO);
        assert_eq!(
            line.with_turnaround(Duration::from_millis(1)),
            line,
            "it cannot be faster than the silence"
        );
        let slow = line.with_turnaround(Duration::from_millis(20));
        assert_eq!(ms(slow, 1), (25.2f64 - 4.0 + 20.0).round() * 1.0 + 0.2);
        assert_eq!(slow.with_turnaround(Duration::ZERO), line);
    }
}
