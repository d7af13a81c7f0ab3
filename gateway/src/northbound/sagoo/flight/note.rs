//! What the flight tells people.
//!
//! Always true: nothing here decides anything; a note is no larger than a message.

use std::sync::Arc;

use super::super::payload::clean::Losses;

/// Something people should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// This message was not answered, nor was anything since: the platform is asked whether it is there.
    Unanswered(String),
    /// It was asked, and does not answer for the gateway.
    Silent,
    /// It does again, or for the first time.
    Answering,
    /// A row was given up; it is settled after this.
    GivenUp(GivenUp),
    /// Rows could not be rebuilt and are dropped.
    Damaged {
        /// Name in the configuration.
        device: Arc<str>,
        /// Record of the first one.
        first_seq: u64,
        /// Record of the last one.
        last_seq: u64,
        /// Samples they account for.
        samples: u64,
    },
    /// The platform does not answer for this device key, though it does for others.
    Unknown(Arc<str>),
    /// Values could not be said as they were; told once per device key.
    Lossy(Arc<str>, Losses),
}

/// A row the platform never answered, or that is too large for one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GivenUp {
    /// Of its message.
    pub id: String,
    /// Name in the configuration.
    pub device: Arc<str>,
    /// Where it went.
    pub topic: String,
    /// Samples it accounts for.
    pub samples: u32,
    /// Counted tries; 0: it is too large to be sent.
    pub tries: u32,
    /// As it was sent.
    pub message: String,
}

/// Sums since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages with rows, first time.
    pub sent_messages: u64,
    /// Samples in them.
    pub sent_samples: u64,
    /// Messages with rows acknowledged.
    pub acknowledged_messages: u64,
    /// Sent again.
    pub resent_messages: u64,
    /// Answers of probes, so that the list of known keys is renewed.
    pub answered_probes: u64,
}
