//! Notices a line that stands still: the author's code does not come back from a request.
//!
//! Always true: while something is owed on a line, the session can see since when; a request that
//! did nothing for [`STANDSTILL`] is cut off, so a connection's task always goes on. A request that
//! brings readings, however slowly, works.

use std::pin::pin;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::told::Told;
use crate::driver::Steps;

/// How long a request may do nothing. Far longer than any device is waited for.
pub(crate) const STANDSTILL: Duration = Duration::from_secs(60);
/// How often a request that takes long is looked at.
const LOOK: Duration = Duration::from_secs(5);

/// Since when the line owes what is due; `None`: nothing is due.
pub(crate) type Owed = Option<Instant>;

/// How long something is owed by now.
pub(crate) fn overdue(owed: Owed, now: Instant) -> Duration {
    owed.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
}

/// Why a request failed that was cut off.
pub(crate) fn stood_still() -> String {
    format!("the driver did not come back from it for {} s", STANDSTILL.as_secs())
}

/// One line's watch.
#[derive(Debug)]
pub(crate) struct Guard {
    owed: watch::Sender<Owed>,
    told: Told,
}

impl Guard {
    pub(crate) fn new(owed: watch::Sender<Owed>, told: Told) -> Self {
        Self { owed, told }
    }

    /// Makes a request that is due at `due`; `None` when it stood still and was cut off.
    pub(crate) async fn watch<T>(
        &self,
        due: Instant,
        steps: Option<&Steps>,
        request: impl Future<Output = T>,
    ) -> Option<T> {
        let begun = Instant::now();
        self.owed.send_replace(Some(due));
        let done = self.wait(due, steps, request).await;
        self.owed.send_replace(None);
        self.told.busy(begun.elapsed());
        done
    }

    async fn wait<T>(
        &self,
        mut since: Instant,
        steps: Option<&Steps>,
        request: impl Future<Output = T>,
    ) -> Option<T> {
        let mut request = pin!(request);
        let mut seen = 0;
        loop {
            if let Ok(done) = timeout(LOOK, &mut request).await {
                return Some(done);
            }
            let now = Instant::now();
            let made = steps.map_or(0, Steps::made);
            if made != seen {
                seen = made;
                since = since.max(now);
                self.owed.send_replace(Some(since));
            } else if overdue(Some(since), now) >= STANDSTILL {
                return None;
            }
        }
    }
}
