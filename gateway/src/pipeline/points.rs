//! What of a device's samples is worth a row: reporting rules and changes of quality.
//!
//! Always true: a sample is either in a row or counted as suppressed; a bad sample never changes a
//! value; a point joins its device's set with its first good value and stays; the first value after a
//! start, and after a change of quality, is news whatever its deadband.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::sync::Arc;

use sagoo_edge_proto::sample::{Quality, Sample, Value};

use super::boots;
use super::layout::{Layout, Rule};
use super::record::compact::Compact;
use super::snapshot::{PointSnapshot, QualityWord, ReadAt};
use crate::config::types::Deadband;
use crate::row::{Cell, Event, Identity, Row};

/// Point names in one quality event; the rest is a number.
const NAMES_PER_EVENT: usize = 8;

/// Everything the pipeline knows of one device.
#[derive(Debug)]
pub struct Device {
    name: Arc<str>,
    identity: Identity,
    layout: Arc<Layout>,
    /// By place in the layout.
    points: Box<[Point]>,
    /// The set changed since [`Device::news`].
    has_news: bool,
    /// See [`Device::doubt`].
    doubted: bool,
}

/// A gateway has tens of thousands of them: what can be told from something else is not kept.
#[derive(Debug, Default)]
struct Point {
    /// Last reported value and its time. All there are, are the set.
    cell: Option<(Compact, i64)>,
    /// When the last good value was read, on the boot clock; none since the start: the cell is remembered.
    read_at: Option<NonZeroU64>,
    aside: Option<Box<Aside>>,
    quality: QualityWord,
    /// Its cell is news for the row that is being made.
    is_fresh: bool,
}

/// What a point has while it is not good, and with a deadband.
#[derive(Debug, Default)]
struct Aside {
    /// Last good value, where it was not reported.
    unreported: Option<Value>,
    /// Why it is not good; one text for all it is said of at once.
    reason: Option<Arc<str>>,
    /// Boot time of the last report; only with a deadband, and not of another quality.
    reported: Option<NonZeroU64>,
}

/// Points whose quality changed, by what it changed to.
type Turned = BTreeMap<(QualityWord, Arc<str>), Vec<Arc<str>>>;

/// Rows and what was left out of them.
#[derive(Debug, Default)]
pub struct Made {
    /// In time order.
    pub rows: Vec<Row>,
    /// Rows that say events.
    pub events: Vec<Row>,
    /// Samples that said nothing new.
    pub suppressed: u64,
    /// Samples of points the configuration does not have.
    pub unknown: u64,
}

/// The cells that are news for the row that is being made.
#[derive(Debug, Default)]
struct Fresh {
    samples: u32,
    /// Of the newest.
    time_ms: Option<i64>,
}

impl Device {
    /// A device with this layout, shared by those that are alike. One whose last stored row is known
    /// continues its set.
    pub fn new(name: Arc<str>, identity: Identity, layout: Arc<Layout>, last: Option<&Row>) -> Self {
        let points = layout.rules().iter().map(|_| Point::default()).collect();
        let mut device = Self { name, identity, layout, points, has_news: false, doubted: false };
        if let Some(last) = last {
            device.remember(last);
        }
        device
    }

    /// Takes over what a row from before the start says of points that were not read since; of two such
    /// rows the newer cell counts. A device that was replaced by another (new keys on the platform) begins
    /// anew.
    pub fn remember(&mut self, row: &Row) {
        if row.identity != self.identity {
            return;
        }
        let points = self.layout.rules().iter().zip(&mut self.points);
        for (rule, point) in points.filter(|(_, point)| point.quality == QualityWord::Unread) {
            let Ok(place) = row.cells.binary_search_by(|cell| cell.key.cmp(&rule.key)) else { continue };
            let Cell { value, time_ms, .. } = &row.cells[place];
            if point.cell.as_ref().is_none_or(|(_, known_ms)| boots::is_before(*known_ms, *time_ms)) {
                point.cell = Some((value.clone().into(), *time_ms));
            }
        }
    }

    /// The platform was told before the start that points are not good; of which, nobody knows any more.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether the platform was told that a point is not good, and not yet that it is again.
    pub fn is_doubted(&self) -> bool {
        self.points.iter().any(|point| match point.quality {
            QualityWord::Good => false,
            QualityWord::Unread => self.doubted,
            QualityWord::Uncertain | QualityWord::Bad => true,
        })
    }

