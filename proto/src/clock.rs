//! The clock both processes stamp and compare with.
//!
//! Always true: order and age come from boot time (`CLOCK_BOOTTIME`, counts through suspend, the
//! same for every process of one boot); wall time is only a label, and only when it can be trusted.

use std::fs;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Wall times before this are the mark of a box without a clock battery: 2025-01-01T00:00:00Z, Unix milliseconds.
pub const EARLIEST_TRUSTED_WALL_MS: i64 = 1_735_689_600_000;

/// Nanoseconds since boot.
pub fn boot_ns() -> u64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec as u64 * 1_000_000_000 + t.tv_nsec as u64
}

/// Unix milliseconds, or `None` while the wall clock cannot be right.
pub fn trusted_wall_ms() -> Option<i64> {
    let ms = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_millis() as i64;
    (ms >= EARLIEST_TRUSTED_WALL_MS).then_some(ms)
}

/// The kernel's id of this boot: boot times of different ids cannot be compared.
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|id| id.trim().to_owned())
            .unwrap_or_else(|_| "unknown".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boot_time_rises_and_the_boot_has_a_name() {
        let first = boot_ns();
        assert!(boot_ns() >= first);
        assert_eq!(boot_id().len(), 36);
    }
}
