//! The line against a clock: its rate, its manners, a cut cable.

use std::fs::File;
use std::io::{Read, Write};

use super::*;
use crate::rig::eventually;

const SOON: Duration = Duration::from_secs(5);

fn open(path: &Path) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

/// Sends and waits until the other end has all; returns how long that took.
fn pass(from: &mut File, to: &mut File, bytes: &[u8]) -> Duration {
    let mut heard = vec![0; bytes.len()];
    let start = Instant::now();
    from.write_all(bytes).unwrap();
    to.read_exact(&mut heard).unwrap();
    let took = start.elapsed();
    assert_eq!(heard, bytes);
    took
}

/// The line is never faster than its bits, and no slower by more than a hundredth. A busy machine adds
/// to as many tries as it likes, so it is tried until one shows the line's own rate.
fn assert_rate(mode: &str, length: usize) {
    let line = SerialLine::start(mode, 1);
    let (mut master, mut slave) = (open(&line.master()), open(&line.slave(0)));
    let bytes: Vec<u8> = (0..length).map(|byte| byte as u8).collect();
    let expected = line.mode().character() * u32::try_from(length).unwrap();
    for _ in 0..2 {
        eventually(&format!("{length} bytes take {expected:?} at {mode}"), SOON, || {
            let took = pass(&mut master, &mut slave, &bytes);
            assert!(took >= expected, "{mode}: {took:?} for {length} bytes, the line needs {expected:?}");
            if took < expected + expected / 100 { Ok(()) } else { Err(format!("it took {took:?}")) }
        });
        std::mem::swap(&mut master, &mut slave);
    }
}

#[test]
fn a_byte_takes_as_long_as_its_bits() {
    assert_eq!(Mode::of("9600-8E1").character(), Duration::from_secs(11) / 9600);
    assert_eq!(Mode::of("115200-8N1").character(), Duration::from_secs(10) / 115_200);
    assert_rate("9600-8N1", 40);
    assert_rate("9600-8E1", 40);
    assert_rate("115200-8N1", 256);
    assert_rate("115200-8E1", 256);
}

#[test]
fn it_says_how_late_it_was_itself() {
    let line = SerialLine::start("115200-8N1", 1);
    let (mut master, mut slave) = (open(&line.master()), open(&line.slave(0)));
    for _ in 0..20 {
        pass(&mut master, &mut slave, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    let lateness = line.lateness();
    assert_eq!(lateness.count, 20);
    assert!(lateness.worst >= lateness.mean() && lateness.mean() > Duration::ZERO, "{lateness:?}");
    assert_eq!(line.take_record().len(), 20);
}

#[test]
fn everybody_hears_the_master_and_the_master_only_itself_when_it_echoes() {
    let line = SerialLine::start("115200-8N1", 2);
    let (mut master, mut first, mut second) =
        (open(&line.master()), open(&line.slave(0)), open(&line.slave(1)));
    pass(&mut master, &mut first, &[1, 2]);
    let mut heard = [0; 2];
    second.read_exact(&mut heard).unwrap();
    line.behave(|manners| manners.echo = true);
    master.write_all(&[3, 4]).unwrap();
    master.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [3, 4], "and not what it sent before");
    line.inject(&[9, 9, 9]);
    let mut heard = [0; 3];
    master.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [9, 9, 9]);
    let froms: Vec<From> = line.take_record().iter().map(|passed| passed.from).collect();
    assert_eq!(froms, [From::Master, From::Master, From::Stranger]);
}

#[test]
fn answers_come_as_late_as_the_case_wants() {
    let line = SerialLine::start("19200-8N1", 1);
    let (mut master, mut slave) = (open(&line.master()), open(&line.slave(0)));
    line.behave(|manners| {
        manners.turnaround = Duration::from_millis(4);
        manners.delay = Duration::from_millis(20)..Duration::from_millis(60);
    });
    let mut silences = Vec::new();
    for _ in 0..8 {
        pass(&mut master, &mut slave, &[1]);
        pass(&mut slave, &mut master, &[2]);
        let [asked, answered] = &line.take_record()[..] else { panic!("one request, one answer") };
        silences.push(answered.begins.saturating_duration_since(asked.ends));
    }
    assert!(silences.iter().all(|silence| *silence >= Duration::from_millis(24)), "{silences:?}");
    assert!(silences.iter().any(|silence| *silence >= Duration::from_millis(40)), "{silences:?}");
}

#[test]
fn an_end_at_another_speed_sends_and_hears_garbage() {
    let line = SerialLine::start("9600-8N1", 1);
    let (mut master, mut slave) = (open(&line.master()), open(&line.slave(0)));
    let set = |file: &File, baud: u32| {
        let mut attributes = rustix::termios::tcgetattr(file).unwrap();
        attributes.set_speed(baud).unwrap();
        rustix::termios::tcsetattr(file, rustix::termios::OptionalActions::Now, &attributes).unwrap();
    };
    set(&slave, 19_200);
    let mut heard = [0; 1];
    master.write_all(&[1]).unwrap();
    slave.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [garbled(1)]);
    slave.write_all(&[1]).unwrap();
    master.read_exact(&mut heard).unwrap();
    assert_eq!(heard, [garbled(1)]);
    set(&slave, 9600);
    pass(&mut slave, &mut master, &[1]);
}

#[test]
fn a_cut_end_is_gone_by_path_and_another_device_after_the_replug() {
    let line = SerialLine::start("115200-8N1", 1);
    let (mut master, mut slave) = (open(&line.master()), open(&line.slave(0)));
    line.cut_master();
    assert!(!line.master().exists());
    eventually("who has it open is told", SOON, || {
        let mut bytes = [0; 1];
        matches!(master.read(&mut bytes), Ok(0) | Err(_))
    });
    slave.write_all(&[7]).unwrap();
    eventually("the bus lives on", SOON, || !line.take_record().is_empty());
    line.plug_master();
    let mut master = open(&line.master());
    pass(&mut master, &mut slave, &[1, 2, 3]);
    pass(&mut slave, &mut master, &[4, 5, 6]);
}
