//! Small state on a disk that is full.

use std::fs::{self, OpenOptions};
use std::path::Path;

use sagoo_edge_buffer::state::{State, StateError};

use super::MIB;
use super::trouble::{Mounted, fill_up};

/// The stranger's file is shorter by so much.
fn make_room(dir: &Path, bytes: u64) {
    let file = OpenOptions::new().write(true).open(dir.join("stranger")).unwrap();
    file.set_len(file.metadata().unwrap().len() - bytes).unwrap();
}

#[test]
fn small_state_opens_on_a_full_disk_with_the_space_it_has_kept() {
    let Some(disk) = Mounted::new(&["-t", "tmpfs", "-o", "size=32m", "store-test"]) else {
        // without a disk of its own: the space is kept, if not used
        let dir = tempfile::tempdir().unwrap();
        drop(State::open(dir.path()).unwrap());
        return assert_eq!(fs::metadata(dir.path().join("ballast")).unwrap().len(), 4 * MIB);
    };
    let dir = disk.path().join("state");
    let (state, _) = State::open(&dir).unwrap();
    for key in 0..2_000u32 {
        state.put("kv", &key.to_be_bytes(), &[key as u8; 1_000]).unwrap();
    }
    state.flush().unwrap();
    drop(state);
    fill_up(disk.path());
    let ballast = dir.join("ballast");
    let kept = fs::read(&ballast).unwrap();
    fs::remove_file(&ballast).unwrap();
    fill_up(disk.path());
    let error = State::open(&dir).unwrap_err();
    assert!(matches!(error, StateError::Open { .. }), "without it nothing would be proven: {error}");
    make_room(disk.path(), kept.len() as u64);
    fs::write(&ballast, kept).unwrap();
    fill_up(disk.path());
    // as often as it is started
    for _ in 0..3 {
        let (state, recovery) = State::open(&dir).unwrap();
        assert_eq!((recovery.values, recovery.damage), (2_000, None));
        state.put("kv", b"changed", b"on a full disk").unwrap();
        state.delete("kv", b"changed").unwrap();
    }
}
