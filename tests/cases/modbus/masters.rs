//! Another master against our simulator: mbpoll, which knows nothing of us.

use std::fs;
use std::process::Command;

use e2e::rig::Simulator;
use e2e::rig::line::SerialLine;
use tempfile::TempDir;

/// A model with something in every table; values that stay are in [`VALUES`].
const MODEL: &str = r#"
[model.meter]
addresses = "zero-based"

[model.meter.points]
voltage = { at = "input:0", type = "u16", scale = 0.1 }
energy = { at = "input:2", type = "u32" }
flow = { at = "input:4", type = "f32" }
level = { at = "holding:10", type = "u16", write = { min = 0, max = 1000 } }
power = { at = "holding:12", type = "i16" }
running = { at = "coil:3", write = {} }
alarm = { at = "discrete:5" }
"#;
const VALUES: &str = "voltage = 230.4\nenergy = 305419896\nflow = 12.5\nlevel = 250\npower = -35\nrunning = true\nalarm = true\n";

/// One mbpoll with these words; what it printed.
fn mbpoll(words: &[&str]) -> (bool, String) {
    let mut command = Command::new("mbpoll");
    let told = command.args(["-0", "-1", "-q", "-o", "1"]).args(words).output();
    let told = told.unwrap_or_else(|error| panic!("mbpoll: {error}; type: sudo apt-get install mbpoll"));
    let said = String::from_utf8_lossy(&told.stdout) + String::from_utf8_lossy(&told.stderr);
    (told.status.success(), said.into_owned())
}

/// What mbpoll shows at an address, after its number in brackets.
fn shown(said: &str, address: u16) -> Option<String> {
    let of = |line: &str| Some(line.split_once(&format!("[{address}]:"))?.1.trim().to_owned());
    said.lines().find_map(of)
}

#[test]
fn mbpoll_reads_and_writes_what_the_simulator_serves() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let (model, values) = files(&dir);
    let words = [model.as_str(), "--unit", "7", "--values", &values];
    let simulator = Simulator::start(dir.path(), "simulator", &words);
    let port = simulator.port().to_string();
    assert_spoken(&["-m", "tcp", "-p", &port], "127.0.0.1");
}

#[test]
fn mbpoll_speaks_to_the_simulator_on_a_serial_line() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let line = SerialLine::start("38400-8N1", 1);
    let (model, values) = files(&dir);
    let slave = line.slave(0).display().to_string();
    let served = ["--serial", &slave, "--mode", "38400-8N1", "--unit", "7", "--values", &values];
    let _simulator = Simulator::start(dir.path(), "simulator", &[&[model.as_str()], &served[..]].concat());
    assert_spoken(&["-m", "rtu", "-b", "38400", "-P", "none"], &line.master().display().to_string());
}

/// The model and its values, in files.
fn files(dir: &TempDir) -> (String, String) {
    let (model, values) = (dir.path().join("meter.toml"), dir.path().join("values.toml"));
    fs::write(&model, MODEL).expect("a fresh directory");
    fs::write(&values, VALUES).expect("a fresh directory");
    (model.display().to_string(), values.display().to_string())
}

/// All of it, over a line that is there.
fn assert_spoken(line: &[&str], place: &str) {
    let ask = |words: &[&str], written: &[&str]| {
        let mut all = [line, &["-a", "7"], words].concat();
        // what mbpoll writes comes after the place
        all.push(place);
        all.extend(written);
        mbpoll(&all)
    };
    for (kind, address, expected) in [
        ("3", 0, "2304"),
        ("3:int", 2, "305419896"),
        ("3:float", 4, "12.5"),
        ("4", 10, "250"),
        ("4", 12, "65501 (-35)"),
        ("0", 3, "1"),
        ("1", 5, "1"),
    ] {
        let (done, said) = ask(&["-t", kind, "-r", &address.to_string(), "-B"], &[]);
        assert!(done, "{kind} {address}: {said}");
        assert_eq!(shown(&said, address).as_deref(), Some(expected), "{kind} {address}: {said}");
    }
    let (done, said) = ask(&["-t", "4", "-r", "10"], &["777"]);
    assert!(done && said.contains("Written 1 reference"), "{said}");
    let (done, said) = ask(&["-t", "4", "-r", "10"], &[]);
    assert!(done && shown(&said, 10).as_deref() == Some("777"), "{said}");
    let (done, said) = ask(&["-t", "0", "-r", "3"], &["0"]);
    assert!(done, "{said}");
    let (_, said) = ask(&["-t", "0", "-r", "3"], &[]);
    assert_eq!(shown(&said, 3).as_deref(), Some("0"), "{said}");
    let (_, said) = ask(&["-t", "4", "-r", "500"], &[]);
    assert!(said.contains("Illegal data address"), "where nothing is: {said}");
}
