//! Ports: pseudo terminals behind a path, as an adapter is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use rustix::termios::tcgetattr;
use sagoo_driver_sdk::{Driver, Line, LineError, Readings, Tap};
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;
use tokio_serial::{SerialPort, SerialStream};

use super::bus::{Bus, Heard, Says, ascii, now, rtu};
use super::turns::{pattern, read, set, silence, well, written};
use super::{PATIENT, SHORT, device};
use crate::connection::serial::{Mode, Rs485, Rts, Serial};
use crate::connection::{Connection, Framing, Transport};
use crate::device::Device;
use crate::driver::Modbus;
use crate::transport::Wire;

/// A port behind a path, and the bus at its other end.
pub(super) struct Plugged {
    folder: TempDir,
    pub(super) bus: Bus,
    /// Holds the line up while the driver has it closed.
    _open: File,
}

impl Plugged {
    pub(super) fn new(behaviour: impl FnMut(&Heard) -> Says + Send + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (bus, open) = plug(folder.path().join("port"), behaviour);
        Self { folder, bus, _open: open }
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("port")
    }

    pub(super) fn connection(&self, mode: &str) -> Connection {
        let serial = Serial {
            port: self.path().to_str().unwrap().to_owned(),
            mode: Mode::parse(mode).unwrap(),
            rs485: None,
            echo: None,
        };
        let transport = Transport::Serial(serial);
        Connection { transport, framing: Framing::Rtu, timeout: PATIENT, turnaround: Duration::ZERO }
    }

    fn wire(&self, mode: &str) -> Wire {
        Wire::new(&self.connection(mode), Tap::default(), None)
    }
}

/// A pseudo terminal behind `path`; what keeps it up without locking it.
fn plug(path: PathBuf, behaviour: impl FnMut(&Heard) -> Says + Send + 'static) -> (Bus, File) {
    let (master, slave) = SerialStream::pair().unwrap();
    let name = slave.name().unwrap();
    symlink(&name, path).unwrap();
    let open = OpenOptions::new().read(true).write(true).open(name).unwrap();
    drop(slave);
    (Bus::on(master, behaviour), open)
}

fn breakage(said: Result<crate::transport::Said, LineError>) -> String {
    match said {
        Err(LineError::Broken(reason)) => reason,
        other => panic!("{other:?} is no broken line"),
    }
}

#[tokio::test]
async fn rtu_and_ascii_are_spoken_on_a_port_in_every_mode() {
    for mode in ["9600-8E1", "19200-8N2", "115200-8O1", "38400-8N1"] {
        let plugged = Plugged::new(|heard| now(well(heard)));
        let mut line = plugged.wire(mode);
        assert_eq!(line.exchange(7, &read(300, 125)).await, pattern(300, 125));
        assert!(written(&line.exchange(7, &set(5, 9)).await));
        assert!(line.turnaround_of(7).is_some() && line.turnaround_of(8).is_none());
    }
    let plugged = Plugged::new(|heard| now(ascii(heard.unit, &[3, 2, 1, 45])));
    let connection = Connection { framing: Framing::Ascii, ..plugged.connection("9600-7E1") };
    let mut line = Wire::new(&connection, Tap::default(), None);
    assert_eq!(line.exchange(7, &read(301, 1)).await, pattern(301, 1));
}

#[tokio::test]
async fn the_line_is_silent_for_three_and_a_half_characters_before_each_frame() {
    for (mode, silence) in [("9600-8E1", 4_010), ("19200-8N1", 1_822), ("115200-8N1", 1_750)] {
        let mut plugged = Plugged::new(|heard| now(well(heard)));
        let mut line = plugged.wire(mode);
        for address in 0..20 {
            assert_eq!(line.exchange(7, &read(address, 1)).await, pattern(address, 1));
        }
        let heard = plugged.bus.heard();
        let mut pauses: Vec<Duration> = heard.windows(2).map(|two| two[1].at - two[0].at).collect();
        pauses.sort();
        // A pty is faster than a line, and the request counts as long as it takes there.
        let least = Mode::parse(mode).unwrap().time_of(8) + Duration::from_micros(silence);
        let median = pauses[pauses.len() / 2];
        assert!(median > least - Duration::from_micros(300), "{mode}: {pauses:?}, {least:?} at least");
    }
}

