//! What the command line tells and asks of a line: its plan and its load, a scan, a probe, a capture.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::rig::{Gateway, Process, binary, eventually};
use rustix::process::Signal;
use serde_json::{Value as Json, json};

const SOON: Duration = Duration::from_secs(30);
const SECRET: &str = "the key of the hall";

/// Two connections of the busy driver; the device on the second one needs this much of its wire.
fn site(dir: &Path, ms: f64) -> Gateway {
    let gateway = Gateway::new(dir);
    gateway.put_driver("busy", &fs::read(binary("driver-busy")).expect("deploy/check.sh build makes it"));
    fs::write(gateway.config_dir().join("hall.key"), SECRET).expect("the case's directory takes files");
    let (drivers, run, socket) = (gateway.drivers_dir(), gateway.run_dir(), gateway.socket());
    let buffer = dir.join("buffer");
    gateway.configure(
        "gateway.toml",
        &format!(
            "gateway = {{ product_key = \"edge\", device_key = \"gw\" }}\n\
             sagoo = {{ broker = \"mqtt://127.0.0.1:1\" }}\n\
             buffer = {{ dir = {buffer:?} }}\n\
             drivers = {{ dirs = [{drivers:?}], run_dir = {run:?}, allow_unsigned = [\"busy\"] }}\n\
             control = {{ socket = {socket:?} }}\n"
        ),
    );
    field(&gateway, ms);
    gateway
}

fn field(gateway: &Gateway, ms: f64) {
    gateway.configure(
        "conf.d/field.toml",
        &format!(
            "[connection.hall]\ndriver = \"busy\"\ntls = {{ key = {{ file = \"hall.key\" }} }}\n\
             [connection.full]\ndriver = \"busy\"\n\
             [model.m.points]\nx = {{}}\n\
             [device.calm]\nconnection = \"hall\"\nmodel = \"m\"\nms = 10.0\n\
             sagoo = {{ product_key = \"m\", device_key = \"calm\" }}\n\
             [device.eager]\nconnection = \"full\"\nmodel = \"m\"\nms = {ms:?}\n\
             sagoo = {{ product_key = \"m\", device_key = \"eager\" }}\n"
        ),
    );
}

#[track_caller]
fn online(gateway: &Gateway, device: &str) {
    eventually(&format!("{device} is online"), SOON, || {
        let device = gateway.device(device);
        (device["online"] == json!(true)).then_some(()).ok_or_else(|| format!("{device:#}"))
    });
}

fn connection(gateway: &Gateway, name: &str) -> Json {
    let status = gateway.status();
    let connections = status["connections"].as_array().cloned().unwrap_or_default();
    connections.into_iter().find(|connection| connection["name"] == json!(name)).unwrap_or_default()
}

#[test]
fn a_connection_that_needs_more_than_its_wire_is_refused_with_the_arithmetic_and_the_others_run() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = site(dir.path(), 126.4);
    let check = gateway.command(&["check"]);
    assert_eq!((check.code, &check.json["mistakes"]), (1, &json!(1)), "{}", check.out);
    let problem = &check.json["problems"][0];
    assert_eq!((&problem["file"], &problem["line"]), (&json!("conf.d/field.toml"), &json!(4)));
    let arithmetic = "need 126.4 % of the wire: eager all 126.4 of every 100 ms = 126.4 %";
    assert!(problem["message"].as_str().is_some_and(|told| told.contains(arithmetic)), "{problem:#}");

    gateway.start();
    online(&gateway, "calm");
    eventually("status says why the other one is not read", SOON, || {
        let (device, line) = (gateway.device("eager"), connection(&gateway, "full"));
        let told = |told: &Json| told["reason"].as_str().is_some_and(|reason| reason.contains(arithmetic));
        let said =
            told(&device) && told(&line) && line["open"] == json!(false) && device["online"] == json!(false);
        said.then_some(()).ok_or_else(|| format!("{device:#}{line:#}"))
    });
    let read = gateway.read("eager", "x");
    assert!(read.code == 1 && read.out.contains("more than its wire"), "{}", read.out);

    field(&gateway, 50.0);
    let reload = gateway.reload();
    assert_eq!((reload.code, &reload.json["result"]), (0, &json!("applied")), "{}", reload.out);
    online(&gateway, "eager");
    field(&gateway, 100.5);
    let reload = gateway.reload();
    assert_eq!((reload.code, &reload.json["result"]), (1, &json!("refused")), "{}", reload.out);
    assert!(reload.out.contains("need 100.5 % of the wire"), "{}", reload.out);
    field(&gateway, 85.0);
    let reload = gateway.reload();
    assert_eq!((reload.code, &reload.json["result"]), (0, &json!("applied")), "{}", reload.out);
    assert_eq!(reload.json["problems"][0]["warning"], json!(true), "nearly full: {}", reload.out);
    gateway.stop();
}

#[test]
fn plans_are_explained_by_what_runs_or_else_by_the_files() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = site(dir.path(), 50.0);
    let explained = |gateway: &Gateway, words: &[&str]| {
        let told = gateway.command(&[&["explain"], words].concat());
        assert_eq!(told.code, 0, "{}{}", told.out, told.err);
        told.json
    };
    let of_files = explained(&gateway, &[]);
    let shares = |told: &Json| {
        let connections = told["connections"].as_array().expect("a list").iter();
        connections.map(|one| (one["name"].clone(), one["share"].clone())).collect::<Vec<_>>()
    };
    assert_eq!(of_files["running"], json!(false));
    assert_eq!(shares(&of_files), [(json!("full"), json!(0.5)), (json!("hall"), json!(0.1))]);
    gateway.start();
    online(&gateway, "eager");
    let running = explained(&gateway, &["eager"]);
    assert_eq!((&running["running"], shares(&running)), (&json!(true), vec![(json!("full"), json!(0.5))]));
    let cycle = &running["connections"][0]["devices"][0]["cycles"][0];
    assert_eq!(
        (&cycle["requests"][0]["request"], &cycle["period_ms"]),
        (&json!("all there is"), &json!(100))
    );
    let misspelt = gateway.command(&["explain", "eagre"]);
    assert!(misspelt.code == 1 && misspelt.out.contains("did you mean"), "{}", misspelt.out);
    eventually("status shows how busy the line is", SOON, || {
        let line = connection(&gateway, "full");
        let told = line["open"] == json!(true) && line["busy_percent"].is_f64() && line["skipped"].is_u64();
        told.then_some(()).ok_or_else(|| format!("{line:#}"))
    });
    gateway.stop();
}

