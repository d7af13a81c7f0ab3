//! The table `device` → settings that cannot be wrong, with the read plan.
//!
//! Always true: every mistake is reported, not only the first; a device is checked where it
//! overrides its model, which is checked on its own.

use std::sync::Arc;
use std::time::Duration;

use sagoo_driver_sdk::{DeviceTable, Poll};
use serde_json::Value as Json;

use crate::line;
use crate::model::{Model, ReadModel};
use crate::plan::{Block, Cost, Limits, Span, plan};
use crate::point::Point;
use crate::point::address::Notation;
use crate::settings::{Report, Settings, path, step, suggest};

/// Keys of a device.
pub(crate) const DEVICE_KEYS: &[&str] = &["unit", "points"];
const DEFAULT_UNIT: u8 = 1;

/// A device, checked, with its read plan.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Device {
    pub(crate) name: String,
    pub(crate) unit: u8,
    /// How its model writes addresses.
    pub(crate) notation: Notation,
    /// Of everything that decides how it is read: what was learned of it holds as long as this does.
    pub(crate) fingerprint: u64,
    pub(crate) points: Arc<[Point]>,
    pub(crate) limits: Limits,
    /// What a request costs on its line.
    pub(crate) cost: Cost,
    pub(crate) polls: Arc<[PlannedPoll]>,
}

/// A device's points and polls as the SDK sees them.
#[derive(Debug, Clone)]
pub(crate) struct Told {
    pub(crate) points: Arc<[sagoo_driver_sdk::Point]>,
    pub(crate) polls: Arc<[Poll]>,
}

/// The reads of one rate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct PlannedPoll {
    pub(crate) rate: String,
    pub(crate) period: Duration,
    /// What is to be read.
    pub(crate) spans: Vec<Span>,
    /// The reads, as nothing is known of the device yet.
    pub(crate) blocks: Vec<Arc<Block>>,
}

impl PlannedPoll {
    fn told(&self, cost: &Cost) -> Poll {
        Poll {
            name: self.rate.clone(),
            period: self.period,
            points: self.blocks.iter().flat_map(|block| block.spans.iter().map(|span| span.point)).collect(),
            requests: self.blocks.iter().map(|block| line::planned(block, cost)).collect(),
        }
    }
}

impl Device {
    fn new(name: &str, unit: u8, model: &Model, alike: &Alike<'_>) -> Self {
        let Alike { cost, points, polls, read, .. } = alike;
        Self {
            name: name.to_owned(),
            unit,
            notation: model.notation,
            fingerprint: fingerprint(unit, read),
            points: points.clone(),
            limits: model.limits.clone(),
            cost: *cost,
            polls: polls.clone(),
        }
    }

    /// Whether the model says that it is never read.
    pub(crate) fn is_in_hole(&self, span: &Span) -> bool {
        self.limits.hole(span.table, span.address, span.last()).is_some()
    }

    /// The cells of just these points.
    pub(crate) fn spans(&self, wanted: &[usize]) -> Vec<Span> {
        spans(&self.points, |number, _| wanted.contains(&number))
    }
}

/// What devices of a model share that override the same points on lines that cost the same.
#[derive(Debug)]
pub(crate) struct Alike<'a> {
    /// The table `points` of each of them.
    overrides: Option<&'a Json>,
    cost: Cost,
    points: Arc<[Point]>,
    polls: Arc<[PlannedPoll]>,
    told: Told,
    /// Everything but the unit that decides how they are read.
    read: String,
}

impl<'a> Alike<'a> {
    fn new(overrides: Option<&'a Json>, points: Arc<[Point]>, model: &Model, cost: Cost) -> Self {
        let limits = &model.limits;
        let of_rate = |(rate, (name, period)): (usize, &(String, Duration))| {
            let spans = spans(&points, |_, point| point.rate == rate);
            let readable = |span: &&Span| limits.hole(span.table, span.address, span.last()).is_none();
            let blocks = plan(spans.iter().filter(readable).copied().collect(), limits, &cost);
            let blocks: Vec<Arc<Block>> = blocks.into_iter().map(Arc::new).collect();
            // A poll that asks for nothing would call a device well that nobody asked.
            (!blocks.is_empty()).then(|| PlannedPoll { rate: name.clone(), period: *period, spans, blocks })
        };
        let polls: Arc<[PlannedPoll]> = model.rates.iter().enumerate().filter_map(of_rate).collect();
        let told = Told {
            points: points.iter().map(told).collect(),
            polls: polls.iter().map(|planned| planned.told(&cost)).collect(),
        };
        let read = how_read(&polls, limits);
        Self { overrides, cost, points, polls, told, read }
    }
}

