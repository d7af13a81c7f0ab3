//! The words in which the command line and the forwarder speak of dead letters.
//!
//! Always true: field names are the JSON's.

use serde::{Deserialize, Serialize};

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum What {
    /// What is known of them.
    List,
    /// Their messages, too.
    Show,
    /// Send them again.
    Send,
    /// Forget them.
    Drop,
}

/// A letter, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Of its message.
    pub id: String,
    /// Name in the configuration.
    pub device: String,
    /// Where it goes.
    pub topic: String,
    /// Samples in it.
    pub samples: u32,
    /// Of the message.
    pub bytes: u64,
    /// Counted tries until it was given up; 0: it is too large to be sent.
    pub tries: u32,
    /// When that was, Unix milliseconds.
    pub since_ms: i64,
    /// It is to be sent again, or being sent.
    pub sending: bool,
    /// The message as it was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Why what was asked is not done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}
