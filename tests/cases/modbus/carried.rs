//! Every way to a device: the same registers, whatever carries them.

use e2e::rig::line::SerialLine;
use e2e::rig::{Authority, Dtu, ModbusDevice, Over, Serving, Site, Slave, eventually, free_port};
use serde_json::json;
use tempfile::TempDir;

use super::{Expected, Field, SOON, fill};

/// Registers every device has.
const REGISTERS: u16 = 20;
const WRITTEN: u16 = 7;
const POLL_MS: u32 = 300;

/// The points of a device whose register 5 can be written as well.
fn points(unit: u8) -> Vec<Expected> {
    let mut points = Expected::registers(unit, [0, 1, 2, 3, 4, 6, 7, REGISTERS - 1]);
    let settings = r#"at = "holding:5", type = "u16", write = { min = 0, max = 100, verify = true }"#;
    points.push(Expected {
        value: None,
        ..Expected::new("level", settings, e2e::platform::Tsl::Int, json!(0))
    });
    points
}

fn serve(dir: &TempDir, name: &str, over: Over, framer: &'static str, unit: u8) -> ModbusDevice {
    let device = ModbusDevice::serve(dir.path(), name, &Serving::over(over, framer, &[unit])).remove(0);
    fill(&device, unit, REGISTERS);
    device
}

#[test]
fn a_device_is_read_and_written_over_every_transport() {
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let authority = Authority::new(dir.path(), "plant");
    let (certificate, key) = authority.server(dir.path(), "127.0.0.1");
    let (ours, our_key) = authority.issue(dir.path(), "gateway", "gateway");
    let (rtu, ascii) = (SerialLine::start("19200-8E1", 1), SerialLine::start("19200-8N1", 1));
    let over_serial = |line: &SerialLine| Over::Serial { port: line.slave(0), baud: 19_200 };
    let tls = Over::Tls { certificate, key, authority: authority.certificate.clone() };
    let devices = [
        ("tcp", serve(&dir, "tcp", Over::Tcp, "socket", 1)),
        ("tunnel", serve(&dir, "tunnel", Over::Tcp, "rtu", 2)),
        ("letters", serve(&dir, "letters", Over::Tcp, "ascii", 3)),
        ("udp", serve(&dir, "udp", Over::Udp, "socket", 4)),
        ("tls", serve(&dir, "tls", tls, "socket", 5)),
        ("rtu", serve(&dir, "rtu", over_serial(&rtu), "rtu", 6)),
        ("ascii", serve(&dir, "ascii", over_serial(&ascii), "ascii", 7)),
        ("dtu", serve(&dir, "dtu", Over::Tcp, "rtu", 8)),
    ];
    let port = |name: &str| devices.iter().find(|(known, _)| *known == name).expect("one of them").1.port;
    let dials_to = free_port();
    let mut field = Field::default();
    let host = |name: &str| format!("host = \"127.0.0.1\", port = {}", port(name));
    field.line("tcp", &format!("tcp = {{ {} }}", host("tcp")));
    field.line("tunnel", &format!("tcp = {{ {} }}\nframing = \"rtu\"", host("tunnel")));
    field.line("letters", &format!("tcp = {{ {} }}\nframing = \"ascii\"", host("letters")));
    field.line("udp", &format!("udp = {{ {} }}", host("udp")));
    let file = |path: &std::path::Path| format!("{{ file = \"{}\" }}", path.display());
    let (ca, ours, our_key) = (file(&authority.certificate), file(&ours), file(&our_key));
    let tls = format!("tls = {{ {}, ca = {ca}, certificate = {ours}, key = {our_key} }}", host("tls"));
    field.line("tls", &tls);
    let serial = |line: &SerialLine, mode: &str| {
        format!("serial = {{ port = \"{}\", mode = \"{mode}\" }}", line.master().display())
    };
    field.line("rtu", &serial(&rtu, "19200-8E1"));
    field.line("ascii", &format!("{}\nframing = \"ascii\"", serial(&ascii, "19200-8N1")));
    field.line("dtu", &format!("listen = {{ address = \"127.0.0.1:{dials_to}\", id = \"dtu-0001\" }}"));
    for ((name, _), unit) in devices.iter().zip(1..) {
        field.device(name, name, unit, POLL_MS, "", points(unit));
    }
    let mut site = Site::prepare_in(dir, &field.plan().may_log("device is offline connection=dtu"));
    site.gateway.start();
    let _dtu = eventually("the gateway listens for the modem", SOON, || {
        Dtu::dial(dials_to, b"dtu-0001", port("dtu"))
    });
    for ((name, device), unit) in devices.iter().zip(1..) {
        field.await_read(&site, name);
        let told = site.gateway.write(name, "level", &WRITTEN.to_string());
        assert_eq!(told.code, 0, "{name}: {}{}", told.out, told.err);
        assert_eq!(device.register(5), WRITTEN, "{name}");
        fill(device, unit, REGISTERS);
    }
    field.assert_read(&site);
}

#[test]
fn a_second_implementation_says_the_same() {
    const UNIT: u8 = 9;
    let dir = TempDir::with_prefix("sagoo-e2e-").expect("a temporary directory");
    let line = SerialLine::start("38400-8E1", 1);
    let (tcp, rtu) = (Slave::tcp(dir.path()), Slave::rtu(dir.path(), &line.slave(0), 38_400, UNIT));
    let mut field = Field::default();
    field.line("tcp", &format!("tcp = {{ host = \"127.0.0.1\", port = {} }}", tcp.port));
    field
        .line("rtu", &format!("serial = {{ port = \"{}\", mode = \"38400-8E1\" }}", line.master().display()));
    for name in ["tcp", "rtu"] {
        field.device(name, name, UNIT, POLL_MS, "", of_libmodbus());
    }
    let mut site = Site::prepare_in(dir, &field.plan());
    site.gateway.start();
    field.assert_read(&site);
    drop(rtu);
}

/// Some of all four tables.
fn of_libmodbus() -> Vec<Expected> {
    use e2e::platform::Tsl;
    let word = |table: &str, at: u16, value: u16| {
        let settings = format!(r#"at = "{table}:{at}", type = "u16""#);
        Expected::new(format!("{table}{at}"), settings, Tsl::Int, json!(value))
    };
    let bit = |table: &str, at: u16, every: u16| {
        let settings = format!(r#"at = "{table}:{at}""#);
        Expected::new(format!("{table}{at}"), settings, Tsl::Boolean, json!(at.is_multiple_of(every)))
    };
    let mut points: Vec<Expected> =
        [0, 3, 124, 125, 199].map(|at| word("holding", at, Slave::holding(at))).into();
    points.extend([7, 150, 299].map(|at| word("input", at, Slave::input(at))));
    points.extend([0, 1, 9, 62].map(|at| bit("coil", at, 3)));
    points.extend([5, 6, 60].map(|at| bit("discrete", at, 5)));
    points
}
