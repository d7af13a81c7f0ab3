//! What people type while a line is at work, and a plan that cannot be.

use std::fs;

use e2e::rig::{ModbusDevice, Over, Serving, Simulator, Site, Told};
use serde_json::Value as Json;
use tempfile::TempDir;

use super::{Expected, Field, fill};

const UNIT: u8 = 3;
const REGISTERS: u16 = 60;

#[track_caller]
fn done(told: Told) -> Json {
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    told.json
}

/// One device behind Modbus TCP, polled.
fn running() -> (Field, ModbusDevice, Site) {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let device =
        ModbusDevice::serve(dir.path(), "hall", &Serving::over(Over::Tcp, "socket", &[UNIT])).remove(0);
    fill(&device, UNIT, REGISTERS);
    let mut field = Field::default();
    field.line("hall", &format!("tcp = {{ host = \"127.0.0.1\", port = {} }}", device.port));
    field.device("meter-a", "hall", UNIT, 200, "", Expected::registers(UNIT, [0, 1, 10, 20]));
    let mut site = Site::prepare_in(dir, &field.plan());
    site.gateway.start();
    (field, device, site)
}

#[test]
fn what_was_captured_is_replayed_as_a_device() {
    let (field, _device, site) = running();
    field.assert_read(&site);
    let capture = site.path("hall.capture");
    let words = ["capture", "hall", "--for", "2s", "--out", &capture.display().to_string()];
    done(site.gateway.command(&words));
    let lines = fs::read_to_string(&capture).expect("it was written");
    assert!(lines.lines().count() >= 4, "two polls at least: {lines}");

    let words = [&capture.display().to_string(), "--listen", "127.0.0.1:0"].map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let simulator = Simulator::start(site.dir(), "replay", &words);
    let mut second = Field::default();
    second.line("replay", &format!("tcp = {{ host = \"127.0.0.1\", port = {} }}", simulator.port()));
    second.device("meter-a", "replay", UNIT, 200, "", Expected::registers(UNIT, [0, 1, 10, 20]));
    let mut site = Site::prepare(&second.plan());
    site.gateway.start();
    second.assert_read(&site);
}

#[test]
fn a_line_that_cannot_be_polled_in_time_is_refused_with_the_arithmetic() {
    let mut field = Field::default();
    field.line("bus", "serial = { port = \"/dev/ttyS0\", mode = \"1200-8E1\" }");
    field.device("slow", "bus", 1, 500, "", Expected::registers(1, 0..100));
    let site = Site::prepare(&field.plan());
    let told = site.gateway.command(&["check"]);
    assert_ne!(told.code, 0, "{}", told.out);
    // 13 bytes of frames and 200 of values at 11 bits and 1200 baud, and twice 3.5 characters of silence.
    let needed = f64::from(213 * 11 + 7 * 11) / 1.2;
    let arithmetic = format!("{needed:.1} of every 500 ms = 403");
    assert!(told.out.contains(&arithmetic), "no {arithmetic:?} in {}", told.out);
}
