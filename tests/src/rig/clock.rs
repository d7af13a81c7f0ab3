//! The clock of a box, as wrong as a case wants it: Debian's libfaketime under the gateway's process.
//!
//! Always true: only the wall clock is touched, and only the gateway's; boot time, timers and the times of
//! files go on as they are.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// See the module.
#[derive(Debug)]
pub(super) struct Clock {
    file: PathBuf,
}

impl Clock {
    pub(super) fn new(dir: &Path) -> Self {
        Self { file: dir.join("clock-is-wrong-by") }
    }

    /// At once, also for a gateway that runs.
    pub(super) fn set(&self, wrong_s: i64) {
        // replaced as a whole: it is read whenever the gateway asks for the time
        let next = self.file.with_extension("next");
        let set = fs::write(&next, format!("{wrong_s:+}")).and_then(|()| fs::rename(&next, &self.file));
        set.unwrap_or_else(|error| panic!("set the clock in {}: {error}", self.file.display()));
    }

    /// What a process needs in its environment to have this clock.
    pub(super) fn variables(&self) -> [(&'static str, OsString); 5] {
        [
            ("LD_PRELOAD", library().into()),
            ("FAKETIME_TIMESTAMP_FILE", self.file.clone().into()),
            ("FAKETIME_NO_CACHE", "1".into()),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".into()),
            ("NO_FAKE_STAT", "1".into()),
        ]
    }
}

fn library() -> PathBuf {
    let places = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let found =
        places.map(|place| place.path().join("faketime/libfaketimeMT.so.1")).find(|file| file.exists());
    found.expect("libfaketime is installed; deploy/check.sh install does it")
}
