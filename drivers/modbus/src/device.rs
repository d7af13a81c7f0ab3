//! The table `device` → settings that cannot be wrong, with the read plan.
//!
//! Always true: every mistake is reported, not only the first; a device is checked where it
//! overrides its model, which is checked on its own.

use std::time::Duration;

use sagoo_driver_sdk::DeviceTable;
use serde_json::Value as Json;

use crate::model::{Model, ReadModel};
use crate::plan::{Block, Cost, Limits, Span, plan};
use crate::point::Point;
use crate::settings::{Report, Settings, path, step, suggest};

/// Keys of a device.
pub(crate) const DEVICE_KEYS: &[&str] = &["unit", "points"];
const DEFAULT_UNIT: u8 = 1;

/// A device, checked, with its read plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Device {
    pub(crate) unit: u8,
    pub(crate) points: Vec<Point>,
    pub(crate) limits: Limits,
    /// What a request costs on its line.
    pub(crate) cost: Cost,
    pub(crate) polls: Vec<PlannedPoll>,
}

/// The reads of one rate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlannedPoll {
    pub(crate) rate: String,
    pub(crate) period: Duration,
    pub(crate) blocks: Vec<Block>,
}

impl Device {
    fn new(unit: u8, points: Vec<Point>, model: &Model, cost: Cost) -> Self {
        let limits = model.limits.clone();
        let of_rate = |(rate, (name, period)): (usize, &(String, Duration))| {
            let spans = spans(&points, |point| point.rate == rate);
            (!spans.is_empty()).then(|| PlannedPoll {
                rate: name.clone(),
                period: *period,
                blocks: plan(spans, &limits, &cost),
            })
        };
        let polls = model.rates.iter().enumerate().filter_map(of_rate).collect();
        Self { unit, points, limits, cost, polls }
    }

    /// The reads for just these points.
    pub(crate) fn plan(&self, wanted: &[usize]) -> Vec<Block> {
        let mut all = spans(&self.points, |_| true);
        all.retain(|span| wanted.contains(&span.point));
        plan(all, &self.limits, &self.cost)
    }
}

fn spans(points: &[Point], wanted: impl Fn(&Point) -> bool) -> Vec<Span> {
    let span = |(number, point): (usize, &Point)| Span {
        point: number,
        table: point.table,
        address: point.address,
        cells: point.codec.kind.cells(),
    };
    points.iter().enumerate().filter(|(_, point)| wanted(point)).map(span).collect()
}

/// Reads a device; `None` when a mistake was reported, of its own or of its model.
pub(crate) fn read_device(
    table: &DeviceTable,
    models: &[ReadModel<'_>],
    cost: Cost,
    report: &mut Report,
) -> Option<Device> {
    let before = report.errors();
    let place = path(["device", &table.name]);
    let settings = Settings::open(&table.settings, place.clone(), DEVICE_KEYS, &[], report)?;
    let unit = settings.integer("unit", 0..=255, report).map_or(DEFAULT_UNIT, |unit| unit as u8);
    let Some(read) = models.iter().find(|read| read.name == table.model) else {
        let names: Vec<&str> = models.iter().map(|read| read.name).collect();
        report.error(
            step(&place, "model"),
            format!("there is no model {:?}", table.model),
            suggest(&table.model, &names),
        );
        return None;
    };
    let mut points = read.points.clone();
    match settings.get("points").map(|value| value.as_object().ok_or(value)) {
        None => {}
        Some(Err(_)) => settings.error(
            "points",
            report,
            "points is not a table",
            "points = { voltage = { scale = 1.0 } }",
        ),
        Some(Ok(object)) => {
            for (name, value) in object {
                override_point((name, value), &settings.path_of("points"), read, &mut points, report);
            }
        }
    }
    (read.well && report.errors() == before).then(|| Device::new(unit, points, &read.model, cost))
}

fn override_point(
    (name, value): (&str, &Json),
    place: &[String],
    read: &ReadModel<'_>,
    points: &mut [Point],
    report: &mut Report,
) {
    let Some((_, entry)) = read.entries.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = read.entries.iter().map(|(known, _)| *known).collect();
        let message = format!("the model {:?} has no point {name:?}", read.name);
        report.error(step(place, name), message, suggest(name, &names));
        return;
    };
    let laid = entry.overridden(value, step(place, name), report);
    let point = laid.and_then(|entry| Point::read(name, &entry, &read.model, report));
    if let (Some(point), Some(old)) = (point, points.iter_mut().find(|old| old.name == name)) {
        *old = point;
    }
}
