//! The guard rails around `sled`, one by one.

use std::fs;
use std::sync::atomic::Ordering;

use super::*;

fn filled(dir: &std::path::Path, values: u32) {
    let (state, _) = State::open(dir).unwrap();
    for n in 0..values {
        state.put("kv/modbus", &n.to_be_bytes(), &[n as u8; 100]).unwrap();
    }
    state.flush().unwrap();
}

#[test]
fn values_are_there_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    let (state, recovery) = State::open(dir.path()).unwrap();
    assert_eq!(recovery, StateRecovery { values: 50, ..StateRecovery::default() });
    assert_eq!(state.get("kv/modbus", &7u32.to_be_bytes()).unwrap(), Some(vec![7; 100]));
    state.delete("kv/modbus", &7u32.to_be_bytes()).unwrap();
    assert_eq!(state.get("kv/modbus", &7u32.to_be_bytes()).unwrap(), None);
    assert_eq!(state.scan("kv/modbus").unwrap().len(), 49);
}

#[test]
fn a_space_does_not_see_into_another_whose_name_begins_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = State::open(dir.path()).unwrap();
    state.put("a", b"bc", b"1").unwrap();
    state.put("ab", b"c", b"2").unwrap();
    assert_eq!(state.scan("a").unwrap(), [(b"bc".to_vec(), b"1".to_vec())]);
    assert_eq!(state.scan("ab").unwrap(), [(b"c".to_vec(), b"2".to_vec())]);
}

#[test]
fn values_above_the_limit_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = State::open(dir.path()).unwrap();
    state.put("s", b"k", &[1; MAX_VALUE]).unwrap();
    let refused = state.put("s", b"k", &[1; MAX_VALUE + 1]);
    assert!(matches!(refused, Err(StateError::TooLong { what: "value", .. })));
    let refused = state.put("s", &[1; MAX_KEY + 1], b"v");
    assert!(matches!(refused, Err(StateError::TooLong { what: "key", .. })));
}

#[test]
fn flush_syncs_the_file_and_not_only_a_range_of_it() {
    assert!(durable::linked());
    let dir = tempfile::tempdir().unwrap();
    let (state, _) = State::open(dir.path()).unwrap();
    state.put("s", b"k", b"v").unwrap();
    let before = durable::CALLS.load(Ordering::Relaxed);
    state.put("s", b"k", b"w").unwrap();
    state.flush().unwrap();
    assert!(durable::CALLS.load(Ordering::Relaxed) > before, "sled does not call our sync_file_range");
}

#[test]
fn a_second_owner_is_told_who_has_it() {
    let dir = tempfile::tempdir().unwrap();
    let _first = State::open(dir.path()).unwrap();
    let error = State::open(dir.path()).unwrap_err();
    assert!(matches!(error, StateError::Locked { .. }), "{error}");
    assert!(error.to_string().contains(dir.path().to_str().unwrap()));
}

#[test]
fn a_half_written_snapshot_does_not_keep_it_shut() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    fs::write(dir.path().join("db/snap.0000000000000042.generating"), b"").unwrap();
    let (_, recovery) = State::open(dir.path()).unwrap();
    assert_eq!(recovery, StateRecovery { values: 50, snapshots_removed: 1, ..StateRecovery::default() });
}

#[test]
fn a_damaged_snapshot_costs_nothing_but_time() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    let snapshots = || {
        let entries = fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().path());
        entries.filter(|path| path.to_str().unwrap().contains("snap.")).collect::<Vec<_>>()
    };
    drop(State::open(dir.path()).unwrap());
    assert!(!snapshots().is_empty(), "sled writes a snapshot when it opens");
    for snapshot in snapshots() {
        fs::write(snapshot, b"garbage, and long enough to be looked at").unwrap();
    }
    let (state, recovery) = State::open(dir.path()).unwrap();
    assert_eq!(recovery.values, 50);
    assert!(recovery.recovered && recovery.quarantined.is_some_and(|path| path.exists()));
    assert_eq!(state.scan("kv/modbus").unwrap().len(), 50);
}

