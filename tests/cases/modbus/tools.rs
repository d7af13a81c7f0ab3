//! What people type while a line is at work, and a plan that cannot be.

use std::fs;
use std::process::Command;

use e2e::platform::{KnownDevice, Tsl};
use e2e::rig::{ModbusDevice, Over, PRODUCT, Plan, Serving, Simulator, Site, Told, binary, eventually};
use serde_json::{Value as Json, json};
use tempfile::TempDir;

use super::{Expected, Field, SOON, fill, pattern};

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
fn explain_probe_scan_and_capture_work_while_the_line_is_polled() {
    let (field, _device, site) = running();
    field.assert_read(&site);
    let ask = |words: &[&str]| done(site.gateway.command(words));

    let explained = ask(&["explain", "meter-a"]);
    let device = &explained["connections"][0]["devices"][0];
    assert_eq!(device["name"], json!("meter-a"), "{explained:#}");
    let requests = device["cycles"][0]["requests"].as_array().expect("a cycle has requests");
    let wanted: u64 = requests.iter().filter_map(|request| request["wanted"].as_u64()).sum();
    assert_eq!(wanted, 4, "{explained:#}");

    let probed = ask(&["probe", "meter-a", "holding:10", "--count", "2"]).to_string();
    let (first, second) = (u32::from(pattern(UNIT, 10)), u32::from(pattern(UNIT, 11)));
    for shown in [first, first << 16 | second, second << 16 | first, u32::from(pattern(UNIT, 9))] {
        assert!(probed.contains(&shown.to_string()), "{shown} is not in {probed}");
    }

    let scanned = ask(&["scan", "hall", "units=1-5"]);
    let found = scanned["found"].as_array().expect("a list").clone();
    assert_eq!(scanned["complete"], json!(true), "{scanned:#}");
    assert!(found.iter().any(|one| one.to_string().contains('3')), "{scanned:#}");
    field.assert_read(&site);
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

#[test]
fn points_of_a_list_become_a_model_that_is_served_and_read() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let (list, model) = (dir.path().join("points.csv"), dir.path().join("model.toml"));
    let rows = "name,at,type,scale,unit\nvoltage,holding:0,u16,0.1,V\npower,holding:1,i16,,W\n";
    fs::write(&list, rows).expect("a fresh directory");
    let words = ["import", &list.display().to_string(), "--model", "meter"].map(str::to_owned);
    let told = Command::new(binary("driver-modbus")).args(&words).output().expect("it was built");
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(told.status.success(), "{said}");
    let imported = String::from_utf8(told.stdout).expect("a model is text");
    fs::write(&model, &imported).expect("a fresh directory");
    let values = dir.path().join("values.toml");
    fs::write(&values, "voltage = 230.4\npower = -35\n").expect("a fresh directory");
    let [model, values] = [model, values].map(|path| path.display().to_string());
    let simulator = Simulator::start(dir.path(), "imported", &[&model, "--unit", "3", "--values", &values]);

    let device = format!(
        r#"
[connection.hall]
driver = "modbus"
tcp = {{ host = "127.0.0.1", port = {} }}

[device.meter-a]
connection = "hall"
unit = 3
model = "meter"
sagoo = {{ product_key = "{PRODUCT}", device_key = "meter-a" }}
"#,
        simulator.port()
    );
    let known = KnownDevice::new(PRODUCT, "meter-a").property("voltage", Tsl::Float(1));
    let known = known.property("power", Tsl::Int);
    let mut site = Site::prepare_in(dir, &Plan::meters(&[]).other(known).more(&(imported + &device)));
    site.gateway.start();
    for (point, value) in [("voltage", json!(230.4)), ("power", json!(-35))] {
        eventually(&format!("{point} is what the simulator has"), SOON, || {
            let stored = site.platform.latest("meter-a", point);
            (stored.as_ref() == Some(&value)).then_some(()).ok_or_else(|| format!("{stored:?}"))
        });
    }
    site.assert_unharmed();
}
