//! What campaigns share: how long they are, and chance that can be had again.
//!
//! Always true: a campaign is short in the gate and long in `deploy/check.sh --long`, by a variable;
//! with the same seed the same is drawn.

use std::str::FromStr;
use std::time::Duration;

/// The variable that gives a campaign the seed of an earlier run.
const SEED: &str = "SAGOO_SEED";

/// What this variable says, else what the gate has.
pub fn how_many<T: FromStr>(variable: &str, in_the_gate: T) -> T {
    let Ok(given) = std::env::var(variable) else { return in_the_gate };
    given.parse().unwrap_or_else(|_| panic!("{variable}={given} is not a number"))
}

/// Chance out of one number; told when the case fails.
#[derive(Debug)]
pub struct Seed {
    number: u64,
    rng: fastrand::Rng,
}

impl Seed {
    /// A new one, or the one that `SAGOO_SEED` names.
    pub fn drawn() -> Self {
        let number = how_many(SEED, fastrand::u64(..));
        Self { number, rng: fastrand::Rng::with_seed(number) }
    }

    /// As it is given to others.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// One of so many.
    pub fn of(&mut self, many: u32) -> u32 {
        self.rng.u32(0..many)
    }

    /// A time up to this one.
    pub fn up_to(&mut self, most: Duration) -> Duration {
        most.mul_f64(self.rng.f64())
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("to draw the same again: {SEED}={}", self.number);
        }
    }
}
