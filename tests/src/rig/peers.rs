//! Other ends of a Modbus line beside pymodbus: libmodbus' slave (`rig/slave.c`), our own simulator, and
//! a modem that dials in.
//!
//! Always true: each ends with its value; a program that is missing fails the case with the line to type.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, Command};
use std::time::Duration;

use serde_json::Value as Json;

use super::{Process, binary};

/// A slave of libmodbus; what its registers hold is said in `rig/slave.c`.
#[derive(Debug)]
pub struct Slave {
    /// Where it listens, on the loopback; 0 on a serial line.
    pub port: u16,
    // The slave ends when this does.
    _stdin: ChildStdin,
    process: Process,
}

impl Slave {
    /// What holding register `at` holds.
    pub const fn holding(at: u16) -> u16 {
        0x4000 + at
    }

    /// What input register `at` holds.
    pub const fn input(at: u16) -> u16 {
        0x3000 + at
    }

    /// On a free port.
    pub fn tcp(dir: &Path) -> Self {
        Self::start(dir, "slave-tcp", &["tcp".to_owned()])
    }

    /// On a serial line's end.
    pub fn rtu(dir: &Path, port: &Path, baud: u32, unit: u8) -> Self {
        let words = ["rtu".to_owned(), port.display().to_string(), baud.to_string(), unit.to_string()];
        Self::start(dir, &format!("slave-{unit}"), &words)
    }

    fn start(dir: &Path, name: &str, words: &[String]) -> Self {
        let log = dir.join(format!("{name}.log"));
        let mut command = Command::new(compiled(dir));
        let mut process = Process::spawn_piped(name, command.args(words), &log);
        let stdin = process.child().stdin.take().expect("stdin is piped");
        let hello = first_line(&mut process);
        let port = hello.strip_prefix("ready ").and_then(|port| port.trim().parse().ok());
        let port = port.unwrap_or_else(|| panic!("libmodbus' slave says {hello:?}\n{}", process.tail()));
        Self { port, _stdin: stdin, process }
    }

    /// What it has said, for a failing case.
    pub fn tail(&self) -> String {
        self.process.tail()
    }
}

/// The slave's program, made of its source; a compiler is as fast here as a copy.
fn compiled(dir: &Path) -> PathBuf {
    let (program, source) = (dir.join("slave"), Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/slave.c"));
    if program.exists() {
        return program;
    }
    let mut command = Command::new("cc");
    command.args(["-Wall", "-Wextra", "-Werror", "-O1", "-o"]).arg(&program).arg(&source);
    let told = command.args(["-lmodbus", "-lpthread"]).output();
    let told = told.unwrap_or_else(|error| panic!("cc: {error}; type: sudo apt-get install build-essential"));
    let said = String::from_utf8_lossy(&told.stderr);
    assert!(
        told.status.success(),
        "{said}\nif modbus.h is missing, type: sudo apt-get install libmodbus-dev"
    );
    program
}

/// `driver-modbus simulate`.
#[derive(Debug)]
pub struct Simulator {
    /// Where it serves: an address with a port, or a serial port's path.
    pub on: String,
    process: Process,
}

impl Simulator {
    /// Starts it with these arguments and waits until it serves.
    pub fn start(dir: &Path, name: &str, words: &[&str]) -> Self {
        let mut command = Command::new(binary("driver-modbus"));
        command.arg("simulate").args(words).arg("--json");
        let log = dir.join(format!("{name}.log"));
        let mut process = Process::spawn_piped(name, &mut command, &log);
        let hello = first_line(&mut process);
        let told: Json = serde_json::from_str(&hello).unwrap_or_default();
        let on = told["on"].as_str();
        let on = on.unwrap_or_else(|| panic!("the simulator says {hello:?}\n{}", process.tail())).to_owned();
        Self { on, process }
    }

    /// Its port, when it listens.
    pub fn port(&self) -> u16 {
        let port = self.on.rsplit(':').next().and_then(|port| port.parse().ok());
        port.unwrap_or_else(|| panic!("{} has no port\n{}", self.on, self.process.tail()))
    }
}

fn first_line(process: &mut Process) -> String {
    let stdout = process.child().stdout.take().expect("stdout is piped");
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line).expect("a pipe can be read");
    line
}

/// A modem with a device behind it: it dials in, says its id and from then on passes bytes between
/// the gateway and a device that listens, as the box on the mast does.
#[derive(Debug)]
pub struct Dtu {
    up: TcpStream,
    down: TcpStream,
}

impl Dtu {
    /// Dials; `None` while nobody listens there.
    pub fn dial(gateway: u16, id: &[u8], device: u16) -> Option<Self> {
        let mut up = TcpStream::connect(("127.0.0.1", gateway)).ok()?;
        let down = TcpStream::connect(("127.0.0.1", device)).expect("the device behind the modem listens");
        up.write_all(id).ok()?;
        for (from, to) in [(&up, &down), (&down, &up)] {
            let (mut from, mut to) = (from.try_clone().ok()?, to.try_clone().ok()?);
            // Ends with the connection, and that with the value.
            std::thread::spawn(move || pump(&mut from, &mut to));
        }
        Some(Self { up, down })
    }
}

fn pump(from: &mut TcpStream, to: &mut TcpStream) {
    // What mobile networks add.
    const LATENCY: Duration = Duration::from_millis(5);
    let mut bytes = [0; 512];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        std::thread::sleep(LATENCY);
        if to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

impl Drop for Dtu {
    fn drop(&mut self) {
        let _ = self.up.shutdown(Shutdown::Both);
        let _ = self.down.shutdown(Shutdown::Both);
    }
}
