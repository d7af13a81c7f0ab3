//! Wall time of a read, for a box whose clock may not be right yet.
//!
//! Always true: never 1970. While the clock cannot be trusted, time goes on from the last wall time
//! that was stored.

use sagoo_edge_proto::clock;

/// Turns boot time into Unix milliseconds.
#[derive(Debug)]
pub struct WallClock {
    last_known_ms: i64,
    since_boot_ns: u64,
}

impl WallClock {
    /// `last_known_ms`: time of the newest stored row, if any.
    pub fn new(last_known_ms: Option<i64>) -> Self {
        let last_known_ms = last_known_ms.unwrap_or(0).max(clock::EARLIEST_TRUSTED_WALL_MS);
        Self { last_known_ms, since_boot_ns: clock::boot_ns() }
    }

    /// Unix milliseconds of a read at `boot_ns`. `label` is a (boot time, wall time) pair the driver
    /// gave because its clock was trusted.
    pub fn at(&self, boot_ns: u64, label: Option<(u64, i64)>) -> i64 {
        let (base_boot_ns, base_ms) = label.unwrap_or_else(|| match clock::trusted_wall_ms() {
            Some(now_ms) => (clock::boot_ns(), now_ms),
            None => (self.since_boot_ns, self.last_known_ms),
        });
        base_ms + (i128::from(boot_ns) - i128::from(base_boot_ns)).div_euclid(1_000_000) as i64
    }

    /// Now.
    pub fn now_ms(&self) -> i64 {
        self.at(clock::boot_ns(), None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_label_carries_over_to_the_other_reads_of_the_batch() {
        let wall = WallClock::new(None);
        assert_eq!(wall.at(5_000_000_000, Some((4_000_000_000, 1_700_000_000_000))), 1_700_000_001_000);
        assert_eq!(wall.at(3_999_999_999, Some((4_000_000_000, 1_700_000_000_000))), 1_699_999_999_999);
    }

    #[test]
    fn without_a_label_the_wall_clock_of_now_is_used() {
        let wall = WallClock::new(None);
        assert!(wall.now_ms() >= clock::EARLIEST_TRUSTED_WALL_MS);
    }
}