    /// The whole set, if it changed since the last time.
    pub fn news(&mut self) -> Option<Row> {
        let newest = self.points.iter().filter_map(|point| point.cell.as_ref()).map(|cell| cell.1).max();
        std::mem::take(&mut self.has_news).then(|| self.whole(newest.unwrap_or_default(), 0))
    }

    /// Turns samples into rows. `name_of` gives a point's name by number, `time_of` the time to store for
    /// a boot time.
    pub fn rows(
        &mut self,
        samples: Vec<Sample>,
        name_of: impl Fn(u32) -> Option<Arc<str>>,
        mut time_of: impl FnMut(u64) -> i64,
    ) -> Made {
        let layout = self.layout.clone();
        let mut made = Made::default();
        let mut fresh = Fresh::default();
        let mut turned = Turned::new();
        let mut time_ms = 0;
        for sample in samples {
            let name = name_of(sample.point);
            let Some(place) = name.and_then(|name| layout.place(&name, sample.point as usize)) else {
                made.unknown += 1;
                continue;
            };
            let (rule, point) = (&layout.rules()[place], &mut self.points[place]);
            time_ms = time_of(sample.boot_ns);
            point.judged(rule, &sample.quality, self.doubted, &mut turned);
            let Some(value) = sample.value else {
                made.suppressed += 1;
                continue;
            };
            point.read_at = moment(sample.boot_ns);
            if !point.reports(rule, &value, sample.boot_ns) {
                made.suppressed += 1;
                point.aside().unreported = Some(value);
                continue;
            }
            if point.is_fresh {
                made.rows.push(self.row(std::mem::take(&mut fresh)));
            }
            let point = &mut self.points[place];
            point.cell = Some((value.into(), time_ms));
            point.is_fresh = true;
            if let Some(aside) = &mut point.aside {
                aside.unreported = None;
            }
            fresh.samples += 1;
            fresh.time_ms = fresh.time_ms.max(Some(time_ms));
        }
        if fresh.samples > 0 {
            made.rows.push(self.row(fresh));
        }
        made.events = self.announce(turned, time_ms);
        made
    }

    /// A row that says an event.
    pub fn event(&self, event: Event, time_ms: i64) -> Row {
        let (device, identity) = (self.name.clone(), self.identity.clone());
        Row { device, identity, time_ms, cells: Vec::new(), event: Some(event), samples: 0 }
    }

    /// Latest values, by point.
    pub fn snapshot(&self) -> BTreeMap<Arc<str>, PointSnapshot> {
        let points = self.layout.rules().iter().zip(&self.points);
        points.map(|(rule, point)| (rule.name.clone(), point.snapshot())).collect()
    }

    fn row(&mut self, fresh: Fresh) -> Row {
        self.points.iter_mut().for_each(|point| point.is_fresh = false);
        self.has_news = true;
        self.whole(fresh.time_ms.unwrap_or_default(), fresh.samples)
    }

    fn whole(&self, time_ms: i64, samples: u32) -> Row {
        let points = self.layout.rules().iter().zip(&self.points);
        let cells = points.filter_map(|(rule, point)| {
            let (value, time_ms) = point.cell.as_ref()?;
            Some(Cell { key: rule.key.clone(), value: value.value(), time_ms: *time_ms })
        });
        let mut all = Vec::with_capacity(self.points.len());
        all.extend(cells);
        Row {
            device: self.name.clone(),
            identity: self.identity.clone(),
            time_ms,
            cells: all,
            event: None,
            samples,
        }
    }

    /// Changes of quality travel as events: the platform has no place for them in a row.
    fn announce(&self, turned: Turned, time_ms: i64) -> Vec<Row> {
        let events = turned.into_iter().map(|((quality, reason), points)| {
            let named: Vec<&str> = points.iter().take(NAMES_PER_EVENT).map(|name| &**name).collect();
            let mut names = named.join(", ");
            if points.len() > NAMES_PER_EVENT {
                names.push_str(&format!(" and {} more", points.len() - NAMES_PER_EVENT));
            }
            let value = serde_json::json!({ "quality": quality.word(), "reason": &*reason, "points": names });
            self.event(Event { name: "quality".to_owned(), value: value.to_string() }, time_ms)
        });
        events.collect()
    }
}

