//! How long to wait before a driver that failed is started again.
//!
//! Always true: pauses grow up to [`MAX_BACKOFF`], with jitter; after [`FAILURES`] failures within
//! [`WINDOW`] and no good run between, the driver is quarantined for [`QUARANTINE`], then tried once
//! at a time; a run of [`HEALTHY`] makes everything good again. Pure: time and jitter are given.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// First pause before a restart.
pub const MIN_BACKOFF: Duration = Duration::from_millis(500);
/// Longest pause.
pub const MAX_BACKOFF: Duration = Duration::from_secs(30);
/// A run this long is a good one.
pub const HEALTHY: Duration = Duration::from_secs(60);
/// Failures that are too many …
pub const FAILURES: usize = 5;
/// … when they come within this.
pub const WINDOW: Duration = Duration::from_secs(600);
/// How long a quarantined driver is left alone. New files or a new configuration end it at once.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// Not before.
    pub until: Instant,
    /// It failed too often.
    pub quarantined: bool,
}

/// What is remembered of failures.
#[derive(Debug, Default)]
pub struct Patience {
    failures: VecDeque<Instant>,
    doublings: u32,
    /// Was quarantined and has not run well since.
    probation: bool,
}

impl Patience {
    /// It failed after a run of `ran`. `jitter` is between 0 and 1.
    pub fn failed(&mut self, now: Instant, ran: Duration, jitter: f64) -> Pause {
        if ran >= HEALTHY {
            *self = Self::default();
        }
        self.failures.push_back(now);
        while self.failures.front().is_some_and(|at| now.duration_since(*at) > WINDOW)
            || self.failures.len() > FAILURES
        {
            self.failures.pop_front();
        }
        if self.probation || self.failures.len() >= FAILURES {
            self.probation = true;
            return Pause { until: now + QUARANTINE, quarantined: true };
        }
        let pause = MIN_BACKOFF.saturating_mul(1 << self.doublings.min(16)).min(MAX_BACKOFF);
        self.doublings += 1;
        Pause { until: now + pause.mul_f64(0.5 + jitter.clamp(0.0, 1.0) / 2.0), quarantined: false }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn five_failures_without_a_good_run_are_too_many() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        let mut last = Duration::ZERO;
        for _ in 1..FAILURES {
            let pause = patience.failed(now, Duration::from_secs(1), 1.0);
            assert!(!pause.quarantined && pause.until - now > last);
            last = pause.until - now;
            now = pause.until;
        }
        let pause = patience.failed(now, Duration::from_secs(1), 1.0);
        assert_eq!(pause, Pause { until: now + QUARANTINE, quarantined: true });
        let later = pause.until;
        assert!(patience.failed(later, Duration::ZERO, 0.0).quarantined, "one try at a time after that");
        assert!(!patience.failed(later, HEALTHY, 0.0).quarantined, "a good run is a new beginning");
    }

    #[tokio::test(start_paused = true)]
    async fn failures_far_apart_are_only_backed_off() {
        let mut patience = Patience::default();
        let mut now = Instant::now();
        for _ in 0..20 {
            now += WINDOW / 3;
            assert!(!patience.failed(now, Duration::from_secs(1), 0.5).quarantined);
        }
    }

    proptest! {
        #[test]
        fn every_pause_has_its_bounds(
            steps in proptest::collection::vec((0..90_000u64, 0..120_000u64, -1.0..2.0f64), 0..60),
        ) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
            let _guard = runtime.enter();
            let mut patience = Patience::default();
            let mut now = Instant::now();
            for (wait, ran, jitter) in steps {
                now += Duration::from_millis(wait);
                let pause = patience.failed(now, Duration::from_millis(ran), jitter);
                let took = pause.until - now;
                if pause.quarantined {
                    prop_assert_eq!(took, QUARANTINE);
                } else {
                    prop_assert!(took >= MIN_BACKOFF / 2 && took <= MAX_BACKOFF);
                }
                prop_assert!(patience.failures.len() <= FAILURES);
                now = pause.until;
            }
        }
    }
}
