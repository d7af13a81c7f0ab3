//! Modbus devices served by pymodbus and steered by the case (`rig/device.py`).
//!
//! Always true: counters rise by one at each read that covers them, and the register holds the value
//! that was read last; the process ends with the last of its devices.

use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{ChildStdin, ChildStdout, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::{Process, build_dir};

/// The version the cases are written against.
pub(super) const PYMODBUS: &str = "3.16.1";
/// What it serves serial lines with.
const PYSERIAL: &str = "3.5";

/// What the device counted.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Stats {
    /// Read requests.
    pub reads: u64,
    /// Read requests that covered a counter.
    pub covering: u64,
    /// Longest time without a read that covered a counter since [`ModbusDevice::watch`], seconds; the
    /// one that is not over yet included.
    pub gap: f64,
    /// Connections ever opened to it.
    pub connections: u64,
    /// Writes it took, in order.
    pub writes: Vec<Written>,
    /// Exceptions sent by all units of its process together.
    pub refused: u64,
}

/// One write.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Written {
    /// First register.
    pub address: u16,
    /// What was written.
    pub values: Vec<u16>,
}

/// The unit that answers for every unit id.
const ANY_UNIT: u8 = 0;

/// How a process serves its devices.
#[derive(Debug, Clone)]
pub struct Serving {
    /// What carries the frames.
    pub over: Over,
    /// Which frames: `socket`, `tls`, `rtu` or `ascii`, in pymodbus' words.
    pub framer: &'static str,
    /// One device each; 0 alone answers for every unit id.
    pub units: Vec<u8>,
    /// Registers that count their reads.
    pub counters: Vec<u16>,
    /// Registers that are not there: whoever touches them gets exception 2.
    pub holes: Vec<Range<u16>>,
    /// Unit 0 means all units, and is not answered.
    pub broadcast: bool,
}

/// What carries the frames.
#[derive(Debug, Clone)]
pub enum Over {
    /// A connection.
    Tcp,
    /// Datagrams.
    Udp,
    /// Modbus/TCP Security: who connects shows a certificate of the authority.
    Tls {
        /// The server's own.
        certificate: PathBuf,
        /// Its key.
        key: PathBuf,
        /// The authority's certificate.
        authority: PathBuf,
    },
    /// A serial line's end.
    Serial {
        /// Its path.
        port: PathBuf,
        /// Its speed.
        baud: u32,
    },
}

impl Serving {
    /// Modbus TCP, no counters, no holes.
    pub fn over(over: Over, framer: &'static str, units: &[u8]) -> Self {
        Self {
            over,
            framer,
            units: units.to_vec(),
            counters: Vec::new(),
            holes: Vec::new(),
            broadcast: false,
        }
    }

    fn arguments(&self, command: &mut Command) {
        command.arg("--counters").args(self.counters.iter().map(u16::to_string));
        command.arg("--units").args(self.units.iter().map(u8::to_string));
        let holes: Vec<_> = self.holes.iter().map(|hole| (hole.start, hole.end)).collect();
        command.arg("--holes").arg(json!(holes).to_string()).args(["--framer", self.framer]);
        if self.broadcast {
            command.arg("--broadcast");
        }
        match &self.over {
            Over::Tcp => command.args(["--over", "tcp"]),
            Over::Udp => command.args(["--over", "udp"]),
            Over::Tls { certificate, key, authority } => {
                command.args(["--over", "tls", "--certificate"]).arg(certificate);
                command.arg("--key").arg(key).arg("--ca").arg(authority)
            }
            Over::Serial { port, baud } => {
                command.args(["--over", "serial", "--baud", &baud.to_string(), "--serial"]).arg(port)
            }
        };
    }
}

/// A device; ends with its value.
#[derive(Debug)]
pub struct ModbusDevice {
    /// Where it listens, on the loopback; 0 on a serial line.
    pub port: u16,
    unit: u8,
    // A mutex and not a channel: question and answer are one step, and cases ask from any thread.
    talk: Arc<Mutex<Talk>>,
}

#[derive(Debug)]
struct Talk {
    process: Process,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl ModbusDevice {
    /// Starts it; the registers in `counters` count their reads, all others hold 0.
    pub fn start(dir: &Path, name: &str, counters: &[u16]) -> Self {
        Self::start_units(dir, name, counters, &[ANY_UNIT]).pop().expect("one unit is one device")
    }

    /// Starts one device per unit id, all behind one port; they leave and listen together.
    pub fn start_units(dir: &Path, name: &str, counters: &[u16], units: &[u8]) -> Vec<Self> {
        let usual = Serving::over(Over::Tcp, "socket", units);
        Self::serve(dir, name, &Serving { counters: counters.to_vec(), ..usual })
    }

    /// Starts one device per unit, all in one process.
    pub fn serve(dir: &Path, name: &str, serving: &Serving) -> Vec<Self> {
        let python = python();
        let mut command = Command::new(&python);
        command.arg("-u").arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("rig/device.py"));
        serving.arguments(&mut command);
        let mut process = Process::spawn_piped(name, &mut command, &dir.join(format!("{name}.log")));
        let to = process.child().stdin.take().expect("stdin is piped");
        let from = BufReader::new(process.child().stdout.take().expect("stdout is piped"));
        let mut talk = Talk { process, to, from };
        let hello = talk.hear().unwrap_or_else(|why| {
            panic!("pymodbus {PYMODBUS} does not serve ({why}); type: {}\n{}", remedy(), talk.process.tail())
        });
        assert_eq!(
            hello["pymodbus"],
            PYMODBUS,
            "{} has another pymodbus; type: {}",
            python.display(),
            remedy()
        );
        let port = hello["port"].as_u64().and_then(|port| u16::try_from(port).ok());
        let (port, talk) = (port.expect("the first line names the port"), Arc::new(Mutex::new(talk)));
        serving.units.iter().map(|unit| Self { port, unit: *unit, talk: Arc::clone(&talk) }).collect()
    }

