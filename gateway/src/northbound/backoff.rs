//! Waiting longer after each failure, never all gateways at the same moment.
//!
//! Full jitter: anything up to the step, so that boxes which lost the broker at the same moment come back
//! spread over the whole step instead of crowding its second half; only small questions may crowd there
//! ([`Backoff::wait_half_at_least`]).
//!
//! Always true: a wait is at least a [`LEAST`]th of the step, so that nobody spins, and at most the step; a
//! step is never above the cap.

use std::time::Duration;

/// The shortest wait is the step divided by this.
pub const LEAST: u32 = 20;

/// A moment within the step, any as likely as another.
pub fn within(step: Duration, rng: &mut fastrand::Rng) -> Duration {
    step.mul_f64(rng.f64()).max(step / LEAST)
}

/// Doubling steps between two limits, with full jitter.
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
        within(self.next_step(), rng)
    }

    /// The same in the second half of the step: pauses grow evenly. For a question that costs whoever is asked
    /// little, so that not all of the step is needed to spread who asks.
    pub fn wait_half_at_least(&mut self, rng: &mut fastrand::Rng) -> Duration {
        let half = self.next_step() / 2;
        half + within(half, rng)
    }

    fn next_step(&mut self) -> Duration {
        let step = self.step.min(self.cap);
        self.step = step * 2;
        step
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
    fn steps_grow_to_the_cap_and_start_over() {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(Duration::from_secs(2), Duration::from_secs(10));
        for limit in [2, 4, 8, 10, 10, 10].map(Duration::from_secs) {
            let wait = backoff.wait(&mut rng);
            assert!((limit / LEAST..=limit).contains(&wait), "{wait:?} for a step of {limit:?}");
        }
        backoff.reset();
        assert!(backoff.wait(&mut rng) <= Duration::from_secs(2));
        backoff.reset();
        for limit in [2, 4, 8, 10, 10, 10].map(Duration::from_secs) {
            let wait = backoff.wait_half_at_least(&mut rng);
            assert!((limit / 2..=limit).contains(&wait), "{wait:?} for a step of {limit:?}");
        }
    }

    #[test]
    fn a_thousand_boxes_that_fail_together_come_back_all_over_the_step() {
        let step = Duration::from_secs(30);
        let mut tenths = [0; 10];
        for seed in 0..1_000 {
            let wait = within(step, &mut fastrand::Rng::with_seed(seed));
            tenths[(wait.as_secs_f64() / 3.0).min(9.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|boxes| (50..200).contains(boxes)), "{tenths:?}");
    }
}
