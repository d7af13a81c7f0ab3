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
    /// Shared by the devices that are alike.
    points: Arc<[String]>,
    numbers: Arc<[u32]>,
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
        let known = self.devices.get(device);
        let number = known.map_or(self.devices.len() as u32, |known| known.number);
        let mut names = known.map_or_else(Vec::new, |known| known.points.to_vec());
        let mut places: HashMap<String, u32> =
            names.iter().enumerate().map(|(place, name)| (name.clone(), place as u32)).collect();
        let mut numbers = Vec::with_capacity(points.len());
        for point in points {
            let place = places.entry(point.name.clone()).or_insert_with(|| {
                names.push(point.name.clone());
                names.len() as u32 - 1
            });
            numbers.push(*place);
        }
        let mut writable = vec![false; names.len()];
        for (point, number) in points.iter().zip(&numbers) {
            writable[*number as usize] = point.writable;
        }
        let like = self.devices.values().find(|known| *known.points == *names && *known.numbers == *numbers);
        let (shared, numbers) = match like {
            Some(like) => (like.points.clone(), like.numbers.clone()),
            None => (names.clone().into(), numbers.into()),
        };
        let known = Known { number, points: shared, numbers: numbers.clone() };
        self.devices.insert(device.to_owned(), known);
        let listing = DeviceNumbers { number, device: device.to_owned(), points: names, writable };
        Numbered { device: number, points: numbers, listing }
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

    #[test]
    fn devices_that_are_alike_share_what_is_kept_of_them() {
        let mut numbers = Numbers::default();
        let one = numbers.assign("one", &points(&["voltage", "limit"]));
        let other = numbers.assign("other", &points(&["voltage", "limit"]));
        assert!(Arc::ptr_eq(&one.points, &other.points));
        assert!(Arc::ptr_eq(&numbers.devices["one"].points, &numbers.devices["other"].points));
        let changed = numbers.assign("other", &points(&["limit", "power"]));
        assert_eq!((&*one.points, &*changed.points), (&[0, 1][..], &[1, 2][..]));
        let again = numbers.assign("one", &points(&["voltage", "limit"]));
        assert_eq!(
            (&*again.points, again.listing.points),
            (&[0, 1][..], vec!["voltage".to_owned(), "limit".to_owned()])
        );
    }
}
