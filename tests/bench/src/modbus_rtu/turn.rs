//! One line, and what passes on it while the driver, or the reference, is its master.
//!
//! Always true: a turn of the driver is a process of its own under the bench's host, which acknowledges
//! everything; an exchange is a request with its answer, if there was one.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::rig::line::{From, Passed, SerialLine};
use sagoo_edge_plugin_host::{Grace, Launch, Plugin};
use sagoo_edge_proto::driver::{Configuration, Connection, Device, Model};
use serde_json::{Map, Value as Json, json};

use super::formula::{Run, Wire};
use super::slave::{REQUEST, Slave};
use super::{IDLE, reference};
use crate::places::Places;
use crate::talk::Talk;

/// A line with its devices.
pub(super) struct Turn {
    pub(super) wire: Wire,
    pub(super) slave: Slave,
    line: SerialLine,
    program: std::path::PathBuf,
    units: Vec<u8>,
}

/// A request on the wire, and its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Exchange {
    pub(super) unit: u8,
    pub(super) first: u16,
    pub(super) count: u16,
    /// The request's first bit.
    pub(super) begins: Instant,
    /// The answer's last bit.
    pub(super) answered: Option<Instant>,
}

impl Turn {
    /// A line with devices of these unit ids; unit 1 if none is named.
    pub(super) fn start(places: &Places, wire: Wire, units: &[u8]) -> Result<Self> {
        let line = SerialLine::start(&wire.mode(), 1);
        line.behave(|manners| manners.turnaround = wire.silence());
        let slave = Slave::start(&line.slave(0))?;
        let units = if units.is_empty() { vec![1] } else { units.to_vec() };
        Ok(Self { wire, slave, line, program: places.program("driver-modbus")?, units })
    }

    /// What passes in so long while the driver reads these runs of each unit at this period.
    pub(super) async fn drive(
        &self,
        runs: &[Run],
        period: Duration,
        length: Duration,
    ) -> Result<Vec<Exchange>> {
        Ok(self.drive_and(runs, period, length, |_| ()).await?.0)
    }

    /// Like [`Turn::drive`]; `begin` is called once the driver has read everything once.
    /// Also tells how long it was.
    pub(super) async fn drive_and(
        &self,
        runs: &[Run],
        period: Duration,
        length: Duration,
        begin: impl FnOnce(&Slave),
    ) -> Result<(Vec<Exchange>, Duration)> {
        let plugin =
            Plugin::start(Launch::new("modbus", &self.program)).await.context("starting the driver")?;
        let mut talk = Talk::over_session(plugin.channel(), self.configuration(runs, period)).await?;
        talk.carry(Duration::ZERO, period, None).await?;
        begin(&self.slave);
        self.line.take_record();
        let began = Instant::now();
        talk.carry(Duration::ZERO, length, None).await?;
        let (record, took) = (self.line.take_record(), began.elapsed());
        drop(talk);
        let stopped = plugin.stop(Grace::default()).await;
        anyhow::ensure!(!stopped.killed, "the driver did not stop when asked to");
        Ok((exchanges(&record), took))
    }

    /// What passes while the reference reads these runs over and over for so long, at least once.
    pub(super) async fn refer(&self, runs: &[Run], length: Duration) -> Result<Vec<Exchange>> {
        self.line.take_record();
        let (master, wire, runs) = (self.line.master(), self.wire, runs.to_vec());
        let reading = tokio::task::spawn_blocking(move || {
            let began = Instant::now();
            loop {
                reference::read(&master, wire, &runs)?;
                if began.elapsed() >= length {
                    return Ok::<(), anyhow::Error>(());
                }
            }
        });
        reading.await.context("the reference's thread")??;
        Ok(exchanges(&self.line.take_record()))
    }

