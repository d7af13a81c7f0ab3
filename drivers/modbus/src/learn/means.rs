//! What a refusal is about, and what a silence says of a device. Pure.

use crate::wire::Exception;

/// What to make of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    /// Of these cells, or of so many: parts of the block may be well.
    Cells,
    /// The device failed; some mean by it that they do not have the cells.
    Failure,
    /// Not now.
    Later,
    /// Nobody is behind the gateway that answers.
    Silence,
    /// The same for any cells: the function, or something nobody can do anything about.
    No,
}

impl Means {
    pub(crate) fn of(exception: Exception) -> Self {
        match exception.0 {
            2 | 3 => Self::Cells,
            4 => Self::Failure,
            5 | 6 => Self::Later,
            10 | 11 => Self::Silence,
            _ => Self::No,
        }
    }
}

/// What is known of a device's being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Met {
    /// It was not asked yet.
    Unknown,
    /// It was asked and said nothing.
    Silent,
    /// It said something, now or earlier.
    Yes,
}

impl Met {
    /// Once it was asked.
    pub(crate) fn after(self, was_silent: bool) -> Self {
        match (self, was_silent) {
            (_, false) | (Self::Yes, true) => Self::Yes,
            (Self::Unknown | Self::Silent, true) => Self::Silent,
        }
    }
}
