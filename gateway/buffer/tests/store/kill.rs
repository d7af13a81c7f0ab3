//! A process killed while it writes: what it said it had stored is there.

use std::env;
use std::ffi::OsString;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use proptest::strategy::{Strategy, ValueTree};
use sagoo_edge_buffer::{Buffer, Cursor, Options, Origin, Outcome};

use super::{MIB, payload, read_all};

/// Set for the process that is going to be killed: where to write.
const DIR: &str = "SAGOO_BUFFER_KILL_DIR";
const KILLS: u32 = 20;
const INSTANCE: [u8; 16] = [3; 16];

fn options(dir: PathBuf) -> Options {
    Options { segment_bytes: 64 << 10, ..Options::new(dir, 64 * MIB) }
}

/// Length and content follow from the number.
fn content(seq: u64) -> Vec<u8> {
    payload(seq, (seq as usize * 37) % 3_000)
}

/// The process that is killed.
fn writer(dir: OsString) {
    let (mut buffer, _) = Buffer::open(options(dir.into())).unwrap();
    let mut said = std::io::stdout().lock();
    loop {
        let seq = buffer.next_seq();
        let origin = Origin { instance: INSTANCE, seq };
        let stored = buffer.append(Some(origin), &content(seq)).unwrap();
        assert_eq!(stored.outcome, Outcome::Stored { seq });
        writeln!(said, "stored {seq}").unwrap();
        if seq % 10 == 0 {
            let floor = seq.saturating_sub(200).max(buffer.cursor().floor);
            buffer.advance(Cursor { floor, detail: content(floor) }).unwrap();
            writeln!(said, "settled {floor}").unwrap();
        }
        if seq % 50 == 0 {
            buffer.sync().unwrap();
        }
    }
}

fn start(dir: &std::path::Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "kill::what_a_killed_process_has_said_is_there", "--nocapture"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn what_a_killed_process_has_said_is_there() {
    if let Some(dir) = env::var_os(DIR) {
        return writer(dir);
    }
    let dir = tempfile::tempdir().unwrap();
    let mut runner = proptest::test_runner::TestRunner::default();
    let (mut stored, mut settled) = (0, 0);
    for round in 0..KILLS {
        let mut child = start(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // killed a random while after its first word, so that writing is under way
        let mut heard =
            vec![lines.by_ref().map(|line| line.unwrap()).find(|line| line.contains("stored")).unwrap()];
        let wait = (0..60_000u64).new_tree(&mut runner).unwrap().current();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_micros(wait));
            child.kill().unwrap();
            child.wait().unwrap();
        });
        heard.extend(lines.map_while(Result::ok));
        killer.join().unwrap();
        for line in &heard {
            // the last line may be cut short: what it says then is less than what is true
            match line.rsplit_once("stored ").or_else(|| line.rsplit_once("settled ")) {
                Some((_, n)) if line.contains("stored") => stored = n.parse::<u64>().unwrap_or(0).max(stored),
                Some((_, n)) => settled = n.parse::<u64>().unwrap_or(0).max(settled),
                None => {}
            }
        }
        let (mut buffer, recovery) = Buffer::open(options(dir.path().to_owned())).unwrap();
        assert_eq!((recovery.damaged_records, recovery.damage), (0, vec![]), "round {round}");
        assert!(buffer.next_seq() > stored, "round {round}: {stored} was stored");
        assert!(buffer.cursor().floor >= settled, "round {round}: {settled} was settled");
        assert_eq!(
            buffer.cursor().detail,
            if settled == 0 { Vec::new() } else { content(buffer.cursor().floor) }
        );
        assert_eq!(buffer.last_seq_of(&INSTANCE), Some(buffer.next_seq() - 1));
        let records = read_all(&mut buffer);
        assert!(records[0].seq <= buffer.cursor().floor.max(1));
        assert_eq!(records.last().unwrap().seq, buffer.next_seq() - 1);
        for pair in records.windows(2) {
            assert_eq!(pair[0].seq + 1, pair[1].seq);
        }
        for record in records {
            assert_eq!(record.origin, Some(Origin { instance: INSTANCE, seq: record.seq }));
            assert!(record.payload == content(record.seq), "record {}", record.seq);
        }
    }
    assert!(stored > 1_000, "{stored} records in {KILLS} rounds are too few to mean anything");
}
