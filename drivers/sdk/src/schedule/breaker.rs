//! Leaves a silent device alone, and a broken line for a while.
//!
//! Always true: after [`Offline::after`] failed polls in a row a device is offline and only probed,
//! with pauses that double up to [`Offline::max_probe`]; one success brings it back at once. A
//! broken line counts as a failure of its devices but never puts them on probes: the line has its
//! own pauses, [`RECONNECT_FIRST`] to [`RECONNECT_MOST`].

use std::time::Duration;

use tokio::time::Instant;

use crate::driver::Offline;

/// First pause of a broken line.
pub(crate) const RECONNECT_FIRST: Duration = Duration::from_millis(100);
/// Longest pause of a broken line.
pub(crate) const RECONNECT_MOST: Duration = Duration::from_secs(10);
/// Shortest pause between probes, whatever the settings say.
pub(crate) const PROBE_LEAST: Duration = Duration::from_millis(100);

/// One device's failures in a row.
#[derive(Debug)]
pub(crate) struct Breaker {
    offline: Offline,
    failures: u32,
    probe: Option<Probe>,
}

/// When an offline device is asked again, and with which poll.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probe {
    pub(crate) at: Instant,
    pub(crate) poll: usize,
    pause: Duration,
}

impl Breaker {
    pub(crate) fn new(offline: Offline) -> Self {
        Self { offline, failures: 0, probe: None }
    }

    pub(crate) fn online(&self) -> bool {
        self.failures < self.offline.after.max(1)
    }

    pub(crate) fn probe(&self) -> Option<Probe> {
        self.probe
    }

    /// The device answered. True when it was offline.
    pub(crate) fn succeeded(&mut self) -> bool {
        let was_offline = !self.online();
        self.failures = 0;
        self.probe = None;
        was_offline
    }

    /// The device did not answer. True when it has just gone offline.
    pub(crate) fn silent(&mut self, poll: usize, now: Instant, rng: &mut fastrand::Rng) -> bool {
        let was_online = self.online();
        self.failures = self.failures.saturating_add(1);
        if self.online() {
            return false;
        }
        let first = self.offline.probe.max(PROBE_LEAST);
        let pause = match self.probe {
            None => first,
            Some(probe) => probe.pause.saturating_mul(2).min(self.offline.max_probe.max(first)),
        };
        let jittered = pause.mul_f64(0.9 + 0.2 * rng.f64());
        self.probe = Some(Probe { at: now + jittered, poll, pause });
        was_online
    }

    /// The device was not asked: a probe is made after the same pause again.
    pub(crate) fn postponed(&mut self, now: Instant) {
        if let Some(probe) = &mut self.probe {
            probe.at = now + probe.pause;
        }
    }

    /// The line broke before the device could answer. True when the device has just gone offline.
    pub(crate) fn line_down(&mut self, now: Instant) -> bool {
        let was_online = self.online();
        self.failures = self.failures.saturating_add(1);
        self.postponed(now);
        was_online && !self.online()
    }
}

/// The pauses of a broken line.
#[derive(Debug, Default)]
pub(crate) struct Reconnect {
    failures: u32,
    until: Option<Instant>,
}

impl Reconnect {
    /// The line broke: nothing is tried before the pause is over.
    pub(crate) fn broken(&mut self, now: Instant, rng: &mut fastrand::Rng) -> Instant {
        let doubled = RECONNECT_FIRST.saturating_mul(1 << self.failures.min(16)).min(RECONNECT_MOST);
        self.failures = self.failures.saturating_add(1);
        let jittered = doubled.mul_f64(0.5 + 0.5 * rng.f64()).max(RECONNECT_FIRST);
        let until = now + jittered;
        self.until = Some(until);
        until
    }

    /// The line carried an answer, or a silence. True when it was broken before.
    pub(crate) fn works(&mut self) -> bool {
        self.failures = 0;
        self.until.take().is_some()
    }

    /// Whether the line is being left alone.
    pub(crate) fn pausing(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn probes_double_up_to_their_limit_and_a_success_ends_them() {
        let offline =
            Offline { after: 2, probe: Duration::from_secs(10), max_probe: Duration::from_secs(35) };
        let mut breaker = Breaker::new(offline);
        let mut rng = fastrand::Rng::with_seed(1);
        let now = Instant::now();
        assert!(!breaker.silent(0, now, &mut rng) && breaker.online());
        let mut pauses = Vec::new();
        assert!(breaker.silent(0, now, &mut rng));
        for _ in 0..4 {
            pauses.push((breaker.probe().unwrap().at - now).as_secs_f64());
            assert!(!breaker.silent(0, now, &mut rng), "it is offline already");
        }
        for (pause, wanted) in pauses.iter().zip([10.0, 20.0, 35.0, 35.0]) {
            assert!((wanted * 0.9..=wanted * 1.1).contains(pause), "{pause} is not about {wanted}");
        }
        assert!(breaker.succeeded() && breaker.online() && breaker.probe().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_line_pauses_between_its_limits() {
        let mut line = Reconnect::default();
        let mut rng = fastrand::Rng::with_seed(1);
        let now = Instant::now();
        for _ in 0..40 {
            let pause = line.broken(now, &mut rng) - now;
            assert!((RECONNECT_FIRST..=RECONNECT_MOST).contains(&pause), "{pause:?}");
        }
        assert!(line.pausing(now) && line.works() && !line.pausing(now) && !line.works());
    }
}
