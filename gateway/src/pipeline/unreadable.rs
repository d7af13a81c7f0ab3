//! Where the disk cannot be read, so that it is said once when it begins and once when it is over.
//!
//! Always true: one place at a time is remembered; that others can be read meanwhile does not end it.

use std::time::Duration;

use tokio::time::Instant;

/// A place that is not asked for any more for this long (it was evicted) is forgotten; longer than any
/// pause between two tries.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(120);

/// A disk that was pulled and comes back has to be given the time; what lies behind has to wait as long.
const HOPELESS_AFTER: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub struct Unreadable {
    known: Option<Place>,
}

#[derive(Debug)]
struct Place {
    from: u64,
    error: String,
    /// Since when nothing was read from there.
    since: Instant,
    tried: Instant,
}

impl Unreadable {
    /// A read from there did not work; `true`: trouble begins.
    pub fn failed(&mut self, from: u64, error: String) -> bool {
        let tried = Instant::now();
        match &mut self.known {
            Some(known) if known.from == from => (known.error, known.tried) = (error, tried),
            Some(known) if known.tried.elapsed() <= FORGOTTEN_AFTER => {}
            _ => {
                self.known = Some(Place { from, error, since: tried, tried });
                return true;
            }
        }
        false
    }

    /// Whether a read from there has not worked for so long that it never will.
    pub fn is_hopeless(&self, from: u64) -> bool {
        let known = self.known.as_ref().filter(|known| known.from == from);
        known.is_some_and(|known| known.since.elapsed() > HOPELESS_AFTER)
    }

    /// A read from there worked; `true`: trouble is over.
    pub fn worked(&mut self, from: u64) -> bool {
        let over = |known: &mut Place| known.from == from || known.tried.elapsed() > FORGOTTEN_AFTER;
        self.known.take_if(over).is_some()
    }

    /// Why, while it lasts.
    pub fn error(&self) -> Option<&String> {
        self.known.as_ref().map(|known| &known.error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn trouble_is_told_once_and_over_once_though_another_place_can_be_read() {
        let mut unreadable = Unreadable::default();
        assert!(!unreadable.worked(7), "there was none");
        assert!(unreadable.failed(7, "broken".to_owned()));
        assert!(!unreadable.failed(7, "still broken".to_owned()));
        assert!(!unreadable.failed(9, "broken as well".to_owned()));
        assert!(!unreadable.worked(3));
        assert_eq!(unreadable.error().map(String::as_str), Some("still broken"));
        assert!(unreadable.worked(7));
        assert_eq!(unreadable.error(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_hopeless_after_a_minute() {
        let mut unreadable = Unreadable::default();
        assert!(!unreadable.is_hopeless(7));
        assert!(unreadable.failed(7, "broken".to_owned()));
        tokio::time::advance(HOPELESS_AFTER).await;
        assert!(!unreadable.failed(7, "broken".to_owned()) && !unreadable.is_hopeless(7));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!unreadable.is_hopeless(8) && unreadable.is_hopeless(7));
        assert!(unreadable.worked(7) && !unreadable.is_hopeless(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_nobody_asks_for_any_more_is_forgotten() {
        let mut unreadable = Unreadable::default();
        assert!(unreadable.failed(7, "broken".to_owned()));
        tokio::time::advance(FORGOTTEN_AFTER + Duration::from_secs(1)).await;
        assert!(unreadable.worked(100));
    }
}