    /// Silence beyond t3.5 between an answer and the next request of its cycle; sorted, ms.
    pub(super) fn gaps_ms(&self, seen: &[Exchange]) -> Vec<f64> {
        let gap = |two: &[Exchange]| {
            let gap = two[1].begins.saturating_duration_since(two[0].answered?);
            Some((gap.as_secs_f64() - self.wire.silence().as_secs_f64()) * 1e3)
        };
        let cycles = cycles(seen, IDLE);
        let mut gaps: Vec<f64> = cycles.iter().flat_map(|cycle| cycle.windows(2).filter_map(gap)).collect();
        gaps.sort_by(f64::total_cmp);
        gaps
    }

    fn configuration(&self, runs: &[Run], period: Duration) -> Configuration {
        let serial = json!({"port": self.line.master(), "mode": self.wire.mode()});
        let settings = json!({"serial": serial, "timeout": "300ms"}).to_string();
        let registers = runs.iter().flat_map(|(first, count)| *first..first + count);
        let point = |at: u16| (format!("r{at}"), json!({"at": format!("holding:{at}"), "type": "u16"}));
        let points: Map<String, Json> = registers.map(point).collect();
        let poll = json!({"all": format!("{}ms", period.as_millis())});
        let model = json!({"addresses": "zero-based", "poll": poll, "points": points});
        let device = |unit: &u8| Device {
            name: format!("d{unit}"),
            connection: "line".to_owned(),
            model: "meter".to_owned(),
            settings: json!({"unit": unit}).to_string(),
        };
        Configuration {
            connections: vec![Connection { name: "line".to_owned(), settings }],
            models: vec![Model { name: "meter".to_owned(), settings: model.to_string() }],
            devices: self.units.iter().map(device).collect(),
        }
    }
}

/// Requests that were whole on the line, in their order.
fn exchanges(record: &[Passed]) -> Vec<Exchange> {
    let mut all: Vec<Exchange> = Vec::new();
    for passed in record {
        match (passed.from, &passed.bytes[..]) {
            (From::Master, &[unit, _, high, low, more, count, _, _]) if passed.bytes.len() == REQUEST => {
                let (first, count) = (u16::from_be_bytes([high, low]), u16::from_be_bytes([more, count]));
                all.push(Exchange { unit, first, count, begins: passed.begins, answered: None });
            }
            (From::Slave(_), _) => {
                if let Some(last) = all.last_mut() {
                    last.answered = Some(passed.ends);
                }
            }
            _ => {}
        }
    }
    all
}

/// Exchanges that follow each other without the line being idle for so long.
pub(super) fn cycles(seen: &[Exchange], idle: Duration) -> Vec<&[Exchange]> {
    seen.chunk_by(|one, next| {
        let end = one.answered.unwrap_or(one.begins);
        next.begins.saturating_duration_since(end) < idle
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_tells_requests_their_answers_and_cycles() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let passed = |from, bytes: &[u8], begins, ends| Passed {
            from,
            begins: at(begins),
            ends: at(ends),
            bytes: bytes.to_vec(),
            collided: false,
        };
        let record = [
            passed(From::Slave(0), &[1], 0, 1),
            passed(From::Master, &[7, 3, 1, 0, 0, 2, 9, 9], 2, 10),
            passed(From::Slave(0), &[7, 3, 4], 15, 20),
            passed(From::Master, &[7, 3, 0, 9, 0, 1, 9, 9], 24, 30),
            passed(From::Master, &[8, 3, 0, 9, 0, 1, 9, 9], 500, 510),
        ];
        let seen = exchanges(&record);
        let told: Vec<_> = seen.iter().map(|one| (one.unit, one.first, one.count, one.answered)).collect();
        assert_eq!(told, [(7, 256, 2, Some(at(20))), (7, 9, 1, None), (8, 9, 1, None)]);
        let lengths: Vec<usize> = cycles(&seen, IDLE).iter().map(|cycle| cycle.len()).collect();
        assert_eq!(lengths, [2, 1]);
    }
}
