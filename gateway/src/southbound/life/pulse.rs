//! Whether a driver that talks also works.
//!
//! Always true: a driver stands still when work is overdue for [`OVERDUE`] and for just as long no
//! poll was finished. Pure: time is given.

use std::time::Duration;

use tokio::time::Instant;

/// Work that is due this long and no poll finished meanwhile: a standstill.
pub const OVERDUE: Duration = Duration::from_secs(30);

/// What heartbeats said of progress.
#[derive(Debug, Clone, Copy)]
pub struct Pulse {
    polls: u64,
    rose: Instant,
}

impl Pulse {
    /// Nothing is known yet.
    pub fn new(now: Instant) -> Self {
        Self { polls: 0, rose: now }
    }

    /// A heartbeat; true when it shows a standstill.
    pub fn beat(&mut self, now: Instant, polls: u64, overdue: Duration) -> bool {
        if polls != self.polls {
            (self.polls, self.rose) = (polls, now);
        }
        overdue >= OVERDUE && now.duration_since(self.rose) >= OVERDUE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_overdue_work_without_progress_is_a_standstill() {
        let mut now = Instant::now();
        let mut pulse = Pulse::new(now);
        let mut beats = |polls: &mut dyn FnMut(u64) -> u64, overdue: &dyn Fn(u64) -> u64| {
            let mut still = false;
            for second in 0..60 {
                now += Duration::from_secs(1);
                still |= pulse.beat(now, polls(second), Duration::from_secs(overdue(second)));
            }
            still
        };
        assert!(!beats(&mut |second| second, &|_| 0), "all is well");
        assert!(!beats(&mut |second| 100 + second, &|second| second), "one line hangs, others go on");
        assert!(!beats(&mut |_| 1_000, &|_| 0), "nothing was due");
        assert!(beats(&mut |_| 1_000, &|second| second), "nothing is done");
    }
}
