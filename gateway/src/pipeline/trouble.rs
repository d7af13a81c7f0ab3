//! Trouble with writing to the disk, so that it is said when it begins, now and then, and when it is over.
//!
//! Always true: several things that fail in turn are one trouble; status shows the latest.

use std::time::Duration;

use sagoo_edge_buffer::Error;
use tokio::time::Instant;

/// How often a persisting trouble is said again.
const SAY_AGAIN_AFTER: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Trouble(Option<(String, Instant)>);

impl Trouble {
    /// Something could not be written or synced.
    pub fn say(&mut self, error: &Error) {
        let said = self.0.take().map(|(_, said)| said).filter(|said| said.elapsed() < SAY_AGAIN_AFTER);
        if said.is_none() {
            tracing::error!(%error, "buffer in trouble; what the disk does not take is kept in memory");
        }
        self.0 = Some((error.to_string(), said.unwrap_or_else(Instant::now)));
    }

    /// The disk takes data.
    pub fn over(&mut self) {
        if self.0.take().is_some() {
            tracing::info!("buffer takes data again");
        }
    }

    /// Why, while it lasts.
    pub fn error(&self) -> Option<&String> {
        self.0.as_ref().map(|(text, _)| text)
    }
}
