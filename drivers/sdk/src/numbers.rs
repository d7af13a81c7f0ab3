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
}

impl Known {
    /// Whether a new device with these points gets the same numbers.
    fn is_first_of(&self, points: &[Point]) -> bool {
        let names = points.iter().map(|point| &point.name);
        self.points.iter().eq(names) && self.numbers.iter().copied().eq(0..points.len() as u32)
    }
}

impl Numbers {
    /// Numbers for a device and its points, old ones where they were known.
    pub(crate) fn assign(&mut self, device: &str, points: &[Point]) -> Numbered {
        let known = self.devices.get(device);
        let number = known.map_or(self.devices.len() as u32, |known| known.number);
        if known.is_none()
            && let Some(like) = self.devices.values().find(|like| like.is_first_of(points))
        {
            let known = Known { number, points: like.points.clone(), numbers: like.numbers.clone() };
            let numbered = Numbered { device: number, points: like.numbers.clone() };
            self.devices.insert(device.to_owned(), known);
            return numbered;
        }
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
        let like = self.devices.values().find(|known| *known.points == *names && *known.numbers == *numbers);
        let (shared, numbers) = match like {
            Some(like) => (like.points.clone(), like.numbers.clone()),
            None => (names.into(), numbers.into()),
        };
        let known = Known { number, points: shared, numbers: numbers.clone() };
        self.devices.insert(device.to_owned(), known);
        Numbered { device: number, points: numbers }
    }

    /// What the gateway is told of a device that has its numbers.
    pub(crate) fn listing(&self, device: &str, points: &[Point]) -> Option<DeviceNumbers> {
        let Known { number, points: names, numbers } = self.devices.get(device)?;
        let mut writable = vec![false; names.len()];
        for (point, number) in points.iter().zip(&**numbers) {
            writable[*number as usize] = point.writable;
        }
        Some(DeviceNumbers { number: *number, device: device.to_owned(), points: names.to_vec(), writable })
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
        let listing = numbers.listing("meter", &points(&["power", "limit"])).unwrap();
        assert_eq!(listing.points, ["voltage", "limit", "power"]);
        assert_eq!(listing.writable, [false, true, false]);
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
        let listing = numbers.listing("one", &points(&["voltage", "limit"])).unwrap();
        assert_eq!(
            (&*again.points, listing.points),
            (&[0, 1][..], vec!["voltage".to_owned(), "limit".to_owned()])
        );
    }
}
