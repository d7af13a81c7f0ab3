//! What the pipeline shows of itself: latest values, the ledger, the buffer.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::row::Value;
use crate::status::{Backlog, BufferStatus, ClockStatus, Ledger, Restart};

/// Why a good value is uncertain while its time may not be right.
pub const TIME_DOUBTED: &str = "its time: the clock is not trusted";

/// Everything at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    /// By device name.
    pub devices: BTreeMap<Arc<str>, DeviceSnapshot>,
    /// The last start at which not all that had been counted was there.
    pub restart: Option<Restart>,
    /// The buffer.
    pub buffer: BufferStatus,
    /// What waits.
    pub backlog: Backlog,
    /// The clock.
    pub clock: ClockStatus,
}

/// One device.
#[derive(Debug, Default, Clone)]
pub struct DeviceSnapshot {
    /// Whether it answers.
    pub online: bool,
    /// Why not.
    pub reason: String,
    /// By point name.
    pub points: BTreeMap<Arc<str>, PointSnapshot>,
    /// Account of its samples.
    pub ledger: Ledger,
}

/// One point.
#[derive(Debug, Default, Clone)]
pub struct PointSnapshot {
    /// Last good value.
    pub value: Option<Value>,
    /// How far to believe it; bad until the first read.
    pub quality: QualityWord,
    /// Why it is not good.
    pub reason: String,
    /// When the value was read.
    pub read_at: ReadAt,
}

/// When a value was read.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum ReadAt {
    /// It was not.
    #[default]
    Never,
    /// Boot clock of the last good read.
    Boot(u64),
    /// Unix milliseconds; the value is what is remembered.
    BeforeTheStart(i64),
}

impl PointSnapshot {
    /// Its value is good and its time may not be.
    pub fn doubt_time(&mut self) {
        if self.quality == QualityWord::Good {
            self.quality = QualityWord::Uncertain;
            self.reason = TIME_DOUBTED.to_owned();
        }
    }
}

/// Quality as people and events say it.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum QualityWord {
    /// Not read since the start; a value is what is remembered from before.
    #[default]
    Unread,
    /// Read and decoded.
    Good,
    /// A value, with a doubt.
    Uncertain,
    /// No value.
    Bad,
}

impl QualityWord {
    /// In lower case.
    pub fn word(self) -> &'static str {
        match self {
            Self::Unread => "unread",
            Self::Good => "good",
            Self::Uncertain => "uncertain",
            Self::Bad => "bad",
        }
    }
}
