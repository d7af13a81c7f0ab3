//! What of a device's samples is worth a row: reporting rules and changes of quality.
//!
//! Always true: a sample is either in a row or counted as suppressed; a bad sample never changes a
//! value; a point joins its device's set with its first good value and stays; the first value after a
//! start, and after a change of quality, is news whatever its deadband.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use sagoo_edge_proto::sample::{Quality, Sample, Value};

use super::boots;
use super::snapshot::{PointSnapshot, QualityWord, ReadAt};
use crate::config::types::{Deadband, DeviceConfig, PointConfig};
use crate::row::{Cell, Event, Identity, Row};

/// Point names in one quality event; the rest is a number.
const NAMES_PER_EVENT: usize = 8;

/// Everything the pipeline knows of one device.
#[derive(Debug)]
pub struct Device {
    name: Arc<str>,
    identity: Identity,
    points: HashMap<Arc<str>, Point>,
    /// Key → last reported value and its time: the set.
    set: BTreeMap<Arc<str>, (Value, i64)>,
    /// The set changed since [`Device::news`].
    has_news: bool,
    /// See [`Device::doubt`].
    doubted: bool,
}

#[derive(Debug)]
struct Point {
    rule: PointConfig,
    key: Arc<str>,
    shown: PointSnapshot,
    /// Value and boot time of the last report; only with a deadband.
    reported: Option<(Value, u64)>,
}

/// Points whose quality changed, by what it changed to.
type Turned = BTreeMap<(QualityWord, String), Vec<Arc<str>>>;

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

impl Device {
    /// A device whose last stored row is known continues its set.
    pub fn new(name: Arc<str>, config: &DeviceConfig, last: Option<&Row>) -> Self {
        let points = config.points.iter().map(|(point, rule)| {
            let key: Arc<str> = rule.key.as_str().into();
            let point_state =
                Point { rule: rule.clone(), key, shown: PointSnapshot::default(), reported: None };
            (Arc::from(point.as_str()), point_state)
        });
        let (points, identity) = (points.collect(), config.identity.clone());
        let (set, has_news, doubted) = (BTreeMap::new(), false, false);
        let mut device = Self { name, identity, points, set, has_news, doubted };
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
        let unread = self.points.values_mut().filter(|point| point.shown.quality == QualityWord::Unread);
        for point in unread {
            let Ok(place) = row.cells.binary_search_by(|cell| cell.key.cmp(&point.key)) else { continue };
            let Cell { key, value, time_ms } = &row.cells[place];
            if self.set.get(key).is_none_or(|(_, known_ms)| boots::is_before(*known_ms, *time_ms)) {
                self.set.insert(key.clone(), (value.clone(), *time_ms));
                point.shown.value = Some(value.clone());
                point.shown.read_at = ReadAt::BeforeTheStart(*time_ms);
            }
        }
    }

    /// The platform was told before the start that points are not good; of which, nobody knows any more.
    pub fn doubt(&mut self) {
        self.doubted = true;
    }

    /// Whether the platform was told that a point is not good, and not yet that it is again.
    pub fn is_doubted(&self) -> bool {
        self.points.values().any(|point| match point.shown.quality {
            QualityWord::Good => false,
            QualityWord::Unread => self.doubted,
            QualityWord::Uncertain | QualityWord::Bad => true,
        })
    }

    /// The whole set, if it changed since the last time.
    pub fn news(&mut self) -> Option<Row> {
        let newest = self.set.values().map(|cell| cell.1).max();
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
        let mut made = Made::default();
        let mut pending: BTreeMap<Arc<str>, (Value, i64)> = BTreeMap::new();
        let mut turned = Turned::new();
        let mut time_ms = 0;
        for sample in samples {
            let known = name_of(sample.point).and_then(|name| self.points.get_key_value(&name));
            let Some((name, _)) = known else {
                made.unknown += 1;
                continue;
            };
            let name = name.clone();
            time_ms = time_of(sample.boot_ns);
            let (quality, reason) = match &sample.quality {
                Quality::Good => (QualityWord::Good, ""),
                Quality::Uncertain(reason) => (QualityWord::Uncertain, reason.as_str()),
                Quality::Bad(reason) => (QualityWord::Bad, reason.as_str()),
            };
            let point = self.points.get_mut(&name).expect("it was just found");
            let before = (point.shown.quality, point.shown.reason.as_str());
            if before.0 != quality {
                // what was reported under another quality is nothing to compare with
                point.reported = None;
            }
            if before != (quality, reason) {
                // the first good value is no news, where nothing else was told
                if before.0 != QualityWord::Unread || quality != QualityWord::Good || self.doubted {
                    turned.entry((quality, reason.to_owned())).or_default().push(name.clone());
                }
                point.shown.quality = quality;
                reason.clone_into(&mut point.shown.reason);
            }
            let Some(value) = sample.value else {
                made.suppressed += 1;
                continue;
            };
            point.shown.value = Some(value.clone());
            point.shown.read_at = ReadAt::Boot(sample.boot_ns);
            if !point.reports(&value, sample.boot_ns) {
                made.suppressed += 1;
                continue;
            }
            let key = point.key.clone();
            if pending.contains_key(&key) {
                let cells = std::mem::take(&mut pending);
                made.rows.push(self.row(cells));
            }
            pending.insert(key, (value, time_ms));
        }
        if !pending.is_empty() {
            made.rows.push(self.row(pending));
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
        self.points.iter().map(|(name, point)| (name.clone(), point.shown.clone())).collect()
    }

    fn row(&mut self, changed: BTreeMap<Arc<str>, (Value, i64)>) -> Row {
        let samples = changed.len() as u32;
        let time_ms = changed.values().map(|cell| cell.1).max().unwrap_or_default();
        self.set.extend(changed);
        self.has_news = true;
        self.whole(time_ms, samples)
    }

    fn whole(&self, time_ms: i64, samples: u32) -> Row {
        let cells = self.set.iter().map(|(key, (value, time_ms))| Cell {
            key: key.clone(),
            value: value.clone(),
            time_ms: *time_ms,
        });
        Row {
            device: self.name.clone(),
            identity: self.identity.clone(),
            time_ms,
            cells: cells.collect(),
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
            let value = serde_json::json!({ "quality": quality.word(), "reason": reason, "points": names });
            self.event(Event { name: "quality".to_owned(), value: value.to_string() }, time_ms)
        });
        events.collect()
    }
}

impl Point {
    /// Whether the value is news; remembers it if so.
    fn reports(&mut self, value: &Value, boot_ns: u64) -> bool {
        let Some(deadband) = self.rule.deadband else { return true };
        if let Some((last, at)) = &self.reported {
            let due = self
                .rule
                .heartbeat
                .is_some_and(|heartbeat| u128::from(boot_ns.saturating_sub(*at)) >= heartbeat.as_nanos());
            if !due && within(deadband, last, value) {
                return false;
            }
        }
        self.reported = Some((value.clone(), boot_ns));
        true
    }
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
