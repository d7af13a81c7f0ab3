//! The driver itself as the client of the simulator, and the simulator's files.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use sagoo_driver_sdk::{CheckedDevice, Deadline, Direction, Driver, Line, Outcome, Readings, Tap, Value};
use serde_json::{Value as Json, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::framing::{Incoming, frame};
use super::load;
use super::options::{FLAGS, Options};
use super::serve::{self, Shared};
use crate::cli::Words;
use crate::connection::Framing;
use crate::driver::Modbus;
use crate::tests::{PATIENT, configuration, connection, told};

const MODEL: &str = r#"
[model.press]
addresses = "zero-based"
max_read = 20
holes = [["input:2", "input:3"]]
poll = { fast = "1s" }
[model.press.points]
pressure = { at = "input:0", type = "i32", scale = 0.1, unit = "bar" }
speed    = { at = "input:4", type = "f32" }
strokes  = { at = "input:6", type = "u16" }
mode     = { at = "input:9", type = "bits[4..6]", enum = { 0 = "stop", 3 = "run" } }
door     = { at = "discrete:7" }
lamp     = { at = "coil:0", write = true }
limit    = { at = "holding:2", type = "f32", write = { min = 10, max = 90, verify = true } }
count    = { at = "holding:5", type = "u16", write = true }
"#;

/// Files in a folder that goes with the test.
struct Files(tempfile::TempDir);

impl Files {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        path
    }
}

fn options(typed: &[&str]) -> Options {
    let typed: Vec<String> = typed.iter().map(|word| (*word).to_owned()).collect();
    Options::read(&Words::parse(&typed, FLAGS).unwrap()).unwrap()
}

/// Loads what was typed and serves it on a free port.
async fn start(typed: &[&str]) -> u16 {
    let options = options(typed);
    let (source, framing) = load::source(&options).unwrap();
    let listener = TcpListener::bind(options.listen).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let shared = Shared::new(source, framing, options.timing);
    tokio::spawn(serve::listen(listener, Arc::new(shared)));
    port
}

/// The device of a model, as the driver reads it, at this unit.
fn read_as(model: &str, unit: u8) -> CheckedDevice<Modbus> {
    let device = format!(
        "[connection.c]\ntcp = {{ host = \"h\" }}\n[device.d]\nconnection = \"c\"\nmodel = \"press\"\nunit = {unit}\n"
    );
    let mut checked = Modbus::default().check(&configuration(&format!("{model}{device}")));
    assert_eq!(checked.problems, []);
    checked.connections.remove(0).devices.remove(0)
}

async fn poll(device: &CheckedDevice<Modbus>, port: u16) -> Json {
    let mut line = Modbus::default().line(&connection(port, PATIENT), Tap::default());
    let mut out = Readings::default();
    line.poll(&device.settings, 0, &mut out).await.unwrap();
    told(&device.settings, &out)
}

async fn write(device: &CheckedDevice<Modbus>, port: u16, point: &str, value: Value) -> Outcome {
    let number = device.points.iter().position(|known| known.name == point).unwrap();
    let mut line = Modbus::default().line(&connection(port, PATIENT), Tap::default());
    line.write(&device.settings, &[(number, value)], Deadline::after(PATIENT)).await.remove(0)
}

#[tokio::test]
async fn a_model_is_served_as_it_is_read() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let values = files.write(
        "values.toml",
        "pressure = 12.3\nspeed = 2.5\nmode = \"run\"\ndoor = true\n[press-3]\nstrokes = { counts = \"reads\" }\n",
    );
    let port = start(&[model.to_str().unwrap(), "--unit", "2-3", "--values", values.to_str().unwrap()]).await;
    let device = read_as(MODEL, 3);
    for reads in 1..3 {
        assert_eq!(
            poll(&device, port).await,
            json!({ "pressure": 12.3, "speed": 2.5, "strokes": reads, "mode": "run", "door": true, "lamp": false,
                    "limit": 10.0, "count": 0 })
        );
    }
    assert_eq!(
        write(&device, port, "limit", Value::Float(55.5)).await,
        Outcome::Applied(Some(Value::Float(55.5)))
    );
    assert_eq!(write(&device, port, "lamp", Value::Bool(true)).await, Outcome::Applied(None));
    let after = poll(&device, port).await;
    assert_eq!((&after["limit"], &after["lamp"]), (&json!(55.5), &json!(true)));
    // The other unit is a device of its own.
    assert_eq!(poll(&read_as(MODEL, 2), port).await["limit"], json!(10.0));
}