#[test]
fn a_driver_probes_with_the_secret_of_its_connection_and_gets_no_other() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = site(dir.path(), 1.0);
    gateway.start();
    online(&gateway, "calm");
    let told = gateway.command(&["probe", "calm", "connection.hall.tls.key", "--count", "4"]);
    assert_eq!(told.code, 0, "{}{}", told.out, told.err);
    assert_eq!(told.json["rows"], json!([["connection.hall.tls.key", 4, SECRET]]));
    let called = gateway.command(&["invoke", "calm", "probe", r#"{ "address": "connection.hall.tls.key" }"#]);
    assert_eq!(
        (called.code, &called.json["rows"][0][2]),
        (0, &json!(SECRET)),
        "{}{}",
        called.out,
        called.err
    );
    let none = gateway.command(&["invoke", "calm", "fly"]);
    assert!(none.code == 1 && none.out.contains("refused: this driver has no function"), "{}", none.out);
    let other = gateway.command(&["probe", "calm", "connection.hall.tls.cert"]);
    assert!(other.code == 1 && other.out.contains("no secret named"), "{}", other.out);
    assert!(!gateway.log().contains(SECRET), "a secret is in the log");
    fs::remove_file(gateway.config_dir().join("hall.key")).expect("it is there");
    let check = gateway.command(&["check"]);
    let problem = &check.json["problems"][0];
    assert_eq!(
        (check.code, &problem["line"], &problem["column"]),
        (1, &json!(3), &json!(9)),
        "{}",
        check.out
    );
    assert!(problem["message"].as_str().is_some_and(|told| told.contains("hall.key cannot be read")));
    gateway.stop();
}

#[test]
fn a_scan_tells_what_it_finds_and_ends_with_whoever_asked() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = site(dir.path(), 1.0);
    gateway.start();
    online(&gateway, "calm");
    let told = gateway.command(&["scan", "hall", "steps=5"]);
    assert_eq!(told.code, 0, "{}{}\n{}", told.out, told.err, gateway.tail());
    let places: Vec<&Json> = told.json["found"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|found| &found["settings"]["place"])
        .collect();
    assert_eq!(places, [&json!(0), &json!(2), &json!(4)]);
    assert_eq!(
        (&told.json["complete"], &told.json["tried"], &told.json["total"]),
        (&json!(true), &json!(5), &json!(5))
    );
    let wrong = gateway.command(&["scan", "hall", "steps=many"]);
    assert!(wrong.code == 1 && wrong.out.contains("is no number"), "{}", wrong.out);

    let mut endless = by_hand(&gateway, dir.path(), "scan", &["hall", "steps=100000"]);
    eventually("a find is printed as it comes", SOON, || {
        let said = endless.said();
        said.contains("connection = \"hall\"\n  place = 0").then_some(()).ok_or(said)
    });
    endless.signal(Signal::INT);
    assert_eq!(endless.await_exit(SOON).code(), Some(1), "{}", endless.tail());
    assert!(endless.said().contains("interrupted: "), "{}", endless.said());
    // a line has one scan at a time: the next one shows that the driver has ended this one
    eventually("the line can be scanned again", SOON, || {
        let told = gateway.command(&["scan", "hall", "steps=1"]);
        (told.code == 0).then_some(()).ok_or(told.out)
    });
    gateway.stop();
}

#[test]
fn a_capture_writes_what_passes_until_its_time_is_over_or_it_is_interrupted() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut gateway = site(dir.path(), 1.0);
    gateway.start();
    online(&gateway, "calm");
    let file = dir.path().join("hall.capture");
    let told = gateway.command(&["capture", "hall", "--for", "1s", "--out", &file.to_string_lossy()]);
    assert_eq!(told.code, 0, "{}{}\n{}", told.out, told.err, gateway.tail());
    let captured = fs::read_to_string(&file).expect("it was written");
    assert!(captured.starts_with("# sagoo-edge capture 1 "), "{captured}");
    assert!(captured.contains(" > 01 02\n") && captured.contains(" < FF\n"), "{captured}");
    let transfers = captured.lines().filter(|line| !line.starts_with(['#', '!'])).count();
    assert_eq!(told.json["transfers"], json!(transfers));

    let mut endless = by_hand(&gateway, dir.path(), "capture", &["hall"]);
    eventually("lines come as they pass", SOON, || {
        let said = endless.said();
        said.contains(" > 01 02").then_some(()).ok_or(said)
    });
    endless.signal(Signal::INT);
    assert_eq!(endless.await_exit(SOON).code(), Some(0), "{}", endless.tail());
    gateway.stop();
}

/// As a person types it: text on stdout, until Ctrl-C.
fn by_hand(gateway: &Gateway, dir: &Path, name: &str, words: &[&str]) -> Process {
    let mut command = Command::new(binary("sagoo-edge"));
    command.arg(name).args(words).arg("--config").arg(gateway.config_dir());
    Process::spawn(name, &mut command, &dir.join(format!("{name}.log")))
}
