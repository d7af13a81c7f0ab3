//! What an outage does to a flash: bytes written for each that is stored, and for each sample.
//!
//! Always true: nothing leaves the store, so what lies there is all that was stored.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::time::sleep;

use super::site::Numbers;
use crate::figures::Figure;
use crate::gateway::{Gateway, Own};
use crate::report::Table;
use crate::{Bench, disk};

const DEVICES: usize = 100;
const WIDTH: usize = 100;
const PERIOD: Duration = Duration::from_secs(1);
const STRETCH: Duration = Duration::from_secs(60);
const QUICK: Duration = Duration::from_secs(2);
/// Calls that wait for the disk.
const SYNCS: [&str; 2] = ["fdatasync", "fsync"];

pub(super) fn note() -> String {
    format!(
        "Flash: {DEVICES} devices of {WIDTH} points, read every {PERIOD:?} for {STRETCH:?} while the broker is away, \
         sync = \"1s\": slowly changing, every point by 0.1 at every tenth read, and changing, every point by 1 at \
         every read. Bytes written are those of the pages the gateway made dirty. Syncs are fsync and fdatasync \
         calls of the gateway, counted by strace where there is one."
    )
}

pub(super) async fn measure(bench: &Bench) -> Result<Table> {
    let columns = [
        ("per_stored", "bytes written per byte stored"),
        ("per_sample", "bytes stored per sample"),
        ("syncs", "syncs/s"),
        ("samples", "samples stored"),
    ];
    let stretch = if bench.quick { QUICK } else { STRETCH };
    let mut table = Table::new("flash", "A store that fills", &columns);
    for (key, title, slow) in [("slow", "slowly changing", true), ("fast", "changing", false)] {
        bench.progress.say(&format!("gateway: a store that fills, {title}"));
        let load = Numbers { devices: DEVICES, width: WIDTH, period: PERIOD, slow };
        let (program, driver) = (bench.places.program("sagoo-edge")?, bench.places.own("driver-synthetic")?);
        let mut gateway = Gateway::prepare(&program, &driver, &Own::alone(), &load.toml())?;
        gateway.start()?;
        gateway.until("the driver runs", |_, seen| seen.driver.is_some()).await?;
        let pid = gateway.pid().context("it runs")?;
        let of = async |gateway: &Gateway| -> Result<[f64; 3]> {
            let samples = gateway.ledgers(&["stored"]).await?[0];
            Ok([disk::written(pid)?, disk::lying(&gateway.buffer()), samples].map(|count| count as f64))
        };
        let before = of(&gateway).await?;
        let strace = Strace::of(pid);
        let began = Instant::now();
        sleep(stretch).await;
        let seconds = began.elapsed().as_secs_f64();
        let after = of(&gateway).await?;
        let syncs = strace.and_then(Strace::calls);
        gateway.kill_all().await?;
        let [written, lying, samples] = [0, 1, 2].map(|place| after[place] - before[place]);
        let one = |unit, value: f64| Figure::of(unit, vec![value]);
        table.row(
            key,
            title,
            [
                ("per_stored", one("×", written / lying)),
                ("per_sample", one("B", lying / samples)),
                ("syncs", syncs.and_then(|syncs| one("1/s", syncs / seconds))),
                ("samples", one("samples", samples)),
            ],
        );
    }
    Ok(table)
}

/// strace, counting; ended by its value.
struct Strace(std::process::Child);

impl Strace {
    fn of(pid: u32) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-e", &SYNCS.join(","), "-p", &pid.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().ok().map(Self)
    }

    /// Calls so far; it ends.
    fn calls(self) -> Option<f64> {
        let pid = rustix::process::Pid::from_child(&self.0);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).ok()?;
        let told = self.0.wait_with_output().ok()?;
        counted(&String::from_utf8_lossy(&told.stderr))
    }
}

/// The column `calls` of strace's table, added up.
fn counted(table: &str) -> Option<f64> {
    let rows = table.lines().filter(|line| SYNCS.iter().any(|call| line.trim_end().ends_with(call)));
    let calls: Option<Vec<f64>> = rows.map(|row| row.split_whitespace().nth(3)?.parse().ok()).collect();
    calls.filter(|calls| !calls.is_empty()).map(|calls| calls.iter().sum())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_read_from_the_table() {
        let table = "strace: Process 7 attached\n% time     seconds  usecs/call     calls    errors syscall\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.061234         994        61           fdatasync\n \
                     0.00    0.000000           0         2         1 fsync\n\
                     ------ ----------- ----------- --------- --------- ----------------\n\
                     100.00    0.061234         994        63           total\n";
        assert_eq!(counted(table), Some(63.0));
        assert_eq!(counted("strace: not allowed\n"), None);
    }
}
