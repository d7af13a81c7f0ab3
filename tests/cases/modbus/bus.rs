//! One slow line and many on it: a dead one, late ones, strangers, noise, an echo, a cut cable.

use std::time::{Duration, Instant};

use e2e::rig::line::SerialLine;
use e2e::rig::{ModbusDevice, Over, Plan, Serving, Site, eventually};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Expected, Field, SOON, fill};

const REGISTERS: u16 = 300;
/// Registers far enough from each other that they are asked for one by one, in answers that look alike.
const APART: [u16; 3] = [0, 130, 260];

fn place() -> TempDir {
    TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory")
}

/// Units of pymodbus at the slave's end of a line, filled with the pattern; register 299 counts reads.
fn units(
    dir: &TempDir,
    name: &str,
    line: &SerialLine,
    framing: &'static str,
    units: &[u8],
) -> Vec<ModbusDevice> {
    let over = Over::Serial { port: line.slave(0), baud: line.mode().baud };
    let serving = Serving { counters: vec![REGISTERS - 1], ..Serving::over(over, framing, units) };
    let devices = ModbusDevice::serve(dir.path(), name, &serving);
    for (device, unit) in devices.iter().zip(units) {
        fill(device, *unit, REGISTERS - 1);
    }
    devices
}

fn serial(line: &SerialLine, mode: &str, more: &str) -> String {
    format!("serial = {{ port = \"{}\", mode = \"{mode}\" }}\n{more}", line.master().display())
}

/// What is missing in between is said, and no surprise.
fn troubled(field: &Field) -> Plan {
    let plan = field.plan().may_log("slots are skipped").may_log("device is offline");
    plan.may_log("polls are left out because the line is busy").may_log("connection is lost")
}

#[test]
fn one_dead_unit_of_ten_costs_the_others_next_to_nothing() {
    /// Of the polls that are due; the driver promises 95 %, and the machine is busy with other cases.
    const SHARE: f64 = 0.95;
    const POLL: Duration = Duration::from_millis(500);
    const WATCHED: Duration = Duration::from_secs(12);
    let dir = place();
    let line = SerialLine::start("38400-8N1", 1);
    let all: Vec<u8> = (1..=10).collect();
    let devices = units(&dir, "bus", &line, "rtu", &all);
    let (dead, devices) = devices.split_last().expect("ten of them");
    let alive = &all[..9];
    dead.set_silent(true);
    let mut field = Field::default();
    let offline = "timeout = \"100ms\"\noffline = { after = 3, probe = \"2s\", max_probe = \"4s\" }";
    field.line("bus", &serial(&line, "38400-8N1", offline));
    for unit in all.iter().copied() {
        let mut points = Expected::registers(unit, 290..299);
        let counter = Expected::register(unit, REGISTERS - 1);
        points.push(Expected { value: None, ..counter });
        field.device(&format!("unit-{unit}"), "bus", unit, POLL.as_millis() as u32, "", points);
    }
    let plan = troubled(&field).must_log("device is offline connection=bus device=unit-10");
    let mut site = Site::prepare_in(dir, &plan);
    site.gateway.start();
    for unit in alive {
        field.await_read(&site, &format!("unit-{unit}"));
    }
    eventually("the dead one is offline", SOON, || {
        let device = site.gateway.device("unit-10");
        (device["online"] == json!(false)).then_some(()).ok_or_else(|| format!("{device:#}"))
    });
    site.platform.is_down("unit-10");
    let counts = || -> Vec<u16> { devices.iter().map(|device| device.register(REGISTERS - 1)).collect() };
    let (before, since) = (counts(), Instant::now());
    eventually("the others are watched for a while", SOON, || since.elapsed() >= WATCHED);
    let due = since.elapsed().as_secs_f64() / POLL.as_secs_f64();
    for (unit, (before, after)) in alive.iter().zip(before.iter().zip(counts())) {
        let served = f64::from(after - before);
        assert!(served >= (SHARE * due).floor(), "unit {unit} was read {served} times, {due:.1} were due");
    }
    field.assert_never_wrong(&site);
}

#[test]
fn late_answers_on_a_serial_line_are_never_filed_under_another_point() {
    const TIMEOUT_MS: u64 = 120;
    /// How often every point is to be read well in spite of it.
    const ROUNDS: usize = 2;
    let (dir, mut field, mut peers) = (place(), Field::default(), Vec::new());
    for (name, framing, ids) in [("rtu", "rtu", [1, 2]), ("ascii", "ascii", [3, 4])] {
        let line = SerialLine::start("38400-8N1", 1);
        let devices = units(&dir, name, &line, framing, &ids);
        line.behave(|manners| manners.delay = Duration::ZERO..Duration::from_millis(TIMEOUT_MS * 3 / 2));
        let offline = "offline = { after = 50, probe = \"1s\", max_probe = \"1s\" }";
        let more = format!("framing = \"{framing}\"\ntimeout = \"{TIMEOUT_MS}ms\"\n{offline}");
        field.line(name, &serial(&line, "38400-8N1", &more));
        for unit in ids {
            field.device(&format!("{name}-{unit}"), name, unit, 400, "", Expected::registers(unit, APART));
        }
        peers.push((devices, line));
    }
    let mut site = Site::prepare_in(dir, &troubled(&field));
    site.gateway.start();
    for _ in 0..ROUNDS {
        field.await_fresh(&site);
    }
    field.assert_never_wrong(&site);
}