#[tokio::test]
async fn what_a_model_does_not_allow_is_refused() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let port = start(&[model.to_str().unwrap()]).await;
    // The same registers for a master that knows no holes, no limits and no ends.
    let greedy = MODEL
        .replace("max_read = 20\nholes = [[\"input:2\", \"input:3\"]]", "max_gap = 0")
        .replace("write = { min = 10, max = 90, verify = true }", "write = true")
        .replace("[model.press.points]", "[model.press.points]\nhole = { at = \"input:2\", type = \"u16\" }\nbeyond = { at = \"holding:6\", type = \"u16\", write = true }");
    let device = read_as(&greedy, 1);
    let values = poll(&device, port).await;
    for point in ["hole", "beyond"] {
        let reason = values[point]["bad"].as_str().unwrap();
        assert!(reason.ends_with("illegal data address (exception 2)"), "{reason}");
    }
    assert_eq!(values["limit"], json!(10.0));
    let refused = |why: &str| Outcome::Refused(why.to_owned());
    assert_eq!(
        write(&device, port, "limit", Value::Float(99.0)).await,
        refused("illegal data value (exception 3)")
    );
    assert_eq!(
        write(&device, port, "beyond", Value::Int(1)).await,
        refused("illegal data address (exception 2)")
    );
    assert_eq!(poll(&device, port).await["limit"], json!(10.0));
}

/// Every other kind of point: what it reads from the simulator is what `motion` says, and what is
/// written is read back.
#[tokio::test]
async fn texts_times_lists_files_and_identifications_are_served() {
    const ALL: &str = r#"
[model.press]
addresses = "zero-based"
max_gap = 0
poll = { fast = "1s" }
[model.press.points]
serial_no = { at = "input:0", type = "string[8]", order = "BA" }
clock     = { at = "input:10", type = "time[unix32]" }
levels    = { at = "input:20", type = "u16[3]" }
high      = { at = "input:30", type = "u8.high" }
low       = { at = "input:30", type = "u8.low" }
digits    = { at = "input:31", type = "bcd8" }
title     = { at = "holding:0", type = "string[6]", write = true }
mode      = { at = "holding:10", type = "bits[4..6]", write = { verify = true } }
fan       = { at = "holding:10", type = "bits[0]", write = true }
recipe    = { at = "file:3:7", type = "u32", write = { verify = true } }
revision  = { at = "id:revision" }
extra     = { at = "id:0x80" }
"#;
    let files = Files::new();
    let model = files.write("press.toml", ALL);
    let values = files.write(
        "values.toml",
        "levels = [1, 2, 3]\nhigh = 7\nlow = 9\ndigits = 12345678\nextra = \"v2\"\nclock = \"2026-01-01T00:00:05Z\"\n",
    );
    let port = start(&[model.to_str().unwrap(), "--values", values.to_str().unwrap()]).await;
    let device = read_as(ALL, 1);
    let reads = poll(&device, port).await;
    for (point, wanted) in [
        ("serial_no", json!("serial_n")),
        ("clock", json!("2026-01-01T00:00:05Z")),
        ("levels", json!([1, 2, 3])),
        ("high", json!(7)),
        ("low", json!(9)),
        ("digits", json!(12_345_678)),
        ("title", json!("title")),
        ("mode", json!(0)),
        ("fan", json!(0)),
        ("recipe", json!(0)),
        ("revision", json!("revision")),
        ("extra", json!("v2")),
    ] {
        assert_eq!(reads[point], wanted, "{point} of {reads}");
    }
    let applied = |value: Value| Outcome::Applied(Some(value));
    assert_eq!(write(&device, port, "fan", Value::Uint(1)).await, Outcome::Applied(None));
    assert_eq!(write(&device, port, "mode", Value::Uint(5)).await, applied(Value::Uint(5)));
    assert_eq!(write(&device, port, "recipe", Value::Uint(70_000)).await, applied(Value::Uint(70_000)));
    assert_eq!(write(&device, port, "title", Value::Text("new".into())).await, Outcome::Applied(None));
    let reads = poll(&device, port).await;
    assert_eq!((&reads["mode"], &reads["fan"], &reads["title"]), (&json!(5), &json!(1), &json!("new")));
}

