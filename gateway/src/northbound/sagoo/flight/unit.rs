//! Names of messages: what is sent and acknowledged as one, and the id it always has.
//!
//! Always true: an id parses back to its unit, also after a restart.

use super::queued::Place;
use crate::class::Class;

/// Before the number of an event's record; numbers of telemetry stand alone.
const EVENT: char = 'e';

/// What is sent and acknowledged as one: a record, or one row of it. In the order they go: events first,
/// then the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unit {
    /// Of its record.
    pub class: Class,
    /// Its record.
    pub seq: u64,
    /// Which row of it; `None`: all of it.
    pub place: Option<Place>,
}

impl Unit {
    /// Of its message.
    pub fn id(self, gateway: &str) -> String {
        let record = match self.class {
            Class::Event => format!("{gateway}-{EVENT}{}", self.seq),
            Class::Telemetry => format!("{gateway}-{}", self.seq),
        };
        match self.place {
            None => record,
            Some(row) => format!("{record}-{row}"),
        }
    }

    /// From an id, the gateway's key and the dash after it taken off.
    pub fn parse(text: &str) -> Option<Self> {
        let (class, numbers) = match text.strip_prefix(EVENT) {
            Some(numbers) => (Class::Event, numbers),
            None => (Class::Telemetry, text),
        };
        let numbers = numbers.split('-').map(|number| number.parse().ok()).collect::<Option<Vec<u64>>>()?;
        match numbers[..] {
            [seq] => Some(Self { class, seq, place: None }),
            [seq, row] => Some(Self { class, seq, place: Some(u32::try_from(row).ok()?) }),
            _ => None,
        }
    }
}
