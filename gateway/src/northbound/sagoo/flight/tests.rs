//! The flight against a simulated platform ([`world`]).

mod again;
mod asking;
mod disk;
mod drain;
mod events;
mod letters;
mod newest;
mod packs;
mod restarts;
mod silence;
mod stories;
mod world;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use world::{Weather, World, fair, readers};

use super::letters::Unsendable;
use super::peers::SELF;
use super::{
    Flight, GivenUp, Kind, Letter, MAX_ROW_BYTES, Note, Options, Outgoing, READ_AHEAD_BYTES, ROW_TRIES,
    Returned, Unit, window,
};
use crate::class::{Class, PerClass};
use crate::config::types::Drain;
use crate::northbound::sagoo::topic;
use crate::pipeline::handle::{Fate, Resume, Settled};
use crate::row::{Cell, Event, GATEWAY, Identity, Row, Value};

const SPACING: Duration = Duration::from_millis(250);
const ACK_TIMEOUT: Duration = Duration::from_secs(5);
const HEARTBEAT: Duration = Duration::from_secs(10);

fn identity(device: &str) -> Identity {
    Identity { product_key: "p".into(), device_key: format!("{device}-k").as_str().into() }
}

/// `number` tells rows apart and shows their order; `width` is the size of the property set.
fn row(device: &str, number: i64, width: usize) -> Row {
    // k1 changes seldom: a row rebuilt on the wrong ground would show the wrong one.
    let value = |i: usize| if i == 1 { number / 3 } else { number };
    let cell = |i: usize| Cell {
        key: format!("k{i}").as_str().into(),
        value: Value::Int(value(i)),
        time_ms: value(i) * 1_000,
    };
    Row {
        device: device.into(),
        identity: identity(device),
        time_ms: number * 1_000,
        cells: (0..width).map(cell).collect(),
        event: None,
        samples: width as u32,
    }
}

/// An announcement of a device; `number` shows its order.
fn event(device: &str, number: i64) -> Row {
    let announced = Event { name: "trip".into(), value: format!("{{\"n\":{number}}}") };
    Row { event: Some(announced), samples: 1, ..row(device, number, 0) }
}

/// Where the pipeline puts it.
fn class_of(rows: &[Row]) -> Class {
    if rows.iter().all(|row| row.event.is_some()) { Class::Event } else { Class::Telemetry }
}

fn options(devices: &[String], budget: usize) -> Options {
    Options {
        gateway: identity(GATEWAY),
        devices: devices.iter().map(|device| (device.as_str().into(), identity(device))).collect(),
        resume: PerClass::default(),
        written_before: PerClass::default(),
        heartbeat: HEARTBEAT,
        ack_timeout: ACK_TIMEOUT,
        row_spacing: SPACING,
        drain: Drain::Ordered,
        read_ahead_bytes: budget,
        run: 7,
        said: super::Said::default(),
    }
}

fn every_second(devices: &[&str], seconds: i64) -> Vec<(Duration, Vec<Row>)> {
    let rows = |n: i64| devices.iter().map(|device| row(device, n, 2)).collect();
    (1..=seconds).map(|n| (Duration::from_secs(n as u64), rows(n))).collect()
}

fn names(devices: &[&str]) -> Vec<String> {
    devices.iter().map(|device| (*device).to_owned()).collect()
}