#[tokio::test]
async fn a_serial_port_is_served() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let options = options(&[model.to_str().unwrap(), "--serial", "/dev/ttyX", "--turnaround", "2ms"]);
    let (source, framing) = load::source(&options).unwrap();
    assert_eq!(framing, Framing::Rtu);
    let (ours, mut theirs) = tokio_serial::SerialStream::pair().unwrap();
    tokio::spawn(serve::converse(ours, Arc::new(Shared::new(source, framing, options.timing))));
    let asked = [1, 3, 0, 5, 0, 1, 0x94, 0x0B];
    for _ in 0..2 {
        theirs.write_all(&asked).await.unwrap();
        let mut said = [0; 7];
        tokio::time::timeout(PATIENT, theirs.read_exact(&mut said)).await.unwrap().unwrap();
        assert_eq!(said, [1, 3, 2, 0, 0, 0xB8, 0x44]);
    }
}

#[test]
fn a_wrong_file_gives_every_mistake_with_its_place() {
    let files = Files::new();
    let fails = |typed: &[&str]| load::field(&options(typed), false).unwrap_err();
    let wrong = files.write(
        "a.toml",
        "[model.m]\nmax_read = 500\n[model.m.points]\nv = { at = \"input:x\", type = \"u61\" }\n",
    );
    let told = fails(&[wrong.to_str().unwrap()]);
    let name = wrong.display();
    assert_eq!(told.len(), 3, "{told:?}");
    for place in [format!("{name}:2:1: "), format!("{name}:4:7: "), format!("{name}:4:23: ")] {
        assert!(told.iter().any(|line| line.starts_with(&place)), "{place} in {told:?}");
    }
    let model = files.write("b.toml", MODEL);
    let model = model.to_str().unwrap();
    assert_eq!(
        fails(&[model, "--model", "pres"]),
        ["--model pres: there is no such model; did you mean \"press\"?"]
    );
    let values = files.write("v.toml", "sped = 1\npressure = \"x\"\n");
    let told = fails(&[model, "--values", values.to_str().unwrap()]);
    assert!(told[0].contains("v.toml:2:1: pressure: the text \"x\" is not a number"), "{told:?}");
    assert!(told[1].ends_with("v.toml:1:1: there is no point \"sped\"; did you mean \"speed\"?"), "{told:?}");
    assert!(fails(&["/nowhere.toml"])[0].starts_with("cannot read /nowhere.toml: "));
    let empty = files.write("c.toml", "x = 1\n");
    assert!(fails(&[empty.to_str().unwrap()])[0].starts_with("there is neither a device nor a model"));
}

#[test]
fn a_line_of_a_site_is_served_and_two_lines_are_told_apart() {
    let files = Files::new();
    let field = "[connection.a]\ndriver = \"modbus\"\ntcp = { host = \"h\" }\n[connection.b]\ndriver = \"modbus\"\n\
        tcp = { host = \"i\" }\n[device.one]\nconnection = \"a\"\nmodel = \"press@1\"\nunit = 4\n\
        [device.two]\nconnection = \"b\"\nmodel = \"press\"\nunit = 4\nsagoo = { product_key = \"p\", device_key = \"k\" }\n";
    let site = files.write("site.toml", &format!("{MODEL}{field}"));
    let site = site.to_str().unwrap();
    let told = load::field(&options(&[site]), false).unwrap_err();
    assert_eq!(told, ["one and two are both unit 4, and one line has it once; --connection a|b, or --unit"]);
    let served = load::field(&options(&[site, "--connection", "b"]), false).unwrap();
    assert_eq!(served.devices.iter().map(|device| device.name()).collect::<Vec<_>>(), ["two"]);
}

/// The field of the documentation is a site that can be served.
#[test]
fn the_site_of_the_gateways_sample_is_served() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../gateway/src/config/sample.toml");
    let text = fs::read_to_string(sample).unwrap();
    let field = text.split("## ---- The field").nth(1).unwrap();
    let shown: Vec<&str> = field.lines().filter_map(|line| line.strip_prefix("#> ")).collect();
    let files = Files::new();
    let site = files.write("site.toml", &shown.join("\n"));
    let served = load::field(&options(&[site.to_str().unwrap()]), false).unwrap();
    assert!(!served.devices.is_empty());
}

/// Asks with bytes and takes as many as the answer has; how long it took.
async fn talk(stream: &mut TcpStream, asked: &[u8], answer: usize) -> (Vec<u8>, Duration) {
    let began = std::time::Instant::now();
    stream.write_all(asked).await.unwrap();
    let mut said = vec![0; answer];
    tokio::time::timeout(PATIENT, stream.read_exact(&mut said)).await.unwrap().unwrap();
    (said, began.elapsed())
}

