//! Numbers of devices and points on the wire.
//!
//! Always true: a number never changes its meaning while the process lives, so a batch that waited
//! through a new configuration can be sent again as it is. A device keeps its number by name; a
//! point that leaves keeps its place, and a new one is put at the end.

use std::collections::HashMap;
use std::sync::Arc;

use sagoo_edge_proto::driver::DeviceNumbers;

use crate::driver::Point;

/// Every device and point this process was ever configured with.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    devices: HashMap<String, Known>,
}

#[derive(Debug)]
struct Known {
    number: u32,
    points: Vec<String>,
}

/// The numbers of one device, for the tasks that read it.
#[derive(Debug, Clone)]
pub(crate) struct Numbered {
    /// The device's number.
    pub(crate) device: u32,
    /// The wire's number of each point, by the driver's.
    pub(crate) points: Arc<[u32]>,
    /// What the gateway is told.
    pub(crate) listing: DeviceNumbers,
}

impl Numbers {
    /// Numbers for a device and its points, old ones where they were known.
    pub(crate) fn assign(&mut self, device: &str, points: &[Point]) -> Numbered {
        let next = self.devices.len() as u32;
        let known = self
            .devices
            .entry(device.to_owned())
            .or_insert_with(|| Known { number: next, points: Vec::new() });
        let mut places: HashMap<&str, u32> =
            known.points.iter().enumerate().map(|(place, name)| (name.as_str(), place as u32)).collect();
        let mut added = Vec::new();
        let mut next = known.points.len() as u32;
        let numbers: Arc<[u32]> = points
            .iter()
            .map(|point| {
                *places.entry(&point.name).or_insert_with(|| {
                    added.push(point.name.clone());
                    next += 1;
                    next - 1
                })
            })
            .collect();
        known.points.extend(added);
        let mut writable = vec![false; known.points.len()];
        for (point, number) in points.iter().zip(numbers.iter()) {
            writable[*number as usize] = point.writable;
        }
        let listing = DeviceNumbers {
            number: known.number,
            device: device.to_owned(),
            points: known.points.clone(),
            writable,
        };
        Numbered { device: known.number, points: numbers, listing }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points(names: &[&str]) -> Vec<Point> {
        names.iter().map(|name| Point { name: (*name).to_owned(), writable: *name == "limit" }).collect()
    }

    #[test]
    fn a_number_keeps_its_meaning_when_points_come_and_go() {
        let mut numbers = Numbers::default();
        let first = numbers.assign("meter", &points(&["voltage", "limit"]));
        let other = numbers.assign("pump", &points(&["speed"]));
        assert_eq!((first.device, other.device), (0, 1));
        let again = numbers.assign("meter", &points(&["power", "limit"]));
        assert_eq!(again.device, 0);
        assert_eq!(&*again.points, &[2, 1]);
        assert_eq!(again.listing.points, ["voltage", "limit", "power"]);
        assert_eq!(again.listing.writable, [false, true, false]);
    }
}
