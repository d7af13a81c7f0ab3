//! Waiting longer after each failure, never all gateways at the same moment.
//!
//! Always true: a wait is at least half the step and at most the step; a step is never above the cap.

use std::time::Duration;

/// Doubling steps between two limits, with jitter.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    step: Duration,
}

impl Backoff {
    /// Steps from `first` to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, step: first }
    }

    /// How long to wait now; the next wait is up to twice as long.
    pub fn wait(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let step = self.step.min(self.cap);
        self.step = step * 2;
        step.mul_f64(0.5 + rng.f64() / 2.0)
    }

    /// Something worked.
    pub fn reset(&mut self) {
        self.step = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_start_over() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(10));
        for limit in [2, 4, 8, 10, 10, 10] {
            let wait = backoff.wait(&mut rng);
            assert!(wait <= Duration::from_secs(limit), "{wait:?} above {limit}");
            assert!(wait * 2 >= Duration::from_secs(limit), "{wait:?} below half of {limit}");
        }
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= Duration::from_secs(2));
    }
}
