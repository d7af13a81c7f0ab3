//! Answers that come after their time are never filed under another point.

use std::time::{Duration, Instant};

use e2e::rig::{LateAnswers, ModbusDevice, Over, Serving, Site, eventually};
use tempfile::TempDir;

use super::{Expected, Field, SOON, fill};

const TIMEOUT: Duration = Duration::from_millis(120);
/// Registers far enough from each other that they are asked for one by one, in answers that look alike.
const APART: [u16; 3] = [0, 130, 260];
const REGISTERS: u16 = 300;
/// How long answers are late and everything is stored all the same.
const WATCHED: Duration = Duration::from_secs(8);

/// A point at each of them: three requests that differ in nothing but the address.
fn apart(unit: u8) -> Vec<Expected> {
    Expected::registers(unit, APART)
}

/// Watches for a while, and that it was worth it.
#[track_caller]
fn watch(field: &Field, site: &Site) {
    let since = Instant::now();
    eventually("answers were late for a while", SOON, || since.elapsed() > WATCHED);
    field.await_fresh(site);
    field.assert_never_wrong(site);
}

fn timeout() -> String {
    format!(
        "timeout = \"{}ms\"\noffline = {{ after = 50, probe = \"1s\", max_probe = \"1s\" }}",
        TIMEOUT.as_millis()
    )
}

#[test]
fn late_answers_over_tcp_are_never_filed_under_another_point() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let mut field = Field::default();
    let mut peers = Vec::new();
    for (name, unit, in_flight) in [("one", 1, 1), ("four", 2, 4)] {
        let serving = Serving::over(Over::Tcp, "socket", &[unit]);
        let device = ModbusDevice::serve(dir.path(), name, &serving).remove(0);
        fill(&device, unit, REGISTERS);
        let between = LateAnswers::before(device.port, Duration::ZERO..TIMEOUT * 2);
        let tcp =
            format!("tcp = {{ host = \"127.0.0.1\", port = {}, in_flight = {in_flight} }}", between.port);
        field.line(name, &format!("{tcp}\n{}", timeout()));
        field.device(name, name, unit, 400, "", apart(unit));
        peers.push((device, between));
    }
    let mut site = Site::prepare_in(dir, &careless(&field));
    site.gateway.start();
    watch(&field, &site);
}

/// Late answers are missing ones as well: that is said, and no surprise.
fn careless(field: &Field) -> e2e::rig::Plan {
    field
        .plan()
        .may_log("slots are skipped")
        .may_log("polls are left out because the line is busy")
        .may_log("device is offline")
}