    /// One register.
    pub fn register(&self, address: u16) -> u16 {
        self.registers(address, 1)[0]
    }

    /// Registers as they are, uncounted.
    pub fn registers(&self, address: u16, count: u16) -> Vec<u16> {
        let answer = self.ask(&json!({"do": "get", "address": address, "count": count}));
        serde_json::from_value(answer["values"].clone()).expect("registers are 16-bit numbers")
    }

    /// Puts values into registers.
    pub fn set(&self, address: u16, values: &[u16]) {
        self.ask(&json!({"do": "set", "address": address, "values": values}));
    }

    /// Every answer takes this long from now on.
    pub fn set_delay(&self, delay: Duration) {
        self.ask(&json!({"do": "delay", "seconds": delay.as_secs_f64()}));
    }

    /// Takes requests and answers none; what it does not answer is not counted.
    pub fn set_silent(&self, silent: bool) {
        self.ask(&json!({"do": "silent", "on": silent}));
    }

    /// Reads that touch these registers get exception 2; an empty range ends it.
    pub fn refuse_reads(&self, registers: Range<u16>) {
        self.refuse_reads_with(registers, 2);
    }

    /// Like [`ModbusDevice::refuse_reads`] with another exception.
    pub fn refuse_reads_with(&self, registers: Range<u16>, code: u8) {
        self.ask(&json!({"do": "refuse_reads", "ranges": pairs(&registers), "code": code}));
    }

    /// Writes that touch these registers get exception 3; an empty range ends it.
    pub fn refuse_writes(&self, registers: Range<u16>) {
        self.ask(&json!({"do": "refuse_writes", "ranges": pairs(&registers)}));
    }

    /// Writes to these registers are confirmed and not kept; an empty range ends it.
    pub fn forget_writes(&self, registers: Range<u16>) {
        self.ask(&json!({"do": "forget_writes", "ranges": pairs(&registers)}));
    }

    /// Closes its port and every connection.
    pub fn leave(&self) {
        self.ask(&json!({"do": "leave"}));
    }

    /// Listens again on the same port, registers as they were.
    pub fn listen(&self) {
        self.ask(&json!({"do": "listen"}));
    }

    /// Begins to measure the longest time without a read, from now on.
    pub fn watch(&self) {
        self.ask(&json!({"do": "watch"}));
    }

    /// The longest time without a read since [`ModbusDevice::watch`].
    pub fn gap(&self) -> Duration {
        Duration::from_secs_f64(self.stats().gap)
    }

    /// What it counted.
    pub fn stats(&self) -> Stats {
        serde_json::from_value(self.ask(&json!({"do": "stats"}))).expect("the script answers with Stats")
    }

    fn ask(&self, order: &Json) -> Json {
        let mut order = order.clone();
        order["unit"] = json!(self.unit);
        let mut talk = self.talk.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let answer =
            writeln!(talk.to, "{order}").map_err(|error| error.to_string()).and_then(|()| talk.hear());
        answer.unwrap_or_else(|why| panic!("{order}: {why}\n{}", talk.process.tail()))
    }
}

impl Talk {
    fn hear(&mut self) -> Result<Json, String> {
        let mut line = String::new();
        if self.from.read_line(&mut line).map_err(|error| error.to_string())? == 0 {
            return Err("it ended".to_owned());
        }
        let answer: Json = serde_json::from_str(&line).map_err(|error| format!("{error}: {line}"))?;
        if answer["ok"] == true { Ok(answer) } else { Err(answer["error"].to_string()) }
    }
}

fn pairs(registers: &Range<u16>) -> [(u16, u16); 1] {
    [(registers.start, registers.end)]
}

/// `E2E_PYTHON`, else the environment `deploy/check.sh` makes in the target directory.
pub fn python() -> PathBuf {
    if let Some(named) = std::env::var_os("E2E_PYTHON") {
        return named.into();
    }
    let python = build_dir().parent().expect("target/debug is in target").join("venv/bin/python");
    assert!(python.exists(), "{} is missing; type: {}", python.display(), remedy());
    python
}

