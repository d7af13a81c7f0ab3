//! Files that cannot grow: what a full disk looks like, by a limit on the size of files.

use std::env;
use std::io::Write;
use std::process::Command;

use sagoo_edge_buffer::{Buffer, Cursor, Error, Options, Origin, Outcome};

use super::{MIB, append, bytes_in, payload, read_all, segments};

/// Set for the process whose files cannot grow: where the buffer is.
const DIR: &str = "SAGOO_BUFFER_FULL_DIR";
/// Room for the cursor, but not for a whole segment. In blocks of 512 bytes, as `ulimit` has it.
const LIMIT_BLOCKS: u64 = 600;

fn options(dir: std::path::PathBuf) -> Options {
    Options::new(dir, 16 * MIB)
}

/// Runs where files cannot grow.
fn writer(dir: std::path::PathBuf) {
    let (mut buffer, _) = Buffer::open(options(dir.clone())).unwrap();
    let instance = [4; 16];
    let send = |buffer: &mut Buffer, len: usize| {
        let seq = buffer.next_seq();
        let appended = buffer.append(Some(Origin { instance, seq }), &payload(seq, len))?;
        assert_eq!(appended.outcome, Outcome::Stored { seq });
        Ok::<_, Error>(())
    };
    let error = loop {
        if let Err(error) = send(&mut buffer, 10_000) {
            break error;
        }
    };
    assert!(matches!(&error, Error::Write { path, .. } if *path == segments(&dir)[0]), "{error}");
    let records = buffer.stats().records;
    assert!(records > 20);
    // memory takes what the disk does not, and a file with room takes it from there
    for n in 1..=3 {
        send(&mut buffer, 10_000).unwrap();
        assert_eq!((buffer.stats().records, buffer.stats().bytes), (records + n, bytes_in(&dir)));
    }
    assert!(buffer.in_memory());
    buffer.retry().unwrap();
    assert_eq!((buffer.in_memory(), buffer.stats().bytes), (false, bytes_in(&dir)));
    send(&mut buffer, 10).unwrap();
    assert_eq!(read_all(&mut buffer).len() as u64, records + 4);
    buffer.advance(Cursor { floor: 7, detail: b"settled".to_vec() }).unwrap();
    buffer.sync().unwrap();
    // a segment that cannot even be begun leaves nothing behind
    let (mut other, _) = Buffer::open(options(dir.join("other"))).unwrap();
    send(&mut other, 400_000).unwrap_err();
    assert_eq!(segments(&dir.join("other")).len(), 0);
    send(&mut other, 400_000).unwrap();
    for _ in 0..3 {
        other.retry().unwrap_err();
        assert_eq!(other.stats().bytes, bytes_in(&dir.join("other")));
    }
    let mut said = std::io::stdout();
    writeln!(said, "all of it").unwrap();
}

#[test]
fn a_disk_that_takes_no_more_costs_nothing_that_was_stored() {
    if let Some(dir) = env::var_os(DIR) {
        return writer(dir.into());
    }
    let dir = tempfile::tempdir().unwrap();
    drop(Buffer::open(options(dir.path().to_owned())).unwrap());
    // an ignored signal and a limit are inherited
    let script = format!("trap '' XFSZ; ulimit -f {LIMIT_BLOCKS}; exec \"$0\" \"$@\"");
    let output = Command::new("sh")
        .args(["-c", &script])
        .arg(env::current_exe().unwrap())
        .args(["--exact", "full::a_disk_that_takes_no_more_costs_nothing_that_was_stored", "--nocapture"])
        .env(DIR, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && said.contains("all of it"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let (mut buffer, recovery) = Buffer::open(options(dir.path().to_owned())).unwrap();
    assert_eq!((recovery.damage, recovery.torn_bytes), (vec![], 0));
    assert_eq!(buffer.cursor(), &Cursor { floor: 7, detail: b"settled".to_vec() });
    let records = read_all(&mut buffer);
    for (record, seq) in records.iter().zip(1..) {
        assert_eq!(record.seq, seq);
        assert!(record.payload == payload(seq, record.payload.len()));
    }
    assert_eq!(append(&mut buffer, b"next"), records.len() as u64 + 1);
}