fn told(point: &Point) -> sagoo_driver_sdk::Point {
    sagoo_driver_sdk::Point { name: point.name.clone(), writable: point.write.is_some() }
}

fn spans(points: &[Point], wanted: impl Fn(usize, &Point) -> bool) -> Vec<Span> {
    let span = |(number, point): (usize, &Point)| Span {
        point: number,
        table: point.table,
        address: point.address,
        cells: point.codec.cells(),
    };
    points.iter().enumerate().filter(|(number, point)| wanted(*number, point)).map(span).collect()
}

/// What decides how devices are read, in words.
fn how_read(polls: &[PlannedPoll], limits: &Limits) -> String {
    let spans = polls.iter().flat_map(|poll| &poll.spans);
    let span = |span: &Span| format!("{} {} {};", span.table, span.address, span.cells);
    let mut spans: Vec<String> = spans.map(span).collect();
    // The order of points in a file does not matter.
    spans.sort_unstable();
    let hole = |hole: &crate::plan::Hole| {
        format!("{:?} {} {};", hole.table.map(|table| table.to_string()), hole.first, hole.last)
    };
    let holes: String = limits.holes.iter().map(hole).collect();
    format!("{};{:?};{holes}{}", limits.max_read, limits.max_gap, spans.concat())
}

/// FNV-1a, the same in every build: it is kept for longer than this program.
fn fingerprint(unit: u8, read: &str) -> u64 {
    let unit = format!("{unit};");
    unit.bytes()
        .chain(read.bytes())
        .fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01B3))
}

/// Reads a device, and what the SDK is told of it; `None` when a mistake was reported, of its own or of its
/// model.
pub(crate) fn read_device<'a>(
    table: &'a DeviceTable,
    models: &mut [ReadModel<'a>],
    cost: Cost,
    report: &mut Report,
) -> Option<(Device, Told)> {
    let before = report.errors();
    let place = path(["device", &table.name]);
    let settings = Settings::open(&table.settings, place.clone(), DEVICE_KEYS, &[], report)?;
    let unit = settings.integer("unit", 0..=255, report).map_or(DEFAULT_UNIT, |unit| unit as u8);
    let Some(read) = models.iter_mut().find(|read| read.name == table.model) else {
        let names: Vec<&str> = models.iter().map(|read| read.name).collect();
        report.error(
            step(&place, "model"),
            format!("there is no model {:?}", table.model),
            suggest(&table.model, &names),
        );
        return None;
    };
    let mut points = read.points.clone();
    let overrides = settings.get("points");
    match overrides.map(|value| value.as_object().ok_or(value)) {
        None => {}
        Some(Err(_)) => settings.error(
            "points",
            report,
            "points is not a table",
            "points = { voltage = { scale = 1.0 } }",
        ),
        Some(Ok(object)) => {
            let points = Arc::make_mut(&mut points);
            for (name, value) in object {
                override_point((name, value), &settings.path_of("points"), read, points, report);
            }
        }
    }
    if !read.well || report.errors() != before {
        return None;
    }
    let same = |alike: &Alike<'_>| alike.overrides == overrides && alike.cost == cost;
    let place = read.alike.iter().position(same).unwrap_or_else(|| {
        read.alike.push(Alike::new(overrides, points, &read.model, cost));
        read.alike.len() - 1
    });
    let alike = &read.alike[place];
    Some((Device::new(&table.name, unit, &read.model, alike), alike.told.clone()))
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

#[cfg(test)]
mod tests {
    use crate::tests::device;

    #[test]
    fn the_fingerprint_is_that_of_the_words_and_the_order_of_points_does_not_matter() {
        // FNV-1a of "7;125;None;holding 0 1;input 10 2;", worked out elsewhere
        const KEPT: u64 = 0x7B0F_3245_E5FE_96F6;
        let turned =
            ["a = { at = \"input:10\", type = \"u32\" }", "b = { at = \"holding:0\", type = \"u16\" }"];
        for points in [turned.join("\n"), [turned[1], turned[0]].join("\n")] {
            let found = device("addresses = \"zero-based\"\n", &points).fingerprint;
            assert_eq!(format!("{found:016x}"), format!("{KEPT:016x}"));
        }
    }
}