fn remedy() -> String {
    format!(
        "python3 -m venv target/venv && target/venv/bin/pip install pymodbus=={PYMODBUS} pyserial=={PYSERIAL} \
         prometheus-client"
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;

    use super::*;

    fn request(device: &ModbusDevice, pdu: &[u8]) -> Option<Vec<u8>> {
        request_of(device, 1, pdu)
    }

    fn request_of(device: &ModbusDevice, unit: u8, pdu: &[u8]) -> Option<Vec<u8>> {
        let mut stream = TcpStream::connect(("127.0.0.1", device.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut frame = vec![0, 1, 0, 0, 0, pdu.len() as u8 + 1, unit];
        frame.extend_from_slice(pdu);
        stream.write_all(&frame).unwrap();
        let mut header = [0; 7];
        stream.read_exact(&mut header).ok()?;
        let mut answer = vec![0; usize::from(header[5]) - 1];
        stream.read_exact(&mut answer).ok()?;
        Some(answer)
    }

    const READ_TWO: [u8; 5] = [3, 0, 0, 0, 2];
    const WRITE_TEN: [u8; 5] = [6, 0, 10, 0, 55];

    #[test]
    fn a_counter_rises_at_each_read_that_covers_it_and_at_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let device = ModbusDevice::start(dir.path(), "device", &[0]);
        assert_eq!(request(&device, &READ_TWO).unwrap(), [3, 4, 0, 1, 0, 0]);
        assert_eq!(request(&device, &READ_TWO).unwrap(), [3, 4, 0, 2, 0, 0]);
        assert_eq!(request(&device, &[3, 0, 1, 0, 1]).unwrap(), [3, 2, 0, 0]);
        assert_eq!(device.register(0), 2, "the register holds the value read last");
        assert_eq!(device.stats().covering, 2);
        device.leave();
        assert!(TcpStream::connect(("127.0.0.1", device.port)).is_err(), "nobody listens");
        device.listen();
        assert_eq!(request(&device, &READ_TWO).unwrap(), [3, 4, 0, 3, 0, 0], "registers are as they were");
    }

    #[test]
    fn writes_are_taken_refused_or_forgotten_as_told() {
        let dir = tempfile::tempdir().unwrap();
        let device = ModbusDevice::start(dir.path(), "device", &[0]);
        assert_eq!(request(&device, &WRITE_TEN).unwrap(), WRITE_TEN);
        assert_eq!(device.register(10), 55);
        device.set(10, &[1]);
        device.refuse_writes(10..11);
        assert_eq!(request(&device, &WRITE_TEN).unwrap(), [0x86, 3]);
        device.refuse_writes(0..0);
        device.forget_writes(10..11);
        assert_eq!(request(&device, &WRITE_TEN).unwrap(), WRITE_TEN, "confirmed on the wire");
        assert_eq!(request(&device, &[3, 0, 10, 0, 1]).unwrap(), [3, 2, 0, 1], "and not kept");
        assert_eq!(device.register(10), 1);
        assert_eq!(device.stats().writes.len(), 2);
    }

    #[test]
    fn silence_refusal_and_delay_are_what_they_say() {
        let dir = tempfile::tempdir().unwrap();
        let device = ModbusDevice::start(dir.path(), "device", &[0]);
        device.set_silent(true);
        assert_eq!(request(&device, &READ_TWO), None);
        device.set_silent(false);
        assert_eq!(device.register(0), 0, "what is not answered is not counted");
        device.refuse_reads(1..2);
        assert_eq!(request(&device, &READ_TWO).unwrap(), [0x83, 2]);
        device.refuse_reads(0..0);
        device.set_delay(Duration::from_millis(200));
        let before = std::time::Instant::now();
        request(&device, &READ_TWO).expect("answered late");
        assert!(before.elapsed() >= Duration::from_millis(200));
    }

    #[test]
    fn the_longest_time_without_a_read_is_measured_to_this_moment() {
        let dir = tempfile::tempdir().unwrap();
        let device = ModbusDevice::start(dir.path(), "device", &[0]);
        assert_eq!(device.gap(), Duration::ZERO, "nobody watches yet");
        device.watch();
        let long = Duration::from_millis(50);
        while device.gap() < long {
            assert_eq!(device.register(0), 0, "looking is not reading");
        }
        request(&device, &READ_TWO).unwrap();
        assert!(device.gap() >= long, "a read ends it and does not undo it");
        let since = std::time::Instant::now();
        device.watch();
        assert!(device.gap() <= since.elapsed(), "and it begins anew");
    }

    #[test]
    fn units_behind_one_port_count_and_fall_silent_each_for_itself() {
        let dir = tempfile::tempdir().unwrap();
        let units = ModbusDevice::start_units(dir.path(), "units", &[0], &[1, 2]);
        assert_eq!(request_of(&units[0], 1, &READ_TWO).unwrap(), [3, 4, 0, 1, 0, 0]);
        assert_eq!((units[0].register(0), units[1].register(0)), (1, 0));
        units[0].set_silent(true);
        assert_eq!(request_of(&units[0], 1, &READ_TWO), None);
        assert_eq!(request_of(&units[1], 2, &READ_TWO).unwrap(), [3, 4, 0, 1, 0, 0]);
    }
}
