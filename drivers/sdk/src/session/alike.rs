//! Lists that many devices have in common, kept once.
//!
//! Always true: what is shared is equal; nothing here outlives a configuration's being taken over, so a
//! list goes with the last device that has it.

use std::sync::Arc;

use crate::connection::Device;
use crate::driver::{CheckedDevice, Driver, Point, Poll};

/// The lists of the devices taken so far; as many as there are kinds of devices.
#[derive(Debug, Default)]
pub(super) struct Alike {
    points: Vec<Arc<[Point]>>,
    polls: Vec<Arc<[Poll]>>,
}

impl Alike {
    /// A device with the lists of those before it that are like it.
    pub(super) fn take<D: Driver>(&mut self, checked: CheckedDevice<D>) -> Device<D> {
        let CheckedDevice { name, points, polls, offline, settings } = checked;
        let (points, polls) = (shared(&mut self.points, points), shared(&mut self.polls, polls));
        Device { name, points, polls, offline, settings }
    }
}

fn shared<T: PartialEq>(known: &mut Vec<Arc<[T]>>, list: Arc<[T]>) -> Arc<[T]> {
    let same = known.iter().find(|known| Arc::ptr_eq(known, &list) || ***known == *list);
    if let Some(same) = same {
        return same.clone();
    }
    known.push(list.clone());
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_lists_are_one_and_others_are_not() {
        let mut known = Vec::new();
        let lists = [vec![1, 2], vec![1], vec![1, 2]].map(|list| shared(&mut known, list.into()));
        assert_eq!(lists.each_ref().map(|list| list.to_vec()), [vec![1, 2], vec![1], vec![1, 2]]);
        assert!(Arc::ptr_eq(&lists[0], &lists[2]));
    }
}
