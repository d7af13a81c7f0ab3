//! What the flight wants done now.
//!
//! Always true: no more is sent than the link has room for.

use std::time::Instant;

use super::Outgoing;

/// What to do now.
#[derive(Debug, Default)]
pub struct Plan {
    /// To the broker, in this order.
    pub send: Vec<Outgoing>,
    /// Ask again then, if nothing happens before.
    pub wake: Option<Instant>,
    /// More could be sent if the link had room.
    pub more: bool,
    /// Messages the link still takes.
    pub(super) room: usize,
}

impl Plan {
    /// Ask again then at the latest.
    pub fn wake_at(&mut self, at: Instant) {
        self.wake = Some(self.wake.map_or(at, |wake| wake.min(at)));
    }

    /// Takes a place, see [`Plan::has_room`].
    pub fn push(&mut self, outgoing: Outgoing) {
        self.room -= 1;
        self.send.push(outgoing);
    }

    /// Whether the link takes another one; if not, the caller asks again once it does.
    pub fn has_room(&mut self) -> bool {
        self.more |= self.room == 0;
        self.room > 0
    }
}
