//! What devices with the same points have in common: names, keys, reporting rules.
//!
//! Always true: points are in the order of their keys, which is that of a row's cells; every name has one
//! place.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::config::types::{Deadband, PointConfig};

/// See the module.
#[derive(Debug)]
pub struct Layout {
    rules: Box<[Rule]>,
    /// Places in the order of the names.
    by_name: Box<[usize]>,
}

/// One point.
#[derive(Debug)]
pub struct Rule {
    /// In the configuration.
    pub name: Arc<str>,
    /// On the platform.
    pub key: Arc<str>,
    /// Smaller changes are not reported.
    pub deadband: Option<Deadband>,
    /// An unchanged value is reported at least this often.
    pub heartbeat: Option<Duration>,
}

impl Layout {
    /// Of these points, by name.
    pub fn new(points: &BTreeMap<String, PointConfig>) -> Self {
        let rules = points.iter().map(|(name, config)| {
            let PointConfig { key, deadband, heartbeat, .. } = config;
            let name: Arc<str> = name.as_str().into();
            let key = if *key == *name { name.clone() } else { key.as_str().into() };
            Rule { name, key, deadband: *deadband, heartbeat: *heartbeat }
        });
        let mut rules: Box<[Rule]> = rules.collect();
        rules.sort_by(|a, b| a.key.cmp(&b.key));
        let mut by_name: Box<[usize]> = (0..rules.len()).collect();
        by_name.sort_by(|a, b| rules[*a].name.cmp(&rules[*b].name));
        Self { rules, by_name }
    }

    /// By place.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// The place of the point of this name. Where it stands among the names is looked at first: drivers
    /// that number points by their names save the search.
    pub fn place(&self, name: &str, number: usize) -> Option<usize> {
        let has_name = |place: &&usize| *self.rules[**place].name == *name;
        if let Some(place) = self.by_name.get(number).filter(has_name) {
            return Some(*place);
        }
        let found = self.by_name.binary_search_by(|place| (*self.rules[*place].name).cmp(name));
        found.ok().map(|rank| self.by_name[rank])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_by_key_and_are_found_by_name_whatever_the_number() {
        let point = |key: &str| PointConfig {
            key: key.to_owned(),
            unit: String::new(),
            deadband: None,
            heartbeat: None,
        };
        let points = [("a", "z"), ("b", "b"), ("c", "y")];
        let layout = Layout::new(&points.map(|(name, key)| (name.to_owned(), point(key))).into());
        let keys: Vec<&str> = layout.rules().iter().map(|rule| &*rule.key).collect();
        assert_eq!(keys, ["b", "y", "z"]);
        for number in 0..4 {
            let places = ["a", "b", "c", "d"].map(|name| layout.place(name, number));
            assert_eq!(places, [Some(2), Some(0), Some(1), None]);
        }
    }
}
