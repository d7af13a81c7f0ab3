//! One device with more registers than it can be asked for in no time, and how fast they come.
//!
//! Always true: the rate is that within a cycle, where one request follows the other; the driver runs
//! under the bench's host, so it is the driver that is measured, and what it costs per request.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sagoo_edge_plugin_host::{Grace, Launch, Plugin};
use sagoo_edge_proto::driver::{Configuration, Connection, Device, Model};
use serde_json::{Map, Value as Json, json};

use crate::Bench;
use crate::figures::Figure;
use crate::plant::{Plant, Shape};
use crate::report::Table;
use crate::talk::Talk;

/// Registers of a request.
const MOST: u16 = 125;
/// Requests of a cycle.
const REQUESTS: u16 = 160;
/// Cycles that are seen, besides the first.
const CYCLES: u32 = 4;
/// Requests on their way at once.
const IN_FLIGHT: [u8; 3] = [1, 4, 16];

/// What a reader has to know.
pub(super) fn note() -> String {
    format!(
        "Flat out: one device of {REQUESTS} requests of {MOST} registers, driver-modbus under the bench's host, no \
         gateway. The rates are those within a cycle, from its first request to its last."
    )
}

/// With one request after the other, and with several on their way.
pub(super) async fn measure(bench: &Bench, period: Duration) -> Result<Table> {
    let columns = [
        ("requests_per_s", "requests/s"),
        ("registers_per_s", "registers/s"),
        ("cpu_us", "CPU of the driver per request, µs"),
    ];
    let mut table = Table::new("flat_out", "One device as fast as it goes", &columns);
    for in_flight in IN_FLIGHT {
        bench.progress.say(&format!("modbus-tcp: flat out, {in_flight} in flight"));
        let plant = Plant::start(Shape::Apart(1))?;
        let program = bench.places.program("driver-modbus")?;
        let plugin = Plugin::start(Launch::new("modbus", &program)).await.context("starting the driver")?;
        let configuration = configuration(plant.ports[0], in_flight, period);
        let mut talk = Talk::over_session(plugin.channel(), configuration).await?;
        talk.carry(Duration::ZERO, period, None).await?;
        let from = Instant::now();
        let carried = talk.carry(Duration::ZERO, period * CYCLES, Some(plugin.pid())).await?;
        drop(talk);
        let stopped = plugin.stop(Grace::default()).await;
        ensure!(!stopped.killed, "the driver did not stop when asked to");
        let requests: Vec<Instant> = plant.requests(0).into_iter().filter(|at| *at >= from).collect();
        let rates = rates(&requests, &plant.reads(0));
        ensure!(!rates.is_empty(), "no whole cycle was seen");
        let registers = rates.iter().map(|rate| rate * f64::from(MOST)).collect();
        let cpu_us = carried.plugin_cpu_s / requests.len() as f64 * 1e6;
        table.row(
            format!("f{in_flight}"),
            format!("{in_flight} in flight"),
            [
                ("requests_per_s", Figure::of("1/s", rates)),
                ("registers_per_s", Figure::of("1/s", registers)),
                ("cpu_us", Figure::of("µs", vec![cpu_us])),
            ],
        );
    }
    Ok(table)
}

/// Requests per second within each whole cycle; a cycle begins with the read that covers register 0.
fn rates(requests: &[Instant], begins: &[Instant]) -> Vec<f64> {
    let within = |two: &[Instant]| {
        let all: Vec<Instant> = requests.iter().copied().filter(|at| (two[0]..two[1]).contains(at)).collect();
        let took = *all.last()? - *all.first()?;
        (all.len() == usize::from(REQUESTS)).then(|| f64::from(REQUESTS - 1) / took.as_secs_f64())
    };
    begins.windows(2).filter_map(within).collect()
}

fn configuration(port: u16, in_flight: u8, period: Duration) -> Configuration {
    let tcp = json!({"host": "127.0.0.1", "port": port, "in_flight": in_flight});
    let point = |at: u16| (format!("r{at}"), json!({"at": format!("holding:{at}"), "type": "u16"}));
    let points: Map<String, Json> = (0..MOST * REQUESTS).map(point).collect();
    let poll = json!({"all": format!("{}ms", period.as_millis())});
    let model = json!({"addresses": "zero-based", "poll": poll, "points": points});
    Configuration {
        connections: vec![Connection { name: "line".to_owned(), settings: json!({"tcp": tcp}).to_string() }],
        models: vec![Model { name: "meter".to_owned(), settings: model.to_string() }],
        devices: vec![Device {
            name: "d0".to_owned(),
            connection: "line".to_owned(),
            model: "meter".to_owned(),
            settings: json!({"unit": 1}).to_string(),
        }],
    }
}
