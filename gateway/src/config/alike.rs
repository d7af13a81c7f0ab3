//! What is made of the points of a device, once for all devices that share them.
//!
//! Always true: devices share it exactly if they share their points ([`super::types::DeviceConfig::points`]).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::types::{PointConfig, Points};

/// What was made so far; as many as there are models, and devices with reporting rules of their own.
#[derive(Debug)]
pub struct Alike<T>(Vec<(Points, Arc<T>)>);

impl<T> Alike<T> {
    /// What devices with these points share.
    pub fn of(&mut self, points: &Points, make: impl FnOnce(&BTreeMap<String, PointConfig>) -> T) -> Arc<T> {
        if let Some((_, made)) = self.0.iter().find(|(known, _)| Arc::ptr_eq(known, points)) {
            return made.clone();
        }
        let made = Arc::new(make(points));
        self.0.push((points.clone(), made.clone()));
        made
    }
}

impl<T> Default for Alike<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}