#[tokio::test]
async fn a_bus_is_served_over_a_socket_and_what_is_broadcast_is_done_by_all() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let model = model.to_str().unwrap();
    let port = start(&[model, "--framing", "rtu", "--unit", "1-2"]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    // Unit 9 is not there, unit 0 is everybody: no answer of theirs comes before that of unit 1.
    let rtu = |unit: u8, pdu: &[u8]| {
        let request = Incoming { transaction: 0, unit, pdu: pdu.to_vec(), wire_bytes: 0 };
        frame(Framing::Rtu, &request, pdu)
    };
    stream.write_all(&rtu(9, &[3, 0, 5, 0, 1])).await.unwrap();
    stream.write_all(&rtu(0, &[6, 0, 5, 0x12, 0x34])).await.unwrap();
    for unit in [1, 2] {
        let (said, _) = talk(&mut stream, &rtu(unit, &[3, 0, 5, 0, 1]), 7).await;
        assert_eq!(said, rtu(unit, &[3, 2, 0x12, 0x34]));
    }
    let port = start(&[model, "--framing", "ascii"]).await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (said, _) = talk(&mut stream, b":010300050001F6\r\n", 15).await;
    assert_eq!(said, b":0103020000FA\r\n");
}

#[tokio::test]
async fn a_line_rate_makes_a_socket_as_slow_as_its_line() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let port = start(&[
        model.to_str().unwrap(),
        "--framing",
        "rtu",
        "--line-rate",
        "--mode",
        "2400-8E1",
        "--turnaround",
        "10ms",
    ])
    .await;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let asked = [1, 3, 0, 5, 0, 1, 0x94, 0x0B];
    // 8 + 7 characters of 11 bits at 2400 baud, 3.5 of silence, 10 ms.
    let least = Duration::from_micros((15.0 + 3.5) as u64 * 11 * 1_000_000 / 2_400 + 10_000);
    let times: Vec<Duration> = {
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(talk(&mut stream, &asked, 7).await.1);
        }
        times
    };
    assert!(times.iter().all(|took| *took >= least), "{times:?} at least {least:?}");
    // The best of them met an idle machine.
    assert!(times.iter().min().unwrap() < &(least + Duration::from_millis(15)), "{times:?} about {least:?}");
}

#[tokio::test]
async fn what_was_captured_is_replayed_with_its_answers_and_times() {
    let files = Files::new();
    let model = files.write("press.toml", MODEL);
    let values = files.write("v.toml", "strokes = { counts = \"reads\" }\n");
    let port = start(&[
        model.to_str().unwrap(),
        "--values",
        values.to_str().unwrap(),
        "--turnaround",
        "30ms",
        "--unit",
        "7",
    ])
    .await;
    // A master that learns asks otherwise the second time.
    let device = read_as(&MODEL.replace("max_read = 20", "max_gap = 0"), 7);
    let tap = Tap::default();
    let mut watcher = tap.watch();
    let mut line = Modbus::default().line(&connection(port, PATIENT), tap);
    let mut seen = Vec::new();
    for _ in 0..2 {
        let mut out = Readings::default();
        line.poll(&device.settings, 0, &mut out).await.unwrap();
        seen.push(told(&device.settings, &out));
    }
    let mut text = "# sagoo-edge capture 1 modbus tcp tcp\n".to_owned();
    let mut first = None;
    while let Ok(transfer) = watcher.try_recv() {
        let seconds = (transfer.boot_ns - *first.get_or_insert(transfer.boot_ns)) as f64 / 1e9;
        let way = if transfer.direction == Direction::Out { '>' } else { '<' };
        let bytes: Vec<String> = transfer.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
        text.push_str(&format!("{seconds:.6} {way} {}\n", bytes.join(" ")));
    }
    let capture = files.write("press.capture", &text);
    let port = start(&[capture.to_str().unwrap()]).await;
    // In order, and then around again.
    for wanted in seen.iter().chain(&seen) {
        let began = std::time::Instant::now();
        assert_eq!(&poll(&device, port).await, wanted);
        let requests = device.polls[0].requests.len() as u32;
        assert!(began.elapsed() >= Duration::from_millis(30) * requests, "{:?}", began.elapsed());
    }
    // Nobody ever asked for this.
    let greedy = read_as(&MODEL.replace("input:6", "input:60"), 7);
    let reason = poll(&greedy, port).await["strokes"]["bad"].as_str().unwrap().to_owned();
    assert!(reason.ends_with("illegal data address (exception 2)"), "{reason}");
}
