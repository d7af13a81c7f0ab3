//! What happens when a process ends.
//!
//! Always true: an end that was asked for is no failure; the failure of one process counts for its
//! role alone.

use std::time::Duration;

use tokio::time::Instant;

use super::seat::Stage;
use super::update::Update;
use super::{Life, Number, Wanted};

/// A process that ended sooner never got to work.
const NEVER_RAN: Duration = Duration::from_secs(1);

impl Life {
    pub(super) fn ended(
        &mut self,
        now: Instant,
        number: Number,
        why: String,
        unborn: bool,
        last_lines: Vec<String>,
    ) {
        let Some(seat) = self.seats.remove(&number) else { return };
        // what may not run any more was not even begun
        let not_begun = unborn && matches!(self.wanted, Wanted::Absent { .. });
        let asked_for = not_begun || (seat.stage == Stage::Ending && seat.fault.is_none());
        let ran = seat.ran(now);
        let why = seat.fault.unwrap_or(why);
        if self.active == Some(number) {
            self.active = None;
            if !asked_for {
                self.failed(now, ran, why, last_lines);
            }
        } else if self.standby == Some(number) {
            self.standby = None;
            if !asked_for {
                let pause = self.standby_patience.failed(now, ran, fastrand::f64());
                tracing::warn!(driver = %self.given.id, error = why, quarantined = pause.quarantined, "standby is down");
                self.standby_pause = Some(pause);
            }
        } else if self.update.successor() == Some(number) {
            self.update = Update::None;
            if asked_for {
                return;
            }
            self.last_lines = last_lines;
            match unborn {
                true => self.tried(now, &why),
                false => self.blame(&why),
            }
        }
    }

    /// What was at work is not, or could not even be asked.
    pub(super) fn failed(&mut self, now: Instant, ran: Duration, why: String, last_lines: Vec<String>) {
        let pause = self.patience.failed(now, ran, fastrand::f64());
        let retry_in_ms = pause.until.duration_since(now).as_millis() as u64;
        let id = &self.given.id;
        if pause.quarantined {
            tracing::error!(driver = %id, error = why, retry_in_ms, "driver failed too often and is quarantined; new files or a new configuration end that at once");
        } else if ran > NEVER_RAN || self.last_error != why {
            tracing::error!(driver = %id, error = why, retry_in_ms, "driver is down");
        } else {
            tracing::debug!(driver = %id, error = why, retry_in_ms, "driver is down, as before");
        }
        self.pause = Some(pause);
        self.restarts += 1;
        (self.last_error, self.last_lines) = (why, last_lines);
    }

    /// The new files could not be asked while the old ones are at work.
    pub(super) fn not_tried(&mut self, now: Instant, why: &str) {
        let bare = !self.active_kind().is_some_and(|kind| match &self.wanted {
            super::Wanted::Found { fingerprint } => kind.fingerprint == *fingerprint,
            super::Wanted::Unknown | super::Wanted::Absent { .. } | super::Wanted::Known(_) => true,
        });
        if bare {
            self.tried(now, why);
        } else {
            tracing::warn!(driver = %self.given.id, error = why, "driver could not be asked about its rights, asked again later");
            self.update_pause = Some(now + super::update::TRY_AGAIN);
        }
    }
}