#[tokio::test]
async fn a_timeout_counts_from_the_end_of_the_request() {
    let plugged = Plugged::new(|_| vec![]);
    let mut line = plugged.wire("300-8E1");
    line.timeout = SHORT;
    let begin = Instant::now();
    silence(line.exchange(7, &read(1, 1)).await);
    // Eight characters of eleven bits.
    assert!(begin.elapsed() >= Duration::from_millis(293) + SHORT, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_long_answer_has_the_time_of_its_bytes_beside_the_timeout() {
    // 21 bytes at 300 baud take 770 ms; here they come a little faster.
    let plugged = Plugged::new(|heard| {
        let mut says: Says =
            well(heard).iter().map(|byte| (Duration::from_millis(20), vec![*byte])).collect();
        says[0].0 = Duration::from_millis(300);
        says
    });
    let mut line = plugged.wire("300-8E1");
    line.timeout = Duration::from_millis(200);
    assert_eq!(line.exchange(7, &read(1, 8)).await, pattern(1, 8));
}

#[tokio::test]
async fn after_a_timeout_the_line_is_silent_again_before_the_next_frame() {
    // The late answer trickles in, slower than the line is but without a silence, past all its time.
    let mut first = true;
    let mut plugged = Plugged::new(move |heard| {
        if !std::mem::take(&mut first) {
            return now(well(heard));
        }
        let mut says: Says =
            well(heard).iter().map(|byte| (Duration::from_millis(60), vec![*byte])).collect();
        says[0].0 = Duration::from_millis(310);
        says
    });
    // Eight characters take 293 ms, and the silence 128 ms.
    let mut line = plugged.wire("300-8E1");
    line.timeout = SHORT;
    let told = silence(line.exchange(7, &read(1, 8)).await);
    assert!(told.ends_with("did not answer within 40ms"), "{told}");
    line.timeout = PATIENT;
    assert_eq!(line.exchange(7, &read(2, 8)).await, pattern(2, 8));
    let heard = plugged.bus.heard();
    assert_eq!(heard.len(), 2, "the late answer was seen, nothing is left to settle");
    assert!(heard[1].at - heard[0].at >= Duration::from_millis(310 + 20 * 60 + 128), "{heard:?}");
}

#[tokio::test]
async fn a_replugged_adapter_is_found_again_by_its_path() {
    let mut plugged = Plugged::new(|heard| now(well(heard)));
    let mut line = plugged.wire("19200-8E1");
    assert_eq!(line.exchange(7, &read(1, 1)).await, pattern(1, 1));
    // Another pseudo terminal, as another /dev/ttyUSB, behind the same path.
    std::fs::remove_file(plugged.path()).unwrap();
    let folder = std::mem::replace(&mut plugged.folder, tempfile::tempdir().unwrap());
    drop(plugged);
    breakage(line.exchange(7, &read(1, 1)).await);
    let reason = breakage(line.exchange(7, &read(1, 1)).await);
    assert!(reason.contains("there is no such port; is the adapter plugged in?"), "{reason}");
    let (bus, open) = plug(folder.path().join("port"), |heard| now(well(heard)));
    let plugged = Plugged { folder, bus, _open: open };
    assert_eq!(line.exchange(7, &read(2, 1)).await, pattern(2, 1));
    drop(plugged);
}

#[tokio::test]
async fn an_adapter_that_goes_while_an_answer_is_awaited_is_a_broken_line() {
    let (master, slave) = SerialStream::pair().unwrap();
    let folder = tempfile::tempdir().unwrap();
    symlink(slave.name().unwrap(), folder.path().join("port")).unwrap();
    drop(slave);
    let plugged = Plugged::new(|_| vec![]);
    let Transport::Serial(serial) = plugged.connection("19200-8E1").transport else { panic!("it is one") };
    let serial = Serial { port: folder.path().join("port").to_str().unwrap().to_owned(), ..serial };
    let connection = Connection { transport: Transport::Serial(serial), ..plugged.connection("19200-8E1") };
    let mut line = Wire::new(&connection, Tap::default(), None);
    let unplug = tokio::spawn(async move {
        let mut master = master;
        let mut bytes = [0; 8];
        while tokio::io::AsyncReadExt::read_exact(&mut master, &mut bytes).await.is_err() {
            tokio::task::yield_now().await;
        }
    });
    let reason = breakage(line.exchange(7, &read(1, 1)).await);
    assert!(reason.contains("port has gone; it is opened again when"), "{reason}");
    unplug.await.unwrap();
}

#[tokio::test]
async fn a_port_that_cannot_be_used_is_named_with_the_remedy() {
    let plugged = Plugged::new(|heard| now(well(heard)));
    let mut line = plugged.wire("19200-8E1");
    assert_eq!(line.exchange(7, &read(1, 1)).await, pattern(1, 1));
    let reason = breakage(plugged.wire("9600-8N1").exchange(7, &read(1, 1)).await);
    let path = plugged.path();
    let told = format!("cannot open {}: another program, or another connection, has it open", path.display());
    assert_eq!(reason, told);
    line.close().await;
    assert_eq!(plugged.wire("19200-8E1").exchange(7, &read(1, 1)).await, pattern(1, 1));

    for (rts, told) in
        [(Rts::Kernel, "its driver in the kernel does not switch RS-485: "), (Rts::Up, "it has no RTS: ")]
    {
        let mut connection = plugged.connection("19200-8E1");
        let Transport::Serial(serial) = &mut connection.transport else { panic!("it is one") };
        serial.rs485 = Some(Rs485 { rts, before: Duration::ZERO, after: Duration::ZERO });
        let reason = breakage(Wire::new(&connection, Tap::default(), None).exchange(7, &read(1, 1)).await);
        assert!(reason.contains(told), "{reason}");
    }
}

/// Two devices that each know one mode, as devices do: the port of the line is asked which it is in.
#[tokio::test]
async fn a_scan_finds_a_device_in_another_mode_and_leaves_the_line_in_its_own() {
    let terminal: Arc<OnceLock<File>> = Arc::default();
    let seen = terminal.clone();
    let plugged = Plugged::new(move |heard| {
        // A pseudo terminal keeps the rate, but no parity.
        match (heard.unit, tcgetattr(seen.get().unwrap()).unwrap().output_speed()) {
            (3, 19_200) | (7, 9_600) if heard.pdu[0] == 43 => now(rtu(heard.unit, &[0xAB, 1])),
            (3, 19_200) | (7, 9_600) => now(well(heard)),
            _ => vec![],
        }
    });
    terminal.set(plugged._open.try_clone().unwrap()).unwrap();
    let connection = plugged.connection("19200-8N1");
    let driver = Modbus::default();
    let mut line = driver.line(&connection, Tap::default());
    let device = Device { unit: 3, ..device("", "p = { at = \"holding:9\", type = \"u16\" }") };
    let options = json!({ "units": "3,7", "modes": "9600-8E1,19200-8N1,38400-8N1" });
    let mut found = Vec::new();
    for step in 0..driver.scan_steps(&connection, &options).unwrap() {
        let scanned = line.scan(step, &options).await.unwrap();
        found.extend(scanned.found.into_iter().map(|found| (found.address, found.settings)));
        let mut out = Readings::default();
        line.poll(&device, 0, &mut out).await.unwrap();
        assert!(out.readings()[0].value.is_ok(), "the poll behind step {step} was made in another mode");
    }
    let wanted = [
        ("unit 7 at 9600-8E1".to_owned(), json!({ "unit": 7 })),
        ("unit 3 at 19200-8N1".to_owned(), json!({ "unit": 3 })),
    ];
    assert_eq!(found, wanted);
}
