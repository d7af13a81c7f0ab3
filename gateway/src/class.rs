//! The two classes of what is stored. Each has its own segments, numbering, cursor and share of the
//! disk, so that neither waits behind the other or costs it its place.
//!
//! Always true: within a class everything keeps its order; between them events go first, so that an
//! event may reach the platform before older rows of its device.

use std::ops::{Index, IndexMut};

use serde::{Deserialize, Serialize};

/// What a record is worth when not everything can be kept, and who goes first: in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Something that happened once.
    Event,
    /// Values that the next read supersedes.
    Telemetry,
}

impl Class {
    /// Who goes first is first.
    pub const ALL: [Self; 2] = [Self::Event, Self::Telemetry];

    /// In lower case; also the name of its directory.
    pub fn word(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Telemetry => "telemetry",
        }
    }
}

/// One for each class.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PerClass<T> {
    /// Of [`Class::Event`].
    pub events: T,
    /// Of [`Class::Telemetry`].
    pub telemetry: T,
}

impl<T> PerClass<T> {
    /// Made for each.
    pub fn new(mut make: impl FnMut(Class) -> T) -> Self {
        Self { events: make(Class::Event), telemetry: make(Class::Telemetry) }
    }

    /// Events first.
    pub fn iter(&self) -> impl Iterator<Item = (Class, &T)> {
        Class::ALL.into_iter().zip([&self.events, &self.telemetry])
    }

    /// Events first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Class, &mut T)> {
        Class::ALL.into_iter().zip([&mut self.events, &mut self.telemetry])
    }
}

impl<T> Index<Class> for PerClass<T> {
    type Output = T;

    fn index(&self, class: Class) -> &T {
        match class {
            Class::Event => &self.events,
            Class::Telemetry => &self.telemetry,
        }
    }
}

impl<T> IndexMut<Class> for PerClass<T> {
    fn index_mut(&mut self, class: Class) -> &mut T {
        match class {
            Class::Event => &mut self.events,
            Class::Telemetry => &mut self.telemetry,
        }
    }
}