#[test]
fn noise_echo_and_a_foreign_master_are_survived() {
    let dir = place();
    let line = SerialLine::start("38400-8N1", 1);
    let _devices = units(&dir, "bus", &line, "rtu", &[1, 2]);
    let mut field = Field::default();
    field.line("bus", &serial(&line, "38400-8N1", "timeout = \"150ms\""));
    for unit in [1, 2] {
        field.device(&format!("unit-{unit}"), "bus", unit, 400, "", Expected::registers(unit, APART));
    }
    let mut site = Site::prepare_in(dir, &troubled(&field));
    site.gateway.start();
    field.await_fresh(&site);
    // Somebody else asks unit 2, which answers; that is no answer to us.
    let frame = with_crc(&[2, 3, 0, 200, 0, 1]);
    for round in 0..20_u64 {
        line.inject_after(Duration::from_millis(2 + round % 5), &frame);
        std::thread::sleep(Duration::from_millis(90 + 7 * round % 40));
    }
    field.await_fresh(&site);
    line.behave(|manners| manners.noise_before = vec![0xFF, 0x00]);
    field.await_fresh(&site);
    line.behave(|manners| {
        manners.noise_before = Vec::new();
        manners.noise_after = vec![0x55];
    });
    field.await_fresh(&site);
    line.behave(|manners| {
        manners.noise_after = Vec::new();
        manners.garble_one_in = 60;
    });
    field.await_fresh(&site);
    line.behave(|manners| {
        manners.garble_one_in = 0;
        manners.echo = true;
    });
    field.await_fresh(&site);
    field.assert_never_wrong(&site);
}

/// A frame of RTU, its CRC computed here and not by the driver.
fn with_crc(bytes: &[u8]) -> Vec<u8> {
    let turn = |crc: u16| if crc & 1 == 1 { crc >> 1 ^ 0xA001 } else { crc >> 1 };
    let crc =
        bytes.iter().fold(0xFFFF_u16, |crc, byte| (0..8).fold(crc ^ u16::from(*byte), |crc, _| turn(crc)));
    [bytes, &crc.to_le_bytes()].concat()
}

#[test]
fn a_pulled_adapter_is_found_again_by_its_path() {
    let dir = place();
    let line = SerialLine::start("38400-8E1", 1);
    let _devices = units(&dir, "bus", &line, "rtu", &[1]);
    let mut field = Field::default();
    let offline = "offline = { after = 2, probe = \"1s\", max_probe = \"1s\" }";
    field.line("bus", &serial(&line, "38400-8E1", offline));
    field.device("unit-1", "bus", 1, 200, "", Expected::registers(1, APART));
    let mut site = Site::prepare_in(dir, &troubled(&field));
    site.gateway.start();
    field.await_read(&site, "unit-1");
    let driver = site.gateway.driver_pid();
    for _ in 0..2 {
        line.cut_master();
        eventually("the device is gone, and status says why", SOON, || {
            let device = site.gateway.device("unit-1");
            let told = device["online"] == json!(false) && device["reason"].to_string().contains("master");
            told.then_some(()).ok_or_else(|| format!("{device:#}"))
        });
        line.plug_master();
        field.await_fresh(&site);
        eventually("it is back", SOON, || site.gateway.device("unit-1")["online"] == json!(true));
    }
    assert_eq!(site.gateway.driver_pid(), driver, "the driver found it, nobody restarted it");
    field.assert_never_wrong(&site);
}

#[test]
fn a_scan_sweeps_speeds_and_units_of_a_line_and_its_device_is_read_on() {
    let dir = place();
    let line = SerialLine::start("19200-8N1", 1);
    let _devices = units(&dir, "bus", &line, "rtu", &[2, 5]);
    let mut field = Field::default();
    field.line("bus", &serial(&line, "19200-8N1", "timeout = \"200ms\""));
    field.device("unit-2", "bus", 2, 400, "", Expected::registers(2, APART));
    let mut site = Site::prepare_in(dir, &troubled(&field));
    site.gateway.start();
    field.await_fresh(&site);
    // At the other speed the line carries garbage, as a real one does.
    let told = site.gateway.command(&["scan", "bus", "units=1-6", "modes=9600-8N1,19200-8N1"]);
    assert_eq!((told.code, &told.json["tried"]), (0, &json!(12)), "{}{}", told.out, told.err);
    let found = told.json["found"].as_array().expect("a list");
    let of = |one: &Json, key: &str| one[key].as_str().unwrap_or_default().to_owned();
    assert!(found.iter().all(|one| of(one, "address").ends_with(" at 19200-8N1")), "{}", told.out);
    // pymodbus answers for units that it does not have, with a refusal.
    let there = found.iter().filter(|one| of(one, "description").contains("has holding:0"));
    let there: Vec<String> = there.map(|one| of(one, "address")).collect();
    assert_eq!(there, ["unit 2 at 19200-8N1", "unit 5 at 19200-8N1"], "{}", told.out);
    field.await_fresh(&site);
    field.assert_never_wrong(&site);
}