impl Point {
    /// Takes its quality over; a change of it is something to tell. `doubted`: see [`Device::doubt`].
    fn judged(&mut self, rule: &Rule, quality: &Quality, doubted: bool, turned: &mut Turned) {
        let (quality, reason) = match quality {
            Quality::Good => (QualityWord::Good, ""),
            Quality::Uncertain(reason) => (QualityWord::Uncertain, reason.as_str()),
            Quality::Bad(reason) => (QualityWord::Bad, reason.as_str()),
        };
        let before = (self.quality, self.reason());
        if before == (quality, reason) {
            return;
        }
        let turns = before.0 != quality;
        // nearly always it is the reason of the point before
        let said = turned.keys().find(|(_, said)| **said == *reason).map(|(_, said)| said.clone());
        let reason = said.unwrap_or_else(|| reason.into());
        if self.aside.is_some() || !reason.is_empty() {
            let aside = self.aside();
            aside.reason = (!reason.is_empty()).then(|| reason.clone());
            // what was reported under another quality is nothing to compare with
            aside.reported.take_if(|_| turns);
            self.aside.take_if(|aside| aside.is_empty());
        }
        // the first good value is no news, where nothing else was told
        if self.quality != QualityWord::Unread || quality != QualityWord::Good || doubted {
            turned.entry((quality, reason)).or_default().push(rule.name.clone());
        }
        self.quality = quality;
    }

    /// Whether the value is news; remembers when, if so.
    fn reports(&mut self, rule: &Rule, value: &Value, boot_ns: u64) -> bool {
        let Some(deadband) = rule.deadband else { return true };
        let reported = self.aside.as_ref().and_then(|aside| aside.reported);
        if let (Some(at), Some((last, _))) = (reported, &self.cell) {
            let due = rule.heartbeat.is_some_and(|heartbeat| {
                u128::from(boot_ns.saturating_sub(at.get())) >= heartbeat.as_nanos()
            });
            if !due && within(deadband, &last.value(), value) {
                return false;
            }
        }
        self.aside().reported = moment(boot_ns);
        true
    }

    fn aside(&mut self) -> &mut Aside {
        self.aside.get_or_insert_default()
    }

    fn reason(&self) -> &str {
        self.aside.as_ref().and_then(|aside| aside.reason.as_deref()).unwrap_or_default()
    }

    fn read_at(&self) -> ReadAt {
        match (self.read_at, &self.cell) {
            (Some(boot_ns), _) => ReadAt::Boot(boot_ns.get()),
            (None, Some((_, time_ms))) => ReadAt::BeforeTheStart(*time_ms),
            (None, None) => ReadAt::Never,
        }
    }

    fn snapshot(&self) -> PointSnapshot {
        let reported = || self.cell.as_ref().map(|(value, _)| value.value());
        let unreported = self.aside.as_ref().and_then(|aside| aside.unreported.clone());
        PointSnapshot {
            value: unreported.or_else(reported),
            quality: self.quality,
            reason: self.reason().to_owned(),
            read_at: self.read_at(),
        }
    }
}

impl Aside {
    fn is_empty(&self) -> bool {
        self.unreported.is_none() && self.reason.is_none() && self.reported.is_none()
    }
}

/// A boot time without the moment of the boot, which nothing is read at.
fn moment(boot_ns: u64) -> Option<NonZeroU64> {
    NonZeroU64::new(boot_ns.max(1))
}

/// Whether the change is too small to report; what is not a number has to be the same.
fn within(deadband: Deadband, last: &Value, value: &Value) -> bool {
    let change = match (whole(last), whole(value)) {
        // a counter's last digit counts, however long the counter
        (Some(last), Some(value)) => Some((value - last).unsigned_abs() as f64),
        _ => number(last).zip(number(value)).map(|(last, value)| (value - last).abs()),
    };
    let band = match deadband {
        Deadband::Absolute(band) => Some(band),
        Deadband::Percent(percent) => number(last).map(|last| last.abs() * percent / 100.0),
    };
    match change.zip(band) {
        Some((change, band)) => change <= band,
        None => last == value,
    }
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Float(v) => Some(*v),
        _ => whole(value).map(|v| v as f64),
    }
}

fn whole(value: &Value) -> Option<i128> {
    match value {
        Value::Int(v) => Some((*v).into()),
        Value::Uint(v) => Some((*v).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
