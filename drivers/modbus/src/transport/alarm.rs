//! Waits to the tenth of a millisecond, for silences on a line.
//!
//! tokio's timer counts whole milliseconds, and 3.5 characters are 1.75 ms at 115 200 baud; the kernel's
//! own timer, as a file descriptor, wakes the same thread some hundredths of a millisecond late.
//!
//! Always true: a wait ends at its moment and not before it.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, sleep_until};
use tracing::debug;

/// Below this a wait is not worth two calls of the kernel: it is spent looking at the clock.
const SPIN: Duration = Duration::from_micros(20);

/// A timer of one line; made when it is first needed.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<AsyncFd<OwnedFd>>,
}

impl Alarm {
    /// Comes back at this moment, or at once when it has passed.
    pub(super) async fn wait(&mut self, moment: Instant) {
        loop {
            let left = moment.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            if left <= SPIN {
                std::hint::spin_loop();
                continue;
            }
            if let Err(error) = self.ring_in(left).await {
                debug!(%error, "no timer of the kernel, waits are whole milliseconds");
                sleep_until(moment).await;
            }
        }
    }

    #[allow(deprecated, reason = "an OwnedFd is owned, which is all that the unsafe register asks for")]
    async fn ring_in(&mut self, left: Duration) -> io::Result<()> {
        let timer = match &mut self.timer {
            Some(timer) => timer,
            none => {
                let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
                none.insert(AsyncFd::new(timerfd_create(TimerfdClockId::Monotonic, flags)?)?)
            }
        };
        let wait = Itimerspec {
            it_interval: Timespec { tv_sec: 0, tv_nsec: 0 },
            it_value: Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() },
        };
        // Setting it anew forgets what an earlier, cancelled wait left.
        timerfd_settime(&*timer, TimerfdTimerFlags::empty(), &wait)?;
        loop {
            let mut ready = timer.readable().await?;
            let rung = ready.try_io(|timer| Ok(rustix::io::read(timer, &mut [0u8; 8])?));
            if let Ok(rung) = rung {
                return rung.map(|_| ());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_wait_ends_at_its_moment_and_not_before() {
        let mut alarm = Alarm::default();
        let mut late = Vec::new();
        for micros in [0, 5, 100, 900, 1_750, 3_000] {
            for _ in 0..5 {
                let moment = Instant::now() + Duration::from_micros(micros);
                alarm.wait(moment).await;
                late.push(Instant::now().checked_duration_since(moment).expect("not before"));
            }
        }
        late.sort();
        // Far below tokio's millisecond, on a loaded machine as well.
        assert!(late[late.len() / 2] < Duration::from_micros(700), "{late:?}");
    }
}