/// A flip may cost values (`sled` cuts its log there, or panics), but it invents none and keeps nothing shut.
#[test]
fn a_flipped_byte_in_the_log_never_keeps_it_shut() {
    let dir = tempfile::tempdir().unwrap();
    {
        let (state, _) = State::open(dir.path()).unwrap();
        for n in 0..1500u32 {
            state.put("s", &n.to_be_bytes(), &[n as u8; 1000]).unwrap();
        }
        state.flush().unwrap();
    }
    drop(State::open(dir.path()).unwrap());
    let log = fs::read(dir.path().join("db/db")).unwrap();
    let (mut costly, mut quarantined) = (0, 0);
    for flip in 0..24 {
        let copy = tempfile::tempdir().unwrap();
        fs::create_dir(copy.path().join("db")).unwrap();
        for name in fs::read_dir(dir.path().join("db")).unwrap().map(|entry| entry.unwrap().file_name()) {
            if name != "blobs" {
                fs::copy(dir.path().join("db").join(&name), copy.path().join("db").join(&name)).unwrap();
            }
        }
        let mut damaged = log.clone();
        damaged[log.len() / 24 * flip + 77] ^= 0x10;
        fs::write(copy.path().join("db/db"), damaged).unwrap();
        let (state, recovery) = State::open(copy.path()).unwrap();
        costly += u32::from(recovery.values < 1500);
        quarantined += u32::from(recovery.quarantined.is_some());
        for (key, value) in state.scan("s").unwrap() {
            assert_eq!(value, [key[3]; 1000], "flip {flip} invented a value");
        }
        state.put("s", b"new", b"value").unwrap();
        state.flush().unwrap();
    }
    assert!(
        costly > 0 && quarantined > 0,
        "the flips hit nothing: {costly} costly, {quarantined} quarantined"
    );
}

fn db_bytes(dir: &std::path::Path) -> u64 {
    let files = fs::read_dir(dir.join("db")).unwrap().map(|entry| entry.unwrap().metadata().unwrap());
    files.filter(fs::Metadata::is_file).map(|meta| meta.len()).sum()
}

#[test]
fn files_that_have_grown_are_rewritten_and_nothing_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    let (mut state, _) = State::open(dir.path()).unwrap();
    for round in 0..40u8 {
        for key in 0..100u32 {
            // what sled keeps of the same values, written again and again, is only its log
            state.put("kv", &key.to_be_bytes(), &[round; MAX_VALUE]).unwrap();
        }
        state.flush().unwrap();
        if db_bytes(dir.path()) > MAX_DB_BYTES {
            break;
        }
        // so that it is not small enough to be given back by itself
        for key in 0..1000u32 {
            state.put("filler", &(u32::from(round) * 1000 + key).to_be_bytes(), &[round; 600]).unwrap();
        }
    }
    for (key, _) in state.scan("filler").unwrap() {
        state.delete("filler", &key).unwrap();
    }
    state.flush().unwrap();
    let (kept, before) = (state.scan("kv").unwrap(), db_bytes(dir.path()));
    assert!(kept.len() == 100 && before > MAX_DB_BYTES, "{before} bytes");
    state.tend().unwrap();
    let after = db_bytes(dir.path());
    assert!(after < MAX_DB_BYTES / 4, "{after} bytes of {before}");
    assert_eq!(state.scan("kv").unwrap(), kept);
    state.put("kv", b"new", b"value").unwrap();
    drop(state);
    let (state, recovery) = State::open(dir.path()).unwrap();
    assert_eq!((recovery.values, recovery.damage), (101, None));
    assert_eq!(state.get("kv", b"new").unwrap(), Some(b"value".to_vec()));
    assert!(!dir.path().join("db.old").exists() && !dir.path().join("db.new").exists());
}

#[test]
fn a_rewrite_that_was_cut_short_costs_nothing() {
    let dir = tempfile::tempdir().unwrap();
    filled(dir.path(), 50);
    let path = |name: &str| dir.path().join(name);
    let values = || State::open(dir.path()).unwrap().1.values;
    // before the new files are complete
    fs::create_dir(path("db.new")).unwrap();
    fs::write(path("db.new/db"), b"half of it").unwrap();
    assert_eq!(values(), 50);
    // between the two renames
    fs::rename(path("db"), path("db.new")).unwrap();
    fs::create_dir(path("db.old")).unwrap();
    fs::write(path("db.old/db"), b"of no use any more").unwrap();
    assert_eq!(values(), 50);
    assert!(!path("db.new").exists() && !path("db.old").exists());
}

#[test]
fn one_quarantine_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        drop(State::open(dir.path()).unwrap());
        fs::write(dir.path().join("db/conf"), b"garbage, and enough of it").unwrap();
        let (state, recovery) = State::open(dir.path()).unwrap();
        assert!(recovery.damage.is_some() && recovery.recovered, "{recovery:?}");
        state.put("s", b"k", b"v").unwrap();
    }
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let kept = names.filter(|name| name.to_str().unwrap().starts_with(open::QUARANTINE));
    assert_eq!(kept.count(), 1);
}
