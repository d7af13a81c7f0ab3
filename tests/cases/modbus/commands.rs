//! Commands on a slow line: they wait for one request of a long poll, not for all of it.

use std::time::{Duration, Instant};

use e2e::platform::Tsl;
use e2e::rig::line::{From, Passed, SerialLine};
use e2e::rig::{ModbusDevice, Over, Serving, Site, eventually};
use serde_json::json;
use tempfile::TempDir;

use super::{Expected, Field, SOON, fill};

const WRITE_ONE: u8 = 6;
const LEVEL: u16 = 550;

#[test]
fn a_write_in_the_middle_of_a_long_poll_waits_for_one_request_of_it() {
    /// Requests of one poll: each of 40 registers, 100 ms at this speed.
    const REQUESTS: u16 = 8;
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let line = SerialLine::start("9600-8N1", 1);
    let over = Over::Serial { port: line.slave(0), baud: 9600 };
    let device = ModbusDevice::serve(dir.path(), "bus", &Serving::over(over, "rtu", &[1])).remove(0);
    fill(&device, 1, 540);
    let mut field = Field::default();
    field.line("bus", &format!("serial = {{ port = \"{}\", mode = \"9600-8N1\" }}", line.master().display()));
    let blocks = (0..REQUESTS).flat_map(|block| block * 60..block * 60 + 40);
    field.device("slow", "bus", 1, 2000, "max_read = 40", Expected::registers(1, blocks));
    let settings = format!(r#"at = "holding:{LEVEL}", type = "u16", write = {{ min = 0, max = 9 }}"#);
    let level = Expected { value: None, ..Expected::new("level", settings, Tsl::Int, json!(0)) };
    field.device("quick", "bus", 1, 60_000, "", vec![level]);
    let plan = field.plan().may_log("unit 1 of this connection is device");
    let mut site = Site::prepare_in(dir, &plan);
    site.gateway.start();
    field.await_read(&site, "slow");

    for value in 1..=3_u16 {
        line.take_record();
        eventually("a poll has just begun", SOON, || line.take_record().iter().any(reads));
        let asked = Instant::now();
        let told = site.gateway.write("quick", "level", &value.to_string());
        assert_eq!(told.code, 0, "{}{}", told.out, told.err);
        assert_eq!(device.register(LEVEL), value);
        let record = line.take_record();
        let written = record.iter().find(|passed| writes(passed));
        let written = written.unwrap_or_else(|| panic!("no write on the wire: {record:?}"));
        // What the command line, the gateway and the driver need before the driver knows of it.
        let known = asked + Duration::from_millis(150);
        let before = record.iter().filter(|passed| reads(passed) && passed.begins > known);
        let before = before.filter(|passed| passed.begins < written.begins).count();
        assert!(before <= 1, "{before} requests of the poll went before the write: {record:?}");
    }
    field.assert_never_wrong(&site);
}

fn reads(passed: &Passed) -> bool {
    passed.from == From::Master && passed.bytes.get(1) == Some(&3)
}

fn writes(passed: &Passed) -> bool {
    passed.from == From::Master && passed.bytes.get(1) == Some(&WRITE_ONE)
}

#[test]
fn a_broadcast_reaches_every_unit_and_waits_for_no_answer() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let line = SerialLine::start("19200-8N1", 1);
    let over = Over::Serial { port: line.slave(0), baud: 19_200 };
    let serving = Serving { broadcast: true, ..Serving::over(over, "rtu", &[1, 2]) };
    let devices = ModbusDevice::serve(dir.path(), "bus", &serving);
    let mut field = Field::default();
    field
        .line("bus", &format!("serial = {{ port = \"{}\", mode = \"19200-8N1\" }}", line.master().display()));
    for (device, unit) in devices.iter().zip([1, 2]) {
        fill(device, unit, 20);
        field.device(&format!("unit-{unit}"), "bus", unit, 300, "", Expected::registers(unit, 0..5));
    }
    let settings = r#"at = "holding:30", type = "u16", write = { min = 0, max = 100 }"#;
    let all = Expected { value: None, ..Expected::new("setpoint", settings, Tsl::Int, json!(0)) };
    field.device("everybody", "bus", 0, 1000, "", vec![all]);
    let plan = field.plan().may_log("unit 0 is a broadcast on this line");
    let mut site = Site::prepare_in(dir, &plan);
    site.gateway.start();
    field.assert_read(&site);
    line.take_record();
    let told = site.gateway.write("everybody", "setpoint", "42");
    for device in &devices {
        eventually("every unit has it", SOON, || {
            let held = device.register(30);
            (held == 42).then_some(()).ok_or_else(|| format!("{held}; {}{}", told.out, told.err))
        });
    }
    let record = line.take_record();
    let sent = record.iter().position(|passed| passed.from == From::Master && passed.bytes[0] == 0);
    let sent = sent.unwrap_or_else(|| panic!("no broadcast on the wire: {record:?}"));
    let next = record.get(sent + 1);
    assert!(next.is_none_or(|passed| passed.from == From::Master), "nobody answers a broadcast: {next:?}");
    field.assert_never_wrong(&site);
}
